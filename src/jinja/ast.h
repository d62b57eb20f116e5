/* SPDX-License-Identifier: Apache-2.0 */
/* ast.h - the compiled form: one kind of node, all in the template's arena. Private to jinja/.
 */
#ifndef QUIRE_JINJA_AST_H
#define QUIRE_JINJA_AST_H

#include "val.h"

enum jtoken {
    T_EOF,
    T_DATA,
    T_VAR_BEGIN,
    T_VAR_END,
    T_BLOCK_BEGIN,
    T_BLOCK_END,
    T_NAME,
    T_STRING,
    T_INT,
    T_FLOAT,
    T_OP /* op: the character, or two packed as a * 256 + b */
};
struct jtok {
    uint8_t kind;
    uint16_t op;
    uint32_t at;   /* offset in the source */
    const char *p; /* data, name, decoded string, digits */
    uint32_t n;
};
#define OP2(a, b) ((a)*256 + (b))

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

struct jparse {
    jmp_buf jump;
    struct jinja *t;
    struct jtok *tok;
    uint32_t n_tok, cap_tok, i;
    unsigned depth, loops;
    bool soft;     /* inside an if: an unknown filter fails only when reached, as in Jinja */
    uint32_t uses; /* USES_* seen since the innermost macro began */
    struct err *e;
};
enum { USES_CALLER = 1, USES_VARARGS = 2, USES_KWARGS = 4 };
enum { JINJA_MAX_PARSE_DEPTH = 128 };

_Noreturn void jparse_fail(struct jparse *p, uint32_t at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void *jparse_alloc(struct jparse *p, size_t n);
/* Line and column (1-based, in code points) of an offset. */
void jinja_place(const struct jinja *t, uint32_t at, unsigned *line, unsigned *col);
int32_t jinja_find_name(const struct jinja *t, const char *s, size_t n); /* -1 */
int32_t jparse_intern(struct jparse *p, const char *s, size_t n);

void jlex(struct jparse *p); /* fills p->tok from p->t->src */

/* token helpers (token.c) */
bool jtok_is(const struct jtok *t, const char *name);
bool jparse_is_op(const struct jparse *p, unsigned op);
bool jparse_is_name(const struct jparse *p, const char *name);
bool jparse_skip_op(struct jparse *p, unsigned op);
bool jparse_skip_name(struct jparse *p, const char *name);
void jparse_want_op(struct jparse *p, unsigned op);
_Noreturn void jparse_unexpected(struct jparse *p, const char *wanted);
struct jnode *jparse_node(struct jparse *p, enum jop op);
void jparse_push(struct jparse *p, struct jbody *b, struct jnode *n);
/* expressions (expr.c) */
struct jnode *jparse_expression(struct jparse *p, bool with_if);
/* end_name: a name that ends the tuple, or NULL. */
struct jnode *jparse_tuple(struct jparse *p, bool with_if, const char *end_name, bool parens);
struct jnode *jparse_filters(struct jparse *p, struct jnode *on, bool inline_first);
struct jnode *jparse_target(struct jparse *p, const char *end_name, bool with_ns);
struct jnode *jparse_name_target(struct jparse *p);
struct jv jparse_string_val(struct jparse *p, const char *s, size_t n);

/* the evaluator (eval.c, exec.c) */
struct jv jeval(struct jrun *r, const struct jnode *n);
void jeval_args(struct jrun *r, const struct jargs *a, struct jcall *c);
void jassign(struct jrun *r, const struct jnode *target, struct jv v);
void jscope_set(struct jrun *r, struct jscope *s, int32_t id, struct jv v);
enum jflow { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE };
enum jflow jexec(struct jrun *r, const struct jbody *b);
struct jv jcall_macro(struct jrun *r, const struct jmacro *m, struct jcall *c);
struct jv jcall_loop(struct jrun *r, struct jloop *l, struct jcall *c);
struct jv jloop_attr(struct jrun *r, struct jloop *l, const struct jstr *name);

#endif
