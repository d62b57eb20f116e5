/* SPDX-License-Identifier: Apache-2.0 */
/* state.h - inside of http: the loop thread's state. Types only; each source has a header of its
 * own for its functions.
 *
 * Touched by the loop thread only, except what is marked atomic and a job's own copies.
 * microhttpd's types stay inside mhd.c, reply.c and exchange.c; others see void pointers.
 */
#ifndef QUIRE_HTTP_STATE_H
#define QUIRE_HTTP_STATE_H

#include "chunks.h"
#include "config.h"
#include "head.h"
#include "http.h"

#include <stdatomic.h>
#include <sys/queue.h>
#include <uv.h>

/* What a connection waits for, and the list it is in (conn.c). */
enum {
    PH_HEAD, /* a whole head: it is new, or a later one began */
    PH_IDLE, /* kept, and nothing of a next head is here */
    PH_BODY,
    PH_RUN,  /* the answer, to its last byte */
    PH_OVER, /* nothing: it is being closed */
    N_PHASES
};

struct exchange;
struct lingering;

/* What the next byte of a connection is, and whether microhttpd may have it (intake.c). */
struct intake {
    enum {
        IN_HEAD,   /* of a head that was not judged yet */
        IN_GIVE,   /* of a good head, or of the body whose length it gave: `give` bytes */
        IN_CHUNKS, /* of a chunked body */
        IN_AFTER,  /* of the next request, which waits until this one is answered */
        IN_SHUT    /* of nothing: the connection is over */
    } at;
    bool chunked; /* the request in hand */
    bool more;    /* bytes may wait in the socket that microhttpd does not know of */
    bool look;    /* the next look at the head is due although it is slow */
    int n_looks;
    size_t want;   /* bytes to look at; grows with the head */
    uint64_t give; /* see IN_GIVE */
    struct chunks chunks;
};

struct conn { /* one socket; from microhttpd's STARTED to its CLOSED */
    TAILQ_ENTRY(conn) link;
    LIST_ENTRY(conn) nudge;
    int fd, phase;
    void *mc;         /* struct MHD_Connection */
    bool surplus;     /* it came when all places were taken: for probes only */
    bool nudged;      /* in the list of nudges */
    int64_t since_us; /* when the phase began */
    int64_t byte_us;  /* PH_BODY: when the latest byte came */
    uint64_t n_body;  /* bytes of the body so far, its chunks' lines included */
    struct intake in;
    struct exchange *x;
};
TAILQ_HEAD(conns, conn);

/* A request and its answer on a connection: the transport's side of struct req, which it begins
 * with. */
struct exchange {
    struct req r;
    LIST_ENTRY(exchange) link;
    struct {                         /* request.c: what the head said */
        char *uri, *tail;            /* both behind the exchange itself */
        char *origin, *cors_headers; /* of CORS; NULL = not there */
        const char *allow;           /* methods, when the answer names them */
        char method[METHOD_MAX + 1];
        bool seen, http10, options;
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
    int64_t n_counted; /* body.c */
    struct {           /* reply.c */
        int status;
        const char *code; /* of the error object; NULL = it is none */
        char param[64];   /* the field it names, for the log; "" = none */
        bool close;       /* the connection ends with it */
        bool refused;     /* microhttpd did not take it */
    } answer;
    struct { /* job.c */
        uv_work_t work;
        TAILQ_ENTRY(exchange) link;
        void (*job)(struct req *), (*done)(struct req *);
        uint64_t round; /* of its tenant in the lane */
        int lane;
        bool pending; /* it waits or runs */
    } pool;
};

static inline struct exchange *exchange_of(struct req *r)
{
    return (struct exchange *)r;
}

enum { LANE_SMALL, LANE_LARGE, N_LANES };
TAILQ_HEAD(jobs, exchange);
struct lane {
    struct jobs waiting; /* by round */
    uint64_t round;      /* of the job that was started last */
    int n_running;
};

struct http {
    const struct config *c;
    const struct handler *table;
    int n_handlers;
    struct http_hooks hooks;
    struct tenants tenants;
    int32_t max_connections; /* as set, or what the limit of open files leaves */
    struct {                 /* accept.c and raw.c: sockets that microhttpd does not have */
        char address[300];
        int port, fd;
        uv_poll_t poll;
        bool listening, paused;
        LIST_HEAD(, lingering) lingers;
        int n_lingers;
    } in;
    struct {       /* mhd.c, conn.c and exchange.c: sockets that it has */
        void *mhd; /* struct MHD_Daemon */
        int watch_fd;
        uv_poll_t poll, poll_watch;
        struct conns conns[N_PHASES]; /* oldest first */
        int n_in[N_PHASES];
        LIST_HEAD(, conn) nudges;
        int64_t
            looked_us; /* slow heads that began until then had their look, later ones are next */
        bool late;     /* the sweep has left some that are late */
        LIST_HEAD(, exchange) exchanges; /* completed ones too, until they are released */
        int n_conns, n_exchanges, n_active;
        int crowd;          /* most connections or requests since memory was last given back */
        int64_t trimmed_us; /* ... and when that was */
        int64_t body_bytes; /* of all exchanges: their n_counted */
    } wire;
    struct {                 /* intake.c */
        struct conn **by_fd; /* [n_fds]; NULL = not microhttpd's */
        int n_fds;
        char *peek;  /* [most]: a head that is not whole yet */
        size_t most; /* bytes of the longest head */
        int64_t n_calls;
    } intake;
    struct { /* job.c */
        struct lane lane[N_LANES];
    } jobs;
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
