/* SPDX-License-Identifier: Apache-2.0 */
/* ast.h - the compiled form: one kind of node, all in the template's arena. Private to jinja/.
 */
#ifndef QUIRE_JINJA_AST_H
#define QUIRE_JINJA_AST_H

#include "jinja.h"
#include "mem.h"
#include "val.h"

enum jop {
    /* expressions */
    E_CONST,
    E_NAME,
    E_ATTR,
    E_ITEM,
    E_SLICE,
    E_CALL,
    E_FILTER,
    E_TEST,
    E_NOT,
    E_AND,
    E_OR,
    E_COND,
    E_CMP,
    E_ADD,
    E_ARITH,
    E_CONCAT,
    E_NEG,
    E_POS,
    E_LIST,
    E_TUPLE,
    E_DICT,
    E_NSREF, /* a target only */
    /* statements */
    S_DATA,
    S_OUT,
    S_IF,
    S_FOR,
    S_SET,
    S_SETBLOCK,
    S_MACRO,
    S_CALL,
    S_FILTER,
    S_WITH,
    S_BREAK,
    S_CONTINUE,
    S_BLOCK,
    S_SCOPE
};
enum { CMP_EQ, CMP_NE, CMP_LT, CMP_LE, CMP_GT, CMP_GE, CMP_IN, CMP_NOT_IN };

/* What the body of a macro uses: sub of its S_MACRO or S_CALL. */
enum { USES_CALLER = 1, USES_VARARGS = 2, USES_KWARGS = 4 };

struct jbody {
    struct jnode **v;
    uint32_t n;
};
struct jargs {
    struct jbody pos, kw;
    const struct jstr **kw_name;
    struct jnode *dyn_pos, *dyn_kw;
};
/* Which fields mean what: see the parser function that makes the op. */
struct jnode {
    uint8_t op, sub; /* sub: comparison or arithmetic character */
    bool flag, flag2;
    uint32_t at;
    int32_t name; /* interned name, -1 = none */
    struct jnode *a, *b, *c, *d;
    struct jbody kids, body, other;
    uint8_t *ops; /* E_CMP: one per kid */
    struct jargs *args;
    struct jv val;
    const struct jfilter *filter;
    const struct jtest *test;
};

struct jinja {
    struct arena mem;
    const char *src; /* newlines made LF */
    size_t n;
    struct jbody body;
    const struct jstr **names;
    const struct jfunc **funcs; /* the global function of each name, NULL = none */
    int32_t n_names, cap_names;
    const struct jstr **strings; /* constants and attributes, for jinja_mentions */
    uint32_t n_strings, cap_strings;
    int32_t id_loop, id_caller, id_varargs, id_kwargs;
};

/* Line and column (1-based, in code points) of an offset. */
void jinja_place(const struct jinja *t, uint32_t at, unsigned *line, unsigned *col);
int32_t jinja_find_name(const struct jinja *t, const char *s, size_t n); /* -1 */

#endif
