/* SPDX-License-Identifier: Apache-2.0 */
/* test_hostile.c - requests that are wrong, slow, too big or gone; keys; metrics; draining. */
#include "rig.h"

static int up(void **s)
{
    (void)s;
    rig_defaults(&rig);
    rig.c.http.max_body_bytes = 10 << 20;
    rig_set(&rig, "http.cors.allow_origins", "https://ui.example");
    rig_start(&rig);
    return 0;
}

static void check_error(const struct answer *a, int status, const char *code, const char *param,
                        const char *what)
{
    char want[200];
    snprintf(want, sizeof want,
             param ? "\"param\":\"%s\",\"code\":\"%s\"}}" : "\"param\":%s,\"code\":\"%s\"}}",
             param ? param : "null", code);
    if (a->status != status || !has(a, want) || strncmp(a->body, "{\"error\":{\"message\":\"", 21))
        fail_msg("%s\nwanted %d %s\ngot %d %s", what, status, want, a->status, a->body);
    assert_non_null(strstr(a->head, "X-Request-Id: "));
    assert_non_null(strstr(a->head, "Content-Type: application/json\r\n"));
}

static void bad_field(const char *path, const char *body, int status, const char *code,
                      const char *param)
{
    struct answer a = post(&rig, path, body);
    check_error(&a, status, code, param, body);
    free(a.body);
}

static void test_fields(void **s)
{
    (void)s;
    static const struct {
        const char *field;
        int status;
        const char *code, *param;
    } t[] = {
        {"\"temperature\":2.1", 400, "invalid_value", "temperature"},
        {"\"temperature\":-0.1", 400, "invalid_value", "temperature"},
        {"\"temperature\":\"1\"", 400, "invalid_type", "temperature"},
        {"\"temperature\":1e999", 400, "invalid_value", "temperature"},
        {"\"top_p\":1.5", 400, "invalid_value", "top_p"},
        {"\"top_k\":-2", 400, "invalid_value", "top_k"},
        {"\"top_k\":1.5", 400, "invalid_type", "top_k"},
        {"\"min_p\":true", 400, "invalid_type", "min_p"},
        {"\"n\":0", 400, "invalid_value", "n"},
        {"\"n\":129", 400, "invalid_value", "n"},
        {"\"max_tokens\":0", 400, "invalid_value", "max_tokens"},
        {"\"max_tokens\":-2", 400, "invalid_value", "max_tokens"},
        {"\"max_tokens\":\"5\"", 400, "invalid_type", "max_tokens"},
        {"\"max_tokens\":5000", 400, "context_length_exceeded", "prompt"},
        {"\"min_tokens\":50", 400, "invalid_value", "min_tokens"},
        {"\"seed\":1e30", 400, "invalid_value", "seed"},
        {"\"stop\":5", 400, "invalid_type", "stop"},
        {"\"stop\":[\"a\",\"\"]", 400, "invalid_length", "stop[1]"},
        {"\"stop\":[\"a\",\"b\",\"c\",\"d\",\"e\"]", 400, "invalid_length", "stop"},
        {"\"stop_token_ids\":[1,999]", 400, "invalid_value", "stop_token_ids[1]"},
        {"\"stop_token_ids\":[\"a\"]", 400, "invalid_type", "stop_token_ids[0]"},
        {"\"logprobs\":21", 400, "invalid_value", "logprobs"},
        {"\"logprobs\":true", 400, "invalid_type", "logprobs"},
        {"\"stream\":1", 400, "invalid_type", "stream"},
        {"\"stream_options\":{\"include_usage\":true}", 400, "invalid_combination",
         "stream_options"},
        {"\"stream\":true,\"stream_options\":{\"include_usage\":1}", 400, "invalid_type",
         "stream_options.include_usage"},
        {"\"logit_bias\":{\"a\":3}", 400, "invalid_value", "logit_bias.a"},
        {"\"presence_penalty\":2.5", 400, "invalid_value", "presence_penalty"},
        {"\"presence_penalty\":3", 400, "invalid_value", "presence_penalty"},
        {"\"response_format\":{\"type\":\"json_object\"}", 400, "unsupported_parameter",
         "response_format"},
        {"\"guided_json\":{}", 400, "unsupported_parameter", "guided_json"},
        {"\"use_beam_search\":true", 400, "unsupported_parameter", "use_beam_search"},
        {"\"suffix\":\"x\"", 400, "unsupported_parameter", "suffix"},
        {"\"best_of\":21", 400, "invalid_value", "best_of"},
        {"\"cache_salt\":\"a/b\"", 400, "invalid_value", "cache_salt"},
        {"\"model\":\"nope\"", 404, "model_not_found", "model"},
        {"\"model\":5", 400, "invalid_type", "model"},
    };
    char body[300];
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        snprintf(body, sizeof body, "{\"prompt\":\"x\",%s}", t[i].field);
        bad_field("/v1/completions", body, t[i].status, t[i].code, t[i].param);
    }
    const char *p = "/v1/completions";
    bad_field(p, "{}", 400, "missing_required_parameter", "prompt");
    bad_field(p, "{\"prompt\":null}", 400, "missing_required_parameter", "prompt");
    bad_field(p, "[]", 400, "invalid_type", NULL);
    bad_field(p, "", 400, "invalid_json", NULL);
    bad_field(p, "{\"prompt\":\"\xff\"}", 400, "invalid_json", NULL);
    bad_field(p, "{\"prompt\":\"a\",\"prompt\":\"b\"}", 400, "invalid_json", NULL);
    bad_field(p, "{\"prompt\":[]}", 400, "invalid_length", "prompt");
    bad_field(p, "{\"prompt\":\"\"}", 400, "invalid_length", "prompt");
    bad_field(p, "{\"prompt\":[\"a\",5]}", 400, "invalid_type", "prompt[1]");
    bad_field(p, "{\"prompt\":[5,258]}", 400, "invalid_value", "prompt[1]");
    bad_field(p, "{\"prompt\":[[[1]]]}", 400, "invalid_type", "prompt[0][0]");
    struct answer a = post(&rig, p,
                           "{\"prompt\":\"x\",\"unknown\":1,\"temperature\":0,\"n\":1.0,"
                           "\"repetition_penalty\":1.0,\"logprobs\":null,\"best_of\":1,"
                           "\"max_tokens\":1}");
    assert_int_equal(a.status, 200);
    free(a.body);
}

static void bad_raw(const char *text, int status, const char *code)
{
    struct answer a = raw(&rig, text, strlen(text));
    check_error(&a, status, code, NULL, text);
    free(a.body);
}

#define CT "Content-Type: application/json\r\n"
static void test_heads(void **s)
{
    (void)s;
    bad_raw("GET /nope HTTP/1.1\r\nHost: x\r\n\r\n", 404, "not_found");
    bad_raw("GET /v1/completions HTTP/1.1\r\nHost: x\r\n\r\n", 405, "method_not_allowed");
    bad_raw("DELETE /health HTTP/1.1\r\nHost: x\r\n\r\n", 405, "method_not_allowed");
    bad_raw("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", 415,
            "unsupported_media_type");
    bad_raw("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n"
            "Content-Length: 2\r\n\r\n{}",
            415, "unsupported_media_type");
    bad_raw("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json; "
            "charset=latin-1\r\nContent-Length: 2\r\n\r\n{}",
            415, "unsupported_media_type");
    bad_raw("POST /v1/completions HTTP/1.1\r\nHost: x\r\n" CT
            "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
            415, "unsupported_media_type");
    bad_raw("POST /v1/completions HTTP/1.1\r\nHost: x\r\n" CT "Content-Length: 99999999\r\n\r\n",
            413, "body_too_large");
    bad_raw("POST /v1/completions HTTP/1.1\r\nHost: x\r\n" CT
            "Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n",
            413, "body_too_large");
    bad_raw("POST /v1/completions HTTP/1.1\r\nHost: x\r\n" CT
            "Expect: x\r\nContent-Length: 2\r\n\r\n",
            417, "expectation_failed");
    bad_raw("POST /v1/completions HTTP/1.1\r\nHost: x\r\n" CT
            "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
            400, "bad_request");
    bad_raw("POST /v1/completions HTTP/1.1\r\nHost: x\r\n" CT
            "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400, "bad_request");
    bad_raw("POST /v1/completions HTTP/1.1\r\nHost: x\r\n" CT "Content-Length : 2\r\n\r\n{}", 400,
            "bad_request");
    bad_raw("GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400, "bad_request");
    bad_raw("GET /health%00x HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad_request");
    bad_raw("GET /health HTTP/1.9\r\nHost: x\r\n\r\n", 505, "http_version");
    char *big = calloc(1, 60000);
    strcpy(big, "GET /");
    memset(big + 5, 'a', 9000);
    strcat(big, " HTTP/1.1\r\nHost: x\r\n\r\n");
    bad_raw(big, 414, "uri_too_long");
    memset(big, 0, 60000);
    strcpy(big, "GET /health HTTP/1.1\r\nHost: x\r\nX: ");
    memset(big + strlen(big), 'a', 34000);
    strcat(big, "\r\n\r\n");
    bad_raw(big, 431, "headers_too_large");
    memset(big, 0, 60000);
    strcpy(big, "GET /health HTTP/1.1\r\nHost: x\r\n");
    for (int i = 0; i < 120; i++)
        sprintf(big + strlen(big), "X-%d: y\r\n", i);
    strcat(big, "\r\n");
    bad_raw(big, 431, "headers_too_large");
    free(big);
}

static void test_good_heads(void **s)
{
    (void)s;
    struct answer a = get(&rig, "/health?x=1");
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body, "{\"status\":\"ok\"}");
    free(a.body);
    const char *t = "HEAD /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: my-id.1\r\n\r\n";
    a = raw(&rig, t, strlen(t));
    assert_int_equal(a.status, 200);
    assert_int_equal(a.n, 0);
    assert_non_null(strstr(a.head, "Content-Length: 15\r\n"));
    assert_non_null(strstr(a.head, "X-Request-Id: my-id.1\r\n"));
    free(a.body);
    t = "OPTIONS /v1/completions HTTP/1.1\r\nHost: x\r\nOrigin: https://ui.example\r\n\r\n";
    a = raw(&rig, t, strlen(t));
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.head, "Allow: POST, OPTIONS\r\n"));
    assert_non_null(strstr(a.head, "Access-Control-Allow-Origin: https://ui.example\r\n"));
    free(a.body);
    a = get(&rig, "/v1/models/other%2Fname");
    assert_int_equal(a.status, 200);
    assert_true(has(&a, "\"id\":\"other/name\""));
    free(a.body);
    a = get(&rig, "/v1/models/none");
    assert_int_equal(a.status, 404);
    free(a.body);
    t = "POST /v1/completions HTTP/1.1\r\nHost: x\r\n" CT "Transfer-Encoding: chunked\r\n\r\n"
        "8\r\n{\"prompt\r\n1a\r\n\":\"xyz\",\"max_tokens\":   2}\r\n0\r\n\r\n";
    a = raw(&rig, t, strlen(t));
    assert_int_equal(a.status, 200);
    assert_true(has(&a, "\"text\":\"de\""));
    free(a.body);
}

static void test_pipelined(void **s)
{
    (void)s;
    int fd = dial(&rig);
    put_post(fd, "/v1/completions", "{\"prompt\":\"xyz\",\"max_tokens\":2,\"stream\":true}");
    put_post(fd, "/v1/completions", "{\"prompt\":\"xyz\",\"max_tokens\":3}");
    put_post(fd, "/v1/completions", "{\"prompt\":5}");
    put_post(fd, "/v1/completions", "{\"prompt\":\"xyz\",\"max_tokens\":1}");
    const char *want[] = {"data: [DONE]", "\"text\":\"def\"", "invalid_type", "\"text\":\"d\""};
    for (int i = 0; i < 4; i++) {
        struct answer a = get_answer(fd, false);
        if (!has(&a, want[i]))
            fail_msg("answer %d: %d %s", i, a.status, a.body);
        free(a.body);
    }
    close(fd);
}

static void test_chunked_too_large(void **s)
{
    (void)s;
    int fd = dial(&rig);
    const char *head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\n" CT
                       "Transfer-Encoding: chunked\r\n\r\n";
    static char chunk[65536 + 16];
    put_all(fd, head, strlen(head));
    int n = sprintf(chunk, "10000\r\n");
    memset(chunk + n, ' ', 65536);
    memcpy(chunk + n + 65536, "\r\n", 2);
    for (int i = 0; i < 400; i++)
        if (!put_all(fd, chunk, (size_t)n + 65538))
            break;
    struct answer a = get_answer(fd, false);
    assert_int_equal(a.status, 413);
    free(a.body);
    close(fd);
}

/* Clients that leave in four ways, while no token flows: noticed all the same. */
static void test_gone(void **s)
{
    (void)s;
    for (int way = 0; way < 4; way++) {
        double before = metric(&rig, "quire_http_disconnects_total");
        rig_hold(&rig);
        int fd = dial(&rig);
        put_post(fd, "/v1/completions",
                 way % 2 ? "{\"prompt\":\"x\",\"max_tokens\":2000}"
                         : "{\"prompt\":\"x\",\"max_tokens\":2000,\"stream\":true}");
        assert_true(metric_becomes(&rig, "quire_http_sequences_live", 1));
        if (way == 0) {
            char first[64];
            rig_steps(&rig, 3);
            assert_true(recv(fd, first, sizeof first, 0) > 0);
        }
        if (way < 2) {
            struct linger hard = {1, 0};
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
            close(fd);
        } else {
            shutdown(fd, SHUT_WR);
        }
        assert_true(metric_becomes(&rig, "quire_http_disconnects_total", before + 1));
        rig_go(&rig);
        assert_true(metric_becomes(&rig, "quire_http_sequences_live", 0));
        if (way >= 2)
            close(fd);
    }
    assert_true(metric_becomes(&rig, "vllm:num_requests_running", 0));
}

static void *one_stream(void *arg)
{
    struct answer a = post(&rig, "/v1/completions",
                           "{\"prompt\":\"xyz\",\"max_tokens\":30,\"stream\":true}");
    *(int *)arg = a.status == 200 && has(&a, "data: [DONE]") &&
                  has(&a, "\"finish_reason\":\"length\"");
    free(a.body);
    return NULL;
}

static void test_many_streams(void **s)
{
    (void)s;
    pthread_t t[200];
    int ok[200] = {0};
    for (int i = 0; i < 200; i++)
        assert_int_equal(pthread_create(&t[i], NULL, one_stream, &ok[i]), 0);
    for (int i = 0; i < 200; i++) {
        pthread_join(t[i], NULL);
        assert_true(ok[i]);
    }
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 0));
}

static void test_mutations(void **s)
{
    (void)s;
    static const char good[] = "{\"prompt\":\"xyz\",\"max_tokens\":2,\"stop\":[\"a\"],\"n\":2,"
                               "\"stream\":false,\"seed\":5,\"logprobs\":1}";
    uint64_t x = 99;
    int fd = dial(&rig), answers[600] = {0};
    for (int i = 0; i < 1500; i++) {
        char body[sizeof good];
        memcpy(body, good, sizeof good);
        for (int k = 0; k < 1 + i % 3; k++) {
            x = x * 6364136223846793005u + 1442695040888963407u;
            body[(x >> 33) % (sizeof good - 1)] = (char)(1 + (x >> 50) % 255);
        }
        put_post(fd, "/v1/completions", body);
        struct answer a = get_answer(fd, false);
        if (a.status != 200 && a.status != 400 && a.status != 404)
            fail_msg("%d for %s", a.status, body);
        answers[a.status]++;
        free(a.body);
    }
    close(fd);
    assert_true(answers[200] > 0 && answers[400] > 500);
}

static void test_metrics(void **s)
{
    (void)s;
    struct answer a = get(&rig, "/metrics");
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.head, "text/plain; version=0.0.4; charset=utf-8"));
    char family[128] = "", type[32] = "";
    for (char *p = a.body; *p;) {
        char *end = strchr(p, '\n');
        assert_non_null(end);
        *end = '\0';
        if (strncmp(p, "# TYPE ", 7) == 0) {
            assert_int_equal(sscanf(p, "# TYPE %127s %31s", family, type), 2);
        } else if (*p != '#') {
            size_t n = strcspn(p, "{ ");
            size_t f = strlen(family);
            if (strncmp(p, family, f) != 0 ||
                (n != f && (strcmp(type, "histogram") ||
                            (strncmp(p + f, "_bucket", 7) && strncmp(p + f, "_sum", 4) &&
                             strncmp(p + f, "_count", 6)))))
                fail_msg("sample without TYPE: %s", p);
            char *value = strrchr(p, ' '), *stop;
            assert_non_null(value);
            strtod(value + 1, &stop);
            assert_int_equal(*stop, '\0');
        }
        p = end + 1;
    }
    free(a.body);
    static const char *const names[] = {"vllm:num_requests_running",
                                        "vllm:num_requests_waiting",
                                        "vllm:kv_cache_usage_perc",
                                        "vllm:cache_config_info",
                                        "vllm:prefix_cache_queries_total",
                                        "vllm:prefix_cache_hits_total",
                                        "vllm:num_preemptions_total",
                                        "vllm:prompt_tokens_total",
                                        "vllm:generation_tokens_total",
                                        "vllm:time_to_first_token_seconds_count",
                                        "vllm:inter_token_latency_seconds_sum",
                                        "quire_kv_pages",
                                        "quire_kv_pages_free",
                                        "quire_kv_pages_cached",
                                        "quire_kv_audit_failures_total"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (metric(&rig, names[i]) < 0)
            fail_msg("missing %s", names[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_good_heads),
        cmocka_unit_test(test_pipelined),
        cmocka_unit_test(test_chunked_too_large),
        cmocka_unit_test(test_gone),
        cmocka_unit_test(test_many_streams),
        cmocka_unit_test(test_mutations),
        cmocka_unit_test(test_metrics),
    };
    return cmocka_run_group_tests(tests, up, rig_down);
}
