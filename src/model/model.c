/* SPDX-License-Identifier: Apache-2.0 */
/* model.c - a model on a backend: everything it will ever allocate, in one place.
 *
 * Loader thread until model_load returns. Order: workspace first (its size is known), then the
 * weights, then the KV pool with what is left, then the seal: an out-of-memory shows at start,
 * never under load.
 */
#include "clock.h"
#include "kvmem.h"
#include "log.h"
#include "mem.h"
#include "state.h"
#include "warm.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Rows of logits at least, so that scoring a prompt makes products of this many tokens. */
enum { SCORE_ROWS = 64 };

struct want {
    void **at;
    const char *what;
    size_t n, size; /* elements, bytes of one */
};

static int alloc_all(struct be *be, const struct want *v, size_t n, int host, const char *would,
                     struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        size_t bytes = 0;
        if (mul_size(v[i].n, v[i].size, &bytes))
            *v[i].at = host ? be_alloc_host(be, v[i].what, bytes ? bytes : 1)
                            : be_alloc(be, v[i].what, bytes ? bytes : 1);
        if (!*v[i].at)
            return be_no_room(be, v[i].what, bytes, would, e);
    }
    return 0;
}

/* What all lanes share: state that stays with a row, and the angles. */
static int alloc_shared(struct model *m, struct err *e)
{
    size_t r = (size_t)m->max_seqs;
    m->marks = xalloc(sizeof *m->marks);
    struct want v[] = {
        {(void **)&m->last_token, "inputs.last_token", r, sizeof *m->last_token},
        {(void **)&m->hidden_sum, "hidden.sum", r * (size_t)m->cfg.dim, sizeof *m->hidden_sum},
        {(void **)&m->counts, "counts", r * (size_t)m->cfg.vocab, sizeof *m->counts},
        {(void **)&m->inv_freq, "inputs.inv_freq", (size_t)m->cfg.n_ropes,
         sizeof m->cfg.rope[0].inv_freq},
    };
    int st = alloc_all(m->be, v, sizeof v / sizeof *v, 0, NULL, e);
    if (st != 0)
        return st;
    for (int32_t i = 0; st == 0 && i < m->cfg.n_ropes; i++)
        st = be_upload(m->be, m->inv_freq + (size_t)i * (MAX_HEAD_DIM / 2), m->cfg.rope[i].inv_freq,
                       sizeof m->cfg.rope[i].inv_freq);
    return st != 0 ? err_set(e, st, "the first copy to %s failed", m->be->info.name) : 0;
}

static int alloc_inputs(struct model *m, struct err *e)
{
    size_t t = (size_t)m->max_tokens, r = (size_t)m->max_seqs;
    struct want v[] = {
        {(void **)&m->bv.tok, "inputs.tok", t, sizeof *m->bv.tok},
        {(void **)&m->bv.pos, "inputs.pos", t, sizeof *m->bv.pos},
        {(void **)&m->bv.tok_row, "inputs.tok_row", t, sizeof *m->bv.tok_row},
        {(void **)&m->bv.row_slot, "inputs.row_slot", r, sizeof *m->bv.row_slot},
        {(void **)&m->bv.row_tok0, "inputs.row_tok0", r, sizeof *m->bv.row_tok0},
        {(void **)&m->bv.row_new, "inputs.row_new", r, sizeof *m->bv.row_new},
        {(void **)&m->bv.row_kv, "inputs.row_kv", r, sizeof *m->bv.row_kv},
        {(void **)&m->bv.row_out, "inputs.row_out", r, sizeof *m->bv.row_out},
        {(void **)&m->params, "inputs.params", r, sizeof *m->params},
        {(void **)&m->adjust, "inputs.adjust", r, sizeof *m->adjust},
        {(void **)&m->area, "inputs.area", MAX_AREA, sizeof *m->area},
        {(void **)&m->want, "inputs.want", t, sizeof *m->want},
        {(void **)&m->hidden_want, "inputs.hidden_want", r, sizeof *m->hidden_want},
        {(void **)&m->out_hidden, "results.hidden", r * (size_t)m->cfg.dim, sizeof *m->out_hidden},
        {(void **)&m->out_score, "results.score", t, sizeof *m->out_score},
        {(void **)&m->out_score_n_top, "results.score_n_top", t, sizeof *m->out_score_n_top},
        {(void **)&m->out_score_rank, "results.score_rank", t, sizeof *m->out_score_rank},
        {(void **)&m->out_score_top, "results.score_top", t * MAX_LOGPROBS,
         sizeof *m->out_score_top},
        {(void **)&m->out_token, "results.token", r, sizeof *m->out_token},
        {(void **)&m->out_logprob, "results.logprob", r, sizeof *m->out_logprob},
        {(void **)&m->out_n_top, "results.n_top", r, sizeof *m->out_n_top},
        {(void **)&m->out_top, "results.top", r * MAX_LOGPROBS, sizeof *m->out_top},
    };
    return alloc_all(m->be, v, sizeof v / sizeof *v, 0, NULL, e);
}

/* The workspace is linear in the tokens of a step: how many would fit into what is left, beside the
 * weights that are still to come? */
static void workspace_hint(const struct model *m, const struct want *v, size_t n, char *text,
                           size_t size)
{
    double all = 0, left = (double)m->be->info.memory_free -
                           (double)weights_bytes(&m->cfg, m->act_dt, m->be->info.weight_dt);
    for (size_t i = 0; i < n; i++)
        all += (double)v[i].n * (double)v[i].size;
    double fit = all > 0 && left > 0 ? (double)m->max_tokens * left / all * 0.9 : 0;
    if (fit >= 16)
        snprintf(text, size, "scheduler.max_step_tokens of %d (now %d) would fit", (int)fit,
                 (int)m->max_tokens);
    else
        snprintf(text, size, "no scheduler.max_step_tokens would fit beside the weights");
}

static int alloc_workspace(struct model *m, struct err *e)
{
    const struct model_config *c = &m->cfg;
    const struct model_dims *d = &m->d;
    size_t t = (size_t)m->max_tokens, r = (size_t)m->max_seqs;
    size_t el = dtype_size(m->act_dt);
    for (int32_t i = 0; i < c->n_kinds; i++) {
        size_t bytes = be_attn_work_bytes(m->be, m->max_seqs, d->kind[i].n_heads,
                                          d->kind[i].head_dim);
        m->attn_work_bytes = bytes > m->attn_work_bytes ? bytes : m->attn_work_bytes;
    }
    m->sample_work_bytes = be_sample_work_bytes(m->be, m->max_seqs, c->vocab);
    struct want v[] = {
        {(void **)&m->x, "workspace.x", t * (size_t)c->dim, sizeof *m->x},
        {&m->h, "workspace.h", t * (size_t)c->dim, el},
        {&m->qkv, "workspace.qkv", t * (size_t)d->n_qkv, el},
        {&m->attn, "workspace.attn", t * (size_t)d->n_q, el},
        {&m->gate_up, "workspace.gate_up", t * 2 * (size_t)d->ffn_dim, el},
        {&m->act, "workspace.act", t * (size_t)d->ffn_dim, el},
        {&m->last, "workspace.last", r * (size_t)c->dim, el},
        {(void **)&m->logits, "logits", (size_t)m->logit_rows * (size_t)c->vocab, sizeof(float)},
        {&m->attn_work, "workspace.attention", m->attn_work_bytes, 1},
        {&m->sample_work, "workspace.sampling", m->sample_work_bytes, 1},
    };
    char would[160];
    workspace_hint(m, v, sizeof v / sizeof *v, would, sizeof would);
    return alloc_all(m->be, v, sizeof v / sizeof *v, 0, would, e);
}

static int alloc_slots(struct model *m, struct err *e)
{
    size_t r = (size_t)m->max_seqs, t = (size_t)m->max_tokens;
    int st = 0;
    for (int i = 0; st == 0 && i < MAX_INFLIGHT; i++) {
        struct step_slot *s = &m->slot[i];
        struct want v[] = {
            {(void **)&s->step, "host.step", 1, sizeof *s->step},
            {(void **)&s->token, "host.token", r, sizeof *s->token},
            {(void **)&s->logprob, "host.logprob", r, sizeof *s->logprob},
            {(void **)&s->n_top, "host.n_top", r, sizeof *s->n_top},
            {(void **)&s->top, "host.top", r * MAX_LOGPROBS, sizeof *s->top},
            {(void **)&s->adjust, "host.adjust", r, sizeof *s->adjust},
            {(void **)&s->hidden_want, "host.hidden_want", r, sizeof *s->hidden_want},
            {(void **)&s->hidden, "host.hidden", r * (size_t)m->cfg.dim, sizeof *s->hidden},
            {(void **)&s->want, "host.want", t, sizeof *s->want},
            {(void **)&s->score, "host.score", t, sizeof *s->score},
            {(void **)&s->score_rank, "host.score_rank", t, sizeof *s->score_rank},
            {(void **)&s->score_top, "host.score_top", t * MAX_LOGPROBS, sizeof *s->score_top},
        };
        st = alloc_all(m->be, v, sizeof v / sizeof *v, 1, NULL, e);
    }
    return st;
}

static int alloc_table(struct model *m, struct err *e)
{
    int32_t stride = (m->max_len + m->kv.page_tokens - 1) / m->kv.page_tokens;
    struct want v[] = {{(void **)&m->bv.page_table, "page table",
                        (size_t)m->max_seqs * (size_t)stride, sizeof *m->bv.page_table}};
    int st = alloc_all(m->be, v, 1, 0, "a smaller kv.pool_bytes would leave room", e);
    m->bv.table_stride = stride;
    return st;
}

int32_t model_auto_seqs(const struct model_source *s, const struct be *be, int32_t lanes)
{
    enum { CPU_SEQS = 256, LEAST_SEQS = 64, MOST_SEQS = 1024, SHARE = 32 };
    int64_t vocab = model_source_config(s)->vocab;
    int64_t row = vocab * (int64_t)(sizeof(uint16_t) + (size_t)lanes * 2 * sizeof(float));
    int32_t n = MOST_SEQS;
    if (be->info.kind == BE_CPU)
        return CPU_SEQS;
    while (n > LEAST_SEQS && n * row > be->info.memory_free / SHARE)
        n /= 2;
    return n;
}

static int check_opts(const struct model_opts *o, struct err *e)
{
    if (o->page_tokens < 16 || o->page_tokens % 16 != 0 || o->page_tokens > 1024)
        return err_set(e, ST_INVALID_VALUE, "kv.page_tokens is %d; it must be a multiple of 16",
                       (int)o->page_tokens);
    if (o->max_seqs < 1 || o->max_seqs > MAX_ROWS || o->max_step_tokens < 1 ||
        o->max_step_tokens > MAX_STEP_TOKENS)
        return err_set(e, ST_INVALID_VALUE, "at most %d sequences and %d tokens a step", MAX_ROWS,
                       MAX_STEP_TOKENS);
    if (o->lanes < 0 || o->lanes > 2)
        return err_set(e, ST_INVALID_VALUE, "%d lanes", (int)o->lanes);
    return 0;
}

static int32_t larger(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

/* This rank holds the whole model. */
static void set_dims(struct model *m)
{
    const struct model_config *c = &m->cfg;
    struct model_dims *d = &m->d;
    for (int32_t i = 0; i < c->n_kinds; i++) {
        const struct layer_kind *k = &c->kind[i];
        d->kind[i] = (struct layer_dims){.n_heads = k->n_heads,
                                         .n_kv_heads = k->n_kv_heads,
                                         .head_dim = k->head_dim,
                                         .ffn_dim = k->ffn_dim,
                                         .n_q = k->n_heads * k->head_dim,
                                         .n_qkv = (k->n_heads + 2 * k->n_kv_heads) * k->head_dim,
                                         .attn_scale = 1.0f / sqrtf((float)k->head_dim)};
        d->n_q = larger(d->n_q, d->kind[i].n_q);
        d->n_qkv = larger(d->n_qkv, d->kind[i].n_qkv);
        d->ffn_dim = larger(d->ffn_dim, k->ffn_dim);
    }
    for (int32_t l = 0; l < c->n_layers; l++)
        d->kv_layer[l] = layer_kind_of(c, l)->mixer == MIX_ATTN ? d->n_kv_layers++ : -1;
}

/* After an allocation of the weights failed: what all of them take. */
static void weights_hint(const struct model *m, const struct model_opts *o, struct err *e)
{
    int32_t dt = o->weight_dt >= 0 ? o->weight_dt : m->be->info.weight_dt;
    size_t used = strlen(e->msg);
    snprintf(
        e->msg + used, sizeof e->msg - used,
        "; all weights take %.1f MiB in this type: a device with that much more would do, or a "
        "smaller model",
        (double)weights_bytes(&m->cfg, m->act_dt, dt) / 1048576.0);
}

/* A second queue and what a lane has of its own; decode steps have a token a row. */
static int add_lane(struct model *m, struct err *e)
{
    struct model *ln = xalloc(sizeof *ln);
    m->lane = ln;
    ln->cfg = m->cfg;
    ln->d = m->d;
    ln->act_dt = m->act_dt;
    ln->max_seqs = ln->max_tokens = m->max_seqs;
    ln->logit_rows = m->max_seqs;
    int st = be_open_lane(&ln->be, m->be, e);
    if (st == 0)
        st = alloc_inputs(ln, e);
    if (st == 0)
        st = alloc_workspace(ln, e);
    return st != 0 ? st : alloc_slots(ln, e);
}

/* Once everything is there. */
static void share(const struct model *m, struct model *ln)
{
    ln->w = m->w;
    ln->kv = m->kv;
    ln->page_bytes = m->page_bytes;
    ln->max_len = m->max_len;
    ln->inv_freq = m->inv_freq;
    ln->last_token = m->last_token;
    ln->counts = m->counts;
    ln->marks = m->marks;
    ln->hidden_sum = m->hidden_sum;
    ln->bv.page_table = m->bv.page_table;
    ln->bv.table_stride = m->bv.table_stride;
}

/* In this order: what has a known size, the weights, the pool with what is left, the seal. */
static int fill(struct model *m, const struct model_source *s, const struct model_opts *o,
                int64_t at_us[3], struct err *e)
{
    at_us[0] = clock_us();
    int st = alloc_shared(m, e);
    if (st == 0)
        st = alloc_inputs(m, e);
    if (st == 0)
        st = alloc_workspace(m, e);
    if (st == 0)
        st = alloc_slots(m, e);
    if (st == 0 && o->lanes == 2)
        st = add_lane(m, e);
    at_us[1] = clock_us();
    if (st == 0) {
        st = weights_load(&m->w, s, m->be, o->act_dt, o->weight_dt, o->progress, o->progress_arg,
                          e);
        if (st == ST_NOMEM && e)
            weights_hint(m, o, e);
    }
    at_us[2] = clock_us();
    if (st == 0)
        st = kv_pool_alloc(m, o, e);
    if (st == 0)
        st = alloc_table(m, e);
    if (st == 0 && be_sync(m->be) != 0)
        st = err_set(e, ST_DEVICE, "%s failed while the model was loaded", m->be->info.name);
    if (st == 0 && m->lane)
        share(m, m->lane);
    if (st == 0)
        be_seal(m->be);
    return st;
}

int model_load(struct model **out, const struct model_source *s, struct be *be,
               const struct model_opts *o, struct err *e)
{
    *out = NULL;
    int st = check_opts(o, e);
    if (st != 0)
        return st;
    struct model *m = xalloc(sizeof *m);
    m->cfg = *model_source_config(s);
    m->be = be;
    m->act_dt = o->act_dt >= 0 ? o->act_dt : be->info.act_dt;
    m->weight_dt = o->weight_dt >= 0 ? o->weight_dt : be->info.weight_dt;
    m->max_seqs = o->max_seqs;
    m->max_tokens = o->max_step_tokens > o->max_seqs ? o->max_step_tokens : o->max_seqs;
    m->logit_rows = larger(m->max_seqs, SCORE_ROWS);
    set_dims(m);
    int64_t t[3], t3;
    st = fill(m, s, o, t, e);
    t3 = clock_us();
    if (st == 0)
        st = model_warm(m, o->warm, o->gemm_cache, e);
    if (st != 0) {
        model_free(m);
        return st;
    }
    log_info("model.load",
             "workspace_ms=%" PRId64 " weights_ms=%" PRId64 " pool_ms=%" PRId64 " warm_ms=%" PRId64,
             (t[1] - t[0]) / 1000, (t[2] - t[1]) / 1000, (t3 - t[2]) / 1000,
             (clock_us() - t3) / 1000);
    *out = m;
    return 0;
}

void model_free(struct model *m)
{
    if (!m)
        return;
    if (m->lane)
        be_close(m->lane->be);
    free(m->lane);
    weights_free(&m->w);
    free(m->marks);
    free(m);
}

int32_t model_lanes(const struct model *m)
{
    return m->lane ? 2 : 1;
}

const struct model_config *model_config(const struct model *m)
{
    return &m->cfg;
}

int32_t model_n_pages(const struct model *m)
{
    return m->kv.n_pages;
}

int64_t model_weight_tokens(const struct model *m)
{
    int64_t token = m->page_bytes / m->kv.page_tokens;
    return (int64_t)weights_bytes(&m->cfg, m->act_dt, m->weight_dt) / token;
}

int64_t model_page_bytes(const struct model *m)
{
    return m->page_bytes;
}

int32_t model_max_len(const struct model *m)
{
    return m->max_len;
}
