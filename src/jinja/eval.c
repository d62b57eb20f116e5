/* SPDX-License-Identifier: Apache-2.0 */
/* eval.c - expressions to values: names, calls, logic.
 *
 * One recursive function over the expression tree; jenter bounds its depth and charges its work. A
 * name is looked up in the scopes from the inside out, then among the template's variables, then
 * among the global functions.
 */
#include "eval.h"

#include "call.h"
#include "filter.h"
#include "method.h"
#include "operators.h"
#include "py.h"
#include "repr.h"
#include "str.h"

static struct jv lookup(struct jrun *r, int32_t id)
{
    for (const struct jscope *s = r->scope; s; s = s->up)
        for (uint32_t i = 0; i < s->n; i++)
            if (s->v[i].id == id)
                return s->v[i].v;
    if (r->top[id].k != JV_ABSENT)
        return r->top[id];
    if (r->t->funcs[id])
        return (struct jv){.k = JV_FUNC, .func = r->t->funcs[id]};
    return jundef_name(r, r->t->names[id]);
}

void jscope_set(struct jrun *r, struct jscope *s, int32_t id, struct jv v)
{
    if (!s) {
        r->top[id] = v;
        return;
    }
    for (uint32_t i = 0; i < s->n; i++)
        if (s->v[i].id == id) {
            s->v[i].v = v;
            return;
        }
    if (s->n == s->cap) {
        uint32_t cap = s->cap ? s->cap * 2 : 4;
        struct jslot *p = jalloc2(r, cap, sizeof *p);
        if (s->n)
            memcpy(p, s->v, s->n * sizeof *p);
        s->v = p;
        s->cap = cap;
    }
    s->v[s->n++] = (struct jslot){id, v};
}

void jassign(struct jrun *r, const struct jnode *target, struct jv v)
{
    if (target->op == E_NAME) {
        jscope_set(r, r->scope, target->name, v);
        return;
    }
    if (target->op == E_NSREF) {
        struct jv ns = lookup(r, target->name);
        r->at = target->at;
        if (ns.k != JV_NS)
            jfail(r, "cannot assign attribute on non-namespace object");
        jdict_set(r, ns.d, target->val, v);
        return;
    }
    r->at = target->at;
    if (!jiterable(v))
        jfail(r, "cannot unpack non-iterable %s object", jkind_name(v));
    const struct jlist *l = jiter(r, v);
    if (l->n < target->kids.n)
        jfail(r, "not enough values to unpack (expected %u, got %u)", target->kids.n, l->n);
    if (l->n > target->kids.n)
        jfail(r, "too many values to unpack (expected %u)", target->kids.n);
    for (uint32_t i = 0; i < l->n; i++)
        jassign(r, target->kids.v[i], l->v[i]);
}

/* ---- calls ---- */

static void dynamic_args(struct jrun *r, const struct jargs *a, struct jcall *c)
{
    if (a->dyn_pos) {
        struct jv v = jeval(r, a->dyn_pos);
        struct jlist *l = jlist_new(r, c->n_pos), *more;
        if (!jiterable(v))
            jfail(r, "argument after * must be an iterable, not %s", jkind_name(v));
        for (uint32_t i = 0; i < c->n_pos; i++)
            jlist_add(r, l, c->pos[i]);
        more = jiter(r, v);
        for (uint32_t i = 0; i < more->n; i++)
            jlist_add(r, l, more->v[i]);
        c->pos = l->v;
        c->n_pos = l->n;
    }
    if (a->dyn_kw) {
        struct jv v = jeval(r, a->dyn_kw);
        struct jkw *kw;
        if (v.k != JV_DICT)
            jfail(r, "argument after ** must be a mapping, not %s", jkind_name(v));
        kw = jalloc2(r, (size_t)c->n_kw + v.d->n, sizeof *kw);
        if (c->n_kw)
            memcpy(kw, c->kw, c->n_kw * sizeof *kw);
        for (uint32_t i = 0; i < v.d->n; i++) {
            if (v.d->v[i].key.k != JV_STR)
                jfail(r, "keywords must be strings");
            kw[c->n_kw++] = (struct jkw){v.d->v[i].key.s, v.d->v[i].v};
        }
        c->kw = kw;
    }
}

void jeval_args(struct jrun *r, const struct jargs *a, struct jcall *c)
{
    *c = (struct jcall){0};
    if (!a)
        return;
    if (a->pos.n)
        c->pos = jalloc2(r, a->pos.n, sizeof *c->pos);
    if (a->kw.n)
        c->kw = jalloc2(r, a->kw.n, sizeof *c->kw);
    for (uint32_t i = 0; i < a->pos.n; i++)
        c->pos[i] = jeval(r, a->pos.v[i]);
    c->n_pos = a->pos.n;
    for (uint32_t i = 0; i < a->kw.n; i++)
        c->kw[i] = (struct jkw){a->kw_name[i], jeval(r, a->kw.v[i])};
    c->n_kw = a->kw.n;
    if (a->dyn_pos || a->dyn_kw)
        dynamic_args(r, a, c);
}

struct jv jcall_value(struct jrun *r, struct jv fn, struct jcall *c)
{
    switch (fn.k) {
    case JV_FUNC:
        return fn.func->fn(r, c);
    case JV_METHOD:
        if (!fn.bound->m->fn)
            jfail(r, "the method '%s' is not supported", fn.bound->m->name);
        return fn.bound->m->fn(r, fn.bound->self, c);
    case JV_MACRO:
        return jcall_macro(r, fn.macro, c);
    case JV_LOOP:
        return jcall_loop(r, fn.loop, c);
    case JV_JOINER:
        return fn.cycle->at++ == 0 ? jstr_lit(r, "") : fn.cycle->items->v[0];
    case JV_UNDEF:
        jfail_undef(r, fn);
    default:
        jfail(r, "'%s' object is not callable", jkind_name(fn));
    }
}

static struct jv eval_call(struct jrun *r, const struct jnode *n)
{
    struct jv fn = jeval(r, n->a);
    struct jcall c;
    jeval_args(r, n->args, &c);
    r->at = n->at;
    return jcall_value(r, fn, &c);
}

static struct jv eval_filter(struct jrun *r, const struct jnode *n)
{
    struct jv v = jeval(r, n->a);
    struct jcall c;
    r->at = n->at;
    if (!n->filter)
        jfail(r, "No filter named '%.*s' found.", (int)(n->val.s->n % 65), n->val.s->p);
    jeval_args(r, n->args, &c);
    r->at = n->at;
    /* The result may keep arguments, which are in the arena, not the call itself (val.h). */
    /* cppcheck-suppress returnDanglingLifetime */
    return n->filter->fn(r, v, &c);
}

bool jtest_run(struct jrun *r, const struct jtest *t, struct jv v, struct jcall *c)
{
    if (c->n_kw || c->n_pos != (uint32_t)t->n_args)
        jfail(r, "the test '%s' takes %d argument(s)", t->name, t->n_args);
    return t->fn(r, v, c);
}

static struct jv eval_test(struct jrun *r, const struct jnode *n)
{
    struct jv v = jeval(r, n->a);
    struct jcall c;
    r->at = n->at;
    if (!n->test)
        jfail(r, "No test named '%.*s' found.", (int)(n->val.s->n % 65), n->val.s->p);
    jeval_args(r, n->args, &c);
    r->at = n->at;
    return jv_bool(jtest_run(r, n->test, v, &c) != n->flag);
}

/* ---- operators ---- */

static bool compare_one(struct jrun *r, int op, struct jv a, struct jv b)
{
    static const char *const names[] = {"==", "!=", "<", "<=", ">", ">="};
    int c;
    switch (op) {
    case CMP_EQ:
        return jequal(r, a, b);
    case CMP_NE:
        return !jequal(r, a, b);
    case CMP_IN:
        return jcontains(r, b, a);
    case CMP_NOT_IN:
        return !jcontains(r, b, a);
    default:
        c = jcompare(r, a, b, names[op]);
        return c != 2 && (op == CMP_LT   ? c < 0
                          : op == CMP_LE ? c <= 0
                          : op == CMP_GT ? c > 0
                                         : c >= 0);
    }
}

static struct jv eval_compare(struct jrun *r, const struct jnode *n)
{
    struct jv a = jeval(r, n->a);
    for (uint32_t i = 0; i < n->kids.n; i++) {
        struct jv b = jeval(r, n->kids.v[i]);
        r->at = n->at;
        if (!compare_one(r, n->ops[i], a, b))
            return jv_bool(false);
        a = b;
    }
    return jv_bool(true);
}

/* a + b + ...: strings are joined in one go. */
static struct jv eval_add(struct jrun *r, const struct jnode *n)
{
    struct jv few[8], *v = few;
    const struct jstr *strs[8];
    bool all = n->kids.n <= 8;
    if (n->kids.n > 8)
        v = jalloc2(r, n->kids.n, sizeof *v);
    for (uint32_t i = 0; i < n->kids.n; i++) {
        v[i] = jeval(r, n->kids.v[i]);
        if (v[i].k != JV_STR)
            all = false;
        else if (i < 8)
            strs[i] = v[i].s;
    }
    r->at = n->at;
    if (all)
        return jstr_cat(r, strs, n->kids.n);
    for (uint32_t i = 1; i < n->kids.n; i++)
        v[0] = jadd(r, v[0], v[i]);
    return v[0];
}

static struct jv eval_concat(struct jrun *r, const struct jnode *n)
{
    struct jsb b;
    jsb_init(&b, r);
    for (uint32_t i = 0; i < n->kids.n; i++)
        jput_str(&b, jeval(r, n->kids.v[i]));
    return jsb_val(&b);
}

static struct jv eval_logic(struct jrun *r, const struct jnode *n)
{
    struct jv v = jv_none();
    for (uint32_t i = 0; i < n->kids.n; i++) {
        v = jeval(r, n->kids.v[i]);
        if (jtruth(v) == (n->op == E_OR))
            break;
    }
    return v;
}

static struct jv eval_box(struct jrun *r, const struct jnode *n)
{
    struct jlist *l;
    if (n->op == E_DICT) {
        struct jdict *d = jdict_new(r, n->kids.n / 2);
        for (uint32_t i = 0; i + 1 < n->kids.n; i += 2) {
            struct jv k = jeval(r, n->kids.v[i]);
            jdict_set(r, d, k, jeval(r, n->kids.v[i + 1]));
        }
        return (struct jv){.k = JV_DICT, .d = d};
    }
    l = jlist_new(r, n->kids.n);
    for (uint32_t i = 0; i < n->kids.n; i++)
        jlist_add(r, l, jeval(r, n->kids.v[i]));
    return jv_list(l, n->op == E_LIST ? JV_LIST : JV_TUPLE);
}

static struct jv eval_slice(struct jrun *r, const struct jnode *n)
{
    struct jv obj = jeval(r, n->a), part[3] = {{0}, {0}, {0}};
    if (n->b)
        part[0] = jeval(r, n->b);
    if (n->c)
        part[1] = jeval(r, n->c);
    if (n->d)
        part[2] = jeval(r, n->d);
    r->at = n->at;
    return jslice(r, obj, part);
}

static struct jv eval_binary(struct jrun *r, const struct jnode *n)
{
    struct jv a = jeval(r, n->a), b = jeval(r, n->b);
    r->at = n->at;
    return n->op == E_ITEM ? jget_item(r, a, b) : jarith(r, n->sub, a, b);
}

static struct jv eval_unary(struct jrun *r, const struct jnode *n)
{
    struct jv v = jeval(r, n->a);
    int64_t i;
    r->at = n->at;
    if (n->op == E_ATTR)
        return jget_attr(r, v, n->val.s);
    if (n->op == E_NOT)
        return jv_bool(!jtruth(v));
    if (n->op == E_NEG)
        return jneg(r, v);
    if (v.k == JV_UNDEF)
        jfail_undef(r, v);
    if (v.k != JV_FLOAT && !jint_of(v, &i))
        jfail(r, "bad operand type for unary +: '%s'", jkind_name(v));
    return v.k == JV_FLOAT ? v : jv_int(i);
}

static struct jv eval_cond(struct jrun *r, const struct jnode *n)
{
    if (jtruth(jeval(r, n->a)))
        return jeval(r, n->b);
    return n->c ? jeval(r, n->c) : jundef_name(r, NULL);
}

static struct jv eval_deep(struct jrun *r, const struct jnode *n)
{
    switch (n->op) {
    case E_ATTR:
    case E_NOT:
    case E_NEG:
    case E_POS:
        return eval_unary(r, n);
    case E_ITEM:
    case E_ARITH:
        return eval_binary(r, n);
    case E_SLICE:
        return eval_slice(r, n);
    case E_CALL:
        return eval_call(r, n);
    case E_FILTER:
        return eval_filter(r, n);
    case E_TEST:
        return eval_test(r, n);
    case E_AND:
    case E_OR:
        return eval_logic(r, n);
    case E_COND:
        return eval_cond(r, n);
    case E_CMP:
        return eval_compare(r, n);
    case E_ADD:
        return eval_add(r, n);
    case E_CONCAT:
        return eval_concat(r, n);
    default:
        return eval_box(r, n);
    }
}

struct jv jeval(struct jrun *r, const struct jnode *n)
{
    struct jv v;
    r->at = n->at;
    jcharge(r, 1);
    if (n->op == E_CONST)
        return n->val;
    if (n->op == E_NAME)
        return lookup(r, n->name);
    jenter(r);
    v = eval_deep(r, n);
    r->depth--;
    return v;
}
