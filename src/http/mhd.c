/* server_mhd.c - the only file that knows microhttpd: heads, bodies, answers, suspend and resume.
 *
 * Loop thread. Invariants: M1 a request without an answer is either inside its handler or
 * suspended. M2 no callback here runs the daemon or blocks. M3 a suspended request is in h->reqs,
 * so stopping can find it. M4 a request is freed only when the connection completed, no job runs
 * and the engine has ended all its choices.
 */
#include "request.h"

#include "clock.h"
#include "head.h"
#include "log.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { POOL_BYTES = 64 << 10, DROP_BYTES = 64 << 10, EVENT_BLOCK = 4096 };

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
    struct head *hd = at[0];
    (void)kind;
    hd->bad_value |= is_folded(k, nk, v);
    request_field(at[1], hd, k, nk, v, nv);
    return MHD_YES;
}

/* ---- answers ---- */

static bool origin_allowed(const struct req *r, const char **value)
{
    const struct http_config *c = &r->h->c;
    for (int32_t i = 0; r->origin && i < c->n_cors_origins; i++) {
        bool any = strcmp(c->cors_origins[i], "*") == 0;
        if (any || strcmp(c->cors_origins[i], r->origin) == 0) {
            *value = any ? "*" : r->origin;
            return true;
        }
    }
    return false;
}

static void add_headers(struct req *r, struct MHD_Response *resp, const char *ctype)
{
    char t[32];
    const char *o;
    MHD_add_response_header(resp, "Server", "quire/" QUIRE_VERSION);
    MHD_add_response_header(resp, "X-Request-Id", r->id);
    if (ctype)
        MHD_add_response_header(resp, "Content-Type", ctype);
    if (r->allow)
        MHD_add_response_header(resp, "Allow", r->allow);
    if (r->retry_after) {
        snprintf(t, sizeof t, "%d", r->retry_after);
        MHD_add_response_header(resp, "Retry-After", t);
    }
    if (r->status == 401)
        MHD_add_response_header(resp, "WWW-Authenticate", "Bearer");
    if (r->status == 500 || r->status == 504)
        MHD_add_response_header(resp, "X-Should-Retry", "false");
    if (r->close || r->h->run >= RUN_DRAIN)
        MHD_add_response_header(resp, "Connection", "close");
    if (origin_allowed(r, &o)) {
        MHD_add_response_header(resp, "Access-Control-Allow-Origin", o);
        MHD_add_response_header(resp, "Vary", "Origin");
        MHD_add_response_header(resp, "Access-Control-Expose-Headers", "X-Request-Id, Retry-After");
    }
}

void mhd_resume(struct req *r)
{
    if (!r->suspended || r->completed)
        return;
    r->suspended = false;
    MHD_resume_connection(r->mc);
}

static void send_response(struct req *r, struct MHD_Response *resp)
{
    r->answered = true;
    if (MHD_queue_response(r->mc, (unsigned)r->status, resp) != MHD_YES)
        r->handler_ret_no = true;
    MHD_destroy_response(resp);
    if (r->handler_ret_no)
        r->dead = true;
    mhd_resume(r);
}

void reply(struct req *r, int status, const char *ctype, const char *body, size_t n)
{
    if (r->answered || r->completed || r->dead)
        return;
    struct MHD_Response *resp = MHD_create_response_from_buffer(n, (void *)(n ? body : ""),
                                                                MHD_RESPMEM_MUST_COPY);
    r->status = status;
    if (!resp) {
        req_drop(r);
        return;
    }
    add_headers(r, resp, ctype);
    send_response(r, resp);
}

void reply_error(struct req *r, const struct err *e)
{
    struct buf b = {0};
    int http = st_http(e->st);
    if (http == 429 || http == 503)
        r->retry_after = r->retry_after ? r->retry_after : e->st == ST_LOADING ? 2 : 1;
    if (e->st == ST_DRAINING)
        r->close = true;
    out_error(&b, e);
    reply(r, http, "application/json", b.p, b.n);
    buf_free(&b);
}

void reply_fail(struct req *r, int st, const char *text)
{
    struct err e;
    err_set(&e, st, "%s", text);
    reply_error(r, &e);
}

/* Whole events as many as fit; parts of one only when not even one fits (P-8). */
static ssize_t on_read(void *cls, uint64_t pos, char *out, size_t max)
{
    struct req *r = cls;
    (void)pos;
    if (r->dead)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    size_t have = r->out.n - r->out_at, n = have < max ? have : max;
    const char *p = r->out.p + r->out_at;
    if (have == 0) {
        if (r->ended)
            return MHD_CONTENT_READER_END_OF_STREAM;
        r->suspended = true;
        MHD_suspend_connection(r->mc);
        return 0;
    }
    if (n < have)
        for (size_t k = n; k >= 2; k--)
            if (p[k - 1] == '\n' && p[k - 2] == '\n') {
                n = k;
                break;
            }
    memcpy(out, p, n);
    r->out_at += n;
    r->out_since_us = clock_us();
    if (r->out_at == r->out.n)
        r->out.n = r->out_at = 0;
    return (ssize_t)n;
}

void stream_begin(struct req *r)
{
    if (r->answered || r->completed || r->dead)
        return;
    struct MHD_Response *resp = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, EVENT_BLOCK,
                                                                  on_read, r, NULL);
    if (!resp) {
        req_drop(r);
        return;
    }
    r->status = 200;
    r->streaming = true;
    r->out_since_us = clock_us();
    add_headers(r, resp, "text/event-stream; charset=utf-8");
    MHD_add_response_header(resp, "Cache-Control", "no-cache");
    MHD_add_response_header(resp, "X-Accel-Buffering", "no");
    send_response(r, resp);
}

static void reply_options(struct req *r, const struct head *hd)
{
    const char *o;
    struct MHD_Response *resp = MHD_create_response_from_buffer(0, "", MHD_RESPMEM_PERSISTENT);
    if (!resp)
        return;
    r->status = 200;
    add_headers(r, resp, NULL);
    if (origin_allowed(r, &o)) {
        MHD_add_response_header(resp, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
        MHD_add_response_header(resp, "Access-Control-Allow-Headers",
                                hd->acrh ? hd->acrh : "Authorization, Content-Type, X-Request-Id");
        MHD_add_response_header(resp, "Access-Control-Max-Age", "600");
    }
    send_response(r, resp);
}

/* ---- sleeping, hang-ups, the end ---- */

static void watch(struct req *r)
{
    struct epoll_event ev = {.events = EPOLLRDHUP, .data.ptr = r};
    if (!r->watched && epoll_ctl(r->h->watch_fd, EPOLL_CTL_ADD, r->fd, &ev) == 0)
        r->watched = true;
}

static void unwatch(struct req *r)
{
    if (r->watched)
        epoll_ctl(r->h->watch_fd, EPOLL_CTL_DEL, r->fd, NULL);
    r->watched = false;
}

void req_sleep(struct req *r)
{
    if (r->answered || r->suspended || r->dead)
        return;
    watch(r);
    r->suspended = true;
    MHD_suspend_connection(r->mc);
}

void req_drop(struct req *r)
{
    if (r->completed)
        return;
    unwatch(r); /* level-triggered: left in, it would spin */
    r->dead = true;
    gen_cancel(r, ST_CANCELLED);
    if (r->suspended)
        mhd_resume(r);
    else
        shutdown(r->fd, SHUT_RDWR); /* the only thing that reaches a blocked write (P-10) */
}

void req_release(struct req *r)
{
    struct http *h = r->h;
    if (!r->completed || r->job_pending || r->n_open > 0)
        return;
    if (r->prev)
        r->prev->next = r->next;
    else
        h->reqs = r->next;
    if (r->next)
        r->next->prev = r->prev;
    h->n_reqs--;
    gen_free(r);
    free(r->uri);
    free(r->path);
    free(r->origin);
    buf_free(&r->body);
    buf_free(&r->job_out);
    buf_free(&r->out);
    buf_free(&r->pre);
    free(r);
}

/* One line a request; those of probes and scrapes only at debug level. */
static void access_line(const struct req *r, int status)
{
    char what[256];
    gen_summary(r, what, sizeof what);
    log_write(r->is_gen ? LOG_INFO : LOG_DEBUG, "http.request",
              "id=%s method=%s handler=%s status=%d total_ms=%.1f%s", r->id, r->method,
              route_name(route_index(r->route)), status, (double)(clock_us() - r->arrival_us) / 1e3,
              what);
}

static void on_completed(void *cls, struct MHD_Connection *mc, void **con_cls,
                         enum MHD_RequestTerminationCode code)
{
    struct http *h = cls;
    struct req *r = *con_cls;
    (void)mc;
    if (!r)
        return;
    *con_cls = NULL;
    unwatch(r);
    bool whole = code == MHD_REQUEST_TERMINATED_COMPLETED_OK && !r->dead;
    if (r->is_gen && !whole) {
        h->m.disconnects++;
        gen_cancel(r, ST_CANCELLED);
    }
    if (r->head_seen) {
        metrics_http(&h->m, r->route, r->method, r->answered ? r->status : 400);
        access_line(r, whole ? r->status : 499);
    }
    if (r->conn) {
        r->conn->phase = PH_IDLE;
        r->conn->req = NULL;
    }
    r->conn = NULL;
    r->completed = true;
    r->suspended = false;
    r->mc = NULL;
    h->n_active--;
    req_release(r);
}

/* ---- request life ---- */

static void *on_uri(void *cls, const char *uri, struct MHD_Connection *mc)
{
    struct http *h = cls;
    struct req *r = xalloc(sizeof *r);
    const union MHD_ConnectionInfo *ci;
    r->h = h;
    r->mc = mc;
    r->uri = xstrdup(uri);
    r->arrival_us = clock_us();
    ci = MHD_get_connection_info(mc, MHD_CONNECTION_INFO_CONNECTION_FD);
    r->fd = ci ? ci->connect_fd : -1;
    ci = MHD_get_connection_info(mc, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    r->conn = ci ? ci->socket_context : NULL;
    if (r->conn) {
        if (r->conn->phase == PH_IDLE)
            r->conn->since_us = r->arrival_us;
        r->conn->phase = PH_HEAD;
        r->conn->req = r;
    }
    r->next = h->reqs;
    if (h->reqs)
        h->reqs->prev = r;
    h->reqs = r;
    h->n_reqs++;
    h->n_active++;
    server_need_sweep(h);
    return r;
}

static enum MHD_Result result_of(struct req *r)
{
    return r->handler_ret_no || (r->dead && !r->suspended) ? MHD_NO : MHD_YES;
}

static enum MHD_Result on_head(struct req *r, const char *method, const char *version)
{
    struct head hd = {0};
    void *cls[2] = {&hd, r};
    r->head_seen = true;
    snprintf(r->method, sizeof r->method, "%s", method);
    MHD_get_connection_values_n(r->mc, MHD_HEADER_KIND, on_field, cls);
    request_id(r, hd.rid);
    int st = request_check(r, &hd, version, &r->err);
    r->err.st = st;
    if (r->conn) {
        r->conn->phase = PH_BODY;
        r->conn->since_us = clock_us();
    }
    long long len = hd.length ? atoll(hd.length) : 0;
    if (st && (r->close || hd.expect || hd.n_encoding || len > DROP_BYTES)) {
        r->close = true;
        if (hd.n_encoding || len > 0) { /* so that no reset overtakes the answer (P-13) */
            int fd = dup(r->fd);
            if (fd >= 0)
                accept_linger(r->h, fd);
        }
        reply_error(r, &r->err); /* early: no 100 Continue, the rest is not read */
    } else if (!st && strcmp(r->method, "OPTIONS") == 0) {
        r->close |= hd.n_encoding || len > 0;
        reply_options(r, &hd);
    }
    return result_of(r);
}

/* A chunked body that outgrows the limit: microhttpd takes no answer now (P-12), so it is written
 * by hand and a copy of the socket stays open until the client has read it (P-13). */
static enum MHD_Result refuse_upload(struct req *r)
{
    struct err e;
    r->close = true;
    err_set(&e, ST_BODY_TOO_LARGE, "The body is larger than %lld bytes.",
            (long long)r->h->c.max_body_bytes);
    int fd = dup(r->fd);
    answer_raw(r->h, r->fd, &e, r->id, false);
    if (fd >= 0)
        accept_linger(r->h, fd);
    r->status = 413;
    r->answered = true;
    return MHD_NO;
}

static enum MHD_Result on_upload(struct req *r, const char *data, size_t *n)
{
    size_t k = *n;
    *n = 0;
    if (r->conn)
        r->conn->since_us = clock_us();
    if (r->err.st || r->answered)
        return MHD_YES; /* dropped */
    if (r->body.n + k > (size_t)r->h->c.max_body_bytes)
        return refuse_upload(r);
    buf_add(&r->body, data, k);
    return MHD_YES;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *mc, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *n, void **con_cls)
{
    struct req *r = *con_cls;
    (void)cls;
    (void)mc;
    (void)url;
    if (!r)
        return MHD_NO;
    if (!r->head_seen)
        return on_head(r, method, version);
    if (*n)
        return on_upload(r, data, n);
    if (r->dead || (r->started && !r->answered))
        return MHD_NO; /* resumed without an answer: the client is gone */
    if (r->answered)
        return MHD_YES;
    if (r->conn)
        r->conn->phase = PH_RUN;
    r->in_handler = true;
    if (r->err.st)
        reply_error(r, &r->err);
    else
        r->route->run(r);
    r->in_handler = false;
    return result_of(r);
}

static void on_connection(void *cls, struct MHD_Connection *mc, void **ctx,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http *h = cls;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *ci = MHD_get_connection_info(
            mc, MHD_CONNECTION_INFO_CONNECTION_FD);
        struct conn *c = xalloc(sizeof *c);
        c->fd = ci ? ci->connect_fd : -1;
        c->phase = PH_HEAD;
        c->since_us = clock_us();
        c->next = h->conns;
        if (h->conns)
            h->conns->prev = c;
        h->conns = c;
        h->n_conns++;
        *ctx = c;
        server_need_sweep(h);
        return;
    }
    struct conn *c = *ctx;
    if (!c)
        return;
    *ctx = NULL;
    if (c->req)
        c->req->conn = NULL;
    if (c->prev)
        c->prev->next = c->next;
    else
        h->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    h->n_conns--;
    free(c);
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
    int64_t idle_s = (h->c.keepalive_timeout_us + 999999) / 1000000;
    MHD_set_panic_func(on_panic, NULL);
    h->mhd = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG, 0,
        NULL, NULL, on_request, h, MHD_OPTION_EXTERNAL_LOGGER, on_log, h,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)(h->c.max_connections + 64),
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)POOL_BYTES, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)(idle_s < 1 ? 1 : idle_s), MHD_OPTION_STRICT_FOR_CLIENT, 0,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
        h, MHD_OPTION_URI_LOG_CALLBACK, on_uri, h, MHD_OPTION_END);
    return h->mhd ? 0 : err_set(e, ST_IO, "cannot start the HTTP daemon");
}

int mhd_poll_fd(struct http *h)
{
    return MHD_get_daemon_info(h->mhd, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
}

void mhd_add(struct http *h, int fd, const void *addr, unsigned addr_len)
{
    MHD_add_connection(h->mhd, fd, addr, addr_len); /* closes fd when it fails */
}

int64_t mhd_turn(struct http *h)
{
    MHD_UNSIGNED_LONG_LONG ms;
    MHD_run(h->mhd);
    return MHD_get_timeout(h->mhd, &ms) == MHD_NO ? -1 : (int64_t)ms;
}

void mhd_stop(struct http *h)
{
    if (h->mhd)
        MHD_stop_daemon(h->mhd);
    h->mhd = NULL;
}
