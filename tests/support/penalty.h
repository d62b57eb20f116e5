/* SPDX-License-Identifier: Apache-2.0 */
/* penalty.h - what a row should draw from, from its tokens alone: the definitions of transformers
 * and vLLM, token by token. And the records of a step's area. One thread. */
#ifndef QUIRE_TEST_PENALTY_H
#define QUIRE_TEST_PENALTY_H

#include "step.h"

struct penalty_row {
    const token_id *tok; /* prompt, then what was drawn */
    int32_t n_prompt, n_tok;
    const token_id *bias_tok; /* [n_bias] */
    const float *bias;
    int32_t n_bias;
    const uint32_t *mask; /* NULL = none */
};

/* to[vocab] from the raw logits. */
void penalty_logits(const struct penalty_row *r, const struct sample_params *p, const float *raw,
                    int32_t vocab, float *to);
/* The lowest id of the largest. */
token_id penalty_best(const float *x, int32_t vocab);
/* Append the row's records to the area of s, for its row i; counts: with STEP_AREA_COUNTS. */
void penalty_area(const struct penalty_row *r, int32_t vocab, bool counts, struct step *s,
                  int32_t i);

#endif
