/* SPDX-License-Identifier: Apache-2.0 */
/* attn.c - op_attn_prefill and op_attn_decode: causal attention over paged KV, one body for both.
 *
 * A "line" is one query head of one new token; the lines of a row that share a KV head stand one
 * after the other (token by token) and are cut into blocks of MAX_LINES. A block walks the row's KV
 * in tiles of TILE tokens that start at multiples of TILE in the sequence, with the online softmax:
 *
 *     s = q k^T    m' = max(m, max s)    p = exp(s - m')    l = l e^(m-m') + sum p
 *     o = o e^(m-m') + p v               out = o / l
 *
 * Every tile is computed at its full size with zeros where there is no key, so the result of a line
 * is a function of its query and the keys up to its position alone: neither its block, nor the
 * chunk its token came in, nor the op (prefill or decode) can change a bit.
 */
#include "cpu.h"

#include <math.h>
#include <string.h>

enum { TILE = 64, MAX_LINES = 96 };

struct attn {
    const struct op_attn *o;
    struct cpu_be *c;
    int32_t group;               /* query heads per KV head */
    int32_t first[MAX_ROWS + 1]; /* first block of each row, per KV head */
};

/* One block's state, in the worker's scratch. */
struct block {
    float *q;     /* [lines, head_dim], scaled */
    float *o;     /* [lines, head_dim] */
    float *s;     /* [lines, TILE] */
    float *kt;    /* [head_dim, TILE] */
    float *v;     /* [TILE, head_dim] */
    float *m, *l; /* [lines] */
    int32_t row, kv_head, line0, n_lines;
    int32_t pos0; /* position of the row's first new token */
};

size_t cpu_attn_scratch(void)
{
    return (size_t)2 * MAX_LINES * CPU_MAX_HEAD + (size_t)MAX_LINES * TILE +
           (size_t)2 * TILE * CPU_MAX_HEAD + (size_t)2 * MAX_LINES;
}

static int32_t line_token(const struct attn *a, const struct block *b, int32_t i)
{
    return (b->line0 + i) / a->group;
}

static size_t line_head(const struct attn *a, const struct block *b, int32_t i)
{
    return (size_t)b->kv_head * (size_t)a->group + (size_t)((b->line0 + i) % a->group);
}

static void open_block(const struct attn *a, struct block *b, float *scratch)
{
    const struct op_attn *o = a->o;
    size_t hd = (size_t)o->kv.head_dim;
    b->q = scratch;
    b->o = b->q + MAX_LINES * hd;
    b->s = b->o + MAX_LINES * hd;
    b->kt = b->s + (size_t)MAX_LINES * TILE;
    b->v = b->kt + TILE * hd;
    b->m = b->v + TILE * hd;
    b->l = b->m + MAX_LINES;
    memset(b->o, 0, (size_t)b->n_lines * hd * sizeof *b->o);
    for (int32_t i = 0; i < b->n_lines; i++) {
        size_t tok = (size_t)(o->bv->row_tok0[b->row] + line_token(a, b, i));
        float *q = b->q + (size_t)i * hd;
        a->c->vec->load(q,
                        dt_at(o->q, o->dt, tok * (size_t)o->qkv_stride + line_head(a, b, i) * hd),
                        o->dt, hd);
        for (size_t d = 0; d < hd; d++)
            q[d] *= o->scale;
        b->m[i] = -INFINITY;
        b->l[i] = 0.0f;
    }
}

/* Keys (transposed) and values of [tile0, tile0 + n), then zeros. */
static void load_tile(const struct attn *a, struct block *b, int32_t tile0, int32_t n)
{
    const struct op_attn *o = a->o;
    const struct kv_pool_view *kv = &o->kv;
    const struct vec_fns *vec = a->c->vec;
    size_t hd = (size_t)kv->head_dim;
    const page_id *table = o->bv->page_table +
                           (size_t)o->bv->row_slot[b->row] * (size_t)o->bv->table_stride;
    for (int32_t t = 0; t < n;) {
        int32_t in_page = (tile0 + t) % kv->page_tokens;
        int32_t run = kv->page_tokens - in_page < n - t ? kv->page_tokens - in_page : n - t;
        page_id page = table[(tile0 + t) / kv->page_tokens];
        const void *k = dt_at(kv->base, kv->dt,
                              kv_offset(kv, page, o->layer, 0, b->kv_head, in_page));
        const void *v = dt_at(kv->base, kv->dt,
                              kv_offset(kv, page, o->layer, 1, b->kv_head, in_page));
        vec->load(b->v + (size_t)t * hd, v, kv->dt, (size_t)run * hd);
        for (int32_t i = 0; i < run; i++) {
            float line[CPU_MAX_HEAD];
            vec->load(line, dt_at(k, kv->dt, (size_t)i * hd), kv->dt, hd);
            for (size_t d = 0; d < hd; d++)
                b->kt[d * TILE + (size_t)(t + i)] = line[d];
        }
        t += run;
    }
    if (n < TILE) {
        memset(b->v + (size_t)n * hd, 0, (size_t)(TILE - n) * hd * sizeof *b->v);
        for (size_t d = 0; d < hd; d++)
            memset(b->kt + d * TILE + n, 0, (size_t)(TILE - n) * sizeof *b->kt);
    }
}

static float max_of(const float *s, int32_t n)
{
    float lane[16];
    for (int j = 0; j < 16; j++)
        lane[j] = -INFINITY;
    int32_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int j = 0; j < 16; j++)
            lane[j] = s[i + j] > lane[j] ? s[i + j] : lane[j];
    for (int j = 0; i + j < n; j++)
        lane[j] = s[i + j] > lane[j] ? s[i + j] : lane[j];
    float m = lane[0];
    for (int j = 1; j < 16; j++)
        m = lane[j] > m ? lane[j] : m;
    return m;
}

/* Scores of line i to weights; what the line has summed up so far is scaled to the new maximum. */
static void soften(const struct attn *a, struct block *b, int32_t i, int32_t n_valid)
{
    float *s = b->s + (size_t)i * TILE;
    float m = max_of(s, n_valid);
    if (!(m > b->m[i]))
        m = b->m[i];
    float sum = a->c->vec->exp_tile(s, n_valid, TILE, m);
    if (m != b->m[i]) {
        float shrink = expf(b->m[i] - m); /* 0 for the first tile */
        float *o = b->o + (size_t)i * (size_t)a->o->kv.head_dim;
        b->l[i] *= shrink;
        for (int32_t d = 0; d < a->o->kv.head_dim; d++)
            o[d] *= shrink;
        b->m[i] = m;
    }
    b->l[i] += sum;
}

static void attend_tile(const struct attn *a, struct block *b, int32_t tile0, int32_t n_keys)
{
    ptrdiff_t hd = a->o->kv.head_dim;
    /* lines before `from` stand before this tile and must not be touched by it */
    int32_t from = tile0 > b->pos0 ? (tile0 - b->pos0) * a->group - b->line0 : 0;
    if (from < 0)
        from = 0;
    load_tile(a, b, tile0, n_keys);
    a->c->vec->tile(b->s + (ptrdiff_t)from * TILE, TILE, b->q + from * hd, hd, b->kt, TILE, (int)hd,
                    b->n_lines - from, TILE, DT_F32, 0);
    for (int32_t i = from; i < b->n_lines; i++) {
        int32_t n_valid = b->pos0 + line_token(a, b, i) + 1 - tile0;
        soften(a, b, i, n_valid < TILE ? n_valid : TILE);
    }
    a->c->vec->tile(b->o + from * hd, hd, b->s + (ptrdiff_t)from * TILE, TILE, b->v, hd, TILE,
                    b->n_lines - from, (int)hd, DT_F32, 1);
}

static void close_block(const struct attn *a, struct block *b)
{
    const struct op_attn *o = a->o;
    size_t hd = (size_t)o->kv.head_dim;
    for (int32_t i = 0; i < b->n_lines; i++) {
        float *from = b->o + (size_t)i * hd;
        size_t tok = (size_t)(o->bv->row_tok0[b->row] + line_token(a, b, i));
        for (size_t d = 0; d < hd; d++)
            from[d] /= b->l[i];
        a->c->vec->store(
            dt_at_mut(o->out, o->dt, (tok * (size_t)o->n_heads + line_head(a, b, i)) * hd), from,
            o->dt, hd);
    }
}

static void attend_block(const struct attn *a, int32_t index, int32_t kv_head, float *scratch)
{
    const struct batch *bv = a->o->bv;
    int32_t lo = 0, hi = bv->n_rows - 1;
    while (lo < hi) { /* last row whose first block is <= index */
        int32_t mid = (lo + hi + 1) / 2;
        if (a->first[mid] <= index)
            lo = mid;
        else
            hi = mid - 1;
    }
    struct block b = {.row = lo, .kv_head = kv_head, .line0 = (index - a->first[lo]) * MAX_LINES};
    int32_t lines = bv->row_new[lo] * a->group - b.line0;
    b.n_lines = lines < MAX_LINES ? lines : MAX_LINES;
    b.pos0 = bv->row_kv[lo] - bv->row_new[lo];
    open_block(a, &b, scratch);
    int32_t end = b.pos0 + line_token(a, &b, b.n_lines - 1) + 1;
    for (int32_t t = 0; t < end; t += TILE)
        attend_tile(a, &b, t, end - t < TILE ? end - t : TILE);
    close_block(a, &b);
}

static void attend_items(void *arg, int64_t begin, int64_t end, int worker)
{
    const struct attn *a = arg;
    int32_t n_blocks = a->first[a->o->bv->n_rows];
    for (int64_t i = begin; i < end; i++)
        attend_block(a, (int32_t)(i % n_blocks), (int32_t)(i / n_blocks),
                     cpu_scratch(a->c, worker));
}

static int attention(struct be *be, const struct op_attn *o)
{
    int st = opcheck_attn_prefill(o);
    if (st != 0)
        return st;
    const struct batch *bv = o->bv;
    struct attn a = {.o = o, .c = cpu_of(be), .group = o->n_heads / o->kv.n_kv_heads};
    for (int32_t i = 0; i < bv->n_rows; i++)
        a.first[i + 1] = a.first[i] + (bv->row_new[i] * a.group + MAX_LINES - 1) / MAX_LINES;
    int64_t work = (int64_t)o->n_heads * bv->n_tokens * bv->max_kv * o->kv.head_dim;
    int64_t items = (int64_t)a.first[bv->n_rows] * o->kv.n_kv_heads;
    cpu_pool_run(a.c->pool, items, work < CPU_GRAIN ? items : 1, attend_items, &a);
    return 0;
}

int cpu_attn_prefill(struct be *be, const struct op_attn *o)
{
    return attention(be, o);
}

int cpu_attn_decode(struct be *be, const struct op_attn *o)
{
    return attention(be, o);
}
