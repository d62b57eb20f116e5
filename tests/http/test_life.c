/* SPDX-License-Identifier: Apache-2.0 */
/* test_life.c - the server's own states: loading, serving, full, failed, draining; keys; readers
 * that do not read. Each test has a server of its own.
 */
#include "rig.h"

#include <signal.h>
#include <sys/resource.h>
#include <time.h>

static void want(const char *path, int status, const char *part)
{
    struct answer a = get(&rig, path);
    if (a.status != status || !has(&a, part))
        fail_msg("%s: wanted %d %s, got %d %s", path, status, part, a.status, a.body);
    free(a.body);
}

static void test_loading(void **s)
{
    (void)s;
    rig_defaults(&rig);
    rig_listen(&rig);
    api_set_progress(rig.a, "weights", 0.25);
    want("/live", 200, "ok");
    want("/health", 503, "\"code\":\"model_loading\"},\"phase\":\"weights\",\"progress\":0.25}");
    want("/ready", 503, "model_loading");
    want("/v1/models", 200, "\"id\":\"tiny\"");
    want("/metrics", 200, "vllm:num_requests_running");
    struct answer a = post(&rig, "/v1/completions", "{\"prompt\":\"x\"}");
    assert_int_equal(a.status, 503);
    assert_non_null(strstr(a.head, "Retry-After: "));
    free(a.body);
    rig_load(&rig);
    a = post(&rig, "/v1/completions", "{\"prompt\":\"x\"}");
    assert_int_equal(a.status, 200);
    free(a.body);
    want("/ready", 200, "ok");
    rig_stop(&rig);
    assert_int_equal(rig.result, 0);
}

static void test_load_failed(void **s)
{
    (void)s;
    rig_defaults(&rig);
    rig_listen(&rig);
    api_fail(rig.a, "no memory on the device");
    want("/live", 503, "no memory on the device");
    want("/ready", 503, "engine_unavailable");
    rig_stop(&rig);
}

static void test_keys(void **s)
{
    (void)s;
    char file[] = "/tmp/quire_keys_XXXXXX";
    int fd = mkstemp(file);
    assert_true(write(fd, "# ours\nsecret-1\n\n  secret-2  \n", 30) == 30);
    close(fd);
    rig_defaults(&rig);
    rig_set(&rig, "auth.api_keys_file", file);
    rig.c.metrics.require_auth = true;
    rig_start(&rig);
    unlink(file);
    static const struct {
        const char *path, *header;
        int status;
    } t[] = {{"/health", "", 200},
             {"/version", "", 200},
             {"/metrics", "", 401},
             {"/v1/models", "", 401},
             {"/v1/models", "Authorization: Bearer wrong\r\n", 401},
             {"/v1/models", "Authorization: Bearer secret-\r\n", 401},
             {"/v1/models", "Authorization: Bearer secret-11\r\n", 401},
             {"/v1/models", "Authorization: Basic secret-1\r\n", 401},
             {"/v1/models", "Authorization: Bearer secret-1\r\n", 200},
             {"/v1/models", "authorization: bearer secret-2\r\n", 200},
             {"/metrics", "X-Api-Key: secret-2\r\n", 200}};
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        char text[256];
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n", t[i].path, t[i].header);
        struct answer a = raw(&rig, text, strlen(text));
        if (a.status != t[i].status)
            fail_msg("%s%s: %d", t[i].path, t[i].header, a.status);
        if (a.status == 401) {
            assert_true(has(&a, "\"type\":\"authentication_error\",\"param\":null,"
                                "\"code\":\"invalid_api_key\""));
            assert_non_null(strstr(a.head, "WWW-Authenticate: Bearer\r\n"));
        }
        free(a.body);
    }
    rig_stop(&rig);
}

static void test_queue_full(void **s)
{
    (void)s;
    rig_defaults(&rig);
    rig.c.scheduler.max_seqs = 1;
    rig.c.limits.queue_size = 1;
    rig_hold(&rig);
    rig_start(&rig);
    int fd[2];
    for (int i = 0; i < 2; i++) {
        fd[i] = dial(&rig);
        put_post(fd[i], "/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":20}");
    }
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 2));
    struct answer a = post(&rig, "/v1/completions", "{\"prompt\":\"x\",\"stream\":true}");
    assert_int_equal(a.status, 429);
    assert_true(has(&a, "\"type\":\"rate_limit_error\",\"param\":null,\"code\":\"queue_full\""));
    assert_non_null(strstr(a.head, "Retry-After: "));
    free(a.body);
    assert_true(status_becomes(&rig, "/ready", 200)); /* full is not unready */
    rig_go(&rig);
    for (int i = 0; i < 2; i++) {
        a = get_answer(fd[i], false);
        assert_int_equal(a.status, 200);
        free(a.body);
        close(fd[i]);
    }
    rig_stop(&rig);
}

/* At the limit, one after the other: a place is free once its answer was read, never 429. */
static void *one_after_the_other(void *arg)
{
    int *good = arg, fd = dial(&rig);
    for (int i = 0; i < 100; i++) {
        put_post(fd, "/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":1}");
        struct answer a = get_answer(fd, false);
        *good += a.status == 200;
        free(a.body);
    }
    close(fd);
    return NULL;
}

static void test_last_place(void **s)
{
    (void)s;
    rig_defaults(&rig);
    rig.c.scheduler.max_seqs = 1;
    rig.c.limits.queue_size = 1;
    rig_start(&rig);
    pthread_t t[2];
    int good[2] = {0};
    for (int i = 0; i < 2; i++)
        pthread_create(&t[i], NULL, one_after_the_other, &good[i]);
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(good[0] + good[1], 200);
    rig_stop(&rig);
}

/* A pool smaller than the context bounds requests too, and says its size. */
static void test_small_pool(void **s)
{
    (void)s;
    rig_defaults(&rig);
    rig.f.n_pages = 5;
    rig_start(&rig);
    struct answer a = post(&rig, "/v1/completions",
                           "{\"prompt\":\"0123456789\",\"max_tokens\":72}");
    assert_int_equal(a.status, 400);
    assert_true(has(&a, "This server's KV cache holds 80 tokens (5 pages of 16). However, you "
                        "requested 82 tokens (10 in the messages, 72 in the completion)."));
    assert_true(has(&a, "\"param\":\"prompt\",\"code\":\"context_length_exceeded\""));
    free(a.body);
    a = post(&rig, "/v1/completions", "{\"prompt\":\"0123456789\",\"max_tokens\":71}");
    assert_int_equal(a.status, 200);
    free(a.body);
    rig_stop(&rig);
}

static void test_engine_failure(void **s)
{
    (void)s;
    rig_defaults(&rig);
    rig.limits.failed_exit_us = -1;
    rig_steps(&rig, 5);
    rig_start(&rig);
    int st = dial(&rig), plain = dial(&rig);
    put_post(st, "/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":2000,\"stream\":true}");
    put_post(plain, "/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":2000}");
    char begun; /* the error event is for streams that have begun */
    assert_int_equal(recv(st, &begun, 1, MSG_PEEK), 1);
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 2));
    atomic_store(&rig.ex.fail, ST_DEVICE);
    rig_go(&rig);
    struct answer a = get_answer(st, false);
    assert_int_equal(a.status, 200);
    char *err = strstr(a.body, "data: {\"error\":{");
    assert_non_null(err);
    assert_string_equal(strstr(err, "\n\n"), "\n\ndata: [DONE]\n\n");
    free(a.body);
    a = get_answer(plain, false);
    assert_int_equal(a.status, 503);
    free(a.body);
    close(st);
    close(plain);
    want("/health", 503, "engine_unavailable");
    want("/ready", 503, "engine_unavailable");
    want("/live", 503, "engine_unavailable");
    want("/metrics", 200, "quire_engine_healthy");
    a = post(&rig, "/v1/completions", "{\"prompt\":\"x\"}");
    assert_int_equal(a.status, 503);
    free(a.body);
    rig_stop(&rig);
    assert_int_equal(rig.result, ST_ENGINE_DOWN);
}

/* Without anybody asking, http_run returns, so that a supervisor can start the process anew. */
static void test_failure_ends_the_loop(void **s)
{
    (void)s;
    rig_defaults(&rig);
    rig_steps(&rig, 5);
    rig_start(&rig);
    int st = dial(&rig);
    put_post(st, "/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":2000,\"stream\":true}");
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 1));
    atomic_store(&rig.ex.fail, ST_DEVICE);
    rig_go(&rig);
    struct answer a = get_answer(st, false);
    assert_non_null(strstr(a.body, "\"error\":{"));
    free(a.body);
    close(st);
    rig_end(&rig);
    assert_int_equal(rig.result, ST_ENGINE_DOWN);
}

/* The second signal ends at once and says which one it was. */
static void test_second_signal(void **s)
{
    (void)s;
    rig_defaults(&rig);
    rig.c.drain.delay = rig.c.drain.timeout = 600000000;
    rig_steps(&rig, 5);
    rig_start(&rig);
    int st = dial(&rig);
    put_post(st, "/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":2000,\"stream\":true}");
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 1));
    kill(getpid(), SIGUSR2); /* the engine explains itself and goes on */
    kill(getpid(), SIGTERM);
    struct answer a;
    do {
        a = get(&rig, "/ready");
        free(a.body);
    } while (a.status == 200);
    assert_int_equal(a.status, 503);
    kill(getpid(), SIGINT);
    rig_end(&rig);
    assert_int_equal(rig.result, SIGINT);
    close(st);
}

/* In the delay everything is still served, only /ready says no. */
static void test_drain_delay(void **s)
{
    (void)s;
    rig_defaults(&rig);
    rig.c.drain.delay = 600000000;
    rig_start(&rig);
    want("/ready", 200, "ok"); /* the loop runs and has its signals */
    kill(getpid(), SIGTERM);
    assert_true(status_becomes(&rig, "/ready", 503));
    want("/ready", 503, "server_draining");
    want("/health", 200, "ok");
    want("/live", 200, "ok");
    struct answer a = post(&rig, "/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":1}");
    assert_int_equal(a.status, 200);
    free(a.body);
    http_drain(rig.h, true);
    rig_end(&rig);
    assert_int_equal(rig.result, 0);
}

/* Draining: new ones are refused, running ones end well. */
static void test_drain(void **s)
{
    (void)s;
    rig_defaults(&rig);
    rig.c.drain.timeout = 600000000;
    rig_steps(&rig, 5);
    rig_start(&rig);
    int st = dial(&rig), plain = dial(&rig), idle = dial(&rig);
    put_post(st, "/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":50,\"stream\":true}");
    put_post(plain, "/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":50}");
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 2));
    kill(getpid(), SIGTERM);
    assert_true(status_becomes(&rig, "/ready", 503));
    want("/health", 200, "ok");
    want("/live", 200, "ok");
    struct answer a = post(&rig, "/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":1}");
    assert_int_equal(a.status, 503);
    assert_true(has(&a, "server_draining"));
    assert_non_null(strstr(a.head, "Retry-After: "));
    assert_non_null(strstr(a.head, "Connection: close\r\n"));
    free(a.body);
    rig_go(&rig);
    a = get_answer(plain, false);
    assert_int_equal(a.status, 200);
    assert_true(has(&a, "\"completion_tokens\":50"));
    free(a.body);
    a = get_answer(st, false);
    assert_int_equal(a.status, 200);
    assert_true(has(&a, "\"finish_reason\":\"length\""));
    free(a.body);
    rig_end(&rig);
    assert_int_equal(rig.result, 0);
    close(st);
    close(plain);
    close(idle);
}

/* The time is over: the stream that still runs ends with an error event, the answer that was
 * not begun with a status. */
static void test_drain_timeout(void **s)
{
    (void)s;
    rig_defaults(&rig);
    rig.c.drain.timeout = 50000;
    rig_hold(&rig);
    rig_start(&rig);
    int st = dial(&rig), plain = dial(&rig);
    char begun;
    put_post(st, "/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":2000,\"stream\":true}");
    put_post(plain, "/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":2000}");
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 2));
    rig_steps(&rig, 5);
    assert_int_equal(recv(st, &begun, 1, MSG_PEEK), 1);
    kill(getpid(), SIGTERM);
    struct answer a = get_answer(st, false);
    assert_int_equal(a.status, 200);
    assert_true(has(&a, "\"code\":\"server_draining\"}}\n\ndata: [DONE]\n\n"));
    free(a.body);
    a = get_answer(plain, false);
    assert_int_equal(a.status, 503);
    assert_true(has(&a, "server_draining"));
    free(a.body);
    rig_end(&rig);
    close(st);
    close(plain);
}

static void test_stop_at_once(void **s)
{
    (void)s;
    rig_defaults(&rig);
    rig.c.drain.delay = rig.c.drain.timeout = 600000000;
    rig_steps(&rig, 5);
    rig_start(&rig);
    int fd[20];
    for (int i = 0; i < 20; i++) {
        fd[i] = dial(&rig);
        put_post(fd[i], "/v1/completions",
                 i % 2 ? "{\"prompt\":\"x\",\"max_tokens\":2000,\"stream\":true}"
                       : "{\"prompt\":\"x\",\"max_tokens\":2000}");
    }
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 20));
    http_drain(rig.h, true);
    for (int i = 0; i < 20; i++) {
        struct answer a = get_answer(fd[i], false);
        assert_true(a.status == 503 || (i % 2 && a.status == 200));
        assert_true(has(&a, "\"code\":\"server_draining\""));
        free(a.body);
        close(fd[i]);
    }
    rig_end(&rig);
}

static void test_slow_reader(void **s)
{
    (void)s;
    rig_defaults(&rig);
    rig.c.stream.buffer_bytes = 16384;
    rig.c.http.write_timeout = 500000; /* the only reason to cut it */
    rig_start(&rig);
    int fd = socket(AF_INET, SOCK_STREAM, 0), small = 2048;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)rig.port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    put_post(fd, "/v1/completions",
             "{\"prompt\":\"x\",\"max_tokens\":2000,\"stream\":true,\"logprobs\":20}");
    assert_true(metric_becomes(&rig, "quire_http_slow_readers_total", 1));
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 0));
    close(fd);
    rig_stop(&rig);
}

/* A head or a body that does not arrive: 408, while others are served. */
static void test_slow_client(void **s)
{
    (void)s;
    rig_defaults(&rig);
    rig.c.http.header_timeout = rig.c.http.body_timeout = 400000;
    rig_start(&rig);
    int fd[4];
    static const char *const sent[4] = {
        "GET /hea", "",
        ("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
         "Content-Length: 9\r\n\r\n{"),
        "\x16\x03\x01\x02garbage"};
    for (int i = 0; i < 4; i++) {
        fd[i] = dial(&rig);
        put_all(fd[i], sent[i], strlen(sent[i]));
    }
    for (int i = 0; i < 4; i++) {
        struct answer a = get_answer(fd[i], false);
        if (a.status != (i == 3 ? 400 : 408))
            fail_msg("client %d: %d %s", i, a.status, a.body);
        assert_true(has(&a, i == 3 ? "\"code\":\"bad_request\"" : "\"code\":\"request_timeout\""));
        assert_non_null(strstr(a.head, "Connection: close\r\n"));
        assert_non_null(strstr(a.head, "X-Request-Id: req_"));
        free(a.body);
        close(fd[i]);
    }
    assert_true(status_becomes(&rig, "/health", 200)); /* 408 in its turn if we are that slow */
    rig_stop(&rig);
}

static void *big_body(void *arg)
{
    size_t n = 300000;
    char *body = malloc(n + 64);
    int k = sprintf(body, "{\"max_tokens\":1,\"prompt\":\"");
    memset(body + k, 'a', n);
    strcpy(body + (size_t)k + n, "\"}");
    struct answer a = post(&rig, "/v1/completions", body);
    *(int *)arg = a.status == 400 && has(&a, "This model's maximum context length is 2048 tokens");
    free(a.body);
    free(body);
    return NULL;
}

/* Large bodies go through the pool; some clients leave while their job runs there. */
static void test_pool(void **s)
{
    (void)s;
    pthread_t t[8];
    int ok[8] = {0};
    rig_defaults(&rig);
    rig_start(&rig);
    for (int i = 0; i < 8; i++)
        pthread_create(&t[i], NULL, big_body, &ok[i]);
    for (int i = 0; i < 20; i++) {
        static char body[40000];
        int fd = dial(&rig), k = sprintf(body, "{\"prompt\":\"");
        memset(body + k, 'b', 30000);
        strcpy(body + k + 30000, "\"}");
        put_post(fd, "/v1/completions", body);
        close(fd);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(t[i], NULL);
        assert_true(ok[i]);
    }
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 0));
    rig_stop(&rig);
}

static void test_never_run(void **s)
{
    (void)s;
    struct err e;
    char taken[32];
    struct api *second;
    rig_defaults(&rig);
    assert_int_equal(api_new(&rig.a, &rig.c, NULL, &e), 0);
    snprintf(taken, sizeof taken, "127.0.0.1:%d", http_port(api_http(rig.a)));
    rig_set(&rig, "http.listen", taken);
    assert_int_equal(api_new(&second, &rig.c, NULL, &e), ST_IO); /* taken */
    assert_null(second);
    api_free(rig.a);
    rig_set(&rig, "http.listen", "not an address:0");
    assert_int_equal(api_new(&rig.a, &rig.c, NULL, &e), ST_IO);
    rig_set(&rig, "http.listen", "127.0.0.1:0");
    rig_set(&rig, "auth.api_keys_file", "/nonexistent/keys");
    assert_int_equal(api_new(&rig.a, &rig.c, NULL, &e), ST_INVALID_VALUE);
    config_free(&rig.c);
}

static void test_watchdog(void **s)
{
    (void)s;
    rig_defaults(&rig);
    rig.limits.watchdog_us = 300000;
    rig_hold(&rig); /* the device hangs */
    rig_start(&rig);
    want("/health", 200, "ok"); /* nothing to do is not hanging */
    int fd = dial(&rig);
    put_post(fd, "/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":1}");
    assert_true(status_becomes(&rig, "/health", 503));
    want("/health", 503, "engine_unavailable");
    want("/ready", 503, "engine_unavailable");
    want("/live", 503, "engine_unavailable");
    rig_go(&rig);
    struct answer a = get_answer(fd, false);
    assert_int_equal(a.status, 200);
    free(a.body);
    close(fd);
    assert_true(status_becomes(&rig, "/health", 200));
    rig_stop(&rig);
}

static double loop_cpu_s(void)
{
    clockid_t id;
    struct timespec t;
    assert_int_equal(pthread_getcpuclockid(rig.loop, &id), 0);
    clock_gettime(id, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Idle means asleep, also with idle connections open. */
static void test_idle(void **s)
{
    (void)s;
    rig_defaults(&rig);
    rig_start(&rig);
    int fd = dial(&rig);
    put_post(fd, "/v1/completions", "{\"prompt\":\"x\"}");
    struct answer a = get_answer(fd, false);
    assert_int_equal(a.status, 200);
    free(a.body);
    /* It must come to rest: some window of 100 ms without a wake-up. A loop that spins has none. */
    double used = 1;
    for (int i = 0; i < 600 && used > 0.00002; i++) {
        double before = loop_cpu_s();
        usleep(100000);
        used = loop_cpu_s() - before;
    }
    if (used > 0.00002)
        fail_msg("%.6f s of CPU in an idle tenth of a second", used);
    close(fd);
    rig_stop(&rig);
}

/* Without descriptors nobody is accepted and nothing spins; then it goes on by itself. */
static void test_no_descriptors(void **s)
{
    (void)s;
    rig_defaults(&rig);
    rig_start(&rig);
    assert_true(status_becomes(&rig, "/health", 200));
    int first = dial(&rig); /* stays open: the server's own descriptors no longer change */
    static const char scrape[] = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    int64_t until = clock_us() + RIG_LIMIT_S * 1000000LL;
    struct answer a;
    double open;
    do {
        assert_true(clock_us() < until);
        put_all(first, scrape, sizeof scrape - 1);
        a = get_answer(first, false);
        open = metric_in(a.body, "quire_http_connections");
        free(a.body);
    } while (open != 1);
    struct rlimit old, few;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    few = old;
    int next = dup(0); /* the lowest free one: all below are taken */
    close(next);
    few.rlim_cur = (rlim_t)next + 1; /* one is left, and the client takes it */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    int fd = dial(&rig);
    const char *t = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    put_all(fd, t, strlen(t));
    char c;
    struct timeval tv = {.tv_usec = 300000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    double before = loop_cpu_s();
    assert_int_equal(recv(fd, &c, 1, 0), -1); /* nobody accepted it */
    assert_true(loop_cpu_s() - before < 0.1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    close(first);
    tv.tv_sec = RIG_LIMIT_S;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    a = get_answer(fd, false);
    assert_int_equal(a.status, 200);
    free(a.body);
    close(fd);
    rig_stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loading),        cmocka_unit_test(test_load_failed),
        cmocka_unit_test(test_keys),           cmocka_unit_test(test_queue_full),
        cmocka_unit_test(test_last_place),     cmocka_unit_test(test_small_pool),
        cmocka_unit_test(test_engine_failure), cmocka_unit_test(test_failure_ends_the_loop),
        cmocka_unit_test(test_second_signal),  cmocka_unit_test(test_drain_delay),
        cmocka_unit_test(test_drain),          cmocka_unit_test(test_drain_timeout),
        cmocka_unit_test(test_stop_at_once),   cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_slow_client),    cmocka_unit_test(test_pool),
        cmocka_unit_test(test_never_run),      cmocka_unit_test(test_watchdog),
        cmocka_unit_test(test_idle),           cmocka_unit_test(test_no_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
