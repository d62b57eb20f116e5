/* SPDX-License-Identifier: Apache-2.0 */
/* reply.c - answers through microhttpd: headers, whole bodies, streams of events. See reply.h. */
#include "reply.h"

#include "clock.h"
#include "exchange.h"
#include "hash.h"
#include "preflight.h"

#include <ctype.h>
#include <microhttpd.h>
#include <stdio.h>
#include <string.h>

enum { EVENT_BLOCK = 4096, RETRY_MAX = 39 /* and half more: at most a minute */ };

static bool origin_allowed(const struct exchange *x, const char **value)
{
    const struct str_list *ours = &x->r.http->c->http.cors.allow_origins;
    const char *theirs = x->head.origin;
    for (int32_t i = 0; theirs && i < ours->n; i++) {
        bool any = strcmp(ours->v[i], "*") == 0;
        if (any || strcmp(ours->v[i], theirs) == 0) {
            *value = any ? "*" : theirs;
            return true;
        }
    }
    return false;
}

static void add_headers(const struct exchange *x, struct MHD_Response *resp, const char *ctype)
{
    const struct req *r = &x->r;
    int status = x->answer.status;
    char t[32];
    const char *o;
    MHD_add_response_header(resp, "Server", "quire/" QUIRE_VERSION);
    MHD_add_response_header(resp, "X-Request-Id", r->id);
    if (r->handler && r->handler->id_header)
        MHD_add_response_header(resp, r->handler->id_header, r->id);
    if (ctype)
        MHD_add_response_header(resp, "Content-Type", ctype);
    if (ctype && strncmp(ctype, "text/html", 9) == 0) { /* a page of ours: it asks for nothing */
        MHD_add_response_header(resp, "Content-Security-Policy",
                                "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
                                "form-action 'none'; frame-ancestors 'none'");
        MHD_add_response_header(resp, "X-Content-Type-Options", "nosniff");
    }
    if (x->head.allow)
        MHD_add_response_header(resp, "Allow", x->head.allow);
    if (r->retry_after) {
        snprintf(t, sizeof t, "%d", r->retry_after);
        MHD_add_response_header(resp, "Retry-After", t);
    }
    if (status == 401)
        MHD_add_response_header(resp, "WWW-Authenticate", "Bearer");
    if (status == 500 || status == 504)
        MHD_add_response_header(resp, "X-Should-Retry", "false");
    if (x->answer.close || r->http->run.stage >= HTTP_DRAIN)
        MHD_add_response_header(resp, "Connection", "close");
    if (origin_allowed(x, &o)) {
        MHD_add_response_header(resp, "Access-Control-Allow-Origin", o);
        MHD_add_response_header(resp, "Vary", "Origin");
        MHD_add_response_header(resp, "Access-Control-Expose-Headers", "X-Request-Id, Retry-After");
    }
}

static void send_response(struct exchange *x, struct MHD_Response *resp)
{
    x->r.answered = true;
    x->answer.refused = MHD_queue_response(x->at.mc, (unsigned)x->answer.status, resp) != MHD_YES;
    MHD_destroy_response(resp);
    if (x->answer.refused)
        x->at.dead = true;
    exchange_resume(x);
}

void reply(struct req *r, int status, const char *ctype, const char *body, size_t n)
{
    struct exchange *x = exchange_of(r);
    if (r->answered || r->gone)
        return;
    struct MHD_Response *resp = MHD_create_response_from_buffer(n, (void *)(n ? body : ""),
                                                                MHD_RESPMEM_MUST_COPY);
    x->answer.status = status;
    if (!resp) {
        req_drop(r);
        return;
    }
    add_headers(x, resp, ctype);
    send_response(x, resp);
}

/* Those that are refused together must not all come back together. */
static int retry_after(const struct req *r, const struct err *e)
{
    const struct http_hooks *k = &r->http->hooks;
    int s = r->retry_after;
    if (s <= 0)
        s = k->retry_after ? k->retry_after(k->arg, e) : e->st == ST_LOADING ? 2 : 1;
    s = s < 1 ? 1 : s > RETRY_MAX ? RETRY_MAX : s;
    return s + (int)(mix64((uint64_t)clock_us()) % (uint64_t)(s / 2 + 2));
}

/* What the access line says of an error: names of fields are the client's, so they are made plain.
 */
static void note(struct exchange *x, const struct err *e)
{
    size_t k = 0;
    x->answer.code = st_code(e->st);
    for (const char *p = e->param; *p && k < sizeof x->answer.param - 1; p++)
        x->answer.param[k++] = isalnum((unsigned char)*p) || strchr("_.-[]", *p) ? *p : '?';
    x->answer.param[k] = '\0';
}

void reply_error(struct req *r, const struct err *e)
{
    struct buf b = {.soft = true};
    int http = st_http(e->st);
    if (http == 429 || http == 503)
        r->retry_after = retry_after(r, e);
    if (e->st == ST_DRAINING)
        exchange_of(r)->answer.close = true;
    if (!r->answered)
        note(exchange_of(r), e);
    if (r->handler && r->handler->error)
        r->handler->error(&b, r, e);
    else
        r->http->hooks.error(&b, e);
    if (b.oom)
        req_drop(r);
    else
        reply(r, http, "application/json", b.p, b.n);
    buf_free(&b);
}

void reply_fail(struct req *r, int st, const char *text)
{
    struct err e;
    err_set(&e, st, "%s", text);
    reply_error(r, &e);
}

/* How much of p to hand out when only max bytes fit: whole events, so that a client that reads what
 * has arrived can use all of it. A part of one only when not even one fits: behind a large head
 * microhttpd's buffer is smaller than that. */
static size_t whole_events(const char *p, size_t max)
{
    for (size_t k = max; k >= 2; k--)
        if (p[k - 1] == '\n' && p[k - 2] == '\n')
            return k;
    return max;
}

static ssize_t on_read(void *cls, uint64_t pos, char *out, size_t max)
{
    struct exchange *x = cls;
    struct req *r = &x->r;
    (void)pos;
    if (x->at.dead || r->out.oom)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    size_t n = r->out.n - r->out_at;
    const char *p = r->out.p + r->out_at;
    if (n == 0) {
        if (r->ended)
            return MHD_CONTENT_READER_END_OF_STREAM;
        exchange_suspend(x);
        return 0;
    }
    if (n > max)
        n = whole_events(p, max);
    memcpy(out, p, n);
    r->out_at += n;
    r->out_since_us = clock_us();
    if (r->out_at == r->out.n)
        r->out.n = r->out_at = 0;
    return (ssize_t)n;
}

void reply_events(struct req *r)
{
    struct exchange *x = exchange_of(r);
    if (r->answered || r->gone)
        return;
    struct MHD_Response *resp = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, EVENT_BLOCK,
                                                                  on_read, x, NULL);
    if (!resp) {
        req_drop(r);
        return;
    }
    x->answer.status = 200;
    r->streaming = true;
    r->out_since_us = clock_us();
    add_headers(x, resp, "text/event-stream; charset=utf-8");
    MHD_add_response_header(resp, "Cache-Control", "no-cache");
    MHD_add_response_header(resp, "X-Accel-Buffering", "no");
    send_response(x, resp);
}

void reply_more(struct req *r)
{
    struct exchange *x = exchange_of(r);
    if (r->out.oom) { /* some event is not whole */
        req_drop(r);
        return;
    }
    if (x->at.suspended) /* the socket had taken all: they are offered from now on */
        r->out_since_us = clock_us();
    exchange_resume(x);
}

void reply_options(struct exchange *x)
{
    const char *o;
    struct MHD_Response *resp = MHD_create_response_from_buffer(0, "", MHD_RESPMEM_PERSISTENT);
    if (!resp)
        return;
    x->answer.status = 200;
    add_headers(x, resp, NULL);
    if (origin_allowed(x, &o)) {
        MHD_add_response_header(resp, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
        MHD_add_response_header(resp, "Access-Control-Allow-Headers",
                                x->head.cors_headers ? x->head.cors_headers
                                                     : "Authorization, Content-Type, X-Request-Id");
        MHD_add_response_header(resp, "Access-Control-Max-Age", "600");
    }
    send_response(x, resp);
}
