/* SPDX-License-Identifier: Apache-2.0 */
/* executor.c - runs steps: checks the plan, moves inputs, enqueues the pass, hands results back.
 *
 * Engine thread. The order inside a step is K7: table edits, page copies, compute. Everything goes
 * to one ordered queue of the backend, so a second step may be enqueued while the first runs; host
 * memory is per slot. A plan that breaks a bound is refused before anything is enqueued: it would
 * be a bug of the engine, and memory of other sequences is at stake.
 */
#include "executor.h"

#include "adjust.h"
#include "forward.h"
#include "hidden.h"
#include "log.h"
#include "score.h"

#include <math.h>
#include <string.h>

static int bad(const struct step *s, const char *what, int64_t got)
{
    log_error("model.step_refused", "seq_no=%llu what=%s value=%lld", (unsigned long long)s->seq_no,
              what, (long long)got);
    return ST_INVALID_VALUE;
}

static int check_row(const struct model *m, const struct step *s, int32_t i, int32_t next)
{
    const struct step_row *r = &s->rows[i];
    if (r->row < 0 || r->row >= m->max_seqs)
        return bad(s, "row", r->row);
    if (r->n < 1 || (s->kind == STEP_DECODE && r->n != 1) || r->token0 != next)
        return bad(s, "chunk", r->n);
    if (r->first < 0 || r->first > m->max_len - r->n)
        return bad(s, "position", r->first);
    if (r->want == STEP_WANT_VERIFY || r->n_verify != 0)
        return bad(s, "verify", r->n_verify);
    if (r->want < STEP_WANT_NONE || r->want >= N_STEP_WANTS)
        return bad(s, "want", r->want);
    return 0;
}

static int check_step(const struct model *m, const struct step *s)
{
    if (s->version != STEP_VERSION || (s->kind != STEP_DECODE && s->kind != STEP_PREFILL))
        return bad(s, "kind", s->kind);
    if (s->n_out != 0 || s->n_in != 0)
        return bad(s, "tier copies", s->n_out + s->n_in);
    if (s->n_area < 0 || s->n_area > MAX_AREA)
        return bad(s, "area", s->n_area);
    if (s->share < 0 || s->share > m->be->info.n_shares)
        return bad(s, "share", s->share);
    if (s->n_rows < 0 || s->n_rows > m->max_seqs || s->n_tokens < 0 ||
        s->n_tokens > m->max_tokens || s->n_edits < 0 || s->n_edits > MAX_EDITS || s->n_copy < 0 ||
        s->n_copy > MAX_COPIES)
        return bad(s, "counts", s->n_tokens);
    int32_t next = 0;
    for (int32_t i = 0; i < s->n_rows; i++) {
        int st = check_row(m, s, i, next);
        if (st != 0)
            return st;
        next += s->rows[i].n;
    }
    if (next != s->n_tokens)
        return bad(s, "n_tokens", s->n_tokens);
    for (int32_t i = 0; i < s->n_tokens; i++)
        if (s->tokens[i] != TOKEN_FROM_ROW && (s->tokens[i] < 0 || s->tokens[i] >= m->cfg.vocab))
            return bad(s, "token", s->tokens[i]);
    for (int32_t i = 0; i < s->n_edits; i++) {
        const struct page_edit *d = &s->edits[i];
        if (d->row < 0 || d->row >= m->max_seqs || d->index < 0 || d->index >= m->bv.table_stride ||
            d->page < 0 || d->page >= m->kv.n_pages)
            return bad(s, "edit", d->page);
    }
    return 0;
}

/* The used parts only: a step is a megabyte, a decode step uses a few hundred bytes of it. */
static void copy_step(struct step *to, const struct step *s)
{
    memcpy(to, s, offsetof(struct step, rows));
    memcpy(to->rows, s->rows, (size_t)s->n_rows * sizeof *s->rows);
    memcpy(to->sample, s->sample, (size_t)s->n_rows * sizeof *s->sample);
    memcpy(to->tokens, s->tokens, (size_t)s->n_tokens * sizeof *s->tokens);
    memcpy(to->edits, s->edits, (size_t)s->n_edits * sizeof *s->edits);
    memcpy(to->copy, s->copy, (size_t)s->n_copy * sizeof *s->copy);
    memcpy(to->area, s->area, (size_t)s->n_area * sizeof *s->area);
}

enum { MIN_KV_BUCKET = 512 };

/* Row counts a decode step is padded to, so that few graphs serve all batches: 1 2 4 8, then steps
 * of 8 to 64, of 16 to 128, of 32 to 256, of 64 beyond: at most a fifth of the rows is padding from
 * 64 on. */
int32_t row_bucket(const struct model *m, int32_t n)
{
    int32_t b = 1;
    if (n <= 8)
        while (b < n)
            b *= 2;
    else if (n <= 64)
        b = (n + 7) / 8 * 8;
    else if (n <= 128)
        b = (n + 15) / 16 * 16;
    else if (n <= 256)
        b = (n + 31) / 32 * 32;
    else
        b = (n + 63) / 64 * 64;
    return b < m->max_seqs ? b : m->max_seqs;
}

int32_t kv_bucket(const struct model *m, int32_t n)
{
    int32_t cap = m->bv.table_stride * m->kv.page_tokens, b = MIN_KV_BUCKET;
    while (b < n)
        b *= 2;
    return b < cap ? b : cap;
}

static int use_graph(const struct model *m, const struct step *s)
{
    return m->be->info.graphs && s->kind == STEP_DECODE && s->n_rows > 0;
}

static int move_inputs(struct model *m, const struct step_slot *sl)
{
    const struct step *s = sl->step;
    struct op_step_inputs in = {.step = s,
                                .bv = &m->bv,
                                .last_token = m->last_token,
                                .params = m->params,
                                .pad_rows = use_graph(m, s) ? row_bucket(m, s->n_rows) : 0};
    int st = m->be->op->step_inputs(m->be, &in);
    if (st == 0)
        st = adjust_move(m, sl);
    if (st == 0)
        st = score_move(m, sl);
    if (st == 0)
        st = hidden_move(m, sl);
    if (st != 0 || s->n_copy == 0)
        return st;
    struct op_copy_pages cp = {.kv = m->kv, .copies = s->copy, .n = s->n_copy};
    return m->be->op->copy_pages(m->be, &cp);
}

static int fetch_results(struct model *m, struct step_slot *sl)
{
    size_t n = (size_t)sl->step->n_rows;
    int st = be_download(m->be, sl->token, m->out_token, n * sizeof *sl->token);
    if (st != 0 || !sl->any_logprobs)
        return st;
    st = be_download(m->be, sl->logprob, m->out_logprob, n * sizeof *sl->logprob);
    if (st == 0)
        st = be_download(m->be, sl->n_top, m->out_n_top, n * sizeof *sl->n_top);
    if (st == 0)
        st = be_download(m->be, sl->top, m->out_top, n * MAX_LOGPROBS * sizeof *sl->top);
    return st;
}

static int enqueue_pass(struct model *m, const struct step_slot *sl)
{
    const struct step *s = sl->step;
    int32_t kind = (int32_t)s->kind;
    int st = s->n_tokens > 0 ? forward_layers(m, kind) : 0;
    if (st == 0 && (sl->any_sample || sl->any_hidden || sl->score1 > 0))
        st = forward_outputs(m, kind, sl);
    return st;
}

/* A decode pass is the same work for the same bucket: recorded once, replayed afterwards. */
static int enqueue_graph(struct model *m, const struct step_slot *sl)
{
    m->bv.max_kv = kv_bucket(m, m->bv.max_kv);
    uint64_t key = (uint64_t)m->bv.n_rows << 35 | (uint64_t)m->bv.max_kv << 3 |
                   (uint64_t)(sl->any_adjust ? 4 : 0) | (uint64_t)(sl->any_sample ? 2 : 0) |
                   (uint64_t)(sl->any_logprobs ? 1 : 0);
    int st = be_graph_begin(m->be, key);
    if (st != 0)
        return st < 0 ? st : 0;
    st = enqueue_pass(m, sl);
    int end = be_graph_end(m->be, key);
    return end != 0 ? end : st; /* a recording that failed says so better than the op in it */
}

static int model_submit(void *self, int slot, const struct step *s)
{
    struct model *m = self;
    if (slot < 0 || slot >= MAX_INFLIGHT)
        return ST_INVALID_VALUE;
    int st = check_step(m, s);
    if (st != 0)
        return st;
    struct step_slot *sl = &m->slot[slot];
    int32_t at;
    const char *what = adjust_plan(m, sl, s, &at);
    if (!what)
        what = score_plan(m, sl, s, &at);
    if (!what)
        what = hidden_plan(m, sl, s, &at);
    if (what)
        return bad(s, what, s->rows[at].row);
    copy_step(sl->step, s);
    sl->any_logprobs = sl->any_sample = 0;
    for (int32_t i = 0; i < s->n_rows; i++) {
        int sampled = s->rows[i].want == STEP_WANT_SAMPLE;
        sl->any_sample |= sampled;
        sl->any_logprobs |= sampled && s->sample[i].n_logprobs >= 0;
    }
    st = be_set_share(m->be, s->share);
    if (st == 0)
        st = move_inputs(m, sl);
    if (st == 0)
        st = use_graph(m, s) ? enqueue_graph(m, sl) : enqueue_pass(m, sl);
    if (st != 0)
        return st;
    adjust_done(m, sl);
    hidden_done(m, sl);
    if (sl->any_sample)
        st = fetch_results(m, sl);
    if (st == 0 && sl->score1 > 0)
        st = score_fetch(m, sl);
    if (st == 0)
        st = hidden_fetch(m, sl);
    if (st == 0)
        st = be_mark(m->be, slot);
    /* The pass runs and feeds its tokens to the next: it must not be submitted again. */
    return st != 0 ? ST_DEVICE : 0;
}

/* Row i drew a token, or could not. */
static void take_token(const struct step_slot *sl, int32_t i, struct step_result *r)
{
    int32_t k = step_result_add(r, i, 1);
    bool lp = sl->step->sample[i].n_logprobs >= 0;
    if (sl->token[i] == TOKEN_NUMERIC) {
        step_result_undo(r, i, ST_NUMERIC);
        return;
    }
    r->token[k] = sl->token[i];
    r->logprob[k] = lp ? sl->logprob[i] : 0.0f;
    r->n_top[k] = lp ? sl->n_top[i] : 0;
    if (r->n_top[k] > 0)
        memcpy(r->top[k], sl->top + (size_t)i * MAX_LOGPROBS,
               (size_t)r->n_top[k] * sizeof *sl->top);
}

static bool all_finite(const float *v, int32_t n)
{
    for (int32_t i = 0; v && i < n; i++)
        if (!isfinite(v[i]))
            return false;
    return true;
}

static int model_wait(void *self, int slot, struct step_result *r)
{
    struct model *m = self;
    if (slot < 0 || slot >= MAX_INFLIGHT)
        return ST_INVALID_VALUE;
    int st = be_wait(m->be, slot);
    if (st != 0)
        return st;
    const struct step_slot *sl = &m->slot[slot];
    const struct step *s = sl->step;
    r->n_rows = r->n = r->n_score = 0;
    for (int32_t i = 0; i < s->n_rows; i++) {
        if (s->rows[i].want == STEP_WANT_SAMPLE)
            take_token(sl, i, r);
        else
            step_result_add(r, i, 0);
        if (s->rows[i].n_score > 0 && r->row[i].status == 0)
            score_take(m, sl, i, r);
        if (!all_finite(hidden_of(m, sl, i), m->cfg.dim))
            step_result_undo(r, i, ST_NUMERIC);
    }
    return 0;
}

static int model_ready(void *self, int slot)
{
    struct model *m = self;
    return be_ready(m->be, slot);
}

static int model_hidden(void *self, int slot, int32_t i, float *dst)
{
    const struct model *m = self;
    if (slot < 0 || slot >= MAX_INFLIGHT || i < 0 || i >= m->slot[slot].step->n_rows)
        return ST_INVALID_VALUE;
    const float *v = hidden_of(m, &m->slot[slot], i);
    if (!v)
        return ST_INVALID_VALUE;
    memcpy(dst, v, (size_t)m->cfg.dim * sizeof *dst);
    return 0;
}

void model_executor(struct model *m, int32_t lane, struct executor *ex)
{
    m = lane == 1 ? m->lane : m;
    *ex = (struct executor){.self = m,
                            .submit = model_submit,
                            .wait = model_wait,
                            .ready = model_ready,
                            .hidden = model_hidden,
                            .hidden_dim = m->cfg.dim,
                            .n_shares = m->be->info.n_shares};
}

int model_logits(struct model *m, int32_t i, float *dst)
{
    if (i < 0 || i >= m->bv.n_rows)
        return ST_INVALID_VALUE;
    size_t n = (size_t)m->cfg.vocab;
    int st = be_download(m->be, dst, m->logits + (size_t)i * n, n * sizeof *dst);
    return st != 0 ? st : be_sync(m->be);
}
