/* SPDX-License-Identifier: Apache-2.0 */
/* hash_model.h - an executor whose KV is hashes: the oracle of the engine's bookkeeping.
 *
 * The entry at position i is a hash of the token, of i and of every entry before it, all read
 * through the page table; the sampled token is a hash of all entries. A wrong, stale, early freed
 * or doubly written page therefore changes an output. Besides it checks each step for what the
 * order of execution could hide: overlap of steps in flight, recycled rows, touched steps, bad
 * indices.
 *
 * As two lanes over one pool (include/step.h) it is two executors, whose steps run in any order
 * between them; then also what one lane does to pages, rows and tokens of the other is checked.
 */
#ifndef QUIRE_TEST_HASH_MODEL_H
#define QUIRE_TEST_HASH_MODEL_H

#include "step.h"

#include <stdint.h>

struct hm_config {
    int32_t n_pages, page_tokens, max_rows, max_pages; /* max_pages: of one row's table */
    int32_t vocab, depth;
    int32_t late;            /* 1: a step runs at its wait, so that virtual time is a device's */
    int32_t lanes, n_shares; /* lanes: 2, or 1 (or 0) */
    int32_t by_hand;         /* a step runs when hm_run says so, on whatever thread */
    uint64_t seed;
    int64_t step_us, token_us; /* virtual cost */
    token_id bad_token;        /* what follows it is no number any more; 0 = there is none */
};
struct hm_counts {
    int64_t steps, decode_rows, prefill_tokens, copies, edits, overlapped;
    int64_t beside, handed; /* steps beside one of the other lane; rows it got from there */
    int64_t shared;         /* steps on a part of the device */
    int64_t violations;
    uint64_t trace; /* hash over all steps */
    char first[160];
};

struct hash_model;
struct hash_model *hm_new(const struct hm_config *c);
void hm_free(struct hash_model *hm);
void hm_executor(struct hash_model *hm, struct executor *ex); /* ex[lanes] */
const struct hm_counts *hm_counts(const struct hash_model *hm);
int64_t hm_now(void *hm); /* virtual time; arg is the model */
void hm_pause(void *hm, int64_t us);
/* Does a step in flight read or write that page? */
int hm_uses(const struct hash_model *hm, page_id page);
/* by_hand: the step that the executor `self` has in slot runs now. The steps of a lane one after
 * the other; those of two lanes may run on two threads. */
void hm_run(void *self, int slot);
/* From step number `no` on, submit (or wait) answers `status`, `times` times. */
void hm_fail(struct hash_model *hm, uint64_t no, int status, int times, int on_wait);

/* What step number `no` computes is no number, and so is whatever is computed from it. */
void hm_spoil(struct hash_model *hm, uint64_t no);

/* The model itself, without pages: naive.c and the executor share these. */
uint64_t hm_mix(uint64_t a, uint64_t x);
uint64_t hm_entry(uint64_t acc, token_id tok, int32_t pos);
/* What a draw depends on beside the sequence. */
struct hm_inputs {
    uint64_t bias,
        counts; /* sums of hm_mix(token, value) over finite biases; over what penalties see */
    const uint8_t *banned; /* [vocab]: not to be drawn; NULL = everything may be */
};
/* Token for position pos after everything in acc; *logprob too. */
token_id hm_draw(uint64_t acc, const struct sample_params *p, const struct hm_inputs *in,
                 int32_t pos, int32_t vocab, float *logprob);
/* The log probability of `next` after everything in acc; the k-th best beside it is k less. */
float hm_score(uint64_t acc, token_id next);
/* Its place among all; drawn, as the score is. */
int32_t hm_rank(uint64_t acc, token_id next, int32_t vocab);
/* The hidden state after everything in acc. */
enum { HM_DIM = 8 };
void hm_hidden(uint64_t acc, float v[HM_DIM]);

#endif
