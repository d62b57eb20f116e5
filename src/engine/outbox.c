/* SPDX-License-Identifier: Apache-2.0 */
/* outbox.c - records for the loop thread, one message per step, and what happens when it is full.
 *
 * Records gather in fixed arrays until the end of the turn. When the outbox refuses the message
 * they stay there; the turns that follow commit and plan nothing (the device finishes what it has),
 * drain cancels only, and try again about every millisecond. So the engine neither blocks nor loses
 * a record. A message too large for the outbox is sent in halves; one without records (statistics
 * only) may be dropped.
 *
 * Why the arrays cannot overflow: since the last full send there was at most one commit that
 * brought tokens, one a row and MAX_SCORES of prompts (when the engine stops, all requests end
 * before what is in flight is committed), and a request counts against the admission bound until
 * its end was sent, so there is at most one end for each of max_live. A step brings at most cap_vec
 * vectors, which bounds what one message has of them to VECTOR_BYTES. The exception is a message
 * being sent: its ends are taken off the count first, because whoever reads one may submit at once
 * and must find the place free, and are put back when the outbox is full; meanwhile at most
 * max_live more slip in. Engine thread.
 */
#include "outbox.h"

#include "check.h"
#include "kv.h"
#include "mem.h"

#include <stdlib.h>
#include <string.h>

enum { VECTOR_BYTES = 4 << 20 };

static int32_t vectors_of(const struct engine_limits *l)
{
    if (l->hidden_dim <= 0)
        return 0;
    int32_t n = VECTOR_BYTES / (int32_t)sizeof(float) / l->hidden_dim; /* <= MAX_HIDDEN */
    return n < l->max_seqs ? n : l->max_seqs;
}

int outbox_init(struct engine *en, struct err *e)
{
    struct staging *o = &en->staging;
    size_t rec, top, bytes, vec;
    o->cap_vec = vectors_of(&en->lim);
    vec = (size_t)o->cap_vec * (size_t)en->lim.hidden_dim * sizeof *o->vec;
    o->cap_rec = 2 * en->lim.max_live + en->lim.max_seqs + MAX_SCORES;
    o->cap_top = (en->lim.max_seqs + MAX_SCORES) * MAX_LOGPROBS;
    if (!mul_size((size_t)o->cap_rec, sizeof *o->rec, &rec) ||
        !mul_size((size_t)o->cap_top, sizeof *o->top, &top) || !add_size(rec, top, &bytes) ||
        !add_size(bytes, sizeof(struct msg_outbox) + vec, &bytes) || bytes > UINT32_MAX)
        return err_set(e, ST_INVALID_VALUE, "too many requests for one message");
    o->rec = xalloc(rec);
    o->top = xalloc(top);
    o->vec = xalloc(vec);
    o->buf = xalloc_aligned(64, bytes);
    return 0;
}

void outbox_fini(struct engine *en)
{
    free(en->staging.rec);
    free(en->staging.top);
    free(en->staging.vec);
    free(en->staging.buf);
}

static struct out_rec *add_rec(struct engine *en, req_id id, int finish)
{
    struct staging *o = &en->staging;
    CHECK(o->n_rec < o->cap_rec);
    struct out_rec *r = &o->rec[o->n_rec++];
    *r = (struct out_rec){.id = id, .token = -1, .finish = finish, .stop_id = -1};
    return r;
}

/* The first `most` of the list go with r. */
static void add_top(struct staging *o, struct out_rec *r, const struct token_logprob *top,
                    int32_t most)
{
    if (most <= 0)
        return;
    CHECK(o->n_top + most <= o->cap_top);
    memcpy(o->top + o->n_top, top, (size_t)most * sizeof *o->top);
    o->n_top += most;
    r->n_top = most;
}

/* Result k of *res is token t of s. */
void outbox_token(struct engine *en, const struct seq *s, token_id t, int finish, int32_t stop_id,
                  const struct step_result *res, int32_t k)
{
    struct staging *o = &en->staging;
    struct out_rec *r = add_rec(en, s->id, finish);
    r->token = t;
    r->n_cached = s->n_hit;
    r->stop_id = stop_id;
    r->queue_us = s->queue_us;
    r->top0 = o->n_top;
    if (s->params.n_logprobs < 0)
        return;
    r->logprob = res->logprob[k];
    int32_t n = res->n_top[k] < s->params.n_logprobs ? res->n_top[k] : s->params.n_logprobs;
    add_top(o, r, res->top[k], n);
}

/* Score k of *res is that of the prompt's token at `at`. */
void outbox_score(struct engine *en, const struct seq *s, int32_t at, const struct step_result *res,
                  int32_t k)
{
    struct staging *o = &en->staging;
    struct out_rec *r = add_rec(en, s->id, FINISH_NONE);
    int32_t most = s->scores - 1 < en->lim.vocab ? s->scores - 1 : en->lim.vocab;
    r->token = s->tok[at];
    r->scored_at = at;
    r->logprob = res->score[k];
    r->rank = res->score_rank[k];
    r->n_cached = s->n_hit;
    r->queue_us = s->queue_us;
    r->top0 = o->n_top;
    add_top(o, r, res->score_top[k], most);
}

void outbox_end(struct engine *en, const struct seq *s, int finish, int status)
{
    struct out_rec *r = add_rec(en, s->id, finish);
    r->status = status;
    r->n_cached = s->n_hit > 0 ? s->n_hit : 0;
    r->queue_us = s->queue_us;
}

float *outbox_vector(struct engine *en, const struct seq *s)
{
    struct staging *o = &en->staging;
    CHECK(o->n_vec < o->cap_vec);
    struct out_rec *r = add_rec(en, s->id, FINISH_VECTOR);
    r->n_cached = s->n_hit;
    r->queue_us = s->queue_us;
    r->n_vec = en->lim.hidden_dim;
    r->vec0 = o->n_vec++ * en->lim.hidden_dim;
    return o->vec + r->vec0;
}

void outbox_undo_vector(struct engine *en)
{
    en->staging.n_rec--;
    en->staging.n_vec--;
}

void outbox_refuse(struct engine *en, req_id id, int status)
{
    add_rec(en, id, FINISH_ERROR)->status = status;
}

static void fill_stats(struct engine *en, struct engine_stats *st)
{
    struct kv_stats k;
    kv_get_stats(en->kv, &k);
    en->stats.n_waiting = en->seqs.n_wait;
    en->stats.n_running = en->seqs.n_run;
    en->stats.n_pages = k.n_pages;
    en->stats.n_pages_free = k.n_free;
    en->stats.n_pages_cached = k.n_evictable;
    en->stats.evicted_pages = k.evicted;
    en->stats.healthy = !en->failed;
    *st = en->stats;
}

/* The log probabilities of n records go to `to`, and their places are counted from there. How many.
 */
static int32_t pack_top(const struct staging *o, struct out_rec *rec, int32_t n,
                        struct token_logprob *to)
{
    int32_t first = 0, n_top = 0;
    for (int32_t i = 0; i < n && o->n_top > 0; i++) {
        if (rec[i].finish == FINISH_VECTOR)
            continue;
        if (rec[i].n_top > 0 && n_top == 0)
            first = rec[i].top0;
        rec[i].top0 = rec[i].n_top > 0 ? rec[i].top0 - first : 0;
        n_top += rec[i].n_top;
    }
    memcpy(to, o->top + first, (size_t)n_top * sizeof *to);
    return n_top;
}

/* The same for vectors; floats. */
static int32_t pack_vec(const struct staging *o, struct out_rec *rec, int32_t n, float *to)
{
    int32_t first = 0, n_vec = 0;
    for (int32_t i = 0; i < n && o->n_vec > 0; i++) {
        if (rec[i].finish != FINISH_VECTOR)
            continue;
        first = n_vec == 0 ? rec[i].vec0 : first;
        rec[i].vec0 -= first;
        n_vec += rec[i].n_vec;
    }
    memcpy(to, o->vec + first, (size_t)n_vec * sizeof *to);
    return n_vec;
}

/* Try to send records [at, at + n). */
static bool send_range(struct engine *en, int32_t at, int32_t n)
{
    struct staging *o = &en->staging;
    struct msg_outbox *m = (struct msg_outbox *)o->buf;
    struct out_rec *rec = (struct out_rec *)(m + 1);
    struct token_logprob *top = (struct token_logprob *)(rec + n);
    int ends = 0;
    memcpy(rec, o->rec + at, (size_t)n * sizeof *rec);
    for (int32_t i = 0; i < n; i++)
        ends += rec[i].finish != FINISH_NONE;
    m->n_top = pack_top(o, rec, n, top);
    m->n_vec = pack_vec(o, rec, n, (float *)(top + m->n_top));
    size_t bytes = sizeof *m + (size_t)n * sizeof *rec + (size_t)m->n_top * sizeof *top +
                   (size_t)m->n_vec * sizeof *o->vec;
    m->h = (struct msg_head){.kind = MSG_OUTBOX, .bytes = (uint32_t)bytes};
    m->n_rec = n;
    fill_stats(en, &m->stats);
    atomic_fetch_sub(&en->live, ends);
    if (!fault_point("outbox.send") && mbox_send(en->out, m, bytes) == 0)
        return true;
    atomic_fetch_add(&en->live, ends);
    return false;
}

bool outbox_send(struct engine *en)
{
    struct staging *o = &en->staging;
    int32_t at = 0;
    if (o->n_rec == 0) {
        if (o->dirty && send_range(en, 0, 0))
            o->dirty = false;
        return true;
    }
    while (at < o->n_rec) {
        int32_t n = o->n_rec - at;
        while (n > 0 && !send_range(en, at, n))
            n /= 2;
        if (n == 0)
            break;
        at += n;
    }
    o->blocked = at < o->n_rec;
    if (!o->blocked) {
        o->n_rec = o->n_top = o->n_vec = 0;
        o->dirty = false;
        return true;
    }
    memmove(o->rec, o->rec + at, (size_t)(o->n_rec - at) * sizeof *o->rec);
    o->n_rec -= at;
    return false;
}
