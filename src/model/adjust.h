/* SPDX-License-Identifier: Apache-2.0 */
/* adjust.h - the part of a step that changes what rows draw from: penalties and areas. */
#ifndef QUIRE_MODEL_ADJUST_H
#define QUIRE_MODEL_ADJUST_H

#include "state.h"

/* Fill sl->adjust and sl->any_adjust from *s, whose rows and counts were checked. NULL, or what of
 * row *at breaks the contract of enum step_area: then nothing was planned. */
const char *adjust_plan(const struct model *m, struct step_slot *sl, const struct step *s,
                        int32_t *at);
/* Enqueue what op_adjust reads, where any row asks for it. 0 or ST_*. */
int adjust_move(struct model *m, const struct step_slot *sl);
/* The pass was enqueued: from which position each of its rows goes on counting. */
void adjust_done(struct model *m, const struct step_slot *sl);

#endif
