/* SPDX-License-Identifier: Apache-2.0 */
/* responses.c - what /v1/responses is asked: its own fields, the translation of `instructions` and
 * `input`, and what its answer repeats of the question. Nothing is stored, so nothing can be
 * referred to later: `store` has no effect. Pure; any thread.
 */
#include "json_out.h"
#include "prompt.h"
#include "turns.h"
#include "utf8.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define I53 9007199254740992.0

enum { MAX_PAIRS = 16, MAX_KEY = 64, MAX_VALUE = 512 }; /* of metadata, in characters */

/* ---- fields ---- */

static int read_metadata(struct reader *r, const struct field *f, const struct json *v)
{
    char name[96];
    if (v->type != JSON_OBJ)
        return wrong_type(r->e, f->name, "an object", v);
    if (v->n > MAX_PAIRS)
        return err_param(r->e, ST_INVALID_LENGTH, f->name, "'%s' may have at most %d entries.",
                         f->name, MAX_PAIRS);
    for (const struct json *k = json_child(r->d, v); k; k = json_next(r->d, k)) {
        size_t n = k->n_key < 64 ? k->n_key : 64;
        snprintf(name, sizeof name, "%s.%.*s", f->name, (int)utf8_valid_prefix(k->key, n), k->key);
        if (utf8_count(k->key, k->n_key) > MAX_KEY)
            return err_param(r->e, ST_INVALID_LENGTH, name,
                             "The keys of '%s' may have at most %d characters.", f->name, MAX_KEY);
        if (k->type != JSON_STR)
            return wrong_type(r->e, name, "a string", k);
        if (utf8_count(k->s, k->n) > MAX_VALUE)
            return err_param(r->e, ST_INVALID_LENGTH, name,
                             "The values of '%s' may have at most %d characters.", f->name,
                             MAX_VALUE);
    }
    return 0;
}

/* Members of an object that are there, in its order, each to be read by `read`. */
static int read_members(struct reader *r, const struct field *f, const struct json *v,
                        const struct field *rows, size_t n)
{
    if (v->type != JSON_OBJ)
        return wrong_type(r->e, f->name, "an object", v);
    for (size_t i = 0; i < n; i++) {
        const struct json *k = json_get(r->d, v, strchr(rows[i].name, '.') + 1);
        int st = k && k->type != JSON_NULL ? rows[i].read(r, &rows[i], k) : 0;
        if (st)
            return st;
    }
    return 0;
}

static int read_format(struct reader *r, const struct field *f, const struct json *v)
{
    const struct json *type;
    if (v->type != JSON_OBJ)
        return wrong_type(r->e, f->name, "an object", v);
    int st = turns_string(r->d, v, f->name, "type", &type, r->e);
    if (st || json_is(type, "text"))
        return st;
    return turns_refuse(r->e, f->name, "text format", type);
}

static int read_verbosity(struct reader *r, const struct field *f, const struct json *v)
{
    if (v->type != JSON_STR)
        return wrong_type(r->e, f->name, "a string", v);
    if (json_is(v, "low") || json_is(v, "medium") || json_is(v, "high"))
        return 0;
    return err_param(r->e, ST_INVALID_VALUE, f->name, "'%s' must be low, medium or high.", f->name);
}

static int read_text(struct reader *r, const struct field *f, const struct json *v)
{
    static const struct field members[] = {ROW("text.format", BOTH, read_format),
                                           ROW("text.verbosity", BOTH, read_verbosity)};
    return read_members(r, f, v, members, sizeof members / sizeof *members);
}

static int read_reasoning(struct reader *r, const struct field *f, const struct json *v)
{
    static const struct field members[] = {
        ROW("reasoning.effort", BOTH, read_effort),
        ROW("reasoning.summary", BOTH, any_string, .hi = 64),
        ROW("reasoning.generate_summary", BOTH, any_string, .hi = 64)};
    return read_members(r, f, v, members, sizeof members / sizeof *members);
}

static int read_choice(struct reader *r, const struct field *f, const struct json *v)
{
    return json_is(v, "none") || json_is(v, "auto") ? 0 : refuse(r->e, f->name);
}

static int read_truncation(struct reader *r, const struct field *f, const struct json *v)
{
    if (v->type != JSON_STR)
        return wrong_type(r->e, f->name, "a string", v);
    return json_is(v, "disabled") ? 0 : refuse(r->e, f->name);
}

/* More about items of kinds that no answer has here adds nothing. */
static int read_include(struct reader *r, const struct field *f, const struct json *v)
{
    char name[64];
    int i = 0;
    if (v->type != JSON_ARR)
        return wrong_type(r->e, f->name, "an array of strings", v);
    for (const struct json *k = json_child(r->d, v); k; k = json_next(r->d, k), i++) {
        snprintf(name, sizeof name, "%s[%d]", f->name, i);
        if (k->type != JSON_STR)
            return wrong_type(r->e, name, "a string", k);
        if (json_is(k, "message.output_text.logprobs"))
            return refuse(r->e, name);
    }
    return 0;
}

static int read_calls(struct reader *r, const struct field *f, const struct json *v)
{
    if (v->type != JSON_NUM || !v->is_int)
        return wrong_type(r->e, f->name, "an integer", v);
    return v->i >= 1
               ? 0
               : err_param(r->e, ST_INVALID_VALUE, f->name, "'%s' must be at least 1.", f->name);
}

static const struct field rows[] = {
    ROW("input", BOTH, any_text, .required = true),
    ROW("instructions", BOTH, any_string, .hi = INFINITY),
    ROW("max_output_tokens", BOTH, read_int, .off = offsetof(struct genreq, max_tokens), .lo = 1,
        .hi = I53),
    ROW("metadata", BOTH, read_metadata),
    ROW("text", BOTH, read_text),
    ROW("reasoning", BOTH, read_reasoning),
    ROW("truncation", BOTH, read_truncation),
    ROW("include", BOTH, read_include),
    ROW("top_logprobs", BOTH, read_only, .lo = 0, .hi = 20, .only = 0),
    ROW("tools", BOTH, read_no_items),
    ROW("tool_choice", BOTH, read_choice),
    ROW("parallel_tool_calls", BOTH, any_bool),
    ROW("max_tool_calls", BOTH, read_calls),
    ROW("store", BOTH, any_bool),
    ROW("background", BOTH, only_false),
    ROW("previous_response_id", BOTH, not_built),
    ROW("conversation", BOTH, not_built),
    ROW("prompt", BOTH, not_built),
    ROW("context_management", BOTH, not_built),
    ROW("safety_identifier", BOTH, any_string, .hi = 512),
    ROW("prompt_cache_key", BOTH, any_string, .hi = 512),
    ROW("chat_template_kwargs", BOTH, any_object),
    /* known to the other endpoints, but an answer of this one has no place for them, or another
     * name */
    ROW("messages", BOTH, not_built),
    ROW("n", BOTH, read_only, .lo = 1, .hi = I53, .only = 1),
    ROW("stop", BOTH, not_built),
    ROW("max_tokens", BOTH, not_built),
    ROW("max_completion_tokens", BOTH, not_built),
    ROW("reasoning_effort", BOTH, not_built),
    ROW("logprobs", BOTH, not_built),
    ROW("prompt_logprobs", BOTH, not_built),
    ROW("echo", BOTH, only_false),
    ROW("return_token_ids", BOTH, only_false),
    ROW("return_tokens_as_token_ids", BOTH, only_false),
};
enum { N_ROWS = sizeof rows / sizeof *rows };
_Static_assert((int)N_ROWS <= (int)MAX_OWN, "too many rows");

/* ---- input ---- */

static int check_part(const struct json_doc *d, const struct json *part, const char *at,
                      const struct json **text, struct err *e)
{
    const struct json *type;
    char param[96];
    if (part->type != JSON_OBJ)
        return wrong_type(e, at, "an object", part);
    int st = turns_string(d, part, at, "type", &type, e);
    if (st)
        return st;
    if (json_is(type, "input_text") || json_is(type, "output_text") || json_is(type, "text"))
        return turns_string(d, part, at, "text", text, e);
    if (json_is(type, "refusal"))
        return turns_string(d, part, at, "refusal", text, e);
    snprintf(param, sizeof param, "%.70s.type", at);
    return turns_refuse(e, param, "content part type", type);
}

static int put_parts(struct turns *t, const char *role, const struct json *list, int i,
                     struct err *e)
{
    char at[64];
    int k = 0, st = 0;
    snprintf(at, sizeof at, "input[%d].content", i);
    if (list->type != JSON_ARR)
        return wrong_type(e, at, "a string or an array of parts", list);
    if (list->n == 0)
        return err_param(e, ST_INVALID_LENGTH, at, "'%s' must not be empty.", at);
    turns_open(t, role);
    for (const struct json *p = json_child(t->d, list); p && st == 0; p = json_next(t->d, p)) {
        const struct json *text = NULL;
        snprintf(at, sizeof at, "input[%d].content[%d]", i, k++);
        st = check_part(t->d, p, at, &text, e);
        if (st == 0 && text)
            turns_part(t, (struct view){text->s, text->n});
    }
    turns_close(t);
    return st;
}

/* Who speaks; NULL and the error. */
static const char *role_of(const struct json_doc *d, const struct json *item, int i, struct err *e)
{
    static const char *const known[] = {"user", "assistant", "system", "developer"};
    const struct json *role;
    char at[64];
    snprintf(at, sizeof at, "input[%d]", i);
    if (turns_string(d, item, at, "role", &role, e))
        return NULL;
    for (size_t k = 0; k < sizeof known / sizeof *known; k++)
        if (json_is(role, known[k]))
            return known[k];
    snprintf(at, sizeof at, "input[%d].role", i);
    err_param(e, ST_INVALID_VALUE, at, "'%s' must be user, assistant, system or developer.", at);
    return NULL;
}

static int put_item(struct turns *t, const struct json *item, int i, struct err *e)
{
    char at[64];
    struct err why = {0};
    snprintf(at, sizeof at, "input[%d]", i);
    if (item->type != JSON_OBJ)
        return wrong_type(e, at, "an object", item);
    const struct json *type = json_get(t->d, item, "type");
    snprintf(at, sizeof at, "input[%d].type", i);
    if (type && type->type != JSON_STR)
        return wrong_type(e, at, "a string", type);
    if (type && !json_is(type, "message"))
        return turns_refuse(e, at, "input item type", type);
    const char *role = role_of(t->d, item, i, &why);
    if (!role) {
        *e = why;
        return why.st;
    }
    const struct json *content = json_get(t->d, item, "content");
    snprintf(at, sizeof at, "input[%d].content", i);
    if (!content || content->type == JSON_NULL)
        return err_param(e, ST_MISSING, at, "'%s' is required.", at);
    if (content->type != JSON_STR)
        return put_parts(t, role, content, i, e);
    turns_say(t, role, (struct view){content->s, content->n});
    return 0;
}

static int put_input(struct turns *t, const struct json *v, struct err *e)
{
    int i = 0, st = 0;
    if (v->type == JSON_STR) {
        turns_say(t, "user", (struct view){v->s, v->n});
        return 0;
    }
    if (v->n == 0 || v->n > MAX_MESSAGES)
        return err_param(e, ST_INVALID_LENGTH, "input", "'input' must have between 1 and %d items.",
                         MAX_MESSAGES);
    for (const struct json *k = json_child(t->d, v); k && st == 0; k = json_next(t->d, k))
        st = put_item(t, k, i++, e);
    return st;
}

/* ---- what the answer repeats ---- */

static const struct json *given(const struct json_doc *d, const struct json *obj, const char *key)
{
    const struct json *v = json_get(d, obj, key);
    return v && v->type != JSON_NULL ? v : NULL;
}

/* "key":the string of that key, or null */
static void show_string(struct buf *b, const struct json_doc *d, const struct json *obj,
                        const char *key)
{
    const struct json *v = given(d, obj, key);
    out_fmt(b, "\"%s\":", key);
    if (v)
        out_json(b, v->s, v->n);
    else
        out_str(b, "null");
}

static void show_metadata(struct buf *b, const struct json_doc *d, const struct json *v)
{
    const char *comma = "";
    out_str(b, ",\"metadata\":{");
    for (const struct json *k = v ? json_child(d, v) : NULL; k; k = json_next(d, k)) {
        out_str(b, comma);
        out_json(b, k->key, k->n_key);
        out_str(b, ":");
        out_json(b, k->s, k->n);
        comma = ",";
    }
    out_str(b, "},");
}

static void show(struct genreq *g, const struct json_doc *d)
{
    struct buf *b = &g->shown;
    const struct json *root = &d->v[0], *text = given(d, root, "text");
    const struct json *parallel = given(d, root, "parallel_tool_calls");
    const struct json *calls = given(d, root, "max_tool_calls");
    b->soft = true;
    show_string(b, d, root, "instructions");
    show_metadata(b, d, given(d, root, "metadata"));
    show_string(b, d, root, "user");
    out_str(b, ",");
    show_string(b, d, root, "safety_identifier");
    out_str(b, ",");
    show_string(b, d, root, "prompt_cache_key");
    out_fmt(b, ",\"tools\":[],\"tool_choice\":\"%s\",\"parallel_tool_calls\":%s",
            json_is(given(d, root, "tool_choice"), "none") ? "none" : "auto",
            parallel && !parallel->boolean ? "false" : "true");
    if (calls)
        out_fmt(b, ",\"max_tool_calls\":%lld", (long long)calls->i);
    if (g->max_tokens != INT64_MIN)
        out_fmt(b, ",\"max_output_tokens\":%lld", (long long)g->max_tokens);
    else
        out_str(b, ",\"max_output_tokens\":null");
    out_str(b, ",\"text\":{\"format\":{\"type\":\"text\"}");
    if (given(d, text, "verbosity")) {
        out_str(b, ",");
        show_string(b, d, text, "verbosity");
    }
    out_str(b, "},\"reasoning\":{");
    show_string(b, d, given(d, root, "reasoning"), "effort");
    out_str(b, ",\"summary\":null}");
}

static int read_input(struct genreq *g, const struct json_doc *d, const struct gen_rules *u,
                      struct err *e)
{
    const struct json *root = &d->v[0], *instructions = given(d, root, "instructions");
    struct turns t;
    show(g, d);
    if (g->shown.oom)
        return err_set(e, ST_NOMEM, "This server has no memory left for this request.");
    turns_begin(&t, d);
    t.effort = given(d, given(d, root, "reasoning"), "effort");
    if (instructions && instructions->n)
        turns_say(&t, "system", (struct view){instructions->s, instructions->n});
    int st = put_input(&t, given(d, root, "input"), e);
    if (st == 0)
        return turns_end(&t, g, u, e);
    turns_drop(&t);
    return st;
}

const struct dialect dialect_responses = {.chat = true,
                                          .where = BOTH,
                                          .prompt = "input",
                                          .max_tokens = "max_output_tokens",
                                          .rows = rows,
                                          .n_rows = N_ROWS,
                                          .read = read_input,
                                          .copies = 4};
