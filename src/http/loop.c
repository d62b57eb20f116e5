/* SPDX-License-Identifier: Apache-2.0 */
/* loop.c - the loop: wake-ups, deadlines, start and stop.
 *
 * Thread: http_run's caller, except http_wake and http_drain (any thread: they only set atomics and
 * wake the loop). No timer runs while nothing is open: an idle server sleeps.
 */
#include "accept.h"
#include "clock.h"
#include "conn.h"
#include "drain.h"
#include "intake.h"
#include "log.h"
#include "mem.h"
#include "mhd.h"
#include "pump.h"
#include "raw.h"
#include "state.h"
#include "wake.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FD_RESERVE = 64 + 128 + SURPLUS_MAX, FD_LEAST = 16, TRIM_US = 2000000, LATE_MS = 10 };

int http_port(const struct http *h)
{
    return h->in.port;
}

const char *http_address(const struct http *h)
{
    return h->in.address;
}

const struct tenants *http_tenants(const struct http *h)
{
    return &h->tenants;
}

int http_connections(const struct http *h)
{
    return h->wire.n_conns;
}

enum http_stage http_stage_now(const struct http *h)
{
    return h->run.stage;
}

/* ---- wake-ups ---- */

static void on_mhd(uv_poll_t *p, int status, int events)
{
    (void)status;
    (void)events;
    pump(p->data);
}

/* Clients that hung up while their request slept. */
static void on_watch(uv_poll_t *p, int status, int events)
{
    struct http *h = p->data;
    struct epoll_event ev[256];
    (void)status;
    (void)events;
    int n = epoll_wait(h->wire.watch_fd, ev, 256, 0);
    for (int i = 0; i < n; i++) {
        struct exchange *x = ev[i].data.ptr; /* nothing is freed before the pump below */
        req_drop(&x->r);
    }
    pump(h);
}

static void on_signal(uv_signal_t *s, int signum)
{
    struct http *h = s->data;
    log_info("http.signal", "signal=%d", signum);
    if (signum == SIGUSR2) {
        h->hooks.dump(h->hooks.arg);
        return;
    }
    if (h->run.stage != HTTP_SERVE)
        h->run.cut_short = signum;
    drain_begin(h, h->run.stage != HTTP_SERVE);
    pump(h);
}

static void on_async(uv_async_t *a)
{
    struct http *h = a->data;
    h->hooks.wake(h->hooks.arg);
    int asked = atomic_exchange(&h->run.asked, 0);
    if (asked)
        drain_begin(h, asked == 2 || h->run.stage != HTTP_SERVE);
    pump(h);
    drain_advance(h, clock_us());
}

void http_wake(struct http *h)
{
    uv_async_send(&h->loop.async);
}

void http_drain(struct http *h, bool now)
{
    int asked = atomic_load(&h->run.asked);
    atomic_store(&h->run.asked, now || asked ? 2 : 1);
    http_wake(h);
}

/* ---- sweep ---- */

static void sweep_requests(struct http *h, int64_t now)
{
    for (struct exchange *x = LIST_FIRST(&h->wire.exchanges), *next; x; x = next) {
        next = LIST_NEXT(x, link);
        if (x->at.ran && x->r.handler->sweep)
            x->r.handler->sweep(&x->r, now);
    }
}

/* Most of a crowd has left: its memory goes back to the system, which fragments of the heap would
 * keep. Again each time that three quarters of the rest have left, at most every other second. */
static void after_crowd(struct http *h, int64_t now)
{
    int n = h->wire.n_conns > h->wire.n_exchanges ? h->wire.n_conns : h->wire.n_exchanges;
    if (n > h->wire.crowd)
        h->wire.crowd = n;
    if (!crowd_left(h) || now - h->wire.trimmed_us < TRIM_US)
        return;
    h->wire.crowd = n;
    h->wire.trimmed_us = now;
    malloc_trim(0);
}

static void on_sweep(uv_timer_t *t)
{
    struct http *h = t->data;
    int64_t now = clock_us(), next_us;
    bool busy = conn_sweep(h, now, &next_us);
    sweep_requests(h, now);
    accept_sweep(h);
    raw_sweep(h, now);
    pump(h);
    drain_advance(h, now);
    after_crowd(h, now);
    if (h->wire.late)
        uv_timer_start(t, on_sweep, LATE_MS, SWEEP_MS);
    if (busy || crowd_left(h) || h->in.paused || h->in.n_lingers > 0 || h->wire.n_exchanges > 0 ||
        h->run.stage != HTTP_SERVE || h->run.failed_us != 0)
        return;
    if (next_us > 0) /* asleep until somebody is idle for too long; need_sweep cuts it short */
        uv_timer_start(t, on_sweep, (uint64_t)((next_us - now) / 1000 + SWEEP_MS), SWEEP_MS);
    else
        uv_timer_stop(t);
}

/* ---- start ---- */

/* Accepting must never be what runs out of descriptors: the process' own files, those that linger
 * or are being closed, and probes stay possible when every connection is taken. */
static int raise_fd_limit(struct http *h, struct err *e)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) != 0)
        return 0;
    if (l.rlim_cur < 65536 && l.rlim_cur < l.rlim_max) {
        l.rlim_cur = l.rlim_max < 65536 ? l.rlim_max : 65536;
        if (setrlimit(RLIMIT_NOFILE, &l) != 0)
            getrlimit(RLIMIT_NOFILE, &l);
    }
    int64_t all = l.rlim_cur > 1 << 20 ? 1 << 20 : (int64_t)l.rlim_cur, room = all - FD_RESERVE;
    if (h->max_connections <= room)
        return 0;
    if (room < FD_LEAST)
        return err_set(e, ST_IO,
                       "the limit of open files is %lld, too low to serve: at least %d are needed "
                       "(ulimit -n)",
                       (long long)all, FD_RESERVE + FD_LEAST);
    h->max_connections = (int32_t)room;
    log_warn("http.connections", "limited to %d by the open files limit", h->max_connections);
    return 0;
}

static int loop_open(struct http *h, struct err *e)
{
    uv_loop_t *uv = &h->loop.uv;
    if (uv_loop_init(uv) != 0)
        return err_set(e, ST_IO, "cannot create the event loop");
    h->loop.open = true;
    if (uv_async_init(uv, &h->loop.async, on_async) != 0)
        return err_set(e, ST_IO, "cannot create a wake-up");
    uv_timer_init(uv, &h->loop.timer);
    uv_timer_init(uv, &h->loop.sweep);
    uv_timer_start(&h->loop.sweep, on_sweep, SWEEP_MS, SWEEP_MS);
    uv_timer_stop(&h->loop.sweep); /* need_sweep starts it again */
    uv_idle_init(uv, &h->loop.more);
    uv_signal_init(uv, &h->loop.sig_term);
    uv_signal_init(uv, &h->loop.sig_int);
    uv_signal_init(uv, &h->loop.sig_usr2);
    uv_poll_init(uv, &h->wire.poll, mhd_poll_fd(h));
    uv_poll_init(uv, &h->wire.poll_watch, h->wire.watch_fd);
    accept_init(h);
    h->loop.async.data = h->loop.timer.data = h->loop.sweep.data = h->loop.more.data = h;
    h->loop.sig_term.data = h->loop.sig_int.data = h->loop.sig_usr2.data = h;
    h->wire.poll.data = h->wire.poll_watch.data = h;
    return 0;
}

static int open_all(struct http *h, struct err *e)
{
    int st = tenants_load(&h->tenants, h->c, e);
    if (st == 0)
        st = accept_open(h, e);
    if (st == 0)
        st = intake_open(h, e);
    if (st == 0)
        st = mhd_start(h, e);
    if (st)
        return st;
    h->wire.watch_fd = epoll_create1(EPOLL_CLOEXEC);
    if (h->wire.watch_fd < 0)
        return err_set(e, ST_IO, "epoll_create1: %s", strerror(errno));
    st = loop_open(h, e);
    return st ? st : intake_check(h, e);
}

int http_new(struct http **out, const struct config *c, const struct handler *table, int n,
             const struct http_hooks *k, struct err *e)
{
    struct http *h = xalloc(sizeof *h);
    *out = NULL;
    h->c = c;
    h->table = table;
    h->n_handlers = n;
    h->hooks = *k;
    h->in.fd = h->wire.watch_fd = -1;
    h->max_connections = (int32_t)c->http.max_connections;
    conn_init(h);
    for (int i = 0; i < N_LANES; i++)
        TAILQ_INIT(&h->jobs.lane[i].waiting);
    signal(SIGPIPE, SIG_IGN);
    int st = raise_fd_limit(h, e);
    st = st ? st : open_all(h, e);
    if (st) {
        http_free(h);
        return st;
    }
    *out = h;
    return 0;
}

/* ---- run and stop ---- */

static void close_handle(uv_handle_t *u)
{
    if (!uv_is_closing(u))
        uv_close(u, NULL);
}

/* microhttpd aborts when it is stopped with a suspended connection: resume all, run it until every
 * request has completed; only then stop it. */
static void stop_mhd(struct http *h)
{
    if (!h->wire.mhd)
        return;
    accept_stop(h);
    drop_everything(h);
    for (int i = 0; i < 1000 && h->wire.n_active; i++) {
        mhd_turn(h);
        if (h->wire.n_active)
            drop_everything(h);
    }
    uv_poll_stop(&h->wire.poll);
    close_handle((uv_handle_t *)&h->wire.poll);
    mhd_stop(h);
}

int http_run(struct http *h)
{
    uv_poll_start(&h->wire.poll, UV_READABLE, on_mhd);
    uv_poll_start(&h->wire.poll_watch, UV_READABLE, on_watch);
    accept_start(h);
    uv_signal_start(&h->loop.sig_term, on_signal, SIGTERM);
    uv_signal_start(&h->loop.sig_int, on_signal, SIGINT);
    uv_signal_start(&h->loop.sig_usr2, on_signal, SIGUSR2);
    http_wake(h); /* what was set before the loop ran */
    pump(h);
    uv_run(&h->loop.uv, UV_RUN_DEFAULT);
    stop_mhd(h);
    return h->hooks.failed(h->hooks.arg) ? ST_ENGINE_DOWN : h->run.cut_short;
}

static void loop_close(struct http *h)
{
    accept_close(h);
    raw_close(h);
    uv_handle_t *all[] = {(uv_handle_t *)&h->loop.async,     (uv_handle_t *)&h->loop.timer,
                          (uv_handle_t *)&h->loop.sweep,     (uv_handle_t *)&h->loop.more,
                          (uv_handle_t *)&h->loop.sig_term,  (uv_handle_t *)&h->loop.sig_int,
                          (uv_handle_t *)&h->loop.sig_usr2,  (uv_handle_t *)&h->wire.poll,
                          (uv_handle_t *)&h->wire.poll_watch};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i]->loop)
            close_handle(all[i]);
    uv_run(&h->loop.uv, UV_RUN_DEFAULT); /* also waits for jobs of the pool */
    uv_loop_close(&h->loop.uv);
}

void http_free(struct http *h)
{
    if (!h)
        return;
    if (h->loop.open) {
        stop_mhd(h);
        loop_close(h);
    }
    mhd_stop(h);
    h->hooks.over(h->hooks.arg);
    for (struct exchange *x = LIST_FIRST(&h->wire.exchanges), *next; x; x = next) {
        next = LIST_NEXT(x, link);
        x->at.completed = true;
        req_release(&x->r);
    }
    accept_fini(h);
    intake_fini(h);
    if (h->wire.watch_fd >= 0)
        close(h->wire.watch_fd);
    tenants_free(&h->tenants);
    free(h);
}
