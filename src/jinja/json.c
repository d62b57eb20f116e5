/* SPDX-License-Identifier: Apache-2.0 */
/* json.c - the request's JSON document to template values.
 *
 * Templates print numbers back, so what was written matters: 1.0 stays a float,
 * 12345678901234567890 stays whole; keys keep their order. Nothing recurses: open containers stand
 * on an explicit stack of bounded depth. Strings are not copied.
 */
#include "repr.h"

enum {
    JSON_DEPTH = 160
}; /* a body's own bound, and once more for arguments read out of a string */

static struct jv number(struct jrun *r, const struct json *v)
{
    if (!v->whole)
        return jv_float(v->d);
    if (v->is_int)
        return jv_int(v->i);
    return (struct jv){.k = JV_BIG, .s = jstr_val(r, v->s, v->n, true).s};
}

/* One value; a container is made empty, with room for what it will hold. */
static struct jv value(struct jrun *r, const struct json *v, bool tainted)
{
    switch (v->type) {
    case JSON_NULL:
        return jv_none();
    case JSON_BOOL:
        return jv_bool(v->boolean);
    case JSON_NUM:
        return number(r, v);
    case JSON_STR:
        return jstr_val(r, v->s, v->n, tainted);
    case JSON_ARR:
        return jv_list(jlist_new(r, v->n), JV_LIST);
    default:
        return (struct jv){.k = JV_DICT, .d = jdict_new(r, v->n)};
    }
}

/* A role is a bare word of the protocol, not text of the caller's: templates make their markers of
 * it ('<|' + role + '|>'). Anything else under that name stays the caller's. */
static bool is_role(const struct json *v)
{
    if (v->type != JSON_STR || v->n > 32 || v->n_key != 4 || memcmp(v->key, "role", 4) != 0)
        return false;
    for (uint32_t i = 0; i < v->n; i++)
        if ((v->s[i] < 'a' || v->s[i] > 'z') && v->s[i] != '_')
            return false;
    return true;
}

static void put(struct jrun *r, struct jv box, const struct json *v, struct jv x)
{
    if (box.k == JV_DICT)
        jdict_set(r, box.d, jstr_val(r, v->key, v->n_key, true), x);
    else
        jlist_add(r, box.l, x);
}

struct jv jv_of_json(struct jrun *r, const struct json_doc *d, const struct json *root)
{
    struct {
        const struct json *v;
        struct jv box;
    } open[JSON_DEPTH];
    unsigned depth = 0;
    struct jv top = value(r, root, true);
    const struct json *v = json_child(d, root);
    if (v) {
        open[0].v = root;
        open[0].box = top;
        depth = 1;
    }
    while (depth) {
        struct jv x = value(r, v, !(v->key && is_role(v)));
        const struct json *child = json_child(d, v);
        put(r, open[depth - 1].box, v, x);
        if (child && depth == JSON_DEPTH) {
            err_set(r->e, ST_INVALID_JSON, "template variables: nested too deeply");
            longjmp(r->jump, 2);
        }
        if (child) {
            open[depth].v = v;
            open[depth++].box = x;
            v = child;
            continue;
        }
        while (depth && !json_next(d, v))
            v = open[--depth].v;
        if (depth)
            v = json_next(d, v);
    }
    return top;
}
