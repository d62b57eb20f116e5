/* SPDX-License-Identifier: Apache-2.0 */
/* intake.c - the one way of a byte into microhttpd.
 *
 * microhttpd reads with libc's recv, and this file is that recv: a symbol of the program comes
 * before libc's. So a head is handed over only when it is whole and head.c found nothing wrong with
 * it, a body only as far as its length or its chunks (chunks.c) go, and never a byte behind the
 * request in hand. What is refused is answered by hand, and microhttpd sees the connection end: in
 * its state before a head everything of the answer before was sent.
 *
 * Loop thread: the filter works inside of mhd_turn only. Any other call of recv, on any thread,
 * goes to the kernel as it is. A head that is not whole stays in the socket (MSG_PEEK); a
 * slow one is looked at in sweeps, a few in each, so that heads that come byte by byte cost the
 * others nothing.
 */
#include "intake.h"

#include "clock.h"
#include "conn.h"
#include "mem.h"
#include "mhd.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FIRST_LOOK = 4096, SELF_CHECK_TURNS = 100, LOOKS = 16, SLOW_US = 500000 };

static _Thread_local struct http *turning; /* whose turn of microhttpd this thread is in */

/* A name of its own: the headers declare recv in ways that differ with the flags of the build. */
ssize_t intake_recv(int fd, void *p, size_t n, int flags) __asm__("recv");

static ssize_t plain(int fd, void *p, size_t n, int flags)
{
    return syscall(SYS_recvfrom, fd, p, n, flags, NULL, NULL);
}

/* microhttpd sees a socket without bytes. */
static ssize_t nothing_yet(void)
{
    errno = EAGAIN;
    return -1;
}

/* It sees one that failed, and ends the connection without a word. */
static ssize_t over(void)
{
    errno = ECONNRESET;
    return -1;
}

static ssize_t refuse(struct http *h, struct conn *c, const struct err *e,
                      const struct head_seen *f)
{
    conn_refuse(h, c, e, c->x ? c->x->r.id : f->id, f->is_head);
    return over();
}

/* The peer ended in the middle of a request. */
static ssize_t cut_off(struct http *h, struct conn *c, const struct head_seen *f)
{
    struct err e;
    err_set(&e, ST_BAD_REQUEST, "The request ends before it is complete.");
    return refuse(h, c, &e, f);
}

static bool hung_up(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    return poll(&p, 1, 0) == 1;
}

bool intake_slow(const struct conn *c, int64_t now)
{
    return c->in.n_looks > LOOKS || (c->in.n_looks > 0 && now - c->since_us > SLOW_US);
}

/* Is the next head whole, and good? 1 = it may be handed over, into `room` bytes at first; else 0
 * with *answer for the caller. */
static int look(struct http *h, struct conn *c, size_t room, struct head_seen *f, ssize_t *answer)
{
    struct intake *in = &c->in;
    struct err e;
    *answer = nothing_yet();
    if (!in->look && intake_slow(c, clock_us()))
        return 0;
    in->look = false;
    for (;;) {
        ssize_t n = plain(c->fd, h->intake.peek, in->want, MSG_PEEK | MSG_DONTWAIT);
        if (n <= 0) {
            *answer = n;
            return 0;
        }
        int st = head_check(h->intake.peek, (size_t)n, (size_t)h->c->http.max_header_bytes, f, &e);
        if (st == 0 && f->blanks && f->n > room)
            st = err_set(&e, ST_HEADERS_TOO_LARGE, "The header is too large for its blanks.");
        if (st == 0) {
            in->at = IN_GIVE;
            in->chunked = f->chunked;
            in->give = f->n + f->length;
            in->more = (uint64_t)n > in->give;
            return 1;
        }
        if (st < 0) {
            *answer = refuse(h, c, &e, f);
            return 0;
        }
        if (n == (ssize_t)in->want && in->want < h->intake.most) {
            in->want = in->want * 2 < h->intake.most ? in->want * 2 : h->intake.most;
            continue;
        }
        conn_head_began(h, c);
        in->n_looks++;
        *answer = hung_up(c->fd) ? cut_off(h, c, f) : nothing_yet();
        return 0;
    }
}

static void count_body(struct conn *c, ssize_t n)
{
    if (c->phase != PH_BODY)
        return;
    c->n_body += (uint64_t)n;
    c->byte_us = clock_us();
}

/* Bytes of a good head, or of a body of known length. */
static ssize_t give(struct http *h, struct conn *c, char *p, size_t n, const struct head_seen *f)
{
    struct intake *in = &c->in;
    size_t most = n < in->give ? n : (size_t)in->give;
    ssize_t k = plain(c->fd, p, most, MSG_DONTWAIT);
    if (k == 0)
        return cut_off(h, c, f);
    if (k < 0)
        return k;
    if (f->blanks && (size_t)k >= f->n)
        head_tidy(p, f->n);
    count_body(c, k);
    in->give -= (uint64_t)k;
    if (in->give == 0) {
        in->at = in->chunked ? IN_CHUNKS : IN_AFTER;
        in->more |= c->phase == PH_BODY; /* the look at the head did not see the end */
    }
    return k;
}

/* Bytes of a chunked body, as far as they are good. */
static ssize_t give_chunks(struct http *h, struct conn *c, char *p, size_t n,
                           const struct head_seen *f)
{
    struct intake *in = &c->in;
    struct err e;
    ssize_t k = plain(c->fd, p, n, MSG_PEEK | MSG_DONTWAIT);
    if (k == 0)
        return cut_off(h, c, f);
    if (k < 0)
        return k;
    size_t used;
    int st = chunks_read(&in->chunks, p, (size_t)k, (uint64_t)h->c->http.max_body_bytes, &used, &e);
    if (st < 0)
        return refuse(h, c, &e, f);
    k = plain(c->fd, p, used, MSG_DONTWAIT);
    if (k != (ssize_t)used)
        return over(); /* what was there a moment ago */
    count_body(c, k);
    if (st == 0) {
        in->at = IN_AFTER;
        in->more = true;
    }
    return k;
}

/* Until the request in hand ends, p is full, or the socket empty: microhttpd believes a read that
 * gave less than it asked for has emptied the socket. */
static ssize_t intake_read(struct http *h, struct conn *c, char *p, size_t n)
{
    struct head_seen f = {0};
    ssize_t k = 0;
    size_t at = 0;
    if (c->in.at == IN_HEAD && !look(h, c, n, &f, &k))
        return k;
    if (c->in.at == IN_GIVE && n > 0) {
        if ((k = give(h, c, p, n, &f)) < 0)
            return k;
        at = (size_t)k;
    }
    while (c->in.at == IN_CHUNKS && at < n) {
        k = give_chunks(h, c, p + at, n - at, &f);
        if (k < 0)
            return at > 0 && c->in.at != IN_SHUT ? (ssize_t)at : k;
        at += (size_t)k;
    }
    if (at > 0 || n == 0)
        return (ssize_t)at;
    return c->in.at == IN_SHUT ? over() : nothing_yet();
}

ssize_t intake_recv(int fd, void *p, size_t n, int flags)
{
    struct http *h = turning;
    if (!h)
        return plain(fd, p, n, flags);
    h->intake.n_calls++;
    struct conn *c = fd >= 0 && fd < h->intake.n_fds ? h->intake.by_fd[fd] : NULL;
    return c ? intake_read(h, c, p, n) : over(); /* nobody reads past the filter */
}

void intake_turn(struct http *h)
{
    turning = h;
}

void intake_turned(void)
{
    turning = NULL;
}

/* ---- connections ---- */

static void next_head(struct intake *in)
{
    *in = (struct intake){.at = IN_HEAD, .want = FIRST_LOOK};
    chunks_begin(&in->chunks);
}

void intake_begin(struct http *h, struct conn *c)
{
    next_head(&c->in);
    if (c->fd >= 0 && c->fd < h->intake.n_fds)
        h->intake.by_fd[c->fd] = c;
}

void intake_end(struct http *h, struct conn *c)
{
    if (c->fd >= 0 && c->fd < h->intake.n_fds)
        h->intake.by_fd[c->fd] = NULL;
}

bool intake_next(struct conn *c)
{
    char b;
    bool more = c->in.more;
    if (c->in.at != IN_AFTER) { /* microhttpd saw another end than we did, or none */
        c->in.at = IN_SHUT;
        return false;
    }
    next_head(&c->in);
    return more && plain(c->fd, &b, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* ---- start ---- */

int intake_open(struct http *h, struct err *e)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) != 0 || l.rlim_max > 1 << 22)
        l.rlim_max = 1 << 22; /* untouched pages of it cost nothing */
    h->intake.n_fds = (int)l.rlim_max;
    h->intake.most = (size_t)h->c->http.max_header_bytes + URI_MAX + 256;
    h->intake.by_fd = calloc((size_t)h->intake.n_fds, sizeof(void *));
    h->intake.peek = malloc(h->intake.most > FIRST_LOOK ? h->intake.most : FIRST_LOOK);
    return h->intake.by_fd && h->intake.peek ? 0 : err_set(e, ST_IO, "out of memory");
}

void intake_fini(struct http *h)
{
    free(h->intake.by_fd);
    free(h->intake.peek);
}

int intake_check(struct http *h, struct err *e)
{
    int pair[2];
    struct sockaddr_storage any = {.ss_family = AF_UNIX};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
        return err_set(e, ST_IO, "socketpair: %s", strerror(errno));
    close(pair[1]); /* an end to read, and nothing to answer */
    mhd_add(h, pair[0], &any, sizeof(struct sockaddr), false);
    for (int i = 0; i < SELF_CHECK_TURNS && h->wire.n_conns > 0; i++)
        mhd_turn(h);
    if (h->intake.n_calls > 0)
        return 0;
    return err_set(e, ST_IO,
                   "this libmicrohttpd (%s) does not read through recv: requests would reach it "
                   "unchecked",
                   mhd_version());
}
