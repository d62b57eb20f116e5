/* SPDX-License-Identifier: Apache-2.0 */
/* attn_prefill_sm90.cu - op_attn_prefill on Hopper: the products by wgmma, keys and values brought
 * by the copy engine, page by page.
 *
 * The whole pool is one matrix of lines of head_dim elements to the copy engine: the tokens of a
 * page, layer, side and head are consecutive lines, so a run of keys of a page is one box. A block
 * stays on its multiprocessor and takes items (prefill_plan.cuh) from a queue. Of its warpgroups
 * the first one fetches: a warp takes items, one sends for keys, one for values, one fetches the
 * queries of the next item. The others compute, 64 lines each. Each has the product for the next
 * scores under way while it adds the values of the tile before, and they take turns at the tensor
 * cores, so that the softmax of one runs under the products of the other.
 *
 * Tiles of keys go from the last one down: only the first few need a mask. Values beyond the row
 * are overwritten with zeros in shared memory, so what an abandoned page holds cannot reach a
 * result. Where the plan splits rows, items leave sums and maxima in `work`, and merge_kernel adds
 * them up in the order of the chunks.
 *
 * Reading order: prefill_kernel; prefill_fetch.cuh (the first warpgroup); attend (per tile of keys:
 * score, soften, add_values), store_lines or store_part; prefill_merge.cuh; the launch.
 */
#include "prefill.h"
#include "prefill_fetch.cuh"
#include "prefill_merge.cuh"

namespace
{

/* The lines of a warpgroup; a thread has a share of two lines (h). */
template <int DP> struct lines {
    int32_t limit[2];     /* the last key that the line sees: its own position */
    float top[2], sum[2]; /* running maximum and this thread's part of the sum */
    float o[DP / 8][4];   /* weighted sum of the values so far */
};

/* s = the warpgroup's queries times the keys of a tile, under way. */
template <class T, int DP, int NG>
__device__ __forceinline__ void score(float (&s)[NG][4], uint64_t q, uint64_t k)
{
    hold(s);
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < DP / 16; i++)
        wgmma_shared<T>(s, q + (i / 4 * sizes<DP>::Q_COL + i % 4 * 32) / 16,
                        k + (i / 4 * 1024 + i % 4 * 32) / 16, i > 0);
    wgmma_commit();
}

/* o += weights times the values of a tile, under way. */
template <class T, int DP>
__device__ __forceinline__ void add_values(float (&o)[DP / 8][4], const uint32_t (*w)[4],
                                           uint64_t v)
{
    using Z = sizes<DP>;
    constexpr int NG = DP == 64 ? 8 : 16;
    hold(o);
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < Z::BC / 16; i++)
#pragma unroll
        for (int c = 0; c < DP / 8 / NG; c++)
            wgmma_mixed<T, NG>(o + c * NG, w[i], v + (i * 2 * Z::EIGHT + c * 2048) / 16, 1);
    wgmma_commit();
}

/* Keys that a line does not see fall away. */
template <int DP, int NG>
__device__ __forceinline__ void mask(float (&s)[NG][4], const lines<DP> &x, int32_t key0)
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        int32_t last = x.limit[h] - key0 - (int32_t)(threadIdx.x & 3) * 2;
#pragma unroll
        for (int n = 0; n < NG; n++)
#pragma unroll
            for (int e = 0; e < 2; e++)
                if (n * 8 + e > last)
                    s[n][2 * h + e] = -INFINITY;
    }
}

/* Scores into weights; the sum moves on, and the maximum where it grew by a factor of more than
 * 2^SLACK in weight: weights of up to that much are as precise as others, and what was summed
 * before seldom has to shrink. shrink: by what; the answer is whether any line of the warp does. */
template <int DP, int NG>
__device__ __forceinline__ bool soften(lines<DP> &x, float (&s)[NG][4], float scale_log2,
                                       float *shrink)
{
    constexpr float SLACK = 8.0f;
    float best[2][2], less[2], part[2][2] = {};
#pragma unroll
    for (int n = 0; n < NG;
         n++) /* four chains: each is short, and they hide each other's latency */
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float y = fmaxf(s[n][2 * h], s[n][2 * h + 1]);
            best[h][n & 1] = n < 2 ? y : fmaxf(best[h][n & 1], y);
        }
    bool grew = false;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float y = fmaxf(best[h][0], best[h][1]);
        y = fmaxf(y, __shfl_xor_sync(0xffffffffu, y, 1));
        best[h][0] = fmaxf(y, __shfl_xor_sync(0xffffffffu, y, 2));
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float more = (best[h][0] - x.top[h]) * scale_log2;
        bool grows = more > SLACK;
        shrink[h] = grows ? fast_exp2(-more) : 1.0f;
        x.top[h] = grows ? best[h][0] : x.top[h];
        grew |= grows;
        less[h] = x.top[h] * scale_log2;
    }
#pragma unroll
    for (int n = 0; n < NG; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            s[n][i] = fast_exp2(fmaf(s[n][i], scale_log2, -less[i / 2]));
            part[i / 2][n & 1] += s[n][i];
        }
#pragma unroll
    for (int h = 0; h < 2; h++)
        x.sum[h] = x.sum[h] * shrink[h] + (part[h][0] + part[h][1]);
    return __any_sync(0xffffffffu, grew);
}

template <int DP> __device__ __forceinline__ void scale_lines(lines<DP> &x, const float *shrink)
{
#pragma unroll
    for (int d = 0; d < DP / 8; d++) {
        x.o[d][0] *= shrink[0], x.o[d][1] *= shrink[0];
        x.o[d][2] *= shrink[1], x.o[d][3] *= shrink[1];
    }
}

/* Weights as the left operand of add_values. */
template <class T, int NG>
__device__ __forceinline__ void pack(uint32_t (*w)[4], const float (&s)[NG][4])
{
#pragma unroll
    for (int i = 0; i < NG / 2; i++) {
        w[i][0] = pack2<T>(s[2 * i][0], s[2 * i][1]);
        w[i][1] = pack2<T>(s[2 * i][2], s[2 * i][3]);
        w[i][2] = pack2<T>(s[2 * i + 1][0], s[2 * i + 1][1]);
        w[i][3] = pack2<T>(s[2 * i + 1][2], s[2 * i + 1][3]);
    }
}

/* Zeros for the values of a tile from value `first` on, by one warpgroup. Every warpgroup does it
 * for itself before its first product with them. */
template <int DP> __device__ __forceinline__ void clear_values(uint32_t v, int32_t first, int wg)
{
    using Z = sizes<DP>;
    constexpr int PIECES = DP / 8;
    for (int i = first * PIECES + (threadIdx.x & 127); i < Z::BC * PIECES; i += 128) {
        int row = i / PIECES, c = i % PIECES;
        store_shared(v + row / 8 * Z::EIGHT + c / 8 * 1024 + row % 8 * 128 + c % 8 * 16,
                     make_uint4(0, 0, 0, 0));
    }
    fence_for_async();
    bar_sync(5 + wg, 128);
}

/* Where a warpgroup is in the rings. */
template <int DP> struct turn {
    ring<sizes<DP>::K> k;
    ring<sizes<DP>::V> v;
    ring<sizes<DP>::Q> q;
};

/* All tiles of keys of an item. */
template <class T, int DP>
__device__ __forceinline__ void attend(lines<DP> &x, const prefill &p, const item &w,
                                       const room &at, turn<DP> &r, int wg)
{
    using Z = sizes<DP>;
    constexpr int NG = Z::BC / 8;
    constexpr uint32_t STAGE = Z::KV_BYTES / 16;
    float s[NG][4], shrink[2];
    uint32_t weight[NG / 2][4];
    uint64_t q = operand(at.q + r.q.stage * Z::Q_BYTES + wg * 64 * 128, 1024, 16);
    uint64_t k = operand(at.k, Z::EIGHT, 16), v = operand(at.v, Z::EIGHT, 1024);
    int32_t first = w.pos0 + (w.line0 + min(wg * 64, w.n_lines - 1)) / p.group;
    int32_t j = w.tile1 - 1;
    mbar_wait(BAR(k_full, r.k.stage), r.k.parity);
    score<T, DP>(s, q, k + r.k.stage * STAGE);
    wgmma_wait<0>();
    hold(s);
    release(BAR(k_empty, r.k.stage));
    r.k.step();
    if ((j + 1) * Z::BC - 1 > first)
        mask(s, x, j * Z::BC);
    soften(x, s, p.scale_log2, shrink);
    pack<T>(weight, s);
    if ((j + 1) * Z::BC > w.n_kv) {
        mbar_wait(BAR(v_full, r.v.stage), r.v.parity);
        clear_values<DP>(at.v + r.v.stage * Z::KV_BYTES, w.n_kv - j * Z::BC, wg);
    }
    for (j--; j >= w.tile0; j--) {
        mbar_wait(BAR(k_full, r.k.stage), r.k.parity);
        bar_sync(1 + wg, 256);
        score<T, DP>(s, q, k + r.k.stage * STAGE);
        mbar_wait(BAR(v_full, r.v.stage), r.v.parity);
        add_values<T, DP>(x.o, weight, v + r.v.stage * STAGE);
        bar_arrive(1 + (wg + 1) % Z::WGS, 256);
        wgmma_wait<1>();
        hold(s);
        release(BAR(k_empty, r.k.stage));
        r.k.step();
        if ((j + 1) * Z::BC - 1 > first)
            mask(s, x, j * Z::BC);
        bool grew = soften(x, s, p.scale_log2, shrink);
        stay_above(x.sum[0] + x.sum[1]);
        wgmma_wait<0>();
        hold(x.o);
        release(BAR(v_empty, r.v.stage));
        r.v.step();
        if (grew)
            scale_lines(x, shrink);
        pack<T>(weight, s);
    }
    release(BAR(q_empty, r.q.stage));
    r.q.step();
    mbar_wait(BAR(v_full, r.v.stage), r.v.parity);
    add_values<T, DP>(x.o, weight, v + r.v.stage * STAGE);
    wgmma_wait<0>();
    hold(x.o);
    release(BAR(v_empty, r.v.stage));
    r.v.step();
}

/* Line of the item that half h of this thread's share belongs to. */
__device__ __forceinline__ int32_t line_of(int wg, int h)
{
    return wg * 64 + (int32_t)(threadIdx.x >> 5 & 3) * 16 + h * 8 + (int32_t)(threadIdx.x & 31) / 4;
}

template <int DP>
__device__ __forceinline__ void start_lines(lines<DP> &x, const prefill &p, const item &w, int wg)
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        x.limit[h] = w.pos0 + (w.line0 + min(line_of(wg, h), w.n_lines - 1)) / p.group;
        x.top[h] = -1e30f; /* finite: a line that sees no key of a tile must not make NaN */
        x.sum[h] = 0.0f;
    }
#pragma unroll
    for (int n = 0; n < DP / 8; n++)
        x.o[n][0] = x.o[n][1] = x.o[n][2] = x.o[n][3] = 0.0f;
}

/* The words a[0..3] of the four lanes of a quad, transposed: lane i gets word i of each. */
__device__ __forceinline__ void transpose_quad(uint32_t *a, int lane)
{
#pragma unroll
    for (int b = 1; b <= 2; b <<= 1)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (i & b)
                continue;
            uint32_t other = __shfl_xor_sync(0xffffffffu, lane & b ? a[i] : a[i | b], b);
            if (lane & b)
                a[i] = other;
            else
                a[i | b] = other;
        }
}

/* Results of an item that saw all keys. A quad has a line: of four groups of eight columns each of
 * its lanes stores one. */
template <int DP>
__device__ __forceinline__ void store_lines(const lines<DP> &x, const prefill &p, const item &w,
                                            int wg)
{
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float sum = x.sum[h];
        sum += __shfl_xor_sync(0xffffffffu, sum, 1);
        sum += __shfl_xor_sync(0xffffffffu, sum, 2);
        float inv = 1.0f / sum;
        int32_t line = line_of(wg, h);
        int32_t t = (w.line0 + line) / p.group, g = (w.line0 + line) % p.group;
        size_t to = ((size_t)(w.tok0 + t) * p.n_heads + w.head * p.group + g) * DP;
#pragma unroll
        for (int c = 0; c < DP / 32; c++) {
            uint32_t a[4];
#pragma unroll
            for (int i = 0; i < 4; i++)
                a[i] = pack_out(p.dt, x.o[4 * c + i][2 * h] * inv, x.o[4 * c + i][2 * h + 1] * inv);
            transpose_quad(a, lane);
            if (line < w.n_lines)
                *(uint4 *)((uint16_t *)p.out + to +
                           (4 * c + (lane & 3)) * 8) = make_uint4(a[0], a[1], a[2], a[3]);
        }
    }
}

/* What an item leaves that saw only some of the keys. */
template <int DP>
__device__ __forceinline__ void store_part(const lines<DP> &x, const prefill &p, const item &w,
                                           int wg)
{
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float sum = x.sum[h];
        sum += __shfl_xor_sync(0xffffffffu, sum, 1);
        sum += __shfl_xor_sync(0xffffffffu, sum, 2);
        int32_t line = line_of(wg, h);
        if (line >= w.n_lines)
            continue;
        size_t at = (size_t)w.slot * tiles<DP>::BR + line;
        if ((lane & 3) == 0)
            p.norm[at] = make_float2(x.top[h] * p.scale_log2, sum);
#pragma unroll
        for (int n = 0; n < DP / 8; n++)
            *(float2 *)(p.part + at * DP + n * 8 + (lane & 3) * 2) = make_float2(x.o[n][2 * h],
                                                                                 x.o[n][2 * h + 1]);
    }
}

/* A warpgroup that computes. */
template <class T, int DP>
__device__ __forceinline__ void compute(const prefill &p, const shared &sh, const room &at, int wg)
{
    turn<DP> r = {};
    if (wg == sizes<DP>::WGS - 1)
        bar_arrive(1, 256); /* the first turn is the first one's */
    for (;;) {
        mbar_wait(BAR(q_full, r.q.stage), r.q.parity);
        item w = sh.items[r.q.stage];
        if (w.row < 0)
            break;
        lines<DP> x;
        start_lines(x, p, w, wg);
        attend<T, DP>(x, p, w, at, r, wg);
        if (w.slot < 0)
            store_lines(x, p, w, wg);
        else
            store_part(x, p, w, wg);
    }
}

template <int DP> __device__ __forceinline__ void start_barriers(const room &at)
{
    constexpr uint32_t READERS = 4 * sizes<DP>::WGS; /* one arrival a warp */
    for (int s = 0; s < 2; s++) {
        mbar_init(BAR(item_full, s), 1);
        mbar_init(BAR(q_full, s), 32);
        mbar_init(BAR(q_empty, s), READERS + 2); /* warps 1 and 2 have read the item */
        mbar_init(BAR(k_full, s), 1);
        mbar_init(BAR(k_empty, s), READERS);
    }
    for (int s = 0; s < 3; s++) {
        mbar_init(BAR(v_full, s), 1);
        mbar_init(BAR(v_empty, s), READERS);
    }
    mbar_init_done();
}

/* Registers of a thread that fetches and of one that computes: together the whole file. */
template <int DP> constexpr int few = sizes<DP>::WGS == 3 ? 32 : 40;
template <int DP> constexpr int many = sizes<DP>::WGS == 3 ? 160 : 232;

/* DP: head_dim. Compiled for other cards, this is empty and uses no shared memory. */
template <class T, int DP>
__global__ void __launch_bounds__(sizes<DP>::NT, 1)
    prefill_kernel(const prefill p, const __grid_constant__ CUtensorMap map)
{
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    using Z = sizes<DP>;
    extern __shared__ char smem[];
    __shared__ shared sh;
    room at = {.bars = smem_u32(&sh), .q = (smem_u32(smem) + 1023) & ~1023u};
    at.k = at.q + Z::Q * Z::Q_BYTES;
    at.v = at.k + Z::K * Z::KV_BYTES;
    if (p.n_slots > 0)
        let_next_start(); /* merge_kernel: it makes its plan and waits */
    if (threadIdx.x == 0) {
        prefetch_map(&map);
        start_barriers<DP>(at);
    }
    __syncthreads();
    /* the same in all lanes, and known to be */
    int wg = __shfl_sync(0xffffffffu, (int)threadIdx.x / 128 - 1, 0);
    if (wg < 0) {
        fewer_registers<few<DP>>();
        int warp = __shfl_sync(0xffffffffu, (int)threadIdx.x / 32, 0);
        if (warp == 0)
            take_items<DP>(p, sh, at);
        else if (warp == 1)
            send_side<DP, Z::K>(p, &map, sh, at, 0, at.k, BAR(k_full, 0), BAR(k_empty, 0));
        else if (warp == 2)
            send_side<DP, Z::V>(p, &map, sh, at, 1, at.v, BAR(v_full, 0), BAR(v_empty, 0));
        else
            fetch_queries<T, DP>(p, sh, at);
    } else {
        more_registers<many<DP>>();
        compute<T, DP>(p, sh, at, wg);
    }
#endif
}

/* The driver's maker of maps, NULL where there is none; found once, before the first launch. */
typedef CUresult map_maker(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *,
                           const cuuint64_t *, const cuuint64_t *, const cuuint32_t *,
                           const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle,
                           CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
map_maker *make_map;
bool usable; /* on this card, with this driver */

void find_map_maker()
{
    void *f = nullptr;
    cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
    cudaError_t r = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &f, 12000,
                                                     cudaEnableDefault, &found);
#else
    cudaError_t r = cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &f, cudaEnableDefault,
                                            &found);
#endif
    if (r == cudaSuccess && found == cudaDriverEntryPointSuccess)
        make_map = (map_maker *)f;
}

/* The pool as [lines / 8][COLS][8][64 elements]; a box is `run` lines. The driver only fills in the
 * 128 bytes, so it is done for each launch and nothing is kept. */
template <int DP>
bool map_pool(CUtensorMap *map, const kv_pool_view &kv, int64_t n_lines, int32_t run)
{
    constexpr cuuint64_t LINE = DP * 2;
    cuuint64_t dims[] = {64, 8, DP / 64, (cuuint64_t)n_lines / 8}, pitch[] = {LINE, 128, 8 * LINE};
    cuuint32_t box[] = {64, 8, DP / 64, (cuuint32_t)run / 8}, steps[] = {1, 1, 1, 1};
    return make_map(map,
                    kv.dt == DT_BF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                     : CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
                    4, kv.base, dims, pitch, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                    CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                    CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

template <class T, int DP> bool allow_smem()
{
    cudaFuncAttributes a;
    if (cudaFuncGetAttributes(&a, prefill_kernel<T, DP>) != cudaSuccess || a.sharedSizeBytes == 0)
        return false; /* the empty kernel of another card */
    return cudaFuncSetAttribute(prefill_kernel<T, DP>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                sizes<DP>::SMEM) == cudaSuccess;
}

template <class T> bool allow_all()
{
    return allow_smem<T, 64>() && allow_smem<T, 128>() && allow_smem<T, 256>();
}

/* Room for partial results where splitting may pay, else 0. It never does for a single row with
 * tiles enough for all multiprocessors, nor where no row is deep. */
template <int DP> void allow_split(prefill &p, const struct op_attn *o)
{
    using Z = sizes<DP>;
    int64_t tiles = (int64_t)o->bv->n_tokens * p.group / Z::BR * p.kv.n_kv_heads;
    int64_t line = (int64_t)(DP + 2) * (int64_t)sizeof(float);
    int32_t deep = ceil_div(o->bv->max_kv, Z::BC);
    if (!o->work || deep <= 4 || deep * (int64_t)p.n_sms <= 2 * tiles ||
        (o->bv->n_rows == 1 && tiles >= p.n_sms))
        return;
    p.n_slots = (int32_t)((int64_t)o->work_bytes / (line * Z::BR));
    p.norm = (float2 *)o->work;
    p.part = (float *)(p.norm + (size_t)p.n_slots * Z::BR);
}

template <class T, int DP> int launch_for(struct cuda_be *c, prefill &p, const struct op_attn *o)
{
    using Z = sizes<DP>;
    CUtensorMap map;
    const kv_pool_view &kv = p.kv;
    int64_t n_lines = (int64_t)kv.n_pages * kv.n_layers * 2 * kv.n_kv_heads *
                      (int64_t)kv.page_tokens;
    if (Z::SMEM > c->smem_optin || n_lines > INT32_MAX || !map_pool<DP>(&map, kv, n_lines, p.run))
        return ST_UNSUPPORTED;
    allow_split<DP>(p, o);
    int64_t tiles = ceil_div((int64_t)o->bv->n_tokens * p.group, Z::BR) + p.rows.n_rows;
    int64_t items = tiles * kv.n_kv_heads * (p.n_slots > 0 ? MOST_CHUNKS : 1);
    int grid = items < c->n_sms ? (int)items : c->n_sms;
    prefill_kernel<T, DP><<<grid, Z::NT, Z::SMEM, c->stream>>>(p, map);
    int st = cuda_launched(c, "attn_prefill");
    if (st != 0 || p.n_slots == 0)
        return st;
    launch_early(c, merge_kernel<DP>, dim3((unsigned)c->n_sms * 2), MERGE_NT, 0, p);
    return cuda_launched(c, "attn_prefill merge");
}

template <class T> int launch(struct cuda_be *c, prefill &p, const struct op_attn *o)
{
    switch (p.kv.head_dim) {
    case 64:
        return launch_for<T, 64>(c, p, o);
    case 128:
        return launch_for<T, 128>(c, p, o);
    case 256:
        return launch_for<T, 256>(c, p, o);
    default:
        return ST_UNSUPPORTED;
    }
}

} // namespace

/* Called by cuda_prefill_setup, once, before the first launch. */
extern "C" void cuda_prefill_sm90_setup(void)
{
    find_map_maker();
    usable = make_map != nullptr && allow_all<bf16>() && allow_all<f16>();
    (void)cudaGetLastError();
}

extern "C" int cuda_prefill_sm90(struct cuda_be *c, const struct op_attn *o)
{
    const kv_pool_view &kv = o->kv;
    uintptr_t places = (uintptr_t)kv.base | (uintptr_t)o->q | (uintptr_t)o->out;
    if (!usable || o->qkv_stride % 8 != 0 || places % 16 != 0)
        return ST_UNSUPPORTED;
    prefill p = {.out = o->out,
                 .q = o->q,
                 .qkv_stride = o->qkv_stride,
                 .n_heads = o->n_heads,
                 .dt = o->dt,
                 .layer = o->layer,
                 .group = o->n_heads / kv.n_kv_heads,
                 .scale_log2 = o->scale * 1.44269504f,
                 .kv = kv,
                 .rows = rows_of(o->bv),
                 .run = 64,
                 .n_sms = c->n_sms,
                 .queue = (uint32_t *)c->arrived + ARRIVED};
    while (kv.page_tokens % p.run != 0)
        p.run /= 2;
    if (p.run < 8)
        return ST_UNSUPPORTED;
    WITH_TYPE(kv.dt, return launch<T>(c, p, o));
}
