/* SPDX-License-Identifier: Apache-2.0 */
/* prefill_fetch.cuh - the first warpgroup of attn_prefill_sm90.cu: what lies where in shared
 * memory, and the warps that take items, send for keys and values and fetch queries. */
#ifndef QUIRE_PREFILL_FETCH_CUH
#define QUIRE_PREFILL_FETCH_CUH

#include "prefill_plan.cuh"
#include "wgmma.cuh"

/* Bytes. A tile of keys or values stands as the copy engine writes it: for each eight of them COLS
 * blocks, one for each 64 columns; queries stand column by column. K, V, Q: stages of each; values
 * are read last and released last, so they have one more. */
template <int DP> struct sizes : tiles<DP> {
    static constexpr int COLS = DP / 64, NT = 128 * (tiles<DP>::WGS + 1);
    static constexpr int K = 2, V = 3, Q = DP == 256 ? 1 : 2;
    static constexpr uint32_t Q_COL = tiles<DP>::BR * 128, Q_BYTES = Q_COL * COLS;
    static constexpr uint32_t EIGHT = 1024 * COLS, KV_BYTES = EIGHT * tiles<DP>::BC / 8;
    static constexpr int SMEM = Q * Q_BYTES + (K + V) * KV_BYTES + 1024;
};

/* Barriers of stages: full when it may be read, empty when it may be filled. */
struct shared {
    uint64_t item_full[2], q_full[2], q_empty[2], k_full[2], k_empty[2], v_full[3], v_empty[3];
    item items[2];
};

/* Addresses in shared memory: the barriers, and the stages of each kind. */
struct room {
    uint32_t bars, q, k, v;
};
#define BAR(name, stage) (at.bars + (uint32_t)offsetof(shared, name) + 8 * (stage))

/* A place in a ring of N stages, and how often it came round (mod 2). */
template <int N> struct ring {
    uint32_t stage, parity;
    __device__ __forceinline__ void step()
    {
        if (++stage == N)
            stage = 0, parity ^= 1;
    }
};

/* A stage that this warp has read may be filled again. */
__device__ __forceinline__ void release(uint32_t bar)
{
    __syncwarp();
    if ((threadIdx.x & 31) == 0)
        mbar_arrive(bar);
}

/* Line of the pool's matrix where run `lane` of a tile of keys (side 0) or values (1) begins, -1
 * beyond the row or the tile. */
template <int DP>
__device__ __forceinline__ int32_t run_line(const prefill &p, const item &x, int32_t tile, int side,
                                            int lane)
{
    int32_t key = tile * tiles<DP>::BC + lane * p.run;
    if (lane * p.run >= tiles<DP>::BC || key >= x.n_kv)
        return -1;
    int32_t page = x.table[key / p.kv.page_tokens];
    return (((page * p.kv.n_layers + p.layer) * 2 + side) * p.kv.n_kv_heads + x.head) *
               p.kv.page_tokens +
           key % p.kv.page_tokens;
}

/* A tile of keys or values: each lane that has a run sends for it. */
template <int DP>
__device__ __forceinline__ void send_tile(const CUtensorMap *map, uint32_t dst, uint32_t bar,
                                          int32_t line, int32_t run, int lane)
{
    constexpr uint32_t LINE = DP * 2;
    int runs = __popc(__ballot_sync(0xffffffffu, line >= 0));
    if (lane == 0)
        mbar_arrive_expect(bar, (uint32_t)(runs * run) * LINE);
    __syncwarp();
    if (line >= 0)
        copy_box(dst + (uint32_t)(lane * run) * LINE, map, bar, line / 8);
}

/* Warp 0: takes items and says what they are, one ahead of those that are computed, and no earlier:
 * an item taken is one that no idle block can take. The first two of each block are fixed, the
 * second ones in the opposite order, so that who has the longest first has the shortest second. */
template <int DP>
__device__ __forceinline__ void take_items(const prefill &p, shared &sh, const room &at)
{
    int lane = threadIdx.x & 31;
    plan plan = plan_of<DP>(p);
    uint32_t taken = 0;
    for (ring<sizes<DP>::Q> q = {};; q.step()) {
        mbar_wait(BAR(q_empty, q.stage), q.parity ^ 1);
        item x;
        do {
            uint32_t index = taken == 0 ? blockIdx.x : 2 * gridDim.x - 1 - blockIdx.x;
            if (taken++ >= 2) {
                if (lane == 0)
                    index = 2 * gridDim.x + atomicAdd(&p.queue[0], 1u);
                index = __shfl_sync(0xffffffffu, index, 0);
            }
            x = find_item<DP>(p, plan, (int32_t)index);
        } while (x.row >= 0 && x.tile0 >= x.tile1);
        if (lane == 0) {
            sh.items[q.stage] = x;
            mbar_arrive(BAR(item_full, q.stage));
        }
        if (x.row < 0)
            break;
    }
    if (lane == 0) { /* the last block that takes nothing more clears the queue */
        __threadfence();
        if (atomicInc(&p.queue[1], gridDim.x - 1) == gridDim.x - 1)
            p.queue[0] = 0;
    }
}

/* Warps 1 and 2: the keys (side 0), the values (1) of each item; full and empty are the barriers of
 * stage 0. The page of a tile is asked for while the tile before it waits for a free stage. */
template <int DP, int N>
__device__ __forceinline__ void send_side(const prefill &p, const CUtensorMap *map,
                                          const shared &sh, const room &at, int side,
                                          uint32_t stages, uint32_t full, uint32_t empty)
{
    int lane = threadIdx.x & 31;
    ring<N> r = {};
    for (ring<sizes<DP>::Q> q = {};; q.step()) {
        mbar_wait(BAR(item_full, q.stage), q.parity);
        item x = sh.items[q.stage];
        release(BAR(q_empty, q.stage));
        if (x.row < 0)
            break;
        int32_t line = run_line<DP>(p, x, x.tile1 - 1, side, lane);
        for (int32_t j = x.tile1 - 1; j >= x.tile0; j--, r.step()) {
            int32_t next = -1;
            if (j > x.tile0)
                next = run_line<DP>(p, x, j - 1, side, lane);
            mbar_wait(empty + 8 * r.stage, r.parity ^ 1);
            send_tile<DP>(map, stages + r.stage * sizes<DP>::KV_BYTES, full + 8 * r.stage, line,
                          p.run, lane);
            line = next;
        }
    }
}

/* Warp 3: the queries of each item, zero beyond its lines. */
template <class T, int DP>
__device__ __forceinline__ void fetch_queries(const prefill &p, const shared &sh, const room &at)
{
    using Z = sizes<DP>;
    constexpr int PIECES = DP / 8, STEP = 32 / PIECES;
    int lane = threadIdx.x & 31, c = lane % PIECES;
    bool same = (p.dt == DT_BF16) == std::is_same<T, bf16>::value;
    for (ring<Z::Q> q = {};; q.step()) {
        uint32_t base = at.q + q.stage * Z::Q_BYTES + c / 8 * Z::Q_COL;
        mbar_wait(BAR(item_full, q.stage), q.parity);
        item x = sh.items[q.stage];
        int32_t l = lane / PIECES, t = (x.line0 + l) / p.group, g = (x.line0 + l) % p.group;
        size_t from0 = (size_t)x.tok0 * p.qkv_stride + (size_t)x.head * p.group * DP + c * 8;
#pragma unroll 4
        for (; x.row >= 0 && l < Z::BR; l += STEP) {
            bool ok = l < x.n_lines;
            size_t from = ok ? from0 + (size_t)t * p.qkv_stride + (size_t)g * DP : 0;
            if (same)
                cp_async16(base + swizzled(l, c & 7), (const uint16_t *)p.q + from, ok);
            else
                store_shared(base + swizzled(l, c & 7),
                             ok ? load_q<T>(p.q, from, p.dt) : make_uint4(0, 0, 0, 0));
            for (g += STEP; g >= p.group; g -= p.group)
                t++;
        }
        cp_async_commit();
        cp_async_wait<0>();
        fence_for_async();
        mbar_arrive(BAR(q_full, q.stage));
        if (x.row < 0)
            break;
    }
}

#endif
