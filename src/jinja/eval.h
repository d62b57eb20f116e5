/* SPDX-License-Identifier: Apache-2.0 */
/* eval.h - the evaluator: expressions and statements. Private to jinja/.
 */
#ifndef QUIRE_JINJA_EVAL_H
#define QUIRE_JINJA_EVAL_H

#include "ast.h"
#include "run.h"

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
