/* SPDX-License-Identifier: Apache-2.0 */
/* rope.c - op_rope_kv_write: optional per-head norm of q and k, rotation, k and v into the pool. */
#include "cpu.h"

#include <math.h>

struct rope {
    const struct op_rope_kv_write *o;
    const struct vec_fns *vec;
};

struct angles {
    float cos[CPU_MAX_HEAD / 2], sin[CPU_MAX_HEAD / 2];
};

static void head_norm(float *x, const float *w, int32_t n, float eps)
{
    double sum = 0;
    for (int32_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    float scale = (float)(1.0 / sqrt(sum / n + (double)eps));
    for (int32_t i = 0; i < n; i++)
        x[i] = x[i] * scale * w[i];
}

/* Pairs (i, i + half); the angle is rounded to f32 like the reference does it. */
static void rotate(float *x, const struct angles *a, int32_t half)
{
    for (int32_t i = 0; i < half; i++) {
        float lo = x[i], hi = x[i + half];
        x[i] = lo * a->cos[i] - hi * a->sin[i];
        x[i + half] = hi * a->cos[i] + lo * a->sin[i];
    }
}

static void rope_token(const struct rope *r, int32_t t)
{
    const struct op_rope_kv_write *o = r->o;
    const struct batch *bv = o->bv;
    const struct kv_pool_view *kv = &o->kv;
    int32_t row = bv->tok_row[t], hd = kv->head_dim, half = hd / 2, pos = bv->pos[t];
    if (row < 0)
        return;
    struct angles a;
    for (int32_t i = 0; i < half; i++) {
        float angle = (float)pos * o->inv_freq[i];
        a.cos[i] = cosf(angle) * o->attn_factor;
        a.sin[i] = sinf(angle) * o->attn_factor;
    }
    page_id page = bv->page_table[(size_t)bv->row_slot[row] * (size_t)bv->table_stride +
                                  (size_t)(pos / kv->page_tokens)];
    int32_t n_all = o->n_heads + 2 * kv->n_kv_heads;
    for (int32_t h = 0; h < n_all; h++) {
        size_t at = ((size_t)t * (size_t)n_all + (size_t)h) * (size_t)hd;
        int is_q = h < o->n_heads, is_v = h >= o->n_heads + kv->n_kv_heads;
        float x[CPU_MAX_HEAD];
        r->vec->load(x, dt_at(o->qkv, o->dt, at), o->dt, (size_t)hd);
        if (!is_v && o->q_norm)
            head_norm(x, is_q ? o->q_norm : o->k_norm, hd, o->eps);
        if (!is_v)
            rotate(x, &a, half);
        if (is_q) {
            r->vec->store(dt_at_mut(o->qkv, o->dt, at), x, o->dt, (size_t)hd);
            continue;
        }
        int32_t kv_head = (h - o->n_heads) % kv->n_kv_heads;
        size_t to = kv_offset(kv, page, o->layer, is_v, kv_head, pos % kv->page_tokens);
        r->vec->store(dt_at_mut(kv->base, kv->dt, to), x, kv->dt, (size_t)hd);
    }
}

static void rope_tokens(void *arg, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    for (int64_t t = begin; t < end; t++)
        rope_token(arg, (int32_t)t);
}

int cpu_rope_kv_write(struct be *be, const struct op_rope_kv_write *o)
{
    int st = opcheck_rope_kv_write(o);
    if (st != 0)
        return st;
    struct rope r = {o, cpu_of(be)->vec};
    int64_t n = (o->n_heads + (int64_t)2 * o->kv.n_kv_heads) * o->kv.head_dim;
    cpu_pool_run(cpu_of(be)->pool, o->bv->n_tokens, cpu_row_grain(4 * n), rope_tokens, &r);
    return 0;
}
