/* SPDX-License-Identifier: Apache-2.0 */
/* warm.h - first passes before ready. Loader thread. */
#ifndef QUIRE_MODEL_WARM_H
#define QUIRE_MODEL_WARM_H

#include "state.h"

/* `how` is enum warm of model.h, gemm_cache as in model_opts. 0, or the status of the pass that
 * failed. */
int model_warm(struct model *m, int how, const char *gemm_cache, struct err *e);

#endif
