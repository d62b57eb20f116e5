/* SPDX-License-Identifier: Apache-2.0 */
/* operators.h - attributes, items, slices and arithmetic, as the evaluator, filters and methods
 * share them. Private to jinja/.
 */
#ifndef QUIRE_JINJA_OPERATORS_H
#define QUIRE_JINJA_OPERATORS_H

#include "run.h"

struct jv jundef_name(struct jrun *r, const struct jstr *name);
struct jv jget_attr(struct jrun *r, struct jv obj, const struct jstr *name);     /* obj.name */
struct jv jget_item(struct jrun *r, struct jv obj, struct jv key);               /* obj[key] */
struct jv jget_own_attr(struct jrun *r, struct jv obj, const struct jstr *name); /* getattr */
struct jv jslice(struct jrun *r, struct jv obj, const struct jv part[3]);
struct jv jadd(struct jrun *r, struct jv a, struct jv b);
struct jv jarith(struct jrun *r, int op, struct jv a, struct jv b);
struct jv jneg(struct jrun *r, struct jv v);

#endif
