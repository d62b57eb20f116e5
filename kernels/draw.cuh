/* SPDX-License-Identifier: Apache-2.0 */
/* draw.cuh - op_sample's weights, its random number and the draw by inversion. Sums are taken in
 * double in ascending id order, in fixed pieces. */
#ifndef QUIRE_DRAW_CUH
#define QUIRE_DRAW_CUH

#include "select.cuh"

namespace
{

/* Philox 4x32-10 in place: c the counter, k0 and k1 the key. */
__device__ void philox(uint32_t *c, uint32_t k0, uint32_t k1)
{
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c[0], b = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t x0 = (uint32_t)(b >> 32) ^ c[1] ^ k0, x2 = (uint32_t)(a >> 32) ^ c[3] ^ k1;
        c[0] = x0, c[1] = (uint32_t)b, c[2] = x2, c[3] = (uint32_t)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

/* In [0, 1), 53 bits: see ops.h. */
__device__ double unit_of(uint64_t seed, uint32_t pos)
{
    uint32_t c[4] = {pos, 0, 0, 0};
    philox(c, (uint32_t)seed, (uint32_t)(seed >> 32));
    return (double)(((uint64_t)c[0] << 32 | c[1]) >> 11) * 0x1p-53;
}

/* exp((x - best) / temperature), where f32 cannot hold it 0. */
__device__ __forceinline__ float weight_of(float x, float best, float temperature)
{
    float d = (x - best) / temperature;
    return d > -104.0f ? expf(d) : 0.0f;
}

/* Sum over this lane and those below it. */
__device__ __forceinline__ double sum_upto(double x, int lane)
{
#pragma unroll
    for (int i = 1; i < 32; i <<= 1) {
        double y = __shfl_up_sync(0xffffffffu, x, i);
        if (lane >= i)
            x += y;
    }
    return x;
}

/* What is kept: at position i the weight weigh(load(i), i), 0 where it is not. Apart, so that loads
 * can run ahead of the arithmetic. */
template <class Load, class Weigh> struct kept_tokens {
    Load load;
    Weigh weigh;
    __device__ float operator()(int32_t i) const
    {
        return weigh(load(i), i);
    }
};
template <class Load, class Weigh>
__device__ __forceinline__ kept_tokens<Load, Weigh> keeping(Load load, Weigh weigh)
{
    return {load, weigh};
}

/* Weight of what is kept of [from, to), summed by one warp. */
template <class Kept> __device__ double piece_weight(Kept kept, int32_t from, int32_t to, int lane)
{
    enum { AHEAD = 8 };
    double s = 0.0;
    for (int32_t i0 = from + lane; i0 < to; i0 += 32 * AHEAD) {
        float x[AHEAD];
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
            x[k] = kept.load(min(i0 + k * 32, to - 1));
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
            if (i0 + k * 32 < to)
                s += (double)kept.weigh(x[k], i0 + k * 32);
    }
    return warp_sum(s);
}

/* Of n pieces the one in which `target` lies; *target becomes relative to it. */
template <class Weight> __device__ int pick_piece(int n, Weight weight_of, double *target)
{
    double sum = 0.0, w = 0.0;
    int last = 0;
    for (int v = 0; v < n; v++) {
        double x = weight_of(v);
        if (x <= 0.0)
            continue;
        if (w > 0.0)
            sum += w;
        last = v, w = x;
        if (sum + x > *target)
            break;
    }
    /* past the end by rounding: the last token with weight */
    *target -= sum;
    if (*target >= w)
        *target = w;
    return last;
}

/* Where in [from, to) the running sum exceeds target, else the last with weight; one warp. */
template <class Kept> __device__ int32_t walk(Kept kept, int32_t from, int32_t to, double target)
{
    int lane = threadIdx.x & 31;
    int32_t last = -1;
    double sum = 0.0;
    for (int32_t i0 = from; i0 < to; i0 += 32) {
        double w = i0 + lane < to ? (double)kept(i0 + lane) : 0.0, upto = sum_upto(w, lane);
        uint32_t hits = __ballot_sync(0xffffffffu, w > 0.0 && sum + upto > target);
        uint32_t some = __ballot_sync(0xffffffffu, w > 0.0);
        if (hits)
            return i0 + __ffs(hits) - 1;
        if (some)
            last = i0 + 31 - __clz(some);
        sum += __shfl_sync(0xffffffffu, upto, 31);
    }
    return last;
}

/* The same by one block: warps take pieces, the first warp walks the one that was hit and has the
 * result. */
template <class Kept> __device__ int32_t draw_in_piece(shared &sh, Kept kept, span s, double target)
{
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    int32_t piece = (s.to - s.from + WARPS - 1) / WARPS, p0 = min(s.to, s.from + warp * piece);
    double mine = piece_weight(kept, p0, min(s.to, p0 + piece), lane);
    __syncthreads(); /* sh.part was read by the caller */
    if (lane == 0)
        sh.part[warp] = mine;
    __syncthreads();
    if (warp > 0)
        return 0;
    int v = pick_piece(
        WARPS, [&](int k) { return sh.part[k]; }, &target);
    p0 = min(s.to, s.from + v * piece);
    return walk(kept, p0, min(s.to, p0 + piece), target);
}

/* Inversion in ascending id order over what is kept of the tokens, kept(position) being the weight
 * or 0: row to blocks to 32 pieces to 32 pieces to tokens. The same result in all threads of the
 * row's blocks. */
template <class Tokens, class Kept>
__device__ int32_t draw(shared &sh, Tokens tokens, Kept kept, share me, double unit)
{
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    span mine = tokens.of_warp(warp);
    double w = piece_weight(kept, mine.from, mine.to, lane), total = 0.0;
    if (lane == 0)
        sh.part[warp] = w;
    __syncthreads();
    if (threadIdx.x == 0) {
        double sum = 0.0;
        for (int v = 0; v < WARPS; v++)
            sum += sh.part[v];
        sh.sum = sum;
    }
    row_sync();
    for (int k = 0; k < me.size; k++)
        total += *at_rank(&sh.sum, k);
    double target = unit * total;
    int who = pick_piece(
        me.size, [&](int k) { return *at_rank(&sh.sum, k); }, &target);
    if (who == me.rank) {
        int v = pick_piece(
            WARPS, [&](int k) { return sh.part[k]; }, &target);
        int32_t at = draw_in_piece(sh, kept, tokens.of_warp(v), target);
        if (threadIdx.x == 0)
            *at_rank(&sh.found, 0) = tokens.id(at);
    }
    row_sync();
    return *at_rank(&sh.found, 0);
}

} // namespace

#endif
