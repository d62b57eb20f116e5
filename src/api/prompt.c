/* SPDX-License-Identifier: Apache-2.0 */
/* prompt.c - prompts and messages to token ids. Pure; any thread. */
#include "prompt.h"

#include "chat.h"
#include "clock.h"
#include "json_make.h"
#include "mem.h"
#include "tokenizer.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_RENDERED = 64 << 20 };

int wrong_type(struct err *e, const char *param, const char *want, const struct json *v)
{
    return err_param(e, ST_INVALID_TYPE, param, "'%s' must be %s, but it is %s.", param, want,
                     json_type_name(v));
}

int prompt_ids(const struct json_doc *d, const struct json *arr, int32_t vocab, const char *param,
               struct ids *out, struct err *e)
{
    size_t i = 0;
    char name[96];
    for (const struct json *v = json_child(d, arr); v; v = json_next(d, v), i++) {
        if (v->type == JSON_NUM && v->is_int && v->i >= 0 && v->i < vocab) {
            ids_add(out, (token_id)v->i);
            continue;
        }
        snprintf(name, sizeof name, "%s[%zu]", param, i);
        if (v->type != JSON_NUM || (!v->is_int && v->d < 1e15 && v->d > -1e15))
            return wrong_type(e, name, "an integer", v);
        return err_param(e, ST_INVALID_VALUE, name, "'%s' must be between 0 and %d.", name,
                         vocab - 1);
    }
    return 0;
}

/* A byte of text becomes at most a piece of 16 bytes and an id of 4, both in arrays that grow by
 * half while the old ones live, beside its normalised form. */
int prompt_room(size_t body, struct err *e)
{
    enum { SMALL = 64 << 10, WORK = 48 };
    if (body <= SMALL || mem_room(body * WORK))
        return 0;
    return err_set(e, ST_NOMEM, "This server has no memory left for this request.");
}

int prompt_text(const struct gen_rules *u, const struct json *v, bool special, const char *param,
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
    const struct json_doc *d;
    const struct api_service *s;
    struct json_maker m;
    struct err *e;
};

static struct view name_of(const char *s)
{
    return (struct view){s, strlen(s)};
}

static const struct view no_key = {NULL, 0};

static const struct json *part_text(const struct json_doc *d, const struct json *part,
                                    bool assistant)
{
    const struct json *t = json_get(d, part, "type"), *x = NULL;
    if (!t || json_is(t, "text"))
        x = json_get(d, part, "text");
    else if (assistant && json_is(t, "refusal"))
        x = json_get(d, part, "refusal");
    return x;
}

static int check_part(struct writer *w, const struct json *part, bool assistant, const char *at)
{
    char name[96];
    if (part->type != JSON_OBJ)
        return wrong_type(w->e, at, "an object", part);
    const struct json *t = json_get(w->d, part, "type");
    bool known = !t || json_is(t, "text") || (assistant && json_is(t, "refusal"));
    if (!known) {
        snprintf(name, sizeof name, "%.80s.type", at);
        return err_param(w->e, ST_UNSUPPORTED, name,
                         "This content part type is not supported by this server.");
    }
    const struct json *x = part_text(w->d, part, assistant);
    snprintf(name, sizeof name, "%.80s.text", at);
    if (!x)
        return err_param(w->e, ST_MISSING, name, "'%s' is required.", name);
    return x->type == JSON_STR ? 0 : wrong_type(w->e, name, "a string", x);
}

/* The parts as a list of texts, for a template that reads one. */
static void write_list(struct writer *w, const struct json *v, bool assistant)
{
    json_make_open(&w->m, name_of("content"), JSON_ARR);
    for (const struct json *p = json_child(w->d, v); p; p = json_next(w->d, p)) {
        const struct json *x = part_text(w->d, p, assistant);
        json_make_open(&w->m, no_key, JSON_OBJ);
        json_make_str(&w->m, name_of("type"), name_of("text"));
        json_make_str(&w->m, name_of("text"), (struct view){x->s, x->n});
        json_make_close(&w->m);
    }
    json_make_close(&w->m);
}

/* The parts as one text, a line feed between two. */
static void write_joined(struct writer *w, const struct json *v, bool assistant)
{
    size_t n = v->n - 1;
    for (const struct json *p = json_child(w->d, v); p; p = json_next(w->d, p))
        n += part_text(w->d, p, assistant)->n;
    char *o = json_make_text(&w->m, name_of("content"), n);
    for (const struct json *p = json_child(w->d, v); o && p; p = json_next(w->d, p)) {
        const struct json *x = part_text(w->d, p, assistant);
        memcpy(o, x->s, x->n);
        o += x->n;
        if (p->next)
            *o++ = '\n';
    }
}

static int write_parts(struct writer *w, const struct json *v, bool assistant, const char *at)
{
    char name[96];
    int i = 0;
    if (v->n == 0)
        return err_param(w->e, ST_INVALID_LENGTH, at, "'%s' must not be empty.", at);
    for (const struct json *p = json_child(w->d, v); p; p = json_next(w->d, p), i++) {
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

static int write_content(struct writer *w, const struct json *v, bool assistant, const char *at)
{
    if (!v || v->type == JSON_NULL) {
        if (!assistant)
            return err_param(w->e, ST_MISSING, at, "'%s' is required.", at);
        json_make_str(&w->m, name_of("content"), name_of(""));
        return 0;
    }
    if (v->type == JSON_STR) {
        json_make_copy(&w->m, w->d, v);
        return 0;
    }
    if (v->type != JSON_ARR)
        return wrong_type(w->e, at, "a string or an array of parts", v);
    return write_parts(w, v, assistant, at);
}

static bool is_blank(const struct json *v)
{
    for (size_t i = 0; v && v->type == JSON_STR && i < v->n; i++)
        if (!strchr(" \t\r\n", v->s[i]))
            return false;
    return !v || v->type == JSON_STR || v->type == JSON_NULL;
}

/* The call as it is, but with fn's arguments as the object `parsed`; NULL: the empty one. */
static void write_parsed_call(struct writer *w, const struct json *call, const struct json *fn,
                              const struct json *args, const struct json_doc *parsed)
{
    static const char name[] = "arguments";
    const struct view key = {name, sizeof name - 1};
    json_make_open(&w->m, no_key, JSON_OBJ);
    for (const struct json *v = json_child(w->d, call); v; v = json_next(w->d, v)) {
        if (v != fn) {
            json_make_copy(&w->m, w->d, v);
            continue;
        }
        json_make_open(&w->m, (struct view){v->key, v->n_key}, JSON_OBJ);
        for (const struct json *k = json_child(w->d, v); k; k = json_next(w->d, k))
            if (k != args)
                json_make_copy(&w->m, w->d, k);
        if (parsed) {
            json_make_keep(&w->m, key, parsed);
        } else {
            json_make_open(&w->m, key, JSON_OBJ);
            json_make_close(&w->m);
        }
        json_make_close(&w->m);
    }
    json_make_close(&w->m);
}

/* Arguments are a JSON string on the wire; the template gets the parsed object. A call without any
 * ("", null, or no key, as servers send them for a function that takes none) has the empty object,
 * for templates go through it. What is no object stays the string it is. */
static void write_call(struct writer *w, const struct json *call)
{
    const struct json *fn = json_get(w->d, call, "function");
    const struct json *args = json_get(w->d, fn, "arguments");
    struct json_doc parsed;
    if (fn && fn->type == JSON_OBJ && is_blank(args)) {
        write_parsed_call(w, call, fn, args, NULL);
        return;
    }
    if (!args || args->type != JSON_STR || json_parse(&parsed, args->s, args->n, NULL) != 0) {
        json_make_copy(&w->m, w->d, call);
        return;
    }
    if (parsed.v[0].type == JSON_OBJ)
        write_parsed_call(w, call, fn, args, &parsed);
    else
        json_make_copy(&w->m, w->d, call);
    json_free(&parsed);
}

static void write_calls(struct writer *w, const struct json *v)
{
    json_make_open(&w->m, (struct view){v->key, v->n_key}, JSON_ARR);
    for (const struct json *k = json_child(w->d, v); k; k = json_next(w->d, k))
        write_call(w, k);
    json_make_close(&w->m);
}

/* Roles are OpenAI's and what the template names: a template writes a role as it comes, often
 * beside the tokens that begin a turn, so one with a line feed in it would be a turn of its own.
 * (The contract once passed every role on; that does not hold any more.) */
static int check_role(struct writer *w, const struct json *role, const char *at)
{
    enum { MAX_ROLE = 64 };
    static const char *const known[] = {"system",    "developer", "user",
                                        "assistant", "tool",      "function"};
    char name[MAX_ROLE + 1];
    if (role->type != JSON_STR)
        return wrong_type(w->e, at, "a string", role);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (json_is(role, known[i]))
            return 0;
    bool ok = role->n > 0 && role->n <= MAX_ROLE;
    for (uint32_t i = 0; ok && i < role->n; i++)
        ok = isalnum((unsigned char)role->s[i]) || (role->s[i] && strchr("_-.", role->s[i]));
    if (ok) {
        memcpy(name, role->s, role->n);
        name[role->n] = '\0';
        if (chat_mentions(w->s->chat, name))
            return 0;
    }
    return err_param(w->e, ST_INVALID_VALUE, at,
                     "'%s' must be system, developer, user, assistant, tool, function or a role "
                     "that the model's chat template names.",
                     at);
}

static int write_message(struct writer *w, const struct json *m, int i)
{
    char at[64];
    snprintf(at, sizeof at, "messages[%d]", i);
    if (m->type != JSON_OBJ)
        return wrong_type(w->e, at, "an object", m);
    const struct json *role = json_get(w->d, m, "role");
    snprintf(at, sizeof at, "messages[%d].role", i);
    if (!role || role->type == JSON_NULL)
        return err_param(w->e, ST_MISSING, at, "'%s' is required.", at);
    int st = check_role(w, role, at);
    if (st)
        return st;
    json_make_open(&w->m, no_key, JSON_OBJ);
    if (json_is(role, "developer") && !chat_knows_developer(w->s->chat))
        json_make_str(&w->m, name_of("role"), name_of("system"));
    else
        json_make_copy(&w->m, w->d, role);
    snprintf(at, sizeof at, "messages[%d].content", i);
    st = write_content(w, json_get(w->d, m, "content"), json_is(role, "assistant"), at);
    if (st)
        return st;
    static const char *const passed[] = {"name", "tool_calls", "tool_call_id", "reasoning_content",
                                         "reasoning"};
    for (size_t k = 0; k < sizeof passed / sizeof passed[0]; k++) {
        const struct json *v = json_get(w->d, m, passed[k]);
        if (!v || v->type == JSON_NULL)
            continue;
        if (k == 1 && v->type != JSON_ARR) {
            snprintf(at, sizeof at, "messages[%d].tool_calls", i);
            return wrong_type(w->e, at, "an array", v);
        }
        if (k == 1)
            write_calls(w, v);
        else
            json_make_copy(&w->m, w->d, v);
    }
    json_make_close(&w->m);
    return 0;
}

/* The client's extra variables; names the server sets itself are not theirs to change. */
static void write_kwargs(struct writer *w, const struct json *kw, bool *thinking)
{
    static const char *const ours[] = {"messages", "tools", "add_generation_prompt",
                                       "reasoning_effort"};
    if (!kw || kw->type != JSON_OBJ)
        return;
    for (const struct json *v = json_child(w->d, kw); v; v = json_next(w->d, v)) {
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
    const struct json *root = &w->d->v[0], *m = json_get(w->d, root, "messages");
    int i = 0;
    bool thinking = false;
    if (m->n == 0 || m->n > MAX_MESSAGES)
        return err_param(w->e, ST_INVALID_LENGTH, "messages",
                         "'messages' must have between 1 and %d items.", MAX_MESSAGES);
    json_make_open(&w->m, no_key, JSON_OBJ);
    json_make_open(&w->m, name_of("messages"), JSON_ARR);
    for (const struct json *v = json_child(w->d, m); v; v = json_next(w->d, v), i++) {
        int st = write_message(w, v, i);
        if (st)
            return st;
    }
    json_make_close(&w->m);
    json_make_bool(&w->m, name_of("add_generation_prompt"), add_generation_prompt);
    const struct json *tools = json_get(w->d, root, "tools");
    if (tools && tools->type == JSON_ARR)
        json_make_copy(&w->m, w->d, tools);
    write_kwargs(w, json_get(w->d, root, "chat_template_kwargs"), &thinking);
    const struct json *effort = json_get(w->d, root, "reasoning_effort");
    if (effort && effort->type == JSON_STR) {
        json_make_copy(&w->m, w->d, effort);
        if (!thinking)
            json_make_bool(&w->m, name_of("enable_thinking"), !json_is(effort, "none"));
    }
    json_make_close(&w->m);
    return 0;
}

/* ---- continue_final_message ---- */

static bool says_true(const struct json_doc *d, const char *key)
{
    const struct json *v = json_get(d, &d->v[0], key);
    return v && v->type == JSON_BOOL && v->boolean;
}

/* The text that the last message, an assistant's, ends with; {NULL} = none. */
static struct view last_words(const struct json_doc *d)
{
    const struct json *last = NULL, *x = NULL;
    for (const struct json *m = json_child(d, json_get(d, &d->v[0], "messages")); m;
         m = json_next(d, m))
        last = m;
    bool ours = json_is(json_get(d, last, "role"), "assistant");
    const struct json *content = ours ? json_get(d, last, "content") : NULL;
    if (content && content->type == JSON_ARR)
        for (const struct json *p = json_child(d, content); p; p = json_next(d, p))
            x = part_text(d, p, true);
    else
        x = content;
    return x && x->type == JSON_STR && x->n ? (struct view){x->s, x->n} : (struct view){NULL, 0};
}

/* Where the last `words` of the text end; 0 = they are not there. */
static size_t end_of(const struct buf *text, struct view words)
{
    for (size_t at = text->n >= words.n ? text->n - words.n + 1 : 0; at-- > 0;)
        if (memcmp(text->p + at, words.p, words.n) == 0)
            return at + words.n;
    return 0;
}

/* What the template wrote behind the last message's text (the end of its turn) goes, so that the
 * model goes on with it. Many templates trim what they are given. */
static int cut_after_last(const struct json_doc *d, struct buf *text, struct spans *spans,
                          struct err *e)
{
    static const char param[] = "continue_final_message";
    struct view words = last_words(d);
    size_t end = words.p ? end_of(text, words) : 0;
    if (words.p && end == 0) {
        while (words.n && strchr(" \t\r\n", words.p[words.n - 1]) && words.p[words.n - 1])
            words.n--;
        while (words.n && strchr(" \t\r\n", *words.p) && *words.p) {
            words.p++;
            words.n--;
        }
        end = words.n ? end_of(text, words) : 0;
    }
    if (end == 0)
        return err_param(e, words.p ? ST_TEMPLATE : ST_INVALID_COMBINATION, param,
                         words.p ? "The chat template does not write the final message as it is."
                                 : "'%s' needs a final message of the assistant with text.",
                         param);
    text->n = end;
    while (spans->n && spans->p[spans->n - 1].begin >= end)
        spans->n--;
    if (spans->n && spans->p[spans->n - 1].end > end)
        spans->p[spans->n - 1].end = end;
    return 0;
}

int prompt_render(const struct gen_rules *u, const struct json_doc *d, bool add_generation_prompt,
                  struct buf *text, struct spans *spans, struct err *e)
{
    const struct api_service *s = u->s;
    struct json_doc vars;
    struct spans none = {0};
    bool go_on = says_true(d, "continue_final_message");
    if (!s->chat)
        return err_param(e, ST_TEMPLATE, "messages", "This model has no chat template.");
    if (go_on && says_true(d, "add_generation_prompt"))
        return err_param(
            e, ST_INVALID_COMBINATION, "continue_final_message",
            "'continue_final_message' and 'add_generation_prompt' exclude each other.");
    struct writer w = {.d = d, .s = s, .e = e};
    json_make_begin(&w.m, &vars, d->n_src);
    int st = write_variables(&w, add_generation_prompt && !go_on);
    if (st)
        w.m.st = st; /* half made */
    if (json_make_end(&w.m) != 0 && st == 0)
        st = err_set(e, w.m.st, "Out of memory.");
    const struct chat_args args = {&vars, clock_unix_s(), MAX_RENDERED};
    if (st == 0)
        st = chat_render(s->chat, &args, text, spans, e);
    if (st == 0 && go_on)
        st = cut_after_last(d, text, spans ? spans : &none, e);
    if (st && e && !e->param[0])
        snprintf(e->param, sizeof e->param, "messages");
    json_free(&vars);
    return st;
}

int prompt_messages(const struct gen_rules *u, const struct json_doc *d, bool add_generation_prompt,
                    bool add_special, struct ids *out, struct err *e)
{
    bool parse = u->c->security.parse_special_in_messages;
    struct buf text = {0};
    struct spans spans = {0};
    int st = prompt_render(u, d, add_generation_prompt, &text, parse ? NULL : &spans, e);
    if (st == 0)
        st = chat_encode(u->s->tok, &text, &spans,
                         (add_special ? TOK_SPECIAL : 0) | (parse ? TOK_PARSE_SPECIAL : 0), out, e);
    if (st && e && !e->param[0])
        snprintf(e->param, sizeof e->param, "messages");
    buf_free(&text);
    free(spans.p);
    return st;
}
