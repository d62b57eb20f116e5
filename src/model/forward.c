/* SPDX-License-Identifier: Apache-2.0 */
/* forward.c - one pass of the decoder: which op runs when, for every family alike.
 *
 * Families differ in what their weight table holds (biases, q/k norms, a tied head), never in this
 * file. Ops are enqueued in order on the backend; nothing here waits. Engine thread.
 */
#include "forward.h"

static int gemm(struct model *m, void *out, const void *in, const struct matrix *w,
                const void *bias, int32_t n_in, int32_t n_out)
{
    struct op_gemm o = {.out = out,
                        .in = in,
                        .w = w,
                        .bias = bias,
                        .m = m->bv.n_tokens,
                        .n_in = n_in,
                        .n_out = n_out,
                        .dt = m->act_dt,
                        .out_dt = m->act_dt};
    return m->be->op->gemm(m->be, &o);
}

/* h = norm(x += y); y == NULL adds nothing. */
static int norm(struct model *m, const void *y, const float *weight)
{
    struct op_add_rmsnorm o = {.out = m->h,
                               .residual = m->x,
                               .x = y,
                               .weight = weight,
                               .n_rows = m->bv.n_tokens,
                               .dim = m->cfg.dim,
                               .dt = m->act_dt,
                               .res_dt = DT_F32,
                               .eps = m->cfg.norm_eps};
    return m->be->op->add_rmsnorm(m->be, &o);
}

/* qkv -> rotated, written to the pool, attended: m->attn. */
static int attention(struct model *m, int32_t kind, int32_t layer, const struct layer_weights *w)
{
    const struct layer_kind *k = layer_kind_of(&m->cfg, layer);
    const struct layer_dims *d = &m->d.kind[m->cfg.kind_of[layer]];
    struct op_rope_kv_write r = {.qkv = m->qkv,
                                 .q_norm = w->q_norm,
                                 .k_norm = w->k_norm,
                                 .inv_freq = m->inv_freq + (size_t)k->rope * (MAX_HEAD_DIM / 2),
                                 .attn_factor = m->cfg.rope[k->rope].attn_factor,
                                 .eps = m->cfg.norm_eps,
                                 .n_heads = d->n_heads,
                                 .dt = m->act_dt,
                                 .layer = m->d.kv_layer[layer],
                                 .kv = m->kv,
                                 .bv = &m->bv};
    int st = m->be->op->rope_kv_write(m->be, &r);
    if (st != 0)
        return st;
    struct op_attn a = {.out = m->attn,
                        .q = m->qkv,
                        .qkv_stride = d->n_qkv,
                        .n_heads = d->n_heads,
                        .dt = m->act_dt,
                        .layer = m->d.kv_layer[layer],
                        .scale = d->attn_scale,
                        .kv = m->kv,
                        .bv = &m->bv,
                        .work = m->attn_work,
                        .work_bytes = m->attn_work_bytes};
    return kind == STEP_DECODE ? m->be->op->attn_decode(m->be, &a)
                               : m->be->op->attn_prefill(m->be, &a);
}

/* One transformer block: reads the residual m->x and the previous block's output `y` (NULL for the
 * first), leaves its own output in m->h. */
static int block(struct model *m, int32_t kind, int32_t layer, const void *y)
{
    const struct layer_dims *d = &m->d.kind[m->cfg.kind_of[layer]];
    const struct layer_weights *w = &m->w.layer[layer];
    int32_t dim = m->cfg.dim;
    int st = norm(m, y, w->attn_norm);
    if (st == 0)
        st = gemm(m, m->qkv, m->h, &w->wqkv, w->bqkv, dim, d->n_qkv);
    if (st == 0)
        st = attention(m, kind, layer, w);
    if (st == 0)
        st = gemm(m, m->h, m->attn, &w->wo, w->bo, d->n_q, dim);
    if (st == 0)
        st = norm(m, m->h, w->ffn_norm);
    if (st == 0)
        st = gemm(m, m->gate_up, m->h, &w->w_gate_up, w->b_gate_up, dim, 2 * d->ffn_dim);
    if (st != 0)
        return st;
    struct op_silu_mul s = {.out = m->act,
                            .in = m->gate_up,
                            .n_rows = m->bv.n_tokens,
                            .dim = d->ffn_dim,
                            .dt = m->act_dt};
    st = m->be->op->silu_mul(m->be, &s);
    if (st != 0)
        return st;
    return gemm(m, m->h, m->act, &w->w_down, w->b_down, d->ffn_dim, dim);
}

int forward_layers(struct model *m, int32_t kind)
{
    struct op_embed em = {.out = m->x,
                          .table = &m->w.embed,
                          .ids = m->bv.tok,
                          .n_tokens = m->bv.n_tokens,
                          .dim = m->cfg.dim,
                          .vocab = m->cfg.vocab,
                          .dt = m->act_dt,
                          .out_dt = DT_F32};
    int st = m->be->op->embed(m->be, &em);
    for (int32_t l = 0; st == 0 && l < m->cfg.n_layers; l++)
        st = block(m, kind, l, l > 0 ? m->h : NULL);
    return st;
}

/* What the rows draw from, where it is not the logits themselves: to the sampler's scratch. */
static int adjust(struct model *m)
{
    struct op_adjust a = {.out = m->sample_work,
                          .logits = m->logits,
                          .params = m->params,
                          .adjust = m->adjust,
                          .area = m->area,
                          .row_slot = m->bv.row_slot,
                          .row_out = m->bv.row_out,
                          .last_token = m->last_token,
                          .counts = m->counts,
                          .n_rows = m->bv.n_rows,
                          .vocab = m->cfg.vocab};
    return m->be->op->adjust(m->be, &a);
}

/* Logits of n hidden states. */
static int logits(struct model *m, const void *in, int32_t n)
{
    struct op_gemm o = {.out = m->logits,
                        .in = in,
                        .w = &m->w.head,
                        .m = n,
                        .n_in = m->cfg.dim,
                        .n_out = m->cfg.vocab,
                        .dt = m->act_dt,
                        .out_dt = DT_F32};
    return m->be->op->gemm(m->be, &o);
}

static bool any_wanted(const struct score_want *w, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        if (w[i].token >= 0)
            return true;
    return false;
}

/* The tokens that are asked about, some at a time: from a multiple of ALIGN, because libraries of
 * products want their operands to begin at 256 bytes. */
static int score(struct model *m, const struct step_slot *sl)
{
    enum { ALIGN = 64 };
    int32_t most = m->logit_rows / ALIGN * ALIGN, n;
    int st = 0;
    for (int32_t t = sl->score0 / ALIGN * ALIGN; st == 0 && t < sl->score1; t += n) {
        n = sl->score1 - t < most ? sl->score1 - t : most;
        size_t at = (size_t)t;
        if (!any_wanted(sl->want + at, n))
            continue;
        struct op_score o = {.logits = m->logits,
                             .want = m->want + at,
                             .logprob = m->out_score + at,
                             .top = m->out_score_top + at * MAX_LOGPROBS,
                             .n_top = m->out_score_n_top + at,
                             .rank = m->out_score_rank + at,
                             .n_rows = n,
                             .vocab = m->cfg.vocab};
        st = logits(m, (char *)m->h + at * (size_t)m->cfg.dim * dtype_size(m->act_dt), n);
        if (st == 0)
            st = m->be->op->score(m->be, &o);
    }
    return st;
}

static int sample(struct model *m, int32_t kind, const struct step_slot *sl)
{
    const struct model_config *c = &m->cfg;
    int32_t n = m->bv.n_rows;
    int st = 0;
    const void *in = m->h;
    if (!(kind == STEP_DECODE && m->bv.n_tokens == n)) {
        struct op_gather g = {.out = m->last,
                              .in = m->h,
                              .index = m->bv.row_out,
                              .n_rows = n,
                              .dim = c->dim,
                              .dt = m->act_dt};
        st = m->be->op->gather(m->be, &g);
        in = m->last;
    }
    if (st != 0)
        return st;
    st = logits(m, in, n);
    if (st == 0 && sl->any_adjust)
        st = adjust(m);
    if (st != 0)
        return st;
    struct op_sample s = {.logits = m->logits,
                          .params = m->params,
                          .pos = m->bv.row_kv,
                          .row_slot = m->bv.row_slot,
                          .row_out = m->bv.row_out,
                          .last_token = m->last_token,
                          .token = m->out_token,
                          .logprob = m->out_logprob,
                          .top = m->out_top,
                          .n_top = m->out_n_top,
                          .adjust = sl->any_adjust ? m->adjust : NULL,
                          .adjusted = m->sample_work,
                          .n_rows = n,
                          .vocab = c->vocab,
                          .any_logprobs = sl->any_logprobs,
                          .work = m->sample_work,
                          .work_bytes = m->sample_work_bytes};
    return m->be->op->sample(m->be, &s);
}

int forward_outputs(struct model *m, int32_t kind, const struct step_slot *sl)
{
    int st = norm(m, m->h, m->w.final_norm);
    if (st == 0 && sl->score1 > 0)
        st = score(m, sl);
    if (st == 0 && sl->any_hidden) {
        struct op_hidden o = {.out = m->out_hidden,
                              .sum = m->hidden_sum,
                              .in = m->h,
                              .want = m->hidden_want,
                              .bv = &m->bv,
                              .dim = m->cfg.dim,
                              .dt = m->act_dt};
        st = m->be->op->hidden(m->be, &o);
    }
    if (st == 0 && sl->any_sample)
        st = sample(m, kind, sl);
    return st;
}

int forward_products(struct model *m, int32_t n)
{
    int32_t dim = m->cfg.dim;
    bool seen[MAX_LAYER_KINDS] = {false};
    int st = n <= m->logit_rows ? logits(m, m->last, n) : 0;
    m->bv.n_tokens = n;
    for (int32_t l = 0; st == 0 && l < m->cfg.n_layers; l++) {
        const struct layer_dims *d = &m->d.kind[m->cfg.kind_of[l]];
        const struct layer_weights *w = &m->w.layer[l];
        if (seen[m->cfg.kind_of[l]])
            continue;
        seen[m->cfg.kind_of[l]] = true;
        st = gemm(m, m->qkv, m->h, &w->wqkv, w->bqkv, dim, d->n_qkv);
        if (st == 0)
            st = gemm(m, m->h, m->attn, &w->wo, w->bo, d->n_q, dim);
        if (st == 0)
            st = gemm(m, m->gate_up, m->h, &w->w_gate_up, w->b_gate_up, dim, 2 * d->ffn_dim);
        if (st == 0)
            st = gemm(m, m->h, m->act, &w->w_down, w->b_down, d->ffn_dim, dim);
    }
    return st;
}
