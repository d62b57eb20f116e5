/* SPDX-License-Identifier: Apache-2.0 */
/* forward.h - one pass of the decoder. Engine thread. */
#ifndef QUIRE_MODEL_FORWARD_H
#define QUIRE_MODEL_FORWARD_H

#include "state.h"

/* Enqueue the layers for the batch in m->bv; `kind` is enum step_kind. 0 or ST_*. */
int forward_layers(struct model *m, int32_t kind);
/* After the layers, where the step in sl asks for anything of what they give: scores, hidden
 * states, draws. 0 or ST_*. */
int forward_outputs(struct model *m, int32_t kind, const struct step_slot *sl);

/* Every product of a pass of n tokens (of n rows that draw) once, with whatever the workspace
 * holds: for devices that measure them. n is at most what a step may have. 0 or ST_*. */
int forward_products(struct model *m, int32_t n);

#endif
