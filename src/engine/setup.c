/* SPDX-License-Identifier: Apache-2.0 */
/* setup.c - the engine's public face: memory, thread, submission from other threads.
 *
 * Everything the engine will ever need is allocated in engine_new. Token arrays are as long as the
 * longest possible sequence, for every slot; the operating system backs only what is touched.
 * engine_submit checks on the caller's thread all that can be checked without the engine's state,
 * so that the turn never meets an impossible request.
 */
#include "area.h"
#include "check.h"
#include "clock.h"
#include "kv.h"
#include "kv_audit.h"
#include "kv_prefix.h"
#include "log.h"
#include "mem.h"
#include "outbox.h"
#include "state.h"

#include <stdlib.h>
#include <string.h>

enum { HELD_POLL_US = 1000, STOP_POLLS = 200 };

static int64_t real_clock(void *arg)
{
    (void)arg;
    return clock_us();
}

void engine_limits_of(struct engine_limits *l, const struct config *c, const struct engine_facts *f)
{
    int64_t rows = c->scheduler.max_seqs;
    if (rows > c->scheduler.max_step_tokens) /* a decode step names every row */
        rows = c->scheduler.max_step_tokens;
    *l = (struct engine_limits){.n_pages = f->n_pages,
                                .page_tokens = (int32_t)c->kv.page_tokens,
                                .max_seqs = (int32_t)rows,
                                .max_waiting = (int32_t)c->limits.queue_size,
                                .max_live = (int32_t)(rows + c->limits.queue_size),
                                .max_model_len = f->max_model_len,
                                .vocab = f->vocab,
                                .hidden_dim = f->hidden_dim,
                                .prefix_cache = c->kv.prefix_cache.enabled};
}

/* What the engine's arrays and messages can hold, whatever the settings allow. */
static int check_bounds(const struct config *c, const struct engine_facts *f,
                        const struct executor *ex, struct err *e)
{
    const struct {
        const char *name;
        int64_t v, lo, hi;
    } range[] = {
        {"n_pages", f->n_pages, 1, INT32_MAX - 1},
        {"page_tokens", c->kv.page_tokens, 1, 4096},
        {"max_seqs", c->scheduler.max_seqs, 1, MAX_ROWS},
        {"queue_size", c->limits.queue_size, 0, 1 << 20},
        {"max_step_tokens", c->scheduler.max_step_tokens, 1, MAX_STEP_TOKENS},
        {"max_model_len", f->max_model_len, 1, (int64_t)MAX_EDITS * c->kv.page_tokens},
        {"vocab", f->vocab, 1, INT32_MAX},
        {"steps_in_flight", c->scheduler.steps_in_flight, 1, MAX_INFLIGHT},
        {"steps_in_flight", f->steps_in_flight, 1, MAX_INFLIGHT},
        {"n_lanes", f->n_lanes, 1, MAX_LANES},
        {"n_eos", f->n_eos, 0, MAX_EOS},
        {"audit_every", f->audit_every, 0, INT32_MAX},
        {"n_shares", ex->n_shares, 0, MAX_SHARES},
        {"hidden_dim", f->hidden_dim, 0, MAX_HIDDEN},
    };
    for (size_t i = 0; i < sizeof range / sizeof *range; i++)
        if (range[i].v < range[i].lo || range[i].v > range[i].hi)
            return err_param(e, ST_INVALID_VALUE, range[i].name,
                             "%s is %lld; the engine can do %lld to %lld", range[i].name,
                             (long long)range[i].v, (long long)range[i].lo, (long long)range[i].hi);
    if (f->n_lanes > 1 && ex[0].n_shares != ex[1].n_shares)
        return err_param(e, ST_INVALID_VALUE, "n_shares", "the lanes have %d and %d shares",
                         (int)ex[0].n_shares, (int)ex[1].n_shares);
    return 0;
}

static int seqs_init(struct seqs *q, const struct engine_limits *c, int32_t n_slots, struct err *e)
{
    size_t n = (size_t)n_slots, len = (size_t)c->max_model_len, n_tok, n_page;
    size_t max_pages = (len + (size_t)c->page_tokens - 1) / (size_t)c->page_tokens;
    if (!mul_size(n, len, &n_tok) || !mul_size(n, max_pages, &n_page) ||
        n_tok > SIZE_MAX / sizeof(token_id) || n_page > SIZE_MAX / sizeof(page_id))
        return err_set(e, ST_NOMEM, "%d sequences of %d tokens are too many", n_slots,
                       c->max_model_len);
    q->n_slots = n_slots;
    q->seq = xalloc_aligned(64, n * sizeof *q->seq);
    token_id *tok = xcalloc2(n_tok, sizeof *tok);
    page_id *pages = xcalloc2(n_page, sizeof *pages);
    for (size_t i = 0; i < n; i++) {
        q->seq[i].tok = tok + i * len;
        q->seq[i].pages = pages + i * max_pages;
        q->seq[i].row = -1;
    }
    q->free = xcalloc2(n, sizeof *q->free);
    q->wait = xcalloc2(n, sizeof *q->wait);
    q->tenant = xcalloc2(n, sizeof *q->tenant);
    q->tenant_free = xcalloc2(n, sizeof *q->tenant_free);
    q->tenant_seen = xcalloc2(n, sizeof *q->tenant_seen);
    q->tenant_decoding = xcalloc2(n, sizeof *q->tenant_decoding);
    q->run = xcalloc2((size_t)c->max_seqs, sizeof *q->run);
    q->free_row = xcalloc2((size_t)c->max_seqs, sizeof *q->free_row);
    for (int32_t i = n_slots - 1; i >= 0; i--) {
        q->free[q->n_free++] = i;
        q->tenant_free[q->n_tenant_free++] = i;
    }
    for (int32_t i = c->max_seqs - 1; i >= 0; i--)
        q->free_row[q->n_free_rows++] = i;
    idmap_init(&q->ids, n_slots);
    idmap_init(&q->tenants, n_slots);
    return 0;
}

static void seqs_fini(struct seqs *q)
{
    if (q->seq) {
        free(q->seq[0].tok);
        free(q->seq[0].pages);
    }
    free(q->seq);
    free(q->free);
    free(q->wait);
    free(q->run);
    free(q->free_row);
    free(q->tenant);
    free(q->tenant_free);
    free(q->tenant_seen);
    free(q->tenant_decoding);
    idmap_fini(&q->ids);
    idmap_fini(&q->tenants);
}

/* The inbox holds every request the admission bound lets in, and eight cancels for each. */
static void alloc_inbox(struct engine *en)
{
    const struct msg_submit most = {.n_prompt = en->lim.max_model_len,
                                    .n_stop_ids = MAX_STOP_IDS,
                                    .n_bias = MAX_BIAS,
                                    .n_mask = MSG_MASK_WORDS(en->lim.vocab)};
    size_t one = msg_submit_bytes(&most) + 8 * sizeof(struct msg_cancel) + 16 * sizeof(size_t);
    en->in = mbox_new(1 << 16, (size_t)en->seqs.n_slots * one + (1 << 16), NULL, NULL);
}

int engine_new(struct engine **out, const struct config *c, const struct engine_facts *f,
               const struct executor *ex, struct mbox *outbox, struct err *e)
{
    *out = NULL;
    int st = check_bounds(c, f, ex, e);
    if (st != 0)
        return st;
    if (f->hidden_dim != 0 && (!ex->hidden || ex->hidden_dim != f->hidden_dim))
        return err_param(e, ST_INVALID_VALUE, "hidden_dim",
                         "hidden_dim is %d, but the executor's vectors have %d", f->hidden_dim,
                         ex->hidden_dim);
    struct engine *en = xalloc(sizeof *en);
    engine_limits_of(&en->lim, c, f);
    en->facts = *f;
    en->out = outbox;
    en->now = real_clock;
    en->sched = (struct sched){.max_step_tokens = (int32_t)c->scheduler.max_step_tokens,
                               .max_decode_gap_us = c->scheduler.max_decode_gap,
                               .n_shares = f->n_lanes > 1 ? ex->n_shares : 0,
                               .weight_tokens = (double)f->weight_tokens,
                               .gate_seq = -1,
                               .area_full = -1};
    en->stats.healthy = 1;
    const struct kv_config k = {.n_pages = f->n_pages,
                                .page_tokens = en->lim.page_tokens,
                                .eviction = c->kv.prefix_cache.eviction,
                                .seed = f->cache_seed};
    if ((st = kv_new(&en->kv, &k, e)) != 0 ||
        (st = seqs_init(&en->seqs, &en->lim, en->lim.max_live + en->lim.max_seqs, e)) != 0 ||
        (st = area_init(en, e)) != 0 || (st = outbox_init(en, e)) != 0) {
        engine_free(en);
        return st;
    }
    int64_t depth = c->scheduler.steps_in_flight;
    depth = depth < f->steps_in_flight ? depth : f->steps_in_flight;
    for (; en->n_lanes < f->n_lanes; en->n_lanes++)
        lane_init(&en->lane[en->n_lanes], en->n_lanes, &ex[en->n_lanes], (int32_t)depth);
    en->held = xcalloc2((size_t)f->n_pages, sizeof *en->held);
    en->pins = xcalloc2((size_t)kv_node_slots(en->kv), sizeof *en->pins);
    alloc_inbox(en);
    *out = en;
    return 0;
}

void engine_free(struct engine *en)
{
    if (!en)
        return;
    CHECK(!en->started);
    kv_free(en->kv);
    seqs_fini(&en->seqs);
    area_fini(en);
    for (int32_t i = 0; i < en->n_lanes; i++)
        lane_fini(&en->lane[i]);
    free(en->held);
    free(en->pins);
    outbox_fini(en);
    mbox_free(en->in);
    free(en);
}

static void *thread_main(void *arg)
{
    struct engine *en = arg;
    thread_claim(THREAD_ENGINE);
    while (!en->stopping)
        if (!engine_turn(en))
            mbox_wait(en->in, en->staging.blocked ? HELD_POLL_US : -1);
    /* The last ends: give the loop thread a moment to make room, then leave. */
    for (int i = 0; i < STOP_POLLS && en->staging.blocked; i++) {
        mbox_wait(en->in, HELD_POLL_US);
        engine_turn(en);
    }
    thread_unclaim(THREAD_ENGINE);
    return NULL;
}

int engine_start(struct engine *en, struct err *e)
{
    if (pthread_create(&en->thread, NULL, thread_main, en) != 0)
        return err_set(e, ST_NOMEM, "cannot start the engine thread");
    en->started = true;
    return 0;
}

void engine_stop(struct engine *en, int status)
{
    const struct msg_cancel m = {.h = {.kind = MSG_STOP, .bytes = sizeof m}, .reason = status};
    int expect = 0;
    atomic_compare_exchange_strong(&en->down, &expect, status < 0 ? status : ST_DRAINING);
    while (mbox_send(en->in, &m, sizeof m) == ST_FULL) /* a running engine drains it */
        if (!en->started)
            engine_turn(en);
    if (en->started) {
        pthread_join(en->thread, NULL);
        en->started = false;
    }
    engine_turn(en); /* what arrived while it ended is refused */
}

/* A prompt that gives a vector draws nothing, and brings nothing for a draw. */
static int embed_check(const struct engine *en, const struct msg_submit *m)
{
    if (m->embed == EMBED_NONE)
        return m->max_new < 1 && (m->scores == 0 || m->n_prompt < 2) ? ST_INVALID_VALUE : 0;
    if (m->embed < 0 || m->embed >= N_EMBEDS || m->max_new != 0 || m->n_stop_ids != 0 ||
        m->n_bias != 0 || m->n_mask != 0 || m->min_new != 0 || m->params.n_logprobs != -1 ||
        m->scores != 0 || has_penalty(&m->params))
        return ST_INVALID_VALUE;
    return en->lim.hidden_dim > 0 ? 0 : ST_UNSUPPORTED;
}

static int submit_check(const struct engine *en, const struct msg_submit *m)
{
    if (m->h.kind != MSG_SUBMIT || m->id == 0 || m->n_prompt < 1 || m->max_new < 0 ||
        m->scores < 0 || m->scores > 1 + MAX_LOGPROBS || m->n_stop_ids < 0 ||
        m->n_stop_ids > MAX_STOP_IDS || m->params.n_logprobs < -1 ||
        m->params.n_logprobs > MAX_LOGPROBS || m->n_bias < 0 || m->n_bias > MAX_BIAS ||
        m->n_mask < 0 || m->n_mask > MSG_MASK_WORDS(en->lim.vocab) || m->weight < 0 ||
        m->weight > MAX_WEIGHT || m->max_rows < 0 || m->account < 0 || m->account >= KV_ACCOUNTS ||
        !(m->cache_share >= 0 && m->cache_share <= 1))
        return ST_INVALID_VALUE;
    int st = embed_check(en, m);
    if (st == 0)
        st = engine_fits(&en->lim, m->n_prompt, m->max_new, NULL);
    if (st != 0)
        return st;
    if (m->h.bytes != 0 && m->h.bytes != msg_submit_bytes(m))
        return ST_INVALID_LENGTH;
    const token_id *tok = (const token_id *)(m + 1);
    for (int32_t i = 0; i < m->n_prompt; i++)
        if (tok[i] < 0 || tok[i] >= en->lim.vocab)
            return ST_INVALID_VALUE;
    return area_check(&en->lim, &en->facts, m);
}

int engine_submit(struct engine *en, const struct msg_submit *m)
{
    int st = atomic_load(&en->down);
    if (st != 0 || (st = submit_check(en, m)) != 0)
        return st;
    /* Work begins now: the last turn of an engine that slept says nothing about its health. */
    if (atomic_load(&en->live) == 0)
        atomic_store(&en->beat_us, clock_us());
    if (atomic_fetch_add(&en->live, 1) >= en->lim.max_live) {
        atomic_fetch_sub(&en->live, 1);
        return ST_QUEUE_FULL;
    }
    st = mbox_send(en->in, m, msg_submit_bytes(m));
    if (st != 0)
        atomic_fetch_sub(&en->live, 1);
    return st;
}

int engine_cancel(struct engine *en, req_id id, int reason)
{
    const struct msg_cancel m = {
        .h = {.kind = MSG_CANCEL, .bytes = sizeof m}, .id = id, .reason = reason};
    return mbox_send(en->in, &m, sizeof m);
}

int engine_dump(struct engine *en)
{
    const struct msg_head m = {.kind = MSG_DUMP, .bytes = sizeof m};
    return mbox_send(en->in, &m, sizeof m);
}

static int misfit(struct engine_misfit *why, enum engine_bound bound, int64_t tokens)
{
    if (why)
        *why = (struct engine_misfit){.bound = bound, .tokens = tokens};
    return ST_CONTEXT_LENGTH;
}

int engine_fits(const struct engine_limits *l, int64_t n_prompt, int64_t max_new,
                struct engine_misfit *why)
{
    if (n_prompt > l->max_model_len || max_new > l->max_model_len - n_prompt)
        return misfit(why, ENGINE_BOUND_MODEL, l->max_model_len);
    int64_t pool = (int64_t)l->n_pages * l->page_tokens;
    if (n_prompt + max_new - (max_new > 0) > pool) /* the token drawn last needs no room */
        return misfit(why, ENGINE_BOUND_POOL, pool);
    return 0;
}

int64_t engine_allowance_us(const struct engine *en)
{
    return atomic_load_explicit(&en->allowance_us, memory_order_relaxed);
}

int64_t engine_heartbeat_us(const struct engine *en, bool *busy)
{
    if (busy)
        *busy = atomic_load(&en->live) > 0;
    return atomic_load_explicit(&en->beat_us, memory_order_relaxed);
}
