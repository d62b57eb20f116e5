/* SPDX-License-Identifier: Apache-2.0 */
/* nucleus.cuh - op_sample with top-p alone in two reads of the logits.
 *
 * The second read sums all weights and lists the tokens over a floor; the search and the draw go
 * over the list. The floor is a guess from a sample of the row, such that what is not listed is
 * about half of what top-p drops. A guess that was wrong is noticed: the listed tokens do not reach
 * top-p, or do not fit.
 */
#ifndef QUIRE_NUCLEUS_CUH
#define QUIRE_NUCLEUS_CUH

#include "few.cuh"

namespace
{

/* Tokens that each warp listed, in the part of `w` that belongs to its piece of the share: weights
 * from the piece's start on, their ids `half` further on. */
struct listed {
    const float *w;
    const uint32_t *n; /* [WARPS] */
    share me;
    int32_t half;
    __device__ span of_warp(int v) const
    {
        int32_t from = warp_span(me, v).from;
        return {from, from + (int32_t)n[v]};
    }
    __device__ uint32_t key(int32_t at) const
    {
        return __float_as_uint(w[at]);
    }
    __device__ int32_t id(int32_t at) const
    {
        return __float_as_int(w[at + half]);
    }
};

/* The floor for this block's share. Four tokens of each column are the sample; `own` tells the
 * heaviest token of each column, so that heavy ones count exactly. The floor is at most so high
 * that one token of the sample stands for a quarter of what may be left out. */
__device__ float guess_floor(shared &sh, const float *row, share me, uint32_t own, float best,
                             const sample_params &p)
{
    columns c = columns_of(row, me);
    int32_t n = me.to - me.from, t = threadIdx.x, sampled = min((int32_t)NT, c.n4);
    float w[4] = {0.0f, 0.0f, 0.0f, 0.0f}, rest = 0.0f;
    float top = own > 0 ? weight_of(float_of(own), best, p.temperature) : 0.0f;
    double scale = sampled > 0 ? (double)n / (4.0 * sampled) : 1.0;
    if (t < c.n4) {
        int32_t deep = (c.n4 - t + NT - 1) / NT;
        float4 f = c.quads()[t + t * 7 % deep * NT];
        float e[4] = {f.x, f.y, f.z, f.w};
#pragma unroll
        for (int k = 0; k < 4; k++) {
            w[k] = weight_of(e[k], best, p.temperature);
            rest += w[k] < top ? w[k] : 0.0f;
        }
    }
    double out = 0.5 * (1.0 - (double)p.top_p) *
                 row_sum(sh, (double)top + scale * (double)rest, me);
    float limit = fminf(1.0f, (float)(out / (4.0 * scale)));
    out /= me.size;
    uint32_t floor = 0;
    for (int bit = 29; bit >= 19; bit--) {
        float next = __uint_as_float(floor | 1u << bit), under = 0.0f;
#pragma unroll
        for (int k = 0; k < 4; k++)
            under += w[k] < next ? w[k] : 0.0f;
        float *sums = (float *)sh.high + (bit & 1) * WARPS; /* a barrier a step: two in turn */
        under = warp_sum(under);
        if ((t & 31) == 0)
            sums[t >> 5] = under;
        __syncthreads();
        under = warp_sum(sums[t & 31]);
        if (sampled > 0 && next <= limit && scale * (double)under <= out)
            floor |= 1u << bit;
    }
    return __uint_as_float(floor);
}

/* What a thread saw of its warp's piece. */
struct seen {
    double all, in_list;
    bool fits;
};

/* Lists the warp's tokens with a weight of at least `floor` (over 0), in ascending order. */
__device__ seen list_piece(shared &sh, const float *row, float *room, share me, float floor,
                           float best, float temperature)
{
    enum { AHEAD = 8 };
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    span s = warp_span(me, warp);
    int32_t half = warp_piece(me) / 2, most = min(half, s.to - s.from - half), n = 0;
    seen got = {0.0, 0.0, true};
    for (int32_t i0 = s.from; i0 < s.to; i0 += 32 * AHEAD) {
        float x[AHEAD];
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            int32_t i = i0 + k * 32 + lane;
            x[k] = i < s.to ? row[i] : -INFINITY;
        }
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            float w = weight_of(x[k], best, temperature);
            bool in = w > 0.0f && w >= floor;
            uint32_t hits = __ballot_sync(0xffffffffu, in);
            got.all += (double)w;
            if (!hits)
                continue;
            int32_t at = n + __popc(hits & ((1u << lane) - 1u));
            if (in && at < most) {
                room[s.from + at] = w;
                room[s.from + half + at] = __int_as_float(i0 + k * 32 + lane);
            }
            got.in_list += in ? (double)w : 0.0;
            n += __popc(hits);
        }
    }
    got.fits = n <= max(most, 0);
    if (lane == 0)
        sh.n_listed[warp] = got.fits ? (uint32_t)n : 0;
    return got;
}

/* A token drawn as op_sample says with top-p below 1 and no top-k, or UNSURE; the same in all
 * threads of the row's blocks. room: [vocab] to write to, not the row. own, best: as in draw_few.
 */
__device__ int32_t draw_nucleus(shared &sh, const float *row, float *room, share me, uint32_t own,
                                float best, const sample_params &p, double unit)
{
    float floor = guess_floor(sh, row, me, own, best, p);
    seen got = list_piece(sh, row, room, me, floor, best, p.temperature);
    if (threadIdx.x == 0)
        sh.n_sum = __float_as_uint(floor); /* seen by all after the sums */
    double goal = (double)p.top_p * row_sum(sh, got.all, me);
    double in_list = row_sum(sh, got.fits ? got.in_list : -INFINITY, me);
    uint32_t floors = 0;
    for (int k = 0; k < me.size; k++)
        floors = max(floors, *at_rank(&sh.n_sum, k));
    if (!(in_list >= goal * (1.0 + 1e-12)))
        return UNSURE;
    listed tokens = {room, sh.n_listed, me, warp_piece(me) / 2};
    mark last = select_head(sh, tokens, me, mark{0, INT32_MAX},
                            {.max_n = UINT32_MAX, .max_weight = goal, .weighed = true});
    if (last.key < floors) /* some blocks left out tokens as heavy as this */
        return UNSURE;
    float min_p = p.min_p;
    auto kept = keeping([=](int32_t i) { return tokens.w[i]; },
                        [=](float w, int32_t i) {
                            uint32_t key = __float_as_uint(w);
                            bool in = key > last.key ||
                                      (key == last.key && tokens.id(i) <= last.id);
                            return in && passes_min(w, min_p) ? w : 0.0f;
                        });
    return draw(sh, tokens, kept, me, unit);
}

} // namespace

#endif
