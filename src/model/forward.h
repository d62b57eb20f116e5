/* SPDX-License-Identifier: Apache-2.0 */
/* forward.h - one pass of the decoder. Engine thread. */
#ifndef QUIRE_MODEL_FORWARD_H
#define QUIRE_MODEL_FORWARD_H

#include "state.h"

/* Enqueue the layers for the batch in m->bv; `kind` is enum step_kind. 0 or ST_*. */
int forward_layers(struct model *m, int32_t kind);
/* After the layers, when any row samples: the head and the sampler. 0 or ST_*. */
int forward_sample(struct model *m, int32_t kind, bool any_logprobs);

#endif
