/* SPDX-License-Identifier: Apache-2.0 */
/* token.c - what every part of the template parser does with the token list and the node
 * arena: looking ahead, saying what was unexpected, making nodes and constant strings. Once per
 * template.
 */
#include "token.h"

#include "str.h"

#include <stdio.h>
#include <stdlib.h>

bool jparse_is_op(const struct jparse *p, unsigned op)
{
    return p->tok[p->i].kind == T_OP && p->tok[p->i].op == op;
}

bool jtok_is(const struct jtok *t, const char *name)
{
    return t->kind == T_NAME && t->n == strlen(name) && memcmp(t->p, name, t->n) == 0;
}

bool jparse_is_name(const struct jparse *p, const char *name)
{
    return jtok_is(&p->tok[p->i], name);
}

bool jparse_skip_op(struct jparse *p, unsigned op)
{
    bool yes = jparse_is_op(p, op);
    p->i += yes;
    return yes;
}

bool jparse_skip_name(struct jparse *p, const char *name)
{
    bool yes = jparse_is_name(p, name);
    p->i += yes;
    return yes;
}

static const char *describe(const struct jtok *t, char buf[64])
{
    static const char *const fixed[] = {[T_EOF] = "end of template",
                                        [T_DATA] = "template data",
                                        [T_VAR_BEGIN] = "begin of print statement",
                                        [T_VAR_END] = "end of print statement",
                                        [T_BLOCK_BEGIN] = "begin of statement block",
                                        [T_BLOCK_END] = "end of statement block",
                                        [T_STRING] = "string",
                                        [T_INT] = "integer",
                                        [T_FLOAT] = "float"};
    if (t->kind != T_NAME && t->kind != T_OP)
        return fixed[t->kind];
    snprintf(buf, 64, "%.*s", t->n > 60 ? 60 : (int)t->n, t->p);
    return buf;
}

void jparse_unexpected(struct jparse *p, const char *wanted)
{
    char buf[64];
    const struct jtok *t = &p->tok[p->i];
    if (t->kind == T_EOF)
        jparse_fail(p, t->at, "unexpected end of template, expected %s", wanted);
    jparse_fail(p, t->at, "expected %s, got '%s'", wanted, describe(t, buf));
}

void jparse_want_op(struct jparse *p, unsigned op)
{
    char want[] = {'t', 'o', 'k', 'e', 'n', ' ', '\'', (char)op, '\'', 0};
    if (!jparse_skip_op(p, op))
        jparse_unexpected(p, want);
}

struct jnode *jparse_node(struct jparse *p, enum jop op)
{
    struct jnode *n = jparse_alloc(p, sizeof *n);
    n->op = (uint8_t)op;
    n->at = p->tok[p->i].at;
    n->name = -1;
    return n;
}

void jparse_push(struct jparse *p, struct jbody *b, struct jnode *n)
{
    if ((b->n & (b->n - 1)) == 0) { /* full at every power of two */
        struct jnode **v = jparse_alloc(p, (b->n ? (size_t)b->n * 2 : 1) * sizeof *v);
        if (b->n)
            memcpy(v, b->v, b->n * sizeof *v);
        b->v = v;
    }
    b->v[b->n++] = n;
}

struct jv jparse_string_val(struct jparse *p, const char *s, size_t n)
{
    struct jinja *t = p->t;
    struct jstr *v = jstr_over(&t->mem, s, n, false);
    if (!v)
        jparse_fail(p, p->tok[p->i].at, "the template is too large");
    if (t->n_strings == t->cap_strings) {
        t->cap_strings = t->cap_strings ? t->cap_strings * 2 : 64;
        t->strings = xrealloc(t->strings, t->cap_strings * sizeof *t->strings);
    }
    t->strings[t->n_strings++] = v;
    return jv_str(v);
}

/* A decimal, binary, octal or hexadecimal literal. */
