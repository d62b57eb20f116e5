/* SPDX-License-Identifier: Apache-2.0 */
/* logprob.cuh - log probabilities of raw logits: that of a token and those of the k best. */
#ifndef QUIRE_LOGPROB_CUH
#define QUIRE_LOGPROB_CUH

#include "few.cuh"

namespace
{

/* Where log probabilities of a row go. */
struct answer {
    float *logprob;
    struct token_logprob *top; /* [MAX_LOGPROBS] */
    int32_t *n_top;
};

/* The k best of the row, best first, into top; norm: log of the sum of exp of the row. For every
 * row: */
__device__ void best_of_all(shared &sh, const float *row, share me, int32_t k, double norm,
                            struct token_logprob *top)
{
    auto key = [=](int32_t i) { return order_bits(row[i]); };
    all_tokens<decltype(key)> tokens = {key, me};
    mark last = select_head(sh, tokens, me, mark{0, INT32_MAX},
                            {.max_n = (uint32_t)k, .max_weight = 0.0, .weighed = false});
    if (threadIdx.x == 0)
        sh.n = 0;
    row_sync();
    for (int32_t i = me.from + threadIdx.x; i < me.to; i += NT)
        if (!better(last, mark{key(i), i})) {
            int32_t at = atomicAdd(at_rank(&sh.n, 0), 1);
            if (at < MAX_LOGPROBS)
                *at_rank(&sh.list[at], 0) = token_logprob{i, row[i]};
        }
    row_sync();
    if (me.rank == 0 && (int)threadIdx.x < k) { /* rank among the k: few enough for all pairs */
        token_logprob mine = sh.list[threadIdx.x];
        int rank = 0;
        for (int j = 0; j < k; j++) {
            token_logprob y = sh.list[j];
            rank += y.logprob > mine.logprob || (y.logprob == mine.logprob && y.token < mine.token);
        }
        mine.logprob = (float)((double)mine.logprob - norm);
        top[rank] = mine;
    }
}

/* The same from the columns that matter, where not too many logits are alike. */
__device__ void best_list(shared &sh, const float *row, share me, uint32_t own, int32_t k,
                          double norm, struct token_logprob *top)
{
    uint32_t from = bound_of(sh, me, own, k);
    each_above(sh, columns_of(row, me), own, from,
               [&](float x, int32_t id) { add_to_list(sh, packed(order_bits(x), id)); });
    row_sync();
    int32_t n = *at_rank(&sh.n, 0);
    if (n > MOST) {
        best_of_all(sh, row, me, k, norm, top);
        return;
    }
    if (me.rank > 0)
        return;
    uint64_t *v = (uint64_t *)sh.count;
    sort_down(v, n);
    if ((int)threadIdx.x < k) {
        int32_t id = id_of((uint32_t)v[threadIdx.x]);
        top[threadIdx.x] = token_logprob{id, (float)((double)row[id] - norm)};
    }
}

/* The logprob of token id and the list of the k best of a row of vocab tokens whose largest is
 * `best`; own: the key of the best of the thread's column. */
__device__ __noinline__ void logprobs(shared &sh, const float *row, share me, uint32_t own,
                                      int32_t vocab, int32_t id, float best, int32_t k, answer to)
{
    double mine = 0.0;
    for (int32_t i = me.from + threadIdx.x; i < me.to; i += NT) {
        float x = row[i];
        if (x > -INFINITY)
            mine += (double)expf(x - best);
    }
    double norm = (double)best + log(row_sum(sh, mine, me));
    k = min(min(k, (int32_t)MAX_LOGPROBS), vocab);
    if (k > 0)
        best_list(sh, row, me, own, k, norm, to.top);
    if (me.rank == 0 && threadIdx.x == 0) {
        *to.logprob = (float)((double)row[id] - norm);
        *to.n_top = k > 0 ? k : 0;
    }
}

} // namespace

#endif
