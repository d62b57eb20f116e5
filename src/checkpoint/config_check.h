/* SPDX-License-Identifier: Apache-2.0 */
/* config_check.h - rules that every model configuration obeys, whatever file it came from. */
#ifndef QUIRE_CHECKPOINT_CONFIG_CHECK_H
#define QUIRE_CHECKPOINT_CONFIG_CHECK_H

#include "model_config.h"
#include "status.h"

/* A configuration in which nothing is given yet (generation defaults NAN or -1), with one
 * kind of layers and one rope table. */
void config_init(struct model_config *c);
/* Bounds and divisibility of everything that kernels and the engine rely on; FORMAT for values
 * that cannot be, UNSUPPORTED for ones that we do not compute. Before rope_fill. */
int config_check(const struct model_config *c, struct err *e);
/* A sliding window of `window` tokens (0 = none): refused, unless it is as long as the context and
 * so the same thing as full attention. */
int config_check_window(const struct model_config *c, int64_t window, struct err *e);

#endif
