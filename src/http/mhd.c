/* SPDX-License-Identifier: Apache-2.0 */
/* mhd.c - microhttpd's daemon and its callbacks: connections, heads, bodies.
 *
 * Loop thread. No callback here runs the daemon or blocks. A handler has answered or its request
 * sleeps when it returns (exchange.c).
 */
#include "mhd.h"

#include "body.h"
#include "conn.h"
#include "exchange.h"
#include "intake.h"
#include "log.h"
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
enum { SPARE_CONNECTIONS = SURPLUS_MAX + 256 }; /* and those that are being closed */

static enum MHD_Result on_field(void *cls, enum MHD_ValueKind kind, const char *k, size_t nk,
                                const char *v, size_t nv)
{
    void **at = cls;
    (void)kind;
    (void)nk;
    (void)nv;
    request_field(at[1], at[0], k, v);
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
    struct conn *c = ci ? ci->socket_context : NULL;
    struct exchange *x = exchange_new(cls, uri, mc, fd_of(mc), c);
    struct err e;
    if (!x && c) {
        err_set(&e, ST_ENGINE_DOWN, "The server is short of memory; try again later.");
        conn_refuse(cls, c, &e, "", false);
    }
    return x; /* NULL: on_request ends the connection */
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

/* Its connection came when all places were taken, and no place is free now: it gets what probes ask
 * for, which is short and needs no service. */
static bool no_room_for(struct exchange *x)
{
    const struct handler *h = x->r.handler;
    struct conn *c = x->at.conn;
    if (!c || !c->surplus || (!h->needs_service && (h->methods & M_GET)))
        return false;
    c->surplus = !conn_room(x->r.http);
    x->answer.close = c->surplus;
    return c->surplus;
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
    if (st == 0)
        st = body_room(x->r.http, hd.body_bytes, &x->head.err);
    if (st == 0 && no_room_for(x))
        st = conn_full(&x->head.err);
    x->head.err.st = st;
    bool chunked = hd.coded, body = chunked || hd.body_bytes > 0;
    bool early = st && (x->answer.close || hd.expect || chunked || hd.body_bytes > DROP_BYTES);
    if (x->at.conn)
        conn_phase(x->r.http, x->at.conn, early ? PH_RUN : PH_BODY);
    if (early)
        answer_early(x, body);
    return result_of(x);
}

/* In the middle of a body microhttpd takes no answer: a refusal is written by hand. */
static enum MHD_Result on_upload(struct exchange *x, const char *data, size_t *n)
{
    struct err e;
    size_t k = *n;
    *n = 0;
    if (x->head.err.st || x->head.options || x->r.answered)
        return MHD_YES; /* dropped */
    if (body_take(x, data, k, &e) == 0)
        return MHD_YES;
    if (x->at.conn)
        conn_refuse(x->r.http, x->at.conn, &e, x->r.id, false);
    return MHD_NO;
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
        conn_phase(x->r.http, x->at.conn, PH_RUN);
    if (x->head.err.st) {
        reply_error(&x->r, &x->head.err);
    } else if (x->head.options) {
        reply_options(x);
    } else {
        x->at.ran = true;
        x->r.handler->run(&x->r);
        if (!x->pool.pending)
            body_settle(x);
    }
    return result_of(x);
}

static void on_connection(void *cls, struct MHD_Connection *mc, void **ctx,
                          enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *ctx = conn_open(cls, mc, fd_of(mc));
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
    log_flush(1000);
    abort();
}

int mhd_start(struct http *h, struct err *e)
{
    /* conn.c closes what is idle or late; this is for an answer that nobody takes */
    int64_t idle_s = (h->c->http.keepalive_timeout + h->c->http.header_timeout) / 1000000 + 5;
    MHD_set_panic_func(on_panic, NULL);
    h->wire.mhd = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG, 0,
        NULL, NULL, on_request, h, MHD_OPTION_EXTERNAL_LOGGER, on_log, h,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)(h->max_connections + SPARE_CONNECTIONS),
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)POOL_BYTES, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)idle_s, MHD_OPTION_STRICT_FOR_CLIENT, 0, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, h, MHD_OPTION_NOTIFY_COMPLETED, on_completed, h, MHD_OPTION_URI_LOG_CALLBACK,
        on_uri, h, MHD_OPTION_END);
    return h->wire.mhd ? 0 : err_set(e, ST_IO, "cannot start the HTTP daemon");
}

int mhd_poll_fd(struct http *h)
{
    return MHD_get_daemon_info(h->wire.mhd, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
}

void mhd_add(struct http *h, int fd, const void *addr, unsigned addr_len, bool surplus)
{
    if (MHD_add_connection(h->wire.mhd, fd, addr, addr_len) != MHD_YES)
        return; /* it has closed fd */
    if (fd < h->intake.n_fds && h->intake.by_fd[fd])
        h->intake.by_fd[fd]->surplus = surplus;
}

const char *mhd_version(void)
{
    return MHD_get_version();
}

/* microhttpd learns of bytes from edges of its epoll, and forgets one when a read gives less than
 * it asked for, as one does whose rest intake.c withholds. A connection that it resumes counts as
 * readable. One that runs a request sleeps, or will read when it is through. */
static bool nudge_all(struct http *h)
{
    bool any = false;
    for (struct conn *c; (c = LIST_FIRST(&h->wire.nudges)) != NULL;) {
        LIST_REMOVE(c, nudge);
        c->nudged = false;
        if (c->phase == PH_RUN)
            continue;
        MHD_suspend_connection(c->mc);
        MHD_resume_connection(c->mc);
        any = true;
    }
    return any;
}

int64_t mhd_turn(struct http *h)
{
    MHD_UNSIGNED_LONG_LONG ms;
    nudge_all(h);
    intake_turn(h);
    MHD_run(h->wire.mhd);
    intake_turned();
    if (nudge_all(h))
        return 0; /* its own answer does not count those */
    return MHD_get_timeout(h->wire.mhd, &ms) == MHD_NO ? -1 : (int64_t)ms;
}

void mhd_stop(struct http *h)
{
    if (h->wire.mhd)
        MHD_stop_daemon(h->wire.mhd);
    h->wire.mhd = NULL;
}
