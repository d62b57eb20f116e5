/* SPDX-License-Identifier: Apache-2.0 */
/* test_bounds.c - what a client may take of the server: time for a body, bytes of bodies in flight,
 * threads of the pool; and that a refusal is seen by whoever writes first and reads later. */
#include "rig.h"

#include <sys/resource.h>
#include <sys/wait.h>

#define POST_HEAD "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"

static void put(int fd, const char *s)
{
    put_all(fd, s, strlen(s));
}

static void is(int fd, int status, bool closes)
{
    struct answer a = get_answer(fd, false);
    if (a.status != status)
        fail_msg("%d, not %d: %s", a.status, status, a.body);
    assert_int_equal(strstr(a.head, "Connection: close\r\n") != NULL, closes);
    free(a.body);
}

/* A byte now and then keeps no body alive, in none of its parts, first or later. */
static void test_drips(void **s)
{
    (void)s;
    static const char *const begin[] = {
        POST_HEAD "Content-Length: 1000\r\n\r\n{",
        POST_HEAD "Transfer-Encoding: chunked\r\n\r\n",
        POST_HEAD "Transfer-Encoding: chunked\r\n\r\n1;",
        POST_HEAD "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nX: ",
        "GET /health HTTP/1.1\r\nX: ",
    };
    enum { N = sizeof begin / sizeof begin[0] };
    rig_defaults(&rig);
    rig.c.http.body_timeout = rig.c.http.header_timeout = 400000;
    rig_start(&rig);
    int fd[2 * N];
    for (int i = 0; i < 2 * N; i++) {
        fd[i] = dial(&rig);
        if (i >= N) {
            put(fd[i], "GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
            is(fd[i], 200, false);
        }
        put(fd[i], begin[i % N]);
    }
    for (int k = 0; k < 60; k++) { /* 6 s, fifteen times the limit */
        for (int i = 0; i < 2 * N; i++) {
            ssize_t n = send(fd[i], i % N == 1 ? "0" : "a", k < 12 || i % N != 1,
                             MSG_NOSIGNAL | MSG_DONTWAIT);
            (void)n;
        }
        usleep(100000);
    }
    for (int i = 0; i < 2 * N; i++) {
        is(fd[i], 408, true);
        close(fd[i]);
    }
    rig_stop(&rig);
}

/* Bodies in flight have one cap, by the bytes that came; small ones pass beside it. */
static void test_bodies_in_flight(void **s)
{
    (void)s;
    enum { SIZE = 3 << 20, N = 5 };
    char head[300];
    char *part = malloc(SIZE);
    memset(part, ' ', SIZE);
    rig_defaults(&rig);
    rig.c.http.max_body_bytes = 4 << 20;
    rig.c.http.max_bodies_bytes = 10 << 20;
    rig_start(&rig);
    int fd[N];
    snprintf(head, sizeof head, POST_HEAD "Content-Length: %d\r\n\r\n", SIZE);
    for (int i = 0; i < 3; i++) { /* 9 MiB short of three bytes */
        fd[i] = dial(&rig);
        put(fd[i], head);
        put_all(fd[i], part, SIZE - 1);
    }
    for (int i = 0; i < 20; i++) { /* until the last of them was read */
        struct answer a = post(&rig, "/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":1}");
        assert_int_equal(a.status, 200);
        free(a.body);
        usleep(10000);
    }
    fd[3] = dial(&rig); /* refused by its length */
    put(fd[3], head);
    put_all(fd[3], part, SIZE);
    is(fd[3], 503, true);
    fd[4] = dial(&rig); /* in the middle */
    put(fd[4], POST_HEAD "Transfer-Encoding: chunked\r\n\r\n300000\r\n");
    put_all(fd[4], part, SIZE);
    is(fd[4], 503, true);
    for (int i = 0; i < 3; i++) {
        put(fd[i], "x");
        is(fd[i], 400, false);
    }
    put(fd[0], head);
    put_all(fd[0], part, SIZE);
    is(fd[0], 400, false); /* there is room again */
    for (int i = 0; i < N; i++)
        close(fd[i]);
    free(part);
    rig_stop(&rig);
}

/* A client that writes all of a body before it reads: it sees why the body is refused. */
static void test_write_first(void **s)
{
    (void)s;
    enum { SIZE = 40 << 20 };
    char head[300];
    char *body = calloc(1, SIZE);
    rig_defaults(&rig);
    rig.c.http.max_body_bytes = 1 << 20;
    rig_start(&rig);
    for (int chunked = 0; chunked <= 1; chunked++) {
        int fd = dial(&rig);
        snprintf(head, sizeof head,
                 chunked ? POST_HEAD "Transfer-Encoding: chunked\r\n\r\n%x\r\n"
                         : POST_HEAD "Content-Length: %d\r\n\r\n",
                 (unsigned)SIZE);
        put(fd, head);
        assert_true(put_all(fd, body, SIZE));
        is(fd, 413, true);
        close(fd);
    }
    free(body);
    rig_stop(&rig);
}

/* All places are taken. Whoever is silent, or idle between two requests, makes room; nobody makes
 * room when all of them work, and then probes are answered nevertheless. */
static void test_connection_cap(void **s)
{
    (void)s;
    static const char probe[] = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    rig_defaults(&rig);
    rig.c.http.max_connections = 3;
    rig_start(&rig);
    int fd[3];
    for (int i = 0; i < 3; i++)
        fd[i] = dial(&rig); /* silent */
    assert_true(status_becomes(&rig, "/health", 200));
    struct answer a = get_answer(fd[0], false); /* the oldest is told */
    assert_int_equal(a.status, 503);
    assert_non_null(strstr(a.head, "Retry-After: "));
    free(a.body);
    for (int i = 0; i < 3; i++)
        close(fd[i]);
    for (int i = 0; i < 3; i++) {
        fd[i] = dial(&rig);
        put_all(fd[i], probe, sizeof probe - 1);
        a = get_answer(fd[i], false); /* idle from now on */
        assert_int_equal(a.status, 200);
        free(a.body);
    }
    for (int i = 0; i < 10; i++) {
        a = post(&rig, "/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":1}");
        assert_int_equal(a.status, 200);
        free(a.body);
    }
    for (int i = 0; i < 3; i++)
        close(fd[i]);
    rig_hold(&rig);
    for (int i = 0; i < 3; i++) {
        fd[i] = dial(&rig);
        put_post(fd[i], "/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":1}");
        assert_true(metric_becomes(&rig, "quire_http_sequences_live", i + 1));
    }
    for (int i = 0; i < 10; i++) {
        a = get(&rig, i % 2 ? "/live" : "/metrics");
        assert_int_equal(a.status, 200);
        free(a.body);
        a = post(&rig, "/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":1}");
        assert_int_equal(a.status, 503);
        assert_non_null(strstr(a.head, "Connection: close"));
        free(a.body);
    }
    rig_go(&rig);
    for (int i = 0; i < 3; i++) {
        a = get_answer(fd[i], false);
        assert_int_equal(a.status, 200);
        free(a.body);
        close(fd[i]);
    }
    rig_stop(&rig);
}

/* OPTIONS, with a body or without, keeps its connection; what only begins so is another method. */
static void test_options(void **s)
{
    (void)s;
    rig_defaults(&rig);
    rig_start(&rig);
    int fd = dial(&rig);
    for (int i = 0; i < 3; i++) {
        put(fd, "OPTIONS /v1/completions HTTP/1.1\r\nHost: x\r\n\r\n");
        is(fd, 200, false);
        put(fd, "OPTIONS /health HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
        is(fd, 200, false);
        put(fd, "OPTIONSX /health HTTP/1.1\r\nHost: x\r\n\r\n");
        is(fd, 405, false);
    }
    close(fd);
    rig_stop(&rig);
}

/* A small body is done although more large ones than threads came before it. */
static void test_small_job(void **s)
{
    (void)s;
    enum { LARGE = 24, SIZE = 2 << 20 };
    char head[300];
    char *body = malloc(SIZE);
    int fd[LARGE], done = 0;
    rig_defaults(&rig);
    rig_start(&rig);
    int n = sprintf(body, "{\"max_tokens\":1,\"prompt\":\"");
    memset(body + n, 'a', (size_t)(SIZE - n));
    memcpy(body + SIZE - 2, "\"}", 2);
    snprintf(head, sizeof head, POST_HEAD "Content-Length: %d\r\n\r\n", SIZE);
    for (int i = 0; i < LARGE; i++) {
        fd[i] = dial(&rig);
        put(fd[i], head);
        put_all(fd[i], body, SIZE);
    }
    memset(body + 20000, ' ', SIZE - 20000);
    memcpy(body + 20000, "\"}", 3);
    struct answer a = post(&rig, "/v1/completions", body);
    assert_int_equal(a.status, 400); /* the context has 2,048 tokens */
    free(a.body);
    for (int i = 0; i < LARGE; i++) {
        char c;
        done += recv(fd[i], &c, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
    }
    assert_true(done < LARGE);
    for (int i = 0; i < LARGE; i++) {
        is(fd[i], 400, false);
        close(fd[i]);
    }
    free(body);
    rig_stop(&rig);
}

/* With too few descriptors it does not start, and says which limit it is. */
static void test_few_descriptors(void **s)
{
    (void)s;
    struct rlimit old, few;
    struct err e;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    few = (struct rlimit){64, old.rlim_max};
    rig_defaults(&rig);
    if (old.rlim_max > 64) { /* it raises its own limit as far as it may: take that, too */
        pid_t child = fork();
        if (child == 0) {
            few.rlim_max = 64;
            bool good = setrlimit(RLIMIT_NOFILE, &few) == 0 &&
                        api_new(&rig.a, &rig.c, NULL, &e) == ST_IO &&
                        strstr(e.msg, "open files is 64");
            _exit(good ? 0 : 1);
        }
        int status = 1;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
    config_free(&rig.c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_drips),           cmocka_unit_test(test_bodies_in_flight),
        cmocka_unit_test(test_write_first),     cmocka_unit_test(test_connection_cap),
        cmocka_unit_test(test_options),         cmocka_unit_test(test_small_job),
        cmocka_unit_test(test_few_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
