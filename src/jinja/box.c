/* SPDX-License-Identifier: Apache-2.0 */
/* box.c - lists and dicts of a rendering, and the accounting all values share.
 *
 * Dicts keep insertion order; small ones are searched, larger ones have a hash index whose probes
 * are charged as work, so colliding keys cost the caller, not the server.
 */
#include "run.h"

#include "ast.h"
#include "hash.h"
#include "py.h"
#include "repr.h"
#include "str.h"

#include <stdio.h>

enum { DICT_SCAN = 12 };

/* ---- failing, memory, work ---- */

void jfail(struct jrun *r, const char *fmt, ...)
{
    char text[320];
    unsigned line, col;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    jinja_place(r->t, r->at, &line, &col);
    err_set(r->e, ST_TEMPLATE, "chat template %u:%u: %s", line, col, text);
    longjmp(r->jump, 1);
}

void jfail_raise(struct jrun *r, struct jv msg)
{
    const struct jstr *s = jstr_of(r, msg).s;
    err_set(r->e, ST_TEMPLATE, "%.*s", (int)(s->n > 4096 ? 4096 : s->n), s->p);
    longjmp(r->jump, 1);
}

void jfail_undef(struct jrun *r, struct jv v)
{
    const struct jundef *u = v.u;
    int n = u->name ? (int)(u->name->n > 128 ? 128 : u->name->n) : 0;
    if (u->refused)
        jfail(r, "%s", u->refused);
    if (!u->what && u->name)
        jfail(r, "'%.*s' is undefined", n, u->name->p);
    if (!u->what)
        jfail(r, "the value is undefined");
    if (!u->name)
        jfail(r, "%s object has no element %lld", u->what, (long long)u->index);
    jfail(r, "'%s object' has no attribute '%.*s'", u->what, n, u->name->p);
}

void *jalloc(struct jrun *r, size_t n)
{
    void *p = arena_alloc(&r->mem, n);
    if (!p)
        jfail(r, "rendering needs more than %zu MiB", r->mem.cap >> 20);
    return p;
}

void *jalloc2(struct jrun *r, size_t n, size_t size)
{
    size_t total;
    if (!mul_size(n, size, &total))
        jfail(r, "rendering needs too much memory");
    return jalloc(r, total);
}

void jcharge(struct jrun *r, uint64_t n)
{
    if (n > r->steps)
        jfail(r, "rendering takes too many steps");
    r->steps -= n;
}

void jenter(struct jrun *r)
{
    if (++r->depth > JINJA_MAX_DEPTH)
        jfail(r, "macros or expressions nest too deeply");
}

/* ---- lists ---- */

struct jlist *jlist_new(struct jrun *r, uint32_t cap)
{
    struct jlist *l = jalloc(r, sizeof *l);
    if (cap) {
        l->v = jalloc2(r, cap, sizeof *l->v);
        l->cap = cap;
    }
    return l;
}

void jlist_add(struct jrun *r, struct jlist *l, struct jv v)
{
    if (l->n == l->cap) {
        uint32_t cap = l->cap ? l->cap * 2 : 8;
        struct jv *p;
        if (l->cap > UINT32_MAX / 4)
            jfail(r, "a list is too long");
        p = jalloc2(r, cap, sizeof *p);
        if (l->n)
            memcpy(p, l->v, l->n * sizeof *p);
        l->v = p;
        l->cap = cap;
    }
    jcharge(r, 1);
    l->v[l->n++] = v;
}

struct jv jtuple2(struct jrun *r, struct jv a, struct jv b)
{
    struct jlist *l = jlist_new(r, 2);
    jlist_add(r, l, a);
    jlist_add(r, l, b);
    return jv_list(l, JV_TUPLE);
}

/* ---- dicts ---- */

static uint32_t hash_bytes(const char *p, size_t n)
{
    uint64_t h = fnv1a(FNV1A_BASIS ^ n, p, n);
    return (uint32_t)(h ^ h >> 32);
}

/* Equal keys hash alike: 1, 1.0 and True are one key. */
static uint32_t hash_key(struct jrun *r, struct jv k)
{
    double f = 0;
    if (k.k == JV_STR) {
        jcharge(r, k.s->n / 16);
        return hash_bytes(k.s->p, k.s->n);
    }
    if (jnumber(k, &f)) {
        f += 0.0; /* -0.0 and 0.0 */
        return hash_bytes((const char *)&f, sizeof f);
    }
    return k.k; /* tuples and the rest: few, found by comparing */
}

struct jdict *jdict_new(struct jrun *r, uint32_t cap)
{
    struct jdict *d = jalloc(r, sizeof *d);
    if (cap) {
        d->v = jalloc2(r, cap, sizeof *d->v);
        d->cap = cap;
    }
    return d;
}

static bool same_key(struct jrun *r, struct jv a, struct jv b)
{
    if (a.k == JV_STR && b.k == JV_STR)
        return jstr_eq(a.s, b.s);
    return jequal(r, a, b);
}

static void index_put(struct jrun *r, struct jdict *d, uint32_t i)
{
    uint32_t mask = d->n_slot - 1, h = hash_key(r, d->v[i].key) & mask;
    while (d->slot[h]) {
        jcharge(r, 1);
        h = (h + 1) & mask;
    }
    d->slot[h] = i + 1;
}

static void index_build(struct jrun *r, struct jdict *d)
{
    d->n_slot = 64;
    while (d->n_slot < d->cap * 2)
        d->n_slot *= 2;
    d->slot = jalloc2(r, d->n_slot, sizeof *d->slot);
    for (uint32_t i = 0; i < d->n; i++)
        index_put(r, d, i);
}

struct jv *jdict_get(struct jrun *r, const struct jdict *d, struct jv key)
{
    if (!d->slot) {
        jcharge(r, 1);
        for (uint32_t i = 0; i < d->n; i++)
            if (same_key(r, d->v[i].key, key))
                return &d->v[i].v;
        return NULL;
    }
    for (uint32_t mask = d->n_slot - 1, h = hash_key(r, key) & mask; d->slot[h];
         h = (h + 1) & mask) {
        jcharge(r, 1);
        if (same_key(r, d->v[d->slot[h] - 1].key, key))
            return &d->v[d->slot[h] - 1].v;
    }
    return NULL;
}

static void check_key(struct jrun *r, struct jv k)
{
    if (k.k == JV_LIST || k.k == JV_DICT || k.k == JV_NS)
        jfail(r, "unhashable type: '%s'", jkind_name(k));
    if (k.k == JV_TUPLE)
        for (uint32_t i = 0; i < k.l->n; i++)
            if (k.l->v[i].k == JV_LIST || k.l->v[i].k == JV_DICT || k.l->v[i].k == JV_TUPLE)
                jfail(r, "a dict key is too complicated");
}

void jdict_set(struct jrun *r, struct jdict *d, struct jv key, struct jv v)
{
    struct jv *old;
    check_key(r, key);
    old = jdict_get(r, d, key);
    if (old) {
        *old = v;
        return;
    }
    if (d->n == d->cap) {
        uint32_t cap = d->cap ? d->cap * 2 : 4;
        struct jpair *p;
        if (d->cap > UINT32_MAX / 8)
            jfail(r, "a dict is too large");
        p = jalloc2(r, cap, sizeof *p);
        if (d->n)
            memcpy(p, d->v, d->n * sizeof *p);
        d->v = p;
        d->cap = cap;
        d->slot = NULL;
    }
    d->v[d->n++] = (struct jpair){key, v};
    if (d->slot)
        index_put(r, d, d->n - 1);
    else if (d->n > DICT_SCAN)
        index_build(r, d);
}
