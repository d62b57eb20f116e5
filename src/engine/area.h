/* SPDX-License-Identifier: Apache-2.0 */
/* area.h - what of a request goes into the area of a step (step.h): biases, masks, counts. */
#ifndef QUIRE_ENGINE_AREA_H
#define QUIRE_ENGINE_AREA_H

#include "state.h"

/* Any thread; pure. Can these inputs be served? 0, or ST_INVALID_VALUE: a bias that is no number
 * or out of order, a mask of another length, nothing that could be drawn, penalties that are no
 * numbers, or more than the area of one step holds. The lengths of *m were checked. */
int area_check(const struct engine_limits *l, const struct engine_facts *f,
               const struct msg_submit *m);

/* Memory for the inputs of every slot, and of the counting. 0 or ST_NOMEM. */
int area_init(struct engine *en, struct err *e);
void area_fini(struct engine *en);
/* Keep what *m asks for with its seq. */
void area_admit(struct engine *en, struct seq *s, const struct msg_submit *m);
/* Words that the next draw of s needs at most; 0: it asks for nothing. */
int32_t area_words(const struct engine *en, const struct seq *s);
/* Put them into the step; *r is the row that draws. There is room. */
void area_pack(struct engine *en, struct step *step, struct step_row *r, struct seq *s);

#endif
