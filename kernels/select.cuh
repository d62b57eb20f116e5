/* SPDX-License-Identifier: Apache-2.0 */
/* select.cuh - where a row of op_sample is cut: the best token, the k-th best, the token at which
 * the heaviest ones reach a given weight. No sort. This works for every row; few.cuh and
 * nucleus.cuh have shorter ways for most.
 *
 * A row belongs to the blocks of one cluster where the GPU has clusters, to one block elsewhere;
 * each has a piece of the vocabulary (struct share). The last kept token is found digit by digit of
 * its key's bits (12 + 10 + 10): a histogram per level of counts and of the low bits of the
 * weights. The weight of a bin follows from integers alone (count * base + sum of low bits), so it
 * is exact whatever the order of the atomics, and a result is the same in every run. Among equal
 * keys the id decides.
 */
#ifndef QUIRE_SELECT_CUH
#define QUIRE_SELECT_CUH

#include "common.cuh"

#include <cooperative_groups.h>

namespace
{

enum { NT = 1024, WARPS = NT / 32, BINS = 4096, PARTS = 8 };

/* A token's place in an order: keys descending, ids ascending. */
struct mark {
    uint32_t key;
    int32_t id;
};

struct shared {
    uint32_t count[BINS], low[BINS], high[BINS];
    uint32_t column[2][NT]; /* each thread's own: the best keys of its columns, raw and adjusted */
    double room[33];
    double part[WARPS];
    uint32_t n_part[WARPS], n_listed[WARPS];
    mark best[WARPS];
    int32_t found, n, n_columns;
    double before;
    uint32_t n_before;
    token_logprob list[MAX_LOGPROBS];
    mark top;   /* this block's, for the others to read */
    double sum; /* the same */
    uint32_t n_sum;
};

/* This block's share of a row: part `rank` of `size`, tokens [from, to). */
struct share {
    int rank, size;
    int32_t from, to;
};

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
__device__ __forceinline__ int my_rank()
{
    return (int)cooperative_groups::this_cluster().block_rank();
}
__device__ __forceinline__ int my_parts()
{
    return (int)cooperative_groups::this_cluster().num_blocks();
}
/* All threads of all blocks of the row; shared memory written before is visible to all after it. */
__device__ __forceinline__ void row_sync()
{
    cooperative_groups::this_cluster().sync();
}
/* The twin of *p, which lies in shared memory, in the block `rank` of the row. */
template <class V> __device__ __forceinline__ V *at_rank(V *p, int rank)
{
    return cooperative_groups::this_cluster().map_shared_rank(p, rank);
}
#else
__device__ __forceinline__ int my_rank()
{
    return 0;
}
__device__ __forceinline__ int my_parts()
{
    return 1;
}
__device__ __forceinline__ void row_sync()
{
    __syncthreads();
}
template <class V> __device__ __forceinline__ V *at_rank(V *p, int)
{
    return p;
}
#endif

/* A multiple of 4 tokens for each block but the last, so that pieces start alike in 16 bytes. */
__device__ __forceinline__ share share_of(int32_t vocab)
{
    int rank = my_rank(), size = my_parts();
    int32_t piece = ((vocab + size - 1) / size + 3) / 4 * 4, from = min(vocab, rank * piece);
    return {.rank = rank, .size = size, .from = from, .to = min(vocab, from + piece)};
}

/* Positions of tokens that a warp has, ascending with the ids. */
struct span {
    int32_t from, to;
};

/* The share of warp v of the block's tokens: the same number for each but the last. */
__device__ __forceinline__ int32_t warp_piece(share me)
{
    return (me.to - me.from + WARPS - 1) / WARPS;
}
__device__ __forceinline__ span warp_span(share me, int v)
{
    int32_t piece = warp_piece(me), from = min(me.to, me.from + v * piece);
    return {from, min(me.to, from + piece)};
}

/* All tokens of this block's share; what is searched and drawn from is this or a list of some
 * (nucleus.cuh). key_of(id) gives a token's bits. */
template <class Key> struct all_tokens {
    Key key_of;
    share me;
    __device__ span of_warp(int v) const
    {
        return warp_span(me, v);
    }
    __device__ uint32_t key(int32_t at) const
    {
        return key_of(at);
    }
    __device__ int32_t id(int32_t at) const
    {
        return at;
    }
};

/* Order-preserving bits of a float that is no NaN. */
__device__ __forceinline__ uint32_t order_bits(float x)
{
    uint32_t b = __float_as_uint(x == 0.0f ? 0.0f : x);
    return b & 0x80000000u ? ~b : b | 0x80000000u;
}

/* The same for any: a NaN comes before everything, so that one in a row is its best. */
__device__ __forceinline__ uint32_t order_bits_nan(float x)
{
    return isnan(x) ? 0xffffffffu : order_bits(x);
}

/* The float of order_bits. */
__device__ __forceinline__ float float_of(uint32_t bits)
{
    return __uint_as_float(bits & 0x80000000u ? bits & 0x7fffffffu : ~bits);
}

/* Is this the best of a row of numbers: finite, and no NaN among them? */
__device__ __forceinline__ bool is_sound(mark best)
{
    return best.key > 0x007fffffu && best.key < 0xff800000u; /* order_bits of -inf and +inf */
}

__device__ __forceinline__ bool better(mark a, mark b)
{
    return a.key > b.key || (a.key == b.key && a.id < b.id);
}

__device__ mark best_of_warp(mark x)
{
#pragma unroll
    for (int i = 16; i > 0; i >>= 1) {
        mark y = {__shfl_xor_sync(0xffffffffu, x.key, i), __shfl_xor_sync(0xffffffffu, x.id, i)};
        if (better(y, x))
            x = y;
    }
    return x;
}

/* How the threads of a block read its share: thread c the 4 tokens from head + 4 * (c + k * NT) on
 * for every k, and one of the rest, which lies before the first and after the last 16 bytes. The
 * tokens of a thread are column c. */
struct columns {
    const float *row; /* of the share */
    int32_t first;    /* its first token */
    int32_t head, n4, rest;
    __device__ const float4 *quads() const
    {
        return (const float4 *)(row + head);
    }
    __device__ int32_t quad_id(int32_t i) const
    {
        return first + head + i * 4;
    }
    /* of thread c < rest: where its token of the rest lies in the share */
    __device__ int32_t rest_at(int32_t c) const
    {
        return c < head ? c : c + n4 * 4;
    }
};

__device__ __forceinline__ columns columns_of(const float *row, share me)
{
    int32_t n = me.to - me.from;
    row += me.from;
    int32_t head = min(n, (int32_t)((4 - ((uintptr_t)row >> 2 & 3)) & 3)), n4 = (n - head) / 4;
    return {.row = row, .first = me.from, .head = head, .n4 = n4, .rest = n - n4 * 4};
}

/* The largest logit, the lowest id among equals, or a NaN: of the whole row, in every thread. *own:
 * the key of the best of the thread's column, 0 where it is empty. */
__device__ mark best_of_row(shared &sh, const float *row, share me, uint32_t *own)
{
    mark x = {0, INT32_MAX};
    columns c = columns_of(row, me);
    const float4 *v = c.quads();
#pragma unroll 4
    for (int32_t i = threadIdx.x; i < c.n4; i += NT) {
        float4 f = v[i];
        float e[4] = {f.x, f.y, f.z, f.w};
#pragma unroll
        for (int k = 0; k < 4; k++) {
            mark y = {order_bits_nan(e[k]), c.quad_id(i) + k};
            if (better(y, x))
                x = y;
        }
    }
    if ((int32_t)threadIdx.x < c.rest) {
        int32_t i = c.rest_at(threadIdx.x);
        mark y = {order_bits_nan(c.row[i]), c.first + i};
        if (better(y, x))
            x = y;
    }
    *own = x.key;
    x = best_of_warp(x);
    if ((threadIdx.x & 31) == 0)
        sh.best[threadIdx.x >> 5] = x;
    __syncthreads();
    x = best_of_warp(sh.best[threadIdx.x & 31]);
    if (threadIdx.x == 0)
        sh.top = x;
    row_sync();
    for (int k = 0; k < me.size; k++) {
        mark y = *at_rank(&sh.top, k);
        if (better(y, x))
            x = y;
    }
    return x;
}

/* The sum over all threads of the row's blocks, in a fixed order, the same in every thread. */
__device__ double row_sum(shared &sh, double mine, share me)
{
    double s = block_sum(mine, sh.room), sum = 0.0;
    if (threadIdx.x == 0)
        sh.sum = s;
    row_sync();
    for (int k = 0; k < me.size; k++)
        sum += *at_rank(&sh.sum, k);
    row_sync();
    return sum;
}

/* Weight of a bin of `count` positive floats that have the bits of base, and below them bits whose
 * sums are low (the lowest ten) and high (those above): exact in double. */
__device__ double bin_weight(uint32_t base, uint32_t count, uint32_t low, uint32_t high)
{
    uint32_t e = base >> 23;
    double unit = ldexp(1.0, (int)(e ? e : 1) - 150);
    double mant = (double)((base & 0x7fffffu) | (e ? 0x800000u : 0u));
    return unit * (mant * (double)count + (double)low + 1024.0 * (double)high);
}

/* What is looked for: the first bin, from the top, at which the count reaches max_n or the weight
 * reaches max_weight. max_n UINT32_MAX: no bound; a weight counts only where `weighed`. */
struct goal {
    uint32_t max_n;
    double max_weight;
    bool weighed;
};

/* Counts and weights of some bins. */
struct tally {
    uint32_t n;
    double w;
};

__device__ bool reaches(goal g, uint32_t n, double w)
{
    return n >= g.max_n || (g.weighed && w >= g.max_weight);
}

/* The running sum of the threads of the block, this one's own share `mine` included, from what
 * lies before the bins (sh.n_before, sh.before) on. */
__device__ tally run_up(shared &sh, tally mine)
{
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    tally before = {sh.n_before, sh.before}, upto = mine;
#pragma unroll
    for (int i = 1; i < 32; i <<= 1) {
        uint32_t a = __shfl_up_sync(0xffffffffu, upto.n, i);
        double b = __shfl_up_sync(0xffffffffu, upto.w, i);
        if (lane >= i)
            upto.n += a, upto.w += b;
    }
    if (lane == 31)
        sh.n_part[warp] = upto.n, sh.part[warp] = upto.w;
    __syncthreads();
    for (int v = 0; v < warp; v++)
        before.n += sh.n_part[v], before.w += sh.part[v];
    return {before.n + upto.n, before.w + upto.w};
}

/* The goal's bin among this block's bins (else the last that is not empty) into sh.found; what lies
 * before it goes to sh.n_before and sh.before. Every thread has n_bins / NT neighbours, the first
 * thread the highest. */
__device__ void find_bin(shared &sh, int n_bins, uint32_t prefix, int shift, goal g)
{
    int each = n_bins / NT, top = n_bins - (int)threadIdx.x * each;
    auto weight_of = [&](int b) {
        return g.weighed && sh.count[b]
                   ? bin_weight(prefix | (uint32_t)b << shift, sh.count[b], sh.low[b], sh.high[b])
                   : 0.0;
    };
    if (threadIdx.x == 0)
        sh.n = NT, sh.found = 0; /* seen by all after the barrier in run_up */
    tally mine = {0, 0.0};
    for (int b = top - 1; b >= top - each; b--)
        mine.n += sh.count[b], mine.w += weight_of(b);
    tally upto = run_up(sh, mine);
    if (mine.n > 0 && reaches(g, upto.n, upto.w))
        atomicMin(&sh.n, (int)threadIdx.x); /* the first thread that reaches */
    if (mine.n > 0)
        atomicMax(&sh.found, (int)threadIdx.x); /* the last with any */
    __syncthreads();
    int who = sh.n < NT ? sh.n : sh.found;
    __syncthreads();
    if ((int)threadIdx.x != who)
        return;
    tally at = {upto.n - mine.n, upto.w - mine.w};
    int pick = -1;
    for (int b = top - 1; b >= top - each; b--) {
        if (!sh.count[b])
            continue;
        if (pick >= 0) /* the one before did not reach: it lies before this one */
            at.n += sh.count[pick], at.w += weight_of(pick);
        pick = b;
        if (reaches(g, at.n + sh.count[b], at.w + weight_of(b)))
            break;
    }
    sh.found = pick;
    sh.n_before = at.n;
    sh.before = at.w;
}

/* The bits of a level: of keys that have the prefix's bits from `above` on those from shift on. */
struct digit {
    int shift, n_bins, above;
};

/* This block's histogram of its tokens, loads a few steps ahead of the atomics. */
template <class Tokens>
__device__ void count_digits(shared &sh, Tokens tokens, mark cap, digit d, uint32_t prefix,
                             bool weighed)
{
    enum { AHEAD = 4 };
    span mine = tokens.of_warp(threadIdx.x >> 5);
    for (int32_t i0 = mine.from + (threadIdx.x & 31); i0 < mine.to; i0 += 32 * AHEAD) {
        uint32_t key[AHEAD];
#pragma unroll
        for (int u = 0; u < AHEAD; u++)
            key[u] = i0 + u * 32 < mine.to ? tokens.key(i0 + u * 32) : 0;
#pragma unroll
        for (int u = 0; u < AHEAD; u++) {
            uint32_t k = key[u];
            if (k == 0 || (d.above < 32 && (k >> d.above) != (prefix >> d.above)) || k < cap.key ||
                (k == cap.key && tokens.id(i0 + u * 32) > cap.id))
                continue;
            uint32_t b = k >> d.shift & (uint32_t)(d.n_bins - 1), rest = k & ((1u << d.shift) - 1u);
            atomicAdd(&sh.count[b], 1u);
            if (weighed && rest) {
                atomicAdd(&sh.low[b], rest & 1023u);
                if (rest >> 10)
                    atomicAdd(&sh.high[b], rest >> 10);
            }
        }
    }
}

/* One level of the search: this block's histogram of its tokens, added up in the first block's
 * bins, searched there. */
template <class Tokens>
__device__ __noinline__ uint32_t find_digit(shared &sh, Tokens tokens, share me, mark cap,
                                            int level, uint32_t prefix, goal g)
{
    const int shift_of[3] = {20, 10, 0}, bins_of[3] = {4096, 1024, 1024};
    int shift = shift_of[level], n_bins = bins_of[level], above = level == 0 ? 32 : shift + 10;
    for (int b = threadIdx.x; b < n_bins; b += NT)
        sh.count[b] = sh.low[b] = sh.high[b] = 0;
    __syncthreads();
    count_digits(sh, tokens, cap, {.shift = shift, .n_bins = n_bins, .above = above}, prefix,
                 g.weighed);
    row_sync();
    if (me.rank > 0)
        for (int b = threadIdx.x; b < n_bins; b += NT)
            if (sh.count[b]) {
                atomicAdd(at_rank(&sh.count[b], 0), sh.count[b]);
                if (sh.low[b])
                    atomicAdd(at_rank(&sh.low[b], 0), sh.low[b]);
                if (sh.high[b])
                    atomicAdd(at_rank(&sh.high[b], 0), sh.high[b]);
            }
    row_sync();
    if (me.rank == 0)
        find_bin(sh, n_bins, prefix, shift, g);
    row_sync();
    return prefix | (uint32_t)*at_rank(&sh.found, 0) << shift;
}

/* The id of the need-th token with this key. Warps count ascending pieces of the block's tokens. */
template <class Tokens>
__device__ __noinline__ int32_t find_equal(shared &sh, Tokens tokens, share me, mark cap,
                                           uint32_t key, uint32_t need)
{
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    span mine = tokens.of_warp(warp);
    uint32_t n = 0, before = 0;
    for (int32_t i = mine.from + lane; i < mine.to; i += 32)
        n += tokens.key(i) == key && !better(cap, mark{key, tokens.id(i)});
    n = warp_sum(n);
    if (lane == 0)
        sh.n_part[warp] = n;
    __syncthreads();
    if (threadIdx.x == 0) {
        uint32_t all = 0;
        for (int v = 0; v < WARPS; v++)
            all += sh.n_part[v];
        sh.n_sum = all;
    }
    row_sync();
    for (int k = 0; k < me.rank; k++)
        before += *at_rank(&sh.n_sum, k);
    for (int v = 0; v < warp; v++)
        before += sh.n_part[v];
    if (before < need && before + n >= need)
        for (int32_t i0 = mine.from; i0 < mine.to; i0 += 32) {
            int32_t i = i0 + lane;
            bool hit = i < mine.to && tokens.key(i) == key && !better(cap, mark{key, tokens.id(i)});
            uint32_t hits = __ballot_sync(0xffffffffu, hit);
            uint32_t rank = before + __popc(hits & ((2u << lane) - 1u));
            if (hit && rank == need)
                *at_rank(&sh.found, 0) = tokens.id(i);
            before += __popc(hits);
        }
    row_sync();
    return *at_rank(&sh.found, 0);
}

/* The last token of the shortest head of the order whose count reaches g.max_n or whose weight
 * reaches g.max_weight. The key of a token: 0 = not a candidate; tokens after `cap` in the order
 * are no candidates. All threads of all blocks of the row; the same result in all. */
template <class Tokens>
__device__ mark select_head(shared &sh, Tokens tokens, share me, mark cap, goal g)
{
    uint32_t prefix = 0;
    if (threadIdx.x == 0)
        sh.n_before = 0, sh.before = 0.0;
    for (int level = 0; level < 3; level++)
        prefix = find_digit(sh, tokens, me, cap, level, prefix, g);
    /* all equal from here: how many of them does it take? */
    uint32_t n_before = *at_rank(&sh.n_before, 0);
    double before = *at_rank(&sh.before, 0);
    uint32_t equal = *at_rank(&sh.count[prefix & 1023u], 0), need = equal;
    double one = g.weighed ? (double)__uint_as_float(prefix) : 0.0;
    if (g.max_n != UINT32_MAX && g.max_n > n_before && g.max_n - n_before < need)
        need = g.max_n - n_before;
    if (g.weighed && one > 0.0 && before + one * (double)need >= g.max_weight) {
        double n = ceil((g.max_weight - before) / one);
        uint32_t k = n < 1.0 ? 1u : (uint32_t)n;
        while (k > 1 && before + one * (double)(k - 1) >= g.max_weight)
            k--;
        while (k < need && before + one * (double)k < g.max_weight)
            k++;
        need = k < need ? k : need;
    }
    mark last = {prefix, prefix == cap.key ? cap.id : INT32_MAX};
    if (need < equal)
        last.id = find_equal(sh, tokens, me, cap, prefix, need);
    row_sync(); /* the next search clears what was read here */
    return last;
}

} // namespace

#endif
