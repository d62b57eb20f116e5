/* SPDX-License-Identifier: Apache-2.0 */
/* few.cuh - op_sample with a small top-k in one read of the logits and a bit.
 *
 * The search for the best leaves every thread the best of its column. The k-th largest of a block's
 * columns bounds the k-th largest logit from below: whatever belongs to the top k lies in a column
 * whose best reaches that bound. Only these columns are read again, about k of 1,024. What reaches
 * the bound (a bit more than k tokens) is sorted in the first block's shared memory and cut there.
 */
#ifndef QUIRE_FEW_CUH
#define QUIRE_FEW_CUH

#include "draw.cuh"

namespace
{

enum {
    FEW = 512,      /* the largest top-k that comes here */
    MOST = 2048,    /* tokens that can be sorted: the bytes of shared.count, a power of two */
    UNSURE = -1000, /* no answer: the other way has to find it */
    BOUND_BIT = 12  /* the bounds' last bit */
};

__device__ __forceinline__ bool passes_min(float w, float min_p)
{
    return w >= min_p || w >= 1.0f;
}

/* A token with a key as one number: of equal keys the lower id makes the larger. */
__device__ __forceinline__ uint64_t packed(uint32_t key, int32_t id)
{
    return (uint64_t)key << 32 | (0xffffffffu - (uint32_t)id);
}
__device__ __forceinline__ int32_t id_of(uint32_t low)
{
    return (int32_t)(0xffffffffu - low);
}

/* Descending; n <= MOST. The block. */
__device__ void sort_down(uint64_t *v, int32_t n)
{
    int32_t all = 2;
    while (all < n)
        all *= 2;
    for (int32_t i = n + threadIdx.x; i < all; i += NT)
        v[i] = 0;
    for (int32_t size = 2; size <= all; size *= 2)
        for (int32_t gap = size / 2; gap > 0; gap /= 2) {
            __syncthreads();
            int32_t i = threadIdx.x, a = 2 * i - (i & (gap - 1)), b = a + gap;
            if (i >= all / 2)
                continue;
            uint64_t x = v[a], y = v[b];
            if ((x < y) == !(a & size))
                v[a] = y, v[b] = x;
        }
    __syncthreads();
}

/* A key that at least k columns of one block of the row reach, 0 where there are not as many. */
__device__ uint32_t bound_of(shared &sh, share me, uint32_t own, int32_t k)
{
    uint32_t t = 0;
    for (int bit = 31; bit >= BOUND_BIT; bit--)
        if (__syncthreads_count(own >= (t | 1u << bit)) >= k)
            t |= 1u << bit;
    if (threadIdx.x == 0)
        sh.n_sum = t, sh.n = 0, sh.n_columns = 0;
    row_sync();
    for (int v = 0; v < me.size; v++)
        t = max(t, *at_rank(&sh.n_sum, v));
    return t;
}

/* Calls take(logit, id) for the tokens of this block whose keys reach `from`. */
template <class Take>
__device__ void each_above(shared &sh, columns c, uint32_t own, uint32_t from, Take take_any)
{
    int lane = threadIdx.x & 31;
    auto take = [&](float x, int32_t id) {
        if (order_bits(x) >= from)
            take_any(x, id);
    };
    if (own >= from)
        sh.low[atomicAdd(&sh.n_columns, 1)] = threadIdx.x;
    __syncthreads();
    const float4 *v = c.quads();
    for (int32_t i = threadIdx.x >> 5; i < sh.n_columns; i += WARPS) {
        int32_t at = (int32_t)sh.low[i];
        if (lane == 0 && at < c.rest)
            take(c.row[c.rest_at(at)], c.first + c.rest_at(at));
        for (int32_t q = at + lane * NT; q < c.n4; q += 32 * NT) {
            float4 f = v[q];
            take(f.x, c.quad_id(q));
            take(f.y, c.quad_id(q) + 1);
            take(f.z, c.quad_id(q) + 2);
            take(f.w, c.quad_id(q) + 3);
        }
    }
}

/* Adds to the first block's list in shared.count; its sh.n counts past MOST, too. */
__device__ __forceinline__ void add_to_list(shared &sh, uint64_t v)
{
    int32_t at = atomicAdd(at_rank(&sh.n, 0), 1);
    if (at < MOST)
        *at_rank((uint64_t *)sh.count + at, 0) = v;
}

/* How many of v's first n, which are sorted, top-p and min-p keep; the first warp. */
__device__ int32_t keep_few(const uint64_t *v, int32_t n, float top_p, float min_p)
{
    int lane = threadIdx.x & 31;
    auto weight = keeping([=](int32_t i) { return __uint_as_float((uint32_t)(v[i] >> 32)); },
                          [](float w, int32_t) { return w; });
    if (top_p < 1.0f) {
        double goal = (double)top_p * piece_weight(weight, 0, n, lane), sum = 0.0;
        for (int32_t i0 = 0; i0 < n; i0 += 32) {
            bool in = i0 + lane < n;
            double upto = sum_upto(in ? (double)weight(i0 + lane) : 0.0, lane);
            uint32_t hits = __ballot_sync(0xffffffffu, in && sum + upto >= goal);
            if (hits) {
                n = i0 + __ffs(hits);
                break;
            }
            sum += __shfl_sync(0xffffffffu, upto, 31);
        }
    }
    int32_t kept = 0;
    for (int32_t i0 = 0; i0 < n; i0 += 32)
        kept += __popc(
            __ballot_sync(0xffffffffu, i0 + lane < n && passes_min(weight(i0 + lane), min_p)));
    return kept;
}

/* The draw from the n collected tokens, of which those with a key over `doubt` are all there are;
 * the first block. */
__device__ int32_t draw_sorted(shared &sh, int32_t n, uint32_t doubt, const sample_params &p,
                               double unit)
{
    uint64_t *v = (uint64_t *)sh.count;
    if (n < 1 || n > MOST)
        return UNSURE;
    sort_down(v, n);
    int32_t keep = min(n, p.top_k);
    if (doubt > 0 && (n < p.top_k || (uint32_t)(v[keep - 1] >> 32) <= doubt))
        return UNSURE;
    if (threadIdx.x < 32) {
        keep = keep_few(v, keep, p.top_p, p.min_p);
        if (threadIdx.x == 0)
            sh.n_before = (uint32_t)keep;
    }
    __syncthreads();
    keep = (int32_t)sh.n_before;
    for (int32_t i = threadIdx.x; i < keep; i += NT) /* now ascending ids come first */
        v[i] = v[i] << 32 | v[i] >> 32;
    sort_down(v, keep);
    auto weight = keeping([=](int32_t i) { return __uint_as_float((uint32_t)v[i]); },
                          [](float w, int32_t) { return w; });
    if (threadIdx.x >= 32)
        return 0;
    int32_t at = walk(weight, 0, keep, unit * piece_weight(weight, 0, keep, threadIdx.x & 31));
    return id_of((uint32_t)(v[at] >> 32));
}

/* A token drawn from the row's top k (at most FEW) as op_sample says, or UNSURE; the same in all
 * threads of the row's blocks. own: the key of the best of the thread's column; best: of the row.
 * The bound is in logits, the order in weights, which may round alike or, by the last bits of expf,
 * the other way round: the bound is lowered by a bit, and the k-th weight must be over that of the
 * lowered bound by more than expf's error. */
__device__ int32_t draw_few(shared &sh, const float *row, share me, uint32_t own, float best,
                            const sample_params &p, double unit)
{
    const uint32_t lowest = order_bits(-INFINITY) + 1, error = 8;
    uint32_t from = lowest, doubt = 0, t = bound_of(sh, me, own, p.top_k);
    if (t > lowest) {
        from = min(t - 1, order_bits(float_of(t) - p.temperature * 0x1p-18f));
        from = max(from, lowest);
        float w = weight_of(float_of(from), best, p.temperature);
        doubt = w > 0.0f ? __float_as_uint(w) + error : 0;
    }
    float temperature = p.temperature;
    each_above(sh, columns_of(row, me), own, from, [&](float x, int32_t id) {
        float w = weight_of(x, best, temperature);
        if (w > 0.0f)
            add_to_list(sh, packed(__float_as_uint(w), id));
    });
    row_sync();
    if (me.rank == 0) {
        int32_t id = draw_sorted(sh, sh.n, doubt, p, unit);
        if (threadIdx.x == 0)
            sh.found = id;
    }
    row_sync();
    int32_t id = *at_rank(&sh.found, 0);
    row_sync(); /* the other way begins with what was read here */
    return id;
}

} // namespace

#endif
