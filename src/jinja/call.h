/* SPDX-License-Identifier: Apache-2.0 */
/* call.h - calls: running what can be called, and binding arguments to names. Private to jinja/.
 */
#ifndef QUIRE_JINJA_CALL_H
#define QUIRE_JINJA_CALL_H

#include "run.h"

/* A global function. */
struct jfunc {
    const char *name;
    struct jv (*fn)(struct jrun *r, struct jcall *c);
};
/* NULL when there is none. */
const struct jfunc *jfunc_find(const char *p, size_t n);

struct jtest;
struct jv jcall_value(struct jrun *r, struct jv fn, struct jcall *c);
bool jtest_run(struct jrun *r, const struct jtest *t, struct jv v, struct jcall *c);

/* Bind a call to parameter names ("a", "b", NULL): out[i] is JV_ABSENT when not given. */
void jbind(struct jrun *r, const struct jcall *c, const char *fn, const char *const *names,
           struct jv *out);
void jno_args(struct jrun *r, const struct jcall *c, const char *fn); /* fails when there are any */
bool jarg_bool(struct jv v, bool dflt);
int64_t jarg_int(struct jrun *r, struct jv v, int64_t dflt, const char *what);
const struct jstr *jarg_str(struct jrun *r, struct jv v, const char *what);

#endif
