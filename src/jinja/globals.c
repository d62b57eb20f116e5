/* SPDX-License-Identifier: Apache-2.0 */
/* globals.c - global functions, and how calls bind to parameter names.
 *
 * lipsum exists only so that `is defined` answers as Jinja does; calling it is refused (random
 * text).
 */
#include "call.h"

#include "py.h"
#include "str.h"

#include <time.h>

/* ---- arguments ---- */

void jbind(struct jrun *r, const struct jcall *c, const char *fn, const char *const *names,
           struct jv *out)
{
    uint32_t n = 0;
    while (names[n])
        out[n++] = (struct jv){0};
    if (c->n_pos > n)
        jfail(r, "%s() takes at most %u argument(s)", fn, n);
    for (uint32_t i = 0; i < c->n_pos; i++)
        out[i] = c->pos[i];
    for (uint32_t k = 0; k < c->n_kw; k++) {
        uint32_t i = 0;
        while (i < n && !jstr_is(c->kw[k].name, names[i]))
            i++;
        if (i == n)
            jfail(r, "%s() got an unexpected keyword argument '%.*s'", fn,
                  (int)(c->kw[k].name->n % 65), c->kw[k].name->p);
        if (out[i].k != JV_ABSENT)
            jfail(r, "%s() got multiple values for argument '%s'", fn, names[i]);
        out[i] = c->kw[k].v;
    }
}

void jno_args(struct jrun *r, const struct jcall *c, const char *fn)
{
    if (c->n_pos || c->n_kw)
        jfail(r, "%s takes no arguments", fn);
}

bool jarg_bool(struct jv v, bool dflt)
{
    return v.k == JV_ABSENT ? dflt : jtruth(v);
}

int64_t jarg_int(struct jrun *r, struct jv v, int64_t dflt, const char *what)
{
    int64_t i;
    if (v.k == JV_ABSENT)
        return dflt;
    if (v.k == JV_UNDEF)
        jfail_undef(r, v);
    if (!jint_of(v, &i))
        jfail(r, "%s must be an integer, not %s", what, jkind_name(v));
    return i;
}

const struct jstr *jarg_str(struct jrun *r, struct jv v, const char *what)
{
    if (v.k == JV_ABSENT)
        jfail(r, "missing argument: %s", what);
    if (v.k == JV_UNDEF)
        jfail_undef(r, v);
    if (v.k != JV_STR)
        jfail(r, "%s must be a string, not %s", what, jkind_name(v));
    return v.s;
}

/* ---- functions ---- */

static struct jv fn_raise(struct jrun *r, struct jcall *c)
{
    static const char *const names[] = {"message", NULL};
    struct jv a[1];
    jbind(r, c, "raise_exception", names, a);
    if (a[0].k == JV_ABSENT)
        jfail(r, "raise_exception() needs a message");
    jfail_raise(r, a[0]);
}

static struct jv fn_strftime(struct jrun *r, struct jcall *c)
{
    static const char *const names[] = {"format", NULL};
    struct jv a[1];
    const struct jstr *f;
    struct tm tm;
    time_t t = (time_t)r->now;
    char *fmt, *text;
    size_t cap, n;
    jbind(r, c, "strftime_now", names, a);
    f = jarg_str(r, a[0], "format");
    if (!gmtime_r(&t, &tm))
        jfail(r, "strftime_now: the time is out of range");
    if (f->n > 1024 || memchr(f->p, 0, f->n))
        jfail(r, "strftime_now: bad format");
    fmt = jalloc(r, (size_t)f->n + 2);
    memcpy(fmt, f->p, f->n);
    fmt[f->n] = '.'; /* so that 0 means only "too small" */
    cap = (size_t)f->n * 64 + 64;
    text = jalloc(r, cap);
    n = strftime(text, cap, fmt, &tm);
    if (n == 0)
        jfail(r, "strftime_now: bad format");
    return jstr_val(r, text, n - 1, f->taint != TAINT_NONE);
}

static struct jv fn_range(struct jrun *r, struct jcall *c)
{
    int64_t v[3] = {0, 0, 1}, n;
    struct jlist *l;
    if (c->n_kw || c->n_pos < 1 || c->n_pos > 3)
        jfail(r, "range() takes one to three arguments");
    for (uint32_t i = 0; i < c->n_pos; i++)
        v[c->n_pos == 1 ? 1 : i] = jarg_int(r, c->pos[i], 0, "range()'s argument");
    if (v[2] == 0)
        jfail(r, "range() arg 3 must not be zero");
    for (int i = 0; i < 3; i++)
        if (v[i] > INT64_MAX / 4 || v[i] < INT64_MIN / 4)
            jfail(r, "range() argument too large");
    n = v[2] > 0 ? (v[1] - v[0] + v[2] - 1) / v[2] : (v[0] - v[1] - v[2] - 1) / -v[2];
    if (n > JINJA_MAX_RANGE)
        jfail(r, "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).",
              JINJA_MAX_RANGE);
    l = jlist_new(r, n > 0 ? (uint32_t)n : 0);
    for (int64_t i = 0; i < n; i++)
        jlist_add(r, l, jv_int(v[0] + i * v[2]));
    memcpy(l->r, v, sizeof v);
    return jv_list(l, JV_RANGE);
}

static void add_pairs(struct jrun *r, struct jdict *d, struct jv v, const char *fn)
{
    if (v.k == JV_DICT || v.k == JV_NS) {
        for (uint32_t i = 0; i < v.d->n; i++)
            jdict_set(r, d, v.d->v[i].key, v.d->v[i].v);
        return;
    }
    if (v.k == JV_UNDEF)
        jfail_undef(r, v);
    const struct jlist *l = jiter(r, v);
    for (uint32_t i = 0; i < l->n; i++) {
        const struct jlist *pair = jiter(r, l->v[i]);
        if (pair->n != 2)
            jfail(r, "%s() update sequence element has length %u; 2 is required", fn, pair->n);
        jdict_set(r, d, pair->v[0], pair->v[1]);
    }
}

static struct jv dict_of(struct jrun *r, struct jcall *c, const char *fn, enum jkind k)
{
    struct jdict *d = jdict_new(r, 0);
    if (c->n_pos > 1)
        jfail(r, "%s() takes at most one positional argument", fn);
    if (c->n_pos)
        add_pairs(r, d, c->pos[0], fn);
    for (uint32_t i = 0; i < c->n_kw; i++)
        jdict_set(r, d, jv_str(c->kw[i].name), c->kw[i].v);
    return (struct jv){.k = (uint8_t)k, .d = d};
}

static struct jv fn_dict(struct jrun *r, struct jcall *c)
{
    return dict_of(r, c, "dict", JV_DICT);
}

static struct jv fn_namespace(struct jrun *r, struct jcall *c)
{
    return dict_of(r, c, "namespace", JV_NS);
}

static struct jv fn_cycler(struct jrun *r, struct jcall *c)
{
    struct jv v = {.k = JV_CYCLER, .cycle = jalloc(r, sizeof *v.cycle)};
    if (c->n_kw || !c->n_pos)
        jfail(r, "at least one item has to be provided");
    v.cycle->items = jlist_new(r, c->n_pos);
    for (uint32_t i = 0; i < c->n_pos; i++)
        jlist_add(r, v.cycle->items, c->pos[i]);
    return v;
}

static struct jv fn_joiner(struct jrun *r, struct jcall *c)
{
    static const char *const names[] = {"sep", NULL};
    struct jv a[1], v = {.k = JV_JOINER, .cycle = jalloc(r, sizeof *v.cycle)};
    jbind(r, c, "joiner", names, a);
    v.cycle->items = jlist_new(r, 1);
    jlist_add(r, v.cycle->items, a[0].k == JV_ABSENT ? jstr_lit(r, ", ") : a[0]);
    return v;
}

static struct jv fn_lipsum(struct jrun *r, struct jcall *c)
{
    (void)c;
    jfail(r, "lipsum() is not supported: it makes random text");
}

static const struct jfunc funcs[] = {{"raise_exception", fn_raise}, {"strftime_now", fn_strftime},
                                     {"range", fn_range},           {"dict", fn_dict},
                                     {"namespace", fn_namespace},   {"cycler", fn_cycler},
                                     {"joiner", fn_joiner},         {"lipsum", fn_lipsum}};

const struct jfunc *jfunc_find(const char *p, size_t n)
{
    for (size_t i = 0; i < sizeof funcs / sizeof *funcs; i++)
        if (strlen(funcs[i].name) == n && memcmp(funcs[i].name, p, n) == 0)
            return &funcs[i];
    return NULL;
}
