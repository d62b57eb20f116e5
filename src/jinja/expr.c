/* SPDX-License-Identifier: Apache-2.0 */
/* expr.c - tokens to expression nodes, with Jinja's precedence.
 *
 * Recursion is bounded by JINJA_MAX_PARSE_DEPTH. Chains (a.b.c, a | f | g) grow without recursion
 * here; the evaluator's own depth limit holds them. Runs once per template.
 */
#include "parse.h"

#include "filter.h"
#include "token.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void enter(struct jparse *p)
{
    if (++p->depth > JINJA_MAX_PARSE_DEPTH)
        jparse_fail(p, p->tok[p->i].at, "expressions or blocks nest too deeply");
}

static struct jv int_val(struct jparse *p, const struct jtok *t)
{
    unsigned base = 10;
    const char *s = t->p;
    char *text = jparse_alloc(p, t->n + 1), *end;
    long long v;
    if (t->n > 1 && s[0] == '0' && strchr("bB", s[1]))
        base = 2;
    else if (t->n > 1 && s[0] == '0' && strchr("oO", s[1]))
        base = 8;
    else if (t->n > 1 && s[0] == '0' && strchr("xX", s[1]))
        base = 16;
    memcpy(text, s, t->n);
    errno = 0;
    v = strtoll(base == 10 ? text : text + 2, &end, (int)base);
    if (errno == 0)
        return jv_int(v);
    if (base != 10)
        jparse_fail(p, t->at, "integer literal too large");
    return (struct jv){.k = JV_BIG, .s = jparse_string_val(p, t->p, t->n).s};
}

static struct jnode *constant(struct jparse *p, struct jv v)
{
    struct jnode *n = jparse_node(p, E_CONST);
    n->val = v;
    return n;
}

static struct jnode *parse_string(struct jparse *p)
{
    struct jnode *n = jparse_node(p, E_CONST);
    size_t total = 0;
    uint32_t first = p->i;
    char *s;
    for (; p->tok[p->i].kind == T_STRING; p->i++)
        total += p->tok[p->i].n;
    if (p->i == first + 1) {
        n->val = jparse_string_val(p, p->tok[first].p, total);
        return n;
    }
    s = jparse_alloc(p, total + 1);
    total = 0;
    for (uint32_t i = first; i < p->i; i++) {
        memcpy(s + total, p->tok[i].p, p->tok[i].n);
        total += p->tok[i].n;
    }
    n->val = jparse_string_val(p, s, total);
    return n;
}

static struct jnode *parse_list(struct jparse *p)
{
    struct jnode *n = jparse_node(p, E_LIST);
    p->i++;
    while (!jparse_is_op(p, ']')) {
        if (n->kids.n)
            jparse_want_op(p, ',');
        if (jparse_is_op(p, ']'))
            break;
        jparse_push(p, &n->kids, jparse_expression(p, true));
    }
    jparse_want_op(p, ']');
    return n;
}

static struct jnode *parse_dict(struct jparse *p)
{
    struct jnode *n = jparse_node(p, E_DICT); /* kids: key, value, key, value */
    p->i++;
    while (!jparse_is_op(p, '}')) {
        if (n->kids.n)
            jparse_want_op(p, ',');
        if (jparse_is_op(p, '}'))
            break;
        jparse_push(p, &n->kids, jparse_expression(p, true));
        jparse_want_op(p, ':');
        jparse_push(p, &n->kids, jparse_expression(p, true));
    }
    jparse_want_op(p, '}');
    return n;
}

static struct jnode *parse_name(struct jparse *p, bool with_ns)
{
    const struct jtok *t = &p->tok[p->i];
    struct jnode *n;
    if (jtok_is(t, "true") || jtok_is(t, "True") || jtok_is(t, "false") || jtok_is(t, "False"))
        n = constant(p, jv_bool(t->p[0] == 't' || t->p[0] == 'T'));
    else if (jtok_is(t, "none") || jtok_is(t, "None"))
        n = constant(p, jv_none());
    else {
        n = jparse_node(p, E_NAME);
        n->name = jparse_intern(p, t->p, t->n);
        if (jtok_is(t, "caller"))
            p->uses |= USES_CALLER;
        else if (jtok_is(t, "varargs"))
            p->uses |= USES_VARARGS;
        else if (jtok_is(t, "kwargs"))
            p->uses |= USES_KWARGS;
    }
    p->i++;
    if (with_ns && n->op == E_NAME && jparse_is_op(p, '.')) {
        p->i++;
        if (p->tok[p->i].kind != T_NAME)
            jparse_unexpected(p, "token 'name'");
        n->op = E_NSREF;
        n->val = jparse_string_val(p, p->tok[p->i].p, p->tok[p->i].n);
        p->i++;
    }
    return n;
}

static struct jnode *parse_primary(struct jparse *p, bool with_ns)
{
    const struct jtok *t = &p->tok[p->i];
    struct jnode *n;
    switch (t->kind) {
    case T_NAME:
        return parse_name(p, with_ns);
    case T_STRING:
        return parse_string(p);
    case T_INT:
        n = constant(p, int_val(p, t));
        p->i++;
        return n;
    case T_FLOAT: {
        char *text = jparse_alloc(p, t->n + 1);
        memcpy(text, t->p, t->n);
        n = constant(p, jv_float(strtod(text, NULL)));
        p->i++;
        return n;
    }
    default:
        break;
    }
    if (jparse_is_op(p, '[') || jparse_is_op(p, '{')) {
        enter(p);
        n = jparse_is_op(p, '[') ? parse_list(p) : parse_dict(p);
        p->depth--;
        return n;
    }
    if (!jparse_skip_op(p, '('))
        jparse_unexpected(p, "an expression");
    enter(p);
    n = jparse_tuple(p, true, NULL, true);
    jparse_want_op(p, ')');
    p->depth--;
    return n;
}

static struct jargs *parse_args(struct jparse *p)
{
    struct jargs *a = jparse_alloc(p, sizeof *a);
    uint32_t cap = 0;
    bool more = false;
    jparse_want_op(p, '(');
    while (!jparse_is_op(p, ')')) {
        const struct jtok *t;
        if (more)
            jparse_want_op(p, ',');
        if (jparse_is_op(p, ')'))
            break;
        t = &p->tok[p->i];
        more = true;
        if (jparse_is_op(p, '*') && !a->dyn_pos && !a->dyn_kw) {
            p->i++;
            a->dyn_pos = jparse_expression(p, true);
        } else if (jparse_is_op(p, OP2('*', '*')) && !a->dyn_kw) {
            p->i++;
            a->dyn_kw = jparse_expression(p, true);
        } else if (t->kind == T_NAME && t[1].kind == T_OP && t[1].op == '=' && !a->dyn_kw) {
            if (a->kw.n == cap) {
                const struct jstr **v = jparse_alloc(p, (cap = cap ? cap * 2 : 4) * sizeof *v);
                if (a->kw.n)
                    memcpy(v, a->kw_name, a->kw.n * sizeof *v);
                a->kw_name = v;
            }
            a->kw_name[a->kw.n] = jparse_string_val(p, t->p, t->n).s;
            p->i += 2;
            jparse_push(p, &a->kw, jparse_expression(p, true));
        } else if (!a->dyn_pos && !a->dyn_kw && !a->kw.n) {
            jparse_push(p, &a->pos, jparse_expression(p, true));
        } else {
            jparse_fail(p, t->at, "invalid syntax for function call expression");
        }
    }
    jparse_want_op(p, ')');
    return a;
}

/* a = callee, args */
static struct jnode *parse_call(struct jparse *p, struct jnode *on)
{
    struct jnode *n = jparse_node(p, E_CALL);
    enter(p);
    n->a = on;
    n->args = parse_args(p);
    p->depth--;
    return n;
}

/* One subscript: an expression (*arg) or a slice (parts in n->b, c, d and true). */
static bool parse_subscribed(struct jparse *p, struct jnode *n, struct jnode **arg)
{
    struct jnode **part[3] = {&n->b, &n->c, &n->d};
    if (!jparse_is_op(p, ':')) {
        *arg = jparse_expression(p, true);
        if (!jparse_is_op(p, ':'))
            return false;
        n->b = *arg;
    }
    for (int k = 1; k < 3 && jparse_skip_op(p, ':'); k++)
        if (!jparse_is_op(p, ':') && !jparse_is_op(p, ']') && !jparse_is_op(p, ','))
            *part[k] = jparse_expression(p, true);
    return true;
}

/* E_ITEM: a[b]. E_SLICE: a[b:c:d]. */
static struct jnode *parse_brackets(struct jparse *p, struct jnode *on)
{
    struct jnode *n = jparse_node(p, E_ITEM), *arg = NULL, *tuple = NULL;
    n->a = on;
    p->i++;
    enter(p);
    if (jparse_is_op(p, ']'))
        jparse_unexpected(p, "an expression");
    for (;;) {
        if (parse_subscribed(p, n, &arg)) {
            if (tuple || jparse_is_op(p, ','))
                jparse_fail(p, n->at, "a slice inside a tuple subscript is not supported");
            n->op = E_SLICE;
            break;
        }
        if (tuple)
            jparse_push(p, &tuple->kids, arg);
        if (!jparse_skip_op(p, ',')) {
            n->b = tuple ? tuple : arg;
            break;
        }
        if (!tuple) {
            tuple = jparse_node(p, E_TUPLE);
            jparse_push(p, &tuple->kids, arg);
        }
    }
    jparse_want_op(p, ']');
    p->depth--;
    return n;
}

static struct jnode *parse_postfix(struct jparse *p, struct jnode *n)
{
    for (;;) {
        if (jparse_is_op(p, '.')) {
            struct jnode *m = jparse_node(p, E_ATTR);
            const struct jtok *t = &p->tok[++p->i];
            m->a = n;
            if (t->kind == T_NAME) {
                m->val = jparse_string_val(p, t->p, t->n);
            } else if (t->kind == T_INT) {
                m->op = E_ITEM;
                m->b = constant(p, int_val(p, t));
            } else {
                jparse_unexpected(p, "name or number");
            }
            p->i++;
            n = m;
        } else if (jparse_is_op(p, '[')) {
            n = parse_brackets(p, n);
        } else if (jparse_is_op(p, '(')) {
            n = parse_call(p, n);
        } else {
            return n;
        }
    }
}

/* E_FILTER: a | filter(args); a NULL takes the block's text. */
struct jnode *jparse_filters(struct jparse *p, struct jnode *on, bool inline_first)
{
    while (inline_first || jparse_is_op(p, '|')) {
        struct jnode *n;
        const struct jtok *t;
        if (!inline_first)
            p->i++;
        inline_first = false;
        t = &p->tok[p->i];
        if (t->kind != T_NAME)
            jparse_unexpected(p, "token 'name'");
        n = jparse_node(p, E_FILTER);
        n->a = on;
        n->filter = jfilter_find(t->p, t->n);
        n->val = jparse_string_val(p, t->p, t->n);
        p->i++;
        if (!n->filter && (!p->soft || jparse_is_op(p, '.')))
            jparse_fail(p, t->at, "No filter named '%.*s'.", t->n > 64 ? 64 : (int)t->n, t->p);
        enter(p);
        if (jparse_is_op(p, '('))
            n->args = parse_args(p);
        p->depth--;
        on = n;
    }
    return on;
}

/* E_TEST: a is test(args), flag = negated. */
static struct jnode *parse_test(struct jparse *p, struct jnode *on)
{
    bool negated = jparse_skip_name(p, "not");
    const struct jtok *t = &p->tok[p->i];
    struct jnode *n = jparse_node(p, E_TEST);
    const struct jtok *next;
    if (t->kind != T_NAME)
        jparse_unexpected(p, "token 'name'");
    n->a = on;
    n->flag = negated;
    n->test = jtest_find(t->p, t->n);
    n->val = jparse_string_val(p, t->p, t->n);
    p->i++;
    if (!n->test && (!p->soft || jparse_is_op(p, '.')))
        jparse_fail(p, t->at, "No test named '%.*s'.", t->n > 64 ? 64 : (int)t->n, t->p);
    next = &p->tok[p->i];
    enter(p);
    if (jparse_is_op(p, '(')) {
        n->args = parse_args(p);
    } else if ((next->kind == T_NAME && !jtok_is(next, "else") && !jtok_is(next, "or") &&
                !jtok_is(next, "and")) ||
               next->kind == T_STRING || next->kind == T_INT || next->kind == T_FLOAT ||
               jparse_is_op(p, '[') || jparse_is_op(p, '{')) {
        if (jtok_is(next, "is"))
            jparse_fail(p, next->at, "You cannot chain multiple tests with is");
        n->args = jparse_alloc(p, sizeof *n->args);
        jparse_push(p, &n->args->pos, parse_postfix(p, parse_primary(p, false)));
    }
    p->depth--;
    return n;
}

static struct jnode *parse_unary(struct jparse *p, bool with_filter)
{
    struct jnode *n;
    if (jparse_is_op(p, '-') || jparse_is_op(p, '+')) {
        n = jparse_node(p, jparse_is_op(p, '-') ? E_NEG : E_POS);
        p->i++;
        enter(p);
        n->a = parse_unary(p, false);
        p->depth--;
    } else {
        n = parse_primary(p, false);
    }
    n = parse_postfix(p, n);
    while (with_filter) {
        if (jparse_is_op(p, '|'))
            n = jparse_filters(p, n, false);
        else if (jparse_skip_name(p, "is"))
            n = parse_test(p, n);
        else if (jparse_is_op(p, '('))
            n = parse_call(p, n);
        else
            break;
    }
    return n;
}

/* E_ARITH: a (sub) b. sub: - * / % D (floor division) P (power). */
static struct jnode *arith(struct jparse *p, int sub, struct jnode *a)
{
    struct jnode *n = jparse_node(p, E_ARITH);
    n->sub = (uint8_t)sub;
    n->a = a;
    p->i++;
    return n;
}

static struct jnode *parse_pow(struct jparse *p)
{
    struct jnode *n = parse_unary(p, true);
    while (jparse_is_op(p, OP2('*', '*'))) {
        n = arith(p, 'P', n);
        n->b = parse_unary(p, true);
    }
    return n;
}

static struct jnode *parse_math2(struct jparse *p)
{
    struct jnode *n = parse_pow(p);
    for (;;) {
        int sub = jparse_is_op(p, '*')             ? '*'
                  : jparse_is_op(p, '/')           ? '/'
                  : jparse_is_op(p, '%')           ? '%'
                  : jparse_is_op(p, OP2('/', '/')) ? 'D'
                                                   : 0;
        if (!sub)
            return n;
        n = arith(p, sub, n);
        n->b = parse_pow(p);
    }
}

/* E_CONCAT and E_ADD hold all their operands in kids, so that a long chain copies once. */
static struct jnode *parse_concat(struct jparse *p)
{
    struct jnode *n = parse_math2(p), *m;
    if (!jparse_is_op(p, '~'))
        return n;
    m = jparse_node(p, E_CONCAT);
    jparse_push(p, &m->kids, n);
    while (jparse_skip_op(p, '~'))
        jparse_push(p, &m->kids, parse_math2(p));
    return m;
}

static struct jnode *parse_math1(struct jparse *p)
{
    struct jnode *n = parse_concat(p);
    for (;;) {
        if (jparse_is_op(p, '+')) {
            struct jnode *m = jparse_node(p, E_ADD);
            jparse_push(p, &m->kids, n);
            while (jparse_skip_op(p, '+'))
                jparse_push(p, &m->kids, parse_concat(p));
            n = m;
        } else if (jparse_is_op(p, '-')) {
            n = arith(p, '-', n);
            n->b = parse_concat(p);
        } else {
            return n;
        }
    }
}

static int compare_op(struct jparse *p)
{
    static const struct {
        unsigned op;
        int cmp;
    } ops[] = {{OP2('=', '='), CMP_EQ}, {OP2('!', '='), CMP_NE}, {'<', CMP_LT},
               {OP2('<', '='), CMP_LE}, {'>', CMP_GT},           {OP2('>', '='), CMP_GE}};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (jparse_skip_op(p, ops[i].op))
            return ops[i].cmp;
    if (jparse_skip_name(p, "in"))
        return CMP_IN;
    if (jparse_is_name(p, "not") && jtok_is(&p->tok[p->i + 1], "in")) {
        p->i += 2;
        return CMP_NOT_IN;
    }
    return -1;
}

/* E_CMP: a, then ops[i] kids[i]. */
static struct jnode *parse_compare(struct jparse *p)
{
    struct jnode *a = parse_math1(p), *n = NULL;
    uint8_t *ops;
    for (int op; (op = compare_op(p)) >= 0;) {
        if (!n) {
            n = jparse_node(p, E_CMP);
            n->a = a;
        }
        ops = jparse_alloc(p, n->kids.n + 1);
        if (n->kids.n)
            memcpy(ops, n->ops, n->kids.n);
        ops[n->kids.n] = (uint8_t)op;
        n->ops = ops;
        if (n->kids.n > JINJA_MAX_PARSE_DEPTH)
            jparse_fail(p, n->at, "too many comparisons in a row");
        jparse_push(p, &n->kids, parse_math1(p));
    }
    return n ? n : a;
}

static struct jnode *parse_not(struct jparse *p)
{
    struct jnode *n;
    if (!jparse_is_name(p, "not"))
        return parse_compare(p);
    n = jparse_node(p, E_NOT);
    p->i++;
    enter(p);
    n->a = parse_not(p);
    p->depth--;
    return n;
}

/* E_AND, E_OR: kids. */
static struct jnode *parse_logic(struct jparse *p, bool is_or)
{
    struct jnode *n = is_or ? parse_logic(p, false) : parse_not(p), *m;
    const char *word = is_or ? "or" : "and";
    if (!jparse_is_name(p, word))
        return n;
    m = jparse_node(p, is_or ? E_OR : E_AND);
    jparse_push(p, &m->kids, n);
    while (jparse_skip_name(p, word))
        jparse_push(p, &m->kids, is_or ? parse_logic(p, false) : parse_not(p));
    return m;
}

/* E_COND: b if a else c; c NULL gives undefined. */
struct jnode *jparse_expression(struct jparse *p, bool with_if)
{
    struct jnode *n;
    bool soft = p->soft;
    enter(p);
    n = parse_logic(p, true);
    while (with_if && jparse_skip_name(p, "if")) {
        struct jnode *c = jparse_node(p, E_COND);
        p->soft = true;
        c->b = n;
        c->a = parse_logic(p, true);
        if (jparse_skip_name(p, "else"))
            c->c = jparse_expression(p, true);
        p->soft = soft;
        n = c;
    }
    p->depth--;
    return n;
}

static bool tuple_end(const struct jparse *p, const char *end_name)
{
    const struct jtok *t = &p->tok[p->i];
    return t->kind == T_VAR_END || t->kind == T_BLOCK_END || jparse_is_op(p, ')') ||
           (end_name && jtok_is(t, end_name));
}

static struct jnode *tuple_of(struct jparse *p, bool with_if, const char *end_name, bool parens,
                              int target)
{
    struct jnode *n = jparse_node(p, E_TUPLE);
    bool comma = false;
    for (;;) {
        if (n->kids.n)
            jparse_want_op(p, ',');
        if (tuple_end(p, end_name))
            break;
        jparse_push(p, &n->kids,
                    target ? parse_primary(p, target == 2) : jparse_expression(p, with_if));
        if (!jparse_is_op(p, ','))
            break;
        comma = true;
    }
    if (comma)
        return n;
    if (n->kids.n)
        return n->kids.v[0];
    if (!parens)
        jparse_unexpected(p, "an expression");
    return n;
}

struct jnode *jparse_tuple(struct jparse *p, bool with_if, const char *end_name, bool parens)
{
    return tuple_of(p, with_if, end_name, parens, 0);
}

static void check_target(struct jparse *p, const struct jnode *n, unsigned depth)
{
    if (n->op == E_TUPLE && depth < JINJA_MAX_PARSE_DEPTH)
        for (uint32_t i = 0; i < n->kids.n; i++)
            check_target(p, n->kids.v[i], depth + 1);
    else if (n->op != E_NAME && n->op != E_NSREF)
        jparse_fail(p, n->at, "can't assign to that expression");
}

struct jnode *jparse_target(struct jparse *p, const char *end_name, bool with_ns)
{
    struct jnode *n = tuple_of(p, true, end_name, false, with_ns ? 2 : 1);
    check_target(p, n, 0);
    return n;
}

struct jnode *jparse_name_target(struct jparse *p)
{
    struct jnode *n;
    if (p->tok[p->i].kind != T_NAME)
        jparse_unexpected(p, "token 'name'");
    n = parse_name(p, false);
    if (n->op != E_NAME)
        jparse_fail(p, n->at, "can't assign to a constant");
    return n;
}
