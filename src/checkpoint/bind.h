/* SPDX-License-Identifier: Apache-2.0 */
/* bind.h - which tensor of the files is which weight. Private to checkpoint/.
 */
#ifndef QUIRE_CHECKPOINT_BIND_H
#define QUIRE_CHECKPOINT_BIND_H

#include "source.h"

/* Find and check every weight; refuse tensors that the family does not know. */
int source_bind(struct model_source *s, struct err *e);
/* layer < 0: a global role. NULL when the model has none (or is a dummy). */
const struct tensor *source_weight(const struct model_source *s, int32_t layer, int role);

#endif
