/* SPDX-License-Identifier: Apache-2.0 */
/* naive.h - what a request must produce: one sequence, no cache, no batch, no pages. */
#ifndef QUIRE_TEST_NAIVE_H
#define QUIRE_TEST_NAIVE_H

#include "msg.h"

struct naive_out {
    int32_t n, finish, stop_id;
    token_id *tok;  /* [max_new], caller's */
    float *logprob; /* [max_new], caller's */
    float *score; /* [n_prompt], caller's: of the prompt's tokens but the first; NULL: not wanted */
    int32_t *rank; /* beside them */
};
/* m is followed by its arrays as in msg.h. */
void naive_generate(const struct msg_submit *m, int32_t vocab, const token_id *eos, int32_t n_eos,
                    struct naive_out *out);

/* The vector that a prompt with embed must give; [HM_DIM]. */
void naive_vector(const struct msg_submit *m, float *v);

#endif
