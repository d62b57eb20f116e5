/* SPDX-License-Identifier: Apache-2.0 */
/* messages.c - what /v1/messages and its count_tokens are asked, in Anthropic's shape: their own
 * fields, and the translation of `system` and `messages`. Pure; any thread.
 */
#include "prompt.h"
#include "turns.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define I53 9007199254740992.0

/* ---- fields ---- */

static int read_sequences(struct reader *r, const struct field *f, const struct json *v)
{
    return v->type == JSON_ARR ? read_stop(r, f, v)
                               : wrong_type(r->e, f->name, "an array of strings", v);
}

static int read_user(struct reader *r, const struct field *f, const struct json *v)
{
    static const struct field id = {.name = "metadata.user_id", .hi = 512};
    if (v->type != JSON_OBJ)
        return wrong_type(r->e, f->name, "an object", v);
    const struct json *user = json_get(r->d, v, "user_id");
    return user && user->type != JSON_NULL ? any_string(r, &id, user) : 0;
}

/* An object with a `type`: one of the two that change nothing here. */
static int only_types(struct reader *r, const struct field *f, const struct json *v, const char *a,
                      const char *b)
{
    const struct json *type;
    if (v->type != JSON_OBJ)
        return wrong_type(r->e, f->name, "an object", v);
    int st = turns_string(r->d, v, f->name, "type", &type, r->e);
    if (st)
        return st;
    return json_is(type, a) || json_is(type, b) ? 0 : refuse(r->e, f->name);
}

static int read_thinking(struct reader *r, const struct field *f, const struct json *v)
{
    return only_types(r, f, v, "disabled", "disabled");
}

static int read_choice_type(struct reader *r, const struct field *f, const struct json *v)
{
    return only_types(r, f, v, "none", "auto");
}

static int read_cache(struct reader *r, const struct field *f, const struct json *v)
{
    r->g->tell_cached = true;
    return any_object(r, f, v);
}

static const struct field rows[] = {
    ROW("messages", BOTH, any_array, .required = true),
    ROW("system", BOTH, any_text),
    ROW("stop_sequences", BOTH, read_sequences),
    ROW("metadata", BOTH, read_user),
    ROW("cache_control", BOTH, read_cache),
    ROW("tools", BOTH, read_no_items),
    ROW("tool_choice", BOTH, read_choice_type),
    ROW("thinking", BOTH, read_thinking),
    ROW("mcp_servers", BOTH, read_no_items),
    ROW("container", BOTH, not_built),
    ROW("context_management", BOTH, not_built),
    ROW("output_config", BOTH, not_built),
    ROW("output_format", BOTH, not_built),
    ROW("speed", BOTH, no_effect),
    ROW("inference_geo", BOTH, no_effect),
    ROW("chat_template_kwargs", BOTH, any_object),
    /* known to the other endpoints, but an answer of this one has no place for them, or another
     * name */
    ROW("n", BOTH, read_only, .lo = 1, .hi = I53, .only = 1),
    ROW("stop", BOTH, not_built),
    ROW("max_completion_tokens", BOTH, not_built),
    ROW("reasoning_effort", BOTH, not_built),
    ROW("logprobs", BOTH, not_built),
    ROW("top_logprobs", BOTH, not_built),
    ROW("prompt_logprobs", BOTH, not_built),
    ROW("echo", BOTH, only_false),
    ROW("return_token_ids", BOTH, only_false),
    ROW("return_tokens_as_token_ids", BOTH, only_false),
    /* last, for count_tokens has all but this */
    ROW("max_tokens", BOTH, read_int, .off = offsetof(struct genreq, max_tokens), .lo = 1,
        .hi = I53, .required = true),
};
enum { N_ROWS = sizeof rows / sizeof *rows };
_Static_assert((int)N_ROWS <= (int)MAX_OWN, "too many rows");

/* ---- messages ---- */

/* A text block; what is marked for caching is noted. */
static int check_block(struct genreq *g, const struct json_doc *d, const struct json *block,
                       const char *at, const struct json **text, struct err *e)
{
    const struct json *type, *mark;
    char param[96];
    if (block->type != JSON_OBJ)
        return wrong_type(e, at, "an object", block);
    int st = turns_string(d, block, at, "type", &type, e);
    if (st)
        return st;
    if (!json_is(type, "text")) {
        snprintf(param, sizeof param, "%.70s.type", at);
        return turns_refuse(e, param, "content block type", type);
    }
    mark = json_get(d, block, "cache_control");
    g->tell_cached |= mark && mark->type != JSON_NULL;
    return turns_string(d, block, at, "text", text, e);
}

static int add_blocks(struct turns *t, struct genreq *g, const struct json *list, const char *at,
                      struct err *e)
{
    char name[96];
    int i = 0;
    for (const struct json *b = json_child(t->d, list); b; b = json_next(t->d, b), i++) {
        const struct json *text = NULL;
        snprintf(name, sizeof name, "%.60s[%d]", at, i);
        int st = check_block(g, t->d, b, name, &text, e);
        if (st || !text)
            return st;
        turns_part(t, (struct view){text->s, text->n});
    }
    return 0;
}

static int put_system(struct turns *t, struct genreq *g, const struct json *v, struct err *e)
{
    if (!v || v->type == JSON_NULL || v->n == 0)
        return 0;
    if (v->type == JSON_STR) {
        turns_say(t, "system", (struct view){v->s, v->n});
        return 0;
    }
    turns_open(t, "system");
    int st = add_blocks(t, g, v, "system", e);
    turns_close(t);
    return st;
}

/* Role and content's type; the blocks are looked at one by one. */
static int check_message(const struct json_doc *d, const struct json *m, int i, struct err *e)
{
    char at[64];
    const struct json *role, *content;
    snprintf(at, sizeof at, "messages[%d]", i);
    if (m->type != JSON_OBJ)
        return wrong_type(e, at, "an object", m);
    int st = turns_string(d, m, at, "role", &role, e);
    if (st)
        return st;
    snprintf(at, sizeof at, "messages[%d].role", i);
    if (!json_is(role, "user") && !json_is(role, "assistant"))
        return err_param(e, ST_INVALID_VALUE, at, "'%s' must be user or assistant.", at);
    content = json_get(d, m, "content");
    snprintf(at, sizeof at, "messages[%d].content", i);
    if (!content || content->type == JSON_NULL)
        return err_param(e, ST_MISSING, at, "'%s' is required.", at);
    if (content->type != JSON_STR && content->type != JSON_ARR)
        return wrong_type(e, at, "a string or an array of blocks", content);
    return 0;
}

static bool is_assistant(const struct json_doc *d, const struct json *m)
{
    return json_is(json_get(d, m, "role"), "assistant");
}

static int add_content(struct turns *t, struct genreq *g, const struct json *m, int i,
                       struct err *e)
{
    const struct json *content = json_get(t->d, m, "content");
    char at[64];
    if (content->type == JSON_STR) {
        turns_part(t, (struct view){content->s, content->n});
        return 0;
    }
    snprintf(at, sizeof at, "messages[%d].content", i);
    if (content->n == 0)
        return err_param(e, ST_INVALID_LENGTH, at, "'%s' must not be empty.", at);
    return add_blocks(t, g, content, at, e);
}

/* Messages in a row from one side are one turn; *m becomes the first that is not of it. */
static int put_turn(struct turns *t, struct genreq *g, const struct json **m, int *i, struct err *e)
{
    const struct json_doc *d = t->d;
    const struct json *next = json_next(d, *m), *content = json_get(d, *m, "content");
    bool ours = is_assistant(d, *m);
    const char *role = ours ? "assistant" : "user";
    if (content->type == JSON_STR && (!next || is_assistant(d, next) != ours)) {
        turns_say(t, role, (struct view){content->s, content->n});
        *m = next;
        (*i)++;
        return 0;
    }
    int st = 0;
    turns_open(t, role);
    for (; *m && is_assistant(d, *m) == ours && st == 0; *m = json_next(d, *m), (*i)++)
        st = add_content(t, g, *m, *i, e);
    turns_close(t);
    return st;
}

/* An empty last message of the assistant says where its answer begins, and no more. */
static bool is_empty_start(const struct json_doc *d, const struct json *m)
{
    const struct json *content = json_get(d, m, "content");
    return !json_next(d, m) && is_assistant(d, m) && content->n == 0;
}

static int put_messages(struct turns *t, struct genreq *g, const struct json *list, struct err *e)
{
    const struct json_doc *d = t->d;
    int i = 0, st = 0;
    if (list->n == 0 || list->n > MAX_MESSAGES)
        return err_param(e, ST_INVALID_LENGTH, "messages",
                         "'messages' must have between 1 and %d items.", MAX_MESSAGES);
    for (const struct json *m = json_child(d, list); m && st == 0; m = json_next(d, m))
        st = check_message(d, m, i++, e);
    i = 0;
    for (const struct json *m = json_child(d, list); m && st == 0;) {
        if (is_empty_start(d, m)) {
            t->go_on = false;
            break;
        }
        t->go_on = is_assistant(d, m);
        st = put_turn(t, g, &m, &i, e);
    }
    return st;
}

static int read_messages(struct genreq *g, const struct json_doc *d, const struct gen_rules *u,
                         struct err *e)
{
    const struct json *root = &d->v[0];
    struct turns t;
    turns_begin(&t, d);
    t.no_thinking = json_is(json_get(d, json_get(d, root, "thinking"), "type"), "disabled");
    int st = put_system(&t, g, json_get(d, root, "system"), e);
    st = st ? st : put_messages(&t, g, json_get(d, root, "messages"), e);
    if (st == 0)
        return turns_end(&t, g, u, e);
    turns_drop(&t);
    return st;
}

const struct dialect dialect_messages = {.chat = true,
                                         .where = BOTH,
                                         .prompt = "messages",
                                         .max_tokens = "max_tokens",
                                         .rows = rows,
                                         .n_rows = N_ROWS,
                                         .read = read_messages};
const struct dialect dialect_count = {.chat = true,
                                      .count_only = true,
                                      .where = BOTH,
                                      .prompt = "messages",
                                      .max_tokens = "max_tokens",
                                      .rows = rows,
                                      .n_rows = N_ROWS - 1,
                                      .read = read_messages};
