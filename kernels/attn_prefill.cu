/* attn_prefill.cu - op_attn_prefill: causal attention of many new tokens over paged KV, on tensor
 * cores (mma.sync), with the online softmax.
 *
 * A "line" is one query head of one new token. The lines of a row that share a KV head stand one
 * after the other, token by token, and are cut into tiles of Br; a block owns one tile of one KV
 * head, so a key is fetched once for all heads of its group. Keys come in tiles of 64, of which the
 * page table is asked once per 16 (page_tokens is a multiple of 16). Tile j + 1 is fetched while j
 * is computed. Keys beyond a row's length
 * are read as zeros: what an abandoned page holds cannot reach a result.
 */
#include "common.cuh"

#include <type_traits>

namespace
{

enum { Bc = 64, GROUPS = Bc / 16 };

struct prefill {
    void *out;
    const void *q;
    int32_t qkv_stride, n_heads, dt, layer, group;
    float scale_log2;
    kv_pool_view kv;
    rows_view rows;
};

/* Which tile of which row a block works on; the last tiles, the longest, come first. */
struct place {
    int32_t row, tile;
};

__device__ place find_tile(const rows_view &rows, int32_t group, int32_t br)
{
    __shared__ place found;
    if (threadIdx.x < 32) {
        int32_t total = 0;
        for (int32_t r = threadIdx.x; r < rows.n_rows; r += 32)
            total += (rows.row_new[r] * group + br - 1) / br;
        total = warp_sum(total);
        int32_t want = total - 1 - (int32_t)blockIdx.x, before = 0;
        if (threadIdx.x == 0)
            found.row = -1;
        __syncwarp();
        for (int32_t r0 = 0; want >= 0 && r0 < rows.n_rows; r0 += 32) {
            int32_t r = r0 + threadIdx.x;
            int32_t mine = r < rows.n_rows ? (rows.row_new[r] * group + br - 1) / br : 0,
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

/* The first keys of the four groups of a tile, as element offsets of K; -1 beyond the row. */
__device__ int64_t group_offset(const prefill &p, const page_id *table, int32_t key, int32_t n_kv,
                                int32_t head)
{
    if (key >= n_kv)
        return -1;
    int32_t page = table[key / p.kv.page_tokens];
    return (int64_t)kv_at(p.kv, page, p.layer, 0, head, key % p.kv.page_tokens);
}

/* One tile of 64 keys and their values into a stage, zero beyond the row and beyond head_dim. */
template <class T, int DP, int NT>
__device__ __forceinline__ void fetch_tile(uint32_t dst, const T *base, const int64_t *offset,
                                           int64_t side, int32_t key0, int32_t n_kv, int32_t hd)
{
    constexpr int CH = DP / 8;
#pragma unroll
    for (int i = threadIdx.x; i < Bc * CH; i += NT) {
        int row = i / CH, ch = i % CH;
        bool ok = key0 + row < n_kv && ch * 8 < hd;
        const T *src = ok ? base + offset[row >> 4] + (row & 15) * hd + ch * 8 : base;
        uint32_t to = dst + (row * (DP + 8) + ch * 8) * 2;
        cp_async16(to, src, ok);
        cp_async16(to + Bc * (DP + 8) * 2, ok ? src + side : src, ok);
    }
}

/* Eight activations, of type dt, as the type of the pool. */
template <class T> __device__ __forceinline__ uint4 load_q(const void *q, size_t at, int32_t dt)
{
    uint4 v = *(const uint4 *)((const uint16_t *)q + at);
    bool same = (dt == DT_BF16) == std::is_same<T, bf16>::value;
    if (same)
        return v;
    float x[8];
    if (dt == DT_BF16)
        load8((const bf16 *)&v, x);
    else
        load8((const f16 *)&v, x);
    uint4 w;
    store8((T *)&w, x);
    return w;
}

__device__ __forceinline__ void store_out2(void *out, size_t at, int32_t dt, float a, float b)
{
    *(uint32_t *)((uint16_t *)out + at) = dt == DT_BF16 ? pack2<bf16>(a, b) : pack2<f16>(a, b);
}

template <class T, int DP, int MT, int NW>
__global__ void __launch_bounds__(NW * 32, DP <= 128 ? 2 : 1) prefill_kernel(prefill p)
{
    constexpr int NT = NW * 32, Br = 16 * MT * NW, LD = DP + 8;
    extern __shared__ __align__(16) char smem[];
    __shared__ int64_t offset[2][GROUPS];
    constexpr uint32_t STAGE = 2 * Bc * LD * 2; /* bytes of K and V of one tile */
    T *sq = (T *)smem;
    uint32_t uq = smem_u32(sq), uk = uq + Br * LD * 2, uv = uk + Bc * LD * 2;
    place at = find_tile(p.rows, p.group, Br);
    if (at.row < 0)
        return;
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, head = blockIdx.y;
    int32_t hd = p.kv.head_dim, group = p.group, n_new = p.rows.row_new[at.row],
            n_kv = p.rows.row_kv[at.row], pos0 = n_kv - n_new, line0 = at.tile * Br,
            n_lines = min(Br, n_new * group - line0), tok0 = p.rows.row_tok0[at.row];
    const page_id *table = p.rows.page_table +
                           (size_t)p.rows.row_slot[at.row] * p.rows.table_stride;
    const T *base = (const T *)p.kv.base;
    int64_t side = (int64_t)p.kv.page_tokens * hd * p.kv.n_kv_heads;
    int32_t first_pos = pos0 + line0 / group,
            n_tiles = (pos0 + (line0 + n_lines - 1) / group) / Bc + 1;

    if (threadIdx.x < 2 * GROUPS)
        offset[threadIdx.x / GROUPS][threadIdx.x % GROUPS] = group_offset(
            p, table, threadIdx.x * 16, n_kv, head);
    __syncthreads();
    fetch_tile<T, DP, NT>(uk, base, offset[0], side, 0, n_kv, hd);
    cp_async_commit();
    for (int i = threadIdx.x; i < Br * (DP / 8); i += NT) {
        int l = i / (DP / 8), ch = i % (DP / 8);
        uint4 v = make_uint4(0, 0, 0, 0);
        if (l < n_lines && ch * 8 < hd) {
            int32_t t = (line0 + l) / group, g = (line0 + l) % group;
            v = load_q<T>(
                p.q, (size_t)(tok0 + t) * p.qkv_stride + (size_t)(head * group + g) * hd + ch * 8,
                p.dt);
        }
        *(uint4 *)(sq + l * LD + ch * 8) = v;
    }

    /* position of the lines of this thread: two per m16 tile */
    int32_t limit[MT][2];
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int32_t l = (warp * MT + m) * 16 + h * 8 + lane / 4;
            limit[m][h] = pos0 + (line0 + min(l, n_lines - 1)) / group;
        }
    float o[MT][DP / 8][4], top[MT][2], sum[MT][2];
#pragma unroll
    for (int m = 0; m < MT; m++) {
        top[m][0] = top[m][1] = -INFINITY;
        sum[m][0] = sum[m][1] = 0.0f;
#pragma unroll
        for (int n = 0; n < DP / 8; n++)
            o[m][n][0] = o[m][n][1] = o[m][n][2] = o[m][n][3] = 0.0f;
    }
    uint32_t q_addr = uq + ((warp * MT * 16 + (lane & 15)) * LD + (lane >> 4) * 8) * 2;
    uint32_t k_addr = uk + (((lane & 7) + ((lane >> 4) << 3)) * LD + ((lane >> 3) & 1) * 8) * 2;
    uint32_t v_addr = uv + ((lane & 15) * LD + (lane >> 4) * 8) * 2;

    for (int32_t j = 0; j < n_tiles; j++) {
        __syncthreads(); /* the other stage is free, the offsets of j + 1 are there */
        if (j + 1 < n_tiles)
            fetch_tile<T, DP, NT>(uk + ((j + 1) & 1) * STAGE, base, offset[(j + 1) & 1], side,
                                  (j + 1) * Bc, n_kv, hd);
        cp_async_commit();
        int64_t next = -1;
        if (threadIdx.x < GROUPS && j + 2 < n_tiles)
            next = group_offset(p, table, (j + 2) * Bc + threadIdx.x * 16, n_kv, head);
        cp_async_wait<1>();
        __syncthreads();
        uint32_t in_stage = (j & 1) * STAGE;

        float s[MT][Bc / 8][4];
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
                ldmatrix4(b, k_addr + in_stage + (n * 16 * LD + k * 16) * 2);
#pragma unroll
                for (int m = 0; m < MT; m++) {
                    mma16816<T>(s[m][2 * n], a[m], b[0], b[1]);
                    mma16816<T>(s[m][2 * n + 1], a[m], b[2], b[3]);
                }
            }
        }
        if (threadIdx.x < GROUPS)
            offset[j & 1][threadIdx.x] = next;

        bool masked = (j + 1) * Bc - 1 > first_pos;
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                float best = top[m][h];
#pragma unroll
                for (int n = 0; n < Bc / 8; n++)
#pragma unroll
                    for (int e = 0; e < 2; e++) {
                        float x = s[m][n][2 * h + e] * p.scale_log2;
                        if (masked && j * Bc + n * 8 + (lane & 3) * 2 + e > limit[m][h])
                            x = -INFINITY;
                        s[m][n][2 * h + e] = x;
                        best = fmaxf(best, x);
                    }
                best = fmaxf(best, __shfl_xor_sync(0xffffffffu, best, 1));
                best = fmaxf(best, __shfl_xor_sync(0xffffffffu, best, 2));
                float shrink = fast_exp2(top[m][h] - best), part = 0.0f;
                top[m][h] = best;
#pragma unroll
                for (int n = 0; n < Bc / 8; n++)
#pragma unroll
                    for (int e = 0; e < 2; e++) {
                        float w = fast_exp2(s[m][n][2 * h + e] - best);
                        s[m][n][2 * h + e] = w;
                        part += w;
                    }
                sum[m][h] = sum[m][h] * shrink + part;
#pragma unroll
                for (int n = 0; n < DP / 8; n++) {
                    o[m][n][2 * h] *= shrink;
                    o[m][n][2 * h + 1] *= shrink;
                }
            }
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
                ldmatrix4_trans(b, v_addr + in_stage + (k * 16 * LD + n * 16) * 2);
#pragma unroll
                for (int m = 0; m < MT; m++) {
                    mma16816<T>(o[m][2 * n], a[m], b[0], b[1]);
                    mma16816<T>(o[m][2 * n + 1], a[m], b[2], b[3]);
                }
            }
        }
    }

#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float l = sum[m][h];
            l += __shfl_xor_sync(0xffffffffu, l, 1);
            l += __shfl_xor_sync(0xffffffffu, l, 2);
            float inv = 1.0f / l;
            int32_t line = (warp * MT + m) * 16 + h * 8 + lane / 4;
            if (line >= n_lines)
                continue;
            int32_t t = (line0 + line) / group, g = (line0 + line) % group;
            size_t to = ((size_t)(tok0 + t) * p.n_heads + head * group + g) * hd;
#pragma unroll
            for (int n = 0; n < DP / 8; n++)
                if (n * 8 < hd)
                    store_out2(p.out, to + n * 8 + (lane & 3) * 2, p.dt, o[m][n][2 * h] * inv,
                               o[m][n][2 * h + 1] * inv);
        }
}

template <int DP, int MT, int NW> constexpr int smem_bytes()
{
    return (16 * MT * NW + 4 * Bc) * (DP + 8) * 2;
}

/* Set the shared memory limit (setup) or launch. */
template <class T, int DP, int MT, int NW>
int one(struct cuda_be *c, const prefill *p, int32_t n_tokens, bool setup)
{
    constexpr int bytes = smem_bytes<DP, MT, NW>(), br = 16 * MT * NW;
    if (setup)
        return cudaFuncSetAttribute(prefill_kernel<T, DP, MT, NW>,
                                    cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (bytes > c->smem_optin)
        return ST_UNSUPPORTED;
    dim3 grid(ceil_div((int64_t)n_tokens * p->group, br) + p->rows.n_rows, p->kv.n_kv_heads);
    prefill_kernel<T, DP, MT, NW><<<grid, NW * 32, bytes, c->stream>>>(*p);
    return cuda_launched(c, "attn_prefill");
}

template <class T> int by_head(struct cuda_be *c, const prefill *p, int32_t n_tokens, bool setup)
{
    int hd = setup ? 0 : p->kv.head_dim;
    if (setup) { /* what a small card cannot hold is refused at launch */
        one<T, 64, 1, 8>(c, p, 0, true);
        one<T, 96, 1, 8>(c, p, 0, true);
        one<T, 128, 1, 8>(c, p, 0, true);
        one<T, 256, 1, 8>(c, p, 0, true);
        cudaGetLastError();
        return 0;
    }
    if (hd <= 64)
        return one<T, 64, 1, 8>(c, p, n_tokens, false);
    if (hd <= 96)
        return one<T, 96, 1, 8>(c, p, n_tokens, false);
    if (hd <= 128)
        return one<T, 128, 1, 8>(c, p, n_tokens, false);
    return one<T, 256, 1, 8>(c, p, n_tokens, false);
}

} // namespace

extern "C" int cuda_prefill_setup(void)
{
    int r = by_head<bf16>(NULL, NULL, 0, true);
    return r ? r : by_head<f16>(NULL, NULL, 0, true);
}

extern "C" int cuda_attn_prefill(struct be *be, const struct op_attn *o)
{
    int st = opcheck_attn_prefill(o);
    if (st != 0 || o->bv->n_tokens == 0 || o->bv->n_rows == 0)
        return st;
    if (o->dt == DT_F32)
        return ST_UNSUPPORTED;
    prefill p = {o->out,
                 o->q,
                 o->qkv_stride,
                 o->n_heads,
                 o->dt,
                 o->layer,
                 o->n_heads / o->kv.n_kv_heads,
                 o->scale * 1.44269504f,
                 o->kv,
                 rows_of(o->bv)};
    WITH_TYPE(o->kv.dt, return by_head<T>(cuda_of(be), &p, o->bv->n_tokens, false));
}
