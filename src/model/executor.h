/* SPDX-License-Identifier: Apache-2.0 */
/* executor.h - what rows and context of a decode step are rounded up to, so that few
 * recorded graphs serve. */
#ifndef QUIRE_MODEL_EXECUTOR_H
#define QUIRE_MODEL_EXECUTOR_H

#include "state.h"

int32_t row_bucket(const struct model *m, int32_t n);
int32_t kv_bucket(const struct model *m, int32_t n);

#endif
