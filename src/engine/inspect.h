/* SPDX-License-Identifier: Apache-2.0 */
/* inspect.h - the engine looks at itself: is its state sound, and what is it waiting for? */
#ifndef QUIRE_ENGINE_INSPECT_H
#define QUIRE_ENGINE_INSPECT_H

#include "state.h"

/* Recount what the seqs and limbo hold and the engine's lists. 0, or ST_INTERNAL with the first
 * violation. O(slots + pages + tokens held). */
int engine_audit(struct engine *en, struct err *e);
/* The state as log lines. */
void engine_explain(struct engine *en);

#endif
