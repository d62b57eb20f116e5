/* SPDX-License-Identifier: Apache-2.0 */
/* drain.c - from serving to stopped, step by step. See drain.h. */
#include "drain.h"

#include "accept.h"
#include "clock.h"
#include "log.h"
#include "wake.h"

#include <sys/socket.h>

enum { LAST_US = 1000000 }; /* what a request or a connection gets to see that it is over */

static void set_stage(struct http *h, enum http_stage stage)
{
    static const char *const names[] = {"serve", "delay", "drain", "kill", "stop"};
    h->run.stage = stage;
    h->run.since_us = clock_us();
    log_info("http.state", "state=%s requests=%d connections=%d", names[stage], h->wire.n_active,
             h->wire.n_conns);
    need_sweep(h);
}

static void kill_requests(struct http *h)
{
    struct err e;
    err_set(&e, ST_DRAINING, "The server is shutting down.");
    for (struct exchange *x = LIST_FIRST(&h->wire.exchanges), *next; x; x = next) {
        next = LIST_NEXT(x, link);
        if (x->at.ran && !x->at.completed && !x->pool.pending && x->r.handler->fail)
            x->r.handler->fail(&x->r, &e);
    }
}

void drop_everything(struct http *h)
{
    struct exchange *x;
    struct conn *c;
    LIST_FOREACH (x, &h->wire.exchanges, link)
        if (!x->at.completed && x->head.seen)
            req_drop(&x->r);
    for (int i = 0; i < N_PHASES; i++)
        TAILQ_FOREACH (c, &h->wire.conns[i], link)
            shutdown(c->fd, SHUT_RDWR);
}

/* A failed service does not come back: its clients have their error, a probe or two may still read
 * 503, then the process ends so that its supervisor starts another. */
static void failed_advance(struct http *h, int64_t now)
{
    if (h->run.stage >= HTTP_KILL || !h->hooks.failed(h->hooks.arg))
        return;
    if (h->run.failed_us == 0)
        h->run.failed_us = now;
    need_sweep(h);
    if (h->hooks.failed_exit_us >= 0 && now - h->run.failed_us >= h->hooks.failed_exit_us) {
        set_stage(h, HTTP_KILL);
        kill_requests(h);
    }
}

void drain_advance(struct http *h, int64_t now)
{
    failed_advance(h, now);
    int64_t age = now - h->run.since_us;
    if (h->run.stage == HTTP_DELAY &&
        (age >= h->c->drain.delay || !h->hooks.serving(h->hooks.arg))) {
        set_stage(h, HTTP_DRAIN);
        age = 0;
    }
    if (h->run.stage == HTTP_DRAIN && (h->wire.n_active == 0 || age >= h->c->drain.timeout)) {
        set_stage(h, HTTP_KILL);
        kill_requests(h);
        age = 0;
    }
    if (h->run.stage == HTTP_KILL && (h->wire.n_active == 0 || age >= LAST_US)) {
        accept_stop(h);
        drop_everything(h);
        set_stage(h, HTTP_STOP);
        age = 0;
    }
    if (h->run.stage == HTTP_STOP && (h->wire.n_active == 0 || age >= LAST_US))
        uv_stop(&h->loop.uv);
}

void drain_begin(struct http *h, bool now)
{
    if (h->run.stage == HTTP_SERVE && !now) {
        set_stage(h, HTTP_DELAY);
    } else if (h->run.stage < HTTP_KILL) {
        set_stage(h, HTTP_KILL);
        kill_requests(h);
    }
    drain_advance(h, clock_us());
}
