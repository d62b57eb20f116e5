/* SPDX-License-Identifier: Apache-2.0 */
/* op_cases_make.c - random cases, one maker per op; those of sampling are in op_cases_draw.c.
 * Shapes are odd on purpose. See op_cases.h. */
#include "op_cases_maker.h"

#include "backend/calls.h"
#include "mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int add_buf(struct maker *m, const char *name, int32_t role, int32_t dt, size_t n)
{
    struct op_case *c = m->c;
    struct case_buf *b = &c->buf[c->n_bufs];
    *b = (struct case_buf){.name = name, .n = n, .dt = dt, .role = role};
    if (role != CASE_OUT && role != CASE_WORK)
        b->data = xcalloc2(n ? n : 1, dt == CASE_RAW ? 1 : 4);
    return c->n_bufs++;
}

static void point(struct maker *m, size_t at, int buf)
{
    m->c->ref[m->c->n_refs].at = at;
    m->c->ref[m->c->n_refs++].buf = buf;
}

int maker_add(struct maker *m, size_t at, const char *name, int32_t role, int32_t dt, size_t n)
{
    int i = add_buf(m, name, role, dt, n);
    point(m, at, i);
    return i;
}

/* Random numbers about N(0, scale). */
int maker_add_random(struct maker *m, size_t at, const char *name, int32_t role, int32_t dt,
                     size_t n, float scale)
{
    int i = maker_add(m, at, name, role, dt, n);
    for (size_t k = 0; k < n; k++)
        case_set(m->c->buf[i].data, dt, k, (double)(rng_normal(&m->rng) * scale));
    return i;
}

int32_t *maker_ints(struct maker *m, int buf)
{
    return m->c->buf[buf].data;
}

int32_t maker_pick(struct maker *m, const int32_t *v, int n)
{
    return v[rng_range(&m->rng, 0, n - 1)];
}
static void make_gemm(struct maker *m)
{
    struct op_gemm *o = &m->c->o.gemm;
    struct case_rng *r = &m->rng;
    o->dt = m->dt;
    o->out_dt = rng_range(r, 0, 2) ? m->dt : DT_F32;
    o->m = rng_range(r, 0, 2) ? rng_range(r, 1, 13) : rng_range(r, 14, 230);
    o->n_in = rng_range(r, 0, 3) ? 16 * rng_range(r, 1, 40) : rng_range(r, 1, 700);
    o->n_out = rng_range(r, 0, 1) ? rng_range(r, 1, 300) : 16 * rng_range(r, 1, 20);
    if (m->opts.big) {
        o->m = PICK(m, 1, 8, 64, 300);
        o->n_in = PICK(m, 576, 1536, 1024);
        o->n_out = PICK(m, 576, 960, 3072, 4000);
    }
    size_t mm = (size_t)o->m, in = (size_t)o->n_in, out = (size_t)o->n_out;
    maker_add(m, AT(m, gemm.out), "out", CASE_OUT, o->out_dt, mm * out);
    maker_add_random(m, AT(m, gemm.in), "in", CASE_IN, o->dt, mm * in, 1.0f);
    int w = maker_add_random(m, AT(m, gemm.w), "w", CASE_WEIGHT, o->dt, out * in, 0.3f);
    m->c->buf[w].n_rows = o->n_out;
    m->c->buf[w].n_cols = o->n_in;
    int bias = rng_range(r, 0, 1);
    if (bias)
        maker_add_random(m, AT(m, gemm.bias), "bias", CASE_IN, o->dt, out, 1.0f);
    snprintf(m->c->text, sizeof m->c->text, "m=%d n_in=%d n_out=%d dt=%d out_dt=%d bias=%d", o->m,
             o->n_in, o->n_out, o->dt, o->out_dt, bias);
}

static void make_embed(struct maker *m)
{
    struct op_embed *o = &m->c->o.embed;
    struct case_rng *r = &m->rng;
    *o = (struct op_embed){.n_tokens = rng_range(r, 1, 40),
                           .dim = rng_range(r, 1, 300),
                           .vocab = rng_range(r, 1, 500),
                           .dt = m->dt,
                           .out_dt = rng_range(r, 0, 1) ? m->dt : DT_F32};
    size_t n = (size_t)o->n_tokens, dim = (size_t)o->dim, vocab = (size_t)o->vocab;
    maker_add(m, AT(m, embed.out), "out", CASE_OUT, o->out_dt, n * dim);
    int role = PICK(m, CASE_ROWS, CASE_WEIGHT, CASE_TABLE);
    int t = maker_add_random(m, AT(m, embed.table), "table", role, o->dt, vocab * dim, 1.0f);
    m->c->buf[t].n_rows = o->vocab;
    m->c->buf[t].n_cols = o->dim;
    int ids = maker_add(m, AT(m, embed.ids), "ids", CASE_IN, CASE_INT, n);
    for (size_t i = 0; i < n; i++)
        maker_ints(m, ids)[i] = rng_range(r, 0, 9) ? rng_range(r, 0, o->vocab - 1)
                                                   : PICK(m, -1, o->vocab, INT32_MAX, INT32_MIN);
    snprintf(m->c->text, sizeof m->c->text, "n=%d dim=%d vocab=%d dt=%d out_dt=%d role=%d",
             o->n_tokens, o->dim, o->vocab, o->dt, o->out_dt, role);
}

static void make_add_rmsnorm(struct maker *m)
{
    struct op_add_rmsnorm *o = &m->c->o.add_rmsnorm;
    struct case_rng *r = &m->rng;
    *o = (struct op_add_rmsnorm){.n_rows = rng_range(r, 1, 30),
                                 .dim = rng_range(r, 1, 1500),
                                 .dt = m->dt,
                                 .res_dt = rng_range(r, 0, 1) ? m->dt : DT_F32,
                                 .eps = rng_range(r, 0, 1) ? 1e-5f : 1e-6f};
    size_t n = (size_t)o->n_rows * (size_t)o->dim;
    int mode = rng_range(r, 0, 2); /* no x, x apart from out, x is out */
    if (mode == 2) {
        int i = maker_add_random(m, AT(m, add_rmsnorm.out), "x_out", CASE_INOUT, o->dt, n, 1.0f);
        point(m, AT(m, add_rmsnorm.x), i);
    } else {
        maker_add(m, AT(m, add_rmsnorm.out), "out", CASE_OUT, o->dt, n);
    }
    if (mode == 1)
        maker_add_random(m, AT(m, add_rmsnorm.x), "x", CASE_IN, o->dt, n, 1.0f);
    maker_add_random(m, AT(m, add_rmsnorm.residual), "residual", CASE_INOUT, o->res_dt, n, 3.0f);
    maker_add_random(m, AT(m, add_rmsnorm.weight), "weight", CASE_IN, DT_F32, (size_t)o->dim, 1.0f);
    snprintf(m->c->text, sizeof m->c->text, "rows=%d dim=%d dt=%d res_dt=%d x=%d", o->n_rows,
             o->dim, o->dt, o->res_dt, mode);
}

static void make_silu_mul(struct maker *m)
{
    struct op_silu_mul *o = &m->c->o.silu_mul;
    *o = (struct op_silu_mul){
        .n_rows = rng_range(&m->rng, 1, 20), .dim = rng_range(&m->rng, 1, 900), .dt = m->dt};
    size_t n = (size_t)o->n_rows * (size_t)o->dim;
    maker_add(m, AT(m, silu_mul.out), "out", CASE_OUT, o->dt, n);
    int in = maker_add_random(m, AT(m, silu_mul.in), "in", CASE_IN, o->dt, 2 * n, 4.0f);
    for (int k = 0; k < 4; k++) /* both tails of the exponential */
        case_set(m->c->buf[in].data, o->dt, (size_t)rng_range(&m->rng, 0, (int32_t)(2 * n) - 1),
                 (double)PICK(m, -200, -95, -88, 88, 95, 200));
    snprintf(m->c->text, sizeof m->c->text, "rows=%d dim=%d dt=%d", o->n_rows, o->dim, o->dt);
}

static void make_gather(struct maker *m)
{
    struct op_gather *o = &m->c->o.gather;
    struct case_rng *r = &m->rng;
    *o = (struct op_gather){
        .n_rows = rng_range(r, 1, 40), .dim = rng_range(r, 1, 700), .dt = m->dt};
    int32_t n_in = rng_range(r, 1, 60);
    maker_add(m, AT(m, gather.out), "out", CASE_OUT, o->dt, (size_t)o->n_rows * (size_t)o->dim);
    maker_add_random(m, AT(m, gather.in), "in", CASE_IN, o->dt, (size_t)n_in * (size_t)o->dim,
                     1.0f);
    int ix = maker_add(m, AT(m, gather.index), "index", CASE_IN, CASE_INT, (size_t)o->n_rows);
    for (int32_t i = 0; i < o->n_rows; i++)
        maker_ints(m, ix)[i] = rng_range(r, -1, n_in - 1);
    snprintf(m->c->text, sizeof m->c->text, "rows=%d of %d dim=%d dt=%d", o->n_rows, n_in, o->dim,
             o->dt);
}

/* A pool of random numbers in which every page of every row is its own. */
static int make_pool(struct maker *m, struct kv_pool_view *kv, size_t at, int32_t n_pages, int role)
{
    struct case_rng *r = &m->rng;
    kv->dt = m->kv_dt;
    kv->n_pages = n_pages;
    kv->n_layers = rng_range(r, 1, 2);
    return maker_add_random(m, at, "pool", role, kv->dt, kv_page_elems(kv) * (size_t)n_pages, 1.0f);
}

static void shape_pool(struct maker *m, struct kv_pool_view *kv)
{
    struct case_rng *r = &m->rng;
    kv->page_tokens = m->opts.page_tokens ? m->opts.page_tokens : PICK(m, 16, 16, 32, 48, 64, 128);
    kv->head_dim = m->opts.head_dim ? m->opts.head_dim : PICK(m, 16, 32, 64, 64, 80, 96, 128, 256);
    kv->n_kv_heads = rng_range(r, 1, m->opts.fixed_prefix ? 2 : 3);
    kv->n_layers = 2;
}

/* Rows of a step: row_new tokens each (decode: 1), contexts of every length, some padding. Returns
 * the number of pages. */
static int32_t make_rows(struct maker *m, int32_t page_tokens, int32_t decode, int32_t *row_new,
                         int32_t *row_kv, int32_t *n_tokens)
{
    struct case_rng *r = &m->rng;
    struct batch *bv = &m->c->bv;
    int32_t pages = 0;
    int32_t long_rows = m->opts.fixed_prefix && m->opts.prefix > 1000;
    bv->n_rows = long_rows ? rng_range(r, 1, 2) : rng_range(r, 1, decode ? 9 : 4);
    *n_tokens = 0;
    for (int32_t i = 0; i < bv->n_rows; i++) {
        int32_t cached = PICK(m, 0, 0, 1, 15, 16, 63, 64, 65, rng_range(r, 0, 300));
        row_new[i] = decode ? 1 : PICK(m, 1, 2, 17, rng_range(r, 1, long_rows ? 24 : 90));
        if (m->opts.big)
            cached += rng_range(r, 200, 2200);
        if (m->opts.fixed_prefix)
            cached = m->opts.prefix;
        row_kv[i] = cached + row_new[i];
        pages += (row_kv[i] + page_tokens - 1) / page_tokens;
        *n_tokens += row_new[i];
        bv->max_new = row_new[i] > bv->max_new ? row_new[i] : bv->max_new;
        bv->max_kv = row_kv[i] > bv->max_kv ? row_kv[i] : bv->max_kv;
    }
    return pages + 1;
}

struct rows {
    int32_t row_new[MAX_ROWS], row_kv[MAX_ROWS];
    int32_t n_real, n_tokens, n_pages;
};

static void fill_table(struct maker *m, const struct rows *w, int table, const int32_t *slot,
                       int32_t page_tokens)
{
    struct batch *bv = &m->c->bv;
    int32_t *perm = xcalloc2((size_t)w->n_pages, sizeof *perm), next = 0;
    for (int32_t i = 0; i < w->n_pages; i++) {
        int32_t j = rng_range(&m->rng, 0, i);
        perm[i] = perm[j];
        perm[j] = i;
    }
    for (size_t i = 0; i < m->c->buf[table].n; i++)
        maker_ints(m, table)[i] = -1;
    for (int32_t i = 0; i < w->n_real; i++)
        for (int32_t p = 0; p < (w->row_kv[i] + page_tokens - 1) / page_tokens; p++)
            maker_ints(m, table)[slot[i] * bv->table_stride + p] = perm[next++];
    free(perm);
}

/* The arrays of bv for these rows and `pad` rows of padding behind them. */
static void make_batch(struct maker *m, struct rows *w, int32_t page_tokens, int32_t decode)
{
    struct batch *bv = &m->c->bv;
    struct case_rng *r = &m->rng;
    w->n_pages = make_rows(m, page_tokens, decode, w->row_new, w->row_kv, &w->n_tokens);
    w->n_real = bv->n_rows;
    int32_t pad = decode ? rng_range(r, 0, 3) : 0, slots = w->n_real + pad + 3;
    bv->n_rows += pad;
    bv->n_tokens = w->n_tokens + pad;
    bv->table_stride = (bv->max_kv + page_tokens - 1) / page_tokens + rng_range(r, 0, 3);
    size_t nr = (size_t)bv->n_rows, nt = (size_t)bv->n_tokens;
    int tok = maker_add(m, AT_BV(m, tok), "tok", CASE_IN, CASE_INT, nt);
    int pos = maker_add(m, AT_BV(m, pos), "pos", CASE_IN, CASE_INT, nt);
    int tok_row = maker_add(m, AT_BV(m, tok_row), "tok_row", CASE_IN, CASE_INT, nt);
    int slot = maker_add(m, AT_BV(m, row_slot), "row_slot", CASE_IN, CASE_INT, nr);
    int tok0 = maker_add(m, AT_BV(m, row_tok0), "row_tok0", CASE_IN, CASE_INT, nr);
    int rnew = maker_add(m, AT_BV(m, row_new), "row_new", CASE_IN, CASE_INT, nr);
    int rkv = maker_add(m, AT_BV(m, row_kv), "row_kv", CASE_IN, CASE_INT, nr);
    int out = maker_add(m, AT_BV(m, row_out), "row_out", CASE_IN, CASE_INT, nr);
    int table = maker_add(m, AT_BV(m, page_table), "page_table", CASE_IN, CASE_INT,
                          (size_t)slots * (size_t)bv->table_stride);
    int32_t t = 0;
    for (int32_t i = 0; i < bv->n_rows; i++) {
        int32_t n = i < w->n_real ? w->row_new[i] : 0;
        maker_ints(m, slot)[i] = i < w->n_real ? slots - 1 - i : 0;
        maker_ints(m, tok0)[i] = t;
        maker_ints(m, rnew)[i] = n;
        maker_ints(m, rkv)[i] = i < w->n_real ? w->row_kv[i] : 0;
        maker_ints(m, out)[i] = n ? t + n - 1 : -1;
        for (int32_t j = 0; j < (n ? n : 1); j++, t++) {
            maker_ints(m, tok)[t] = 0;
            maker_ints(m, pos)[t] = n ? w->row_kv[i] - n + j : 0;
            maker_ints(m, tok_row)[t] = n ? i : -1;
        }
    }
    fill_table(m, w, table, maker_ints(m, slot), page_tokens);
}

static int draw_decode(struct maker *m)
{
    return m->opts.decode >= 0 ? m->opts.decode : rng_range(&m->rng, 0, 1);
}

static void make_rope_kv_write(struct maker *m)
{
    struct op_rope_kv_write *o = &m->c->o.rope_kv_write;
    struct rows *w = xalloc(sizeof *w);
    int decode = draw_decode(m);
    shape_pool(m, &o->kv);
    make_batch(m, w, o->kv.page_tokens, decode);
    o->n_heads = o->kv.n_kv_heads * rng_range(&m->rng, 1, 5);
    o->dt = m->dt;
    o->eps = 1e-6f;
    o->attn_factor = rng_range(&m->rng, 0, 1) ? 1.0f : 1.2f;
    make_pool(m, &o->kv, AT(m, rope_kv_write.kv.base), w->n_pages, CASE_INOUT);
    o->layer = rng_range(&m->rng, 0, o->kv.n_layers - 1);
    size_t hd = (size_t)o->kv.head_dim, n_all = (size_t)(o->n_heads + 2 * o->kv.n_kv_heads);
    maker_add_random(m, AT(m, rope_kv_write.qkv), "qkv", CASE_INOUT, o->dt,
                     (size_t)m->c->bv.n_tokens * n_all * hd, 1.0f);
    int norm = rng_range(&m->rng, 0, 1);
    if (norm) {
        maker_add_random(m, AT(m, rope_kv_write.q_norm), "q_norm", CASE_IN, DT_F32, hd, 1.0f);
        maker_add_random(m, AT(m, rope_kv_write.k_norm), "k_norm", CASE_IN, DT_F32, hd, 1.0f);
    }
    int f = maker_add(m, AT(m, rope_kv_write.inv_freq), "inv_freq", CASE_IN, DT_F32, hd / 2);
    for (size_t i = 0; i < hd / 2; i++)
        case_set(m->c->buf[f].data, DT_F32, i, pow(10000.0, -2.0 * (double)i / (double)hd));
    snprintf(m->c->text, sizeof m->c->text,
             "rows=%d tokens=%d heads=%d/%d hd=%d page=%d norm=%d dt=%d kv=%d", m->c->bv.n_rows,
             m->c->bv.n_tokens, o->n_heads, o->kv.n_kv_heads, o->kv.head_dim, o->kv.page_tokens,
             norm, o->dt, o->kv.dt);
    free(w);
}

static void make_attn(struct maker *m)
{
    struct op_attn *o = &m->c->o.attn_prefill;
    struct rows *w = xalloc(sizeof *w);
    int decode = m->c->id == OP_attn_decode;
    shape_pool(m, &o->kv);
    make_batch(m, w, o->kv.page_tokens, decode);
    o->n_heads = o->kv.n_kv_heads * (m->opts.group ? m->opts.group : rng_range(&m->rng, 1, 9));
    o->dt = m->dt;
    o->scale = 1.0f / sqrtf((float)o->kv.head_dim);
    make_pool(m, &o->kv, AT(m, attn_prefill.kv.base), w->n_pages, CASE_IN);
    o->layer = rng_range(&m->rng, 0, o->kv.n_layers - 1);
    o->qkv_stride = (o->n_heads + 2 * o->kv.n_kv_heads) * o->kv.head_dim;
    size_t nt = (size_t)m->c->bv.n_tokens;
    /* INOUT: what belongs to padding must stay as it is */
    maker_add_random(m, AT(m, attn_prefill.out), "out", CASE_INOUT, o->dt,
                     nt * (size_t)(o->n_heads * o->kv.head_dim), 1.0f);
    maker_add_random(m, AT(m, attn_prefill.q), "q", CASE_IN, o->dt, nt * (size_t)o->qkv_stride,
                     1.5f);
    maker_add(m, AT(m, attn_prefill.work), "work", CASE_WORK, CASE_RAW, 0);
    snprintf(m->c->text, sizeof m->c->text,
             "rows=%d tokens=%d max_kv=%d heads=%d/%d hd=%d page=%d dt=%d kv=%d", m->c->bv.n_rows,
             m->c->bv.n_tokens, m->c->bv.max_kv, o->n_heads, o->kv.n_kv_heads, o->kv.head_dim,
             o->kv.page_tokens, o->dt, o->kv.dt);
    free(w);
}

/* Chunks that go on and chunks that begin, some of which want nothing. */
static void make_hidden(struct maker *m)
{
    struct op_hidden *o = &m->c->o.hidden;
    struct rows *w = xalloc(sizeof *w);
    make_batch(m, w, 16, 0);
    size_t nr = (size_t)m->c->bv.n_rows, nt = (size_t)m->c->bv.n_tokens;
    o->dim = rng_range(&m->rng, 1, 700);
    o->dt = m->dt;
    size_t dim = (size_t)o->dim;
    maker_add_random(m, AT(m, hidden.out), "out", CASE_INOUT, DT_F32, nr * dim, 1.0f);
    maker_add_random(m, AT(m, hidden.sum), "sum", CASE_INOUT, DT_F32, (nr + 3) * dim, 9.0f);
    maker_add_random(m, AT(m, hidden.in), "in", CASE_IN, o->dt, nt * dim, 1.0f);
    int want = maker_add(m, AT(m, hidden.want), "want", CASE_IN, CASE_INT, nr);
    for (size_t i = 0; i < nr; i++)
        maker_ints(m, want)[i] = rng_range(&m->rng, STEP_WANT_NONE, STEP_WANT_MEAN);
    snprintf(m->c->text, sizeof m->c->text, "rows=%d tokens=%d dim=%d dt=%d", m->c->bv.n_rows,
             m->c->bv.n_tokens, o->dim, o->dt);
    free(w);
}

static void make_copy_pages(struct maker *m)
{
    struct op_copy_pages *o = &m->c->o.copy_pages;
    shape_pool(m, &o->kv);
    int32_t n_pages = rng_range(&m->rng, 2, 24);
    o->n = rng_range(&m->rng, 0, n_pages / 2);
    make_pool(m, &o->kv, AT(m, copy_pages.kv.base), n_pages, CASE_INOUT);
    int list = maker_add(m, AT(m, copy_pages.copies), "copies", CASE_HOST, CASE_RAW,
                         (size_t)o->n * sizeof(struct page_copy));
    struct page_copy *pc = m->c->buf[list].data;
    for (int32_t i = 0; i < o->n; i++) /* odd pages are targets, once each; even ones sources */
        pc[i] = (struct page_copy){2 * rng_range(&m->rng, 0, (n_pages - 1) / 2), 2 * i + 1};
    snprintf(m->c->text, sizeof m->c->text, "n=%d pages=%d hd=%d kv=%d", o->n, n_pages,
             o->kv.head_dim, o->kv.dt);
}

/* The plan: chunks, feedback of sampled tokens, table edits. */
static void draw_step(struct maker *m, struct step *s, int32_t slots, int32_t stride)
{
    struct case_rng *r = &m->rng;
    s->version = STEP_VERSION;
    s->kind = (uint32_t)draw_decode(m) ? STEP_DECODE : STEP_PREFILL;
    s->n_rows = rng_range(r, 1, slots);
    for (int32_t i = 0; i < s->n_rows; i++) {
        struct step_row *w = &s->rows[i];
        *w = (struct step_row){.row = slots - 1 - i,
                               .first = rng_range(r, 0, 500),
                               .n = s->kind == STEP_DECODE ? 1 : rng_range(r, 1, 40),
                               .want = rng_range(r, STEP_WANT_NONE, STEP_WANT_SAMPLE),
                               .token0 = s->n_tokens};
        s->sample[i] = maker_params(m, 1);
        for (int32_t j = 0; j < w->n; j++)
            s->tokens[s->n_tokens++] = rng_range(r, 0, 3) ? rng_range(r, 0, 50000) : TOKEN_FROM_ROW;
    }
    s->n_edits = rng_range(r, 0, 30);
    for (int32_t i = 0, cell = 0; i < s->n_edits; i++, cell += 7) /* no cell twice */
        s->edits[i] = (struct page_edit){cell / stride % slots, cell % stride,
                                         rng_range(r, 0, 999)};
}

static void make_step_inputs(struct maker *m)
{
    struct op_step_inputs *o = &m->c->o.step_inputs;
    struct batch *bv = &m->c->bv;
    enum { SLOTS = 12, STRIDE = 9 };
    int st = maker_add(m, AT(m, step_inputs.step), "step", CASE_HOST, CASE_RAW,
                       sizeof(struct step));
    struct step *s = m->c->buf[st].data;
    draw_step(m, s, SLOTS, STRIDE);
    o->pad_rows = s->kind == STEP_DECODE ? PICK(m, 0, 1, 8, 16) : 0;
    size_t nr = (size_t)(o->pad_rows > s->n_rows ? o->pad_rows : s->n_rows);
    size_t nt = (size_t)s->n_tokens + nr - (size_t)s->n_rows;
    struct {
        size_t at;
        const char *name;
        size_t n;
    } out[] = {
        {AT_BV(m, tok), "tok", nt},           {AT_BV(m, pos), "pos", nt},
        {AT_BV(m, tok_row), "tok_row", nt},   {AT_BV(m, row_slot), "row_slot", nr},
        {AT_BV(m, row_tok0), "row_tok0", nr}, {AT_BV(m, row_new), "row_new", nr},
        {AT_BV(m, row_kv), "row_kv", nr},     {AT_BV(m, row_out), "row_out", nr},
    };
    for (size_t i = 0; i < sizeof out / sizeof *out; i++)
        maker_add(m, out[i].at, out[i].name, CASE_OUT, CASE_INT, out[i].n);
    int table = maker_add(m, AT_BV(m, page_table), "page_table", CASE_INOUT, CASE_INT,
                          SLOTS * STRIDE);
    for (int32_t i = 0; i < SLOTS * STRIDE; i++)
        maker_ints(m, table)[i] = 1000 + i;
    int last = maker_add(m, AT(m, step_inputs.last_token), "last_token", CASE_IN, CASE_INT, SLOTS);
    for (int32_t i = 0; i < SLOTS; i++)
        maker_ints(m, last)[i] = 70000 + i;
    maker_add(m, AT(m, step_inputs.params), "params", CASE_OUT, CASE_RAW,
              nr * sizeof(struct sample_params));
    bv->table_stride = STRIDE;
    snprintf(m->c->text, sizeof m->c->text, "rows=%d tokens=%d edits=%d pad=%d", s->n_rows,
             s->n_tokens, s->n_edits, o->pad_rows);
}

void op_case_make(struct op_case *c, enum op_id id, uint64_t seed, struct case_opts opts)
{
    struct maker m = {.c = c, .rng = {seed * 1000003u + (uint64_t)id}, .opts = opts};
    memset(c, 0, sizeof *c);
    c->id = id;
    c->seed = seed;
    m.dt = opts.dt >= 0 ? opts.dt : rng_range(&m.rng, 0, N_DTYPES - 1);
    m.kv_dt = opts.kv_dt >= 0 ? opts.kv_dt : rng_range(&m.rng, 0, N_DTYPES - 1);
    switch (id) {
    case OP_attn_prefill:
    case OP_attn_decode:
        make_attn(&m);
        break;
#define MAKE(n)                                                                                    \
    case OP_##n:                                                                                   \
        make_##n(&m);                                                                              \
        break;
        MAKE(step_inputs)
        MAKE(embed)
        MAKE(add_rmsnorm)
        MAKE(gemm)
        MAKE(rope_kv_write)
        MAKE(silu_mul)
        MAKE(gather)
        MAKE(adjust)
        MAKE(sample)
        MAKE(score)
        MAKE(hidden)
        MAKE(copy_pages)
#undef MAKE
    default:
        break;
    }
}
