/* SPDX-License-Identifier: Apache-2.0 */
/* stream.c - streams on the loop thread: choices go to the engine, its records become text. See
 * stream.h. A done choice takes no more text, whatever the engine still sends.
 */
#include "stream.h"

#include "clock.h"
#include "cost.h"
#include "embed.h"
#include "events.h"
#include "life.h"
#include "log.h"
#include "logprobs.h"
#include "mem.h"
#include "random.h"
#include "reply.h"
#include "scores.h"
#include "submit.h"
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

/* s is over for its tenant, and charged: what it generated, and its prompt unless it was the server
 * that gave it up before a first token. */
static void leave(struct stream *s, int reason)
{
    bool ours = reason && reason != ST_CANCELLED && reason != ST_DEADLINE;
    int64_t made = 0;
    if (!s->entered)
        return;
    s->entered = false;
    for (int32_t i = 0; i < s->n_choices; i++)
        made += s->choice[i].n_tokens;
    tenant_leave(s->a, s->r, &s->need, made, ours && made == 0);
}

/* Nobody wants the rest of s any more. */
static void cancel(struct stream *s, int reason)
{
    leave(s, reason);
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

static void send_held(struct stream *s, bool all);

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
    send_held(s, true);
    s->shape->error(s, e);
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
    hist_add(m, H_E2E, (double)(c->last_us - s->r->arrival_us) * 1e-6);
    hist_add(m, H_COMPUTED,
             (double)(s->g.first[c->prompt + 1] - s->g.first[c->prompt]) - c->n_cached);
    double decode = (double)(c->last_us - c->first_us) * 1e-6;
    double prefill = (double)(c->first_us - s->r->arrival_us - c->queue_us) * 1e-6;
    hist_add(m, H_PREFILL, prefill > 0 ? prefill : 0);
    hist_add(m, H_DECODE, decode);
    hist_add(m, H_INFERENCE, decode + (prefill > 0 ? prefill : 0));
    if (c->n_tokens > 1)
        hist_add(m, H_TPOT, decode / (c->n_tokens - 1));
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
        logprob_place(&c->offset, &c->emitted, &before, raw);
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
    c->sum_logprob += (double)rec->logprob;
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
        cached += i % s->g.n_made == 0 ? c->n_cached : 0; /* each prompt once, as in usage */
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

static void no_memory(struct stream *s)
{
    struct err e;
    err_set(&e, ST_NOMEM, "This server has no memory left for this request.");
    stream_fail(s, &e);
}

/* A piece of what c collects is missing. */
static bool lost_some(const struct choice *c)
{
    return c->text.oom || c->lp.tokens.oom || c->lp.token_logprobs.oom || c->lp.top_logprobs.oom ||
           c->lp.text_offset.oom || c->token_ids.oom;
}

/* Everything was sent or is in r->out. */
static void end_stream(struct stream *s)
{
    s->shape->done(s);
    s->r->ended = true;
    reply_more(s->r);
}

static void all_done(struct stream *s)
{
    struct req *r = s->r;
    struct buf b = {0};
    int32_t most = 0;
    if (r->ended || (r->answered && !r->streaming))
        return; /* it failed on the way to its end */
    leave(s, 0);
    for (int32_t i = 0; i < s->n_choices; i++)
        most = s->choice[i].n_tokens > most ? s->choice[i].n_tokens : most;
    hist_add(&s->a->m, H_MAX_GENERATION, most);
    if (s->g.stream) {
        if (s->n_held == 0)
            end_stream(s);
        return;
    }
    if (buf_room(&b, s->shape->bytes(s))) {
        s->shape->answer(s, &b);
        reply(r, 200, "application/json", b.p, b.n);
    } else {
        no_memory(s);
    }
    buf_free(&b);
}

/* ---- a client that is slower than the model ---- */

static bool client_is_full(const struct stream *s)
{
    return (int64_t)(s->r->out.n - s->r->out_at) > s->a->c->stream.buffer_bytes;
}

/* What the client has taken of r->out is dropped before it grows, so a long stream stays small. */
static void compact(struct req *r)
{
    if (r->out_at == 0)
        return;
    memmove(r->out.p, r->out.p + r->out_at, r->out.n - r->out_at);
    r->out.n -= r->out_at;
    r->out_at = 0;
}

/* false: no memory for what the event has of its prompt. */
static bool send_event(struct choice *c, const struct buf *text)
{
    enum { EVENT = 4096 }; /* bytes of an event around its text */
    size_t scored = scores_bytes(c);
    if (scored > 0 && !buf_room(&c->s->r->out, scored + cost_json(text->p ? text->p : "", text->n) +
                                                   logprob_bytes(&c->lp) + EVENT))
        return false;
    compact(c->s->r);
    c->s->shape->token(c->s, c, text, c->done);
    if (!c->s->r->answered)
        reply_events(c->s->r);
    reply_more(c->s->r);
    return true;
}

/* What was held back goes out as one event a choice, as far as there is room for more. `all`:
 * whatever the room. */
static void send_held(struct stream *s, bool all)
{
    for (int32_t i = 0; s->n_held > 0 && i < s->n_choices && (all || !client_is_full(s)); i++) {
        struct choice *c = &s->choice[i];
        if (!c->held || scores_pending(c))
            continue;
        c->held = false;
        s->n_held--;
        bool sent = send_event(c, &c->text);
        c->text.n = 0;
        if (sent)
            continue;
        if (!all) /* else it fails anyway */
            no_memory(s);
        return;
    }
}

/* The client has not taken what it was sent, or must be told of the prompt first: the text waits
 * for room, its logprobs and its finish reason wait in c. Nothing is lost by that. How long a
 * client may take nothing is write_timeout's to say; how much may be kept for it,
 * max_answer_bytes', as for an answer in one piece. */
static void hold(struct choice *c, const struct buf *shown)
{
    struct stream *s = c->s;
    s->n_held += !c->held;
    c->held = true;
    buf_add(&c->text, shown->p, shown->n);
    size_t kept = c->text.n + logprob_bytes(&c->lp) + c->token_ids.n;
    int64_t most = s->a->c->limits.max_answer_bytes;
    if ((int64_t)kept <= (scores_pending(c) ? most : most / s->n_choices))
        return;
    s->a->m.slow_readers++;
    log_info("api.slow_reader", "id=%s unsent=%zu", s->r->id, kept);
    req_drop(s->r);
}

static void show(struct choice *c, struct buf *shown)
{
    struct stream *s = c->s;
    if (!s->g.stream)
        buf_add(&c->text, shown->p ? shown->p : "", shown->n);
    else if (c->held || client_is_full(s) || scores_pending(c))
        hold(c, shown);
    else if (!send_event(c, shown))
        no_memory(s);
    if (s->n_held > 0 && !s->r->gone)
        send_held(s, false);
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
    if (token) {
        logprob_add(c, rec, top);
        token_id_add(c, rec->token);
    }
    if (hit) {
        finish_choice(c, "stop");
        if (!end)
            cancel_choice(c, ST_OK);
    } else if (end) {
        c->stop_id = rec->stop_id;
        finish_choice(c, rec->finish == FINISH_STOP ? "stop" : "length");
    }
    show(c, &shown);
    buf_free(&shown);
    if (lost_some(c))
        no_memory(s);
    else if (s->n_left == 0 && !s->r->gone)
        all_done(s);
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

/* All choices of prompt p may show what they have; with max_tokens 0 that is all. */
static void prompt_told(struct stream *s, int32_t p)
{
    for (int32_t i = p * s->g.n_made; i < (p + 1) * s->g.n_made; i++)
        if (s->g.max_new[p] == 0 && !s->choice[i].done)
            finish_choice(&s->choice[i], "length");
    if (s->n_held > 0)
        send_held(s, false);
    if (s->n_left == 0 && !s->r->gone)
        all_done(s);
}

/* The log probability of the next token of a prompt. */
static void on_score(struct choice *c, const struct out_rec *rec, const struct token_logprob *top)
{
    if (!scores_add(c, rec, top))
        no_memory(c->s);
    else if (!scores_pending(c))
        prompt_told(c->s, c->prompt);
}

static void on_record(struct api *a, const struct out_rec *rec, const struct token_logprob *top,
                      const float *vec, int64_t now)
{
    struct choice *c = slot_find(&a->slots, rec->id);
    if (!c) {
        embed_record(a, rec, vec, now);
        return;
    }
    struct req *r = c->s->r;
    bool end = rec->finish != FINISH_NONE;
    if (rec->scored_at > 0) {
        if (!c->done)
            on_score(c, rec, top);
        return;
    }
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
    const float *vec = (const float *)(top + m->n_top);
    int64_t now = clock_us();
    if (m->h.kind != MSG_OUTBOX || n < sizeof *m)
        return;
    int32_t live = a->slots.n_live;
    meter_note(&a->tokens, now, (double)(m->stats.generated_tokens - a->stats.generated_tokens),
               true);
    a->stats = m->stats;
    a->has_stats = true;
    for (int32_t i = 0; i < m->n_rec; i++)
        on_record(a, &rec[i], top + rec[i].top0, vec + rec[i].vec0, now); /* one of the two */
    meter_note(&a->ends, now, live - a->slots.n_live, live > 0);
}

/* ---- start ---- */

static bool set_up(struct stream *s)
{
    const struct genreq *g = &s->g;
    size_t n_kind = strlen(s->shape->id);
    s->choice = try_alloc((size_t)g->n_prompts * (size_t)g->n_made * sizeof *s->choice);
    if (!s->choice)
        return false;
    s->n_choices = s->n_left = g->n_prompts * g->n_made;
    for (int32_t i = 0; i < s->n_choices; i++) {
        struct choice *c = &s->choice[i];
        c->s = s;
        c->index = i;
        c->prompt = i / g->n_made;
        c->stop_string = c->stop_id = -1;
        c->text.soft = c->lp.tokens.soft = c->lp.token_logprobs.soft = c->lp.top_logprobs.soft =
            c->lp.text_offset.soft = c->token_ids.soft = true;
        detok_init(&c->detok, s->a->s.tok, g->skip_special);
        stopper_init(&c->stopper, g->stops);
    }
    memcpy(s->object_id, s->shape->id, n_kind);
    random_hex(s->object_id + n_kind, 32);
    s->created = clock_unix_s();
    s->pre.soft = true;
    s->shape->prefix(s);
    return !s->pre.oom;
}

enum { ECHO_EVENT = 4096 }; /* bytes of an event around its text */

/* echo: the prompt's own text comes first; with max_tokens 0 nothing else comes. */
static void echo_prompts(struct stream *s)
{
    const struct genreq *g = &s->g;
    for (int32_t i = 0; i < s->n_choices && !s->r->gone; i++) {
        struct choice *c = &s->choice[i];
        struct buf *text = &g->echo_text[c->prompt];
        const char *p = text->p ? text->p : "";
        bool pending = scores_pending(c), now_sent = g->stream && !pending && !client_is_full(s);
        size_t room = now_sent ? cost_json(p, text->n) + ECHO_EVENT : text->n;
        if (!buf_room(now_sent ? &s->r->out : &c->text, room)) {
            no_memory(s);
            return;
        }
        if (g->n_logprobs >= 0)
            c->emitted = (int64_t)utf8_count(p, text->n);
        if (g->max_new[c->prompt] == 0 && !pending)
            finish_choice(c, "length");
        show(c, text);
    }
    if (s->n_left == 0 && !s->r->gone)
        all_done(s);
}

static void count_admission(struct stream *s)
{
    const struct genreq *g = &s->g;
    struct metrics *m = &s->a->m;
    hist_add(m, H_N, (double)g->n);
    m->requests[g->stream]++;
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
    s->need = (struct tenant_need){(int64_t)s->g.ids.n, (int64_t)s->g.n_prompts * s->g.n_made};
    if (!tenant_has_place(a, r, s->need.n_seqs)) {
        a->m.rejected++;
        reply_fail(r, ST_QUEUE_FULL, queue_full);
        return;
    }
    if (tenant_enter(a, r, &s->need, &e)) {
        a->m.rejected++;
        reply_error(r, &e);
        return;
    }
    s->entered = true;
    int st = set_up(s) && scores_open(s) ? submit_all(s) : ST_NOMEM;
    if (st) {
        bool full = st == ST_QUEUE_FULL || st == ST_FULL;
        err_set(&e, full ? ST_QUEUE_FULL : st, "%s",
                full ? queue_full
                : st == ST_INVALID_VALUE
                    ? "What this request forbids and allows leaves no token to draw."
                    : "The engine did not take the request.");
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
    if (s->n_held > 0 && !r->ended) {
        send_held(s, false);
        if (s->n_left == 0 && s->n_held == 0)
            end_stream(s);
    }
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
        buf_free(&c->token_ids);
    }
    free(s->choice);
    scores_free(s);
    buf_free(&s->pre);
    buf_free(&s->whole);
    genreq_fini(&s->g);
    free(s);
}
