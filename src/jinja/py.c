/* SPDX-License-Identifier: Apache-2.0 */
/* py.c - what Python thinks of values: truth, equality, order, membership, iteration.
 *
 * Nested containers are followed to JINJA_MAX_NEST levels at most.
 */
#include "py.h"

#include "str.h"

const char *jkind_name(struct jv v)
{
    static const char *const names[] = {
        [JV_ABSENT] = "nothing",   [JV_UNDEF] = "Undefined", [JV_NONE] = "NoneType",
        [JV_BOOL] = "bool",        [JV_INT] = "int",         [JV_FLOAT] = "float",
        [JV_BIG] = "int",          [JV_STR] = "str",         [JV_LIST] = "list",
        [JV_TUPLE] = "tuple",      [JV_GEN] = "generator",   [JV_VIEW] = "dict_items",
        [JV_RANGE] = "range",      [JV_DICT] = "dict",       [JV_NS] = "Namespace",
        [JV_LOOP] = "LoopContext", [JV_MACRO] = "Macro",     [JV_FUNC] = "function",
        [JV_METHOD] = "method",    [JV_CYCLER] = "Cycler",   [JV_JOINER] = "Joiner"};
    return names[v.k];
}

bool jint_of(struct jv v, int64_t *i)
{
    if (v.k == JV_INT)
        *i = v.i;
    else if (v.k == JV_BOOL)
        *i = v.b;
    else
        return false;
    return true;
}

bool jnumber(struct jv v, double *f)
{
    if (v.k == JV_INT)
        *f = (double)v.i;
    else if (v.k == JV_BOOL)
        *f = v.b;
    else if (v.k == JV_FLOAT)
        *f = v.f;
    else
        return false;
    return true;
}

bool jis_seq(struct jv v)
{
    return v.k == JV_LIST || v.k == JV_TUPLE || v.k == JV_RANGE;
}

bool jiterable(struct jv v)
{
    switch (v.k) {
    case JV_UNDEF:
    case JV_STR:
    case JV_LIST:
    case JV_TUPLE:
    case JV_GEN:
    case JV_VIEW:
    case JV_RANGE:
    case JV_DICT:
    case JV_LOOP:
        return true;
    default:
        return false;
    }
}

bool jtruth(struct jv v)
{
    switch (v.k) {
    case JV_ABSENT:
    case JV_UNDEF:
    case JV_NONE:
        return false;
    case JV_BOOL:
        return v.b;
    case JV_INT:
        return v.i != 0;
    case JV_FLOAT:
        return v.f != 0;
    case JV_STR:
        return v.s->n != 0;
    case JV_LIST:
    case JV_TUPLE:
    case JV_VIEW:
    case JV_RANGE:
        return v.l->n != 0;
    case JV_DICT:
        return v.d->n != 0;
    default:
        return true;
    }
}

static bool lists_equal(struct jrun *r, const struct jlist *a, const struct jlist *b)
{
    if (a->n != b->n)
        return false;
    for (uint32_t i = 0; i < a->n; i++)
        if (!jequal(r, a->v[i], b->v[i]))
            return false;
    return true;
}

static bool dicts_equal(struct jrun *r, const struct jdict *a, const struct jdict *b)
{
    if (a->n != b->n)
        return false;
    for (uint32_t i = 0; i < a->n; i++) {
        const struct jv *v = jdict_get(r, b, a->v[i].key);
        if (!v || !jequal(r, a->v[i].v, *v))
            return false;
    }
    return true;
}

static bool same_box(struct jrun *r, struct jv a, struct jv b)
{
    bool yes;
    if (a.l == b.l)
        return true;
    jenter(r);
    yes = a.k == JV_DICT ? dicts_equal(r, a.d, b.d) : lists_equal(r, a.l, b.l);
    r->depth--;
    return yes;
}

bool jequal(struct jrun *r, struct jv a, struct jv b)
{
    double x, y;
    int64_t i, j;
    jcharge(r, 1);
    if (jint_of(a, &i) && jint_of(b, &j))
        return i == j;
    if (jnumber(a, &x) && jnumber(b, &y))
        return x == y;
    if (a.k != b.k)
        return false;
    switch (a.k) {
    case JV_UNDEF:
    case JV_NONE:
        return true;
    case JV_STR:
        jcharge(r, a.s->n == b.s->n ? a.s->n / 64 : 0);
        return jstr_eq(a.s, b.s);
    case JV_BIG:
        return jstr_eq(a.s, b.s);
    case JV_VIEW:
    case JV_LIST:
    case JV_TUPLE:
    case JV_RANGE:
    case JV_DICT:
        return same_box(r, a, b);
    case JV_FUNC:
        return a.func == b.func;
    default:
        return a.l == b.l; /* identity */
    }
}

static int compare_big(const struct jstr *a, const struct jstr *b)
{
    bool na = a->p[0] == '-', nb = b->p[0] == '-';
    int c;
    if (na != nb)
        return na ? -1 : 1;
    c = a->n != b->n ? (a->n < b->n ? -1 : 1) : memcmp(a->p, b->p, a->n);
    return na ? -c : c;
}

static int compare_lists(struct jrun *r, struct jv a, struct jv b, const char *op)
{
    uint32_t n = a.l->n < b.l->n ? a.l->n : b.l->n;
    int c = a.l->n < b.l->n ? -1 : a.l->n > b.l->n;
    jenter(r);
    for (uint32_t i = 0; i < n; i++)
        if (!jequal(r, a.l->v[i], b.l->v[i])) {
            c = jcompare(r, a.l->v[i], b.l->v[i], op);
            break;
        }
    r->depth--;
    return c;
}

int jcompare(struct jrun *r, struct jv a, struct jv b, const char *op)
{
    double x, y;
    int64_t i, j;
    jcharge(r, 1);
    if (a.k == JV_UNDEF)
        jfail_undef(r, a);
    if (b.k == JV_UNDEF)
        jfail_undef(r, b);
    if (jint_of(a, &i) && jint_of(b, &j))
        return i < j ? -1 : i > j;
    if (jnumber(a, &x) && jnumber(b, &y))
        return x < y ? -1 : x > y ? 1 : x == y ? 0 : 2;
    if (a.k == JV_STR && b.k == JV_STR) {
        uint32_t n = a.s->n < b.s->n ? a.s->n : b.s->n;
        int c = memcmp(a.s->p, b.s->p, n); /* UTF-8 keeps the order of code points */
        jcharge(r, n / 64);
        return c ? c : a.s->n < b.s->n ? -1 : a.s->n > b.s->n;
    }
    if (a.k == b.k && (a.k == JV_LIST || a.k == JV_TUPLE))
        return compare_lists(r, a, b, op);
    if (a.k == JV_BIG && b.k == JV_BIG)
        return compare_big(a.s, b.s);
    if (a.k == JV_BIG && jnumber(b, &y))
        return a.s->p[0] == '-' ? -1 : 1;
    if (b.k == JV_BIG && jnumber(a, &x))
        return b.s->p[0] == '-' ? 1 : -1;
    jfail(r, "'%s' not supported between instances of '%s' and '%s'", op, jkind_name(a),
          jkind_name(b));
}

bool jcontains(struct jrun *r, struct jv box, struct jv item)
{
    const struct jlist *l;
    switch (box.k) {
    case JV_STR:
        if (item.k != JV_STR)
            jfail(r, "'in <string>' requires string as left operand, not %s", jkind_name(item));
        return jstr_find(r, box.s, item.s, 0) != SIZE_MAX;
    case JV_DICT:
        if (item.k == JV_LIST || item.k == JV_DICT)
            jfail(r, "unhashable type: '%s'", jkind_name(item));
        return jdict_get(r, box.d, item) != NULL;
    default:
        if (!jiterable(box))
            jfail(r, "argument of type '%s' is not iterable", jkind_name(box));
        l = jiter(r, box);
        for (uint32_t i = 0; i < l->n; i++)
            if (jequal(r, l->v[i], item))
                return true;
        return false;
    }
}

int64_t jlength(struct jrun *r, struct jv v)
{
    switch (v.k) {
    case JV_UNDEF:
        return 0;
    case JV_STR:
        return jstr_chars(r, v.s);
    case JV_LIST:
    case JV_TUPLE:
    case JV_VIEW:
    case JV_RANGE:
        return v.l->n;
    case JV_DICT:
        return v.d->n;
    case JV_LOOP:
        return v.loop->items->n;
    default:
        return -1;
    }
}

struct jlist *jiter(struct jrun *r, struct jv v)
{
    struct jlist *l;
    switch (v.k) {
    case JV_LIST:
    case JV_TUPLE:
    case JV_VIEW:
    case JV_RANGE:
        return v.l;
    case JV_GEN:
        l = jlist_new(r, 0);
        l->n = l->cap = v.l->n - v.l->at;
        l->v = l->n > 0 ? v.l->v + v.l->at : NULL;
        v.l->at = v.l->n;
        return l;
    case JV_UNDEF:
        return jlist_new(r, 0);
    case JV_STR:
        return jstr_char_list(r, v.s).l;
    case JV_DICT:
        l = jlist_new(r, v.d->n);
        for (uint32_t i = 0; i < v.d->n; i++)
            jlist_add(r, l, v.d->v[i].key);
        return l;
    default:
        jfail(r, "'%s' object is not iterable", jkind_name(v));
    }
}
