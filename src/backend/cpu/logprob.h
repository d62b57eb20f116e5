/* SPDX-License-Identifier: Apache-2.0 */
/* logprob.h - what op_sample and op_score read off a row of logits. */
#ifndef QUIRE_CPU_LOGPROB_H
#define QUIRE_CPU_LOGPROB_H

#include "ops.h"

/* The largest, the first of equals; -1 where there is a NaN or +inf, or nothing finite. */
token_id cpu_best(const float *row, int32_t vocab);

/* The log probability of `token` and the k best (at most MAX_LOGPROBS) with theirs, best first, of
 * a row whose best is `best`. Returns how many these are. */
int32_t cpu_logprobs(const float *row, int32_t vocab, token_id best, token_id token, int32_t k,
                     float *logprob, struct token_logprob *top);

#endif
