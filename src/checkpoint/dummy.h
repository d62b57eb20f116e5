/* SPDX-License-Identifier: Apache-2.0 */
/* dummy.h - random weights from a seed, for measuring without a checkpoint. */
#ifndef QUIRE_CHECKPOINT_DUMMY_H
#define QUIRE_CHECKPOINT_DUMMY_H

#include <stdint.h>

/* Elements [first, first + n) of the weight (layer, role) into dst, in storage type dt (enum
 * dtype). Norms (enum weight_role) lie around 1, everything else around 0 with a standard deviation
 * of 1/sqrt(fan_in). A value depends on seed, layer, role and its index only, never on how the
 * weight is cut into calls; types differ by rounding alone. Pure, any thread. */
void dummy_fill(uint64_t seed, int32_t layer, int role, int64_t fan_in, int64_t first, int64_t n,
                void *dst, int32_t dt);

#endif
