/* SPDX-License-Identifier: Apache-2.0 */
/* attn_prefill.cu - op_attn_prefill: causal attention of many new tokens over paged KV, on tensor
 * cores (mma.sync), with the online softmax: for cards other than Hopper, and for what
 * attn_prefill_sm90.cu leaves alone.
 *
 * A "line" is one query head of one new token. The lines of a row that share a KV head stand one
 * after the other, token by token, and are cut into tiles of Br; a block owns one tile of one KV
 * head, so a key is fetched once for all heads of its group. Keys come in tiles of 64, of which the
 * page table is asked once per 16 (page_tokens is a multiple of 16). Tile j + 1 is fetched while j
 * is computed. Keys beyond a row's length are read as zeros: what an abandoned page holds cannot
 * reach a result.
 *
 * In this order: tile_of (what a block works on), load_queries, attend_tiles (per tile of keys:
 * fetch_tile for the next one, score_tile, soften, add_values), store_lines.
 */
#include "attn.h"
#include "common.cuh"
#include "prefill.h"

namespace
{

/* MT: m16 tiles of lines of a warp; Br: lines of a block; Bc: keys of a tile; GROUPS of 16 keys. */
enum { WARPS = 8, NT = WARPS * 32, MT = 1, Br = 16 * MT * WARPS, Bc = 64, GROUPS = Bc / 16 };

struct prefill {
    void *out;
    const void *q;
    int32_t qkv_stride, n_heads, dt, layer;
    int32_t group;    /* query heads of one KV head */
    float scale_log2; /* scale * log2(e): weights are powers of two */
    kv_pool_view kv;
    rows_view rows;
};

/* Which tile of which row: row -1 for a block that is left over. */
struct place {
    int32_t row, tile;
};

/* The place of this block, the same in all threads. The last tiles, the longest, come first. The
 * first warp counts tiles over the rows, 32 rows at a time. */
__device__ place find_tile(const rows_view &rows, int32_t group)
{
    __shared__ place found;
    if (threadIdx.x < 32) {
        int32_t total = 0;
        for (int32_t r = threadIdx.x; r < rows.n_rows; r += 32)
            total += (rows.row_new[r] * group + Br - 1) / Br;
        total = warp_sum(total);
        int32_t want = total - 1 - (int32_t)blockIdx.x, before = 0;
        if (threadIdx.x == 0)
            found.row = -1;
        __syncwarp();
        for (int32_t r0 = 0; want >= 0 && r0 < rows.n_rows; r0 += 32) {
            int32_t r = r0 + threadIdx.x;
            int32_t mine = r < rows.n_rows ? (rows.row_new[r] * group + Br - 1) / Br : 0,
                    upto = mine;
#pragma unroll
            for (int i = 1; i < 32; i <<= 1) {
                int32_t x = __shfl_up_sync(0xffffffffu, upto, i);
                if ((int)threadIdx.x >= i)
                    upto += x;
            }
            int32_t from = before + upto - mine;
            if (want >= from && want < from + mine) {
                found.row = r;
                found.tile = want - from;
            }
            before += __shfl_sync(0xffffffffu, upto, 31);
            if (before > want)
                break;
        }
    }
    __syncthreads();
    return found;
}

/* What a block works on: a tile of lines of one row, for one KV head. */
struct work {
    const page_id *table; /* the row's line of the page table */
    int32_t head;         /* KV head */
    int32_t tok0;         /* the row's first token in the batch */
    int32_t pos0, n_kv;   /* position of that token; keys of the row */
    int32_t line0;        /* first line of the tile, counted in the row */
    int32_t n_lines;      /* its lines, at most Br */
    int32_t first_pos;    /* position of its first line: keys up to here are seen by all lines */
    int32_t n_tiles;      /* tiles of keys that its lines see */
    int64_t side;         /* elements from a key to its value in the pool */
};

__device__ __forceinline__ work tile_of(const prefill &p, place at)
{
    int64_t side = (int64_t)p.kv.page_tokens * p.kv.head_dim * p.kv.n_kv_heads;
    int32_t n_new = p.rows.row_new[at.row], n_kv = p.rows.row_kv[at.row], pos0 = n_kv - n_new;
    int32_t line0 = at.tile * Br, n_lines = min((int32_t)Br, n_new * p.group - line0);
    return {.table = p.rows.page_table + (size_t)p.rows.row_slot[at.row] * p.rows.table_stride,
            .head = (int32_t)blockIdx.y,
            .tok0 = p.rows.row_tok0[at.row],
            .pos0 = pos0,
            .n_kv = n_kv,
            .line0 = line0,
            .n_lines = n_lines,
            .first_pos = pos0 + line0 / p.group,
            .n_tiles = (pos0 + (line0 + n_lines - 1) / p.group) / Bc + 1,
            .side = side};
}

/* Element offset of K of `key`, the first of a group of 16; -1 beyond the row. */
__device__ int64_t group_offset(const prefill &p, const work &w, int32_t key)
{
    if (key >= w.n_kv)
        return -1;
    int32_t page = w.table[key / p.kv.page_tokens];
    return (int64_t)kv_at(p.kv, page, p.layer, 0, w.head, key % p.kv.page_tokens);
}

/* A tile of 64 keys from key0 on and, behind them, their values into the stage at dst, zero beyond
 * the row and beyond head_dim. offset: of the tile's groups. */
template <class T, int DP>
__device__ __forceinline__ void fetch_tile(uint32_t dst, const prefill &p, const work &w,
                                           const int64_t *offset, int32_t key0)
{
    constexpr int CH = DP / 8;
    const T *base = (const T *)p.kv.base;
    int32_t hd = p.kv.head_dim;
#pragma unroll
    for (int i = threadIdx.x; i < Bc * CH; i += NT) {
        int row = i / CH, ch = i % CH;
        bool ok = key0 + row < w.n_kv && ch * 8 < hd;
        const T *src = ok ? base + offset[row >> 4] + (row & 15) * hd + ch * 8 : base;
        uint32_t to = dst + (row * (DP + 8) + ch * 8) * 2;
        cp_async16(to, src, ok);
        cp_async16(to + Bc * (DP + 8) * 2, ok ? src + w.side : src, ok);
    }
}

/* The queries of the block's lines into shared memory, zero beyond n_lines and beyond head_dim. */
template <class T, int DP>
__device__ __forceinline__ void load_queries(T *sq, const prefill &p, const work &w)
{
    constexpr int CH = DP / 8, LD = DP + 8;
    int32_t hd = p.kv.head_dim, group = p.group;
    for (int i = threadIdx.x; i < Br * CH; i += NT) {
        int l = i / CH, ch = i % CH;
        uint4 v = make_uint4(0, 0, 0, 0);
        if (l < w.n_lines && ch * 8 < hd) {
            int32_t t = (w.line0 + l) / group, g = (w.line0 + l) % group;
            size_t at = (size_t)(w.tok0 + t) * p.qkv_stride + (size_t)(w.head * group + g) * hd +
                        ch * 8;
            v = load_q<T>(p.q, at, p.dt);
        }
        *(uint4 *)(sq + l * LD + ch * 8) = v;
    }
}

/* The lines of a warp, MT times 16 of them; a thread has a share of two lines of each 16 (h). */
template <int DP> struct lines {
    int32_t limit[MT][2];         /* the last key that the line sees: its own position */
    float top[MT][2], sum[MT][2]; /* running maximum (log2) and this thread's part of the sum */
    float o[MT][DP / 8][4];       /* weighted sum of the values so far */
};

template <int DP>
__device__ __forceinline__ void start_lines(lines<DP> &x, const prefill &p, const work &w)
{
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int32_t l = (warp * MT + m) * 16 + h * 8 + lane / 4;
            x.limit[m][h] = w.pos0 + (w.line0 + min(l, w.n_lines - 1)) / p.group;
        }
#pragma unroll
    for (int m = 0; m < MT; m++) {
        x.top[m][0] = x.top[m][1] = -INFINITY;
        x.sum[m][0] = x.sum[m][1] = 0.0f;
#pragma unroll
        for (int n = 0; n < DP / 8; n++)
            x.o[m][n][0] = x.o[m][n][1] = x.o[m][n][2] = x.o[m][n][3] = 0.0f;
    }
}

/* s = the warp's queries times the 64 keys of a tile. */
template <class T, int DP>
__device__ __forceinline__ void score_tile(float (*s)[Bc / 8][4], uint32_t q_addr, uint32_t k_addr)
{
    constexpr int LD = DP + 8;
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int n = 0; n < Bc / 8; n++)
            s[m][n][0] = s[m][n][1] = s[m][n][2] = s[m][n][3] = 0.0f;
#pragma unroll
    for (int k = 0; k < DP / 16; k++) {
        uint32_t a[MT][4];
#pragma unroll
        for (int m = 0; m < MT; m++)
            ldmatrix4(a[m], q_addr + (m * 16 * LD + k * 16) * 2);
#pragma unroll
        for (int n = 0; n < Bc / 16; n++) {
            uint32_t b[4];
            ldmatrix4(b, k_addr + (n * 16 * LD + k * 16) * 2);
#pragma unroll
            for (int m = 0; m < MT; m++) {
                mma16816<T>(s[m][2 * n], a[m], b[0], b[1]);
                mma16816<T>(s[m][2 * n + 1], a[m], b[2], b[3]);
            }
        }
    }
}

/* Scores into weights: keys beyond a line's limit fall away (only where the tile has any: masked),
 * the maximum and the sum move on, and what was summed before shrinks to the new maximum. */
template <int DP>
__device__ __forceinline__ void soften(lines<DP> &x, float (*s)[Bc / 8][4], float scale_log2,
                                       int32_t key0, bool masked, int lane)
{
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float best = x.top[m][h];
#pragma unroll
            for (int n = 0; n < Bc / 8; n++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    float y = s[m][n][2 * h + e] * scale_log2;
                    if (masked && key0 + n * 8 + (lane & 3) * 2 + e > x.limit[m][h])
                        y = -INFINITY;
                    s[m][n][2 * h + e] = y;
                    best = fmaxf(best, y);
                }
            best = fmaxf(best, __shfl_xor_sync(0xffffffffu, best, 1));
            best = fmaxf(best, __shfl_xor_sync(0xffffffffu, best, 2));
            float shrink = fast_exp2(x.top[m][h] - best), part = 0.0f;
            x.top[m][h] = best;
#pragma unroll
            for (int n = 0; n < Bc / 8; n++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    float w = fast_exp2(s[m][n][2 * h + e] - best);
                    s[m][n][2 * h + e] = w;
                    part += w;
                }
            x.sum[m][h] = x.sum[m][h] * shrink + part;
#pragma unroll
            for (int n = 0; n < DP / 8; n++) {
                x.o[m][n][2 * h] *= shrink;
                x.o[m][n][2 * h + 1] *= shrink;
            }
        }
}

/* o += weights times the values of a tile. */
template <class T, int DP>
__device__ __forceinline__ void add_values(float (*o)[DP / 8][4], float (*s)[Bc / 8][4],
                                           uint32_t v_addr)
{
    constexpr int LD = DP + 8;
#pragma unroll
    for (int k = 0; k < Bc / 16; k++) {
        uint32_t a[MT][4];
#pragma unroll
        for (int m = 0; m < MT; m++) {
            a[m][0] = pack2<T>(s[m][2 * k][0], s[m][2 * k][1]);
            a[m][1] = pack2<T>(s[m][2 * k][2], s[m][2 * k][3]);
            a[m][2] = pack2<T>(s[m][2 * k + 1][0], s[m][2 * k + 1][1]);
            a[m][3] = pack2<T>(s[m][2 * k + 1][2], s[m][2 * k + 1][3]);
        }
#pragma unroll
        for (int n = 0; n < DP / 16; n++) {
            uint32_t b[4];
            ldmatrix4_trans(b, v_addr + (k * 16 * LD + n * 16) * 2);
#pragma unroll
            for (int m = 0; m < MT; m++) {
                mma16816<T>(o[m][2 * n], a[m], b[0], b[1]);
                mma16816<T>(o[m][2 * n + 1], a[m], b[2], b[3]);
            }
        }
    }
}

/* All tiles of keys that the block's lines see. The first is on its way into the first of the two
 * stages at uk (K, then V), and `offset` knows the groups of the first two. */
template <class T, int DP>
__device__ __forceinline__ void attend_tiles(lines<DP> &x, const prefill &p, const work &w,
                                             int64_t (*offset)[GROUPS], uint32_t uq, uint32_t uk)
{
    constexpr int LD = DP + 8;
    constexpr uint32_t STAGE = 2 * Bc * LD * 2; /* bytes of K and V of one tile */
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    uint32_t q_addr = uq + ((warp * MT * 16 + (lane & 15)) * LD + (lane >> 4) * 8) * 2;
    uint32_t k_addr = uk + (((lane & 7) + ((lane >> 4) << 3)) * LD + ((lane >> 3) & 1) * 8) * 2;
    uint32_t v_addr = uk + Bc * LD * 2 + ((lane & 15) * LD + (lane >> 4) * 8) * 2;
    for (int32_t j = 0; j < w.n_tiles; j++) {
        __syncthreads(); /* the other stage is free, the offsets of j + 1 are there */
        if (j + 1 < w.n_tiles)
            fetch_tile<T, DP>(uk + ((j + 1) & 1) * STAGE, p, w, offset[(j + 1) & 1], (j + 1) * Bc);
        cp_async_commit();
        int64_t next = -1;
        if (threadIdx.x < GROUPS && j + 2 < w.n_tiles)
            next = group_offset(p, w, (j + 2) * Bc + threadIdx.x * 16);
        cp_async_wait<1>();
        __syncthreads();
        uint32_t in_stage = (j & 1) * STAGE;
        float s[MT][Bc / 8][4];
        score_tile<T, DP>(s, q_addr, k_addr + in_stage);
        if (threadIdx.x < GROUPS)
            offset[j & 1][threadIdx.x] = next;
        soften<DP>(x, s, p.scale_log2, j * Bc, (j + 1) * Bc - 1 > w.first_pos, lane);
        add_values<T, DP>(x.o, s, v_addr + in_stage);
    }
}

template <int DP>
__device__ __forceinline__ void store_lines(const lines<DP> &x, const prefill &p, const work &w)
{
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    int32_t hd = p.kv.head_dim, group = p.group;
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float sum = x.sum[m][h];
            sum += __shfl_xor_sync(0xffffffffu, sum, 1);
            sum += __shfl_xor_sync(0xffffffffu, sum, 2);
            float inv = 1.0f / sum;
            int32_t line = (warp * MT + m) * 16 + h * 8 + lane / 4;
            if (line >= w.n_lines)
                continue;
            int32_t t = (w.line0 + line) / group, g = (w.line0 + line) % group;
            size_t to = ((size_t)(w.tok0 + t) * p.n_heads + w.head * group + g) * hd;
#pragma unroll
            for (int n = 0; n < DP / 8; n++)
                if (n * 8 < hd)
                    *(uint32_t *)((uint16_t *)p.out + to + n * 8 + (lane & 3) * 2) = pack_out(
                        p.dt, x.o[m][n][2 * h] * inv, x.o[m][n][2 * h + 1] * inv);
        }
}

/* DP: head_dim rounded up. Shared memory: the queries, then two stages of keys and values, in lines
 * of DP + 8 elements, so that the eight lines that ldmatrix reads at once share no bank. */
template <class T, int DP>
__global__ void __launch_bounds__(NT, DP <= 128 ? 2 : 1) prefill_kernel(prefill p)
{
    extern __shared__ __align__(16) char smem[];
    __shared__ int64_t offset[2][GROUPS];
    T *sq = (T *)smem;
    uint32_t uq = smem_u32(sq), uk = uq + Br * (DP + 8) * 2;
    place at = find_tile(p.rows, p.group);
    if (at.row < 0)
        return;
    work w = tile_of(p, at);
    if (threadIdx.x < 2 * GROUPS)
        offset[threadIdx.x / GROUPS][threadIdx.x % GROUPS] = group_offset(p, w, threadIdx.x * 16);
    __syncthreads();
    fetch_tile<T, DP>(uk, p, w, offset[0], 0);
    cp_async_commit();
    load_queries<T, DP>(sq, p, w);
    lines<DP> x;
    start_lines(x, p, w);
    attend_tiles<T, DP>(x, p, w, offset, uq, uk);
    store_lines(x, p, w);
}

template <int DP> constexpr int smem_bytes()
{
    return (Br + 4 * Bc) * (DP + 8) * 2;
}

/* Allow the kernel its shared memory. What a small card cannot hold is refused at launch, not here.
 */
template <class T, int DP> void allow_smem()
{
    (void)cudaFuncSetAttribute(prefill_kernel<T, DP>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               smem_bytes<DP>());
}

template <class T> void allow_all()
{
    allow_smem<T, 64>();
    allow_smem<T, 96>();
    allow_smem<T, 128>();
    allow_smem<T, 256>();
}

template <class T, int DP> int launch_for(struct cuda_be *c, const prefill &p, int32_t n_tokens)
{
    constexpr int bytes = smem_bytes<DP>();
    if (bytes > c->smem_optin)
        return ST_UNSUPPORTED;
    /* every row may end in a tile that is not full: blocks left over find no place */
    dim3 grid(ceil_div((int64_t)n_tokens * p.group, Br) + p.rows.n_rows, p.kv.n_kv_heads);
    prefill_kernel<T, DP><<<grid, NT, bytes, c->stream>>>(p);
    return cuda_launched(c, "attn_prefill");
}

template <class T> int launch(struct cuda_be *c, const prefill &p, int32_t n_tokens)
{
    int hd = p.kv.head_dim;
    if (hd <= 64)
        return launch_for<T, 64>(c, p, n_tokens);
    if (hd <= 96)
        return launch_for<T, 96>(c, p, n_tokens);
    if (hd <= 128)
        return launch_for<T, 128>(c, p, n_tokens);
    return launch_for<T, 256>(c, p, n_tokens);
}

} // namespace

/* Called by cuda_attn_setup, once, before the first launch. */
extern "C" void cuda_prefill_setup(void)
{
    allow_all<bf16>();
    allow_all<f16>();
    (void)cudaGetLastError();
    cuda_prefill_sm90_setup();
}

extern "C" int cuda_attn_prefill(struct be *be, const struct op_attn *o)
{
    int st = opcheck_attn_prefill(o);
    if (st != 0 || o->bv->n_tokens == 0 || o->bv->n_rows == 0)
        return st;
    if (o->dt == DT_F32)
        return ST_UNSUPPORTED;
    st = cuda_prefill_sm90(cuda_of(be), o);
    if (st != ST_UNSUPPORTED)
        return st;
    prefill p = {.out = o->out,
                 .q = o->q,
                 .qkv_stride = o->qkv_stride,
                 .n_heads = o->n_heads,
                 .dt = o->dt,
                 .layer = o->layer,
                 .group = o->n_heads / o->kv.n_kv_heads,
                 .scale_log2 = o->scale * 1.44269504f,
                 .kv = o->kv,
                 .rows = rows_of(o->bv)};
    WITH_TYPE(o->kv.dt, return launch<T>(cuda_of(be), p, o->bv->n_tokens));
}
