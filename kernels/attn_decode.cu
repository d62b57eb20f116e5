/* SPDX-License-Identifier: Apache-2.0 */
/* attn_decode.cu - op_attn_decode: one new token per row over a long paged KV, bound by memory.
 *
 * The query heads that share a KV head are the 16 rows of an mma tile, so keys and values are read
 * once per group. A row's KV is cut into chunks of equal length; a block owns one chunk of one KV
 * head, a warp every fourth run of 16 keys of it, with a pipeline of its own (STAGES runs of
 * cp.async in flight, no block barrier in the loop). Warps are merged through shared memory, chunks
 * through `work`: the block that comes last merges, in chunk order, so results do not depend on the
 * order of arrival. How many chunks a row may have and the grid are functions of n_rows and max_kv
 * alone, which recorded graphs rely on; how long they are follows from the row's true length, so
 * that all blocks have work although max_kv was rounded up; blocks left over leave at once.
 *
 * This kernel neither starts early nor lets the next one start early (common.cuh): blocks that
 * arrive one by one on multiprocessors that fall free crowd on a few of them, and a matrix product
 * beside it takes its cache; both were measured to cost up to 30 us a layer.
 *
 * In this order: work_of (what a block works on), load_queries, attend_chunk (fetch_run ahead,
 * attend_run), publish_warp, merge_warps, and in the last block of a row merge_chunks.
 */
#include "attn.h"
#include "common.cuh"
#include "prefill.h"

namespace
{

enum { WARPS = 4, NT = WARPS * 32, STAGES = 3, LINES = 16 };

struct decode {
    void *out;
    const void *q;
    int32_t qkv_stride, n_heads, dt, layer;
    int32_t group;    /* query heads of one KV head */
    int32_t least;    /* shortest chunk, in tokens */
    int32_t n_chunks; /* most chunks of a row */
    float scale_log2; /* scale * log2(e): weights are powers of two */
    kv_pool_view kv;
    rows_view rows;
    int32_t *arrived; /* [n_rows][gridDim.y], zero between launches */
    float *part;      /* [n_rows][n_chunks][n_heads][head_dim] */
    float2 *norm;     /* [n_rows][n_chunks][n_heads]: maximum (log2), sum */
};

/* Length of the chunks of a row of n_kv tokens: a multiple of 64 = WARPS runs. */
__device__ __forceinline__ int32_t chunk_of(const decode &p, int32_t n_kv)
{
    return (max(p.least, (n_kv + p.n_chunks - 1) / p.n_chunks) + 63) / 64 * 64;
}

__device__ __forceinline__ void store_out(void *out, size_t at, int32_t dt, float x)
{
    if (dt == DT_BF16)
        ((bf16 *)out)[at] = from_f32<bf16>(x);
    else
        ((f16 *)out)[at] = from_f32<f16>(x);
}

/* What a block works on: one chunk of one row, for up to LINES query heads of one KV head. */
struct work {
    int32_t row, tok, n_kv; /* the row, its token in the batch, its keys */
    int32_t head;           /* KV head */
    int32_t head0, n_lines; /* first query head and how many */
    int32_t end;            /* end of the chunk, in runs of 16 keys of the row */
    int32_t used;           /* chunks of the row */
    const page_id *table;   /* the row's line of the page table */
};

__device__ __forceinline__ work work_of(const decode &p, int32_t row, int32_t n_kv, int32_t chunk)
{
    int32_t blocks = (p.group + LINES - 1) / LINES, head = blockIdx.y / blocks;
    int32_t g0 = blockIdx.y % blocks * LINES, k0 = blockIdx.x * chunk;
    return {.row = row,
            .tok = p.rows.row_tok0[row],
            .n_kv = n_kv,
            .head = head,
            .head0 = head * p.group + g0,
            .n_lines = min((int32_t)LINES, p.group - g0),
            .end = (min(n_kv, k0 + chunk) + 15) / 16,
            .used = (n_kv + chunk - 1) / chunk,
            .table = p.rows.page_table + (size_t)p.rows.row_slot[row] * p.rows.table_stride};
}

/* The queries of the block as operands of the matrix products, zero beyond n_lines and beyond
 * head_dim. They pass through sq, the first stage, which is free again afterwards. */
template <class T, int DP>
__device__ __forceinline__ void load_queries(uint32_t (*q)[4], T *sq, const decode &p,
                                             const work &w, int lane)
{
    constexpr int LD = DP + 8;
    int32_t hd = p.kv.head_dim;
    for (int i = threadIdx.x; i < LINES * (DP / 2); i += NT) {
        int l = i / (DP / 2), d = i % (DP / 2) * 2;
        uint32_t v = 0;
        if (l < w.n_lines && d < hd) {
            v = *(const uint32_t *)((const uint16_t *)p.q + (size_t)w.tok * p.qkv_stride +
                                    (size_t)(w.head0 + l) * hd + d);
            float2 f = p.dt == DT_BF16 ? unpack2<bf16>(v) : unpack2<f16>(v);
            v = pack2<T>(f.x, f.y);
        }
        *(uint32_t *)(sq + l * LD + d) = v;
    }
    __syncthreads();
    uint32_t q_addr = smem_u32(sq) + ((lane & 15) * LD + (lane >> 4) * 8) * 2;
#pragma unroll
    for (int k = 0; k < DP / 16; k++)
        ldmatrix4(q[k], q_addr + k * 32);
    __syncthreads();
}

/* A run of 16 keys from key0 on, which lies in one page, and, behind them, their values into the
 * stage, zero beyond the row and beyond head_dim. */
template <class T, int DP>
__device__ __forceinline__ void fetch_run(uint32_t stage, const decode &p, const work &w,
                                          int32_t page, int32_t key0, int lane)
{
    constexpr int CH = DP / 8, LD = DP + 8;
    int32_t hd = p.kv.head_dim;
    const T *k = (const T *)p.kv.base;
    if (key0 < w.n_kv)
        k += kv_at(p.kv, page, p.layer, 0, w.head, key0 % p.kv.page_tokens);
    size_t side = (size_t)p.kv.page_tokens * hd * p.kv.n_kv_heads;
#pragma unroll
    for (int i = lane; i < 16 * CH; i += 32) {
        int row = i / CH, ch = i % CH;
        bool ok = key0 + row < w.n_kv && ch * 8 < hd;
        const T *src = ok ? k + row * hd + ch * 8 : (const T *)p.kv.base;
        uint32_t dst = stage + (row * LD + ch * 8) * 2;
        cp_async16(dst, src, ok);
        cp_async16(dst + 16 * LD * 2, ok ? src + side : src, ok);
    }
}

/* What a warp has seen so far of its keys; a thread has a share of two lines (h). */
template <class T, int DP> struct warp_state {
    float o[DP / 8][4];   /* weighted sum of the values */
    float top[2], sum[2]; /* maximum (log2) and this thread's part of the sum of the weights */
};

template <class T, int DP> __device__ __forceinline__ void start(warp_state<T, DP> &w)
{
#pragma unroll
    for (int n = 0; n < DP / 8; n++)
        w.o[n][0] = w.o[n][1] = w.o[n][2] = w.o[n][3] = 0.0f;
    w.sum[0] = w.sum[1] = 0.0f;
    w.top[0] = w.top[1] = -1e30f; /* finite: a warp without keys must not make NaN */
}

/* Scores into weights: keys beyond n_kv fall away, the maximum and the sum move on, and what was
 * summed before shrinks to the new maximum (not touched where no line of the warp has a new one).
 */
template <class T, int DP>
__device__ __forceinline__ void soften(warp_state<T, DP> &x, float (*s)[4], int32_t key0,
                                       int32_t n_kv, float scale_log2, int lane)
{
    bool rescale = false;
    float shrink[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float best = x.top[h];
#pragma unroll
        for (int n = 0; n < 2; n++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                float y = s[n][2 * h + e] * scale_log2;
                if (key0 + n * 8 + (lane & 3) * 2 + e >= n_kv)
                    y = -INFINITY;
                s[n][2 * h + e] = y;
                best = fmaxf(best, y);
            }
        best = fmaxf(best, __shfl_xor_sync(0xffffffffu, best, 1));
        best = fmaxf(best, __shfl_xor_sync(0xffffffffu, best, 2));
        shrink[h] = fast_exp2(x.top[h] - best);
        rescale |= best != x.top[h];
        x.top[h] = best;
        x.sum[h] *= shrink[h];
#pragma unroll
        for (int n = 0; n < 2; n++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                s[n][2 * h + e] = fast_exp2(s[n][2 * h + e] - best);
                x.sum[h] += s[n][2 * h + e];
            }
    }
    if (__any_sync(0xffffffffu, rescale)) {
#pragma unroll
        for (int n = 0; n < DP / 8; n++) {
            x.o[n][0] *= shrink[0], x.o[n][1] *= shrink[0];
            x.o[n][2] *= shrink[1], x.o[n][3] *= shrink[1];
        }
    }
}

/* One run of 16 keys in a stage: scores, softmax, product with the values. */
template <class T, int DP>
__device__ __forceinline__ void attend_run(warp_state<T, DP> &x, const uint32_t (*q)[4],
                                           uint32_t stage, int32_t key0, int32_t n_kv,
                                           float scale_log2, int lane)
{
    constexpr int LD = DP + 8;
    uint32_t k_addr = stage + (((lane & 7) + ((lane >> 4) << 3)) * LD + ((lane >> 3) & 1) * 8) * 2;
    uint32_t v_addr = stage + ((16 + (lane & 15)) * LD + (lane >> 4) * 8) * 2;
    float s[2][4] = {};
#pragma unroll
    for (int k = 0; k < DP / 16; k++) {
        uint32_t b[4];
        ldmatrix4(b, k_addr + k * 32);
        mma16816<T>(s[0], q[k], b[0], b[1]);
        mma16816<T>(s[1], q[k], b[2], b[3]);
    }
    soften(x, s, key0, n_kv, scale_log2, lane);
    uint32_t a[4] = {pack2<T>(s[0][0], s[0][1]), pack2<T>(s[0][2], s[0][3]),
                     pack2<T>(s[1][0], s[1][1]), pack2<T>(s[1][2], s[1][3])};
#pragma unroll
    for (int n = 0; n < DP / 16; n++) {
        uint32_t b[4];
        ldmatrix4_trans(b, v_addr + n * 32);
        mma16816<T>(x.o[2 * n], a, b[0], b[1]);
        mma16816<T>(x.o[2 * n + 1], a, b[2], b[3]);
    }
}

/* All runs of the warp: `first`, first + WARPS, ... below the chunk's end. The page of a run is
 * asked for while the run before it is fetched. */
template <class T, int DP>
__device__ __forceinline__ void attend_chunk(warp_state<T, DP> &x, const uint32_t (*q)[4],
                                             uint32_t stages, const decode &p, const work &w,
                                             int32_t first, int lane)
{
    constexpr int STAGE = 2 * 16 * (DP + 8) * 2;
    int32_t pt = p.kv.page_tokens, ahead = first;
#pragma unroll
    for (int i = 0; i < STAGES - 1; i++, ahead += WARPS) {
        if (ahead < w.end)
            fetch_run<T, DP>(stages + i * STAGE, p, w, w.table[ahead * 16 / pt], ahead * 16, lane);
        cp_async_commit();
    }
    int32_t page = ahead < w.end ? w.table[ahead * 16 / pt] : 0;
    int fill = STAGES - 1, use = 0;
    for (int32_t run = first; run < w.end; run += WARPS) {
        if (ahead < w.end)
            fetch_run<T, DP>(stages + fill * STAGE, p, w, page, ahead * 16, lane);
        cp_async_commit();
        ahead += WARPS;
        if (ahead < w.end)
            page = w.table[ahead * 16 / pt];
        cp_async_wait<STAGES - 1>();
        __syncwarp();
        attend_run<T, DP>(x, q, stages + use * STAGE, run * 16, w.n_kv, p.scale_log2, lane);
        __syncwarp();
        fill = fill + 1 == STAGES ? 0 : fill + 1;
        use = use + 1 == STAGES ? 0 : use + 1;
    }
    cp_async_wait<0>();
}

/* The warp's sums into shared memory: so is [WARPS][LINES][DP]. */
template <class T, int DP>
__device__ __forceinline__ void publish_warp(const warp_state<T, DP> &w, float *so,
                                             float (*s_top)[LINES], float (*s_sum)[LINES], int lane,
                                             int warp)
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float l = w.sum[h];
        l += __shfl_xor_sync(0xffffffffu, l, 1);
        l += __shfl_xor_sync(0xffffffffu, l, 2);
        int line = lane / 4 + h * 8;
        if ((lane & 3) == 0)
            s_top[warp][line] = w.top[h], s_sum[warp][line] = l;
#pragma unroll
        for (int n = 0; n < DP / 8; n++)
            *(float2 *)(so + (warp * LINES + line) * DP + n * 8 +
                        (lane & 3) * 2) = make_float2(w.o[n][2 * h], w.o[n][2 * h + 1]);
    }
}

/* The warps' sums added up: into out where the row has one chunk, else into part and norm. */
template <int DP>
__device__ __forceinline__ void merge_warps(const decode &p, const work &w, const float *so,
                                            const float (*s_top)[LINES],
                                            const float (*s_sum)[LINES])
{
    int32_t hd = p.kv.head_dim;
    size_t at = ((size_t)w.row * p.n_chunks + blockIdx.x) * p.n_heads + w.head0;
    for (int i = threadIdx.x; i < w.n_lines * hd; i += NT) {
        int l = i / hd, d = i % hd;
        float best = s_top[0][l], sum = 0.0f, x = 0.0f;
#pragma unroll
        for (int v = 1; v < WARPS; v++)
            best = fmaxf(best, s_top[v][l]);
#pragma unroll
        for (int v = 0; v < WARPS; v++) {
            float f = fast_exp2(s_top[v][l] - best);
            sum += s_sum[v][l] * f;
            x += so[(v * LINES + l) * DP + d] * f;
        }
        if (w.used == 1) {
            store_out(p.out, ((size_t)w.tok * p.n_heads + w.head0 + l) * hd + d, p.dt, x / sum);
        } else {
            p.part[(at + l) * hd + d] = x;
            if (d == 0)
                p.norm[at + l] = make_float2(best, sum);
        }
    }
}

/* Merge the chunks of one row and its query heads: called by the block that arrived last. Shared
 * memory: `factor`, the weights of the first MERGE chunks of each of LINES heads, so that the sums
 * below only load and multiply, several chunks at a time; total and top, one per head. */
enum { MERGE = 128 };
__device__ void merge_chunks(const decode &p, const work &w, float *factor, float *total,
                             float *top)
{
    int32_t hd = p.kv.head_dim, lane = threadIdx.x & 31, n = w.used;
    size_t at = (size_t)w.row * p.n_chunks * p.n_heads + w.head0;
    for (int32_t l = threadIdx.x >> 5; l < w.n_lines; l += WARPS) {
        float best = -INFINITY, sum = 0.0f;
        for (int32_t c = lane; c < n; c += 32)
            best = fmaxf(best, __ldcg(&p.norm[at + (size_t)c * p.n_heads + l].x));
#pragma unroll
        for (int i = 16; i > 0; i >>= 1)
            best = fmaxf(best, __shfl_xor_sync(0xffffffffu, best, i));
        for (int32_t c = lane; c < n; c += 32) {
            float2 m = __ldcg(&p.norm[at + (size_t)c * p.n_heads + l]);
            float f = fast_exp2(m.x - best);
            sum += m.y * f;
            if (c < MERGE)
                factor[l * MERGE + c] = f;
        }
        sum = warp_sum(sum);
        if (lane == 0)
            total[l] = sum, top[l] = best;
    }
    __syncthreads();
    for (int32_t i = threadIdx.x; i < w.n_lines * hd; i += NT) {
        int32_t l = i / hd, d = i % hd;
        const float *part = p.part + (at + l) * hd + d;
        size_t step = (size_t)p.n_heads * hd;
        float x = 0.0f;
        int32_t c = 0, few = min(n, (int32_t)MERGE);
#pragma unroll 8
        for (; c < few; c++)
            x += __ldcg(part + c * step) * factor[l * MERGE + c];
        for (; c < n; c++)
            x += __ldcg(part + c * step) *
                 fast_exp2(__ldcg(&p.norm[at + (size_t)c * p.n_heads + l].x) - top[l]);
        store_out(p.out, ((size_t)w.tok * p.n_heads + w.head0 + l) * hd + d, p.dt, x / total[l]);
    }
}

/* Is this the last block of its row and heads to arrive? Then it sees what the others wrote, and
 * the counter is zero again for the next launch. The same in all threads. */
__device__ __forceinline__ bool arrives_last(const decode &p, const work &w)
{
    __shared__ int last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        int32_t *n = &p.arrived[(size_t)w.row * gridDim.y + blockIdx.y];
        last = atomicAdd(n, 1) == w.used - 1;
        if (last)
            *n = 0;
    }
    __syncthreads();
    if (!last)
        return false;
    __threadfence();
    return true;
}

/* DP: head_dim rounded up. Shared memory: the stages of the warps, later the sums of the warps. */
template <class T, int DP>
__global__ void __launch_bounds__(NT, DP <= 128 ? 2 : 1) decode_kernel(decode p)
{
    constexpr int STAGE = 2 * 16 * (DP + 8) * 2;
    extern __shared__ __align__(16) char smem[];
    __shared__ float s_top[WARPS][LINES], s_sum[WARPS][LINES];
    int32_t row = blockIdx.z, n_kv = p.rows.row_kv[row];
    int32_t chunk = chunk_of(p, n_kv), k0 = blockIdx.x * chunk;
    if (p.rows.row_new[row] == 0 || k0 >= n_kv)
        return;
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    work w = work_of(p, row, n_kv, chunk);
    uint32_t q[DP / 16][4];
    load_queries<T, DP>(q, (T *)smem, p, w, lane);
    warp_state<T, DP> x;
    start(x);
    attend_chunk<T, DP>(x, q, smem_u32(smem) + warp * STAGES * STAGE, p, w, k0 / 16 + warp, lane);
    float *so = (float *)smem; /* [WARPS][LINES][DP] over the stages, which are drained */
    __syncthreads();
    publish_warp(x, so, s_top, s_sum, lane, warp);
    __syncthreads();
    merge_warps<DP>(p, w, so, s_top, s_sum);
    if (w.used > 1 && arrives_last(p, w))
        merge_chunks(p, w, so, s_sum[0], s_top[0]);
}

template <int DP> constexpr int smem_bytes()
{
    constexpr int stages = WARPS * STAGES * 2 * 16 * (DP + 8) * 2, merge = WARPS * LINES * DP * 4;
    return stages > merge ? stages : merge;
}

/* Allow the kernel its shared memory. What a small card cannot hold is refused at launch, not here.
 */
template <class T, int DP> void allow_smem()
{
    (void)cudaFuncSetAttribute(decode_kernel<T, DP>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               smem_bytes<DP>());
}

template <class T> void allow_all()
{
    allow_smem<T, 64>();
    allow_smem<T, 96>();
    allow_smem<T, 128>();
    allow_smem<T, 256>();
}

template <class T, int DP> int launch_for(struct cuda_be *c, const decode &p, dim3 grid)
{
    constexpr int bytes = smem_bytes<DP>();
    if (bytes > c->smem_optin)
        return ST_UNSUPPORTED;
    decode_kernel<T, DP><<<grid, NT, bytes, c->stream>>>(p);
    return cuda_launched(c, "attn_decode");
}

template <class T> int launch(struct cuda_be *c, const decode &p, dim3 grid)
{
    int hd = p.kv.head_dim;
    if (hd <= 64)
        return launch_for<T, 64>(c, p, grid);
    if (hd <= 96)
        return launch_for<T, 96>(c, p, grid);
    if (hd <= 128)
        return launch_for<T, 128>(c, p, grid);
    return launch_for<T, 256>(c, p, grid);
}

size_t slot_bytes(int32_t n_heads, int32_t head_dim)
{
    return (size_t)n_heads * (head_dim + 2) * sizeof(float);
}

/* How many chunks a row has at most. Blocks of equal chunks run in waves of as many as the card
 * holds at once, and a wave that is not full costs as much as a full one: so the fewest waves that
 * chunks of at most LONGEST need, then as many chunks as fill these. max_kv is a power of two
 * rounded up: rows of at least half of it are cut into all n_chunks, shorter ones into chunks of
 * half the longest. The partial results must fit `work`. */
enum { SHORTEST = 128, LONGEST = 1024 };
int32_t most_chunks(const struct cuda_be *c, const struct op_attn *o, int32_t y_blocks)
{
    int64_t kv = o->bv->max_kv > 0 ? o->bv->max_kv : 1, rows = o->bv->n_rows;
    int64_t groups = rows * y_blocks, wave = (int64_t)c->n_sms * (o->kv.head_dim <= 128 ? 2 : 1);
    int64_t waves = ceil_div(groups * ceil_div(kv, LONGEST), wave);
    int64_t slots = o->work ? (int64_t)(o->work_bytes / slot_bytes(o->n_heads, o->kv.head_dim)) : 0;
    int64_t n = waves * wave / groups, most = slots / rows, enough = ceil_div(kv, SHORTEST);
    n = n < enough ? n : enough;
    return (int32_t)(n < most ? n : most > 1 ? most : 1);
}

/* Length of the shortest chunk where a row has at most n_chunks. */
int32_t least_of(const struct op_attn *o, int32_t n_chunks)
{
    int32_t half = ceil_div(o->bv->max_kv > 0 ? o->bv->max_kv : 1, 2 * (int64_t)n_chunks);
    return half > SHORTEST ? half : SHORTEST;
}

} // namespace

extern "C" int cuda_attn_setup(void)
{
    cuda_prefill_setup();
    allow_all<bf16>();
    allow_all<f16>();
    (void)cudaGetLastError();
    return 0;
}

extern "C" size_t cuda_attn_work_bytes(int32_t max_rows, int32_t n_heads, int32_t head_dim)
{
    size_t decode = (1024 + 2 * (size_t)max_rows) * slot_bytes(n_heads, head_dim);
    size_t prefill = (size_t)160 * 192 * slot_bytes(1, head_dim); /* a slot per multiprocessor */
    return decode > prefill ? decode : prefill;
}

extern "C" int cuda_attn_decode(struct be *be, const struct op_attn *o)
{
    struct cuda_be *c = cuda_of(be);
    int st = opcheck_attn_decode(o);
    if (st != 0 || o->bv->n_rows == 0)
        return st;
    if (o->bv->max_new > 1)
        return cuda_attn_prefill(be, o);
    if (o->dt == DT_F32)
        return ST_UNSUPPORTED;
    int32_t group = o->n_heads / o->kv.n_kv_heads, n_rows = o->bv->n_rows;
    int32_t y_blocks = o->kv.n_kv_heads * ceil_div(group, LINES);
    if ((int64_t)y_blocks * n_rows > ARRIVED)
        return ST_UNSUPPORTED;
    int32_t n_chunks = most_chunks(c, o, y_blocks);
    float2 *norm = (float2 *)o->work;
    decode p = {.out = o->out,
                .q = o->q,
                .qkv_stride = o->qkv_stride,
                .n_heads = o->n_heads,
                .dt = o->dt,
                .layer = o->layer,
                .group = group,
                .least = least_of(o, n_chunks),
                .n_chunks = n_chunks,
                .scale_log2 = o->scale * 1.44269504f,
                .kv = o->kv,
                .rows = rows_of(o->bv),
                .arrived = c->arrived,
                .part = (float *)(norm + (size_t)n_rows * n_chunks * o->n_heads),
                .norm = norm};
    dim3 grid(n_chunks, y_blocks, n_rows);
    WITH_TYPE(o->kv.dt, return launch<T>(c, p, grid));
}
