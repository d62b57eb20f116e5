/* server.c - the loop: wake-ups, deadlines, draining, start and stop.
 *
 * Thread: http_run's caller, except http_set_*, http_fail and http_drain (any thread: they only set
 * atomics and wake the loop). Invariants: L1 server_pump is the only caller of microhttpd's turn
 * and is never called from inside its callbacks. L2 no timer runs while nothing is open: an idle
 * server sleeps.
 */
#include "state.h"

#include "clock.h"
#include "log.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SWEEP_MS = 100, PUMP_ROUNDS = 4, FD_RESERVE = 64 };
#define OUTBOX_RESERVE ((size_t)1 << 20)
#define OUTBOX_MAX ((size_t)256 << 20)

static void fatal_errno(struct err *e, const char *what)
{
    err_set(e, ST_IO, "%s: %s", what, strerror(errno));
}

static uint64_t next_random(struct http *h)
{
    uint64_t a = h->rng[0], b = h->rng[1];
    h->rng[0] = b;
    a ^= a << 23;
    h->rng[1] = a ^ b ^ (a >> 18) ^ (b >> 5);
    return h->rng[1] + b;
}

/* n hex digits; from the kernel, and from a local generator when that fails. */
void server_random(struct http *h, char *hex, int n)
{
    unsigned char raw[32] = {0};
    if (getrandom(raw, sizeof raw, 0) != (ssize_t)sizeof raw)
        for (size_t i = 0; i < sizeof raw; i++)
            raw[i] = (unsigned char)next_random(h);
    for (int i = 0; i < n; i++)
        hex[i] = "0123456789abcdef"[raw[i / 2] >> (i % 2 * 4) & 15];
    hex[n] = '\0';
}

bool server_engine_ok(struct http *h)
{
    int busy = 0;
    if (atomic_load(&h->load) != LOAD_READY || (h->has_stats && !h->stats.healthy))
        return false;
    int64_t beat = engine_heartbeat_us(h->s.engine, &busy);
    return !busy || clock_us() - beat < h->c.watchdog_us;
}

/* ---- pump ---- */

static void on_timer(uv_timer_t *t)
{
    server_pump(t->data);
}

static void on_more(uv_idle_t *i)
{
    server_pump(i->data);
}

void server_pump(struct http *h)
{
    if (!h->mhd)
        return;
    for (int i = 0; i < PUMP_ROUNDS; i++) {
        int64_t ms = mhd_turn(h);
        if (ms < 0) {
            uv_timer_stop(&h->timer);
            uv_idle_stop(&h->more);
            return;
        }
        if (ms > 0) {
            uv_idle_stop(&h->more);
            uv_timer_start(&h->timer, on_timer, (uint64_t)ms, 0);
            return;
        }
    }
    uv_idle_start(&h->more, on_more); /* not a 0 ms timer: P-1 */
}

static void on_mhd(uv_poll_t *p, int status, int events)
{
    (void)status;
    (void)events;
    server_pump(p->data);
}

/* ---- hang-ups ---- */

static void on_watch(uv_poll_t *p, int status, int events)
{
    struct http *h = p->data;
    struct epoll_event ev[256];
    (void)status;
    (void)events;
    int n = epoll_wait(h->watch_fd, ev, 256, 0);
    for (int i = 0; i < n; i++)
        req_drop(ev[i].data.ptr); /* nothing is freed before the pump below */
    server_pump(h);
}

/* ---- draining ---- */

static void set_run(struct http *h, int run)
{
    static const char *const names[] = {"serve", "delay", "drain", "kill", "stop"};
    h->run = run;
    h->run_since_us = clock_us();
    log_info("http.state", "state=%s requests=%d connections=%d", names[run], h->n_active,
             h->n_conns);
    server_need_sweep(h);
}

static void kill_requests(struct http *h)
{
    struct err e;
    err_set(&e, ST_DRAINING, "The server is shutting down.");
    for (struct req *r = h->reqs, *next; r; r = next) {
        next = r->next;
        if (!r->completed && r->is_gen && !r->job_pending)
            gen_fail(r, &e);
    }
}

static void drop_everything(struct http *h)
{
    for (struct req *r = h->reqs; r; r = r->next)
        if (!r->completed && r->head_seen)
            req_drop(r);
    for (struct conn *c = h->conns; c; c = c->next)
        shutdown(c->fd, SHUT_RDWR);
}

/* A failed engine does not come back: its clients have their error, a probe or two may still read
 * 503, then the process ends so that its supervisor starts another. */
static void failed_advance(struct http *h, int64_t now)
{
    if (!h->has_stats || h->stats.healthy || h->run >= RUN_KILL)
        return;
    if (h->failed_us == 0)
        h->failed_us = now;
    server_need_sweep(h);
    if (h->c.failed_exit_us >= 0 && now - h->failed_us >= h->c.failed_exit_us) {
        set_run(h, RUN_KILL);
        kill_requests(h);
    }
}

/* Forward only: serve -> delay -> drain -> kill -> stop. */
static void run_advance(struct http *h, int64_t now)
{
    failed_advance(h, now);
    int64_t age = now - h->run_since_us;
    if (h->run == RUN_DELAY &&
        (age >= h->c.drain_delay_us || atomic_load(&h->load) != LOAD_READY)) {
        set_run(h, RUN_DRAIN);
        age = 0;
    }
    if (h->run == RUN_DRAIN && (h->n_active == 0 || age >= h->c.drain_timeout_us)) {
        set_run(h, RUN_KILL);
        kill_requests(h);
        age = 0;
    }
    if (h->run == RUN_KILL && (h->n_active == 0 || age >= 1000000)) {
        accept_stop(h);
        drop_everything(h);
        set_run(h, RUN_STOP);
        age = 0;
    }
    if (h->run == RUN_STOP && (h->n_active == 0 || age >= 1000000))
        uv_stop(&h->loop);
}

static void drain_begin(struct http *h, bool now)
{
    if (h->run == RUN_SERVE && !now)
        set_run(h, RUN_DELAY);
    else if (h->run < RUN_KILL) {
        set_run(h, RUN_KILL);
        kill_requests(h);
    }
    run_advance(h, clock_us());
}

static void on_signal(uv_signal_t *s, int signum)
{
    struct http *h = s->data;
    log_info("http.signal", "signal=%d", signum);
    if (signum == SIGUSR2) {
        if (atomic_load(&h->load) == LOAD_READY)
            engine_dump(h->s.engine);
        return;
    }
    if (h->run != RUN_SERVE)
        h->cut_short = signum;
    drain_begin(h, h->run != RUN_SERVE);
    server_pump(h);
}

/* ---- sweep ---- */

/* True while some connection is inside a head or a body: idle ones are microhttpd's to close. */
static bool sweep_conns(struct http *h, int64_t now)
{
    bool busy = false;
    struct err e;
    err_set(&e, ST_TIMEOUT, "The request did not arrive in time.");
    for (struct conn *c = h->conns; c; c = c->next) {
        int64_t age = now - c->since_us;
        busy |= c->phase != PH_IDLE;
        bool late = (c->phase == PH_HEAD && age > h->c.header_timeout_us) ||
                    (c->phase == PH_BODY && age > h->c.body_timeout_us);
        if (late && !(c->req && c->req->answered)) {
            answer_raw(h, c->fd, &e, c->req ? c->req->id : "", false);
            shutdown(c->fd, SHUT_RDWR);
            c->phase = PH_IDLE;
            if (c->req) {
                c->req->status = 408;
                c->req->close = true;
            }
        }
    }
    return busy;
}

static void on_sweep(uv_timer_t *t)
{
    struct http *h = t->data;
    int64_t now = clock_us();
    bool busy = sweep_conns(h, now);
    for (struct req *r = h->reqs, *next; r; r = next) {
        next = r->next;
        gen_sweep(r, now);
    }
    busy |= accept_sweep(h, now);
    server_pump(h);
    run_advance(h, now);
    if (!busy && h->n_reqs == 0 && h->run == RUN_SERVE && h->failed_us == 0) {
        uv_timer_stop(t); /* L2 */
        h->sweeping = false;
    }
}

void server_need_sweep(struct http *h)
{
    if (h->sweeping)
        return;
    h->sweeping = true;
    uv_timer_start(&h->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
}

/* ---- other threads ---- */

/* Loop thread; the first request may come before the wake-up of http_set_ready does. */
void server_slots(struct http *h)
{
    if (h->slot || atomic_load(&h->load) != LOAD_READY)
        return;
    int64_t n = (int64_t)h->s.ec.max_seqs + h->c.queue_size;
    h->max_live = (int32_t)(n < (1 << SLOT_BITS) - 1 ? n : (1 << SLOT_BITS) - 1);
    h->n_slots = (uint32_t)h->max_live + 1;
    h->slot = xcalloc2(h->n_slots, sizeof *h->slot);
    for (uint32_t i = 0; i < h->n_slots; i++)
        h->slot[i].next_free = i + 1;
}

static void outbox_drain(struct http *h)
{
    size_t n;
    const struct msg_outbox *m;
    mbox_take(h->outbox);
    while ((m = mbox_next(h->outbox, &n)) != NULL)
        gen_outbox(h, m, n);
}

static void on_async(uv_async_t *a)
{
    struct http *h = a->data;
    server_slots(h);
    outbox_drain(h);
    int asked = atomic_exchange(&h->drain_asked, 0);
    if (asked)
        drain_begin(h, asked == 2 || h->run != RUN_SERVE);
    server_pump(h);
    run_advance(h, clock_us());
}

static void on_wake(void *arg)
{
    uv_async_send(arg);
}

void http_set_progress(struct http *h, const char *phase, double fraction)
{
    atomic_store(&h->phase, phase);
    atomic_store(&h->progress_ppm, (int)(fraction < 0 ? 0 : fraction > 1 ? 1e6 : fraction * 1e6));
}

void http_set_ready(struct http *h, const struct http_service *s)
{
    h->s = *s;
    if (s->fingerprint) {
        snprintf(h->fingerprint, sizeof h->fingerprint, "%s", s->fingerprint);
    } else {
        uint64_t x = 0xcbf29ce484222325u;
        for (const char *p = h->c.served_names[0]; *p; p++)
            x = (x ^ (unsigned char)*p) * 0x100000001b3u;
        for (const char *p = QUIRE_VERSION; *p; p++)
            x = (x ^ (unsigned char)*p) * 0x100000001b3u;
        snprintf(h->fingerprint, sizeof h->fingerprint, "fp_%012llx",
                 (unsigned long long)(x >> 16));
    }
    h->s.fingerprint = h->fingerprint;
    atomic_store(&h->load, LOAD_READY);
    uv_async_send(&h->async);
}

void http_fail(struct http *h, const char *why)
{
    atomic_store(&h->phase, why);
    atomic_store(&h->load, LOAD_FAILED);
    uv_async_send(&h->async);
}

void http_drain(struct http *h, bool now)
{
    int asked = atomic_load(&h->drain_asked);
    atomic_store(&h->drain_asked, now || asked ? 2 : 1);
    uv_async_send(&h->async);
}

int http_port(const struct http *h)
{
    return h->port;
}

struct mbox *http_outbox(struct http *h)
{
    return h->outbox;
}

/* ---- start ---- */

static const char *own(struct http *h, const char *s)
{
    h->own = xrealloc(h->own, (size_t)(h->n_own + 1) * sizeof *h->own);
    return h->own[h->n_own++] = xstrdup(s);
}

static const char *const *own_list(struct http *h, const char *const *v, int32_t n)
{
    const char **out = xcalloc2((size_t)n + 1, sizeof *out);
    for (int32_t i = 0; i < n; i++)
        out[i] = own(h, v[i]);
    h->own = xrealloc(h->own, (size_t)(h->n_own + 1) * sizeof *h->own);
    h->own[h->n_own++] = (char *)out;
    return out;
}

#define DEFAULT(field, value)                                                                      \
    do {                                                                                           \
        if (h->c.field == 0)                                                                       \
            h->c.field = (value);                                                                  \
    } while (0)

static void config_copy(struct http *h, const struct http_config *c)
{
    h->c = *c;
    h->c.address = own(h, c->address && *c->address ? c->address : "127.0.0.1");
    h->c.served_names = own_list(h, c->served_names, c->n_served_names);
    h->c.cors_origins = own_list(h, c->cors_origins, c->n_cors_origins);
    h->c.api_keys_file = h->c.api_key = NULL;
    DEFAULT(max_connections, 4096);
    DEFAULT(max_body_bytes, 32 << 20);
    DEFAULT(max_header_bytes, 32 << 10);
    DEFAULT(keepalive_timeout_us, 75000000);
    DEFAULT(header_timeout_us, 10000000);
    DEFAULT(body_timeout_us, 30000000);
    DEFAULT(write_timeout_us, 30000000);
    DEFAULT(stream_buffer_bytes, 256 << 10);
    DEFAULT(max_n, 128);
    DEFAULT(max_prompts, 1024);
    DEFAULT(max_sequences, 1024);
    DEFAULT(max_stop, 4);
    DEFAULT(max_logprobs, 20);
    DEFAULT(queue_size, 512);
    DEFAULT(queue_timeout_us, 60000000);
    DEFAULT(watchdog_us, 10000000);
    DEFAULT(failed_exit_us, 500000);
    if (h->c.max_logprobs > MAX_LOGPROBS)
        h->c.max_logprobs = MAX_LOGPROBS;
}

/* Our own files and the tests' stay possible when every connection is taken (P-7). */
static void raise_fd_limit(struct http *h)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) != 0)
        return;
    if (l.rlim_cur < 65536 && l.rlim_cur < l.rlim_max) {
        l.rlim_cur = l.rlim_max < 65536 ? l.rlim_max : 65536;
        if (setrlimit(RLIMIT_NOFILE, &l) != 0)
            getrlimit(RLIMIT_NOFILE, &l);
    }
    int64_t room = l.rlim_cur > 1 << 20 ? 1 << 20 : (int64_t)l.rlim_cur - FD_RESERVE;
    if (h->c.max_connections > room) {
        h->c.max_connections = room > 1 ? (int32_t)room : 1;
        log_warn("http.connections", "limited to %d by the open files limit", h->c.max_connections);
    }
}

static int loop_open(struct http *h, struct err *e)
{
    if (uv_loop_init(&h->loop) != 0)
        return err_set(e, ST_IO, "cannot create the event loop");
    h->loop_open = true;
    if (uv_async_init(&h->loop, &h->async, on_async) != 0)
        return err_set(e, ST_IO, "cannot create a wake-up");
    uv_timer_init(&h->loop, &h->timer);
    uv_timer_init(&h->loop, &h->sweep);
    uv_idle_init(&h->loop, &h->more);
    uv_signal_init(&h->loop, &h->sig_term);
    uv_signal_init(&h->loop, &h->sig_int);
    uv_signal_init(&h->loop, &h->sig_usr2);
    uv_poll_init(&h->loop, &h->poll_mhd, mhd_poll_fd(h));
    uv_poll_init(&h->loop, &h->poll_watch, h->watch_fd);
    accept_init(h);
    h->async.data = h->timer.data = h->sweep.data = h->more.data = h;
    h->sig_term.data = h->sig_int.data = h->sig_usr2.data = h;
    h->poll_mhd.data = h->poll_watch.data = h;
    h->outbox = mbox_new(OUTBOX_RESERVE, OUTBOX_MAX, on_wake, &h->async);
    return 0;
}

int http_new(struct http **out, const struct http_config *c, struct err *e)
{
    *out = NULL;
    if (c->n_served_names < 1)
        return err_set(e, ST_INVALID_VALUE, "no served model name");
    struct http *h = xalloc(sizeof *h);
    h->listen_fd = h->guard_fd = h->watch_fd = -1;
    config_copy(h, c);
    h->start_unix_s = clock_unix_s();
    signal(SIGPIPE, SIG_IGN);
    raise_fd_limit(h);
    h->rng[0] = (uint64_t)clock_us() | 1;
    h->rng[1] = (uint64_t)(uintptr_t)h;
    int st = keys_load(&h->keys, c->api_keys_file, c->api_key, e);
    st = st ? st : accept_open(h, e);
    st = st ? st : mhd_start(h, e);
    if (st == 0 && (h->watch_fd = epoll_create1(EPOLL_CLOEXEC)) < 0) {
        fatal_errno(e, "epoll_create1");
        st = ST_IO;
    }
    st = st ? st : loop_open(h, e);
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

/* microhttpd aborts when it is stopped with a suspended connection (P-11): resume all, run it until
 * every request has completed; only then stop it. */
static void stop_mhd(struct http *h)
{
    if (!h->mhd)
        return;
    accept_stop(h);
    drop_everything(h);
    for (int i = 0; i < 1000 && h->n_active; i++) {
        mhd_turn(h);
        if (h->n_active)
            drop_everything(h);
    }
    uv_poll_stop(&h->poll_mhd);
    close_handle((uv_handle_t *)&h->poll_mhd);
    mhd_stop(h);
}

int http_run(struct http *h)
{
    uv_poll_start(&h->poll_mhd, UV_READABLE, on_mhd);
    uv_poll_start(&h->poll_watch, UV_READABLE, on_watch);
    accept_start(h);
    uv_signal_start(&h->sig_term, on_signal, SIGTERM);
    uv_signal_start(&h->sig_int, on_signal, SIGINT);
    uv_signal_start(&h->sig_usr2, on_signal, SIGUSR2);
    uv_async_send(&h->async); /* what was set before the loop ran */
    server_pump(h);
    uv_run(&h->loop, UV_RUN_DEFAULT);
    stop_mhd(h);
    return h->has_stats && !h->stats.healthy ? ST_ENGINE_DOWN : h->cut_short;
}

static void loop_close(struct http *h)
{
    accept_close(h);
    uv_handle_t *all[] = {
        (uv_handle_t *)&h->async,    (uv_handle_t *)&h->timer,      (uv_handle_t *)&h->sweep,
        (uv_handle_t *)&h->more,     (uv_handle_t *)&h->sig_term,   (uv_handle_t *)&h->sig_int,
        (uv_handle_t *)&h->sig_usr2, (uv_handle_t *)&h->poll_watch, (uv_handle_t *)&h->poll_mhd};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i]->loop)
            close_handle(all[i]);
    uv_run(&h->loop, UV_RUN_DEFAULT); /* also waits for jobs of the pool */
    uv_loop_close(&h->loop);
}

void http_free(struct http *h)
{
    if (!h)
        return;
    if (h->loop_open) {
        stop_mhd(h);
        loop_close(h);
    }
    mhd_stop(h);
    if (h->outbox)
        outbox_drain(h);
    for (struct req *r = h->reqs, *next; r; r = next) {
        next = r->next;
        for (int32_t i = 0; i < r->n_choices; i++)
            gen_end_choice_engine(&r->choice[i]);
        r->completed = true;
        req_release(r);
    }
    accept_fini(h);
    if (h->watch_fd >= 0)
        close(h->watch_fd);
    mbox_free(h->outbox);
    keys_free(&h->keys);
    buf_free(&h->scratch);
    free(h->slot);
    for (int i = 0; i < h->n_own; i++)
        free(h->own[i]);
    free(h->own);
    free(h);
}
