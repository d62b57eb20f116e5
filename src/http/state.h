/* SPDX-License-Identifier: Apache-2.0 */
/* state.h - inside of http: the loop thread's state. Types only; each source has a header of its
 * own for its functions.
 *
 * Touched by the loop thread only, except what is marked atomic and a job's own copies.
 * microhttpd's types stay inside mhd.c, reply.c and exchange.c; others see void pointers.
 */
#ifndef QUIRE_HTTP_STATE_H
#define QUIRE_HTTP_STATE_H

#include "auth.h"
#include "config.h"
#include "http.h"

#include <stdatomic.h>
#include <sys/queue.h>
#include <uv.h>

enum { PH_HEAD, PH_BODY, PH_RUN, PH_IDLE };

struct exchange;
struct lingering;
struct newcomer;

struct conn { /* one socket; from microhttpd's STARTED to its CLOSED */
    LIST_ENTRY(conn) link;
    int fd, phase;
    int64_t since_us; /* when the phase began; PH_BODY: the latest byte */
    struct exchange *x;
};

/* A request and its answer on a connection: the transport's side of struct req, which it begins
 * with. */
struct exchange {
    struct req r;
    LIST_ENTRY(exchange) link;
    struct {              /* request.c: what the head said */
        char *uri, *path; /* path: decoded; NULL before the head was read */
        char *origin;
        const char *allow; /* methods, when the answer names them */
        char method[8];
        bool seen, http10;
        struct err err; /* found in the head; answered after the body was dropped */
    } head;
    struct {      /* exchange.c and mhd.c: where it is */
        void *mc; /* struct MHD_Connection; NULL after completion */
        struct conn *conn;
        int fd;
        bool ran;       /* handler->run was called */
        bool suspended; /* microhttpd leaves the connection alone */
        bool watched;   /* a hang-up is told by the watch set */
        bool dead;      /* dropped */
        bool completed; /* microhttpd is through with it */
    } at;
    struct { /* reply.c */
        int status;
        bool close;   /* the connection ends with it */
        bool refused; /* microhttpd did not take it */
    } answer;
    struct { /* job.c */
        uv_work_t work;
        void (*job)(struct req *), (*done)(struct req *);
        bool pending;
    } pool;
};

static inline struct exchange *exchange_of(struct req *r)
{
    return (struct exchange *)r;
}

struct http {
    const struct config *c;
    const struct handler *table;
    int n_handlers;
    struct http_hooks hooks;
    struct keys keys;
    int32_t max_connections; /* as set, or what the limit of open files leaves */
    struct {                 /* accept.c and raw.c: sockets that microhttpd does not have */
        char address[300];
        int port, fd, guard_fd;
        uv_poll_t poll, poll_guard;
        bool listening, paused;
        LIST_HEAD(, newcomer) newcomers;
        LIST_HEAD(, lingering) lingers;
        int n_new, n_lingers;
        struct buf peek;
    } in;
    struct {       /* mhd.c and exchange.c: sockets that it has */
        void *mhd; /* struct MHD_Daemon */
        int watch_fd;
        uv_poll_t poll, poll_watch;
        LIST_HEAD(, conn) conns;
        LIST_HEAD(, exchange) exchanges; /* completed ones too, until they are released */
        int n_conns, n_exchanges, n_active;
    } wire;
    struct { /* loop.c and pump.c */
        uv_loop_t uv;
        uv_async_t async;
        uv_timer_t timer, sweep;
        uv_idle_t more;
        uv_signal_t sig_term, sig_int, sig_usr2;
        bool open;
    } loop;
    struct { /* drain.c */
        enum http_stage stage;
        int64_t since_us;
        int64_t failed_us; /* when the service was found failed; 0 = it works */
        int cut_short;     /* the second signal's number */
        _Atomic int asked; /* by other threads: 0, 1 = drain, 2 = now */
    } run;
};

#endif
