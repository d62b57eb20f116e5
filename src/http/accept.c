/* accept.c - from a new socket to microhttpd: the listener, the connection cap, the guard that
 * reads the first head before microhttpd does, and answers written by hand.
 *
 * Loop thread. A newcomer is looked at with MSG_PEEK, edge-triggered, so a head that comes in
 * pieces costs a look per piece, and after MAX_LOOKS one per sweep. Invariants: A1 newcomers and
 * connections together stay below the cap. A2 a socket is a newcomer, or microhttpd's, or
 * lingering, never two of them.
 */
#include "state.h"

#include "clock.h"
#include "head.h"
#include "log.h"

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
#include <time.h>
#include <unistd.h>

enum { ACCEPT_BATCH = 128, LINGER_MAX = 64, FIRST_LOOK = 4096, MAX_LOOKS = 16 };

struct newcomer {
    struct newcomer *prev, *next;
    struct http *h;
    int fd, n_looks;
    bool watched;
    size_t want; /* bytes to look at; grows with the head */
    int64_t since_us;
    struct sockaddr_storage addr;
    socklen_t n_addr;
};

struct lingering { /* a socket that answered early: read and drop until the client is done (P-13) */
    struct lingering *next;
    struct http *h;
    uv_poll_t poll;
    int fd;
    int64_t until_us, bytes;
};

/* ---- lingering sockets ---- */

static void linger_closed(uv_handle_t *u)
{
    struct lingering *l = u->data;
    close(l->fd);
    free(l);
}

static void linger_end(struct lingering *l)
{
    struct lingering **at = &l->h->lingers;
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    l->h->n_lingers--;
    uv_poll_stop(&l->poll);
    uv_close((uv_handle_t *)&l->poll, linger_closed);
}

static void on_linger(uv_poll_t *p, int status, int events)
{
    struct lingering *l = p->data;
    char drop[16384];
    (void)events;
    ssize_t n = status == 0 ? recv(l->fd, drop, sizeof drop, MSG_DONTWAIT) : -1;
    if (n > 0)
        l->bytes += n;
    if (n == 0 || (n < 0 && (status || (errno != EAGAIN && errno != EINTR))) || l->bytes > 1 << 20)
        linger_end(l);
}

/* Takes fd and closes it soon. */
void accept_linger(struct http *h, int fd)
{
    struct lingering *l = h->n_lingers < LINGER_MAX ? xalloc(sizeof *l) : NULL;
    if (!l || uv_poll_init(&h->loop, &l->poll, fd) != 0) {
        free(l);
        close(fd);
        return;
    }
    l->h = h;
    l->fd = fd;
    l->poll.data = l;
    l->until_us = clock_us() + 1000000;
    l->next = h->lingers;
    h->lingers = l;
    h->n_lingers++;
    uv_poll_start(&l->poll, UV_READABLE | UV_DISCONNECT, on_linger);
    server_need_sweep(h);
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

/* One write of a whole answer that ends the connection; id "" = a new one. The socket is fresh or
 * its peer waits for us, so what does not fit into its buffer is given up. */
void answer_raw(struct http *h, int fd, const struct err *e, const char *id, bool head_only)
{
    struct buf body = {0}, all = {0};
    char made[40] = "req_", date[40];
    struct tm tm;
    time_t now = (time_t)clock_unix_s();
    int status = st_http(e->st);
    if (!*id)
        server_random(h, made + 4, 32);
    gmtime_r(&now, &tm);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    out_error(&body, e);
    out_fmt(&all,
            "HTTP/1.1 %d %s\r\nDate: %s\r\nServer: quire/" QUIRE_VERSION "\r\nX-Request-Id: %s\r\n"
            "Content-Type: application/json\r\nConnection: close\r\n%sContent-Length: %zu\r\n\r\n",
            status, reason_of(status), date, *id ? id : made,
            status == 503 ? "Retry-After: 1\r\n" : "", body.n);
    if (!head_only)
        buf_add(&all, body.p, body.n);
    ssize_t n = send(fd, all.p, all.n, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)n;
    buf_free(&body);
    buf_free(&all);
}

static void on_listen(uv_poll_t *p, int status, int events);

/* ---- newcomers ---- */

static void newcomer_free(struct newcomer *c)
{
    struct http *h = c->h;
    if (c->prev)
        c->prev->next = c->next;
    else
        h->newcomers = c->next;
    if (c->next)
        c->next->prev = c->prev;
    h->n_new--;
    free(c);
}

static void newcomer_unwatch(struct newcomer *c)
{
    if (c->watched)
        epoll_ctl(c->h->guard_fd, EPOLL_CTL_DEL, c->fd, NULL);
    c->watched = false;
}

static void newcomer_refuse(struct newcomer *c, const struct err *e, const struct head_facts *f)
{
    struct http *h = c->h;
    newcomer_unwatch(c);
    answer_raw(h, c->fd, e, f->id, f->is_head);
    metrics_http(&h->m, NULL, "", st_http(e->st));
    log_info("http.refused", "status=%d code=%s", st_http(e->st), st_code(e->st));
    shutdown(c->fd, SHUT_WR);
    accept_linger(h, c->fd);
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
    struct head_facts f;
    struct err e;
    size_t most = (size_t)h->c.max_header_bytes + URI_MAX + 256;
    for (;;) {
        if (h->peek.cap < c->want)
            h->peek.p = xrealloc(h->peek.p, h->peek.cap = c->want);
        ssize_t n = recv(c->fd, h->peek.p, c->want, MSG_PEEK | MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            newcomer_close(c);
            return;
        }
        int st = n > 0 ? head_check(h->peek.p, (size_t)n, (size_t)h->c.max_header_bytes, &f, &e)
                       : HEAD_MORE;
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
    *c = (struct newcomer){.next = h->newcomers,
                           .h = h,
                           .fd = fd,
                           .want = FIRST_LOOK,
                           .since_us = clock_us(),
                           .addr = *a,
                           .n_addr = n};
    if (h->newcomers)
        h->newcomers->prev = c;
    h->newcomers = c;
    h->n_new++;
    c->watched = epoll_ctl(h->guard_fd, EPOLL_CTL_ADD, fd, &ev) == 0;
    server_need_sweep(h);
}

static void on_guard(uv_poll_t *p, int status, int events)
{
    struct http *h = p->data;
    struct epoll_event ev[256];
    (void)status;
    (void)events;
    int n = epoll_wait(h->guard_fd, ev, 256, 0);
    for (int i = 0; i < n; i++) /* an event frees its own newcomer only */
        newcomer_look(ev[i].data.ptr, (ev[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
    server_pump(h);
}

/* Every 100 ms. True while somebody is here. */
bool accept_sweep(struct http *h, int64_t now)
{
    struct err e;
    struct head_facts none = {0};
    err_set(&e, ST_TIMEOUT, "The request did not arrive in time.");
    for (struct newcomer *c = h->newcomers, *next; c; c = next) {
        next = c->next;
        if (now - c->since_us > h->c.header_timeout_us)
            newcomer_refuse(c, &e, &none);
        else if (!c->watched)
            newcomer_look(c, false);
    }
    for (struct lingering *l = h->lingers, *next; l; l = next) {
        next = l->next;
        if (now > l->until_us)
            linger_end(l);
    }
    if (h->listen_paused && h->listening) {
        h->listen_paused = false;
        uv_poll_start(&h->poll_listen, UV_READABLE, on_listen);
    }
    return h->n_new > 0 || h->n_lingers > 0;
}

/* ---- the listener ---- */

static void on_listen(uv_poll_t *p, int status, int events)
{
    struct http *h = p->data;
    (void)events;
    for (int i = 0; i < ACCEPT_BATCH && status == 0; i++) {
        struct sockaddr_storage a;
        socklen_t n = sizeof a;
        int fd = accept4(h->listen_fd, (struct sockaddr *)&a, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
            log_warn("http.accept", "paused: %s", strerror(errno));
            uv_poll_stop(p); /* readable for as long as nobody is accepted: it would spin (P-7) */
            h->listen_paused = true;
            server_need_sweep(h);
        }
        if (fd < 0)
            break;
        if (h->n_conns + h->n_new < h->c.max_connections) {
            newcomer_add(h, fd, &a, n);
            continue;
        }
        struct err e;
        err_set(&e, ST_ENGINE_DOWN, "Too many connections; try again later.");
        answer_raw(h, fd, &e, "", false);
        metrics_http(&h->m, NULL, "", 503);
        shutdown(fd, SHUT_WR);
        accept_linger(h, fd);
    }
    on_guard(&h->poll_guard, 0, 0); /* many a head is here already */
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

int accept_open(struct http *h, struct err *e)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_PASSIVE, .ai_socktype = SOCK_STREAM};
    struct addrinfo *ai = NULL;
    char port[16];
    snprintf(port, sizeof port, "%d", h->c.port);
    if (getaddrinfo(h->c.address, port, &hints, &ai) != 0)
        return err_set(e, ST_IO, "'%s' is not a numeric address", h->c.address);
    h->listen_fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int st = h->listen_fd < 0 ? -1 : 0;
    if (st == 0) {
        socket_options(h->listen_fd);
        st = bind(h->listen_fd, ai->ai_addr, ai->ai_addrlen);
    }
    st = st ? st : listen(h->listen_fd, 4096);
    freeaddrinfo(ai);
    if (st)
        return err_set(e, ST_IO, "cannot listen on %.100s port %d: %s", h->c.address, h->c.port,
                       strerror(errno));
    h->guard_fd = epoll_create1(EPOLL_CLOEXEC);
    if (h->guard_fd < 0)
        return err_set(e, ST_IO, "epoll_create1: %s", strerror(errno));
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    getsockname(h->listen_fd, (struct sockaddr *)&a, &n);
    h->port = ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port
                                            : ((struct sockaddr_in *)&a)->sin_port);
    return 0;
}

/* The loop exists: the two handles. */
void accept_init(struct http *h)
{
    uv_poll_init(&h->loop, &h->poll_guard, h->guard_fd);
    uv_poll_init(&h->loop, &h->poll_listen, h->listen_fd);
    h->poll_guard.data = h->poll_listen.data = h;
    h->listening = true;
}

void accept_start(struct http *h)
{
    uv_poll_start(&h->poll_guard, UV_READABLE, on_guard);
    uv_poll_start(&h->poll_listen, UV_READABLE, on_listen);
}

/* No new sockets, and those that have not asked for anything go. */
void accept_stop(struct http *h)
{
    if (!h->listening)
        return;
    h->listening = false;
    uv_poll_stop(&h->poll_listen);
    uv_close((uv_handle_t *)&h->poll_listen, NULL);
    close(h->listen_fd);
    h->listen_fd = -1;
    while (h->newcomers)
        newcomer_close(h->newcomers);
}

/* The loop still runs once more after this. */
void accept_close(struct http *h)
{
    accept_stop(h);
    while (h->lingers)
        linger_end(h->lingers);
    if (h->poll_guard.loop && !uv_is_closing((uv_handle_t *)&h->poll_guard))
        uv_close((uv_handle_t *)&h->poll_guard, NULL);
}

void accept_fini(struct http *h)
{
    if (h->listen_fd >= 0)
        close(h->listen_fd);
    if (h->guard_fd >= 0)
        close(h->guard_fd);
    buf_free(&h->peek);
}
