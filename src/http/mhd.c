/* SPDX-License-Identifier: Apache-2.0 */
/* mhd.c - microhttpd's daemon and its callbacks: connections, heads, bodies.
 *
 * Loop thread. No callback here runs the daemon or blocks. A handler has answered or its request
 * sleeps when it returns (exchange.c).
 */
#include "mhd.h"

#include "clock.h"
#include "exchange.h"
#include "log.h"
#include "mem.h"
#include "preflight.h"
#include "raw.h"
#include "reply.h"
#include "request.h"
#include "wake.h"

#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { POOL_BYTES = 64 << 10, DROP_BYTES = 64 << 10 };

/* A folded line of a later request: this release glues its text to the *name*, which it moves away
 * from the value for that. Otherwise only the colon's NUL and blanks lie between the two. */
static bool is_folded(const char *k, size_t nk, const char *v)
{
    uintptr_t end = (uintptr_t)k + nk, at = (uintptr_t)v;
    if (!v || strcmp(MHD_get_version(), "0.9.75") != 0)
        return false;
    return at <= end || at - end > URI_MAX || strspn(k + nk + 1, " \t") + 1 != at - end;
}

static enum MHD_Result on_field(void *cls, enum MHD_ValueKind kind, const char *k, size_t nk,
                                const char *v, size_t nv)
{
    void **at = cls;
    struct head_fields *hd = at[0];
    (void)kind;
    hd->facts.bad_field |= is_folded(k, nk, v);
    request_field(at[1], hd, k, nk, v, nv);
    return MHD_YES;
}

/* ---- request life ---- */

static int fd_of(struct MHD_Connection *mc)
{
    const union MHD_ConnectionInfo *ci = MHD_get_connection_info(mc,
                                                                 MHD_CONNECTION_INFO_CONNECTION_FD);
    return ci ? ci->connect_fd : -1;
}

static void *on_uri(void *cls, const char *uri, struct MHD_Connection *mc)
{
    const union MHD_ConnectionInfo *ci = MHD_get_connection_info(
        mc, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return exchange_new(cls, uri, mc, fd_of(mc), ci ? ci->socket_context : NULL);
}

static void on_completed(void *cls, struct MHD_Connection *mc, void **con_cls,
                         enum MHD_RequestTerminationCode code)
{
    struct exchange *x = *con_cls;
    (void)cls;
    (void)mc;
    *con_cls = NULL;
    if (x)
        exchange_complete(x, code == MHD_REQUEST_TERMINATED_COMPLETED_OK);
}

static enum MHD_Result result_of(const struct exchange *x)
{
    return x->answer.refused || (x->at.dead && !x->at.suspended) ? MHD_NO : MHD_YES;
}

/* The answer comes before the body was read. A socket that is closed with bytes unread is reset,
 * and the reset may overtake the answer: a copy of it lingers. */
static void answer_early(struct exchange *x, bool body)
{
    int fd = body ? dup(x->at.fd) : -1;
    x->answer.close = true;
    if (fd >= 0)
        raw_linger(x->r.http, fd);
    reply_error(&x->r, &x->head.err); /* no 100 Continue, the rest is not read */
}

static enum MHD_Result on_head(struct exchange *x, const char *method, const char *version)
{
    struct head_fields hd = {0};
    void *cls[2] = {&hd, x};
    x->head.seen = true;
    snprintf(x->head.method, sizeof x->head.method, "%s", method);
    MHD_get_connection_values_n(x->at.mc, MHD_HEADER_KIND, on_field, cls);
    request_id(x, hd.id);
    int st = request_check(x, &hd, version, &x->head.err);
    x->head.err.st = st;
    if (x->at.conn) {
        x->at.conn->phase = PH_BODY;
        x->at.conn->since_us = clock_us();
    }
    bool chunked = hd.facts.n_encoding > 0, body = chunked || hd.body_bytes > 0;
    if (st && (x->answer.close || hd.expect || chunked || hd.body_bytes > DROP_BYTES)) {
        answer_early(x, body);
    } else if (!st && strcmp(x->head.method, "OPTIONS") == 0) {
        x->answer.close |= body;
        reply_options(x, hd.cors_headers);
    }
    return result_of(x);
}

/* A chunked body that outgrows the limit: microhttpd takes no answer in the middle of a body, so it
 * is written by hand and a copy of the socket lingers until the client has read it. */
static enum MHD_Result refuse_upload(struct exchange *x)
{
    struct err e;
    err_set(&e, ST_BODY_TOO_LARGE, "The body is larger than %lld bytes.",
            (long long)x->r.http->c->http.max_body_bytes);
    int fd = dup(x->at.fd);
    answer_raw(x->r.http, x->at.fd, &e, x->r.id, false);
    if (fd >= 0)
        raw_linger(x->r.http, fd);
    x->answer.close = true;
    x->answer.status = 413;
    x->r.answered = true;
    return MHD_NO;
}

static enum MHD_Result on_upload(struct exchange *x, const char *data, size_t *n)
{
    size_t k = *n;
    *n = 0;
    if (x->at.conn)
        x->at.conn->since_us = clock_us();
    if (x->head.err.st || x->r.answered)
        return MHD_YES; /* dropped */
    if (x->r.body.n + k > (size_t)x->r.http->c->http.max_body_bytes)
        return refuse_upload(x);
    buf_add(&x->r.body, data, k);
    return MHD_YES;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *mc, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *n, void **con_cls)
{
    struct exchange *x = *con_cls;
    (void)cls;
    (void)mc;
    (void)url;
    if (!x)
        return MHD_NO;
    if (!x->head.seen)
        return on_head(x, method, version);
    if (*n)
        return on_upload(x, data, n);
    if (x->at.dead || (x->at.ran && !x->r.answered))
        return MHD_NO; /* resumed without an answer: the client is gone */
    if (x->r.answered)
        return MHD_YES;
    if (x->at.conn)
        x->at.conn->phase = PH_RUN;
    if (x->head.err.st) {
        reply_error(&x->r, &x->head.err);
    } else {
        x->at.ran = true;
        x->r.handler->run(&x->r);
    }
    return result_of(x);
}

static void conn_open(struct http *h, struct MHD_Connection *mc, void **ctx)
{
    struct conn *c = xalloc(sizeof *c);
    c->fd = fd_of(mc);
    c->phase = PH_HEAD;
    c->since_us = clock_us();
    LIST_INSERT_HEAD(&h->wire.conns, c, link);
    h->wire.n_conns++;
    *ctx = c;
    need_sweep(h);
}

static void conn_close(struct http *h, struct conn *c)
{
    if (c->x)
        c->x->at.conn = NULL;
    LIST_REMOVE(c, link);
    h->wire.n_conns--;
    free(c);
}

static void on_connection(void *cls, struct MHD_Connection *mc, void **ctx,
                          enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        conn_open(cls, mc, ctx);
    } else if (*ctx) {
        conn_close(cls, *ctx);
        *ctx = NULL;
    }
}

/* ---- daemon ---- */

static void on_log(void *cls, const char *fmt, va_list ap)
{
    char t[256];
    (void)cls;
    if (!log_enabled(LOG_DEBUG))
        return;
    vsnprintf(t, sizeof t, fmt, ap);
    t[strcspn(t, "\r\n")] = '\0';
    log_debug("http.mhd", "%s", t);
}

static void on_panic(void *cls, const char *file, unsigned line, const char *reason)
{
    (void)cls;
    log_error("http.panic", "file=%s line=%u reason=%s", file, line, reason ? reason : "");
    abort();
}

int mhd_start(struct http *h, struct err *e)
{
    int64_t idle_s = (h->c->http.keepalive_timeout + 999999) / 1000000;
    MHD_set_panic_func(on_panic, NULL);
    h->wire.mhd = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG, 0,
        NULL, NULL, on_request, h, MHD_OPTION_EXTERNAL_LOGGER, on_log, h,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)(h->max_connections + 64),
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)POOL_BYTES, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)(idle_s < 1 ? 1 : idle_s), MHD_OPTION_STRICT_FOR_CLIENT, 0,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
        h, MHD_OPTION_URI_LOG_CALLBACK, on_uri, h, MHD_OPTION_END);
    return h->wire.mhd ? 0 : err_set(e, ST_IO, "cannot start the HTTP daemon");
}

int mhd_poll_fd(struct http *h)
{
    return MHD_get_daemon_info(h->wire.mhd, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
}

void mhd_add(struct http *h, int fd, const void *addr, unsigned addr_len)
{
    MHD_add_connection(h->wire.mhd, fd, addr, addr_len); /* closes fd when it fails */
}

int64_t mhd_turn(struct http *h)
{
    MHD_UNSIGNED_LONG_LONG ms;
    MHD_run(h->wire.mhd);
    return MHD_get_timeout(h->wire.mhd, &ms) == MHD_NO ? -1 : (int64_t)ms;
}

void mhd_stop(struct http *h)
{
    if (h->wire.mhd)
        MHD_stop_daemon(h->wire.mhd);
    h->wire.mhd = NULL;
}
