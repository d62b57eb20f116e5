/* SPDX-License-Identifier: Apache-2.0 */
/* job.c - work of a request that is too long for the loop when its body is large. */
#include "body.h"
#include "exchange.h"
#include "pump.h"
#include "reply.h"

enum { INLINE_BYTES = 16 << 10 };

static void on_work(uv_work_t *w)
{
    struct exchange *x = w->data;
    x->pool.job(&x->r);
}

static void on_worked(uv_work_t *w, int status)
{
    struct exchange *x = w->data;
    struct http *h = x->r.http;
    x->pool.pending = false;
    if (status != 0)
        reply_fail(&x->r, ST_DRAINING, "The server is shutting down.");
    else if (!x->r.gone)
        x->pool.done(&x->r);
    body_settle(x);
    req_release(&x->r);
    pump(h);
}

void req_job(struct req *r, void (*job)(struct req *), void (*done)(struct req *))
{
    struct exchange *x = exchange_of(r);
    if (r->body.n <= INLINE_BYTES) {
        job(r);
        done(r);
        exchange_sleep(x);
        return;
    }
    x->pool.job = job;
    x->pool.done = done;
    x->pool.work.data = x;
    x->pool.pending = true;
    if (uv_queue_work(&r->http->loop.uv, &x->pool.work, on_work, on_worked) != 0) {
        x->pool.pending = false;
        reply_fail(r, ST_INTERNAL, "The request could not be queued.");
        return;
    }
    exchange_sleep(x);
}
