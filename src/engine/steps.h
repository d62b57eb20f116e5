/* SPDX-License-Identifier: Apache-2.0 */
/* steps.h - a step is planned, and committed when the device has done it. */
#ifndef QUIRE_ENGINE_STEPS_H
#define QUIRE_ENGINE_STEPS_H

#include "state.h"

/* Fill ln->step[slot] and ln->flight[slot].who. Rows planned; 0: there is nothing to do now. */
int32_t plan_step(struct engine *en, struct lane *ln, int slot);
/* ln->result holds the result of the oldest step in flight, which was in `slot` and ended at now_us
 * (engine_now). */
void commit_step(struct engine *en, struct lane *ln, int slot, int64_t now_us);

#endif
