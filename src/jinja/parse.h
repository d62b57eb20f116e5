/* SPDX-License-Identifier: Apache-2.0 */
/* parse.h - the state of one compilation, and the parser of expressions. Private to jinja/.
 */
#ifndef QUIRE_JINJA_PARSE_H
#define QUIRE_JINJA_PARSE_H

#include "ast.h"

#include <setjmp.h>

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
enum { JINJA_MAX_PARSE_DEPTH = 128 };

_Noreturn void jparse_fail(struct jparse *p, uint32_t at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void *jparse_alloc(struct jparse *p, size_t n);
int32_t jparse_intern(struct jparse *p, const char *s, size_t n);

/* Expressions (expr.c). */
struct jnode *jparse_expression(struct jparse *p, bool with_if);
/* end_name: a name that ends the tuple, or NULL. */
struct jnode *jparse_tuple(struct jparse *p, bool with_if, const char *end_name, bool parens);
struct jnode *jparse_filters(struct jparse *p, struct jnode *on, bool inline_first);
struct jnode *jparse_target(struct jparse *p, const char *end_name, bool with_ns);
struct jnode *jparse_name_target(struct jparse *p);

#endif
