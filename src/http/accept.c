/* SPDX-License-Identifier: Apache-2.0 */
/* accept.c - the listener, and who is let in: a socket goes to microhttpd at once, whose reads
 * intake.c watches over. Loop thread.
 *
 * When all places are taken, whoever waits for nothing makes room (conn.c); SURPLUS_MAX more may
 * come, for probes; only then a newcomer is answered 503.
 */
#include "accept.h"

#include "conn.h"
#include "log.h"
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
#include <sys/socket.h>
#include <unistd.h>

enum { ACCEPT_BATCH = 128 };

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
        bool room = conn_room(h);
        if (room || h->wire.n_conns - h->wire.n_in[PH_OVER] < h->max_connections + SURPLUS_MAX) {
            mhd_add(h, fd, &a, n, !room);
            continue;
        }
        struct err e;
        conn_full(&e);
        answer_raw(h, fd, &e, "", false);
        h->hooks.count(h->hooks.arg, NULL, "", 503);
        shutdown(fd, SHUT_WR);
        raw_linger(h, fd);
    }
    pump(h); /* many a head is here already */
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
    uv_poll_init(&h->loop.uv, &h->in.poll, h->in.fd);
    h->in.poll.data = h;
    h->in.listening = true;
}

void accept_sweep(struct http *h)
{
    if (!h->in.paused || !h->in.listening)
        return;
    h->in.paused = false;
    uv_poll_start(&h->in.poll, UV_READABLE, on_listen);
}

void accept_start(struct http *h)
{
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
}

void accept_close(struct http *h)
{
    accept_stop(h);
}

void accept_fini(struct http *h)
{
    if (h->in.fd >= 0)
        close(h->in.fd);
}
