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
 * Neither starts early nor lets the next kernel start early (common.cuh): blocks that arrive one by
 * one on multiprocessors that fall free crowd on a few of them, and a matrix product beside it
 * takes its cache; both were measured to cost up to 30 us a layer.
 */
#include "common.cuh"

namespace
{

enum { WARPS = 4, NT = WARPS * 32, STAGES = 3, LINES = 16 };

struct decode {
    void *out;
    const void *q;
    int32_t qkv_stride, n_heads, dt, layer, group, least, n_chunks; /* shortest, most chunks */
    float scale_log2;
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

/* Sixteen keys and their values into one stage of the warp, zero beyond the row and head_dim. */
template <class T, int DP>
__device__ __forceinline__ void fetch_run(uint32_t stage, const decode &p, int32_t page,
                                          int32_t key0, int32_t n_kv, int32_t head, int lane)
{
    constexpr int CH = DP / 8, LD = DP + 8;
    int32_t hd = p.kv.head_dim;
    const T *k = (const T *)p.kv.base;
    if (key0 < n_kv)
        k += kv_at(p.kv, page, p.layer, 0, head, key0 % p.kv.page_tokens);
    size_t side = (size_t)p.kv.page_tokens * hd * p.kv.n_kv_heads;
#pragma unroll
    for (int i = lane; i < 16 * CH; i += 32) {
        int row = i / CH, ch = i % CH;
        bool ok = key0 + row < n_kv && ch * 8 < hd;
        const T *src = ok ? k + row * hd + ch * 8 : (const T *)p.kv.base;
        uint32_t dst = stage + (row * LD + ch * 8) * 2;
        cp_async16(dst, src, ok);
        cp_async16(dst + 16 * LD * 2, ok ? src + side : src, ok);
    }
}

template <class T, int DP> struct warp_state {
    float o[DP / 8][4], top[2], sum[2];
};

/* Scores of 16 keys, softmax, product with the values: one run. */
template <class T, int DP>
__device__ __forceinline__ void attend_run(warp_state<T, DP> &w, const uint32_t (*q)[4],
                                           uint32_t stage, int32_t key0, int32_t n_kv, float scale,
                                           int lane)
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
    bool rescale = false;
    float shrink[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float best = w.top[h];
#pragma unroll
        for (int n = 0; n < 2; n++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                float x = s[n][2 * h + e] * scale;
                if (key0 + n * 8 + (lane & 3) * 2 + e >= n_kv)
                    x = -INFINITY;
                s[n][2 * h + e] = x;
                best = fmaxf(best, x);
            }
        best = fmaxf(best, __shfl_xor_sync(0xffffffffu, best, 1));
        best = fmaxf(best, __shfl_xor_sync(0xffffffffu, best, 2));
        shrink[h] = fast_exp2(w.top[h] - best);
        rescale |= best != w.top[h];
        w.top[h] = best;
        w.sum[h] *= shrink[h];
#pragma unroll
        for (int n = 0; n < 2; n++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                s[n][2 * h + e] = fast_exp2(s[n][2 * h + e] - best);
                w.sum[h] += s[n][2 * h + e];
            }
    }
    if (__any_sync(0xffffffffu, rescale)) {
#pragma unroll
        for (int n = 0; n < DP / 8; n++) {
            w.o[n][0] *= shrink[0], w.o[n][1] *= shrink[0];
            w.o[n][2] *= shrink[1], w.o[n][3] *= shrink[1];
        }
    }
    uint32_t a[4] = {pack2<T>(s[0][0], s[0][1]), pack2<T>(s[0][2], s[0][3]),
                     pack2<T>(s[1][0], s[1][1]), pack2<T>(s[1][2], s[1][3])};
#pragma unroll
    for (int n = 0; n < DP / 16; n++) {
        uint32_t b[4];
        ldmatrix4_trans(b, v_addr + n * 32);
        mma16816<T>(w.o[2 * n], a, b[0], b[1]);
        mma16816<T>(w.o[2 * n + 1], a, b[2], b[3]);
    }
}

/* All runs of the warp: `first`, first + WARPS, ... below `end`. */
template <class T, int DP>
__device__ __forceinline__ void
attend_chunk(warp_state<T, DP> &w, const uint32_t (*q)[4], uint32_t stages, const decode &p,
             const page_id *table, int32_t first, int32_t end, int32_t n_kv, int32_t head, int lane)
{
    constexpr int STAGE = 2 * 16 * (DP + 8) * 2;
    int32_t pt = p.kv.page_tokens, ahead = first;
#pragma unroll
    for (int i = 0; i < STAGES - 1; i++, ahead += WARPS) {
        if (ahead < end)
            fetch_run<T, DP>(stages + i * STAGE, p, table[ahead * 16 / pt], ahead * 16, n_kv, head,
                             lane);
        cp_async_commit();
    }
    int32_t page = ahead < end ? table[ahead * 16 / pt] : 0;
    int fill = STAGES - 1, use = 0;
    for (int32_t run = first; run < end; run += WARPS) {
        if (ahead < end)
            fetch_run<T, DP>(stages + fill * STAGE, p, page, ahead * 16, n_kv, head, lane);
        cp_async_commit();
        ahead += WARPS;
        if (ahead < end)
            page = table[ahead * 16 / pt];
        cp_async_wait<STAGES - 1>();
        __syncwarp();
        attend_run<T, DP>(w, q, stages + use * STAGE, run * 16, n_kv, p.scale_log2, lane);
        __syncwarp();
        fill = fill + 1 == STAGES ? 0 : fill + 1;
        use = use + 1 == STAGES ? 0 : use + 1;
    }
    cp_async_wait<0>();
}

/* Merge the chunks of one (row, KV head): called by the block that arrived last. `factor` has room
 * for MERGE chunks of LINES heads: the weight of each chunk, so that the sums below only load and
 * multiply, several chunks at a time. */
enum { MERGE = 128 };
__device__ void merge_chunks(const decode &p, int32_t row, int32_t tok, int32_t head0,
                             int32_t n_lines, int32_t n, float *factor, float *total, float *top)
{
    int32_t hd = p.kv.head_dim, lane = threadIdx.x & 31;
    size_t at = (size_t)row * p.n_chunks * p.n_heads + head0;
    for (int32_t l = threadIdx.x >> 5; l < n_lines; l += WARPS) {
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
    for (int32_t i = threadIdx.x; i < n_lines * hd; i += NT) {
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
        store_out(p.out, ((size_t)tok * p.n_heads + head0 + l) * hd + d, p.dt, x / total[l]);
    }
}

template <class T, int DP>
__global__ void __launch_bounds__(NT, DP <= 128 ? 2 : 1) decode_kernel(decode p)
{
    constexpr int LD = DP + 8, STAGE = 2 * 16 * LD * 2;
    extern __shared__ __align__(16) char smem[];
    __shared__ float s_top[WARPS][LINES], s_sum[WARPS][LINES];
    __shared__ int last;
    int32_t row = blockIdx.z, n_kv = p.rows.row_kv[row];
    int32_t chunk = chunk_of(p, n_kv), k0 = blockIdx.x * chunk;
    if (p.rows.row_new[row] == 0 || k0 >= n_kv)
        return;
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    int32_t blocks = (p.group + LINES - 1) / LINES, head = blockIdx.y / blocks;
    int32_t g0 = blockIdx.y % blocks * LINES, n_lines = min((int32_t)LINES, p.group - g0);
    int32_t hd = p.kv.head_dim, tok = p.rows.row_tok0[row], head0 = head * p.group + g0;
    int32_t end = (min(n_kv, k0 + chunk) + 15) / 16, used = (n_kv + chunk - 1) / chunk;
    const page_id *table = p.rows.page_table + (size_t)p.rows.row_slot[row] * p.rows.table_stride;

    T *sq = (T *)smem; /* the queries pass through the first stage */
    for (int i = threadIdx.x; i < LINES * (DP / 2); i += NT) {
        int l = i / (DP / 2), d = i % (DP / 2) * 2;
        uint32_t v = 0;
        if (l < n_lines && d < hd) {
            v = *(const uint32_t *)((const uint16_t *)p.q + (size_t)tok * p.qkv_stride +
                                    (size_t)(head0 + l) * hd + d);
            float2 f = p.dt == DT_BF16 ? unpack2<bf16>(v) : unpack2<f16>(v);
            v = pack2<T>(f.x, f.y);
        }
        *(uint32_t *)(sq + l * LD + d) = v;
    }
    __syncthreads();
    uint32_t q[DP / 16][4];
    uint32_t q_addr = smem_u32(sq) + ((lane & 15) * LD + (lane >> 4) * 8) * 2;
#pragma unroll
    for (int k = 0; k < DP / 16; k++)
        ldmatrix4(q[k], q_addr + k * 32);
    __syncthreads();

    warp_state<T, DP> w;
#pragma unroll
    for (int n = 0; n < DP / 8; n++)
        w.o[n][0] = w.o[n][1] = w.o[n][2] = w.o[n][3] = 0.0f;
    w.sum[0] = w.sum[1] = 0.0f;
    w.top[0] = w.top[1] = -1e30f; /* finite: a warp without keys must not make NaN */
    attend_chunk<T, DP>(w, q, smem_u32(smem) + warp * STAGES * STAGE, p, table, k0 / 16 + warp, end,
                        n_kv, head, lane);

    float *so = (float *)smem; /* [WARPS][LINES][DP] over the stages, which are drained */
    __syncthreads();
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
    __syncthreads();
    size_t at = ((size_t)row * p.n_chunks + blockIdx.x) * p.n_heads + head0;
    for (int i = threadIdx.x; i < n_lines * hd; i += NT) {
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
        if (used == 1) {
            store_out(p.out, ((size_t)tok * p.n_heads + head0 + l) * hd + d, p.dt, x / sum);
        } else {
            p.part[(at + l) * hd + d] = x;
            if (d == 0)
                p.norm[at + l] = make_float2(best, sum);
        }
    }
    if (used == 1)
        return;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        int32_t *n = &p.arrived[(size_t)row * gridDim.y + blockIdx.y];
        last = atomicAdd(n, 1) == used - 1;
        if (last)
            *n = 0;
    }
    __syncthreads();
    if (!last)
        return;
    __threadfence();
    merge_chunks(p, row, tok, head0, n_lines, used, so, s_sum[0], s_top[0]);
}

template <int DP> constexpr int smem_bytes()
{
    constexpr int stages = WARPS * STAGES * 2 * 16 * (DP + 8) * 2, merge = WARPS * LINES * DP * 4;
    return stages > merge ? stages : merge;
}

template <class T, int DP> int one(struct cuda_be *c, const decode *p, dim3 grid, bool setup)
{
    constexpr int bytes = smem_bytes<DP>();
    if (setup)
        return cudaFuncSetAttribute(decode_kernel<T, DP>,
                                    cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (bytes > c->smem_optin)
        return ST_UNSUPPORTED;
    decode_kernel<T, DP><<<grid, NT, bytes, c->stream>>>(*p);
    return cuda_launched(c, "attn_decode");
}

template <class T> int by_head(struct cuda_be *c, const decode *p, dim3 grid, bool setup)
{
    if (setup) { /* what a small card cannot hold is refused at launch */
        one<T, 64>(c, p, grid, true);
        one<T, 96>(c, p, grid, true);
        one<T, 128>(c, p, grid, true);
        one<T, 256>(c, p, grid, true);
        cudaGetLastError();
        return 0;
    }
    int hd = p->kv.head_dim;
    if (hd <= 64)
        return one<T, 64>(c, p, grid, false);
    if (hd <= 96)
        return one<T, 96>(c, p, grid, false);
    if (hd <= 128)
        return one<T, 128>(c, p, grid, false);
    return one<T, 256>(c, p, grid, false);
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
void cut(struct cuda_be *c, const struct op_attn *o, decode *p, int32_t y_blocks)
{
    int64_t kv = o->bv->max_kv > 0 ? o->bv->max_kv : 1, rows = o->bv->n_rows;
    int64_t groups = rows * y_blocks, wave = (int64_t)c->n_sms * (o->kv.head_dim <= 128 ? 2 : 1);
    int64_t waves = ceil_div(groups * ceil_div(kv, LONGEST), wave);
    int64_t slots = o->work ? (int64_t)(o->work_bytes / slot_bytes(o->n_heads, o->kv.head_dim)) : 0;
    int64_t n = waves * wave / groups, most = slots / rows, enough = ceil_div(kv, SHORTEST);
    n = n < enough ? n : enough;
    n = n < most ? n : most > 1 ? most : 1;
    int32_t half = ceil_div(kv, 2 * n);
    p->n_chunks = (int32_t)n;
    p->least = half > SHORTEST ? half : SHORTEST;
    p->arrived = c->arrived;
    p->norm = (float2 *)o->work;
    p->part = (float *)(p->norm + (size_t)rows * p->n_chunks * o->n_heads);
}

} // namespace

extern "C" void cuda_prefill_setup(void);

extern "C" int cuda_attn_setup(void)
{
    cuda_prefill_setup();
    int r = by_head<bf16>(NULL, NULL, dim3(), true);
    return r ? r : by_head<f16>(NULL, NULL, dim3(), true);
}

extern "C" size_t cuda_attn_work_bytes(int32_t max_rows, int32_t n_heads, int32_t head_dim)
{
    return (1024 + 2 * (size_t)max_rows) * slot_bytes(n_heads, head_dim);
}

extern "C" int cuda_attn_decode(struct be *be, const struct op_attn *o)
{
    int st = opcheck_attn_decode(o);
    if (st != 0 || o->bv->n_rows == 0)
        return st;
    if (o->bv->max_new > 1)
        return cuda_attn_prefill(be, o);
    if (o->dt == DT_F32)
        return ST_UNSUPPORTED;
    decode p = {o->out,
                o->q,
                o->qkv_stride,
                o->n_heads,
                o->dt,
                o->layer,
                o->n_heads / o->kv.n_kv_heads,
                0,
                0,
                o->scale * 1.44269504f,
                o->kv,
                rows_of(o->bv),
                NULL,
                NULL,
                NULL};
    int32_t y = o->kv.n_kv_heads * ceil_div(p.group, LINES);
    cut(cuda_of(be), o, &p, y);
    if ((int64_t)y * o->bv->n_rows > ARRIVED)
        return ST_UNSUPPORTED;
    dim3 grid(p.n_chunks, y, o->bv->n_rows);
    WITH_TYPE(o->kv.dt, return by_head<T>(cuda_of(be), &p, grid, false));
}
