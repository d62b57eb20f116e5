/* SPDX-License-Identifier: Apache-2.0 */
/* accept.c - from a new socket to microhttpd: the listener, the connection cap, and the guard that
 * reads the first head before microhttpd does.
 *
 * Loop thread. A newcomer is looked at with MSG_PEEK, edge-triggered, so a head that comes in
 * pieces costs a look per piece, and after MAX_LOOKS one per sweep. Newcomers and connections
 * together stay below the cap; a socket is a newcomer, or microhttpd's, or lingering (raw.c), never
 * two of them.
 */
#include "accept.h"

#include "clock.h"
#include "head.h"
#include "log.h"
#include "mem.h"
#include "mhd.h"
#include "pump.h"
#include "raw.h"
#include "wake.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ACCEPT_BATCH = 128, FIRST_LOOK = 4096, MAX_LOOKS = 16 };

struct newcomer {
    LIST_ENTRY(newcomer) link;
    struct http *h;
    int fd, n_looks;
    bool watched;
    size_t want; /* bytes to look at; grows with the head */
    int64_t since_us;
    struct sockaddr_storage addr;
    socklen_t n_addr;
};

static void on_listen(uv_poll_t *p, int status, int events);

/* ---- newcomers ---- */

static void newcomer_free(struct newcomer *c)
{
    struct http *h = c->h;
    LIST_REMOVE(c, link);
    h->in.n_new--;
    free(c);
}

static void newcomer_unwatch(struct newcomer *c)
{
    if (c->watched)
        epoll_ctl(c->h->in.guard_fd, EPOLL_CTL_DEL, c->fd, NULL);
    c->watched = false;
}

static void newcomer_refuse(struct newcomer *c, const struct err *e, const struct head_seen *f)
{
    struct http *h = c->h;
    newcomer_unwatch(c);
    answer_raw(h, c->fd, e, f->id, f->is_head);
    h->hooks.count(h->hooks.arg, NULL, "", st_http(e->st));
    log_info("http.refused", "status=%d code=%s", st_http(e->st), st_code(e->st));
    shutdown(c->fd, SHUT_WR);
    raw_linger(h, c->fd);
    newcomer_free(c);
}

static void newcomer_close(struct newcomer *c)
{
    newcomer_unwatch(c);
    close(c->fd);
    newcomer_free(c);
}

/* What has arrived decides: wait, refuse, or hand over. `gone`: nothing more will come. */
static void newcomer_look(struct newcomer *c, bool gone)
{
    struct http *h = c->h;
    struct head_seen f;
    struct err e;
    size_t max = (size_t)h->c->http.max_header_bytes, most = max + URI_MAX + 256;
    for (;;) {
        if (h->in.peek.cap < c->want)
            h->in.peek.p = xrealloc(h->in.peek.p, h->in.peek.cap = c->want);
        ssize_t n = recv(c->fd, h->in.peek.p, c->want, MSG_PEEK | MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            newcomer_close(c);
            return;
        }
        int st = n > 0 ? head_check(h->in.peek.p, (size_t)n, max, &f, &e) : HEAD_MORE;
        if (st == 0) {
            int fd = c->fd;
            newcomer_unwatch(c);
            mhd_add(h, fd, &c->addr, c->n_addr);
            newcomer_free(c);
            return;
        }
        if (st < 0) {
            newcomer_refuse(c, &e, &f);
            return;
        }
        if (n < (ssize_t)c->want || c->want >= most)
            break;
        c->want = c->want * 2 < most ? c->want * 2 : most;
    }
    if (gone)
        newcomer_close(c);
    else if (++c->n_looks > MAX_LOOKS)
        newcomer_unwatch(c); /* the sweep looks from now on */
}

static void newcomer_add(struct http *h, int fd, const struct sockaddr_storage *a, socklen_t n)
{
    struct newcomer *c = xalloc(sizeof *c);
    struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    *c = (struct newcomer){
        .h = h, .fd = fd, .want = FIRST_LOOK, .since_us = clock_us(), .addr = *a, .n_addr = n};
    LIST_INSERT_HEAD(&h->in.newcomers, c, link);
    h->in.n_new++;
    c->watched = epoll_ctl(h->in.guard_fd, EPOLL_CTL_ADD, fd, &ev) == 0;
    need_sweep(h);
}

static void on_guard(uv_poll_t *p, int status, int events)
{
    struct http *h = p->data;
    struct epoll_event ev[256];
    (void)status;
    (void)events;
    int n = epoll_wait(h->in.guard_fd, ev, 256, 0);
    for (int i = 0; i < n; i++) /* an event frees its own newcomer only */
        newcomer_look(ev[i].data.ptr, (ev[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
    pump(h);
}

bool accept_sweep(struct http *h, int64_t now)
{
    struct err e;
    struct head_seen none = {0};
    err_set(&e, ST_TIMEOUT, "The request did not arrive in time.");
    for (struct newcomer *c = LIST_FIRST(&h->in.newcomers), *next; c; c = next) {
        next = LIST_NEXT(c, link);
        if (now - c->since_us > h->c->http.header_timeout)
            newcomer_refuse(c, &e, &none);
        else if (!c->watched)
            newcomer_look(c, false);
    }
    if (h->in.paused && h->in.listening) {
        h->in.paused = false;
        uv_poll_start(&h->in.poll, UV_READABLE, on_listen);
    }
    return h->in.n_new > 0;
}

/* ---- the listener ---- */

static void on_listen(uv_poll_t *p, int status, int events)
{
    struct http *h = p->data;
    (void)events;
    for (int i = 0; i < ACCEPT_BATCH && status == 0; i++) {
        struct sockaddr_storage a;
        socklen_t n = sizeof a;
        int fd = accept4(h->in.fd, (struct sockaddr *)&a, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
            log_warn("http.accept", "paused: %s", strerror(errno));
            uv_poll_stop(p); /* readable for as long as nobody is accepted: it would spin */
            h->in.paused = true;
            need_sweep(h);
        }
        if (fd < 0)
            break;
        if (h->wire.n_conns + h->in.n_new < h->max_connections) {
            newcomer_add(h, fd, &a, n);
            continue;
        }
        struct err e;
        err_set(&e, ST_ENGINE_DOWN, "Too many connections; try again later.");
        answer_raw(h, fd, &e, "", false);
        h->hooks.count(h->hooks.arg, NULL, "", 503);
        shutdown(fd, SHUT_WR);
        raw_linger(h, fd);
    }
    on_guard(&h->in.poll_guard, 0, 0); /* many a head is here already */
}

static void socket_options(int fd)
{
    const struct {
        int level, name, value;
    } o[] = {{SOL_SOCKET, SO_REUSEADDR, 1},           {IPPROTO_TCP, TCP_NODELAY, 1},
             {IPPROTO_TCP, TCP_NOTSENT_LOWAT, 16384}, {SOL_SOCKET, SO_KEEPALIVE, 1},
             {IPPROTO_TCP, TCP_KEEPIDLE, 15},         {IPPROTO_TCP, TCP_KEEPINTVL, 5},
             {IPPROTO_TCP, TCP_KEEPCNT, 3},           {IPPROTO_TCP, TCP_USER_TIMEOUT, 30000}};
    for (size_t i = 0; i < sizeof o / sizeof o[0]; i++)
        setsockopt(fd, o[i].level, o[i].name, &o[i].value, sizeof o[i].value);
}

/* "host:port" or "[v6]:port", checked by config_load; returns the port. */
static int split_listen(const char *listen, char *host, size_t n)
{
    const char *colon = strrchr(listen, ':');
    size_t len = colon ? (size_t)(colon - listen) : strlen(listen);
    if (len >= 2 && listen[0] == '[' && listen[len - 1] == ']') {
        listen++;
        len -= 2;
    }
    if (len > 0)
        snprintf(host, n, "%.*s", (int)len, listen);
    else
        snprintf(host, n, "127.0.0.1");
    return colon ? (int)strtol(colon + 1, NULL, 10) : 0;
}

int accept_open(struct http *h, struct err *e)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_PASSIVE, .ai_socktype = SOCK_STREAM};
    struct addrinfo *ai = NULL;
    char port[16];
    h->in.port = split_listen(h->c->http.listen, h->in.address, sizeof h->in.address);
    snprintf(port, sizeof port, "%d", h->in.port);
    if (getaddrinfo(h->in.address, port, &hints, &ai) != 0)
        return err_set(e, ST_IO, "'%s' is not a numeric address", h->in.address);
    h->in.fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int st = h->in.fd < 0 ? -1 : 0;
    if (st == 0) {
        socket_options(h->in.fd);
        st = bind(h->in.fd, ai->ai_addr, ai->ai_addrlen);
    }
    st = st ? st : listen(h->in.fd, 4096);
    freeaddrinfo(ai);
    if (st)
        return err_set(e, ST_IO, "cannot listen on %.100s port %d: %s", h->in.address, h->in.port,
                       strerror(errno));
    h->in.guard_fd = epoll_create1(EPOLL_CLOEXEC);
    if (h->in.guard_fd < 0)
        return err_set(e, ST_IO, "epoll_create1: %s", strerror(errno));
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } a = {.v6 = {0}};
    socklen_t n = sizeof a;
    getsockname(h->in.fd, &a.any, &n);
    h->in.port = ntohs(a.any.sa_family == AF_INET6 ? a.v6.sin6_port : a.v4.sin_port);
    return 0;
}

void accept_init(struct http *h)
{
    uv_poll_init(&h->loop.uv, &h->in.poll_guard, h->in.guard_fd);
    uv_poll_init(&h->loop.uv, &h->in.poll, h->in.fd);
    h->in.poll_guard.data = h->in.poll.data = h;
    h->in.listening = true;
}

void accept_start(struct http *h)
{
    uv_poll_start(&h->in.poll_guard, UV_READABLE, on_guard);
    uv_poll_start(&h->in.poll, UV_READABLE, on_listen);
}

void accept_stop(struct http *h)
{
    if (!h->in.listening)
        return;
    h->in.listening = false;
    uv_poll_stop(&h->in.poll);
    uv_close((uv_handle_t *)&h->in.poll, NULL);
    close(h->in.fd);
    h->in.fd = -1;
    for (struct newcomer *c = LIST_FIRST(&h->in.newcomers), *next; c; c = next) {
        next = LIST_NEXT(c, link);
        newcomer_close(c);
    }
}

void accept_close(struct http *h)
{
    accept_stop(h);
    if (h->in.poll_guard.loop && !uv_is_closing((uv_handle_t *)&h->in.poll_guard))
        uv_close((uv_handle_t *)&h->in.poll_guard, NULL);
}

void accept_fini(struct http *h)
{
    if (h->in.fd >= 0)
        close(h->in.fd);
    if (h->in.guard_fd >= 0)
        close(h->in.guard_fd);
    buf_free(&h->in.peek);
}
