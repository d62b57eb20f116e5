/* SPDX-License-Identifier: Apache-2.0 */
/* stream.c - streams on the loop thread: choices go to the engine, its records become text. See
 * stream.h. A done choice takes no more text, whatever the engine still sends.
 */
#include "stream.h"

#include "clock.h"
#include "events.h"
#include "hash.h"
#include "life.h"
#include "log.h"
#include "mem.h"
#include "random.h"
#include "reply.h"
#include "utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The engine has let go of c. */
static void let_go(struct choice *c)
{
    slot_give(&c->s->a->slots, c->id);
    c->id = 0;
    c->s->n_open--;
}

static void cancel_choice(struct choice *c, int reason)
{
    if (!c->id)
        return;
    int st = engine_cancel(c->s->a->s.engine, c->id, reason);
    c->cancel_reason = reason;
    c->cancel_pending = st == ST_FULL; /* tried again by the sweep */
}

/* Nobody wants the rest of s any more. */
static void cancel(struct stream *s, int reason)
{
    for (int32_t i = 0; i < s->n_choices; i++) {
        struct choice *c = &s->choice[i];
        if (!c->done) {
            c->done = true;
            s->n_left--;
            cancel_choice(c, reason);
            s->a->m.ends[reason == ST_CANCELLED ? END_ABORT : END_ERROR]++;
        }
    }
}

void stream_fail(struct stream *s, const struct err *e)
{
    struct req *r = s->r;
    if (r->ended || r->gone)
        return;
    cancel(s, e->st);
    if (!r->answered) {
        reply_error(r, e);
        return;
    }
    if (!r->streaming)
        return;
    event_error(s, e);
    r->ended = true;
    reply_more(r);
}

/* ---- text ---- */

static void finish_choice(struct choice *c, const char *finish)
{
    struct stream *s = c->s;
    struct metrics *m = &s->a->m;
    c->done = true;
    c->finish = finish;
    s->n_left--;
    m->ends[strcmp(finish, "stop") == 0 ? END_STOP : END_LENGTH]++;
    hist_add(m, H_GENERATION, c->n_tokens);
    if (c->n_tokens == 0)
        return;
    double decode = (double)(c->last_us - c->first_us) * 1e-6;
    double prefill = (double)(c->first_us - s->r->arrival_us - c->queue_us) * 1e-6;
    hist_add(m, H_PREFILL, prefill > 0 ? prefill : 0);
    hist_add(m, H_DECODE, decode);
    hist_add(m, H_INFERENCE, decode + (prefill > 0 ? prefill : 0));
    if (c->n_tokens > 1)
        hist_add(m, H_TPOT, decode / (c->n_tokens - 1));
}

/* Where token t stands in the text: behind what the tokens before it gave. Held bytes that it does
 * not go on with became U+FFFD (each of them stands at the beginning of `raw`, and they are no more
 * than a flush before it would have given). A character in several tokens begins at the first one's
 * place. */
static void place_token(struct choice *c, const struct detok *before, const struct buf *raw)
{
    static const char lost[] = "\xEF\xBF\xBD";
    int64_t at = c->emitted, most = 0;
    if (before->n_hold) {
        struct detok d = *before;
        struct buf flushed = {0};
        detok_flush(&d, &flushed);
        most = (int64_t)utf8_count(flushed.p ? flushed.p : "", flushed.n);
        buf_free(&flushed);
    }
    for (size_t i = 0; most > 0 && i + 3 <= raw->n && memcmp(raw->p + i, lost, 3) == 0; i += 3) {
        at++;
        most--;
    }
    c->offset = at;
    c->emitted += (int64_t)utf8_count(raw->p ? raw->p : "", raw->n);
}

/* Text of one token through detokeniser and stop matcher. True when a stop string ended it. A stop
 * string counts that ends behind the first min_tokens tokens, wherever it begins. */
static bool add_text(struct choice *c, token_id t, bool flush, struct buf *shown)
{
    struct stream *s = c->s;
    struct buf *raw = &s->a->scratch;
    bool placed = s->g.n_logprobs >= 0 && !s->g.chat;
    const struct detok before = placed ? c->detok : (struct detok){0};
    raw->n = 0;
    if (t >= 0)
        detok_push(&c->detok, t, raw);
    if (placed)
        place_token(c, &before, raw);
    if (flush)
        detok_flush(&c->detok, raw);
    const char *p = raw->p ? raw->p : "";
    if (c->n_tokens <= s->g.min_tokens) {
        stopper_pass(&c->stopper, p, raw->n, shown);
    } else {
        int hit = stopper_push(&c->stopper, p, raw->n, s->g.include_stop, shown);
        if (hit >= 0) {
            c->stop_string = hit;
            return true;
        }
    }
    if (flush)
        stopper_flush(&c->stopper, shown);
    return false;
}

static void note_token(struct choice *c, const struct out_rec *rec, int64_t now)
{
    struct metrics *m = &c->s->a->m;
    int64_t arrival = c->s->r->arrival_us;
    if (c->last_us == 0) {
        c->n_cached = rec->n_cached;
        c->first_us = now;
        c->queue_us = rec->queue_us;
        hist_add(m, H_QUEUE, (double)rec->queue_us * 1e-6);
        hist_add(m, H_TTFT, (double)(now - arrival) * 1e-6);
    } else {
        hist_add(m, H_ITL, (double)(now - c->last_us) * 1e-6);
    }
    c->last_us = now;
    c->n_tokens++;
}

/* Sums over the choices, the earliest first token, the worst ending. */
void stream_line(const struct req *r, char *out, size_t n)
{
    const struct stream *s = r->user;
    int64_t first = 0, queue = 0, made = 0, cached = 0;
    const char *finish = "stop";
    if (s->n_choices == 0) {
        out[0] = '\0';
        return;
    }
    for (int32_t i = 0; i < s->n_choices; i++) {
        const struct choice *c = &s->choice[i];
        made += c->n_tokens;
        cached += c->index == 0 ? c->n_cached : 0; /* each prompt once, as in usage */
        queue = c->queue_us > queue ? c->queue_us : queue;
        if (c->first_us && (!first || c->first_us < first))
            first = c->first_us;
        if (!c->finish || strcmp(c->finish, "stop") != 0)
            finish = c->finish && strcmp(finish, "abort") != 0 ? c->finish : "abort";
    }
    snprintf(out, n,
             " prompt_tokens=%zu cached_tokens=%lld completion_tokens=%lld choices=%d "
             "queue_ms=%.1f first_token_ms=%.1f finish=%s",
             s->g.ids.n, (long long)cached, (long long)made, (int)s->n_choices, (double)queue / 1e3,
             first ? (double)(first - r->arrival_us) / 1e3 : -1.0, finish);
}

static void all_done(struct stream *s, int64_t now)
{
    struct req *r = s->r;
    hist_add(&s->a->m, H_E2E, (double)(now - r->arrival_us) * 1e-6);
    if (s->g.stream) {
        event_done(s);
        r->ended = true;
        reply_more(r);
        return;
    }
    struct buf b = {0};
    answer_json(s, &b);
    reply(r, 200, "application/json", b.p, b.n);
    buf_free(&b);
}

static void check_buffer(struct stream *s)
{
    struct req *r = s->r;
    if (r->gone || (int64_t)(r->out.n - r->out_at) <= s->a->c->stream.buffer_bytes)
        return;
    s->a->m.slow_readers++;
    log_info("api.slow_reader", "id=%s unsent=%zu", r->id, r->out.n - r->out_at);
    req_drop(r);
}

static void show(struct choice *c, struct buf *shown, bool last)
{
    struct stream *s = c->s;
    if (!s->g.stream) {
        buf_add(&c->text, shown->p ? shown->p : "", shown->n);
        return;
    }
    event_token(s, c, shown, last);
    if (!s->r->answered)
        reply_events(s->r);
    reply_more(s->r);
}

static void on_token(struct choice *c, const struct out_rec *rec, const struct token_logprob *top,
                     int64_t now)
{
    struct stream *s = c->s;
    struct buf shown = {0};
    bool token = rec->token >= 0, end = rec->finish != FINISH_NONE;
    bool hidden = rec->finish == FINISH_STOP; /* EOS and stop ids are not part of the text */
    if (token)
        note_token(c, rec, now);
    bool hit = add_text(c, token && !hidden ? rec->token : -1, end, &shown);
    if (token)
        logprob_add(c, rec, top);
    if (hit) {
        finish_choice(c, "stop");
        if (!end)
            cancel_choice(c, ST_OK);
    } else if (end) {
        c->stop_id = rec->stop_id;
        finish_choice(c, rec->finish == FINISH_STOP ? "stop" : "length");
    }
    show(c, &shown, c->done);
    buf_free(&shown);
    if (s->n_left == 0)
        all_done(s, now);
    else
        check_buffer(s);
}

static void on_failed(struct choice *c, const struct out_rec *rec)
{
    struct err e;
    int st = rec->status ? rec->status : ST_INTERNAL;
    err_set(&e, st,
            st == ST_DRAINING        ? "The server is shutting down."
            : st == ST_QUEUE_TIMEOUT ? "The request waited too long for its turn."
            : st == ST_CANCELLED     ? "The request was cancelled."
                                     : "The engine could not finish this request.");
    if (st == ST_CANCELLED || st_http(st) < 400)
        e.st = ST_INTERNAL;
    c->done = true;
    c->s->n_left--;
    c->s->a->m.ends[END_ERROR]++;
    stream_fail(c->s, &e);
}

static void on_record(struct api *a, const struct out_rec *rec, const struct token_logprob *top,
                      int64_t now)
{
    struct choice *c = slot_find(&a->slots, rec->id);
    if (!c)
        return;
    struct req *r = c->s->r;
    bool end = rec->finish != FINISH_NONE;
    if (end)
        let_go(c);
    if (!c->done && (rec->finish == FINISH_ERROR || rec->finish == FINISH_CANCEL))
        on_failed(c, rec);
    else if (!c->done)
        on_token(c, rec, top, now);
    if (end)
        req_release(r);
}

void stream_outbox(struct api *a, const struct msg_outbox *m, size_t n)
{
    const struct out_rec *rec = (const struct out_rec *)(m + 1);
    const struct token_logprob *top = (const struct token_logprob *)(rec + m->n_rec);
    int64_t now = clock_us();
    if (m->h.kind != MSG_OUTBOX || n < sizeof *m)
        return;
    a->stats = m->stats;
    a->has_stats = true;
    for (int32_t i = 0; i < m->n_rec; i++)
        on_record(a, &rec[i], top + rec[i].top0, now);
}

/* ---- start ---- */

static uint64_t seed_of(const struct stream *s, int32_t i)
{
    char hex[17];
    if (s->g.seed == INT64_MIN || s->g.seed == -1) {
        random_hex(hex, 16);
        return strtoull(hex, NULL, 16);
    }
    /* choice i draws from a stream of its own, wherever in a batch its prompt stands */
    uint64_t seed = (uint64_t)s->g.seed;
    return i == 0 ? seed : mix64(seed + 0x9e3779b97f4a7c15u * (uint64_t)i);
}

static int submit(struct choice *c, struct msg_submit *m, int32_t i)
{
    struct stream *s = c->s;
    struct slots *slots = &s->a->slots;
    const struct genreq *g = &s->g;
    size_t n = g->first[c->prompt + 1] - g->first[c->prompt];
    token_id *tok = (token_id *)(m + 1);
    *m = (struct msg_submit){.id = slot_take(slots, c),
                             .arrival_us = s->r->arrival_us,
                             .priority = g->priority,
                             .tenant = s->r->tenant,
                             .cache_ns = ns_of(&s->a->cache_key, s->r->tenant, g->salt, g->n_salt),
                             .n_prompt = (int32_t)n,
                             .max_new = g->max_new[c->prompt],
                             .n_stop_ids = g->n_stop_ids,
                             .min_new = (int32_t)g->min_tokens,
                             .ignore_eos = g->ignore_eos,
                             .params = g->sample};
    m->h.kind = MSG_SUBMIT;
    m->h.bytes = (uint32_t)(sizeof *m + (n + (size_t)g->n_stop_ids) * sizeof *tok);
    m->params.seed = seed_of(s, i);
    memcpy(tok, g->ids.p + g->first[c->prompt], n * sizeof *tok);
    memcpy(tok + n, g->stop_ids, (size_t)g->n_stop_ids * sizeof *tok);
    int st = engine_submit(s->a->s.engine, m);
    if (st) {
        slot_give(slots, m->id);
        return st;
    }
    c->id = m->id;
    s->n_open++;
    return 0;
}

static void set_up(struct stream *s)
{
    const struct genreq *g = &s->g;
    size_t n_kind = g->chat ? 9 : 5;
    s->n_choices = s->n_left = g->n_prompts * (int32_t)g->n;
    s->choice = xcalloc2((size_t)s->n_choices, sizeof *s->choice);
    for (int32_t i = 0; i < s->n_choices; i++) {
        struct choice *c = &s->choice[i];
        c->s = s;
        c->index = i;
        c->prompt = i / (int32_t)g->n;
        c->stop_string = c->stop_id = -1;
        detok_init(&c->detok, s->a->s.tok, g->skip_special);
        stopper_init(&c->stopper, g->stops);
    }
    memcpy(s->object_id, g->chat ? "chatcmpl-" : "cmpl-", n_kind);
    random_hex(s->object_id + n_kind, 32);
    s->created = clock_unix_s();
    event_prefix(s);
}

/* echo: the prompt's own text comes first; with max_tokens 0 nothing else comes. */
static void echo_prompts(struct stream *s)
{
    const struct genreq *g = &s->g;
    int64_t now = clock_us();
    for (int32_t i = 0; i < s->n_choices && !s->r->gone; i++) {
        struct choice *c = &s->choice[i];
        struct buf text = {0};
        size_t first = g->first[c->prompt], n = g->first[c->prompt + 1] - first;
        tok_decode(s->a->s.tok, g->ids.p + first, n, g->skip_special, &text);
        if (g->max_new[c->prompt] == 0)
            finish_choice(c, "length");
        show(c, &text, c->done);
        buf_free(&text);
    }
    if (s->n_left == 0)
        all_done(s, now);
}

static int submit_all(struct stream *s)
{
    const struct genreq *g = &s->g;
    size_t most = 0;
    for (int32_t p = 0; p < g->n_prompts; p++)
        if (g->first[p + 1] - g->first[p] > most)
            most = g->first[p + 1] - g->first[p];
    struct msg_submit *m = malloc(sizeof *m + (most + (size_t)g->n_stop_ids) * sizeof(token_id));
    int st = m ? 0 : ST_NOMEM;
    for (int32_t i = 0; i < s->n_choices && !st; i++)
        if (g->max_new[s->choice[i].prompt] > 0)
            st = submit(&s->choice[i], m, i % (int32_t)g->n);
    free(m);
    return st;
}

static void count_admission(struct stream *s)
{
    const struct genreq *g = &s->g;
    struct metrics *m = &s->a->m;
    hist_add(m, H_N, (double)g->n);
    for (int32_t p = 0; p < g->n_prompts; p++) {
        hist_add(m, H_PROMPT, (double)(g->first[p + 1] - g->first[p]));
        hist_add(m, H_MAX_TOKENS, (double)g->max_new[p]);
    }
}

static const char queue_full[] = "The queue of this server is full; try again later.";

void stream_begin(struct stream *s)
{
    struct api *a = s->a;
    struct req *r = s->r;
    struct err e;
    if (s->g.request_id[0] && !r->id_given)
        memcpy(r->id, s->g.request_id, sizeof r->id);
    if (http_stage_now(a->http) >= HTTP_DRAIN) {
        reply_fail(r, ST_DRAINING, "The server is shutting down.");
        return;
    }
    life_slots(a);
    if (a->slots.n_live + (int64_t)s->g.n_prompts * s->g.n > a->slots.max_live) {
        a->m.rejected++;
        reply_fail(r, ST_QUEUE_FULL, queue_full);
        return;
    }
    set_up(s);
    int st = submit_all(s);
    if (st) {
        bool full = st == ST_QUEUE_FULL || st == ST_FULL;
        err_set(&e, full ? ST_QUEUE_FULL : st, "%s",
                full ? queue_full : "The engine did not take the request.");
        a->m.rejected += full;
        stream_fail(s, &e);
        return;
    }
    s->admitted = true;
    count_admission(s);
    if (s->g.echo)
        echo_prompts(s);
}

/* ---- deadlines ---- */

/* Only the engine knows whether a request still waits. The first choice is the first to be
 * admitted; when it is refused, on_failed ends the others. */
static void ask_queue_timeout(struct stream *s)
{
    for (int32_t i = 0; i < s->n_choices; i++)
        if (s->choice[i].id) {
            int st = engine_cancel(s->a->s.engine, s->choice[i].id, ST_QUEUE_TIMEOUT);
            s->queue_asked = st == 0;
            return;
        }
}

static bool shown_nothing(const struct stream *s)
{
    for (int32_t i = 0; i < s->n_choices; i++)
        if (s->choice[i].last_us)
            return false;
    return true;
}

void stream_sweep(struct req *r, int64_t now)
{
    struct stream *s = r->user;
    const struct config *c = s->a->c;
    int64_t age = now - r->arrival_us;
    struct err e;
    for (int32_t i = 0; i < s->n_choices; i++)
        if (s->choice[i].cancel_pending)
            cancel_choice(&s->choice[i], s->choice[i].cancel_reason);
    if (!s->admitted || r->gone)
        return;
    if (r->streaming && r->out.n > r->out_at && now - r->out_since_us > c->http.write_timeout) {
        s->a->m.slow_readers++;
        req_drop(r);
    } else if (!r->ended && c->limits.request_timeout > 0 && age > c->limits.request_timeout) {
        err_set(&e, ST_DEADLINE, "The request did not finish within the server's time limit.");
        stream_fail(s, &e);
    } else if (!s->queue_asked && c->limits.queue_timeout > 0 && age > c->limits.queue_timeout &&
               shown_nothing(s)) {
        ask_queue_timeout(s);
    }
}

/* ---- the end ---- */

void stream_gone(struct req *r)
{
    struct stream *s = r->user;
    s->a->m.disconnects++;
    cancel(s, ST_CANCELLED);
}

void stream_failed(struct req *r, const struct err *e)
{
    stream_fail(r->user, e);
}

bool stream_busy(const struct req *r)
{
    const struct stream *s = r->user;
    return s->n_open > 0;
}

void stream_abandon_all(struct api *a)
{
    for (uint32_t i = 0; i < a->slots.n; i++)
        if (a->slots.v[i].c)
            let_go(a->slots.v[i].c);
}

void stream_free(struct req *r)
{
    struct stream *s = r->user;
    for (int32_t i = 0; i < s->n_choices; i++) {
        struct choice *c = &s->choice[i];
        stopper_fini(&c->stopper);
        buf_free(&c->text);
        buf_free(&c->lp.tokens);
        buf_free(&c->lp.token_logprobs);
        buf_free(&c->lp.top_logprobs);
        buf_free(&c->lp.text_offset);
    }
    free(s->choice);
    buf_free(&s->pre);
    genreq_fini(&s->g);
    free(s);
}
