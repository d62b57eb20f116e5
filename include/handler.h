/* SPDX-License-Identifier: Apache-2.0 */
/* handler.h - the hinge between the transport (src/http) and whoever answers (src/api): a table of
 * handlers, the request they get, and the hooks of the service behind all of them.
 *
 * Everything runs on the loop thread, except a job's first half.
 */
#ifndef QUIRE_HANDLER_H
#define QUIRE_HANDLER_H

#include "buf.h"
#include "status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http;
struct req;
struct tenant;

enum { M_GET = 1, M_POST = 2 }; /* GET answers HEAD too; OPTIONS is the transport's own */

/* One path. The callbacks after `run` may be NULL; they are called only for a request whose `run`
 * was called. */
struct handler {
    const char *path; /* ends with '/': a beginning, what follows is r->tail and not empty */
    const char *name; /* in logs and metrics; several paths may share one */
    int methods;
    bool open;          /* no API key is asked for */
    bool needs_service; /* hooks->ready is asked before the body is read */
    /* Head and body are here: answer (reply.h) or hand the body to req_job. */
    void (*run)(struct req *r);
    /* Once: the client left or was dropped, also while a job runs. No answer reaches anybody. */
    void (*gone)(struct req *r);
    /* The server gives the request up: end it with *e. Never while a job runs. */
    void (*fail)(struct req *r, const struct err *e);
    /* Every 100 ms for as long as r exists. */
    void (*sweep)(struct req *r, int64_t now_us);
    /* True: r is still needed although its connection is through with it; req_release later. */
    bool (*busy)(const struct req *r);
    /* The access line's tail, from its blank on. With it a request is logged at level info, without
     * at level debug. */
    void (*line)(const struct req *r, char *out, size_t n);
    /* The body of an answer that is an error, also one from before `run`; NULL: hooks->error's. */
    void (*error)(struct buf *out, const struct req *r, const struct err *e);
    const char *id_header; /* where its clients look for the request's id, besides X-Request-Id */
    /* Releases r->user. */
    void (*free)(struct req *r);
};

/* What a handler sees of a request. Made and freed by the transport. */
struct req {
    struct http *http;
    const struct handler *handler; /* NULL: none of the table's paths */
    void *service;                 /* hooks->arg */
    void *user;                    /* the handler's own; NULL before run */
    char id[132];             /* of X-Request-Id; the handler may change it before it answers */
    bool id_given;            /* it came with the head */
    const char *tail, *query; /* of the target: after handler->path (decoded), after '?' */
    uint64_t tenant;          /* who->id; 0 = no key was given, and none asked for */
    const struct tenant *who; /* NULL, likewise */
    int64_t arrival_us;
    struct buf body; /* whole; the handler may free it */
    /* the answer; flags are set by the transport, `ended` by the handler */
    bool answered, streaming; /* the status line is decided; it is a stream of events */
    bool gone;                /* answered to the end, or nobody listens any more */
    bool ended;               /* nothing more will be appended to out */
    int retry_after; /* seconds; 0 = as hooks->retry_after says. Each client is told up to half more
                      */
    struct buf out;  /* events; [out_at, n) not yet taken by the client */
    size_t out_at;
    /* While bytes of out wait: when the socket last took some, or, if it had taken all before, when
     * they were offered. What the server did not try to send does not count. */
    int64_t out_since_us;
};

/* Bytes of events that the client's socket has not taken: full sockets are for the handler to see.
 */
static inline size_t req_waiting(const struct req *r)
{
    return r->out.n - r->out_at;
}

/* May this request id be echoed: 1 to 128 of letters, digits and ._:-, so that it can stand in a
 * header, in a log line and in JSON as it is. */
static inline bool req_id_ok(const char *s, size_t n)
{
    if (n < 1 || n > 128)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '.' || c == '_' || c == ':' || c == '-'))
            return false;
    }
    return true;
}

/* The service behind all handlers. All are required but retry_after and paths. */
struct http_hooks {
    void *arg;
    const char *paths; /* which path of the table lists the others; a 404 may name it */
    int (*ready)(void *arg,
                 struct err *e); /* 0, or why a handler that needs the service must not run */
    bool (*serving)(void *arg);  /* false: a drain has nobody to wait for */
    bool (*failed)(void *arg);   /* true: for good */
    void (*wake)(void *arg);     /* http_wake was called */
    void (*dump)(void *arg);     /* SIGUSR2: log the state */
    /* Appends the body of the answer to a request that fails: JSON. */
    void (*error)(struct buf *out, const struct err *e);
    /* An answer was given, or the request ended without one; h NULL: none of the table's paths. */
    void (*count)(void *arg, const struct handler *h, const char *method, int status);
    /* In how many seconds a client that is told *e (429, 503) may come back: what was measured.
     * NULL: 1, and 2 while the model loads. */
    int (*retry_after)(void *arg, const struct err *e);
    /* The loop is closed and nothing of the service runs: let go of every request. */
    void (*over)(void *arg);
    int64_t failed_exit_us; /* http_run returns this long after failed(); negative: it stays */
};

/* Inside run, or later, before the answer. `job` works on r->body; when that is large, on a thread
 * of the pool, so it may touch this request's own data and what is immutable only, and r->gone may
 * become true meanwhile. `done` runs on the loop and answers, now or later; not called when
 * r->gone. */
void req_job(struct req *r, void (*job)(struct req *), void (*done)(struct req *));
/* The same for work that is as much as that on a body of so many bytes. */
void req_job_of(struct req *r, size_t bytes, void (*job)(struct req *), void (*done)(struct req *));
/* The client must go; calls gone(). */
void req_drop(struct req *r);
/* busy() may have become false: frees r when nobody needs it any more. */
void req_release(struct req *r);

#endif
