/* SPDX-License-Identifier: Apache-2.0 */
/* trace.h - one random scenario through the engine and the hash model, compared to the naive
 * generator. Functions in a header, because the same driver is compiled against the plain and the
 * planted libraries. Single thread, virtual time: a seed always gives the same steps.
 */
#ifndef QUIRE_TEST_TRACE_H
#define QUIRE_TEST_TRACE_H

#include "engine/inspect.h"
#include "engine/state.h"
#include "engine_fixture.h"
#include "hash_model.h"
#include "kv.h"
#include "kv/tree.h"
#include "mem.h"
#include "naive.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TR_MAX_REQ = 24, TR_MAX_LEN = 160, TR_VOCAB = 40, TR_MAX_TURNS = 30000 };

struct tr_req {
    struct msg_submit *m;
    token_id want[TR_MAX_LEN], got[TR_MAX_LEN];
    float logprob[TR_MAX_LEN], score[TR_MAX_LEN], vector[HM_DIM];
    int32_t rank[TR_MAX_LEN], n_scored;
    struct naive_out out;
    int32_t n_got, finish, status, cancel_at, cancel_after;
    int64_t arrive;
    int submitted, cancelled, ended;
};
struct tr_result {
    int64_t mismatches, audit_failures, stalls, leaks, violations, errors;
    int64_t tokens, turns, preemptions, hits, evicted, cancels, requests, max_gap_us, dropped,
        numeric, vectors, scores;
    struct hm_counts hm;
    char why[640];
};
struct trace {
    uint64_t rng;
    struct engine_fixture x;
    int32_t page_tokens;
    struct engine *en;
    struct hash_model *hm;
    struct mbox *out;
    struct tr_req req[TR_MAX_REQ];
    int n_req;
    int spoiled; /* one step computes no numbers */
    int timed;   /* requests say when they came, so that prompts may wait for others */
    struct tr_result *r;
};

static int tr_rand(struct trace *t, int n)
{
    t->rng = t->rng * 6364136223846793005u + 1442695040888963407u;
    return (int)((t->rng >> 33) % (uint64_t)n);
}

static void tr_fault(struct trace *t, int64_t *count, const char *what, int64_t a, int64_t b)
{
    if ((*count)++ == 0 && !t->r->why[0])
        snprintf(t->r->why, sizeof t->r->why, "%.500s (%lld, %lld)", what, (long long)a,
                 (long long)b);
}

static void tr_config(struct trace *t, int depth)
{
    static const int sizes[] = {1, 2, 3, 4, 8, 16};
    struct engine_facts *f = &t->x.f;
    struct config *c = &t->x.c;
    t->x = engine_fixture();
    int pt = t->page_tokens = sizes[tr_rand(t, 6)];
    int least = (TR_MAX_LEN + pt - 1) / pt;
    c->kv.page_tokens = pt;
    f->n_pages = tr_rand(t, 3);
    f->n_pages = least + f->n_pages * tr_rand(t, least + 1);
    c->scheduler.max_seqs = 1 + tr_rand(t, 8);
    c->scheduler.max_step_tokens = 1 + tr_rand(t, tr_rand(t, 2) ? 12 : 80);
    c->scheduler.steps_in_flight = depth;
    c->scheduler.max_decode_gap = (int64_t[]){0, 100, 400, 5000}[tr_rand(t, 4)];
    c->kv.prefix_cache.enabled = tr_rand(t, 8) != 0;
    c->kv.prefix_cache.eviction = tr_rand(t, N_EVICT);
    c->limits.queue_size = TR_MAX_REQ;
    f->max_model_len = TR_MAX_LEN;
    f->vocab = TR_VOCAB;
    f->hidden_dim = HM_DIM;
    f->n_eos = 1;
    f->eos[0] = 3;
    f->cache_seed = t->rng;
}

/* A prompt: the whole of an earlier conversation and more, a stem and a tail, or a duplicate. */
static int32_t tr_prompt(struct trace *t, int i, token_id *tok, token_id stems[4][TR_MAX_LEN])
{
    int32_t n = 0, most = TR_MAX_LEN / 2;
    int how = tr_rand(t, 8);
    if (i > 0 && how < 3) {
        const struct tr_req *q = &t->req[tr_rand(t, i)];
        n = q->m->n_prompt;
        memcpy(tok, q->m + 1, (size_t)n * sizeof *tok);
        if (how == 0)
            return n;
        for (int32_t k = 0; k < q->out.n && n < TR_MAX_LEN * 3 / 4; k++)
            tok[n++] = q->want[k];
        most = TR_MAX_LEN * 3 / 4;
    } else if (how < 7) {
        n = tr_rand(t, 4) ? tr_rand(t, most) : t->page_tokens * (1 + tr_rand(t, 3));
        n = n < most ? n : most;
        memcpy(tok, stems[tr_rand(t, 4)], (size_t)n * sizeof *tok);
    }
    int tail = tr_rand(t, 3) ? tr_rand(t, 12) : 0;
    while (n < most && (n == 0 || tail-- > 0))
        tok[n++] = tr_rand(t, TR_VOCAB);
    return n;
}

/* Biases, a mask, penalties: a third of the requests has some of them. */
static void tr_inputs(struct trace *t, struct msg_submit *m)
{
    struct token_bias *bias = (struct token_bias *)((token_id *)(m + 1) + m->n_prompt +
                                                    m->n_stop_ids);
    if (tr_rand(t, 3))
        return;
    m->n_bias = tr_rand(t, 5);
    for (int k = 0; k < m->n_bias; k++)
        bias[k] = (struct token_bias){.token = 9 * k + tr_rand(t, 9),
                                      .bias = tr_rand(t, 3) ? (float)k - 2 : -INFINITY};
    m->n_mask = tr_rand(t, 2) ? MSG_MASK_WORDS(TR_VOCAB) : 0;
    for (int k = 0; k < m->n_mask; k++) /* always something left: half of the first 32 */
        ((uint32_t *)(bias + m->n_bias))[k] = 0x55555555u | (uint32_t)tr_rand(t, 1 << 30);
    if (tr_rand(t, 2))
        m->params.presence_penalty = 0.5f;
    if (tr_rand(t, 3) == 0)
        m->params.repetition_penalty = 1.5f;
}

/* A prompt that gives a vector instead of an answer. */
static void tr_embed(struct trace *t, struct tr_req *q)
{
    q->m->embed = tr_rand(t, 2) ? EMBED_LAST : EMBED_MEAN;
    q->m->max_new = q->m->n_stop_ids = q->m->min_new = q->m->scores = 0;
    q->m->params.n_logprobs = -1;
    naive_vector(q->m, q->vector);
}

static void tr_make(struct trace *t, int i, token_id stems[4][TR_MAX_LEN])
{
    struct tr_req *q = &t->req[i];
    q->m = xalloc(sizeof *q->m +
                  (TR_MAX_LEN + 4 + 2 * 4 + MSG_MASK_WORDS(TR_VOCAB)) * sizeof(token_id));
    token_id *tok = (token_id *)(q->m + 1);
    int32_t n = tr_prompt(t, i, tok, stems);
    *q->m = (struct msg_submit){
        .h = {.kind = MSG_SUBMIT},
        .id = (req_id)i + 1,
        .n_prompt = n,
        .priority = tr_rand(t, 3) ? 0 : tr_rand(t, 3),
        .tenant = (uint64_t)tr_rand(t, 3),
        .cache_ns = tr_rand(t, 5) ? 0 : 7,
        .ignore_eos = tr_rand(t, 3) == 0,
        .n_stop_ids = tr_rand(t, 3),
        .min_new = tr_rand(t, 3) ? 0 : tr_rand(t, 10),
        .params = {.seed = (uint64_t)tr_rand(t, 4), .n_logprobs = tr_rand(t, 6) - 2},
    };
    if (q->m->params.n_logprobs < -1)
        q->m->params.n_logprobs = -1;
    int32_t most = TR_MAX_LEN - n;
    q->m->scores = tr_rand(t, 3) ? 0 : 1 + tr_rand(t, 4);
    q->m->max_new = q->m->scores > 0 && n > 1 && tr_rand(t, 2)
                        ? 0
                        : 1 + tr_rand(t, tr_rand(t, 3) ? (most < 24 ? most : 24) : most);
    for (int k = 0; k < q->m->n_stop_ids; k++)
        tok[n + k] = tr_rand(t, TR_VOCAB);
    if (tr_rand(t, 5) == 0)
        tr_embed(t, q);
    else
        tr_inputs(t, q->m);
    q->arrive = tr_rand(t, 4) ? tr_rand(t, 120) : 0;
    q->cancel_at = tr_rand(t, 6) ? -1 : (int)q->arrive + tr_rand(t, 60);
    q->cancel_after = tr_rand(t, 8) ? -1 : tr_rand(t, 12);
    q->out.tok = q->want;
    q->out.logprob = q->logprob;
    q->out.score = q->score;
    q->out.rank = q->rank;
    naive_generate(q->m, TR_VOCAB, t->x.f.eos, t->x.f.n_eos, &q->out);
}

/* The most a hit of q may cover: what it shares with another conversation of its namespace. */
static int32_t tr_hit_bound(const struct trace *t, const struct tr_req *q)
{
    int32_t best = 0;
    const token_id *mine = (const token_id *)(q->m + 1);
    for (int i = 0; i < t->n_req; i++) {
        const struct tr_req *o = &t->req[i];
        if (o == q || !o->submitted || o->m->cache_ns != q->m->cache_ns)
            continue;
        const token_id *theirs = (const token_id *)(o->m + 1);
        int32_t n = 0, all = o->m->n_prompt + o->out.n;
        while (n < q->m->n_prompt - 1 && n < all &&
               mine[n] == (n < o->m->n_prompt ? theirs[n] : o->want[n - o->m->n_prompt]))
            n++;
        best = n > best ? n : best;
    }
    return best;
}

/* A score of the prompt of q: the next one, before any token. */
static void tr_score(struct trace *t, struct tr_req *q, const struct out_rec *r,
                     const struct token_logprob *top)
{
    int64_t *bad = &t->r->mismatches;
    const token_id *tok = (const token_id *)(q->m + 1);
    int32_t at = ++q->n_scored;
    if (r->scored_at != at || at >= q->m->n_prompt || q->m->scores == 0 || q->n_got > 0 ||
        r->finish != FINISH_NONE) {
        tr_fault(t, bad, "score out of turn", (int64_t)r->id, r->scored_at);
        return;
    }
    t->r->scores++;
    if (r->token != tok[at] || r->logprob != q->score[at] || r->rank != q->rank[at] ||
        r->n_top != q->m->scores - 1)
        tr_fault(t, bad, "wrong score", (int64_t)r->id, at);
    for (int32_t j = 0; j < r->n_top; j++)
        if (top[r->top0 + j].token != (r->token + j) % TR_VOCAB ||
            top[r->top0 + j].logprob != r->logprob - (float)j)
            tr_fault(t, bad, "wrong list of the best beside a score", (int64_t)r->id, at);
    if (r->n_cached != 0)
        tr_fault(t, bad, "a prompt to score came from the cache", (int64_t)r->id, r->n_cached);
}

/* The end of a prompt with embed. */
static void tr_vector(struct trace *t, const struct tr_req *q, const struct out_rec *r,
                      const float *vec)
{
    int64_t *bad = &t->r->mismatches;
    if (r->finish != FINISH_VECTOR || r->n_vec != HM_DIM || q->n_got > 0)
        tr_fault(t, bad, "wrong end of a vector", (int64_t)r->id, r->n_vec);
    for (int j = 0; r->n_vec == HM_DIM && j < HM_DIM; j++)
        if (vec[r->vec0 + j] != q->vector[j])
            tr_fault(t, bad, "wrong vector", (int64_t)r->id, r->vec0);
    if (r->n_cached < 0 || r->n_cached > (q->m->embed == EMBED_MEAN ? 0 : tr_hit_bound(t, q)))
        tr_fault(t, bad, "impossible hit of a vector", (int64_t)r->id, r->n_cached);
    t->r->vectors++;
}

static void tr_record(struct trace *t, const struct out_rec *r, const struct token_logprob *top,
                      const float *vec)
{
    int64_t *bad = &t->r->mismatches;
    if (r->id < 1 || r->id > (req_id)t->n_req) {
        tr_fault(t, bad, "unknown id", (int64_t)r->id, 0);
        return;
    }
    struct tr_req *q = &t->req[r->id - 1];
    if (q->ended)
        tr_fault(t, bad, "record after the end", (int64_t)r->id, r->token);
    if (r->scored_at > 0) {
        tr_score(t, q, r, top);
        return;
    }
    if (r->token >= 0) {
        int32_t k = q->n_got++;
        if (k >= q->out.n || q->want[k] != r->token) {
            tr_fault(t, bad, "wrong token", (int64_t)r->id, k);
            return;
        }
        t->r->tokens++;
        int32_t n_top = q->m->params.n_logprobs > 0 ? q->m->params.n_logprobs : 0;
        if (r->n_top != n_top || (q->m->params.n_logprobs >= 0 && r->logprob != q->logprob[k]))
            tr_fault(t, bad, "wrong logprob", (int64_t)r->id, k);
        for (int32_t j = 0; j < r->n_top; j++)
            if (top[r->top0 + j].token != r->token + j)
                tr_fault(t, bad, "wrong top list", (int64_t)r->id, k);
        if (r->n_cached < 0 || r->n_cached > tr_hit_bound(t, q))
            tr_fault(t, bad, "impossible hit", (int64_t)r->id, r->n_cached);
    }
    if (r->finish == FINISH_NONE)
        return;
    q->ended = 1;
    q->finish = r->finish;
    q->status = r->status;
    if (r->finish == FINISH_VECTOR || (q->m->embed != EMBED_NONE && r->token >= 0))
        tr_vector(t, q, r, vec);
    else if (r->finish == FINISH_ERROR && r->status == ST_NUMERIC && t->spoiled)
        t->r->numeric++;
    else if (r->finish == FINISH_ERROR)
        tr_fault(t, &t->r->errors, "request failed", (int64_t)r->id, r->status);
    else if (r->token < 0 && !q->cancelled && q->m->max_new > 0)
        tr_fault(t, bad, "ended by nobody", (int64_t)r->id, r->finish);
    else if (q->m->scores > 0 && !q->cancelled && q->n_scored != q->m->n_prompt - 1)
        tr_fault(t, bad, "scores missing", (int64_t)r->id, q->n_scored);
    else if (r->token >= 0 &&
             (q->n_got != q->out.n || r->finish != q->out.finish || r->stop_id != q->out.stop_id))
        tr_fault(t, bad, "wrong end", (int64_t)r->id, r->finish);
}

static void tr_take(struct trace *t)
{
    const struct msg_outbox *m;
    mbox_take(t->out);
    while ((m = mbox_next(t->out, NULL)) != NULL) {
        const struct out_rec *rec = (const struct out_rec *)(m + 1);
        const struct token_logprob *top = (const struct token_logprob *)(rec + m->n_rec);
        const float *vec = (const float *)(top + m->n_top);
        for (int32_t i = 0; i < m->n_rec; i++)
            tr_record(t, &rec[i], top, vec);
    }
}

/* What clients do before turn `at`. Returns how many have not ended. */
static int tr_clients(struct trace *t, int64_t at)
{
    int open = 0;
    for (int i = 0; i < t->n_req; i++) {
        struct tr_req *q = &t->req[i];
        if (!q->submitted && q->arrive <= at) {
            q->submitted = 1;
            q->m->arrival_us = t->timed ? hm_now(t->hm) : 0;
            if (engine_submit(t->en, q->m) != 0)
                tr_fault(t, &t->r->errors, "submit refused", i, 0);
        }
        if (q->submitted && !q->cancelled && !q->ended &&
            ((q->cancel_at >= 0 && q->cancel_at <= at) ||
             (q->cancel_after >= 0 && q->n_got >= q->cancel_after))) {
            q->cancelled = 1;
            t->r->cancels++;
            engine_cancel(t->en, q->m->id, i % 2 ? ST_CANCELLED : ST_OK);
        }
        open += !q->ended;
    }
    return open;
}

/* No step in flight uses a page that nobody holds. */
static void tr_pages(struct trace *t)
{
    for (page_id p = 0; p < t->x.f.n_pages; p++)
        if (t->en->kv->refs[p] == 0 && hm_uses(t->hm, p))
            tr_fault(t, &t->r->violations, "a page in use was freed", p, 0);
}

/* Afterwards everything is free or cached, and nobody holds anything. */
static void tr_after(struct trace *t)
{
    struct engine *en = t->en;
    struct kv_stats k;
    for (int i = 0; i < 8; i++)
        engine_turn(en);
    tr_take(t);
    kv_get_stats(en->kv, &k);
    if (k.n_free + k.n_evictable != k.n_pages)
        tr_fault(t, &t->r->leaks, "pages lost", k.n_free, k.n_evictable);
    const struct seqs *q = &en->seqs;
    if (q->n_run + q->n_wait + q->n_draining + q->n_marked > 0 ||
        en->lane[0].n_limbo + en->lane[0].n_flight + en->lane[1].n_limbo + en->lane[1].n_flight >
            0 ||
        q->n_free_rows != en->lim.max_seqs || atomic_load(&en->live) != 0 ||
        q->n_tenant_free != q->n_slots)
        tr_fault(t, &t->r->leaks, "something is still live", q->n_draining, q->n_free_rows);
    struct err e;
    if (engine_audit(en, &e) != 0)
        tr_fault(t, &t->r->audit_failures, e.msg, 0, 0);
}

static void tr_collect(struct trace *t)
{
    struct tr_result *r = t->r;
    const struct hm_counts *h = hm_counts(t->hm);
    const struct engine_stats *s = &t->en->stats;
    if (h->violations > 0 && !r->violations)
        snprintf(r->why, sizeof r->why, "%s", h->first);
    r->violations += h->violations;
    r->audit_failures += s->audit_failures;
    r->stalls += t->en->n_stalls;
    r->preemptions += s->preemptions;
    r->hits += s->prefix_hits;
    r->evicted += s->evicted_pages;
    r->requests += t->n_req;
    if (s->max_decode_gap_us > r->max_gap_us)
        r->max_gap_us = s->max_decode_gap_us;
    r->hm.steps += h->steps;
    r->hm.copies += h->copies;
    r->hm.overlapped += h->overlapped;
    r->hm.beside += h->beside;
    r->hm.handed += h->handed;
    r->hm.shared += h->shared;
    r->hm.prefill_tokens += h->prefill_tokens;
    r->hm.decode_rows += h->decode_rows;
    r->hm.trace = hm_mix(r->hm.trace, h->trace);
    if (r->hm.first[0] == 0)
        memcpy(r->hm.first, h->first, sizeof r->hm.first);
}

static int tr_bad(const struct tr_result *r)
{
    return r->mismatches || r->audit_failures || r->stalls || r->leaks || r->violations ||
           r->errors;
}

/* Run one seed; adds to *r. `fault`: arm this fault point (0: none). */
static void tr_run(uint64_t seed, int depth, int lanes, int64_t fault, struct tr_result *r)
{
    struct trace *t = xalloc(sizeof *t);
    token_id stems[4][TR_MAX_LEN];
    t->r = r;
    t->rng = seed * 0x9e3779b97f4a7c15u + 99;
    tr_config(t, depth);
    t->x.f.n_lanes = lanes;
    t->timed = lanes > 1 || seed % 3 == 0;
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < TR_MAX_LEN; k++)
            stems[i][k] = i == 3 && k < 20 ? stems[0][k] : tr_rand(t, TR_VOCAB);
    t->n_req = 4 + tr_rand(t, TR_MAX_REQ - 3);
    for (int i = 0; i < t->n_req; i++)
        tr_make(t, i, stems);
    int slow = tr_rand(t, 5) == 0; /* a reader that leaves the outbox full */
    t->out = mbox_new(1 << 14, slow ? 1 << 11 : 1 << 20, NULL, NULL);
    const struct hm_config h = {.n_pages = t->x.f.n_pages,
                                .page_tokens = t->page_tokens,
                                .max_rows = (int32_t)t->x.c.scheduler.max_seqs,
                                .max_pages = (TR_MAX_LEN + t->page_tokens - 1) / t->page_tokens,
                                .vocab = TR_VOCAB,
                                .depth = depth,
                                .lanes = lanes,
                                .n_shares = lanes > 1 ? (int32_t)(seed % 5) : 0,
                                .seed = seed,
                                .step_us = 100,
                                .token_us = 3};
    struct executor ex[MAX_LANES];
    t->hm = hm_new(&h);
    hm_executor(t->hm, ex);
    t->en = engine_fixture_new(&t->x, ex, t->out);
    t->en->now = hm_now;
    t->en->pause = hm_pause;
    t->en->now_arg = t->hm;
    t->spoiled = seed % 5 == 0;
    if (t->spoiled)
        hm_spoil(t->hm, 1 + (uint64_t)tr_rand(t, 60));
#ifdef QUIRE_FAULTS
    fault_arm(fault);
#endif
    (void)fault;
    int64_t at = 0;
    for (; tr_clients(t, at) > 0 && at < TR_MAX_TURNS && !r->violations; at++) {
        engine_turn(t->en);
        if (!t->en->failed)
            tr_pages(t);
        if (!slow || tr_rand(t, 6) == 0)
            tr_take(t);
    }
    r->turns += at;
    if (at == TR_MAX_TURNS)
        tr_fault(t, &r->stalls, "no end", at, 0);
    tr_after(t);
    tr_collect(t);
#ifdef QUIRE_FAULTS
    r->dropped += fault_fired();
    fault_arm(0);
#endif
    engine_free(t->en);
    hm_free(t->hm);
    mbox_free(t->out);
    for (int i = 0; i < t->n_req; i++)
        free(t->req[i].m);
    free(t);
}

#endif
