/* SPDX-License-Identifier: Apache-2.0 */
/* exchange.c - the life of a request and its answer. See exchange.h.
 *
 * Loop thread. A request without an answer is either inside its handler or suspended, and a
 * suspended one is in the list of exchanges, so that stopping finds it: microhttpd aborts when it
 * is stopped with one left. An exchange is freed only when the connection is through with it, no
 * job runs, and its handler is not busy with it.
 */
#include "exchange.h"

#include "body.h"
#include "clock.h"
#include "conn.h"
#include "log.h"
#include "mem.h"
#include "route.h"
#include "tenants.h"
#include "wake.h"

#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

struct exchange *exchange_new(struct http *h, const char *uri, void *mc, int fd, struct conn *conn)
{
    size_t n = strlen(uri) + 1;
    struct exchange *x = try_alloc(sizeof *x + 2 * n);
    const char *q = strchr(uri, '?');
    if (!x)
        return NULL;
    x->r.http = h;
    x->r.service = h->hooks.arg;
    x->r.arrival_us = clock_us();
    x->r.body.soft = x->r.out.soft = true;
    x->head.uri = memcpy(x + 1, uri, n);
    x->head.tail = x->head.uri + n; /* decoding makes it no longer */
    x->r.tail = "";
    x->r.query = q ? x->head.uri + (q - uri) + 1 : "";
    x->at.mc = mc;
    x->at.fd = fd;
    x->at.conn = conn;
    if (conn)
        conn->x = x;
    LIST_INSERT_HEAD(&h->wire.exchanges, x, link);
    h->wire.n_exchanges++;
    h->wire.n_active++;
    need_sweep(h);
    return x;
}

/* ---- asleep, awake ---- */

static void watch(struct exchange *x)
{
    struct epoll_event ev = {.events = EPOLLRDHUP, .data.ptr = x};
    if (!x->at.watched && epoll_ctl(x->r.http->wire.watch_fd, EPOLL_CTL_ADD, x->at.fd, &ev) == 0)
        x->at.watched = true;
}

static void unwatch(struct exchange *x)
{
    if (x->at.watched)
        epoll_ctl(x->r.http->wire.watch_fd, EPOLL_CTL_DEL, x->at.fd, NULL);
    x->at.watched = false;
}

void exchange_suspend(struct exchange *x)
{
    x->at.suspended = true;
    MHD_suspend_connection(x->at.mc);
}

void exchange_resume(struct exchange *x)
{
    if (!x->at.suspended || x->at.completed)
        return;
    x->at.suspended = false;
    MHD_resume_connection(x->at.mc);
}

void exchange_sleep(struct exchange *x)
{
    if (x->r.answered || x->at.suspended || x->at.dead)
        return;
    watch(x);
    exchange_suspend(x);
}

/* ---- the end ---- */

/* Every way out that leaves somebody without the whole answer comes through here, once. */
static void left(struct exchange *x)
{
    const struct handler *h = x->r.handler;
    if (x->r.gone)
        return;
    x->r.gone = true;
    if (x->at.ran && h->gone)
        h->gone(&x->r);
}

void req_drop(struct req *r)
{
    struct exchange *x = exchange_of(r);
    if (x->at.completed)
        return;
    unwatch(x); /* level-triggered: left in, it would spin */
    x->at.dead = true;
    left(x);
    if (x->at.suspended)
        exchange_resume(x);
    else
        shutdown(x->at.fd, SHUT_RDWR); /* the only thing that reaches a blocked write */
}

void req_release(struct req *r)
{
    struct exchange *x = exchange_of(r);
    const struct handler *h = r->handler;
    if (!x->at.completed || x->pool.pending || (x->at.ran && h->busy && h->busy(r)))
        return;
    LIST_REMOVE(x, link);
    r->http->wire.n_exchanges--;
    if (x->at.ran && h->free)
        h->free(r);
    free(x->head.origin);
    free(x->head.cors_headers);
    buf_free(&r->body);
    buf_free(&r->out);
    body_settle(x);
    free(x);
}

/* Why it was refused: code, field, and the path where that is the reason. */
static void error_words(const struct exchange *x, char *out, size_t n)
{
    char shown[ROUTE_SHOWN] = "";
    if (!x->r.handler)
        route_show(x->head.uri, shown);
    snprintf(out, n, " code=%s%s%s%s%s", x->answer.code, x->answer.param[0] ? " param=" : "",
             x->answer.param, shown[0] ? " path=" : "", shown);
}

/* One line a request; those of probes and scrapes, and of what else has nothing to tell, only at
 * debug level. */
static void access_line(const struct exchange *x, int status)
{
    const struct handler *h = x->r.handler;
    bool told = x->at.ran && h->line, wrong = x->answer.code && !(h && h->open);
    char tail[256] = "", why[256] = "";
    if (!log_enabled(told || wrong ? LOG_INFO : LOG_DEBUG))
        return;
    if (told)
        h->line(&x->r, tail, sizeof tail);
    if (x->answer.code)
        error_words(x, why, sizeof why);
    const struct tenant *who = x->r.who;
    log_write(told || wrong ? LOG_INFO : LOG_DEBUG, "http.request",
              "id=%s%s%s method=%s handler=%s status=%d total_ms=%.1f%s%s", x->r.id,
              who ? " tenant=" : "", who ? tenant_label(who) : "", x->head.method,
              h ? h->name : "none", status, (double)(clock_us() - x->r.arrival_us) / 1e3, why,
              tail);
}

void exchange_complete(struct exchange *x, bool whole)
{
    struct http *h = x->r.http;
    unwatch(x);
    whole &= !x->at.dead;
    if (!whole)
        left(x);
    if (x->head.seen) {
        h->hooks.count(h->hooks.arg, x->r.handler, x->head.method,
                       x->r.answered ? x->answer.status : 400);
        access_line(x, whole ? x->answer.status : 499);
    }
    if (x->at.conn)
        conn_again(h, x->at.conn);
    x->at.conn = NULL;
    x->at.completed = x->r.gone = true;
    x->at.suspended = false;
    x->at.mc = NULL;
    h->wire.n_active--;
    req_release(&x->r);
}
