/* SPDX-License-Identifier: Apache-2.0 */
/* filter_seq.c - filters on sequences: choosing, ordering, grouping, joining.
 *
 * What Python makes lazily is made at once here; the result is still an iterator (JV_GEN) where
 * Jinja gives one. Sorting is stable and its comparisons are charged as work.
 */
#include "filter.h"

#include "call.h"
#include "case.h"
#include "operators.h"
#include "py.h"
#include "repr.h"
#include "str.h"
#define FILTER(name)                                                                               \
    static struct jv f_##name(struct jrun *r __attribute__((unused)),                              \
                              struct jv v __attribute__((unused)),                                 \
                              struct jcall *c __attribute__((unused)))

static struct jv fold(struct jrun *r, struct jv v, bool case_sensitive)
{
    return v.k == JV_STR && !case_sensitive ? jstr_case(r, v.s, CASE_LOWER) : v;
}

/* ---- attributes by name: "a.b.0" ---- */

static struct jv one_part(struct jrun *r, struct jv item, const struct jstr *s, size_t from,
                          size_t end)
{
    int64_t i = 0;
    size_t k = from;
    while (k < end && s->p[k] >= '0' && s->p[k] <= '9' && i < INT64_MAX / 100)
        i = i * 10 + (s->p[k++] - '0');
    if (k == end && end > from)
        return jget_item(r, item, jv_int(i));
    return jget_item(r, item, jstr_cut(r, s, from, end - from));
}

static struct jv path(struct jrun *r, struct jv item, const struct jstr *s, size_t from, size_t end,
                      struct jv dflt)
{
    for (size_t at = from;; at++) {
        size_t dot = at;
        while (dot < end && s->p[dot] != '.')
            dot++;
        item = one_part(r, item, s, at, dot);
        if (item.k == JV_UNDEF && dflt.k != JV_ABSENT && dflt.k != JV_NONE)
            item = dflt;
        at = dot;
        if (dot >= end)
            return item;
    }
}

/* attr absent or none: the item itself. */
static struct jv attr_of(struct jrun *r, struct jv item, struct jv attr, struct jv dflt)
{
    if (attr.k == JV_ABSENT || attr.k == JV_NONE)
        return item;
    if (attr.k == JV_STR)
        return path(r, item, attr.s, 0, attr.s->n, dflt);
    item = jget_item(r, item, attr);
    return item.k == JV_UNDEF && dflt.k != JV_ABSENT && dflt.k != JV_NONE ? dflt : item;
}

/* sort's "a,b.c": a list of values to order by. */
static struct jv sort_key(struct jrun *r, struct jv item, struct jv attr, bool case_sensitive)
{
    struct jlist *l;
    struct jv none = {0};
    if (attr.k != JV_STR || !memchr(attr.s->p, ',', attr.s->n))
        return fold(r, attr_of(r, item, attr, none), case_sensitive);
    l = jlist_new(r, 2);
    for (size_t at = 0, end; at <= attr.s->n; at = end + 1) {
        for (end = at; end < attr.s->n && attr.s->p[end] != ',';)
            end++;
        jlist_add(r, l, fold(r, path(r, item, attr.s, at, end, none), case_sensitive));
    }
    return jv_list(l, JV_LIST);
}

/* ---- ordering ---- */

struct keyed {
    struct jv key, v;
};

/* Bottom-up merge sort of n items; the result is in *v or in scratch memory, and returned. */
static struct keyed *merge_sort(struct jrun *r, struct keyed *v, uint32_t n, bool reverse)
{
    struct keyed *to = jalloc2(r, (size_t)n + 1, sizeof *to), *t;
    for (size_t w = 1; w < n; w *= 2) {
        for (size_t lo = 0; lo < n; lo += 2 * w) {
            size_t mid = lo + w < n ? lo + w : n, hi = lo + 2 * w < n ? lo + 2 * w : n;
            size_t a = lo, b = mid, k = lo;
            while (a < mid && b < hi) {
                int c = reverse ? jcompare(r, v[a].key, v[b].key, "<")
                                : jcompare(r, v[b].key, v[a].key, "<");
                to[k++] = c < 0 ? v[b++] : v[a++];
            }
            while (a < mid)
                to[k++] = v[a++];
            while (b < hi)
                to[k++] = v[b++];
        }
        t = v;
        v = to;
        to = t;
    }
    return v;
}

static struct jlist *sorted(struct jrun *r, const struct jlist *in, struct jv attr,
                            bool case_sensitive, bool reverse)
{
    struct keyed *v = jalloc2(r, (size_t)in->n + 1, sizeof *v);
    struct jlist *l = jlist_new(r, in->n);
    for (uint32_t i = 0; i < in->n; i++)
        v[i] = (struct keyed){sort_key(r, in->v[i], attr, case_sensitive), in->v[i]};
    v = merge_sort(r, v, in->n, reverse);
    for (uint32_t i = 0; i < in->n; i++)
        jlist_add(r, l, v[i].v);
    return l;
}

FILTER(sort)
{
    static const char *const names[] = {"reverse", "case_sensitive", "attribute", NULL};
    struct jv a[3];
    jbind(r, c, "sort", names, a);
    return jv_list(sorted(r, jiter(r, v), a[2], jarg_bool(a[1], false), jarg_bool(a[0], false)),
                   JV_LIST);
}
FILTER(dictsort)
{
    static const char *const names[] = {"case_sensitive", "by", "reverse", NULL};
    struct jv a[3], at = jv_int(0);
    struct jlist *l;
    jbind(r, c, "dictsort", names, a);
    if (a[1].k == JV_STR && jstr_is(a[1].s, "value"))
        at = jv_int(1);
    else if (a[1].k != JV_ABSENT && !(a[1].k == JV_STR && jstr_is(a[1].s, "key")))
        jfail(r, "You can only sort by either \"key\" or \"value\"");
    if (v.k != JV_DICT)
        jfail(r, "'%s' object has no attribute 'items'", jkind_name(v));
    l = jlist_new(r, v.d->n);
    for (uint32_t i = 0; i < v.d->n; i++)
        jlist_add(r, l, jtuple2(r, v.d->v[i].key, v.d->v[i].v));
    return jv_list(sorted(r, l, at, jarg_bool(a[0], false), jarg_bool(a[2], false)), JV_LIST);
}
FILTER(groupby)
{
    static const char *const names[] = {"attribute", "default", "case_sensitive", NULL};
    struct jv a[3], last = {0};
    struct jlist *out = jlist_new(r, 0), *in = jiter(r, v), *group = NULL;
    struct keyed *k = jalloc2(r, (size_t)in->n + 1, sizeof *k);
    bool exact;
    jbind(r, c, "groupby", names, a);
    exact = jarg_bool(a[2], false);
    if (a[0].k == JV_ABSENT)
        jfail(r, "groupby() needs an attribute");
    for (uint32_t i = 0; i < in->n; i++)
        k[i] = (struct keyed){fold(r, attr_of(r, in->v[i], a[0], a[1]), exact), in->v[i]};
    k = merge_sort(r, k, in->n, false);
    for (uint32_t i = 0; i < in->n; i++) {
        if (!group || !jequal(r, last, k[i].key)) {
            struct jv pair;
            group = jlist_new(r, 0);
            pair = jtuple2(r, attr_of(r, k[i].v, a[0], a[1]), jv_list(group, JV_LIST));
            pair.sub = 1;
            jlist_add(r, out, pair);
            last = k[i].key;
        }
        jlist_add(r, group, k[i].v);
    }
    return jv_list(out, JV_LIST);
}

static struct jv extreme(struct jrun *r, struct jv v, struct jcall *c, bool max)
{
    static const char *const names[] = {"case_sensitive", "attribute", NULL};
    struct jv a[2], none = {0}, best = {0}, best_key = {0};
    struct jlist *l = jiter(r, v);
    jbind(r, c, max ? "max" : "min", names, a);
    for (uint32_t i = 0; i < l->n; i++) {
        struct jv k = fold(r, attr_of(r, l->v[i], a[1], none), jarg_bool(a[0], false));
        if (i && (max ? jcompare(r, best_key, k, "<") : jcompare(r, k, best_key, "<")) >= 0)
            continue;
        best = l->v[i];
        best_key = k;
    }
    return l->n ? best : jundef_name(r, NULL);
}
FILTER(min)
{
    return extreme(r, v, c, false);
}
FILTER(max)
{
    return extreme(r, v, c, true);
}
FILTER(unique)
{
    static const char *const names[] = {"case_sensitive", "attribute", NULL};
    struct jv a[2], none = {0};
    struct jlist *l = jiter(r, v), *out = jlist_new(r, 0);
    struct jdict *seen = jdict_new(r, 0);
    jbind(r, c, "unique", names, a);
    for (uint32_t i = 0; i < l->n; i++) {
        struct jv k = fold(r, attr_of(r, l->v[i], a[1], none), jarg_bool(a[0], false));
        if (jdict_get(r, seen, k))
            continue;
        jdict_set(r, seen, k, jv_none());
        jlist_add(r, out, l->v[i]);
    }
    return jv_list(out, JV_GEN);
}
FILTER(reverse)
{
    struct jlist *l, *out;
    struct jv part[3] = {{0}, {0}, jv_int(-1)};
    jno_args(r, c, "the filter");
    if (v.k == JV_STR)
        return jslice(r, v, part);
    l = jiter(r, v);
    out = jlist_new(r, l->n);
    for (uint32_t i = l->n; i > 0; i--)
        jlist_add(r, out, l->v[i - 1]);
    return jv_list(out, JV_GEN);
}

/* ---- choosing ---- */

FILTER(first)
{
    struct jlist *l;
    jno_args(r, c, "the filter");
    l = jiter(r, v);
    return l->n ? l->v[0] : jundef_name(r, NULL);
}
FILTER(last)
{
    struct jlist *l;
    jno_args(r, c, "the filter");
    if (v.k == JV_GEN)
        jfail(r, "'generator' object is not reversible");
    l = jiter(r, v);
    return l->n ? l->v[l->n - 1] : jundef_name(r, NULL);
}
FILTER(list)
{
    struct jlist *l, *copy;
    jno_args(r, c, "the filter");
    l = jiter(r, v);
    copy = jlist_new(r, 0); /* lists are never written, so their items may be shared */
    copy->v = l->v;
    copy->n = copy->cap = l->n;
    return jv_list(copy, JV_LIST);
}
FILTER(items)
{
    struct jlist *l = jlist_new(r, 0);
    jno_args(r, c, "the filter");
    if (v.k != JV_DICT && v.k != JV_UNDEF)
        jfail(r, "Can only get item pairs from a mapping.");
    for (uint32_t i = 0; v.k == JV_DICT && i < v.d->n; i++)
        jlist_add(r, l, jtuple2(r, v.d->v[i].key, v.d->v[i].v));
    return jv_list(l, JV_GEN);
}

static struct jv choose(struct jrun *r, struct jv v, const struct jcall *c, bool by_attr, bool keep)
{
    struct jlist *l, *out = jlist_new(r, 0);
    struct jv attr = {0}, none = {0};
    const struct jtest *t = NULL;
    struct jcall rest = *c;
    if (!jtruth(v))
        return jv_list(out, JV_GEN);
    l = jiter(r, v);
    if (by_attr) {
        if (!rest.n_pos)
            jfail(r, "Missing parameter for attribute name");
        attr = *rest.pos++;
        rest.n_pos--;
    }
    if (rest.n_pos) {
        const struct jstr *name = jarg_str(r, *rest.pos++, "the test's name");
        rest.n_pos--;
        t = jtest_find(name->p, name->n);
        if (!t)
            jfail(r, "No test named '%.*s' found.", (int)(name->n % 65), name->p);
    }
    for (uint32_t i = 0; i < l->n; i++) {
        struct jv x = attr_of(r, l->v[i], attr, none);
        if ((t ? jtest_run(r, t, x, &rest) : jtruth(x)) == keep)
            jlist_add(r, out, l->v[i]);
    }
    return jv_list(out, JV_GEN);
}
FILTER(select)
{
    return choose(r, v, c, false, true);
}
FILTER(reject)
{
    return choose(r, v, c, false, false);
}
FILTER(selectattr)
{
    return choose(r, v, c, true, true);
}
FILTER(rejectattr)
{
    return choose(r, v, c, true, false);
}

/* ---- making ---- */

static struct jlist *map_attr(struct jrun *r, struct jv v, struct jcall *c)
{
    struct jlist *l = jiter(r, v), *out = jlist_new(r, l->n);
    struct jv attr = {0}, dflt = {0};
    for (uint32_t i = 0; i < c->n_kw; i++) {
        if (jstr_is(c->kw[i].name, "attribute"))
            attr = c->kw[i].v;
        else if (jstr_is(c->kw[i].name, "default"))
            dflt = c->kw[i].v;
        else
            jfail(r, "Unexpected keyword argument '%.*s'", (int)(c->kw[i].name->n % 65),
                  c->kw[i].name->p);
    }
    if (attr.k == JV_ABSENT)
        jfail(r, "map requires a filter argument");
    for (uint32_t i = 0; i < l->n; i++)
        jlist_add(r, out, attr_of(r, l->v[i], attr, dflt));
    return out;
}
FILTER(map)
{
    struct jcall rest = *c;
    const struct jstr *name;
    const struct jfilter *f;
    struct jlist *l, *out;
    if (!jtruth(v))
        return jv_list(jlist_new(r, 0), JV_GEN);
    if (!c->n_pos)
        return jv_list(map_attr(r, v, c), JV_GEN);
    name = jarg_str(r, *rest.pos++, "the filter's name");
    rest.n_pos--;
    f = jfilter_find(name->p, name->n);
    if (!f)
        jfail(r, "No filter named '%.*s' found.", (int)(name->n % 65), name->p);
    l = jiter(r, v);
    out = jlist_new(r, l->n);
    jenter(r); /* map('map', ...) */
    for (uint32_t i = 0; i < l->n; i++) {
        struct jcall again = rest;
        jlist_add(r, out, f->fn(r, l->v[i], &again));
    }
    r->depth--;
    return jv_list(out, JV_GEN);
}
FILTER(join)
{
    static const char *const names[] = {"d", "attribute", NULL};
    struct jv a[2], none = {0};
    struct jlist *l;
    struct jsb b;
    jbind(r, c, "join", names, a);
    l = jiter(r, v);
    jsb_init(&b, r);
    for (uint32_t i = 0; i < l->n; i++) {
        if (i && a[0].k != JV_ABSENT)
            jput_str(&b, a[0]);
        jput_str(&b, attr_of(r, l->v[i], a[1], none));
    }
    return jsb_val(&b);
}
FILTER(sum)
{
    static const char *const names[] = {"attribute", "start", NULL};
    struct jv a[2], none = {0}, total;
    struct jlist *l;
    jbind(r, c, "sum", names, a);
    total = a[1].k == JV_ABSENT ? jv_int(0) : a[1];
    if (total.k == JV_STR)
        jfail(r, "sum() can't sum strings");
    l = jiter(r, v);
    for (uint32_t i = 0; i < l->n; i++)
        total = jadd(r, total, attr_of(r, l->v[i], a[0], none));
    return total;
}
FILTER(batch)
{
    static const char *const names[] = {"linecount", "fill_with", NULL};
    struct jv a[2];
    struct jlist *l, *out = jlist_new(r, 0), *row = NULL;
    int64_t n;
    jbind(r, c, "batch", names, a);
    n = jarg_int(r, a[0], 0, "linecount");
    if (n < 1)
        jfail(r, "batch: linecount must be at least 1");
    l = jiter(r, v);
    for (uint32_t i = 0; i < l->n; i++) {
        if (!row || row->n == n) {
            row = jlist_new(r, 0);
            jlist_add(r, out, jv_list(row, JV_LIST));
        }
        jlist_add(r, row, l->v[i]);
    }
    while (row && row->n < n && a[1].k != JV_ABSENT && a[1].k != JV_NONE)
        jlist_add(r, row, a[1]);
    return jv_list(out, JV_GEN);
}
FILTER(slice)
{
    static const char *const names[] = {"slices", "fill_with", NULL};
    struct jv a[2];
    struct jlist *l, *out = jlist_new(r, 0), *row;
    int64_t n, each, extra, at = 0;
    jbind(r, c, "slice", names, a);
    n = jarg_int(r, a[0], 0, "slices");
    if (n < 1)
        jfail(r, "slice: slices must be at least 1");
    l = jiter(r, v);
    each = l->n / n;
    extra = l->n % n;
    for (int64_t i = 0; i < n; i++) {
        row = jlist_new(r, 0);
        for (int64_t k = each + (i < extra); k > 0; k--)
            jlist_add(r, row, l->v[at++]);
        if (i >= extra && a[1].k != JV_ABSENT && a[1].k != JV_NONE)
            jlist_add(r, row, a[1]);
        jlist_add(r, out, jv_list(row, JV_LIST));
    }
    return jv_list(out, JV_GEN);
}

const struct jfilter jfilters_seq[] = {{"sort", f_sort},
                                       {"dictsort", f_dictsort},
                                       {"groupby", f_groupby},
                                       {"min", f_min},
                                       {"max", f_max},
                                       {"unique", f_unique},
                                       {"reverse", f_reverse},
                                       {"first", f_first},
                                       {"last", f_last},
                                       {"list", f_list},
                                       {"items", f_items},
                                       {"select", f_select},
                                       {"reject", f_reject},
                                       {"selectattr", f_selectattr},
                                       {"rejectattr", f_rejectattr},
                                       {"map", f_map},
                                       {"join", f_join},
                                       {"sum", f_sum},
                                       {"batch", f_batch},
                                       {"slice", f_slice},
                                       {NULL, NULL}};
