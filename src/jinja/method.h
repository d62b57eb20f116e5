/* SPDX-License-Identifier: Apache-2.0 */
/* method.h - the tables of methods. Private to jinja/.
 */
#ifndef QUIRE_JINJA_METHOD_H
#define QUIRE_JINJA_METHOD_H

#include "run.h"

struct jmethod {
    const char *name;
    struct jv (*fn)(struct jrun *r, struct jv self, struct jcall *c); /* NULL: not here */
};
extern const struct jmethod jmethods_str[]; /* method.c's; ends with a NULL name */
/* NULL when the kind has no such method; *mutates when the sandbox refuses it. */
const struct jmethod *jmethod_find(struct jv self, const struct jstr *name, bool *mutates);

#endif
