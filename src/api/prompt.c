/* prompt.c - prompts and messages to token ids, lengths against the context. Pure; any thread. */
#include "clock.h"
#include "genreq.h"
#include "json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_MESSAGES = 2048, MAX_RENDERED = 64 << 20 };

static int wrong_type(struct err *e, const char *param, const char *want, const struct jval *v)
{
    return err_param(e, ST_INVALID_TYPE, param, "'%s' must be %s, but it is %s.", param, want,
                     json_type_name(v));
}

int prompt_ids(const struct jdoc *d, const struct jval *arr, int32_t vocab, const char *param,
               struct ids *out, struct err *e)
{
    size_t i = 0;
    char name[96];
    for (const struct jval *v = json_child(d, arr); v; v = json_next(d, v), i++) {
        if (v->type == J_NUM && v->is_int && v->i >= 0 && v->i < vocab) {
            ids_add(out, (token_id)v->i);
            continue;
        }
        snprintf(name, sizeof name, "%s[%zu]", param, i);
        if (v->type != J_NUM || (!v->is_int && v->d < 1e15 && v->d > -1e15))
            return wrong_type(e, name, "an integer", v);
        return err_param(e, ST_INVALID_VALUE, name, "'%s' must be between 0 and %d.", name,
                         vocab - 1);
    }
    return 0;
}

int prompt_text(const struct gen_rules *u, const struct jval *v, bool special, const char *param,
                struct ids *out, struct err *e)
{
    unsigned flags = (special ? TOK_SPECIAL : 0) |
                     (u->c->security.parse_special_tokens ? TOK_PARSE_SPECIAL : 0);
    int st = tok_encode(u->s->tok, v->s, v->n, flags, out, e);
    if (st && e && !e->param[0])
        snprintf(e->param, sizeof e->param, "%s", param);
    return st;
}

/* ---- messages ---- */

/* The template's variables are made of parts of the request's document, which is parsed once. */
struct writer {
    const struct jdoc *d;
    const struct api_service *s;
    struct json_maker m;
    struct err *e;
};

static struct view name_of(const char *s)
{
    return (struct view){s, strlen(s)};
}

static const struct view no_key = {NULL, 0};

static const struct jval *part_text(const struct jdoc *d, const struct jval *part, bool assistant)
{
    const struct jval *t = json_get(d, part, "type"), *x = NULL;
    if (!t || json_is(t, "text"))
        x = json_get(d, part, "text");
    else if (assistant && json_is(t, "refusal"))
        x = json_get(d, part, "refusal");
    return x;
}

static int check_part(struct writer *w, const struct jval *part, bool assistant, const char *at)
{
    char name[96];
    if (part->type != J_OBJ)
        return wrong_type(w->e, at, "an object", part);
    const struct jval *t = json_get(w->d, part, "type");
    bool known = !t || json_is(t, "text") || (assistant && json_is(t, "refusal"));
    if (!known) {
        snprintf(name, sizeof name, "%.80s.type", at);
        return err_param(w->e, ST_UNSUPPORTED, name,
                         "This content part type is not supported by this server.");
    }
    const struct jval *x = part_text(w->d, part, assistant);
    snprintf(name, sizeof name, "%.80s.text", at);
    if (!x)
        return err_param(w->e, ST_MISSING, name, "'%s' is required.", name);
    return x->type == J_STR ? 0 : wrong_type(w->e, name, "a string", x);
}

/* The parts as a list of texts, for a template that reads one. */
static void write_list(struct writer *w, const struct jval *v, bool assistant)
{
    json_make_open(&w->m, name_of("content"), J_ARR);
    for (const struct jval *p = json_child(w->d, v); p; p = json_next(w->d, p)) {
        const struct jval *x = part_text(w->d, p, assistant);
        json_make_open(&w->m, no_key, J_OBJ);
        json_make_str(&w->m, name_of("type"), name_of("text"));
        json_make_str(&w->m, name_of("text"), (struct view){x->s, x->n});
        json_make_close(&w->m);
    }
    json_make_close(&w->m);
}

/* The parts as one text, a line feed between two. */
static void write_joined(struct writer *w, const struct jval *v, bool assistant)
{
    size_t n = v->n - 1;
    for (const struct jval *p = json_child(w->d, v); p; p = json_next(w->d, p))
        n += part_text(w->d, p, assistant)->n;
    char *o = json_make_text(&w->m, name_of("content"), n);
    for (const struct jval *p = json_child(w->d, v); o && p; p = json_next(w->d, p)) {
        const struct jval *x = part_text(w->d, p, assistant);
        memcpy(o, x->s, x->n);
        o += x->n;
        if (p->next)
            *o++ = '\n';
    }
}

static int write_parts(struct writer *w, const struct jval *v, bool assistant, const char *at)
{
    char name[96];
    int i = 0;
    if (v->n == 0)
        return err_param(w->e, ST_INVALID_LENGTH, at, "'%s' must not be empty.", at);
    for (const struct jval *p = json_child(w->d, v); p; p = json_next(w->d, p), i++) {
        snprintf(name, sizeof name, "%.60s[%d]", at, i);
        int st = check_part(w, p, assistant, name);
        if (st)
            return st;
    }
    if (chat_wants_parts(w->s->chat))
        write_list(w, v, assistant);
    else
        write_joined(w, v, assistant);
    return 0;
}

static int write_content(struct writer *w, const struct jval *v, bool assistant, const char *at)
{
    if (!v || v->type == J_NULL) {
        if (!assistant)
            return err_param(w->e, ST_MISSING, at, "'%s' is required.", at);
        json_make_str(&w->m, name_of("content"), name_of(""));
        return 0;
    }
    if (v->type == J_STR) {
        json_make_copy(&w->m, w->d, v);
        return 0;
    }
    if (v->type != J_ARR)
        return wrong_type(w->e, at, "a string or an array of parts", v);
    return write_parts(w, v, assistant, at);
}

/* The call as it is, but with `args`, a string of JSON, as the object it stands for. */
static void write_parsed_call(struct writer *w, const struct jval *call, const struct jval *args,
                              const struct jdoc *parsed)
{
    json_make_open(&w->m, no_key, J_OBJ);
    for (const struct jval *v = json_child(w->d, call); v; v = json_next(w->d, v)) {
        if (args < v || args->begin >= v->end) {
            json_make_copy(&w->m, w->d, v);
            continue;
        }
        json_make_open(&w->m, (struct view){v->key, v->n_key}, J_OBJ); /* "function" */
        for (const struct jval *k = json_child(w->d, v); k; k = json_next(w->d, k)) {
            if (k == args)
                json_make_keep(&w->m, (struct view){k->key, k->n_key}, parsed);
            else
                json_make_copy(&w->m, w->d, k);
        }
        json_make_close(&w->m);
    }
    json_make_close(&w->m);
}

/* Arguments are a JSON string on the wire; the template gets the parsed object. What is no object
 * stays the string it is. */
static void write_call(struct writer *w, const struct jval *call)
{
    const struct jval *fn = json_get(w->d, call, "function");
    const struct jval *args = json_get(w->d, fn, "arguments");
    struct jdoc parsed;
    if (!args || args->type != J_STR || json_parse(&parsed, args->s, args->n, NULL) != 0) {
        json_make_copy(&w->m, w->d, call);
        return;
    }
    if (parsed.v[0].type == J_OBJ)
        write_parsed_call(w, call, args, &parsed);
    else
        json_make_copy(&w->m, w->d, call);
    json_free(&parsed);
}

static void write_calls(struct writer *w, const struct jval *v)
{
    if (v->type != J_ARR) {
        json_make_copy(&w->m, w->d, v);
        return;
    }
    json_make_open(&w->m, (struct view){v->key, v->n_key}, J_ARR);
    for (const struct jval *k = json_child(w->d, v); k; k = json_next(w->d, k))
        write_call(w, k);
    json_make_close(&w->m);
}

static int write_message(struct writer *w, const struct jval *m, int i)
{
    char at[64];
    snprintf(at, sizeof at, "messages[%d]", i);
    if (m->type != J_OBJ)
        return wrong_type(w->e, at, "an object", m);
    const struct jval *role = json_get(w->d, m, "role");
    snprintf(at, sizeof at, "messages[%d].role", i);
    if (!role || role->type == J_NULL)
        return err_param(w->e, ST_MISSING, at, "'%s' is required.", at);
    if (role->type != J_STR)
        return wrong_type(w->e, at, "a string", role);
    json_make_open(&w->m, no_key, J_OBJ);
    if (json_is(role, "developer") && !chat_knows_developer(w->s->chat))
        json_make_str(&w->m, name_of("role"), name_of("system"));
    else
        json_make_copy(&w->m, w->d, role);
    snprintf(at, sizeof at, "messages[%d].content", i);
    int st = write_content(w, json_get(w->d, m, "content"), json_is(role, "assistant"), at);
    if (st)
        return st;
    static const char *const passed[] = {"name", "tool_calls", "tool_call_id", "reasoning_content",
                                         "reasoning"};
    for (size_t k = 0; k < sizeof passed / sizeof passed[0]; k++) {
        const struct jval *v = json_get(w->d, m, passed[k]);
        if (!v || v->type == J_NULL)
            continue;
        if (k == 1)
            write_calls(w, v);
        else
            json_make_copy(&w->m, w->d, v);
    }
    json_make_close(&w->m);
    return 0;
}

/* The client's extra variables; names the server sets itself are not theirs to change. */
static void write_kwargs(struct writer *w, const struct jval *kw, bool *thinking)
{
    static const char *const ours[] = {"messages", "tools", "add_generation_prompt",
                                       "reasoning_effort"};
    if (!kw || kw->type != J_OBJ)
        return;
    for (const struct jval *v = json_child(w->d, kw); v; v = json_next(w->d, v)) {
        bool skip = false;
        for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
            skip |= v->n_key == strlen(ours[i]) && memcmp(v->key, ours[i], v->n_key) == 0;
        if (skip)
            continue;
        *thinking |= v->n_key == 15 && memcmp(v->key, "enable_thinking", 15) == 0;
        json_make_copy(&w->m, w->d, v);
    }
}

static int write_variables(struct writer *w, bool add_generation_prompt)
{
    const struct jval *root = &w->d->v[0], *m = json_get(w->d, root, "messages");
    int i = 0;
    bool thinking = false;
    if (m->n == 0 || m->n > MAX_MESSAGES)
        return err_param(w->e, ST_INVALID_LENGTH, "messages",
                         "'messages' must have between 1 and %d items.", MAX_MESSAGES);
    json_make_open(&w->m, no_key, J_OBJ);
    json_make_open(&w->m, name_of("messages"), J_ARR);
    for (const struct jval *v = json_child(w->d, m); v; v = json_next(w->d, v), i++) {
        int st = write_message(w, v, i);
        if (st)
            return st;
    }
    json_make_close(&w->m);
    json_make_bool(&w->m, name_of("add_generation_prompt"), add_generation_prompt);
    const struct jval *tools = json_get(w->d, root, "tools");
    if (tools && tools->type == J_ARR)
        json_make_copy(&w->m, w->d, tools);
    write_kwargs(w, json_get(w->d, root, "chat_template_kwargs"), &thinking);
    const struct jval *effort = json_get(w->d, root, "reasoning_effort");
    if (effort && effort->type == J_STR) {
        json_make_copy(&w->m, w->d, effort);
        if (!thinking)
            json_make_bool(&w->m, name_of("enable_thinking"), !json_is(effort, "none"));
    }
    json_make_close(&w->m);
    return 0;
}

int prompt_messages(const struct gen_rules *u, const struct jdoc *d, bool add_generation_prompt,
                    bool add_special, struct ids *out, struct err *e)
{
    const struct api_service *s = u->s;
    bool parse = u->c->security.parse_special_tokens;
    struct jdoc vars;
    struct buf text = {0};
    struct spans spans = {0};
    if (!s->chat)
        return err_param(e, ST_TEMPLATE, "messages", "This model has no chat template.");
    struct writer w = {.d = d, .s = s, .e = e};
    json_make_begin(&w.m, &vars, d->n_src);
    int st = write_variables(&w, add_generation_prompt);
    if (st)
        w.m.st = st; /* half made */
    if (json_make_end(&w.m) != 0 && st == 0)
        st = err_set(e, w.m.st, "Out of memory.");
    const struct chat_args args = {&vars, clock_unix_s(), MAX_RENDERED};
    if (st == 0)
        st = chat_render(s->chat, &args, &text, parse ? NULL : &spans, e);
    if (st == 0)
        st = chat_encode(s->tok, &text, &spans,
                         (add_special ? TOK_SPECIAL : 0) | (parse ? TOK_PARSE_SPECIAL : 0), out, e);
    if (st && e && !e->param[0])
        snprintf(e->param, sizeof e->param, "messages");
    json_free(&vars);
    buf_free(&text);
    free(spans.p);
    return st;
}

/* ---- prompt forms: a string, strings, ids, arrays of ids ---- */

static int add_prompt(struct genreq *g, size_t *cap)
{
    if ((size_t)g->n_prompts + 2 > *cap) {
        *cap = *cap ? *cap * 2 : 4;
        g->first = xrealloc(g->first, *cap * sizeof *g->first);
        g->max_new = xrealloc(g->max_new, *cap * sizeof *g->max_new);
    }
    g->first[g->n_prompts++] = g->ids.n;
    g->first[g->n_prompts] = g->ids.n;
    return 0;
}

static int one_prompt(struct genreq *g, const struct jdoc *d, const struct jval *v,
                      const struct gen_rules *u, const char *param, size_t *cap, struct err *e)
{
    add_prompt(g, cap);
    int st = v->type == J_STR ? prompt_text(u, v, g->add_special, param, &g->ids, e)
                              : prompt_ids(d, v, u->s->ec.vocab, param, &g->ids, e);
    g->first[g->n_prompts] = g->ids.n;
    if (st == 0 && g->ids.n == g->first[g->n_prompts - 1])
        return err_param(e, ST_INVALID_LENGTH, param, "'%s' must give at least one token.", param);
    return st;
}

static int read_prompts(struct genreq *g, const struct jdoc *d, const struct gen_rules *u,
                        struct err *e)
{
    int64_t max = u->c->limits.max_prompts;
    const struct jval *v = json_get(d, &d->v[0], "prompt");
    size_t cap = 0;
    const struct jval *k = json_child(d, v);
    if (v->type == J_STR || (k && k->type == J_NUM))
        return one_prompt(g, d, v, u, "prompt", &cap, e);
    if (v->n == 0 || v->n > max)
        return err_param(e, ST_INVALID_LENGTH, "prompt",
                         "'prompt' must have between 1 and %d items.", (int)max);
    uint8_t type = k->type;
    int i = 0;
    for (; k; k = json_next(d, k), i++) {
        char param[32];
        snprintf(param, sizeof param, "prompt[%d]", i);
        if (k->type != type || (type != J_STR && type != J_ARR))
            return wrong_type(e, param, "like the other items: strings, or arrays of integers", k);
        int st = one_prompt(g, d, k, u, param, &cap, e);
        if (st)
            return st;
    }
    return 0;
}

/* What prompt i may generate: the prompt must leave room; what is asked for must fit into it;
 * without a number chat gets all the room, up to the setting. */
static int check_length(struct genreq *g, int32_t i, const struct gen_rules *u, struct err *e)
{
    const struct api_service *s = u->s;
    int64_t most = u->c->limits.max_completion_tokens;
    const char *param = g->chat ? "messages" : "prompt";
    int64_t max = s->ec.max_model_len, n = (int64_t)(g->first[i + 1] - g->first[i]);
    int64_t want = g->chat && g->max_completion_tokens != INT64_MIN ? g->max_completion_tokens
                                                                    : g->max_tokens;
    bool given = want != INT64_MIN;
    if (n >= max && !(g->echo && want == 0 && n == max))
        return err_param(e, ST_CONTEXT_LENGTH, param,
                         "This model's maximum context length is %lld tokens, but the prompt has "
                         "%lld tokens.",
                         (long long)max, (long long)n);
    if (!given)
        want = g->chat ? max - n : 16;
    if (!given && g->chat && most && want > most)
        want = most;
    if (!given && want > max - n)
        want = max - n;
    if (want > max - n)
        return err_param(e, ST_CONTEXT_LENGTH, param,
                         "This model's maximum context length is %lld tokens, but %lld were "
                         "requested: %lld in the prompt and %lld for the completion.",
                         (long long)max, (long long)(n + want), (long long)n, (long long)want);
    if (g->min_tokens > want)
        return err_param(e, ST_INVALID_VALUE, "min_tokens",
                         "'min_tokens' must not be above the maximum of %lld new tokens.",
                         (long long)want);
    g->max_new[i] = (int32_t)want;
    if (want == 0)
        return 0;
    int st = engine_fits(&s->ec, n, want, e);
    if (st && !given && st == ST_CONTEXT_LENGTH && g->chat) {
        /* the omitted maximum means what fits: also what fits in the pool */
        int64_t pool = (int64_t)s->ec.n_pages * s->ec.page_tokens - n;
        want = want < pool ? want : pool;
        for (int k = 0; k < 4 && want > 0 && (st = engine_fits(&s->ec, n, want, e)) != 0; k++)
            want -= s->ec.page_tokens;
        g->max_new[i] = (int32_t)want;
        if (want <= 0)
            st = ST_CONTEXT_LENGTH;
    }
    if (st && e && !e->param[0])
        snprintf(e->param, sizeof e->param, "%s", param);
    return st;
}

int genreq_make(struct genreq *g, bool chat, const char *body, size_t n, const struct gen_rules *u,
                struct err *e)
{
    struct jdoc d;
    *g = (struct genreq){.chat = chat};
    int st = json_parse(&d, body, n, e);
    if (st)
        return st;
    if (d.v[0].type != J_OBJ)
        st = err_set(e, ST_INVALID_TYPE, "The body must be a JSON object.");
    st = st ? st : fields_read(g, &d, u, e);
    if (st == 0 && chat) {
        size_t cap = 0;
        add_prompt(g, &cap);
        st = prompt_messages(u, &d, g->add_generation_prompt, g->add_special, &g->ids, e);
        g->first[1] = g->ids.n;
        if (st == 0 && g->ids.n == 0)
            st = err_param(e, ST_INVALID_LENGTH, "messages", "The messages give no token.");
    } else if (st == 0) {
        st = read_prompts(g, &d, u, e);
    }
    if (st == 0 && g->n_prompts * g->n > u->c->limits.max_sequences)
        st = err_param(e, ST_INVALID_LENGTH, "n", "Prompts times 'n' must be at most %d.",
                       (int)u->c->limits.max_sequences);
    for (int32_t i = 0; i < g->n_prompts && st == 0; i++)
        st = check_length(g, i, u, e);
    json_free(&d);
    return st;
}

void genreq_fini(struct genreq *g)
{
    for (int32_t i = 0; i < g->n_stop; i++)
        free((char *)g->stop[i].p);
    stops_free(g->stops);
    ids_free(&g->ids);
    free(g->first);
    free(g->max_new);
}
