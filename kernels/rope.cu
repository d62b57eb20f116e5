/* SPDX-License-Identifier: Apache-2.0 */
/* rope.cu - op_rope_kv_write: optional per-head RMS norm of q and k, rotation, KV into the pool.
 *
 * A warp works on whole heads of one token; a lane owns pairs (i, i + half), and its angles are
 * computed once for all heads of its warp. The angle is rounded to f32 as in the reference.
 */
#include "common.cuh"

namespace
{

enum { WARPS = 4, PAIRS = 4 }; /* head_dim 256: 128 pairs on 32 lanes */

/* The arguments of op_rope_kv_write and what it needs of the batch. */
struct rope {
    void *qkv;
    const float *q_norm, *k_norm;
    const float *inv_freq;
    float attn_factor, eps;
    int32_t n_heads, layer;
    kv_pool_view kv;
    const int32_t *pos, *tok_row, *row_slot, *page_table;
    int32_t table_stride;
};

/* A lane's pairs of a head times the norm's weights. */
__device__ void norm_head(float *lo, float *hi, const float *w, int lane, int half)
{
#pragma unroll
    for (int k = 0; k < PAIRS; k++)
        if (lane + 32 * k < half) {
            lo[k] *= w[lane + 32 * k];
            hi[k] *= w[lane + 32 * k + half];
        }
}

/* One head at x, normalised if norm is given, rotated if turn, to `to`: x itself or the pool. */
template <class T, class K>
__device__ void one_head(const rope &r, T *x, K *to, const float *norm, const float *cs,
                         const float *sn, bool turn, int lane)
{
    int hd = r.kv.head_dim, half = hd / 2;
    float lo[PAIRS], hi[PAIRS], sum = 0.0f;
#pragma unroll
    for (int k = 0; k < PAIRS; k++) {
        int i = lane + 32 * k;
        lo[k] = i < half ? to_f32(x[i]) : 0.0f;
        hi[k] = i < half ? to_f32(x[i + half]) : 0.0f;
        sum += lo[k] * lo[k] + hi[k] * hi[k];
    }
    if (norm) {
        float scale = 1.0f / sqrtf(warp_sum(sum) / (float)hd + r.eps);
#pragma unroll
        for (int k = 0; k < PAIRS; k++)
            lo[k] *= scale, hi[k] *= scale;
        norm_head(lo, hi, norm, lane, half);
    }
#pragma unroll
    for (int k = 0; k < PAIRS; k++) {
        int i = lane + 32 * k;
        if (i >= half)
            break;
        float a = lo[k], b = hi[k];
        if (turn) {
            float t = a * cs[k] - b * sn[k];
            b = b * cs[k] + a * sn[k];
            a = t;
        }
        to[i] = from_f32<K>(a);
        to[i + half] = from_f32<K>(b);
    }
}

template <class T, class K> __global__ void rope_kernel(rope r)
{
    let_next_start();
    wait_for_previous();
    int t = blockIdx.x, lane = threadIdx.x & 31, row = r.tok_row[t];
    if (row < 0)
        return;
    int hd = r.kv.head_dim, half = hd / 2, n_kv = r.kv.n_kv_heads, pos = r.pos[t];
    int n_all = r.n_heads + 2 * n_kv, page_tokens = r.kv.page_tokens;
    int page = r.page_table[(size_t)r.row_slot[row] * r.table_stride + pos / page_tokens];
    float cs[PAIRS], sn[PAIRS];
#pragma unroll
    for (int k = 0; k < PAIRS; k++) {
        int i = lane + 32 * k;
        sincosf(i < half ? (float)pos * r.inv_freq[i] : 0.0f, &sn[k], &cs[k]);
        sn[k] *= r.attn_factor;
        cs[k] *= r.attn_factor;
    }
    for (int h = blockIdx.y * WARPS + (threadIdx.x >> 5); h < n_all; h += gridDim.y * WARPS) {
        T *x = (T *)r.qkv + ((size_t)t * n_all + h) * hd;
        if (h < r.n_heads) {
            one_head<T, T>(r, x, x, r.q_norm, cs, sn, true, lane);
            continue;
        }
        int which = h >= r.n_heads + n_kv, head = (h - r.n_heads) % n_kv;
        K *to = (K *)r.kv.base + kv_at(r.kv, page, r.layer, which, head, pos % page_tokens);
        one_head<T, K>(r, x, to, which ? NULL : r.k_norm, cs, sn, !which, lane);
    }
}

template <class T> int launch(struct cuda_be *c, const rope &r, dim3 grid)
{
    if (r.kv.dt == DT_BF16)
        launch_early(c, rope_kernel<T, bf16>, grid, WARPS * 32, 0, r);
    else if (r.kv.dt == DT_F16)
        launch_early(c, rope_kernel<T, f16>, grid, WARPS * 32, 0, r);
    else
        return ST_UNSUPPORTED;
    return cuda_launched(c, "rope_kv_write");
}

} // namespace

extern "C" int cuda_rope_kv_write(struct be *be, const struct op_rope_kv_write *o)
{
    struct cuda_be *c = cuda_of(be);
    int st = opcheck_rope_kv_write(o);
    if (st != 0 || o->bv->n_tokens == 0)
        return st;
    const struct batch *b = o->bv;
    rope r = {.qkv = o->qkv,
              .q_norm = o->q_norm,
              .k_norm = o->k_norm,
              .inv_freq = o->inv_freq,
              .attn_factor = o->attn_factor,
              .eps = o->eps,
              .n_heads = o->n_heads,
              .layer = o->layer,
              .kv = o->kv,
              .pos = b->pos,
              .tok_row = b->tok_row,
              .row_slot = b->row_slot,
              .page_table = b->page_table,
              .table_stride = b->table_stride};
    /* about 16 blocks for each multiprocessor: with many tokens a block takes several heads */
    int groups = ceil_div(o->n_heads + 2 * o->kv.n_kv_heads, WARPS);
    int share = ceil_div((int64_t)groups * b->n_tokens, (int64_t)c->n_sms * 16);
    dim3 grid(b->n_tokens, ceil_div(groups, share < groups ? share : groups));
    WITH_TYPE(o->dt, return launch<T>(c, r, grid));
}
