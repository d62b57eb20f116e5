/* main.c - quired's life: command line, start order, stop order, exit code.
 *
 * The main thread becomes the loop thread; a loader thread brings the model up beside it, so that
 * /live and /metrics answer from the first millisecond and a port conflict shows before the weights
 * are read. Stop: the loop ends first (streams finished or cut), then the engine, then the rest.
 */
#include "check.h"
#include "clock.h"
#include "daemon.h"
#include "log.h"
#include "mem.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

struct start {
    const struct config *c;
    struct http *h;
    struct daemon d;
    int64_t t0_us;
    _Atomic int done;
    int rc; /* exit code of a failed start, valid once done */
};

/* ---- http settings ---- */

/* "host:port" or "[v6]:port", checked by config_load. */
static void split_listen(const char *listen, char *host, size_t n, int32_t *port)
{
    const char *colon = strrchr(listen, ':');
    size_t len = (size_t)(colon - listen);
    if (len >= 2 && listen[0] == '[' && listen[len - 1] == ']') {
        listen++;
        len -= 2;
    }
    snprintf(host, n, "%.*s", (int)len, listen);
    *port = (int32_t)atoi(colon + 1);
}

static bool is_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 ||
           strcmp(host, "localhost") == 0;
}

/* The folder's or the file's name, without ".gguf". */
static char *name_of_path(const char *path)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    if (end - begin > 5 && strncmp(path + end - 5, ".gguf", 5) == 0)
        end -= 5;
    return xstrndup(path + begin, end - begin);
}

static int32_t clamp32(int64_t v)
{
    return v > INT32_MAX ? INT32_MAX : (int32_t)v;
}

static struct http_config http_settings(const struct config *c, char *host, size_t n_host,
                                        const char *const *names, int n_names)
{
    struct http_config h = {
        .address = host,
        .max_connections = (int32_t)c->http.max_connections,
        .max_body_bytes = c->http.max_body_bytes,
        .keepalive_timeout_us = c->http.keepalive_timeout,
        .header_timeout_us = c->http.header_timeout,
        .body_timeout_us = c->http.body_timeout,
        .write_timeout_us = c->http.write_timeout,
        .cors_origins = (const char *const *)c->http.cors.allow_origins.v,
        .n_cors_origins = c->http.cors.allow_origins.n,
        .api_keys_file = c->auth.api_keys_file,
        .api_key = *c->auth.api_key_env ? getenv(c->auth.api_key_env) : NULL,
        .served_names = names,
        .n_served_names = n_names,
        .accept_any_model = c->http.unknown_model == CONF_UNKNOWN_MODEL_ACCEPT,
        .reject_unknown_fields = c->http.unknown_fields == CONF_UNKNOWN_REJECT,
        .metrics_require_auth = c->metrics.require_auth,
        .metrics_no_vllm = c->metrics.compat == CONF_COMPAT_NONE,
        .plain_special_tokens = !c->security.parse_special_tokens,
        .force_usage = c->stream.force_usage,
        .max_n = (int32_t)c->limits.max_n,
        .max_prompts = (int32_t)c->limits.max_prompts,
        .max_sequences = (int32_t)c->limits.max_sequences_per_request,
        .max_stop = (int32_t)c->limits.max_stop,
        .max_logprobs = (int32_t)c->limits.max_logprobs,
        .max_completion_tokens = clamp32(c->limits.max_completion_tokens),
        .queue_size = (int32_t)c->limits.queue_size,
        .queue_timeout_us = c->limits.queue_timeout > 0 ? c->limits.queue_timeout : -1,
        .request_timeout_us = c->limits.request_timeout,
        .drain_delay_us = c->drain.delay,
        .drain_timeout_us = c->drain.timeout};
    split_listen(c->http.listen, host, n_host, &h.port);
    return h;
}

static int open_http(struct http **out, const struct config *c, struct err *e)
{
    char host[300];
    char *own = name_of_path(c->model.path);
    bool given = c->model.served_names.n > 0;
    const char *const *names = given ? (const char *const *)c->model.served_names.v
                                     : (const char *const *)&own;
    const struct http_config hc = http_settings(c, host, sizeof host, names,
                                                given ? c->model.served_names.n : 1);
    int st = http_new(out, &hc, e);
    if (st == 0) {
        bool open = !*c->auth.api_keys_file && !(hc.api_key && *hc.api_key);
        log_info("http.listening", "address=%s port=%d model=\"%s\" auth=%s", host, http_port(*out),
                 names[0], open ? "off" : "on");
        if (open && !is_loopback(host))
            log_warn("auth.open", "address=%s note=\"anybody who reaches this port may use it\"",
                     host);
    }
    free(own);
    return st;
}

/* ---- the loader thread ---- */

static void *load_main(void *arg)
{
    struct start *s = arg;
    struct err e = {0};
    http_set_progress(s->h, "weights", 0);
    int rc = daemon_open_files(&s->d, s->c, &e);
    if (rc == 0)
        rc = daemon_load(&s->d, s->c, s->h, &e);
    if (rc == 0) {
        http_set_ready(s->h, &s->d.service);
        log_info("quired.ready", "seconds=%.3f", (double)(clock_us() - s->t0_us) / 1e6);
    } else {
        log_error("quired.start_failed", "exit=%d reason=\"%s\"", rc, e.msg);
        http_fail(s->h, "see the server's log");
        http_drain(s->h, true);
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
    int st = open_http(&s.h, c, &e);
    if (st != 0) {
        log_error("quired.start_failed", "reason=\"%s\"", e.msg);
        return st == ST_INVALID_VALUE ? EXIT_CONFIG : EXIT_OS;
    }
    if (pthread_create(&loader, NULL, load_main, &s) != 0) {
        log_error("quired.start_failed", "reason=\"cannot start a thread\"");
        http_free(s.h);
        return EXIT_OS;
    }
    thread_claim(THREAD_LOOP);
    int ended = http_run(s.h);
    if (!atomic_load(&s.done)) { /* asked to stop while weights load: there is nothing to save */
        log_info("quired.exit", "during=loading");
        _exit(exit_code(ended, 0));
    }
    pthread_join(loader, NULL);
    if (s.d.engine)
        engine_stop(s.d.engine, ended < 0 ? ST_ENGINE_DOWN : ST_DRAINING);
    http_free(s.h);
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
    return serve(c);
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
        rc = act(&c, action);
    }
    config_free(&c);
    return rc;
}
