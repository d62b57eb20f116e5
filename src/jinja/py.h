/* SPDX-License-Identifier: Apache-2.0 */
/* py.h - what Python says of values: truth, equality, order, length, iteration. Private to
 * jinja/.
 */
#ifndef QUIRE_JINJA_PY_H
#define QUIRE_JINJA_PY_H

#include "run.h"

const char *jkind_name(struct jv v); /* type(v).__name__ */
bool jtruth(struct jv v);
bool jequal(struct jrun *r, struct jv a, struct jv b);
int jcompare(struct jrun *r, struct jv a, struct jv b, const char *op); /* <0 0 >0; 2 = NaN */
bool jcontains(struct jrun *r, struct jv box, struct jv item);
int64_t jlength(struct jrun *r, struct jv v); /* -1 when it has none */
/* What `for` would see, as a list that must not be written; uses a JV_GEN up. */
struct jlist *jiter(struct jrun *r, struct jv v);
bool jiterable(struct jv v);
bool jis_seq(struct jv v); /* list, tuple, range: indexable by number */
bool jnumber(struct jv v, double *f);
bool jint_of(struct jv v, int64_t *i); /* int and bool */

#endif
