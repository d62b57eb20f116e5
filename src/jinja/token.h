/* SPDX-License-Identifier: Apache-2.0 */
/* token.h - tokens: made of the source, and looked at by the parser. Private to jinja/.
 */
#ifndef QUIRE_JINJA_TOKEN_H
#define QUIRE_JINJA_TOKEN_H

#include "parse.h"

/* Fills p->tok from p->t->src. */
void jlex(struct jparse *p);

bool jtok_is(const struct jtok *t, const char *name);
bool jparse_is_op(const struct jparse *p, unsigned op);
bool jparse_is_name(const struct jparse *p, const char *name);
bool jparse_skip_op(struct jparse *p, unsigned op);
bool jparse_skip_name(struct jparse *p, const char *name);
void jparse_want_op(struct jparse *p, unsigned op);
_Noreturn void jparse_unexpected(struct jparse *p, const char *wanted);
struct jnode *jparse_node(struct jparse *p, enum jop op);
void jparse_push(struct jparse *p, struct jbody *b, struct jnode *n);
/* The constant of a string, in the template's arena. */
struct jv jparse_string_val(struct jparse *p, const char *s, size_t n);

#endif
