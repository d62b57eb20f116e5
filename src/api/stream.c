/* stream.c - generations on the loop thread: choices go to the engine, its records become text.
 *
 * Invariants: S1 n_live counts choices whose end the engine still owes; it bounds admission (429).
 * S2 a slot is given back at the engine's ending record only, so an id is never reused early.
 * S3 a done choice takes no more text, whatever the engine still sends.
 */
#include "clock.h"
#include "log.h"
#include "http/state.h"

#include <stdlib.h>
#include <string.h>

static req_id slot_take(struct http *h, struct choice *c)
{
    uint32_t i = h->free_slot;
    struct slot *s = &h->slot[i];
    h->free_slot = s->next_free;
    s->gen++;
    s->c = c;
    h->n_live++;
    return (req_id)s->gen << SLOT_BITS | i;
}

static void slot_give(struct http *h, req_id id)
{
    uint32_t i = (uint32_t)(id & ((1u << SLOT_BITS) - 1));
    h->slot[i].c = NULL;
    h->slot[i].next_free = h->free_slot;
    h->free_slot = i;
    h->n_live--;
}

static struct choice *slot_find(struct http *h, req_id id)
{
    uint32_t i = (uint32_t)(id & ((1u << SLOT_BITS) - 1));
    if (i >= h->n_slots || h->slot[i].gen != (uint32_t)(id >> SLOT_BITS))
        return NULL;
    return h->slot[i].c;
}

/* The engine has let go of c. */
void gen_end_choice_engine(struct choice *c)
{
    if (!c->id)
        return;
    slot_give(c->r->h, c->id);
    c->id = 0;
    c->r->n_open--;
}

static void cancel_choice(struct choice *c, int reason)
{
    if (!c->id)
        return;
    int st = engine_cancel(c->r->h->s.engine, c->id, reason);
    c->cancel_pending = st == ST_FULL; /* tried again by the sweep */
}

/* Nobody wants the rest of r any more. */
void gen_cancel(struct req *r, int reason)
{
    for (int32_t i = 0; i < r->n_choices; i++) {
        struct choice *c = &r->choice[i];
        if (!c->done) {
            c->done = true;
            r->n_left--;
            cancel_choice(c, reason);
            r->h->m.ends[reason == ST_CANCELLED ? END_ABORT : END_ERROR]++;
        }
    }
}

void gen_fail(struct req *r, const struct err *e)
{
    if (r->ended || r->dead || r->completed)
        return;
    gen_cancel(r, e->st == ST_CANCELLED ? ST_CANCELLED : e->st);
    if (!r->answered) {
        reply_error(r, e);
        return;
    }
    if (!r->streaming)
        return;
    out_str(&r->out, "data: ");
    out_error(&r->out, e);
    out_str(&r->out, "\n\ndata: [DONE]\n\n");
    r->ended = true;
    mhd_resume(r);
}

/* ---- text ---- */

static void finish_choice(struct choice *c, const char *finish)
{
    struct req *r = c->r;
    c->done = true;
    c->finish = finish;
    r->n_left--;
    r->h->m.ends[strcmp(finish, "stop") == 0 ? END_STOP : END_LENGTH]++;
    hist_add(&r->h->m, H_GENERATION, c->n_tokens);
    if (c->n_tokens == 0)
        return;
    double decode = (double)(c->last_us - c->first_us) * 1e-6;
    double prefill = (double)(c->first_us - r->arrival_us - c->queue_us) * 1e-6;
    hist_add(&r->h->m, H_PREFILL, prefill > 0 ? prefill : 0);
    hist_add(&r->h->m, H_DECODE, decode);
    hist_add(&r->h->m, H_INFERENCE, decode + (prefill > 0 ? prefill : 0));
    if (c->n_tokens > 1)
        hist_add(&r->h->m, H_TPOT, decode / (c->n_tokens - 1));
}

/* Text of one token through detokeniser and stop matcher. True when a stop string ended it. */
static bool add_text(struct choice *c, token_id t, bool flush, struct buf *shown)
{
    struct req *r = c->r;
    struct buf *raw = &r->h->scratch;
    raw->n = 0;
    if (t >= 0)
        detok_push(&c->detok, t, raw);
    if (flush)
        detok_flush(&c->detok, raw);
    if (c->n_tokens <= r->g.min_tokens && !flush && r->g.n_stop) {
        buf_add(shown, raw->p ? raw->p : "", raw->n); /* stop strings do not count yet */
        return false;
    }
    int hit = stopper_push(&c->stopper, raw->p ? raw->p : "", raw->n, r->g.include_stop, shown);
    if (hit >= 0) {
        c->stop_string = hit;
        return true;
    }
    if (flush)
        stopper_flush(&c->stopper, shown);
    return false;
}

static void note_token(struct choice *c, const struct out_rec *rec, int64_t now)
{
    struct req *r = c->r;
    struct metrics *m = &r->h->m;
    if (c->last_us == 0) {
        c->n_cached = rec->n_cached;
        c->first_us = now;
        c->queue_us = rec->queue_us;
        hist_add(m, H_QUEUE, (double)rec->queue_us * 1e-6);
        hist_add(m, H_TTFT, (double)(now - r->arrival_us) * 1e-6);
    } else {
        hist_add(m, H_ITL, (double)(now - c->last_us) * 1e-6);
    }
    c->last_us = now;
    c->n_tokens++;
}

/* For the access line: sums over the choices, the earliest first token, the worst ending. */
void gen_summary(const struct req *r, char *out, size_t n)
{
    int64_t first = 0, queue = 0, made = 0, cached = 0;
    const char *finish = "stop";
    if (r->n_choices == 0) {
        out[0] = '\0';
        return;
    }
    for (int32_t i = 0; i < r->n_choices; i++) {
        const struct choice *c = &r->choice[i];
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
             r->g.ids.n, (long long)cached, (long long)made, (int)r->n_choices, (double)queue / 1e3,
             first ? (double)(first - r->arrival_us) / 1e3 : -1.0, finish);
}

static void request_done(struct req *r, int64_t now)
{
    hist_add(&r->h->m, H_E2E, (double)(now - r->arrival_us) * 1e-6);
    if (r->g.stream) {
        event_done(r);
        r->ended = true;
        mhd_resume(r);
        return;
    }
    struct buf b = {0};
    answer_json(r, &b);
    reply(r, 200, "application/json", b.p, b.n);
    buf_free(&b);
}

static void check_buffer(struct req *r)
{
    if ((int64_t)(r->out.n - r->out_at) <= r->h->c.stream_buffer_bytes || r->dead)
        return;
    r->h->m.slow_readers++;
    log_info("http.slow_reader", "id=%s unsent=%zu", r->id, r->out.n - r->out_at);
    req_drop(r);
}

static void show(struct choice *c, struct buf *shown, bool last)
{
    struct req *r = c->r;
    if (!r->g.stream) {
        buf_add(&c->text, shown->p ? shown->p : "", shown->n);
        return;
    }
    event_token(r, c, shown, last);
    if (!r->answered)
        stream_begin(r);
    mhd_resume(r);
}

static void on_token(struct choice *c, const struct out_rec *rec, const struct token_logprob *top,
                     int64_t now)
{
    struct req *r = c->r;
    struct buf shown = {0};
    bool token = rec->token >= 0, end = rec->finish != FINISH_NONE;
    bool hidden = rec->finish == FINISH_STOP; /* EOS and stop ids are not part of the text */
    if (token) {
        note_token(c, rec, now);
        logprob_add(c, rec, top);
    }
    bool hit = add_text(c, token && !hidden ? rec->token : -1, end, &shown);
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
    if (r->n_left == 0)
        request_done(r, now);
    else
        check_buffer(r);
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
    c->r->n_left--;
    c->r->h->m.ends[END_ERROR]++;
    gen_fail(c->r, &e);
}

static void on_record(struct http *h, const struct out_rec *rec, const struct token_logprob *top,
                      int64_t now)
{
    struct choice *c = slot_find(h, rec->id);
    if (!c)
        return;
    struct req *r = c->r;
    bool end = rec->finish != FINISH_NONE;
    if (end)
        gen_end_choice_engine(c);
    if (!c->done && (rec->finish == FINISH_ERROR || rec->finish == FINISH_CANCEL))
        on_failed(c, rec);
    else if (!c->done)
        on_token(c, rec, top, now);
    if (end)
        req_release(r);
}

void gen_outbox(struct http *h, const struct msg_outbox *m, size_t n)
{
    const struct out_rec *rec = (const struct out_rec *)(m + 1);
    const struct token_logprob *top = (const struct token_logprob *)(rec + m->n_rec);
    int64_t now = clock_us();
    if (m->h.kind != MSG_OUTBOX || n < sizeof *m)
        return;
    h->stats = m->stats;
    h->has_stats = true;
    for (int32_t i = 0; i < m->n_rec; i++)
        on_record(h, &rec[i], top + rec[i].top0, now);
}

/* ---- start ---- */

static uint64_t mix(uint64_t a)
{
    a = (a ^ (a >> 30)) * 0xbf58476d1ce4e5b9u;
    a = (a ^ (a >> 27)) * 0x94d049bb133111ebu;
    return a ^ (a >> 31);
}

static uint64_t seed_of(struct req *r, int32_t i)
{
    char hex[17];
    if (r->g.seed == INT64_MIN || r->g.seed == -1) {
        server_random(r->h, hex, 16);
        return strtoull(hex, NULL, 16);
    }
    uint64_t s = (uint64_t)r->g.seed;
    return i == 0 ? s : mix(s + 0x9e3779b97f4a7c15u * (uint64_t)i); /* */
}

static int submit(struct choice *c, struct msg_submit *m, int32_t i)
{
    struct req *r = c->r;
    const struct genreq *g = &r->g;
    size_t n = g->first[c->prompt + 1] - g->first[c->prompt];
    token_id *tok = (token_id *)(m + 1);
    *m = (struct msg_submit){.id = slot_take(r->h, c),
                             .arrival_us = r->arrival_us,
                             .priority = g->priority,
                             .tenant = r->tenant,
                             .cache_ns = g->cache_ns,
                             .n_prompt = (int32_t)n,
                             .max_new = g->max_new[c->prompt],
                             .n_stop_ids = g->n_stop_ids,
                             .min_new = (int32_t)g->min_tokens,
                             .ignore_eos = g->ignore_eos,
                             .params = g->sample};
    m->h.kind = MSG_SUBMIT;
    m->h.bytes = (uint32_t)(sizeof *m + (n + (size_t)g->n_stop_ids) * sizeof *tok);
    m->params.seed = seed_of(r, i);
    memcpy(tok, g->ids.p + g->first[c->prompt], n * sizeof *tok);
    memcpy(tok + n, g->stop_ids, (size_t)g->n_stop_ids * sizeof *tok);
    int st = engine_submit(r->h->s.engine, m);
    if (st) {
        slot_give(r->h, m->id);
        return st;
    }
    c->id = m->id;
    r->n_open++;
    return 0;
}

static void set_up(struct req *r)
{
    const struct genreq *g = &r->g;
    r->n_choices = r->n_left = g->n_prompts * (int32_t)g->n;
    r->choice = xcalloc2((size_t)r->n_choices, sizeof *r->choice);
    for (int32_t i = 0; i < r->n_choices; i++) {
        struct choice *c = &r->choice[i];
        c->r = r;
        c->index = i;
        c->prompt = i / (int32_t)g->n;
        c->stop_string = c->stop_id = -1;
        detok_init(&c->detok, r->h->s.tok, g->skip_special);
        stopper_init(&c->stopper, g->stops);
    }
    memcpy(r->object_id, g->chat ? "chatcmpl-" : "cmpl-", g->chat ? 9 : 5);
    server_random(r->h, r->object_id + (g->chat ? 9 : 5), 32);
    r->created = clock_unix_s();
    event_prefix(r);
}

/* echo: the prompt's own text comes first; with max_tokens 0 nothing else comes. */
static void echo_prompts(struct req *r)
{
    int64_t now = clock_us();
    for (int32_t i = 0; i < r->n_choices && !r->dead; i++) {
        struct choice *c = &r->choice[i];
        const struct genreq *g = &r->g;
        struct buf text = {0};
        tok_decode(r->h->s.tok, g->ids.p + g->first[c->prompt],
                   g->first[c->prompt + 1] - g->first[c->prompt], g->skip_special, &text);
        if (g->max_new[c->prompt] == 0)
            finish_choice(c, "length");
        show(c, &text, c->done);
        buf_free(&text);
    }
    if (r->n_left == 0)
        request_done(r, now);
}

static int submit_all(struct req *r)
{
    size_t most = 0;
    for (int32_t p = 0; p < r->g.n_prompts; p++)
        if (r->g.first[p + 1] - r->g.first[p] > most)
            most = r->g.first[p + 1] - r->g.first[p];
    struct msg_submit *m = malloc(sizeof *m + (most + (size_t)r->g.n_stop_ids) * sizeof(token_id));
    int st = m ? 0 : ST_NOMEM;
    for (int32_t i = 0; i < r->n_choices && !st; i++)
        if (r->g.max_new[r->choice[i].prompt] > 0)
            st = submit(&r->choice[i], m, i % (int32_t)r->g.n);
    free(m);
    return st;
}

void gen_start(struct req *r)
{
    struct http *h = r->h;
    struct err e;
    if (r->g.request_id[0] && !r->id_given)
        memcpy(r->id, r->g.request_id, sizeof r->id);
    int64_t need = (int64_t)r->g.n_prompts * r->g.n;
    if (h->run >= RUN_DRAIN) {
        reply_fail(r, ST_DRAINING, "The server is shutting down.");
        return;
    }
    server_slots(h);
    if (h->n_live + need > h->max_live) {
        h->m.rejected++;
        reply_fail(r, ST_QUEUE_FULL, "The queue of this server is full; try again later.");
        return;
    }
    set_up(r);
    int st = submit_all(r);
    if (st) {
        err_set(&e, st == ST_FULL ? ST_QUEUE_FULL : st, "%s",
                st == ST_QUEUE_FULL || st == ST_FULL
                    ? "The queue of this server is full; try again later."
                    : "The engine did not take the request.");
        h->m.rejected += e.st == ST_QUEUE_FULL;
        gen_fail(r, &e);
        return;
    }
    r->is_admitted = true;
    hist_add(&h->m, H_N, (double)r->g.n);
    for (int32_t p = 0; p < r->g.n_prompts; p++) {
        hist_add(&h->m, H_PROMPT, (double)(r->g.first[p + 1] - r->g.first[p]));
        hist_add(&h->m, H_MAX_TOKENS, (double)r->g.max_new[p]);
    }
    if (r->g.echo)
        echo_prompts(r);
    server_need_sweep(h);
}

/* ---- deadlines ---- */

/* Only the engine knows whether a request still waits. The first choice is the first to be
 * admitted; when it is refused, on_failed ends the others. */
static void ask_queue_timeout(struct req *r)
{
    for (int32_t i = 0; i < r->n_choices; i++)
        if (r->choice[i].id) {
            r->queue_asked = engine_cancel(r->h->s.engine, r->choice[i].id, ST_QUEUE_TIMEOUT) == 0;
            return;
        }
}

void gen_sweep(struct req *r, int64_t now)
{
    const struct http_config *c = &r->h->c;
    struct err e;
    bool none = true;
    for (int32_t i = 0; i < r->n_choices; i++) {
        none &= r->choice[i].last_us == 0;
        if (r->choice[i].cancel_pending)
            cancel_choice(&r->choice[i], ST_CANCELLED);
    }
    if (!r->is_admitted || r->completed || r->dead)
        return;
    if (r->streaming && r->out.n > r->out_at && now - r->out_since_us > c->write_timeout_us) {
        r->h->m.slow_readers++;
        req_drop(r);
    } else if (!r->ended && c->request_timeout_us > 0 &&
               now - r->arrival_us > c->request_timeout_us) {
        err_set(&e, ST_DEADLINE, "The request did not finish within the server's time limit.");
        gen_fail(r, &e);
    } else if (none && !r->queue_asked && c->queue_timeout_us > 0 &&
               now - r->arrival_us > c->queue_timeout_us) {
        ask_queue_timeout(r);
    }
}

void gen_free(struct req *r)
{
    for (int32_t i = 0; i < r->n_choices; i++) {
        struct choice *c = &r->choice[i];
        stopper_fini(&c->stopper);
        buf_free(&c->text);
        buf_free(&c->lp_a);
        buf_free(&c->lp_b);
        buf_free(&c->lp_c);
        buf_free(&c->lp_d);
    }
    free(r->choice);
    if (r->is_gen)
        genreq_fini(&r->g);
}
