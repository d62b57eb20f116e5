/* SPDX-License-Identifier: Apache-2.0 */
/* prefill_plan.cuh - how a Hopper card shares the attention of a prefill pass among its blocks.
 *
 * A "line" is one query head of one new token; the lines of a row that share a KV head stand token
 * by token and are cut into tiles of BR lines, keys into tiles of BC. An item is one tile of lines
 * of one KV head and a run of tiles of keys: all that its lines see, or one of the row's chunks,
 * where few long items would leave most of the card idle. Which it is follows from the true lengths
 * of the rows, which only the device knows, so every block works it out for itself (plan_of), with
 * whole numbers only: all blocks, and the kernel that merges chunks, come to the same plan.
 */
#ifndef QUIRE_PREFILL_PLAN_CUH
#define QUIRE_PREFILL_PLAN_CUH

#include "common.cuh"

struct prefill {
    void *out;
    const void *q;
    int32_t qkv_stride, n_heads, dt, layer;
    int32_t group;    /* query heads of one KV head */
    float scale_log2; /* scale * log2(e): weights are powers of two */
    kv_pool_view kv;
    rows_view rows;
    int32_t run;     /* keys that one box of the copy engine brings: a divisor of the page */
    int32_t n_slots; /* partial results that `part` has room for; 0: no row is split */
    int32_t n_sms;
    uint32_t *queue; /* [0] items taken beyond the first of each block, [1] blocks done; zeros
                        between launches */
    float *part;     /* [n_slots][BR][head_dim] sums of weighted values */
    float2 *norm;    /* [n_slots][BR] maximum (log2), sum of the weights */
};

/* Lines and keys of a tile for heads up to DP. WGS: warpgroups that compute, 64 lines each. */
template <int DP> struct tiles {
    static constexpr int WGS = DP == 64 ? 3 : 2, BR = 64 * WGS, BC = DP == 256 ? 64 : 128;
};

enum { MOST_CHUNKS = 32, CHUNK_COST = 4 };

__device__ __forceinline__ int32_t up(int32_t a, int32_t b)
{
    return (a + b - 1) / b;
}

struct plan {
    int32_t longest;      /* tiles of keys of an item, at most */
    int32_t items, slots; /* of the launch; slots: partial results */
};

/* A row in the plan: tiles of lines, tiles of keys that the last one sees, chunks of a tile of
 * lines. A row without new tokens has none of them. */
struct row_share {
    int32_t n_new, n_kv, tiles, deep, chunks;
};

template <int DP> __device__ row_share share_of(const prefill &p, int32_t row, int32_t longest)
{
    row_share s = {.n_new = p.rows.row_new[row], .n_kv = p.rows.row_kv[row]};
    s.tiles = up(s.n_new * p.group, tiles<DP>::BR);
    s.deep = up(s.n_kv, tiles<DP>::BC);
    s.chunks = up(s.deep, longest);
    return s;
}

__device__ __forceinline__ int32_t warp_most(int32_t x)
{
    return __reduce_max_sync(0xffffffffu, x);
}

/* The plan, by one warp, the same in all lanes. Each lane weighs one number of chunks for the
 * deepest row; chunks of other rows are of that length, too. Items that all run at once take as
 * long as the longest; more of them are taken as they come, and half of the longest is idle at the
 * end on average. A chunk costs CHUNK_COST tiles more than its keys: its sums are written and read.
 */
template <int DP> __device__ plan plan_of(const prefill &p)
{
    int lane = threadIdx.x & 31, heads = p.kv.n_kv_heads;
    int32_t deepest = 1, work = 0, items = 0, slots = 0;
    for (int32_t r = lane; r < p.rows.n_rows; r += 32) {
        row_share s = share_of<DP>(p, r, 1);
        int32_t first = up(s.n_kv - s.n_new + 1, tiles<DP>::BC);
        if (s.tiles > 0)
            deepest = max(deepest, s.deep);
        work += s.tiles * (first + s.deep) / 2;
        items += s.tiles;
    }
    deepest = warp_most(deepest);
    if (p.n_slots == 0)
        return {.longest = deepest, .items = warp_sum(items) * heads, .slots = 0};
    work = warp_sum(work) * heads;
    int32_t longest = up(deepest, lane + 1);
    items = 0;
    for (int32_t r = 0; r < p.rows.n_rows; r++) {
        row_share s = share_of<DP>(p, r, longest);
        items += s.tiles * s.chunks * heads;
        slots += s.chunks > 1 ? s.tiles * s.chunks * heads : 0;
    }
    int32_t cost = items <= p.n_sms ? (longest + (slots > 0 ? CHUNK_COST : 0)) * p.n_sms
                                    : work + longest * p.n_sms / 2 + slots * CHUNK_COST;
    if (slots > p.n_slots)
        cost = INT32_MAX; /* not in lane 0, which splits nothing */
    int32_t least = __reduce_min_sync(0xffffffffu, cost);
    int best = __ffs(__ballot_sync(0xffffffffu, cost == least)) - 1;
    return {.longest = __shfl_sync(0xffffffffu, longest, best),
            .items = __shfl_sync(0xffffffffu, items, best),
            .slots = __shfl_sync(0xffffffffu, slots, best)};
}

/* The row whose share of a running count over all rows holds `index`: of items, or of slots only.
 * By one warp, the same in all lanes. */
struct place {
    int32_t row, within; /* row -1: there is none */
    int32_t slot0;       /* first slot of the row; -1 where it is not split */
    row_share share;
};

template <int DP>
__device__ place find_row(const prefill &p, const plan &plan, int32_t index, bool of_slots)
{
    int lane = threadIdx.x & 31;
    place at = {.row = -1};
    int32_t items0 = 0, slots0 = 0;
    for (int32_t r0 = 0; r0 < p.rows.n_rows; r0 += 32) {
        int32_t items = 0;
        row_share s = {};
        if (r0 + lane < p.rows.n_rows) {
            s = share_of<DP>(p, r0 + lane, plan.longest);
            items = s.tiles * s.chunks * p.kv.n_kv_heads;
        }
        int32_t slots = s.chunks > 1 ? items : 0, items1 = items, slots1 = slots;
#pragma unroll
        for (int i = 1; i < 32; i <<= 1) {
            int32_t x = __shfl_up_sync(0xffffffffu, items1, i);
            int32_t y = __shfl_up_sync(0xffffffffu, slots1, i);
            if (lane >= i)
                items1 += x, slots1 += y;
        }
        int32_t end = of_slots ? slots0 + slots1 : items0 + items1;
        int32_t begin = end - (of_slots ? slots : items);
        unsigned hit = __ballot_sync(0xffffffffu, index >= begin && index < end);
        if (hit != 0) {
            int who = __ffs(hit) - 1;
            at.row = r0 + who;
            at.within = index - __shfl_sync(0xffffffffu, begin, who);
            at.slot0 = __shfl_sync(0xffffffffu, slots > 0 ? slots0 + slots1 - slots : -1, who);
            at.share = share_of<DP>(p, at.row, plan.longest);
            return at;
        }
        items0 += __shfl_sync(0xffffffffu, items1, 31);
        slots0 += __shfl_sync(0xffffffffu, slots1, 31);
    }
    return at;
}

/* What a block works on next. */
struct item {
    const page_id *table; /* the row's line of the page table */
    int32_t row;          /* -1: nothing is left */
    int32_t head;
    int32_t tok0;         /* the row's first token in the batch */
    int32_t pos0, n_kv;   /* position of that token; keys of the row */
    int32_t line0;        /* first line, counted in the row */
    int32_t n_lines;      /* at most BR */
    int32_t tile0, tile1; /* tiles of keys, from tile1 - 1 down to tile0 */
    int32_t slot;         /* where the partial result goes; -1: this is the whole result */
};

/* Bytes of K and V that blocks working side by side may have in use, so that the cache keeps them.
 */
constexpr int64_t CACHE_SHARE = 24 << 20;

/* Item `index`. Within a row come first all tiles of some heads whose keys the cache holds, then
 * those of the next heads; of these the last tile of lines, which sees most keys, first; neighbours
 * are the chunks and heads of one tile. A chunk that is beyond what its lines see has tile0 >=
 * tile1. */
template <int DP> __device__ item find_item(const prefill &p, const plan &plan, int32_t index)
{
    constexpr int BR = tiles<DP>::BR, BC = tiles<DP>::BC;
    item x = {.row = -1};
    if (index >= plan.items)
        return x;
    place at = find_row<DP>(p, plan, index, false);
    const row_share &s = at.share;
    int32_t heads = p.kv.n_kv_heads, side_by_side = heads;
    int64_t bytes = (int64_t)s.n_kv * p.kv.head_dim * 4;
    while (side_by_side % 2 == 0 && bytes * side_by_side > CACHE_SHARE)
        side_by_side /= 2;
    int32_t section = s.tiles * s.chunks * side_by_side, in = at.within % section;
    int32_t head = at.within / section * side_by_side + in % side_by_side;
    int32_t chunk = in / side_by_side % s.chunks;
    int32_t tile = s.tiles - 1 - in / side_by_side / s.chunks;
    x.table = p.rows.page_table + (size_t)p.rows.row_slot[at.row] * p.rows.table_stride;
    x.row = at.row;
    x.head = head;
    x.tok0 = p.rows.row_tok0[at.row];
    x.pos0 = s.n_kv - s.n_new;
    x.n_kv = s.n_kv;
    x.line0 = tile * BR;
    x.n_lines = min((int32_t)BR, s.n_new * p.group - x.line0);
    int32_t deep = (x.pos0 + (x.line0 + x.n_lines - 1) / p.group) / BC + 1;
    int32_t length = up(s.deep, s.chunks);
    x.tile0 = chunk * length;
    x.tile1 = min(deep, x.tile0 + length);
    x.slot = s.chunks > 1 ? at.slot0 + (tile * heads + head) * s.chunks + chunk : -1;
    return x;
}

#endif
