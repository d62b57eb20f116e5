/* SPDX-License-Identifier: Apache-2.0 */
/* conn.c - the connections that microhttpd has, from its STARTED to its CLOSED. See conn.h.
 *
 * Loop thread. Each is in the list of its phase, the oldest first. Deadlines: a head has
 * header_timeout from its first byte (a new connection: from its start); a body must not rest for
 * body_timeout, and all of it has twice that plus a second for each LEAST_RATE bytes that came; an
 * idle connection has keepalive_timeout. When all places are taken, the one that waits longest
 * without a whole head makes room; and SURPLUS_MAX more connections are taken for probes.
 */
#include "conn.h"

#include "clock.h"
#include "intake.h"
#include "log.h"
#include "mem.h"
#include "raw.h"
#include "wake.h"

#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LEAST_RATE = 4096 /* bytes of a body a second */, SILENT_TRIES = 16 };
enum { LATE_MOST = 64, LOOKS_MOST = 64 }; /* a sweep: nobody's token waits for a crowd */

void conn_init(struct http *h)
{
    for (int i = 0; i < N_PHASES; i++)
        TAILQ_INIT(&h->wire.conns[i]);
}

/* ---- phases ---- */

static void leave(struct http *h, struct conn *c)
{
    TAILQ_REMOVE(&h->wire.conns[c->phase], c, link);
    h->wire.n_in[c->phase]--;
}

static void enter(struct http *h, struct conn *c, int phase)
{
    c->phase = phase;
    c->since_us = c->byte_us = clock_us();
    c->n_body = 0;
    TAILQ_INSERT_TAIL(&h->wire.conns[phase], c, link);
    h->wire.n_in[phase]++;
    need_sweep(h);
}

void conn_phase(struct http *h, struct conn *c, int phase)
{
    if (c->phase == phase || c->phase == PH_OVER)
        return;
    leave(h, c);
    enter(h, c, phase);
}

void conn_head_began(struct http *h, struct conn *c)
{
    conn_phase(h, c, PH_HEAD); /* a new connection is there already, with its own beginning */
}

void conn_again(struct http *h, struct conn *c)
{
    c->x = NULL;
    conn_phase(h, c, PH_IDLE);
    if (intake_next(c))
        conn_nudge(h, c);
}

struct conn *conn_open(struct http *h, void *mc, int fd)
{
    struct conn *c = try_alloc(sizeof *c);
    if (!c)
        return NULL;
    c->fd = fd;
    c->mc = mc;
    h->wire.n_conns++;
    enter(h, c, PH_HEAD);
    intake_begin(h, c);
    return c;
}

void conn_close(struct http *h, struct conn *c)
{
    if (c->x)
        c->x->at.conn = NULL;
    if (c->nudged)
        LIST_REMOVE(c, nudge);
    intake_end(h, c);
    leave(h, c);
    h->wire.n_conns--;
    if (crowd_left(h))
        need_sweep(h);
    free(c);
}

/* ---- the end ---- */

void conn_nudge(struct http *h, struct conn *c)
{
    if (!c->nudged)
        LIST_INSERT_HEAD(&h->wire.nudges, c, nudge);
    c->nudged = true;
}

void conn_refuse(struct http *h, struct conn *c, const struct err *e, const char *id,
                 bool head_only)
{
    struct exchange *x = c->x;
    c->in.at = IN_SHUT;
    conn_phase(h, c, PH_OVER);
    if (x && x->r.answered)
        return;
    int fd = dup(c->fd), status = st_http(e->st);
    answer_raw(h, c->fd, e, id, head_only);
    shutdown(c->fd, SHUT_WR);
    if (fd >= 0)
        raw_linger(h, fd);
    if (x) {
        x->answer.status = status;
        x->answer.code = st_code(e->st);
        x->answer.close = x->r.answered = true;
    } else {
        h->hooks.count(h->hooks.arg, NULL, "", status);
        log_info("http.refused", "status=%d code=%s", status, st_code(e->st));
    }
}

static void refuse_now(struct http *h, struct conn *c, const struct err *e)
{
    conn_refuse(h, c, e, c->x ? c->x->r.id : "", false);
    conn_nudge(h, c);
}

/* An idle one needs no word: its client knows that this happens. */
static void close_idle(struct http *h, struct conn *c)
{
    c->in.at = IN_SHUT;
    conn_phase(h, c, PH_OVER);
    conn_nudge(h, c);
}

/* ---- room ---- */

int conn_full(struct err *e)
{
    return err_set(e, ST_ENGINE_DOWN, "Too many connections; try again later.");
}

/* The oldest that has no whole head, but for those whose bytes are here and only wait to be read.
 */
static struct conn *silent_one(struct http *h)
{
    struct conn *c;
    int n, tries = 0;
    TAILQ_FOREACH (c, &h->wire.conns[PH_HEAD], link) {
        if (c->in.n_looks > 0 || (ioctl(c->fd, FIONREAD, &n) == 0 && n == 0))
            return c;
        if (++tries == SILENT_TRIES)
            break;
    }
    return NULL;
}

bool conn_room(struct http *h)
{
    struct err e;
    if (h->wire.n_conns - h->wire.n_in[PH_OVER] < h->max_connections)
        return true;
    struct conn *idle = TAILQ_FIRST(&h->wire.conns[PH_IDLE]);
    struct conn *fresh = silent_one(h);
    /* from the larger crowd: neither silent newcomers nor idle clients drive all others out */
    if (fresh && (!idle || h->wire.n_in[PH_HEAD] > h->wire.n_in[PH_IDLE])) {
        conn_full(&e);
        refuse_now(h, fresh, &e);
    } else if (idle) {
        close_idle(h, idle);
    } else {
        return false;
    }
    return h->wire.n_conns - h->wire.n_in[PH_OVER] < h->max_connections;
}

/* ---- deadlines ---- */

static bool body_is_late(const struct http *h, const struct conn *c, int64_t now)
{
    int64_t most = h->c->http.body_timeout;
    int64_t all = 2 * most + (int64_t)(c->n_body / LEAST_RATE) * 1000000;
    return now - c->byte_us > most || now - c->since_us > all;
}

static void refuse_late(struct http *h, int64_t now)
{
    struct err e;
    struct conn *c, *next;
    int n = 0;
    err_set(&e, ST_TIMEOUT, "The request did not arrive in time.");
    while (n < LATE_MOST && (c = TAILQ_FIRST(&h->wire.conns[PH_HEAD])) != NULL &&
           now - c->since_us > h->c->http.header_timeout) {
        refuse_now(h, c, &e);
        n++;
    }
    for (c = TAILQ_FIRST(&h->wire.conns[PH_BODY]); c && n < LATE_MOST; c = next) {
        next = TAILQ_NEXT(c, link);
        if (!body_is_late(h, c, now))
            continue;
        refuse_now(h, c, &e);
        n++;
    }
    h->wire.late = n == LATE_MOST;
}

/* The next ones in the order in which they began, and after the last the first. */
static void look_at_slow(struct http *h, int64_t now)
{
    struct conn *c;
    int n = 0;
    int64_t last = h->wire.looked_us;
    TAILQ_FOREACH (c, &h->wire.conns[PH_HEAD], link) {
        if (c->since_us <= last || !intake_slow(c, now))
            continue;
        if (n >= LOOKS_MOST && c->since_us > h->wire.looked_us)
            return; /* those that began in the same microsecond went together */
        c->in.look = true;
        conn_nudge(h, c);
        h->wire.looked_us = c->since_us;
        n++;
    }
    h->wire.looked_us = 0;
}

bool conn_sweep(struct http *h, int64_t now, int64_t *next_us)
{
    struct conn *c;
    refuse_late(h, now);
    look_at_slow(h, now);
    while ((c = TAILQ_FIRST(&h->wire.conns[PH_IDLE])) != NULL &&
           now - c->since_us > h->c->http.keepalive_timeout)
        close_idle(h, c);
    *next_us = c ? c->since_us + h->c->http.keepalive_timeout : 0;
    return h->wire.n_in[PH_HEAD] + h->wire.n_in[PH_BODY] + h->wire.n_in[PH_RUN] +
               h->wire.n_in[PH_OVER] >
           0;
}
