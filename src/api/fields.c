/* SPDX-License-Identifier: Apache-2.0 */
/* fields.c - every request field of the two generation endpoints, in one table: name, where it is
 * allowed, its reader, its bounds. What is known but not built is refused by name; what is unknown
 * is ignored. A new field is a member of struct genreq and one row here. */
#include "fields.h"

#include "field.h"
#include "foreign.h"
#include "handler.h"
#include "prompt.h"
#include "stop.h"
#include "utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define I53 9007199254740992.0
#define I64 INFINITY

static double limit_n(const struct config *c)
{
    return (double)c->limits.max_n;
}

static double limit_logprobs(const struct config *c)
{
    return (double)c->limits.max_logprobs;
}

int refuse(struct err *e, const char *param)
{
    return err_param(e, ST_UNSUPPORTED, param, "'%s' is not supported by this server.", param);
}

/* ---- readers of many fields ---- */

/* A bound as a person writes it. */
static const char *say(double v, char *out, size_t n)
{
    if (v == floor(v)) {
        snprintf(out, n, "%.0f", v);
        return out;
    }
    snprintf(out, n, "%.6f", v);
    for (char *end = out + strlen(out); end[-1] == '0';)
        *--end = '\0';
    return out;
}

static int check_bounds(struct reader *r, const struct field *f, const struct json *v)
{
    char least[40], most[40];
    double hi = f->limit ? f->limit(r->c) : f->hi;
    if (v->d >= f->lo && v->d <= hi && !isinf(v->d))
        return 0;
    say(f->lo, least, sizeof least);
    if (v->d < f->lo && hi >= I53)
        return err_param(r->e, ST_INVALID_VALUE, f->name, "'%s' must be at least %s.", f->name,
                         least);
    return err_param(r->e, ST_INVALID_VALUE, f->name, "'%s' must be between %s and %s.", f->name,
                     least, say(hi, most, sizeof most));
}

/* Where a value goes: the row's reader knows its type. */
static void *member(struct reader *r, const struct field *f)
{
    return (char *)r->g + f->off;
}

static int read_int_to(struct reader *r, const struct field *f, const struct json *v, int64_t *at)
{
    if (v->type == JSON_NUM && !v->is_int && v->d == floor(v->d))
        return err_param(r->e, ST_INVALID_VALUE, f->name, "'%s' is out of range.", f->name);
    if (v->type != JSON_NUM || !v->is_int)
        return wrong_type(r->e, f->name, "an integer", v);
    int st = check_bounds(r, f, v);
    if (st)
        return st;
    *at = v->i;
    return 0;
}

int read_int(struct reader *r, const struct field *f, const struct json *v)
{
    return read_int_to(r, f, v, member(r, f));
}

static int read_num(struct reader *r, const struct field *f, const struct json *v)
{
    if (v->type != JSON_NUM)
        return wrong_type(r->e, f->name, "a number", v);
    int st = check_bounds(r, f, v);
    if (st)
        return st;
    double *at = member(r, f);
    *at = v->d;
    return 0;
}

int read_only(struct reader *r, const struct field *f, const struct json *v)
{
    if (v->type != JSON_NUM)
        return wrong_type(r->e, f->name, "a number", v);
    int st = check_bounds(r, f, v);
    if (st)
        return st;
    return v->d == f->only ? 0 : refuse(r->e, f->name);
}

int read_bool(struct reader *r, const struct field *f, const struct json *v)
{
    if (v->type != JSON_BOOL)
        return wrong_type(r->e, f->name, "a boolean", v);
    bool *at = member(r, f);
    *at = v->boolean;
    return 0;
}

int only_false(struct reader *r, const struct field *f, const struct json *v)
{
    if (v->type != JSON_BOOL)
        return wrong_type(r->e, f->name, "a boolean", v);
    return v->boolean ? refuse(r->e, f->name) : 0;
}

int any_bool(struct reader *r, const struct field *f, const struct json *v)
{
    return v->type == JSON_BOOL ? 0 : wrong_type(r->e, f->name, "a boolean", v);
}

int any_string(struct reader *r, const struct field *f, const struct json *v)
{
    if (v->type != JSON_STR)
        return wrong_type(r->e, f->name, "a string", v);
    if (utf8_count(v->s, v->n) > f->hi)
        return err_param(r->e, ST_INVALID_LENGTH, f->name, "'%s' is too long.", f->name);
    return 0;
}

int any_array(struct reader *r, const struct field *f, const struct json *v)
{
    return v->type == JSON_ARR ? 0 : wrong_type(r->e, f->name, "an array", v);
}

int any_object(struct reader *r, const struct field *f, const struct json *v)
{
    return v->type == JSON_OBJ ? 0 : wrong_type(r->e, f->name, "an object", v);
}

static int empty_string(struct reader *r, const struct field *f, const struct json *v)
{
    if (v->type != JSON_STR)
        return wrong_type(r->e, f->name, "a string", v);
    return v->n ? refuse(r->e, f->name) : 0;
}

int not_built(struct reader *r, const struct field *f, const struct json *v)
{
    (void)v;
    return refuse(r->e, f->name);
}

int no_effect(struct reader *r, const struct field *f, const struct json *v)
{
    (void)r;
    (void)f;
    (void)v;
    return 0;
}

/* ---- readers of one field ---- */

static int read_stop_item(struct reader *r, const struct json *v, const char *param)
{
    if (v->type != JSON_STR)
        return wrong_type(r->e, param, "a string", v);
    if (v->n == 0 || utf8_count(v->s, v->n) > 512)
        return err_param(r->e, ST_INVALID_LENGTH, param,
                         "'%s' must have between 1 and 512 characters.", param);
    char *p = malloc(v->n);
    if (!p)
        return err_set(r->e, ST_NOMEM, "Out of memory.");
    memcpy(p, v->s, v->n);
    struct view *stop = &r->g->stop[r->g->n_stop++];
    stop->p = p;
    stop->n = v->n;
    return 0;
}

int read_stop(struct reader *r, const struct field *f, const struct json *v)
{
    if (v->type == JSON_STR)
        return v->n ? read_stop_item(r, v, f->name) : 0;
    if (v->type != JSON_ARR)
        return wrong_type(r->e, f->name, "a string or an array of strings", v);
    int32_t set = (int32_t)r->c->limits.max_stop;
    int32_t max = set < MAX_STOP_STRINGS ? set : MAX_STOP_STRINGS;
    if (v->n > (uint32_t)max)
        return err_param(r->e, ST_INVALID_LENGTH, f->name, "'%s' may have at most %d items.",
                         f->name, max);
    int i = 0, st = 0;
    char param[24];
    for (const struct json *k = json_child(r->d, v); k && !st; k = json_next(r->d, k), i++) {
        snprintf(param, sizeof param, "%s[%d]", f->name, i);
        st = read_stop_item(r, k, param);
    }
    return st;
}

static int read_stop_ids(struct reader *r, const struct field *f, const struct json *v)
{
    if (v->type != JSON_ARR)
        return wrong_type(r->e, f->name, "an array of integers", v);
    if (v->n > MAX_STOP_IDS)
        return err_param(r->e, ST_INVALID_LENGTH, f->name, "'%s' may have at most %d items.",
                         f->name, MAX_STOP_IDS);
    struct ids ids = {0};
    int st = prompt_ids(r->d, v, r->s->limits.vocab, f->name, &ids, r->e);
    if (st == 0 && ids.n)
        memcpy(r->g->stop_ids, ids.p, ids.n * sizeof *ids.p);
    r->g->n_stop_ids = st ? 0 : (int32_t)ids.n;
    ids_free(&ids);
    return st;
}

/* One boolean of an object; absent or null leaves *out. */
static int read_option(struct reader *r, const struct field *f, const struct json *v,
                       const char *key, bool *out)
{
    char param[64];
    const struct json *o = json_get(r->d, v, key);
    snprintf(param, sizeof param, "%s.%s", f->name, key);
    if (!o || o->type == JSON_NULL)
        return 0;
    if (o->type != JSON_BOOL)
        return wrong_type(r->e, param, "a boolean", o);
    *out = o->boolean;
    return 0;
}

static int read_stream_options(struct reader *r, const struct field *f, const struct json *v)
{
    bool ignored = false;
    if (v->type != JSON_OBJ)
        return wrong_type(r->e, f->name, "an object", v);
    int st = read_option(r, f, v, "include_usage", &r->g->include_usage);
    if (st)
        return st;
    st = read_option(r, f, v, "continuous_usage_stats", &r->g->continuous_usage);
    if (st)
        return st;
    return read_option(r, f, v, "include_obfuscation", &ignored);
}

int read_salt(struct reader *r, const struct field *f, const struct json *v)
{
    if (v->type != JSON_STR)
        return wrong_type(r->e, f->name, "a string", v);
    if (v->n < 1 || utf8_count(v->s, v->n) > 128)
        return err_param(r->e, ST_INVALID_LENGTH, f->name,
                         "'%s' must have between 1 and 128 characters.", f->name);
    for (uint32_t i = 0; i < v->n; i++)
        if (v->s[i] == '@' || v->s[i] == '/' || v->s[i] == '\\' || v->s[i] == '\0')
            return err_param(r->e, ST_INVALID_VALUE, f->name,
                             "'%s' must not contain @, /, \\ or NUL.", f->name);
    memcpy(r->g->salt, v->s, v->n);
    r->g->n_salt = v->n;
    return 0;
}

/* Lower runs earlier, so how low is for the operator to say. */
int read_priority(struct reader *r, const struct field *f, const struct json *v)
{
    int64_t least = r->who ? r->who->min_priority : r->c->limits.min_priority;
    if (v->type == JSON_NUM && !v->is_int && v->d == floor(v->d))
        return err_param(r->e, ST_INVALID_VALUE, f->name, "'%s' is out of range.", f->name);
    if (v->type != JSON_NUM || !v->is_int)
        return wrong_type(r->e, f->name, "an integer", v);
    if (v->i < least)
        return err_param(r->e, ST_INVALID_VALUE, f->name, "'%s' must be at least %lld.", f->name,
                         (long long)least);
    r->g->priority = v->i;
    return 0;
}

int read_max_tokens(struct reader *r, const struct field *f, const struct json *v)
{
    r->g->fit_max = v->type == JSON_NUM && v->is_int && v->i == -1;
    return r->g->fit_max ? 0 : read_int_to(r, f, v, &r->g->max_tokens);
}

int read_request_id(struct reader *r, const struct field *f, const struct json *v)
{
    if (v->type != JSON_STR)
        return wrong_type(r->e, f->name, "a string", v);
    if (!req_id_ok(v->s, v->n))
        return 0; /* like a header with other characters: not used */
    memcpy(r->g->request_id, v->s, v->n);
    r->g->request_id[v->n] = '\0';
    return 0;
}

static int read_prompt(struct reader *r, const struct field *f, const struct json *v)
{
    return v->type == JSON_ARR || v->type == JSON_STR
               ? 0
               : wrong_type(r->e, f->name, "a string or an array", v);
}

static int read_response_format(struct reader *r, const struct field *f, const struct json *v)
{
    if (v->type != JSON_OBJ)
        return wrong_type(r->e, f->name, "an object", v);
    const struct json *t = json_get(r->d, v, "type");
    if (!t)
        return err_param(r->e, ST_MISSING, "response_format.type",
                         "'response_format.type' is required.");
    if (t->type != JSON_STR)
        return wrong_type(r->e, "response_format.type", "a string", t);
    if (json_is(t, "text"))
        return 0;
    return err_param(r->e, ST_UNSUPPORTED, f->name,
                     "The response_format type '%.*s' is not supported by this server.",
                     (int)utf8_valid_prefix(t->s, t->n < 64 ? t->n : 64), t->s);
}

static int read_modalities(struct reader *r, const struct field *f, const struct json *v)
{
    const struct json *k = v->type == JSON_ARR && v->n == 1 ? json_child(r->d, v) : NULL;
    return json_is(k, "text") ? 0 : refuse(r->e, f->name);
}

static int only_none(struct reader *r, const struct field *f, const struct json *v)
{
    return json_is(v, "none") ? 0 : refuse(r->e, f->name);
}

static int read_tool_choice(struct reader *r, const struct field *f, const struct json *v)
{
    if (!json_is(v, "none") && !json_get(r->d, &r->d->v[0], "tools"))
        return err_param(r->e, ST_INVALID_COMBINATION, f->name, "'%s' needs 'tools'.", f->name);
    return only_none(r, f, v);
}

static int read_tools(struct reader *r, const struct field *f, const struct json *v)
{
    if (v->type != JSON_ARR)
        return wrong_type(r->e, f->name, "an array", v);
    if (v->n == 0)
        return err_param(r->e, ST_INVALID_LENGTH, f->name, "'%s' must not be empty.", f->name);
    return json_is(json_get(r->d, &r->d->v[0], "tool_choice"), "none") ? 0 : refuse(r->e, f->name);
}

int read_effort(struct reader *r, const struct field *f, const struct json *v)
{
    static const char *const ok[] = {"none", "minimal", "low", "medium", "high", "xhigh", "max"};
    if (v->type != JSON_STR)
        return wrong_type(r->e, f->name, "a string", v);
    for (size_t i = 0; i < sizeof ok / sizeof *ok; i++)
        if (json_is(v, ok[i]))
            return 0;
    return err_param(r->e, ST_INVALID_VALUE, f->name, "'%s' is none of the known values.", f->name);
}

/* ---- the table: a request is told of the first wrong row, so the order is part of it ---- */

#define TO(member) .off = offsetof(struct genreq, member)
static const struct field fields[] = {
    ROW("model", BOTH, any_string, .hi = INFINITY),
    ROW("messages", CHAT, any_array, .required = true),
    ROW("prompt", TEXT, read_prompt, .required = true),
    ROW("n", BOTH, read_int, TO(n), .lo = 1, .limit = limit_n),
    ROW("max_tokens", BOTH, read_max_tokens, .lo = 0, .hi = I53),
    ROW("max_completion_tokens", CHAT, read_int, TO(max_completion_tokens), .lo = 1, .hi = I53),
    ROW("temperature", BOTH, read_num, TO(temperature), .lo = 0, .hi = 2),
    ROW("top_p", BOTH, read_num, TO(top_p), .lo = 0, .hi = 1),
    ROW("top_k", BOTH, read_int, TO(top_k), .lo = -1, .hi = I53),
    ROW("min_p", BOTH, read_num, TO(min_p), .lo = 0, .hi = 1),
    ROW("presence_penalty", BOTH, read_num, TO(presence), .lo = -2, .hi = 2),
    ROW("frequency_penalty", BOTH, read_num, TO(frequency), .lo = -2, .hi = 2),
    ROW("repetition_penalty", BOTH, read_num, TO(repetition), .lo = 1e-6, .hi = 10),
    ROW("logit_bias", BOTH, read_logit_bias),
    ROW("seed", BOTH, read_int, TO(seed), .lo = -I64, .hi = I64),
    ROW("stop", BOTH, read_stop),
    ROW("stop_token_ids", BOTH, read_stop_ids),
    ROW("include_stop_str_in_output", BOTH, read_bool, TO(include_stop)),
    ROW("ignore_eos", BOTH, read_bool, TO(ignore_eos)),
    ROW("min_tokens", BOTH, read_int, TO(min_tokens), .lo = 0, .hi = I53),
    ROW("skip_special_tokens", BOTH, read_bool, TO(skip_special)),
    ROW("spaces_between_special_tokens", BOTH, any_bool),
    ROW("truncate_prompt_tokens", BOTH, read_truncate),
    ROW("allowed_token_ids", BOTH, read_allowed_ids),
    ROW("bad_words", BOTH, not_built),
    ROW("stream", BOTH, read_bool, TO(stream)),
    ROW("stream_options", BOTH, read_stream_options),
    ROW("user", BOTH, any_string, .hi = 512),
    ROW("priority", BOTH, read_priority),
    ROW("cache_salt", BOTH, read_salt),
    ROW("request_id", BOTH, read_request_id),
    ROW("return_token_ids", BOTH, read_bool, TO(return_ids)),
    ROW("return_tokens_as_token_ids", BOTH, read_bool, TO(ids_as_texts)),
    ROW("prompt_logprobs", BOTH, read_int, TO(prompt_logprobs), .lo = 0, .limit = limit_logprobs),
    ROW("use_beam_search", BOTH, only_false),
    ROW("length_penalty", BOTH, read_only, .lo = 0, .hi = 1e9, .only = 1),
    ROW("response_format", BOTH, read_response_format),
    ROW("structured_outputs", BOTH, not_built),
    ROW("guided_json", BOTH, not_built),
    ROW("guided_regex", BOTH, not_built),
    ROW("guided_choice", BOTH, not_built),
    ROW("guided_grammar", BOTH, not_built),
    ROW("guided_decoding_backend", BOTH, not_built),
    ROW("grammar", BOTH, not_built),
    ROW("json_schema", BOTH, not_built),
    ROW("regex", BOTH, not_built),
    ROW("ebnf", BOTH, not_built),
    ROW("kv_transfer_params", BOTH, not_built),
    ROW("vllm_xargs", BOTH, not_built),
    ROW("lora_path", BOTH, not_built),
    ROW("prompt_embeds", BOTH, not_built),
    ROW("logprob_token_ids", BOTH, not_built),
    ROW("audio", BOTH, not_built),
    ROW("modalities", BOTH, read_modalities),
    ROW("web_search_options", BOTH, not_built),
    ROW("functions", BOTH, not_built),
    ROW("function_call", BOTH, only_none),
    /* completions */
    ROW("suffix", TEXT, empty_string),
    ROW("echo", TEXT, read_bool, TO(echo)),
    ROW("best_of", TEXT, read_int, TO(best_of), .lo = 0, .hi = 20),
    /* chat; `logprobs` means two things */
    ROW("logprobs", CHAT, read_bool, TO(want_logprobs)),
    ROW("logprobs", TEXT, read_int, TO(logprobs), .limit = limit_logprobs),
    ROW("top_logprobs", CHAT, read_int, TO(top_logprobs), .lo = 0, .limit = limit_logprobs),
    ROW("echo", CHAT, only_false),
    ROW("chat_template_kwargs", CHAT, any_object),
    ROW("add_generation_prompt", CHAT, read_bool, TO(add_generation_prompt)),
    ROW("continue_final_message", CHAT, any_bool),
    ROW("chat_template", CHAT, not_built),
    ROW("add_special_tokens", BOTH, read_bool, TO(add_special)),
    ROW("reasoning_effort", CHAT, read_effort),
    ROW("include_reasoning", CHAT, any_bool),
    ROW("tools", CHAT, read_tools),
    ROW("tool_choice", CHAT, read_tool_choice),
    ROW("documents", CHAT, not_built),
    /* accepted without effect: clients send them, nothing here would change */
    ROW("service_tier", BOTH, no_effect),
    ROW("store", BOTH, no_effect),
    ROW("metadata", BOTH, no_effect),
    ROW("safety_identifier", BOTH, no_effect),
    ROW("prompt_cache_key", BOTH, no_effect),
    ROW("prompt_cache_retention", BOTH, no_effect),
    ROW("prompt_cache_options", BOTH, no_effect),
    ROW("verbosity", BOTH, no_effect),
    ROW("prediction", BOTH, no_effect),
    ROW("parallel_tool_calls", BOTH, no_effect),
    ROW("moderation", BOTH, not_built),
    ROW("session_id", BOTH, no_effect),
    ROW("rid", BOTH, no_effect),
};
enum { N_FIELDS = sizeof fields / sizeof *fields };
enum { N_SEEN = MAX_OWN + N_FIELDS + MAX_FOREIGN };

int field_rows(const struct dialect *l)
{
    return l->n_rows + N_FIELDS + n_foreign;
}

const struct field *field_row(const struct dialect *l, int i)
{
    int k = i - l->n_rows;
    if (k < 0)
        return &l->rows[i];
    const struct field *f = k < N_FIELDS ? &fields[k] : &foreign_fields[k - N_FIELDS];
    return (f->where & l->where) == l->where ? f : NULL;
}

static int check_combinations(struct reader *r)
{
    struct genreq *g = r->g;
    const struct json *so = json_get(r->d, &r->d->v[0], "stream_options");
    if (so && so->type == JSON_OBJ && so->n && !g->stream)
        return err_param(r->e, ST_INVALID_COMBINATION, "stream_options",
                         "'stream_options' needs 'stream': true.");
    if (g->chat && g->top_logprobs > 0 && !g->want_logprobs)
        return err_param(r->e, ST_INVALID_COMBINATION, "top_logprobs",
                         "'top_logprobs' needs 'logprobs': true.");
    if (g->chat && g->echo)
        return refuse(r->e, "echo");
    if (g->max_tokens == 0 && (g->chat || !g->echo))
        return err_param(r->e, ST_INVALID_VALUE, "max_tokens", "'max_tokens' must be at least 1.");
    if (g->best_of > 0 && g->best_of < g->n)
        return err_param(r->e, ST_INVALID_COMBINATION, "best_of",
                         "'best_of' must not be below 'n'.");
    if (g->best_of > g->n && g->stream)
        return err_param(r->e, ST_INVALID_COMBINATION, "best_of",
                         "'best_of' above 'n' cannot be streamed.");
    g->n_made = (int32_t)(g->best_of > g->n ? g->best_of : g->n);
    return 0;
}

bool model_is_served(const struct str_list *names, const char *s, size_t n)
{
    for (int32_t i = 0; i < names->n; i++)
        if (strlen(names->v[i]) == n && memcmp(names->v[i], s, n) == 0)
            return true;
    return false;
}

int model_check(const struct json *v, const struct gen_rules *u, char *name, struct err *e)
{
    const char *s = u->names->v[0];
    size_t n = strlen(s);
    if (v && v->type != JSON_NULL) {
        if (v->type != JSON_STR)
            return wrong_type(e, "model", "a string", v);
        if (v->n && model_is_served(u->names, v->s, v->n)) {
            s = v->s;
            n = v->n;
        } else if (v->n && u->c->http.unknown_model == CONF_UNKNOWN_MODEL_REJECT) {
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
    g->n = g->n_made = 1;
    g->normalize = true;
    g->max_tokens = g->max_completion_tokens = g->seed = g->logprobs = INT64_MIN;
    g->top_k = g->best_of = g->truncate = g->dimensions = g->prompt_logprobs = INT64_MIN;
    g->temperature = g->top_p = g->min_p = g->repetition = NAN;
    g->skip_special = g->add_generation_prompt = true;
    g->add_special = !g->chat;
    g->n_logprobs = -1;
}

static void set_sampling(struct genreq *g, const struct api_service *s)
{
    double t = !isnan(g->temperature) ? g->temperature : s->temperature >= 0 ? s->temperature : 1;
    double p = !isnan(g->top_p) ? g->top_p : s->top_p >= 0 ? s->top_p : 1;
    double m = !isnan(g->min_p) ? g->min_p : s->min_p >= 0 ? s->min_p : 0;
    double rep = !isnan(g->repetition) ? g->repetition : s->repetition > 0 ? s->repetition : 1;
    int64_t k = g->top_k != INT64_MIN ? g->top_k : s->top_k >= 0 ? s->top_k : 0;
    if (t < 1e-5)
        t = 0;
    else if (t < 0.01)
        t = 0.01;
    if (k < 0 || k >= s->limits.vocab)
        k = 0;
    g->n_logprobs = g->chat ? (g->want_logprobs ? (int32_t)g->top_logprobs : -1)
                            : (g->logprobs == INT64_MIN ? -1 : (int32_t)g->logprobs);
    int64_t echoed = g->echo ? g->n_logprobs : -1, listed = g->prompt_logprobs;
    int64_t scored = listed > echoed ? listed : echoed;
    g->scores = scored >= 0 ? 1 + (int32_t)scored : 0;
    g->sample = (struct sample_params){.temperature = (float)t,
                                       .top_p = (float)p,
                                       .min_p = (float)m,
                                       .top_k = (int32_t)k,
                                       .n_logprobs = g->n_made > g->n && g->n_logprobs < 0
                                                         ? 0 /* the best are chosen by them */
                                                         : g->n_logprobs,
                                       .presence_penalty = (float)g->presence,
                                       .frequency_penalty = (float)g->frequency,
                                       .repetition_penalty = (float)rep};
}

/* The row of a key in this kind of request, or -1. */
static int find_field(const struct dialect *l, const struct json *v)
{
    for (int i = 0, n = field_rows(l); v->n_key && i < n; i++) {
        const struct field *f = field_row(l, i);
        if (f && f->name[0] == v->key[0] && strlen(f->name) == v->n_key &&
            memcmp(f->name, v->key, v->n_key) == 0)
            return i;
    }
    return -1;
}

/* Which value each row has in the body; what nobody knows is counted, or refused if so set. */
static int match_fields(struct reader *r, const struct json **seen)
{
    for (const struct json *v = json_child(r->d, &r->d->v[0]); v; v = json_next(r->d, v)) {
        int i = find_field(r->g->dialect, v);
        if (i >= 0) {
            seen[i] = v;
        } else if (r->c->http.unknown_fields == CONF_UNKNOWN_REJECT) {
            char name[65];
            snprintf(name, sizeof name, "%.*s", (int)(v->n_key < 64 ? v->n_key : 64), v->key);
            name[utf8_valid_prefix(name, strlen(name))] = '\0';
            return err_param(r->e, ST_UNSUPPORTED, name, "Unknown parameter '%s'.", name);
        } else {
            ignored_add(&r->g->ignored, v);
        }
    }
    return 0;
}

static int read_fields(struct reader *r, const struct json *const *seen)
{
    const struct dialect *l = r->g->dialect;
    for (int i = 0, n = field_rows(l); i < n; i++) {
        const struct field *f = field_row(l, i);
        const struct json *v = seen[i];
        bool given = v && v->type != JSON_NULL;
        if (!given && f && f->required)
            return err_param(r->e, ST_MISSING, f->name, "'%s' is required.", f->name);
        int st = given ? f->read(r, f, v) : 0;
        if (st)
            return st;
    }
    return 0;
}

int fields_read(struct genreq *g, const struct json_doc *d, const struct gen_rules *u,
                struct err *e)
{
    struct reader r = {g, d, u->c, u->s, e, u->who};
    const struct json *seen[N_SEEN] = {0};
    set_defaults(g);
    g->pooling = u->c->model.pooling;
    int st = match_fields(&r, seen);
    if (st)
        return st;
    st = read_fields(&r, seen);
    if (st)
        return st;
    st = model_check(json_get(d, &d->v[0], "model"), u, g->model, e);
    if (st)
        return st;
    if (g->dialect == &dialect_embed)
        return 0;
    st = check_combinations(&r);
    if (st)
        return st;
    set_sampling(g, u->s);
    if (g->other_window && g->sample.repetition_penalty != 1.0f)
        return refuse(e, "repeat_last_n");
    if (u->c->stream.force_usage)
        g->include_usage = g->continuous_usage = true;
    if (g->n_stop)
        return stops_new(&g->stops, g->stop, g->n_stop, e);
    return 0;
}
