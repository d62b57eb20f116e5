/* SPDX-License-Identifier: Apache-2.0 */
/* hidden.h - hidden states that a step gives back: STEP_WANT_HIDDEN, _SUM and _MEAN. */
#ifndef QUIRE_MODEL_HIDDEN_H
#define QUIRE_MODEL_HIDDEN_H

#include "state.h"

/* Fill sl->hidden_want and sl->any_hidden from *s, whose rows were checked. NULL, or what of row
 * *at breaks the contract. */
const char *hidden_plan(const struct model *m, struct step_slot *sl, const struct step *s,
                        int32_t *at);
/* Enqueue what op_hidden reads, and the copy of what it gives. 0 or ST_*. */
int hidden_move(struct model *m, const struct step_slot *sl);
int hidden_fetch(struct model *m, const struct step_slot *sl);
/* The pass was enqueued: at which position each of its rows goes on with its sum. */
void hidden_done(struct model *m, const struct step_slot *sl);
/* The vector that row i of the step in sl gives back, [dim]; NULL where it gives none. */
const float *hidden_of(const struct model *m, const struct step_slot *sl, int32_t i);

#endif
