/* SPDX-License-Identifier: Apache-2.0 */
/* adjust.cu - op_adjust: penalties, biases and masks before a token is drawn.
 *
 * A block takes SLICE tokens of one row and does everything for them: it alone touches their counts
 * and their logits, so blocks need not wait for each other. Records of pairs are read by every
 * block of the row, each of which picks its own. Rows that ask for nothing end at once.
 */
#include "common.cuh"

namespace
{

enum { THREADS = 256, SLICE = 4096 };

/* Arrays as in op_adjust. */
struct adjuster {
    float *out;
    const float *logits;
    const struct sample_params *params;
    const struct row_adjust *adjust;
    const uint32_t *area;
    const int32_t *row_slot, *row_out;
    const token_id *last_token;
    uint16_t *counts;
    int32_t vocab;
};

/* Tokens [from, to) of a row. */
struct slice {
    int32_t from, to;
    __device__ bool has(uint32_t token) const
    {
        return token >= (uint32_t)from && token < (uint32_t)to;
    }
};

/* The row's counts of the slice, wiped and set from the record. By the whole block. */
__device__ void set_counts(const adjuster &o, const row_adjust &a, slice me, uint16_t *counts)
{
    for (int32_t i = me.from + threadIdx.x; i < me.to; i += THREADS)
        counts[i] = 0;
    __syncthreads();
    const uint32_t *pair = o.area + a.counts0;
    for (int32_t k = threadIdx.x; k < a.n_counts; k += THREADS) {
        uint32_t t = pair[2 * k], v = pair[2 * k + 1];
        uint32_t n = min(v & STEP_COUNT_DRAWN, (uint32_t)COUNT_MOST);
        if (me.has(t))
            counts[t] = (uint16_t)(n | (v & STEP_COUNT_PROMPT ? COUNT_PROMPT : 0u));
    }
    __syncthreads();
}

__device__ void count_drawn(int32_t token, slice me, uint16_t *counts)
{
    if (threadIdx.x == 0 && me.has((uint32_t)token) && (counts[token] & COUNT_MOST) < COUNT_MOST)
        counts[token]++;
    __syncthreads();
}

/* Each operation rounded by itself: no fused multiply-add. */
__device__ float penalise(float x, uint16_t count, const sample_params &p, float rep)
{
    int32_t drawn = count & COUNT_MOST;
    x = x > 0.0f ? __fdiv_rn(x, rep) : __fmul_rn(x, rep);
    x = __fsub_rn(x, __fmul_rn(p.frequency_penalty, (float)drawn));
    return drawn > 0 ? __fsub_rn(x, p.presence_penalty) : x;
}

__global__ void __launch_bounds__(THREADS) adjust_kernel(adjuster o)
{
    int32_t r = blockIdx.y;
    if (o.row_out[r] < 0 || o.adjust[r].kind == ADJUST_NONE)
        return;
    row_adjust a = o.adjust[r];
    slice me = {(int32_t)blockIdx.x * SLICE, min(o.vocab, (int32_t)(blockIdx.x + 1) * SLICE)};
    const float *row = o.logits + (size_t)r * o.vocab;
    float *out = o.out + (size_t)r * o.vocab;
    int32_t slot = o.row_slot[r];
    uint16_t *counts = o.counts + (size_t)slot * o.vocab;
    if (a.kind == ADJUST_COUNTS)
        set_counts(o, a, me, counts);
    if (a.kind == ADJUST_COUNTED)
        count_drawn(o.last_token[slot], me, counts);
    bool penal = a.kind == ADJUST_COUNTS || a.kind == ADJUST_COUNTED;
    const sample_params p = o.params[r];
    float rep = p.repetition_penalty == 0.0f ? 1.0f : p.repetition_penalty;
    for (int32_t i = me.from + threadIdx.x; i < me.to; i += THREADS) {
        uint16_t n = penal ? counts[i] : (uint16_t)0;
        out[i] = n ? penalise(row[i], n, p, rep) : row[i];
    }
    __syncthreads();
    for (int32_t k = threadIdx.x; k < a.n_bias; k += THREADS) {
        uint32_t t = o.area[a.bias0 + 2 * k];
        if (me.has(t))
            out[t] += __uint_as_float(o.area[a.bias0 + 2 * k + 1]);
    }
    if (a.mask0 < 0)
        return;
    __syncthreads();
    for (int32_t i = me.from + threadIdx.x; i < me.to; i += THREADS)
        if (!(o.area[a.mask0 + i / 32] >> (i & 31) & 1u))
            out[i] = -INFINITY;
}

} // namespace

extern "C" int cuda_adjust(struct be *be, const struct op_adjust *o)
{
    struct cuda_be *c = cuda_of(be);
    int st = opcheck_adjust(o);
    if (st != 0 || o->n_rows == 0)
        return st;
    adjuster a = {.out = o->out,
                  .logits = o->logits,
                  .params = o->params,
                  .adjust = o->adjust,
                  .area = o->area,
                  .row_slot = o->row_slot,
                  .row_out = o->row_out,
                  .last_token = o->last_token,
                  .counts = o->counts,
                  .vocab = o->vocab};
    adjust_kernel<<<dim3(ceil_div(o->vocab, SLICE), o->n_rows), THREADS, 0, c->stream>>>(a);
    return cuda_launched(c, "adjust");
}
