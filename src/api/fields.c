/* fields.c - every request field of the two generation endpoints, in one table: name, where it is
 * allowed, type, range. What is known but not built is refused by name; what is unknown is ignored.
 */
#include "fields.h"

#include "hash.h"
#include "prompt.h"
#include "utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind {
    F_INT,    /* -> int64_t */
    F_NUM,    /* -> double */
    F_BOOL,   /* -> bool */
    F_NONE,   /* accepted, no effect */
    F_STR,    /* a string of lo..hi characters, no effect here */
    F_REFUSE, /* anything but null is not built */
    F_FALSE,  /* only false */
    F_ONLY,   /* only the number lo; a number outside lo..hi is still a range error */
    F_NOBOOL, /* a boolean without effect */
    F_EMPTYS, /* only "" */
    F_EMPTYO, /* only {} */
    F_OTHER   /* checked in its own function, or by the prompt reader */
};
enum { BOTH = 3, CHAT = 1, TEXT = 2 };

struct field {
    const char *name;
    uint8_t kind, where;
    size_t off;
    double lo, hi;
};
#define AT(m) offsetof(struct genreq, m)
#define I53 9007199254740992.0
#define I64 INFINITY

static const struct field fields[] = {
    {"model", F_OTHER, BOTH, 0, 0, 0},
    {"messages", F_OTHER, CHAT, 0, 0, 0},
    {"prompt", F_OTHER, TEXT, 0, 0, 0},
    {"n", F_INT, BOTH, AT(n), 1, 0},
    {"max_tokens", F_INT, BOTH, AT(max_tokens), 0, I53},
    {"max_completion_tokens", F_INT, CHAT, AT(max_completion_tokens), 1, I53},
    {"temperature", F_NUM, BOTH, AT(temperature), 0, 2},
    {"top_p", F_NUM, BOTH, AT(top_p), 0, 1},
    {"top_k", F_INT, BOTH, AT(top_k), -1, I53},
    {"min_p", F_NUM, BOTH, AT(min_p), 0, 1},
    {"presence_penalty", F_ONLY, BOTH, 0, 0, 2},
    {"frequency_penalty", F_ONLY, BOTH, 0, 0, 2},
    {"repetition_penalty", F_ONLY, BOTH, 0, 1, 10},
    {"logit_bias", F_EMPTYO, BOTH, 0, 0, 0},
    {"seed", F_INT, BOTH, AT(seed), -I64, I64},
    {"stop", F_OTHER, BOTH, 0, 0, 0},
    {"stop_token_ids", F_OTHER, BOTH, 0, 0, 0},
    {"include_stop_str_in_output", F_BOOL, BOTH, AT(include_stop), 0, 0},
    {"ignore_eos", F_BOOL, BOTH, AT(ignore_eos), 0, 0},
    {"min_tokens", F_INT, BOTH, AT(min_tokens), 0, I53},
    {"skip_special_tokens", F_BOOL, BOTH, AT(skip_special), 0, 0},
    {"spaces_between_special_tokens", F_NOBOOL, BOTH, 0, 0, 0},
    {"truncate_prompt_tokens", F_REFUSE, BOTH, 0, 0, 0},
    {"allowed_token_ids", F_REFUSE, BOTH, 0, 0, 0},
    {"bad_words", F_REFUSE, BOTH, 0, 0, 0},
    {"stream", F_BOOL, BOTH, AT(stream), 0, 0},
    {"stream_options", F_OTHER, BOTH, 0, 0, 0},
    {"user", F_STR, BOTH, 0, 0, 512},
    {"priority", F_INT, BOTH, AT(priority), -I64, I64},
    {"cache_salt", F_OTHER, BOTH, 0, 0, 0},
    {"request_id", F_OTHER, BOTH, 0, 0, 0},
    {"return_token_ids", F_FALSE, BOTH, 0, 0, 0},
    {"return_tokens_as_token_ids", F_FALSE, BOTH, 0, 0, 0},
    {"prompt_logprobs", F_REFUSE, BOTH, 0, 0, 0},
    {"use_beam_search", F_FALSE, BOTH, 0, 0, 0},
    {"length_penalty", F_ONLY, BOTH, 0, 1, 1e9},
    {"response_format", F_OTHER, BOTH, 0, 0, 0},
    {"structured_outputs", F_REFUSE, BOTH, 0, 0, 0},
    {"guided_json", F_REFUSE, BOTH, 0, 0, 0},
    {"guided_regex", F_REFUSE, BOTH, 0, 0, 0},
    {"guided_choice", F_REFUSE, BOTH, 0, 0, 0},
    {"guided_grammar", F_REFUSE, BOTH, 0, 0, 0},
    {"guided_decoding_backend", F_REFUSE, BOTH, 0, 0, 0},
    {"grammar", F_REFUSE, BOTH, 0, 0, 0},
    {"json_schema", F_REFUSE, BOTH, 0, 0, 0},
    {"regex", F_REFUSE, BOTH, 0, 0, 0},
    {"ebnf", F_REFUSE, BOTH, 0, 0, 0},
    {"kv_transfer_params", F_REFUSE, BOTH, 0, 0, 0},
    {"vllm_xargs", F_REFUSE, BOTH, 0, 0, 0},
    {"lora_path", F_REFUSE, BOTH, 0, 0, 0},
    {"prompt_embeds", F_REFUSE, BOTH, 0, 0, 0},
    {"logprob_token_ids", F_REFUSE, BOTH, 0, 0, 0},
    {"audio", F_REFUSE, BOTH, 0, 0, 0},
    {"modalities", F_OTHER, BOTH, 0, 0, 0},
    {"web_search_options", F_REFUSE, BOTH, 0, 0, 0},
    {"functions", F_REFUSE, BOTH, 0, 0, 0},
    {"function_call", F_OTHER, BOTH, 0, 0, 0},
    /* completions */
    {"suffix", F_EMPTYS, TEXT, 0, 0, 0},
    {"echo", F_BOOL, BOTH, AT(echo), 0, 0},
    {"best_of", F_INT, TEXT, AT(best_of), 0, 20},
    /* chat; `logprobs` means two things and is read below */
    {"logprobs", F_OTHER, BOTH, 0, 0, 0},
    {"top_logprobs", F_INT, CHAT, AT(top_logprobs), 0, 0},
    {"chat_template_kwargs", F_OTHER, CHAT, 0, 0, 0},
    {"add_generation_prompt", F_BOOL, CHAT, AT(add_generation_prompt), 0, 0},
    {"continue_final_message", F_FALSE, CHAT, 0, 0, 0},
    {"chat_template", F_REFUSE, CHAT, 0, 0, 0},
    {"add_special_tokens", F_BOOL, BOTH, AT(add_special), 0, 0},
    {"reasoning_effort", F_OTHER, CHAT, 0, 0, 0},
    {"include_reasoning", F_NOBOOL, CHAT, 0, 0, 0},
    {"tools", F_OTHER, CHAT, 0, 0, 0},
    {"tool_choice", F_OTHER, CHAT, 0, 0, 0},
    {"documents", F_REFUSE, CHAT, 0, 0, 0},
    /* accepted without effect: clients send them, nothing here would change */
    {"service_tier", F_NONE, BOTH, 0, 0, 0},
    {"store", F_NONE, BOTH, 0, 0, 0},
    {"metadata", F_NONE, BOTH, 0, 0, 0},
    {"safety_identifier", F_NONE, BOTH, 0, 0, 0},
    {"prompt_cache_key", F_NONE, BOTH, 0, 0, 0},
    {"prompt_cache_retention", F_NONE, BOTH, 0, 0, 0},
    {"prompt_cache_options", F_NONE, BOTH, 0, 0, 0},
    {"verbosity", F_NONE, BOTH, 0, 0, 0},
    {"prediction", F_NONE, BOTH, 0, 0, 0},
    {"parallel_tool_calls", F_NONE, BOTH, 0, 0, 0},
    {"moderation", F_REFUSE, BOTH, 0, 0, 0},
    {"session_id", F_NONE, BOTH, 0, 0, 0},
    {"rid", F_NONE, BOTH, 0, 0, 0},
};
enum { N_FIELDS = sizeof fields / sizeof fields[0] };

struct reader {
    struct genreq *g;
    const struct jdoc *d;
    const struct config *c;
    const struct api_service *s;
    struct err *e;
};

static int refuse(struct err *e, const char *param)
{
    return err_param(e, ST_UNSUPPORTED, param, "'%s' is not supported by this server.", param);
}

static double upper_bound(const struct reader *r, const struct field *f)
{
    if (strcmp(f->name, "n") == 0)
        return (double)r->c->limits.max_n;
    if (strcmp(f->name, "top_logprobs") == 0)
        return (double)r->c->limits.max_logprobs;
    return f->hi;
}

static int read_number(struct reader *r, const struct field *f, const struct jval *v)
{
    double hi = upper_bound(r, f);
    if (v->type != J_NUM)
        return wrong_type(r->e, f->name, f->kind == F_INT ? "an integer" : "a number", v);
    if (f->kind == F_INT && !v->is_int && v->d == floor(v->d))
        return err_param(r->e, ST_INVALID_VALUE, f->name, "'%s' is out of range.", f->name);
    if (f->kind == F_INT && !v->is_int)
        return wrong_type(r->e, f->name, "an integer", v);
    double lo = f->kind == F_ONLY ? (hi == 2 ? -2 : 0) : f->lo;
    if (!(v->d >= lo && v->d <= hi) || isinf(v->d))
        return err_param(r->e, ST_INVALID_VALUE, f->name, "'%s' must be between %.15g and %.15g.",
                         f->name, lo, hi);
    if (f->kind == F_ONLY)
        return v->d == f->lo ? 0 : refuse(r->e, f->name);
    void *at = (char *)r->g + f->off;
    if (f->kind == F_INT)
        *(int64_t *)at = v->i;
    else
        *(double *)at = v->d;
    return 0;
}

static int read_plain(struct reader *r, const struct field *f, const struct jval *v)
{
    switch (f->kind) {
    case F_INT:
    case F_NUM:
    case F_ONLY:
        return read_number(r, f, v);
    case F_BOOL:
    case F_FALSE:
        if (v->type != J_BOOL)
            return wrong_type(r->e, f->name, "a boolean", v);
        if (f->kind == F_FALSE)
            return v->boolean ? refuse(r->e, f->name) : 0;
        *(bool *)((char *)r->g + f->off) = v->boolean;
        return 0;
    case F_STR:
        if (v->type != J_STR)
            return wrong_type(r->e, f->name, "a string", v);
        if ((int64_t)utf8_count(v->s, v->n) > f->hi)
            return err_param(r->e, ST_INVALID_LENGTH, f->name, "'%s' is too long.", f->name);
        return 0;
    case F_REFUSE:
        return refuse(r->e, f->name);
    case F_NOBOOL:
        return v->type == J_BOOL ? 0 : wrong_type(r->e, f->name, "a boolean", v);
    case F_EMPTYS:
    case F_EMPTYO:
        if (v->type != (f->kind == F_EMPTYS ? J_STR : J_OBJ))
            return wrong_type(r->e, f->name, f->kind == F_EMPTYS ? "a string" : "an object", v);
        return v->n ? refuse(r->e, f->name) : 0;
    default:
        return 0;
    }
}

static int read_stop_item(struct reader *r, const struct jval *v, const char *param)
{
    if (v->type != J_STR)
        return wrong_type(r->e, param, "a string", v);
    if (v->n == 0 || utf8_count(v->s, v->n) > 512)
        return err_param(r->e, ST_INVALID_LENGTH, param,
                         "'%s' must have between 1 and 512 characters.", param);
    char *p = malloc(v->n);
    if (!p)
        return err_set(r->e, ST_NOMEM, "Out of memory.");
    memcpy(p, v->s, v->n);
    r->g->stop[r->g->n_stop++] = (struct view){p, v->n};
    return 0;
}

static int read_stop(struct reader *r, const struct jval *v)
{
    if (v->type == J_STR)
        return v->n ? read_stop_item(r, v, "stop") : 0;
    if (v->type != J_ARR)
        return wrong_type(r->e, "stop", "a string or an array of strings", v);
    int32_t set = (int32_t)r->c->limits.max_stop,
            max = set < MAX_STOP_STRINGS ? set : MAX_STOP_STRINGS;
    if (v->n > (uint32_t)max)
        return err_param(r->e, ST_INVALID_LENGTH, "stop", "'stop' may have at most %d items.", max);
    int i = 0, st = 0;
    char param[24];
    for (const struct jval *k = json_child(r->d, v); k && !st; k = json_next(r->d, k), i++) {
        snprintf(param, sizeof param, "stop[%d]", i);
        st = read_stop_item(r, k, param);
    }
    return st;
}

static int read_stop_ids(struct reader *r, const struct jval *v)
{
    if (v->type != J_ARR)
        return wrong_type(r->e, "stop_token_ids", "an array of integers", v);
    if (v->n > MAX_STOP_IDS)
        return err_param(r->e, ST_INVALID_LENGTH, "stop_token_ids",
                         "'stop_token_ids' may have at most %d items.", MAX_STOP_IDS);
    struct ids ids = {0};
    int st = prompt_ids(r->d, v, r->s->ec.vocab, "stop_token_ids", &ids, r->e);
    if (st == 0 && ids.n)
        memcpy(r->g->stop_ids, ids.p, ids.n * sizeof *ids.p);
    r->g->n_stop_ids = st ? 0 : (int32_t)ids.n;
    ids_free(&ids);
    return st;
}

static int read_option(struct reader *r, const struct jval *v, const char *key, bool *out)
{
    char param[64];
    const struct jval *o = json_get(r->d, v, key);
    snprintf(param, sizeof param, "stream_options.%s", key);
    if (!o || o->type == J_NULL)
        return 0;
    if (o->type != J_BOOL)
        return wrong_type(r->e, param, "a boolean", o);
    *out = o->boolean;
    return 0;
}

static int read_stream_options(struct reader *r, const struct jval *v)
{
    bool ignored = false;
    if (v->type != J_OBJ)
        return wrong_type(r->e, "stream_options", "an object", v);
    int st = read_option(r, v, "include_usage", &r->g->include_usage);
    st = st ? st : read_option(r, v, "continuous_usage_stats", &r->g->continuous_usage);
    st = st ? st : read_option(r, v, "include_obfuscation", &ignored);
    return st;
}

static uint64_t hash_bytes(const char *s, size_t n)
{
    uint64_t h = fnv1a(FNV1A_BASIS, s, n);
    h ^= h >> 31;
    return h ? h : 1;
}

static int read_salt(struct reader *r, const struct jval *v)
{
    if (v->type != J_STR)
        return wrong_type(r->e, "cache_salt", "a string", v);
    if (v->n < 1 || utf8_count(v->s, v->n) > 128)
        return err_param(r->e, ST_INVALID_LENGTH, "cache_salt",
                         "'cache_salt' must have between 1 and 128 characters.");
    for (uint32_t i = 0; i < v->n; i++)
        if (v->s[i] == '@' || v->s[i] == '/' || v->s[i] == '\\' || v->s[i] == '\0')
            return err_param(r->e, ST_INVALID_VALUE, "cache_salt",
                             "'cache_salt' must not contain @, /, \\ or NUL.");
    r->g->cache_ns = hash_bytes(v->s, v->n);
    return 0;
}

static int read_request_id(struct reader *r, const struct jval *v)
{
    if (v->type != J_STR)
        return wrong_type(r->e, "request_id", "a string", v);
    bool ok = v->n >= 1 && v->n <= 128;
    for (uint32_t i = 0; ok && i < v->n; i++) {
        char c = v->s[i];
        ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             (c && strchr("._:-", c));
    }
    if (ok) {
        memcpy(r->g->request_id, v->s, v->n);
        r->g->request_id[v->n] = '\0';
    }
    return 0; /* like a header with other characters: not used */
}

static int read_logprobs(struct reader *r, const struct jval *v)
{
    struct genreq *g = r->g;
    if (g->chat) {
        if (v->type != J_BOOL)
            return wrong_type(r->e, "logprobs", "a boolean", v);
        g->want_logprobs = v->boolean;
        return 0;
    }
    struct field f = {"logprobs", F_INT, TEXT, AT(logprobs), 0, (double)r->c->limits.max_logprobs};
    return read_number(r, &f, v);
}

static int read_text_only(struct reader *r, const char *name, const struct jval *v)
{
    if (strcmp(name, "response_format") == 0) {
        if (v->type != J_OBJ)
            return wrong_type(r->e, name, "an object", v);
        const struct jval *t = json_get(r->d, v, "type");
        if (!t)
            return err_param(r->e, ST_MISSING, "response_format.type",
                             "'response_format.type' is required.");
        if (t->type != J_STR)
            return wrong_type(r->e, "response_format.type", "a string", t);
        if (json_is(t, "text"))
            return 0;
        return err_param(r->e, ST_UNSUPPORTED, name,
                         "The response_format type '%.*s' is not supported by this server.",
                         (int)utf8_valid_prefix(t->s, t->n < 64 ? t->n : 64), t->s);
    }
    if (strcmp(name, "modalities") == 0) {
        const struct jval *k = v->type == J_ARR && v->n == 1 ? json_child(r->d, v) : NULL;
        return json_is(k, "text") ? 0 : refuse(r->e, name);
    }
    if (strcmp(name, "tool_choice") == 0 && !json_is(v, "none") &&
        !json_get(r->d, &r->d->v[0], "tools"))
        return err_param(r->e, ST_INVALID_COMBINATION, name, "'tool_choice' needs 'tools'.");
    if (strcmp(name, "function_call") == 0 || strcmp(name, "tool_choice") == 0)
        return json_is(v, "none") ? 0 : refuse(r->e, name);
    return 0;
}

static int read_tools(struct reader *r, const struct jval *v)
{
    if (v->type != J_ARR)
        return wrong_type(r->e, "tools", "an array", v);
    if (v->n == 0)
        return err_param(r->e, ST_INVALID_LENGTH, "tools", "'tools' must not be empty.");
    return json_is(json_get(r->d, &r->d->v[0], "tool_choice"), "none") ? 0 : refuse(r->e, "tools");
}

static int read_effort(struct reader *r, const struct jval *v)
{
    static const char *const ok[] = {"none", "minimal", "low", "medium", "high", "xhigh", "max"};
    if (v->type != J_STR)
        return wrong_type(r->e, "reasoning_effort", "a string", v);
    for (size_t i = 0; i < sizeof ok / sizeof ok[0]; i++)
        if (json_is(v, ok[i]))
            return 0;
    return err_param(r->e, ST_INVALID_VALUE, "reasoning_effort",
                     "'reasoning_effort' is none of the known values.");
}

static int read_other(struct reader *r, const char *name, const struct jval *v)
{
    if (strcmp(name, "stop") == 0)
        return read_stop(r, v);
    if (strcmp(name, "stop_token_ids") == 0)
        return read_stop_ids(r, v);
    if (strcmp(name, "stream_options") == 0)
        return read_stream_options(r, v);
    if (strcmp(name, "cache_salt") == 0)
        return read_salt(r, v);
    if (strcmp(name, "request_id") == 0)
        return read_request_id(r, v);
    if (strcmp(name, "logprobs") == 0)
        return read_logprobs(r, v);
    if (strcmp(name, "tools") == 0)
        return read_tools(r, v);
    if (strcmp(name, "reasoning_effort") == 0)
        return read_effort(r, v);
    if (strcmp(name, "chat_template_kwargs") == 0)
        return v->type == J_OBJ ? 0 : wrong_type(r->e, name, "an object", v);
    if (strcmp(name, "model") == 0)
        return v->type == J_STR ? 0 : wrong_type(r->e, name, "a string", v);
    if (strcmp(name, "messages") == 0)
        return v->type == J_ARR ? 0 : wrong_type(r->e, name, "an array", v);
    if (strcmp(name, "prompt") == 0)
        return v->type == J_ARR || v->type == J_STR
                   ? 0
                   : wrong_type(r->e, name, "a string or an array", v);
    return read_text_only(r, name, v);
}

static int check_combinations(struct reader *r)
{
    struct genreq *g = r->g;
    const struct jval *so = json_get(r->d, &r->d->v[0], "stream_options");
    if (so && so->type == J_OBJ && so->n && !g->stream)
        return err_param(r->e, ST_INVALID_COMBINATION, "stream_options",
                         "'stream_options' needs 'stream': true.");
    if (g->chat && g->top_logprobs > 0 && !g->want_logprobs)
        return err_param(r->e, ST_INVALID_COMBINATION, "top_logprobs",
                         "'top_logprobs' needs 'logprobs': true.");
    if (g->chat && g->echo)
        return refuse(r->e, "echo");
    if (g->echo && g->logprobs != INT64_MIN)
        return err_param(r->e, ST_UNSUPPORTED, "logprobs",
                         "'logprobs' together with 'echo' is not supported by this server.");
    if (g->max_tokens == 0 && (g->chat || !g->echo))
        return err_param(r->e, ST_INVALID_VALUE, "max_tokens", "'max_tokens' must be at least 1.");
    if (g->best_of > 0 && g->best_of < g->n)
        return err_param(r->e, ST_INVALID_COMBINATION, "best_of",
                         "'best_of' must not be below 'n'.");
    if (g->best_of > 0 && g->best_of != g->n)
        return refuse(r->e, "best_of");
    return 0;
}

bool model_is_served(const struct str_list *names, const char *s, size_t n)
{
    for (int32_t i = 0; i < names->n; i++)
        if (strlen(names->v[i]) == n && memcmp(names->v[i], s, n) == 0)
            return true;
    return false;
}

int model_check(const struct jval *v, const struct gen_rules *u, char *name, struct err *e)
{
    const char *s = u->names->v[0];
    size_t n = strlen(s);
    if (v && v->type != J_NULL) {
        if (v->type != J_STR)
            return wrong_type(e, "model", "a string", v);
        if (v->n && model_is_served(u->names, v->s, v->n)) {
            s = v->s;
            n = v->n;
        } else if (v->n && u->c->models.unknown == CONF_MODEL_REJECT) {
            return err_param(
                e, ST_MODEL_NOT_FOUND, "model", "The model '%.*s' does not exist.",
                (int)(v->n < 64 ? utf8_valid_prefix(v->s, v->n) : utf8_valid_prefix(v->s, 64)),
                v->s);
        }
    }
    snprintf(name, 256, "%.*s", (int)(n < 255 ? n : 255), s);
    return 0;
}

static void set_defaults(struct genreq *g)
{
    g->n = 1;
    g->max_tokens = g->max_completion_tokens = g->seed = g->logprobs = INT64_MIN;
    g->top_k = g->best_of = INT64_MIN;
    g->temperature = g->top_p = g->min_p = NAN;
    g->skip_special = g->add_generation_prompt = true;
    g->add_special = !g->chat;
    g->n_logprobs = -1;
}

static void set_sampling(struct genreq *g, const struct api_service *s)
{
    double t = !isnan(g->temperature) ? g->temperature : s->temperature >= 0 ? s->temperature : 1;
    double p = !isnan(g->top_p) ? g->top_p : s->top_p >= 0 ? s->top_p : 1;
    double m = !isnan(g->min_p) ? g->min_p : s->min_p >= 0 ? s->min_p : 0;
    int64_t k = g->top_k != INT64_MIN ? g->top_k : s->top_k >= 0 ? s->top_k : 0;
    if (t < 1e-5)
        t = 0;
    else if (t < 0.01)
        t = 0.01;
    if (k < 0 || k >= s->ec.vocab)
        k = 0;
    g->n_logprobs = g->chat ? (g->want_logprobs ? (int32_t)g->top_logprobs : -1)
                            : (g->logprobs == INT64_MIN ? -1 : (int32_t)g->logprobs);
    g->sample = (struct sample_params){.temperature = (float)t,
                                       .top_p = (float)p,
                                       .min_p = (float)m,
                                       .top_k = (int32_t)k,
                                       .n_logprobs = g->n_logprobs};
}

int fields_read(struct genreq *g, const struct jdoc *d, const struct gen_rules *u, struct err *e)
{
    struct reader r = {g, d, u->c, u->s, e};
    const struct jval *seen[N_FIELDS] = {0};
    set_defaults(g);
    for (const struct jval *v = json_child(d, &d->v[0]); v; v = json_next(d, v)) {
        int i = 0;
        while (i < N_FIELDS && !((fields[i].where & (g->chat ? CHAT : TEXT)) &&
                                 strlen(fields[i].name) == v->n_key &&
                                 memcmp(fields[i].name, v->key, v->n_key) == 0))
            i++;
        if (i < N_FIELDS) {
            seen[i] = v;
        } else if (u->c->http.unknown_fields == CONF_UNKNOWN_REJECT) {
            char name[65];
            snprintf(name, sizeof name, "%.*s", (int)(v->n_key < 64 ? v->n_key : 64), v->key);
            name[utf8_valid_prefix(name, strlen(name))] = '\0';
            return err_param(e, ST_UNSUPPORTED, name, "Unknown parameter '%s'.", name);
        } else {
            g->n_ignored++;
        }
    }
    for (int i = 0; i < N_FIELDS; i++) {
        const struct jval *v = seen[i];
        if (!v || v->type == J_NULL) {
            if (strcmp(fields[i].name, g->chat ? "messages" : "prompt") == 0)
                return err_param(e, ST_MISSING, fields[i].name, "'%s' is required.",
                                 fields[i].name);
            continue;
        }
        int st = fields[i].kind == F_OTHER ? read_other(&r, fields[i].name, v)
                                           : read_plain(&r, &fields[i], v);
        if (st)
            return st;
    }
    int st = model_check(json_get(d, &d->v[0], "model"), u, g->model, e);
    st = st ? st : check_combinations(&r);
    if (st)
        return st;
    set_sampling(g, u->s);
    if (u->c->force_usage)
        g->include_usage = true;
    if (g->n_stop)
        return stops_new(&g->stops, g->stop, g->n_stop, e);
    return 0;
}
