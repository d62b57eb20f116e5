/* SPDX-License-Identifier: Apache-2.0 */
/* turns.c - see turns.h. */
#include "turns.h"

#include "prompt.h"
#include "utf8.h"

#include <stdio.h>
#include <string.h>

static const struct view no_key = {NULL, 0};

static struct view word(const char *s)
{
    return (struct view){s, strlen(s)};
}

void turns_begin(struct turns *t, const struct json_doc *d)
{
    *t = (struct turns){.d = d};
    json_make_begin(&t->m, &t->made, d->n_src);
    json_make_open(&t->m, no_key, JSON_OBJ);
    json_make_open(&t->m, word("messages"), JSON_ARR);
}

void turns_say(struct turns *t, const char *role, struct view text)
{
    json_make_open(&t->m, no_key, JSON_OBJ);
    json_make_str(&t->m, word("role"), word(role));
    json_make_str(&t->m, word("content"), text);
    json_make_close(&t->m);
}

void turns_open(struct turns *t, const char *role)
{
    json_make_open(&t->m, no_key, JSON_OBJ);
    json_make_str(&t->m, word("role"), word(role));
    json_make_open(&t->m, word("content"), JSON_ARR);
}

void turns_part(struct turns *t, struct view text)
{
    json_make_open(&t->m, no_key, JSON_OBJ);
    json_make_str(&t->m, word("type"), word("text"));
    json_make_str(&t->m, word("text"), text);
    json_make_close(&t->m);
}

void turns_close(struct turns *t)
{
    json_make_close(&t->m);
    json_make_close(&t->m);
}

void turns_drop(struct turns *t)
{
    t->m.st = ST_BAD_REQUEST; /* half made */
    json_make_end(&t->m);
}

static void put_options(struct turns *t)
{
    const struct json *kwargs = json_get(t->d, &t->d->v[0], "chat_template_kwargs");
    if (t->effort)
        json_make_str(&t->m, word("reasoning_effort"), (struct view){t->effort->s, t->effort->n});
    else if (t->no_thinking)
        json_make_str(&t->m, word("reasoning_effort"), word("none"));
    if (t->go_on)
        json_make_bool(&t->m, word("continue_final_message"), true);
    if (kwargs &&
        kwargs->type == JSON_OBJ) /* last: the only values that know a place in a source */
        json_make_copy(&t->m, t->d, kwargs);
}

int turns_end(struct turns *t, struct genreq *g, const struct gen_rules *u, struct err *e)
{
    json_make_close(&t->m); /* messages */
    put_options(t);
    json_make_close(&t->m);
    if (json_make_end(&t->m) != 0)
        return err_set(e, ST_NOMEM, "This server has no memory left for this request.");
    int st = prompt_messages(u, &t->made, true, g->add_special, &g->ids, e);
    if (st && e)
        snprintf(e->param, sizeof e->param, "%s", g->dialect->prompt);
    json_free(&t->made);
    return st;
}

int turns_refuse(struct err *e, const char *param, const char *kind, const struct json *type)
{
    size_t n = type->n < 64 ? type->n : 64;
    return err_param(e, ST_UNSUPPORTED, param, "The %s '%.*s' is not supported by this server.",
                     kind, (int)utf8_valid_prefix(type->s, n), type->s);
}

int turns_string(const struct json_doc *d, const struct json *obj, const char *at, const char *key,
                 const struct json **out, struct err *e)
{
    char param[96];
    snprintf(param, sizeof param, "%.70s.%s", at, key);
    *out = json_get(d, obj, key);
    if (!*out || (*out)->type == JSON_NULL)
        return err_param(e, ST_MISSING, param, "'%s' is required.", param);
    return (*out)->type == JSON_STR ? 0 : wrong_type(e, param, "a string", *out);
}

int read_no_items(struct reader *r, const struct field *f, const struct json *v)
{
    if (v->type != JSON_ARR)
        return wrong_type(r->e, f->name, "an array", v);
    return v->n ? refuse(r->e, f->name) : 0;
}

int any_text(struct reader *r, const struct field *f, const struct json *v)
{
    return v->type == JSON_STR || v->type == JSON_ARR
               ? 0
               : wrong_type(r->e, f->name, "a string or an array", v);
}
