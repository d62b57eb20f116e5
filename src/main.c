/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - quired's life: command line, start order, stop order, exit code.
 *
 * The main thread becomes the loop thread; a loader thread brings the model up beside it, so that
 * /live and /metrics answer from the first millisecond and a port conflict shows before the weights
 * are read. Stop: the loop ends first (streams finished or cut), then the engine, then the rest.
 */
#include "api.h"
#include "check.h"
#include "clock.h"
#include "daemon.h"
#include "log.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

enum { LAST_WORDS_MS = 1000 }; /* for the log, at the end */

struct start {
    const struct config *c;
    struct api *a;
    struct daemon d;
    int64_t t0_us;
    _Atomic int done;
    int rc; /* exit code of a failed start, valid once done */
};

/* ---- the front end ---- */

static bool is_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 ||
           strcmp(host, "localhost") == 0;
}

static int open_api(struct api **out, const struct config *c, struct err *e)
{
    int st = api_new(out, c, NULL, e);
    if (st != 0)
        return st;
    const struct http *h = api_http(*out);
    const char *host = http_address(h);
    const struct tenants *t = http_tenants(h);
    bool open = t->n_keys == 0;
    log_info("http.listening", "address=%s port=%d model=\"%s\" auth=%s tenants=%d keys=%d", host,
             http_port(h), api_model_name(*out), open ? "off" : "on", t->n_named, t->n_keys);
    if (open && !is_loopback(host))
        log_warn("auth.open", "address=%s note=\"anybody who reaches this port may use it\"", host);
    return 0;
}

/* ---- the loader thread ---- */

static void *load_main(void *arg)
{
    struct start *s = arg;
    struct err e = {0};
    api_set_progress(s->a, "weights", 0);
    int rc = daemon_open_files(&s->d, s->c, &e);
    if (rc == 0)
        rc = daemon_load(&s->d, s->c, s->a, &e);
    if (rc == 0) {
        api_set_ready(s->a, &s->d.service);
        log_info("quired.ready", "seconds=%.3f", (double)(clock_us() - s->t0_us) / 1e6);
    } else {
        log_error("quired.start_failed", "exit=%d reason=\"%s\"", rc, e.msg);
        api_fail(s->a, "see the server's log");
        http_drain(api_http(s->a), true);
    }
    s->rc = rc;
    atomic_store(&s->done, 1);
    return NULL;
}

static int exit_code(int ended, int start_rc)
{
    if (start_rc != 0)
        return start_rc;
    return ended > 0 ? 128 + ended : ended < 0 ? EXIT_INTERNAL : 0;
}

static int serve(const struct config *c)
{
    struct err e = {0};
    struct start s = {.c = c, .t0_us = clock_us()};
    pthread_t loader;
    log_info("quired.start", "version=%s config=%016llx", QUIRE_VERSION,
             (unsigned long long)config_digest(c));
    int st = open_api(&s.a, c, &e);
    if (st != 0) {
        log_error("quired.start_failed", "reason=\"%s\"", e.msg);
        return st == ST_INVALID_VALUE ? EXIT_CONFIG : EXIT_OS;
    }
    if (pthread_create(&loader, NULL, load_main, &s) != 0) {
        log_error("quired.start_failed", "reason=\"cannot start a thread\"");
        api_free(s.a);
        return EXIT_OS;
    }
    thread_claim(THREAD_LOOP);
    int ended = http_run(api_http(s.a));
    if (!atomic_load(&s.done)) { /* asked to stop while weights load: there is nothing to save */
        log_info("quired.exit", "during=loading");
        log_flush(LAST_WORDS_MS);
        _exit(exit_code(ended, 0));
    }
    pthread_join(loader, NULL);
    if (s.d.engine)
        engine_stop(s.d.engine, ended < 0 ? ST_ENGINE_DOWN : ST_DRAINING);
    api_free(s.a);
    daemon_unload(&s.d);
    int rc = exit_code(ended, s.rc);
    log_info("quired.exit", "code=%d", rc);
    return rc;
}

/* ---- what needs no server ---- */

static int check(const struct config *c, bool deep)
{
    if (deep) {
        struct daemon d = {0};
        struct err e = {0};
        log_set(LOG_WARN, c->log.format);
        int rc = daemon_open_files(&d, c, &e);
        daemon_unload(&d);
        if (rc != 0) {
            fprintf(stderr, "quired: %s\n", e.msg);
            return rc;
        }
    }
    puts("OK");
    return 0;
}

static int act(const struct config *c, enum config_action action)
{
    switch (action) {
    case CONFIG_CHECK:
    case CONFIG_CHECK_DEEP:
        return check(c, action == CONFIG_CHECK_DEEP);
    case CONFIG_PRINT:
        config_print(c, stdout);
        return 0;
    case CONFIG_PRINT_DEFAULTS:
        config_print_defaults(stdout);
        return 0;
    case CONFIG_HELP:
        config_help(stdout);
        return 0;
    case CONFIG_VERSION:
        puts("quired " QUIRE_VERSION);
        return 0;
    case CONFIG_RUN:
        break;
    }
    log_start();
    int rc = serve(c);
    log_stop(LAST_WORDS_MS);
    return rc;
}

int main(int argc, char **argv)
{
    struct config c;
    enum config_action action;
    int st = config_load(&c, argc, argv, environ, &action, stderr);
    int rc = st == 0 ? 0 : st == ST_BAD_REQUEST ? EXIT_USAGE : EXIT_CONFIG;
    if (rc == 0) {
        log_set(c.log.level, c.log.format);
        signal(SIGHUP, SIG_IGN); /* settings are read once; a reload must not end the service */
        signal(SIGUSR1, SIG_IGN);
        signal(SIGPIPE, SIG_IGN); /* a log that nobody reads any more */
        /* Large pieces come from the system and go back to it: left alone, malloc raises both
         * bounds to what it saw, and keeps up to 64 MiB of what one crowd needed. */
        mallopt(M_MMAP_THRESHOLD, 1 << 20);
        mallopt(M_TRIM_THRESHOLD, 4 << 20);
        rc = act(&c, action);
    }
    config_free(&c);
    return rc;
}
