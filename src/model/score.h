/* SPDX-License-Identifier: Apache-2.0 */
/* score.h - log probabilities of a prompt's own tokens, as a part of a prefill step. */
#ifndef QUIRE_MODEL_SCORE_H
#define QUIRE_MODEL_SCORE_H

#include "state.h"

/* Fill sl->want and sl->score0, score1 from *s, whose rows and tokens were checked. NULL, or what
 * of row *at breaks the contract of step_row.n_score. */
const char *score_plan(const struct model *m, struct step_slot *sl, const struct step *s,
                       int32_t *at);
/* Enqueue what op_score reads. 0 or ST_*. */
int score_move(struct model *m, const struct step_slot *sl);
/* Enqueue the copies of its results. 0 or ST_*. */
int score_fetch(struct model *m, const struct step_slot *sl);
/* The step is done: the scores of its row i, the last that was added to *r, into *r. */
void score_take(const struct model *m, const struct step_slot *sl, int32_t i,
                struct step_result *r);

#endif
