/* SPDX-License-Identifier: Apache-2.0 */
/* raw.c - answers without microhttpd: written to the socket by hand, after which it lingers until
 * the client has read them. Loop thread.
 */
#include "raw.h"

#include "clock.h"
#include "json_out.h"
#include "mem.h"
#include "random.h"
#include "wake.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Long enough for a client that writes all of a body before it reads: it is at most LINGER_BYTES.
 */
enum {
    LINGER_MAX = 64,
    LINGER_REST_US = 1000000,
    LINGER_US = 10000000,
    LINGER_BYTES = 256 << 20,
    DROP_AT_ONCE = 1 << 20
};

/* A socket that answered early. Closing it while the client still sends would make the kernel reset
 * the connection, and the reset overtakes the answer; so what comes is read and dropped for a
 * while. */
struct lingering {
    LIST_ENTRY(lingering) link;
    struct http *h;
    uv_poll_t poll;
    int fd;
    int64_t since_us, byte_us, bytes; /* byte_us: when the latest one came */
};

static void linger_closed(uv_handle_t *u)
{
    struct lingering *l = u->data;
    close(l->fd);
    free(l);
}

static void linger_end(struct lingering *l)
{
    LIST_REMOVE(l, link);
    l->h->in.n_lingers--;
    uv_poll_stop(&l->poll);
    uv_close((uv_handle_t *)&l->poll, linger_closed);
}

static void on_linger(uv_poll_t *p, int status, int events)
{
    struct lingering *l = p->data;
    (void)events;
    /* TCP drops them without a copy */
    ssize_t n = status == 0 ? recv(l->fd, NULL, DROP_AT_ONCE, MSG_DONTWAIT | MSG_TRUNC) : -1;
    if (n > 0) {
        l->bytes += n;
        l->byte_us = clock_us();
    }
    if (n == 0 || (n < 0 && (status || (errno != EAGAIN && errno != EINTR))) ||
        l->bytes > LINGER_BYTES)
        linger_end(l);
}

void raw_linger(struct http *h, int fd)
{
    struct lingering *l = h->in.n_lingers < LINGER_MAX ? try_alloc(sizeof *l) : NULL;
    if (!l || uv_poll_init(&h->loop.uv, &l->poll, fd) != 0) {
        free(l);
        close(fd);
        return;
    }
    l->h = h;
    l->fd = fd;
    l->poll.data = l;
    l->since_us = l->byte_us = clock_us();
    LIST_INSERT_HEAD(&h->in.lingers, l, link);
    h->in.n_lingers++;
    uv_poll_start(&l->poll, UV_READABLE | UV_DISCONNECT, on_linger);
    need_sweep(h);
}

void raw_sweep(struct http *h, int64_t now)
{
    for (struct lingering *l = LIST_FIRST(&h->in.lingers), *next; l; l = next) {
        next = LIST_NEXT(l, link);
        if (now - l->byte_us > LINGER_REST_US || now - l->since_us > LINGER_US)
            linger_end(l);
    }
}

void raw_close(struct http *h)
{
    for (struct lingering *l = LIST_FIRST(&h->in.lingers), *next; l; l = next) {
        next = LIST_NEXT(l, link);
        linger_end(l);
    }
}

/* ---- answers by hand ---- */

static const char *reason_of(int status)
{
    static const struct {
        int status;
        const char *text;
    } t[] = {{400, "Bad Request"},
             {408, "Request Timeout"},
             {413, "Content Too Large"},
             {414, "URI Too Long"},
             {431, "Request Header Fields Too Large"},
             {503, "Service Unavailable"},
             {505, "HTTP Version Not Supported"}};
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++)
        if (t[i].status == status)
            return t[i].text;
    return "Error";
}

void answer_raw(const struct http *h, int fd, const struct err *e, const char *id, bool head_only)
{
    struct buf body = {.soft = true}, all = {.soft = true};
    char made[40] = "req_", date[40];
    struct tm tm;
    time_t now = (time_t)clock_unix_s();
    int status = st_http(e->st);
    if (!*id)
        random_hex(made + 4, 32);
    gmtime_r(&now, &tm);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    h->hooks.error(&body, e);
    out_fmt(&all,
            "HTTP/1.1 %d %s\r\nDate: %s\r\nServer: quire/" QUIRE_VERSION "\r\nX-Request-Id: %s\r\n"
            "Content-Type: application/json\r\nConnection: close\r\n%sContent-Length: %zu\r\n\r\n",
            status, reason_of(status), date, *id ? id : made,
            status != 503 ? ""
            : now & 1     ? "Retry-After: 1\r\n"
                          : "Retry-After: 2\r\n",
            body.n);
    if (!head_only)
        buf_add(&all, body.p, body.n);
    if (!body.oom && !all.oom) {
        ssize_t n = send(fd, all.p, all.n, MSG_NOSIGNAL | MSG_DONTWAIT);
        (void)n;
    }
    buf_free(&body);
    buf_free(&all);
}
