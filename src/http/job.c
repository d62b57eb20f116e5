/* SPDX-License-Identifier: Apache-2.0 */
/* job.c - work of a request that is too long for the loop when it is on much.
 *
 * Loop thread, but for on_work. The pool is libuv's; who is next is decided here. There are two
 * lanes, small jobs and large ones. Each lane always gets a thread when it has work and none yet;
 * the other threads take small jobs before large ones, and one is never taken by a large job. (A
 * pool of one thread takes small ones first.) Inside a lane tenants take turns: a job's round is
 * one above that of its tenant's job before it.
 */
#include "body.h"
#include "exchange.h"
#include "pump.h"
#include "reply.h"

#include <stdlib.h>

enum { INLINE_BYTES = 16 << 10, SMALL_BYTES = 64 << 10, POOL_DEFAULT = 4, POOL_MAX = 1024 };

static void start_jobs(struct http *h);

/* Threads of libuv's pool, as it reads its own variable. */
static int pool_threads(void)
{
    const char *s = getenv("UV_THREADPOOL_SIZE");
    long n = s ? strtol(s, NULL, 10) : POOL_DEFAULT;
    return n < 1 ? 1 : n > POOL_MAX ? POOL_MAX : (int)n;
}

static void on_work(uv_work_t *w)
{
    struct exchange *x = w->data;
    x->pool.job(&x->r);
}

static void on_worked(uv_work_t *w, int status)
{
    struct exchange *x = w->data;
    struct http *h = x->r.http;
    h->jobs.lane[x->pool.lane].n_running--;
    x->pool.pending = false;
    if (status != 0)
        reply_fail(&x->r, ST_DRAINING, "The server is shutting down.");
    else if (!x->r.gone)
        x->pool.done(&x->r);
    body_settle(x);
    req_release(&x->r);
    start_jobs(h);
    pump(h);
}

static void enqueue(struct lane *l, struct exchange *x)
{
    struct exchange *at, *after = NULL;
    uint64_t round = l->round;
    TAILQ_FOREACH (at, &l->waiting, pool.link)
        if (at->r.tenant == x->r.tenant)
            round = at->pool.round + 1;
    TAILQ_FOREACH (at, &l->waiting, pool.link)
        if (at->pool.round <= round)
            after = at;
    x->pool.round = round;
    if (after)
        TAILQ_INSERT_AFTER(&l->waiting, after, x, pool.link);
    else
        TAILQ_INSERT_HEAD(&l->waiting, x, pool.link);
}

/* The lane whose turn it is, or NULL. */
static struct lane *next_lane(struct http *h)
{
    struct lane *small = &h->jobs.lane[LANE_SMALL], *large = &h->jobs.lane[LANE_LARGE];
    int all = pool_threads();
    if (small->n_running + large->n_running >= all)
        return NULL;
    bool s = !TAILQ_EMPTY(&small->waiting), l = !TAILQ_EMPTY(&large->waiting);
    if (l && (all == 1 ? !s : large->n_running == 0 || (!s && large->n_running < all - 1)))
        return large;
    return s ? small : NULL;
}

static void start_jobs(struct http *h)
{
    for (struct lane *l; (l = next_lane(h)) != NULL;) {
        struct exchange *x = TAILQ_FIRST(&l->waiting);
        TAILQ_REMOVE(&l->waiting, x, pool.link);
        if (x->r.gone) { /* nobody waits for it */
            x->pool.pending = false;
            req_release(&x->r);
            continue;
        }
        l->round = x->pool.round;
        l->n_running++;
        if (uv_queue_work(&h->loop.uv, &x->pool.work, on_work, on_worked) == 0)
            continue;
        l->n_running--;
        x->pool.pending = false;
        reply_fail(&x->r, ST_INTERNAL, "The request could not be queued.");
    }
}

void req_job(struct req *r, void (*job)(struct req *), void (*done)(struct req *))
{
    req_job_of(r, r->body.n, job, done);
}

void req_job_of(struct req *r, size_t bytes, void (*job)(struct req *), void (*done)(struct req *))
{
    struct exchange *x = exchange_of(r);
    struct http *h = r->http;
    if (bytes <= INLINE_BYTES) {
        job(r);
        done(r);
        exchange_sleep(x);
        return;
    }
    x->pool.job = job;
    x->pool.done = done;
    x->pool.work.data = x;
    x->pool.pending = true;
    x->pool.lane = bytes <= SMALL_BYTES ? LANE_SMALL : LANE_LARGE;
    enqueue(&h->jobs.lane[x->pool.lane], x);
    exchange_sleep(x);
    start_jobs(h);
}
