/* SPDX-License-Identifier: Apache-2.0 */
/* embed.c - an embeddings request from its body to its answer.
 *
 * A request may have more inputs than the server has places. So only as many as run at a time are
 * in the engine; each end makes room for the next, and what found no place is tried again by the
 * sweep. A request is refused for a full queue only before its first input was taken. Vectors are
 * kept as floats until the last is here; the answer's text is made off the loop when it is long.
 */
#include "embed.h"

#include "clock.h"
#include "embed_req.h"
#include "life.h"
#include "mem.h"
#include "prompt.h"
#include "reply.h"
#include "state.h"
#include "tenant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct embedding;

/* One input. */
struct embed_input {
    struct embedding *x;
    req_id id; /* 0 = not in the engine (yet, any more) */
};

struct embedding { /* r->user */
    struct api *a;
    struct req *r;
    struct genreq g;
    int st;                         /* of making g ... */
    struct err err;                 /* ... and why */
    struct embed_input *input;      /* [g.n_prompts]; NULL before its first came to the engine */
    float *vec;                     /* [g.n_prompts][g.dimensions] */
    int32_t n_next, n_open, n_left; /* first not yet submitted; the engine owes an end; no vector */
    int32_t window;                 /* most in the engine at a time */
    bool done;                      /* nothing more is wanted from the engine */
    int cancel_reason;              /* what is in the engine is to be cancelled with this; 0 = no */
    bool queue_asked;
    int64_t n_cached, queue_us;
    struct tenant_need need; /* what it entered with ... */
    bool entered;            /* ... and has not left */
    struct buf out;
};

static const char queue_full[] = "The queue of this server is full; try again later.";

/* ---- the end ---- */

/* Tell the engine of all that it has; those that its inbox had no room for are told by the sweep.
 * Telling one twice does no harm. */
static void tell_cancel(struct embedding *x)
{
    int reason = x->cancel_reason;
    x->cancel_reason = 0;
    for (int32_t i = 0; i < x->n_next && reason; i++)
        if (x->input[i].id && engine_cancel(x->a->s.engine, x->input[i].id, reason) == ST_FULL)
            x->cancel_reason = reason;
}

/* x is over for its tenant: charged, unless the server gave it up before a first vector. */
static void leave(struct embedding *x, int reason)
{
    bool ours = reason && reason != ST_CANCELLED && reason != ST_DEADLINE;
    if (x->entered)
        tenant_leave(x->a, x->r, &x->need, 0, ours && x->n_left == x->g.n_prompts);
    x->entered = false;
}

/* Nobody wants the vectors any more. */
static void cancel(struct embedding *x, int reason)
{
    if (x->done)
        return;
    x->done = true;
    leave(x, reason);
    x->cancel_reason = reason;
    x->a->m.ends[reason == ST_CANCELLED ? END_ABORT : END_ERROR]++;
    if (x->input)
        tell_cancel(x);
}

static void fail(struct embedding *x, const struct err *e)
{
    if (x->r->answered || x->r->gone)
        return;
    cancel(x, e->st);
    reply_error(x->r, e);
}

static void fail_with(struct embedding *x, int st, const char *text)
{
    struct err e;
    err_set(&e, st, "%s", text);
    fail(x, &e);
}

/* A job: it sees the vectors and what was asked, which nobody touches any more. */
static void write_answer(struct req *r)
{
    struct embedding *x = r->user;
    x->out.soft = true;
    if (buf_room(&x->out, embed_bytes(&x->g)))
        embed_text(&x->g, x->vec, x->n_cached, &x->out);
    else
        x->out.oom = true;
}

static void written(struct req *r)
{
    struct embedding *x = r->user;
    if (x->out.oom)
        reply_fail(r, ST_NOMEM, "This server has no memory left for this request.");
    else
        reply(r, 200, "application/json", x->out.p, x->out.n);
    buf_free(&x->out);
}

static void all_here(struct embedding *x, int64_t now)
{
    struct metrics *m = &x->a->m;
    x->done = true;
    leave(x, 0);
    m->ends[END_STOP]++;
    hist_add(m, H_E2E, (double)(now - x->r->arrival_us) * 1e-6);
    req_job_of(x->r, embed_bytes(&x->g), write_answer, written);
}

/* ---- to the engine and back ---- */

static int submit(struct embedding *x, int32_t i)
{
    const struct genreq *g = &x->g;
    struct slots *slots = &x->a->slots;
    size_t n = g->first[i + 1] - g->first[i];
    struct msg_submit *m = malloc(sizeof *m + n * sizeof(token_id));
    if (!m)
        return ST_NOMEM;
    *m = (struct msg_submit){.id = slot_take_input(slots, &x->input[i]),
                             .arrival_us = x->r->arrival_us,
                             .priority = g->priority,
                             .n_prompt = (int32_t)n,
                             .embed = g->pooling == CONF_POOLING_MEAN ? EMBED_MEAN : EMBED_LAST,
                             .params = {.n_logprobs = -1}};
    m->h.kind = MSG_SUBMIT;
    m->h.bytes = (uint32_t)msg_submit_bytes(m);
    tenant_fill(x->a, x->r, g->salt, g->n_salt, m);
    memcpy(m + 1, g->ids.p + g->first[i], n * sizeof(token_id));
    int st = engine_submit(x->a->s.engine, m);
    if (st)
        slot_give(slots, m->id);
    else
        x->input[i].id = m->id;
    x->n_open += st == 0;
    free(m);
    return st;
}

/* As many as there is room for. 0, or why the engine took no more; a full queue is no reason. */
static int submit_more(struct embedding *x)
{
    const struct slots *slots = &x->a->slots;
    while (!x->done && x->n_next < x->g.n_prompts && x->n_open < x->window &&
           slots->n_live < slots->max_live) {
        int st = submit(x, x->n_next);
        if (st == ST_QUEUE_FULL || st == ST_FULL)
            return 0;
        if (st)
            return st;
        x->n_next++;
    }
    return 0;
}

static void go_on(struct embedding *x)
{
    int st = submit_more(x);
    if (st)
        fail_with(x, st, "The engine did not take the request.");
}

static void on_failed(const struct embed_input *in, const struct out_rec *rec)
{
    struct embedding *x = in->x;
    int st = rec->status ? rec->status : ST_INTERNAL;
    char param[32] = "";
    struct err e;
    if (st == ST_CANCELLED || st_http(st) < 400)
        st = ST_INTERNAL;
    if (st == ST_NUMERIC)
        snprintf(param, sizeof param, "input[%d]", (int)(in - x->input));
    err_param(&e, st, param, "%s",
              st == ST_DRAINING        ? "The server is shutting down."
              : st == ST_QUEUE_TIMEOUT ? "The request waited too long for its turn."
              : st == ST_NUMERIC       ? "The hidden state of this input is not finite."
                                       : "The engine could not finish this request.");
    fail(x, &e);
}

static void on_vector(const struct embed_input *in, const struct out_rec *rec, const float *vec,
                      int64_t now)
{
    struct embedding *x = in->x;
    size_t n = (size_t)x->g.dimensions;
    memcpy(x->vec + (size_t)(in - x->input) * n, vec, n * sizeof *vec);
    x->n_cached += rec->n_cached;
    x->queue_us = rec->queue_us > x->queue_us ? rec->queue_us : x->queue_us;
    hist_add(&x->a->m, H_QUEUE, (double)rec->queue_us * 1e-6);
    if (--x->n_left == 0)
        all_here(x, now);
    else
        go_on(x);
}

void embed_record(struct api *a, const struct out_rec *rec, const float *vec, int64_t now_us)
{
    struct embed_input *in = slot_find_input(&a->slots, rec->id);
    if (!in || rec->finish == FINISH_NONE)
        return;
    struct embedding *x = in->x;
    struct req *r = x->r;
    slot_give(&a->slots, rec->id);
    in->id = 0;
    x->n_open--;
    if (!x->done && rec->finish == FINISH_VECTOR)
        on_vector(in, rec, vec, now_us);
    else if (!x->done)
        on_failed(in, rec);
    req_release(r);
}

void embed_abandon_all(struct api *a)
{
    for (uint32_t i = 0; i < a->slots.n; i++) {
        struct embed_input *in = a->slots.v[i].in;
        if (!in)
            continue;
        slot_give(&a->slots, in->id);
        in->id = 0;
        in->x->n_open--;
    }
}

/* ---- start ---- */

static bool set_up(struct embedding *x)
{
    size_t n = (size_t)x->g.n_prompts, floats, bytes;
    if (!mul_size(n, (size_t)x->g.dimensions, &floats) || !mul_size(floats, sizeof *x->vec, &bytes))
        return false;
    x->vec = try_alloc(bytes);
    x->input = x->vec ? try_alloc(n * sizeof *x->input) : NULL;
    for (size_t i = 0; x->input && i < n; i++)
        x->input[i].x = x;
    return x->input != NULL;
}

/* The request is good: its first inputs go to the engine. */
static void begin(struct embedding *x)
{
    struct api *a = x->a;
    struct req *r = x->r;
    int32_t n = x->g.n_prompts;
    if (x->g.request_id[0] && !r->id_given)
        memcpy(r->id, x->g.request_id, sizeof r->id);
    if (http_stage_now(a->http) >= HTTP_DRAIN) {
        reply_fail(r, ST_DRAINING, "The server is shutting down.");
        return;
    }
    life_slots(a);
    x->n_left = n;
    x->window = n < a->s.limits.max_seqs ? n : a->s.limits.max_seqs;
    x->need = (struct tenant_need){(int64_t)x->g.ids.n, x->window};
    struct err e;
    if (!tenant_has_place(a, r, x->window)) {
        a->m.rejected++;
        reply_fail(r, ST_QUEUE_FULL, queue_full);
        return;
    }
    if (!set_up(x)) {
        reply_fail(r, ST_NOMEM, "This server has no memory left for this request.");
        return;
    }
    if (tenant_enter(a, r, &x->need, &e)) {
        a->m.rejected++;
        reply_error(r, &e);
        return;
    }
    x->entered = true;
    go_on(x);
    if (r->answered)
        return;
    if (x->n_next == 0) {
        a->m.rejected++;
        fail_with(x, ST_QUEUE_FULL, queue_full);
        return;
    }
    for (int32_t i = 0; i < n; i++)
        hist_add(&a->m, H_PROMPT, (double)(x->g.first[i + 1] - x->g.first[i]));
}

/* A job: it sees its own request's body and what is immutable once the model is loaded. */
static void prepare(struct req *r)
{
    struct embedding *x = r->user;
    const struct gen_rules rules = {x->a->c, &x->a->names, &x->a->s, x->r->who};
    x->st = prompt_room(r->body.n, &x->err);
    if (x->st == 0)
        x->st = embed_make(&x->g, r->body.p ? r->body.p : "", r->body.n, &rules, &x->err);
    if (x->st)
        x->err.st = x->st;
    buf_free(&r->body);
}

static void prepared(struct req *r)
{
    struct embedding *x = r->user;
    x->a->m.ignored_parameters += x->g.ignored.n;
    ignored_count(&x->a->ignored, &x->g.ignored, r->id);
    if (x->st)
        reply_error(r, &x->err);
    else
        begin(x);
}

void api_embeddings(struct req *r)
{
    struct embedding *x = xalloc(sizeof *x);
    x->a = r->service;
    x->r = r;
    r->user = x;
    req_job(r, prepare, prepared);
}

/* ---- the handler's other parts ---- */

void embed_gone(struct req *r)
{
    struct embedding *x = r->user;
    x->a->m.disconnects++;
    if (x->input) /* else it is still being made */
        cancel(x, ST_CANCELLED);
}

void embed_failed(struct req *r, const struct err *e)
{
    fail(r->user, e);
}

/* Only the engine knows whether the first still waits; that one is the first to be admitted. */
static void ask_queue_timeout(struct embedding *x)
{
    for (int32_t i = 0; i < x->n_next; i++)
        if (x->input[i].id) {
            x->queue_asked = engine_cancel(x->a->s.engine, x->input[i].id, ST_QUEUE_TIMEOUT) == 0;
            return;
        }
}

void embed_sweep(struct req *r, int64_t now_us)
{
    struct embedding *x = r->user;
    const struct config *c = x->a->c;
    int64_t age = now_us - r->arrival_us;
    if (!x->input)
        return;
    tell_cancel(x);
    if (x->done || r->gone)
        return;
    go_on(x);
    if (!x->done && c->limits.request_timeout > 0 && age > c->limits.request_timeout)
        fail_with(x, ST_DEADLINE, "The request did not finish within the server's time limit.");
    else if (!x->done && !x->queue_asked && c->limits.queue_timeout > 0 &&
             age > c->limits.queue_timeout && x->n_left == x->g.n_prompts)
        ask_queue_timeout(x);
}

bool embed_busy(const struct req *r)
{
    const struct embedding *x = r->user;
    return x->n_open > 0;
}

void embed_line(const struct req *r, char *out, size_t n)
{
    const struct embedding *x = r->user;
    out[0] = '\0';
    if (x->input)
        snprintf(out, n, " prompt_tokens=%zu cached_tokens=%lld inputs=%d queue_ms=%.1f finish=%s",
                 x->g.ids.n, (long long)x->n_cached, (int)x->g.n_prompts, (double)x->queue_us / 1e3,
                 x->n_left == 0 ? "stop" : "abort");
}

void embed_free(struct req *r)
{
    struct embedding *x = r->user;
    free(x->input);
    free(x->vec);
    buf_free(&x->out);
    genreq_fini(&x->g);
    free(x);
}
