/* SPDX-License-Identifier: Apache-2.0 */
/* ops.c - operators, attributes, subscripts and slices, as Python and the sandbox do them.
 *
 * Integers are 64 bits; what does not fit fails instead of growing.
 */
#include "operators.h"

#include "ast.h"
#include "eval.h"
#include "format.h"
#include "method.h"
#include "py.h"
#include "repr.h"
#include "str.h"

#include <math.h>

/* ---- undefined ---- */

static struct jv undef(struct jrun *r, struct jundef u)
{
    struct jundef *p = jalloc(r, sizeof *p);
    *p = u;
    return (struct jv){.k = JV_UNDEF, .u = p};
}

struct jv jundef_name(struct jrun *r, const struct jstr *name)
{
    return undef(r, (struct jundef){.name = name});
}

static struct jv undef_attr(struct jrun *r, struct jv obj, struct jv key)
{
    const char *what = obj.k == JV_NONE ? "None" : jkind_name(obj);
    if (key.k == JV_INT)
        return undef(r, (struct jundef){.what = what, .index = key.i});
    return undef(r, (struct jundef){.what = what, .name = jstr_of(r, key).s});
}

static struct jv undef_refused(struct jrun *r, const char *text)
{
    return undef(r, (struct jundef){.refused = text});
}

/* ---- attributes and subscripts ---- */

static bool pair_attr(struct jv obj, const struct jstr *name, struct jv *out)
{
    if (obj.k != JV_TUPLE || !obj.sub)
        return false;
    if (jstr_is(name, "grouper"))
        *out = obj.l->v[0];
    else if (jstr_is(name, "list"))
        *out = obj.l->v[1];
    else
        return false;
    return true;
}

static struct jv macro_attr(struct jrun *r, struct jv obj, const struct jstr *name)
{
    const struct jnode *n = obj.macro->node;
    if (jstr_is(name, "name"))
        return n->op == S_CALL ? jv_none() : jv_str(r->t->names[n->name]);
    if (jstr_is(name, "caller"))
        return jv_bool(n->sub & USES_CALLER);
    if (jstr_is(name, "catch_kwargs"))
        return jv_bool(n->sub & USES_KWARGS);
    if (jstr_is(name, "catch_varargs"))
        return jv_bool(n->sub & USES_VARARGS);
    if (jstr_is(name, "arguments")) {
        struct jlist *l = jlist_new(r, n->kids.n);
        for (uint32_t i = 0; i < n->kids.n; i++)
            jlist_add(r, l, jv_str(r->t->names[n->kids.v[i]->name]));
        return jv_list(l, JV_TUPLE);
    }
    return undef_attr(r, obj, jv_str(name));
}

/* getattr(): true with *out when the object has such an attribute. */
static bool real_attr(struct jrun *r, struct jv obj, const struct jstr *name, struct jv *out)
{
    bool mutates = false;
    const struct jmethod *m;
    struct jbound *b;
    if (obj.k == JV_LOOP) {
        *out = jloop_attr(r, obj.loop, name);
        return out->k != JV_ABSENT;
    }
    if (pair_attr(obj, name, out))
        return true;
    if (name->n && name->p[0] == '_') {
        if (name->n < 4 || name->p[1] != '_')
            return false;
        *out = undef_refused(r, "access to a private attribute is unsafe");
        return true;
    }
    if (obj.k == JV_CYCLER && jstr_is(name, "current")) {
        *out = obj.cycle->items->v[obj.cycle->at];
        return true;
    }
    m = jmethod_find(obj, name, &mutates);
    if (mutates) {
        *out = undef_refused(r, "the sandbox refuses methods that change a list or dict");
        return true;
    }
    if (!m)
        return false;
    b = jalloc(r, sizeof *b);
    *b = (struct jbound){obj, m};
    *out = (struct jv){.k = JV_METHOD, .bound = b};
    return true;
}

/* obj[key] alone: JV_ABSENT when Python would raise. */
static struct jv subscript(struct jrun *r, struct jv obj, struct jv key)
{
    const struct jv *v = NULL;
    int64_t i, n;
    if (obj.k == JV_DICT && key.k != JV_LIST && key.k != JV_DICT) {
        v = jdict_get(r, obj.d, key);
        return v ? *v : (struct jv){0};
    }
    if (!jint_of(key, &i) || (!jis_seq(obj) && obj.k != JV_STR))
        return (struct jv){0};
    n = jlength(r, obj);
    if (i < 0)
        i += n;
    if (i < 0 || i >= n)
        return (struct jv){0};
    if (obj.k == JV_STR) {
        size_t at = jstr_offset(obj.s, (size_t)i);
        jcharge(r, at / 64);
        return jstr_cut(r, obj.s, at, jstr_offset(obj.s, (size_t)i + 1) - at);
    }
    return obj.l->v[i];
}

struct jv jget_own_attr(struct jrun *r, struct jv obj, const struct jstr *name)
{
    struct jv v = {0};
    if (obj.k == JV_UNDEF || obj.k == JV_NS || obj.k == JV_MACRO)
        return jget_attr(r, obj, name);
    return real_attr(r, obj, name, &v) ? v : undef_attr(r, obj, jv_str(name));
}

struct jv jget_attr(struct jrun *r, struct jv obj, const struct jstr *name)
{
    struct jv v = {0};
    jcharge(r, 1);
    switch (obj.k) {
    case JV_UNDEF:
        if (name->n > 1 && name->p[0] == '_' && name->p[1] == '_')
            return undef_attr(r, obj, jv_str(name));
        jfail_undef(r, obj);
    case JV_NS: {
        const struct jv *p = jdict_get(r, obj.d, jv_str(name));
        return p ? *p : undef_attr(r, obj, jv_str(name));
    }
    case JV_MACRO:
        return macro_attr(r, obj, name);
    default:
        break;
    }
    if (real_attr(r, obj, name, &v))
        return v;
    v = subscript(r, obj, jv_str(name));
    return v.k == JV_ABSENT ? undef_attr(r, obj, jv_str(name)) : v;
}

struct jv jget_item(struct jrun *r, struct jv obj, struct jv key)
{
    struct jv v;
    jcharge(r, 1);
    if (obj.k == JV_UNDEF)
        jfail_undef(r, obj);
    v = subscript(r, obj, key);
    if (v.k != JV_ABSENT)
        return v;
    if (key.k == JV_STR) {
        if (obj.k == JV_MACRO)
            return macro_attr(r, obj, key.s);
        if (obj.k == JV_NS)
            return jget_attr(r, obj, key.s);
        if (real_attr(r, obj, key.s, &v))
            return v;
    }
    return undef_attr(r, obj, key);
}

/* ---- slices ---- */

static int64_t bound(struct jrun *r, struct jv v, int64_t dflt, int64_t n, int64_t low,
                     int64_t high)
{
    int64_t i;
    if (v.k == JV_ABSENT || v.k == JV_NONE)
        return dflt;
    if (!jint_of(v, &i))
        jfail(r, "slice indices must be integers or None");
    if (i < 0)
        i = i < -n ? low : i + n;
    return i < low ? low : i > high ? high : i;
}

static struct jv slice_str(struct jrun *r, const struct jstr *s, int64_t from, int64_t to,
                           int64_t step)
{
    struct jsb b;
    if (step == 1) {
        size_t p = jstr_offset(s, (size_t)from), q;
        if (from >= to)
            return jstr_lit(r, "");
        q = jstr_offset(s, (size_t)to);
        jcharge(r, s->ascii ? 0 : q / 32);
        return jstr_cut(r, s, p, q - p);
    }
    struct jlist *l = jstr_char_list(r, s).l;
    jsb_init(&b, r);
    for (int64_t i = from; step > 0 ? i < to : i > to; i += step)
        jsb_str(&b, l->v[i].s);
    return jsb_val(&b);
}

struct jv jslice(struct jrun *r, struct jv obj, const struct jv part[3])
{
    int64_t step = 1, n, from, to;
    struct jlist *l;
    if (obj.k == JV_UNDEF)
        jfail_undef(r, obj);
    if (part[2].k != JV_ABSENT && part[2].k != JV_NONE && !jint_of(part[2], &step))
        jfail(r, "slice indices must be integers or None");
    if (step == 0)
        jfail(r, "slice step cannot be zero");
    if (!jis_seq(obj) && obj.k != JV_STR)
        return undef_attr(r, obj, jstr_lit(r, "slice"));
    n = jlength(r, obj);
    if (step > n + 1)
        step = n + 1;
    if (step < -n - 1)
        step = -n - 1;
    if (step > 0) {
        from = bound(r, part[0], 0, n, 0, n);
        to = bound(r, part[1], n, n, 0, n);
    } else {
        from = bound(r, part[0], n - 1, n, -1, n - 1);
        to = bound(r, part[1], -1, n, -1, n - 1);
    }
    if (obj.k == JV_STR)
        return slice_str(r, obj.s, from, to, step);
    l = jlist_new(r, 0);
    if (step == 1) { /* a view: lists are never written */
        l->v = obj.l->v ? obj.l->v + from : NULL;
        l->n = l->cap = from < to ? (uint32_t)(to - from) : 0;
    } else {
        for (int64_t i = from; step > 0 ? i < to : i > to; i += step)
            jlist_add(r, l, obj.l->v[i]);
    }
    return jv_list(l, obj.k == JV_TUPLE ? JV_TUPLE : JV_LIST);
}

/* ---- arithmetic ---- */

static _Noreturn void bad_operands(struct jrun *r, const char *op, struct jv a, struct jv b)
{
    if (a.k == JV_UNDEF)
        jfail_undef(r, a);
    if (b.k == JV_UNDEF)
        jfail_undef(r, b);
    jfail(r, "unsupported operand type(s) for %s: '%s' and '%s'", op, jkind_name(a), jkind_name(b));
}

static struct jv join_lists(struct jrun *r, struct jv a, struct jv b)
{
    struct jlist *l = jlist_new(r, a.l->n + b.l->n);
    for (uint32_t i = 0; i < a.l->n; i++)
        jlist_add(r, l, a.l->v[i]);
    for (uint32_t i = 0; i < b.l->n; i++)
        jlist_add(r, l, b.l->v[i]);
    return jv_list(l, (enum jkind)a.k);
}

struct jv jadd(struct jrun *r, struct jv a, struct jv b)
{
    int64_t i, j, s;
    double x, y;
    if (a.k == JV_STR && b.k == JV_STR)
        return jstr_cat(r, (const struct jstr *[]){a.s, b.s}, 2);
    if (jint_of(a, &i) && jint_of(b, &j)) {
        if (__builtin_add_overflow(i, j, &s))
            jfail(r, "integer overflow");
        return jv_int(s);
    }
    if (jnumber(a, &x) && jnumber(b, &y))
        return jv_float(x + y);
    if ((a.k == JV_LIST && b.k == JV_LIST) || (a.k == JV_TUPLE && b.k == JV_TUPLE))
        return join_lists(r, a, b);
    if (a.k == JV_STR && b.k != JV_UNDEF)
        jfail(r, "can only concatenate str (not \"%s\") to str", jkind_name(b));
    bad_operands(r, "+", a, b);
}

static struct jv repeat(struct jrun *r, struct jv what, int64_t n)
{
    if (n < 0)
        n = 0;
    if (what.k == JV_STR) {
        struct jsb b;
        jsb_init(&b, r);
        for (int64_t i = 0; i < n && what.s->n; i++) {
            jcharge(r, 1);
            jsb_str(&b, what.s);
        }
        return jsb_val(&b);
    }
    struct jlist *l = jlist_new(r, 0);
    for (int64_t i = 0; i < n && what.l->n; i++)
        for (uint32_t k = 0; k < what.l->n; k++)
            jlist_add(r, l, what.l->v[k]);
    return jv_list(l, (enum jkind)what.k);
}

static struct jv int_power(struct jrun *r, int64_t a, int64_t n)
{
    int64_t v = 1;
    if (n < 0) {
        if (a == 0)
            jfail(r, "0.0 cannot be raised to a negative power");
        return jv_float(pow((double)a, (double)n));
    }
    if (a == 0 || a == 1 || a == -1)
        return jv_int(n == 0 ? 1 : a == -1 ? (n % 2 ? -1 : 1) : a);
    while (n-- > 0)
        if (__builtin_mul_overflow(v, a, &v))
            jfail(r, "integer overflow");
    return jv_int(v);
}

static struct jv int_arith(struct jrun *r, int op, int64_t a, int64_t b)
{
    int64_t v = 0;
    bool over = false;
    if (strchr("/D%", op) && b == 0)
        jfail(r, op == '/' ? "division by zero" : "integer division or modulo by zero");
    switch (op) {
    case '-':
        over = __builtin_sub_overflow(a, b, &v);
        break;
    case '*':
        over = __builtin_mul_overflow(a, b, &v);
        break;
    case '/':
        return jv_float((double)a / (double)b);
    case 'P':
        return int_power(r, a, b);
    default:
        if (b == -1) { /* INT64_MIN / -1 traps */
            over = op == 'D' && __builtin_sub_overflow((int64_t)0, a, &v);
            break;
        }
        v = op == 'D' ? a / b : a % b;
        if (a % b != 0 && (a < 0) != (b < 0))
            v += op == 'D' ? -1 : b;
    }
    if (over)
        jfail(r, "integer overflow");
    return jv_int(v);
}

static struct jv float_arith(struct jrun *r, int op, double a, double b)
{
    double m;
    if (strchr("/D%", op) && b == 0)
        jfail(r, "float division by zero");
    switch (op) {
    case '-':
        return jv_float(a - b);
    case '*':
        return jv_float(a * b);
    case '/':
        return jv_float(a / b);
    case 'P':
        m = pow(a, b);
        if (isnan(m) && !isnan(a) && !isnan(b))
            jfail(r, "complex numbers are not supported");
        if (isinf(m) && !isinf(a) && !isinf(b))
            jfail(r, "numerical result out of range");
        return jv_float(m);
    default:
        m = fmod(a, b);
        if (m != 0 && (m < 0) != (b < 0))
            m += b;
        if (op == '%')
            return jv_float(m == 0 ? copysign(0, b) : m);
        return jv_float(floor((a - m) / b + 0.5));
    }
}

struct jv jarith(struct jrun *r, int op, struct jv a, struct jv b)
{
    static const char *const names[] = {
        ['-'] = "-", ['*'] = "*", ['/'] = "/", ['%'] = "%", ['D'] = "//", ['P'] = "** or pow()"};
    int64_t i, j;
    double x, y;
    if (op == '+')
        return jadd(r, a, b);
    if (op == '%' && a.k == JV_STR)
        return jformat_percent(r, a.s, b);
    if (jint_of(a, &i) && jint_of(b, &j))
        return int_arith(r, op, i, j);
    if (jnumber(a, &x) && jnumber(b, &y))
        return float_arith(r, op, x, y);
    if (op == '*' && (a.k == JV_STR || a.k == JV_LIST || a.k == JV_TUPLE) && jint_of(b, &i))
        return repeat(r, a, i);
    if (op == '*' && (b.k == JV_STR || b.k == JV_LIST || b.k == JV_TUPLE) && jint_of(a, &i))
        return repeat(r, b, i);
    bad_operands(r, names[op], a, b);
}

struct jv jneg(struct jrun *r, struct jv v)
{
    int64_t i;
    if (v.k == JV_FLOAT)
        return jv_float(-v.f);
    if (v.k == JV_UNDEF)
        jfail_undef(r, v);
    if (!jint_of(v, &i))
        jfail(r, "bad operand type for unary -: '%s'", jkind_name(v));
    if (i == INT64_MIN)
        jfail(r, "integer overflow");
    return jv_int(-i);
}
