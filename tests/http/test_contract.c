/* SPDX-License-Identifier: Apache-2.0 */
/* test_contract.c - the HTTP layer, rule by rule: methods, heads, keys, ids, the order of checks,
 * kept connections, health in every state, metrics from zero. Ids are those of the contract. */
#include "rig.h"

#define CT "Content-Type: application/json\r\n"

static const struct {
    const char *path, *allow;
} routes[] = {{"/v1/completions", "POST, OPTIONS"}, {"/v1/chat/completions", "POST, OPTIONS"},
              {"/v1/models", "GET, HEAD, OPTIONS"}, {"/v1/models/tiny", "GET, HEAD, OPTIONS"},
              {"/tokenize", "POST, OPTIONS"},       {"/v1/tokenize", "POST, OPTIONS"},
              {"/detokenize", "POST, OPTIONS"},     {"/v1/detokenize", "POST, OPTIONS"},
              {"/health", "GET, HEAD, OPTIONS"},    {"/v1/health", "GET, HEAD, OPTIONS"},
              {"/healthz", "GET, HEAD, OPTIONS"},   {"/ready", "GET, HEAD, OPTIONS"},
              {"/readyz", "GET, HEAD, OPTIONS"},    {"/live", "GET, HEAD, OPTIONS"},
              {"/livez", "GET, HEAD, OPTIONS"},     {"/ping", "GET, HEAD, POST, OPTIONS"},
              {"/metrics", "GET, HEAD, OPTIONS"},   {"/version", "GET, HEAD, OPTIONS"}};
enum { N_ROUTES_HERE = sizeof routes / sizeof routes[0] };

static struct answer ask(const char *method, const char *path, const char *headers)
{
    char t[1024];
    int n = snprintf(t, sizeof t, "%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n", method, path, headers);
    return raw(&rig, t, (size_t)n);
}

static const char *header(const struct answer *a, const char *name, char *out, size_t cap)
{
    char key[64];
    snprintf(key, sizeof key, "\r\n%s: ", name);
    const char *p = strcasestr(a->head, key);
    if (!p)
        return NULL;
    p += strlen(key);
    snprintf(out, cap, "%.*s", (int)strcspn(p, "\r"), p);
    return out;
}

static void check_error(const struct answer *a, int status, const char *code, const char *what)
{
    char want[100], v[200];
    snprintf(want, sizeof want, "\"code\":\"%s\"}", code);
    if (a->status != status || !has(a, want) || strncmp(a->body, "{\"error\":{\"message\":\"", 21))
        fail_msg("%.200s\nwanted %d %s\ngot %d %s", what, status, want, a->status, a->body);
    assert_true(has(a, "\"type\":\"") && has(a, "\"param\":")); /* all four keys */
    assert_string_equal(header(a, "Content-Type", v, sizeof v), "application/json");
    assert_int_equal(atoi(header(a, "Content-Length", v, sizeof v)), (int)a->n);
    assert_non_null(header(a, "X-Request-Id", v, sizeof v));
    assert_non_null(header(a, "Date", v, sizeof v));
    assert_non_null(header(a, "Server", v, sizeof v));
}

/* Every path and method: 405 with Allow, OPTIONS for all. */
static void test_methods(void **s)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "x"};
    char v[200];
    (void)s;
    for (int i = 0; i < N_ROUTES_HERE; i++)
        for (size_t m = 0; m < sizeof methods / sizeof methods[0]; m++) {
            struct answer a = ask(methods[m], routes[i].path, "Content-Length: 0\r\n");
            bool allowed = strstr(routes[i].allow, methods[m]) != NULL;
            if ((a.status != 405) != allowed)
                fail_msg("%s %s: %d", methods[m], routes[i].path, a.status);
            if (!allowed && strcmp(methods[m], "HEAD") != 0)
                check_error(&a, 405, "method_not_allowed", routes[i].path);
            if (!allowed || strcmp(methods[m], "OPTIONS") == 0)
                assert_string_equal(header(&a, "Allow", v, sizeof v), routes[i].allow);
            assert_null(strcasestr(a.head, "access-control")); /* CORS is off by default */
            free(a.body);
        }
}

/* HEAD: the headers of GET, the body of nobody. */
static void test_head(void **s)
{
    (void)s;
    for (int i = 0; i <= N_ROUTES_HERE; i++) {
        const char *path = i < N_ROUTES_HERE ? routes[i].path : "/nowhere";
        if (i < N_ROUTES_HERE && !strstr(routes[i].allow, "GET"))
            continue;
        char g[64], h[64];
        struct answer a = ask("GET", path, ""), b = ask("HEAD", path, "");
        assert_int_equal(a.status, b.status);
        assert_string_equal(header(&a, "Content-Type", g, sizeof g),
                            header(&b, "Content-Type", h, sizeof h));
        if (strcmp(path, "/metrics") != 0) /* whose numbers have moved on */
            assert_string_equal(header(&a, "Content-Length", g, sizeof g),
                                header(&b, "Content-Length", h, sizeof h));
        assert_int_equal(b.n, 0);
        free(a.body);
        free(b.body);
    }
}

/* A path has one spelling; only what follows a beginning may be encoded. The query is ignored. */
static void test_paths(void **s)
{
    static const struct {
        const char *path;
        int status;
    } t[] = {{"/health", 200},
             {"/health?a=b", 200},
             {"http://x/health", 200},
             {"/health/", 404},
             {"//health", 404},
             {"/%68ealth", 404},
             {"/v1//models", 404},
             {"/health%2f", 404},
             {"/HEALTH", 404},
             {"/./health", 404},
             {"/healthx", 404},
             {"/health;x", 404},
             {"/", 404},
             {"/v1", 404},
             {"/health%00", 400},
             {"/health%2", 400},
             {"/v1/models/%zz", 400},
             {"/v1/models/a%00", 400},
             {"/v1/models/", 404}};
    (void)s;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct answer a = get(&rig, t[i].path);
        if (a.status != t[i].status)
            fail_msg("%s: %d", t[i].path, a.status);
        if (a.status >= 400)
            check_error(&a, a.status, a.status == 404 ? "not_found" : "bad_request", t[i].path);
        free(a.body);
    }
}

static const struct {
    const char *text;
    size_t n;
    int status;
    const char *code;
} bad_heads[] = {
#define HEAD(text, status, code)                                                                   \
    {                                                                                              \
        text, sizeof(text) - 1, status, code                                                       \
    }
    HEAD("GET /health HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n", 400, "bad_request"),
    HEAD("GET /health HTTP/1.1\r\nHost: x\r\n X: a\r\n\r\n", 400, "bad_request"),
    HEAD("GET /health HTTP/1.1\r\nHost : x\r\n\r\n", 400, "bad_request"),
    HEAD("GET /health HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n", 400, "bad_request"),
    HEAD("GET /health HTTP/1.1\r\nHost: x\r\nX: a\x01\r\n\r\n", 400, "bad_request"),
    HEAD("GET /health HTTP/1.1\nHost: x\n\n", 400, "bad_request"),
    HEAD("GET /health HTTP/1.1\r\nHost: x\nX: y\r\n\r\n", 400, "bad_request"),
    HEAD("GET /health HTTP/1.1\r\nHost: x\r\nnocolon\r\n\r\n", 400, "bad_request"),
    HEAD("GET /health HTTP/1.1\r\nHost: x\r\n: v\r\n\r\n", 400, "bad_request"),
    HEAD("GET /health HTTP/1.1\r\n\r\n", 400, "bad_request"),
    HEAD("GET /health HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400, "bad_request"),
    HEAD("GET  /health HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad_request"),
    HEAD("GET /health\r\n\r\n", 400, "bad_request"),
    HEAD("GET /he alth HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad_request"),
    HEAD("\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad_request"),
    HEAD("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "bad_request"),
    HEAD("GET /health HTTP/1.2\r\nHost: x\r\n\r\n", 505, "http_version"),
    HEAD("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "http_version"),
    HEAD("POST /v1/completions HTTP/1.1\r\nHost: x\r\n" CT
         "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
         400, "bad_request"),
    HEAD("POST /v1/completions HTTP/1.1\r\nHost: x\r\n" CT "Content-Length: +2\r\n\r\n{}", 400,
         "bad_request"),
    HEAD("POST /v1/completions HTTP/1.1\r\nHost: x\r\n" CT
         "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         400, "bad_request"),
    HEAD("POST /v1/completions HTTP/1.1\r\nHost: x\r\n" CT
         "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
         400, "bad_request"),
    HEAD("POST /v1/completions HTTP/1.1\r\nHost: x\r\n" CT
         "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
         400, "bad_request"),
    HEAD("POST /v1/completions HTTP/1.0\r\n" CT "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400,
         "bad_request"),
    HEAD("POST /v1/completions HTTP/1.1\r\nHost: x\r\n" CT
         "Content-Length: 9223372036854775808\r\n\r\n",
         413, "body_too_large"),
};

/* What two parties could read differently is refused with an answer, and the connection ends. */
static void test_bad_heads(void **s)
{
    (void)s;
    char v[64];
    for (size_t i = 0; i < sizeof bad_heads / sizeof bad_heads[0]; i++)
        for (int later = 0; later <= 2; later++) { /* first, later, pipelined */
            int fd = dial(&rig);
            if (later) {
                const char *good = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
                put_all(fd, good, strlen(good));
                if (later == 2)
                    put_all(fd, bad_heads[i].text, bad_heads[i].n);
                struct answer a = get_answer(fd, false);
                assert_int_equal(a.status, 200);
                free(a.body);
            }
            if (later != 2)
                put_all(fd, bad_heads[i].text, bad_heads[i].n);
            struct answer a = get_answer(fd, false);
            check_error(&a, bad_heads[i].status, bad_heads[i].code, bad_heads[i].text);
            assert_string_equal(header(&a, "Connection", v, sizeof v), "close");
            free(a.body);
            a = get_answer(fd, false);
            assert_int_equal(a.status, 0); /* nothing was taken for a next request */
            free(a.body);
            close(fd);
        }
}

/* A head in pieces, at every cut, is the same head. */
static void test_head_in_pieces(void **s)
{
    static const char t[] = "GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: piece\r\n\r\n";
    (void)s;
    for (size_t cut = 1; cut < sizeof t - 1; cut++) {
        int fd = dial(&rig);
        put_all(fd, t, cut);
        put_all(fd, t + cut, sizeof t - 1 - cut);
        struct answer a = get_answer(fd, false);
        assert_int_equal(a.status, 200);
        assert_non_null(strstr(a.head, "X-Request-Id: piece\r\n"));
        free(a.body);
        close(fd);
    }
    int fd = dial(&rig); /* byte by byte: more looks than the guard takes at once */
    for (size_t i = 0; i < sizeof t - 1; i++) {
        put_all(fd, t + i, 1);
        sched_yield();
    }
    struct answer a = get_answer(fd, false);
    assert_int_equal(a.status, 200);
    free(a.body);
    close(fd);
}

/* A request id is echoed when it may stand in a header and a log; else one is made. */
static void test_request_id(void **s)
{
    static const struct {
        const char *header;
        const char *want; /* NULL = a new one */
    } t[] = {{"abc-1.2_3:Z", "abc-1.2_3:Z"},
             {"req_mine", "req_mine"},
             {"a b", NULL},
             {"a/b", NULL},
             {"", NULL},
             {"\xc3\xa9", NULL}};
    (void)s;
    char v[200], h[200];
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        snprintf(h, sizeof h, "X-Request-Id: %s\r\n", t[i].header);
        struct answer a = ask("GET", "/health", h);
        assert_non_null(header(&a, "X-Request-Id", v, sizeof v));
        if (t[i].want)
            assert_string_equal(v, t[i].want);
        else
            assert_true(strncmp(v, "req_", 4) == 0 && strlen(v) == 36);
        free(a.body);
    }
    struct answer a = post(&rig, "/v1/completions",
                           "{\"prompt\":\"x\",\"max_tokens\":1,\"request_id\":\"from-body\"}");
    assert_string_equal(header(&a, "X-Request-Id", v, sizeof v), "from-body");
    free(a.body);
    int fd = dial(&rig);
    const char *body = "{\"prompt\":\"x\",\"max_tokens\":1,\"request_id\":\"from-body\"}";
    post_head(h, sizeof h, "/v1/completions", strlen(body), "X-Request-Id: req_head\r\n");
    put_all(fd, h, strlen(h));
    put_all(fd, body, strlen(body));
    a = get_answer(fd, false);
    assert_string_equal(header(&a, "X-Request-Id", v, sizeof v), "req_head");
    free(a.body);
    close(fd);
}

/* A kept connection has no cap on requests, then ends when idle. */
static void test_keep_alive(void **s)
{
    (void)s;
    struct rig *r = &rig;
    int fd = dial(r);
    for (int i = 0; i < 1000; i++) {
        const char *t = "GET /live HTTP/1.1\r\nHost: x\r\n\r\n";
        put_all(fd, t, strlen(t));
        struct answer a = get_answer(fd, false);
        if (a.status != 200)
            fail_msg("request %d: %d", i, a.status);
        free(a.body);
    }
    char c;
    assert_int_equal(recv(fd, &c, 1, 0), 0); /* closed by the server's idle timeout */
    close(fd);
}

/* An early answer drops a small body and keeps the connection; with Expect none is sent. */
static void test_bodies(void **s)
{
    (void)s;
    int fd = dial(&rig);
    for (int i = 0; i < 3; i++) {
        put_post(fd, "/nowhere", "{\"a\":1}");
        struct answer a = get_answer(fd, false);
        check_error(&a, 404, "not_found", "kept after 404");
        free(a.body);
    }
    const char *t = "POST /v1/completions HTTP/1.1\r\nHost: x\r\n" CT
                    "Expect: 100-continue\r\nContent-Length: 29\r\n\r\n";
    put_all(fd, t, strlen(t));
    struct answer a;
    assert_true(read_head(fd, &a));
    assert_int_equal(a.status, 100);
    put_all(fd, "{\"prompt\":\"x\",\"max_tokens\":1}", 29);
    a = get_answer(fd, false);
    assert_int_equal(a.status, 200);
    free(a.body);
    close(fd);
    struct answer b = ask("POST", "/v1/completions", CT); /* no length, no body */
    check_error(&b, 400, "invalid_json", "empty");
    free(b.body);
}

/* Media type, charset, content coding. */
static void test_media(void **s)
{
    static const struct {
        const char *headers;
        int status;
    } t[] = {{"Content-Type: application/json\r\n", 200},
             {"Content-Type: APPLICATION/JSON; Charset=\"UTF-8\"\r\n", 200},
             {"Content-Type: application/vnd.api+json\r\n", 200},
             {"Content-Type: application/json\r\nContent-Encoding: identity\r\n", 200},
             {"Content-Type: application/x-www-form-urlencoded\r\n", 415},
             {"Content-Type: text/plain\r\n", 415},
             {"Content-Type: application/jsonx\r\n", 415},
             {"Content-Type: application/json; charset=latin-1\r\n", 415},
             {"Content-Type: application/json\r\nContent-Encoding: gzip\r\n", 415},
             {"", 415}};
    (void)s;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        char text[300];
        int n = snprintf(text, sizeof text,
                         "POST /v1/completions HTTP/1.1\r\nHost: x\r\n%sContent-Length: 29\r\n\r\n"
                         "{\"prompt\":\"x\",\"max_tokens\":1}",
                         t[i].headers);
        struct answer a = raw(&rig, text, (size_t)n);
        if (a.status != t[i].status)
            fail_msg("%s: %d", t[i].headers, a.status);
        if (a.status == 415)
            check_error(&a, 415, "unsupported_media_type", t[i].headers);
        free(a.body);
    }
}

static int up(void **s)
{
    (void)s;
    rig_defaults(&rig);
    rig.c.http.keepalive_timeout = 1000000;
    rig_start(&rig);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_methods),        cmocka_unit_test(test_head),
        cmocka_unit_test(test_paths),          cmocka_unit_test(test_bad_heads),
        cmocka_unit_test(test_head_in_pieces), cmocka_unit_test(test_request_id),
        cmocka_unit_test(test_bodies),         cmocka_unit_test(test_media),
        cmocka_unit_test(test_keep_alive),
    };
    return cmocka_run_group_tests(tests, up, rig_down);
}
