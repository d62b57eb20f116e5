/* SPDX-License-Identifier: Apache-2.0 */
/* test_stream.c - server-sent events byte by byte, usage in streams, deadlines, clients that leave
 * in each state, metrics from zero. Each test has a server of its own. */
#include "rig.h"

#include <errno.h>
#include <poll.h>

#define TEXT "/v1/completions"
#define CHAT "/v1/chat/completions"
#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static void begin(void)
{
    rig_defaults(&rig);
    rig_start(&rig);
}

/* One chunk of the transfer coding = one write of the server; 0 = the last. */
static size_t get_chunk(int fd, char *out, size_t cap)
{
    char line[32];
    size_t n = 0;
    int c;
    while (n < sizeof line - 1 && (c = get_byte(fd)) >= 0 && c != '\n')
        line[n++] = (char)c;
    line[n] = '\0';
    size_t k = strtoul(line, NULL, 16);
    assert_true(k < cap);
    for (size_t i = 0; i < k; i++)
        out[i] = (char)get_byte(fd);
    out[k] = '\0';
    get_byte(fd);
    get_byte(fd);
    return k;
}

/* Framing, order and end of a stream; and while no token exists nothing at all was sent. */
static void test_framing(void **s)
{
    (void)s;
    rig_defaults(&rig);
    rig_hold(&rig);
    rig_start(&rig);
    int fd = dial(&rig);
    put_post(fd, TEXT, "{\"prompt\":\"xyz\",\"max_tokens\":3,\"stream\":true}");
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 1));
    char c, ev[2000], want[2000], id[64];
    assert_int_equal(recv(fd, &c, 1, MSG_DONTWAIT | MSG_PEEK), -1);
    assert_int_equal(errno, EAGAIN);
    struct answer a;
    for (int i = 0; i < 3; i++) {
        rig_steps(&rig, 1);
        if (i == 0) {
            assert_true(read_head(fd, &a));
            assert_int_equal(a.status, 200);
            assert_non_null(strstr(a.head, "Content-Type: text/event-stream; charset=utf-8\r\n"));
            assert_non_null(strstr(a.head, "Cache-Control: no-cache\r\n"));
            assert_non_null(strstr(a.head, "X-Accel-Buffering: no\r\n"));
            assert_non_null(strstr(a.head, "Transfer-Encoding: chunked\r\n"));
            assert_non_null(strstr(a.head, "X-Request-Id: "));
            assert_null(strcasestr(a.head, "content-length"));
            assert_null(strcasestr(a.head, "content-encoding"));
        }
        assert_true(get_chunk(fd, ev, sizeof ev) > 0);
        if (i == 0) {
            assert_int_equal(sscanf(ev, "data: {\"id\":\"%45[^\"]\"", id), 1);
            assert_int_equal(strlen(id), 5 + 32); /* 9.1 */
        }
        long long created = atoll(strstr(ev, "\"created\":") + 10);
        snprintf(want, sizeof want,
                 "data: {\"id\":\"%s\",\"object\":\"text_completion\",\"created\":%lld,"
                 "\"model\":\"tiny\",\"system_fingerprint\":\"fp_000000000000\",\"choices\":[{"
                 "\"index\":0,\"text\":\"%c\",\"logprobs\":null,\"finish_reason\":%s,"
                 "\"stop_reason\":null}]}\n\n%s",
                 id, created, 'd' + i, i == 2 ? "\"length\"" : "null",
                 i == 2 ? "data: [DONE]\n\n" : "");
        assert_string_equal(ev, want); /* one event, one write; the end on the last text */
    }
    assert_int_equal(get_chunk(fd, ev, sizeof ev), 0);
    rig_go(&rig);
    put_post(fd, TEXT, "{\"prompt\":\"x\",\"max_tokens\":1}"); /* still usable */
    a = get_answer(fd, false);
    assert_int_equal(a.status, 200);
    free(a.body);
    close(fd);
    rig_stop(&rig);
}

static int count(const char *text, const char *part)
{
    int n = 0;
    for (const char *p = text; (p = strstr(p, part)) != NULL; p += strlen(part))
        n++;
    return n;
}

/* 8.3: role first and once per choice, an empty delta last and once, choices interleaved. */
static void test_chat_choices(void **s)
{
    (void)s;
    begin();
    struct answer a = post(&rig, CHAT, "{" HI ",\"max_tokens\":4,\"n\":3,\"stream\":true}");
    assert_int_equal(a.status, 200);
    assert_int_equal(count(a.body, "\"delta\":{\"role\":\"assistant\",\"content\":\"\"}"), 3);
    assert_int_equal(count(a.body, "\"delta\":{},\"logprobs\":null,\"finish_reason\":\"length\","
                                   "\"stop_reason\":null"),
                     3);
    assert_int_equal(count(a.body, "\"role\""), 3);
    assert_int_equal(count(a.body, "\"delta\":{\"content\":"), 12);
    assert_int_equal(count(a.body, "\"usage\""), 0); /* nobody asked */
    for (int i = 0; i < 3; i++) {
        char at[80], *first, *last;
        snprintf(at, sizeof at, "{\"index\":%d,", i);
        first = strstr(a.body, at);
        snprintf(at, sizeof at, "{\"index\":%d,\"delta\":{\"role\"", i);
        assert_ptr_equal(first, strstr(a.body, at));
        snprintf(at, sizeof at, "{\"index\":%d,\"delta\":{},", i);
        last = strstr(a.body, at);
        assert_non_null(last);
        snprintf(at, sizeof at, "{\"index\":%d,", i);
        assert_null(strstr(last + 1, at));
    }
    assert_string_equal(a.body + a.n - 16, "\n\ndata: [DONE]\n\n");
    free(a.body);
    rig_stop(&rig);
}

/* Usage in streams: asked for, continuous, forced by the setting. */
static void test_usage(void **s)
{
    (void)s;
    rig_defaults(&rig);
    rig.c.stream.force_usage = true;
    rig_start(&rig);
    struct answer a = post(&rig, TEXT, "{\"prompt\":\"xyz\",\"max_tokens\":2,\"stream\":true}");
    assert_int_equal(count(a.body, "}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":"), 2);
    assert_int_equal(count(a.body, "\"choices\":[],\"usage\":{\"prompt_tokens\":3,"), 1);
    free(a.body);
    a = post(&rig, CHAT, "{" HI ",\"max_tokens\":2,\"stream\":true}");
    assert_int_equal(count(a.body, "\"completion_tokens\":0,"), 1); /* the role */
    free(a.body);
    a = post(&rig, TEXT,
             "{\"prompt\":\"xyz\",\"max_tokens\":3,\"stream\":true,\"stream_options\":"
             "{\"include_usage\":true,\"continuous_usage_stats\":true}}");
    for (int i = 1; i <= 3; i++) {
        char want[100];
        snprintf(want, sizeof want,
                 "}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":%d,\"total_tokens\":%d,",
                 i, 3 + i);
        assert_int_equal(count(a.body, want), 1);
    }
    assert_int_equal(count(a.body, "\"choices\":[],\"usage\":{\"prompt_tokens\":3,"
                                   "\"completion_tokens\":3,\"total_tokens\":6,"),
                     1);
    free(a.body);
    rig_stop(&rig);
    begin();
    a = post(&rig, TEXT,
             "{\"prompt\":\"xyz\",\"max_tokens\":2,\"stream\":true,\"stream_options\":"
             "{\"continuous_usage_stats\":true}}");
    assert_int_equal(count(a.body, "usage"), 0); /* counts only with include_usage */
    free(a.body);
    rig_stop(&rig);
}

/* 10.1: offsets follow tokens, not what a stop string holds back. */
static void test_logprob_stream(void **s)
{
    (void)s;
    begin();
    struct answer a = post(&rig, TEXT,
                           "{\"prompt\":\"x\",\"max_tokens\":4,\"stop\":[\"cdz\"],\"logprobs\":0,"
                           "\"stream\":true}");
    static const char *const want[] = {
        "\"text\":\"b\",\"logprobs\":{\"tokens\":[\"b\"],\"token_logprobs\":[-0.5],"
        "\"top_logprobs\":[{\"b\":-0.5}],\"text_offset\":[0]}",
        "\"text\":\"\",\"logprobs\":{\"tokens\":[\"c\"],\"token_logprobs\":[-0.5],"
        "\"top_logprobs\":[{\"c\":-0.5}],\"text_offset\":[1]}",
        "\"text\":\"\",\"logprobs\":{\"tokens\":[\"d\"],\"token_logprobs\":[-0.5],"
        "\"top_logprobs\":[{\"d\":-0.5}],\"text_offset\":[2]}",
        "\"text\":\"cde\",\"logprobs\":{\"tokens\":[\"e\"],\"token_logprobs\":[-0.5],"
        "\"top_logprobs\":[{\"e\":-0.5}],\"text_offset\":[3]},\"finish_reason\":\"length\""};
    const char *p = a.body;
    for (int i = 0; i < 4; i++) {
        p = strstr(p, want[i]);
        if (!p)
            fail_msg("%s not in order in %s", want[i], a.body);
    }
    free(a.body);
    a = post(&rig, TEXT, "{\"prompt\":\"x\",\"max_tokens\":1,\"logprobs\":20}");
    assert_int_equal(count(strstr(a.body, "top_logprobs"), ":-"), 20); /* the best is the sampled */
    free(a.body);
    for (int k = 0; k <= 20; k += 5) {
        char body[200];
        snprintf(body, sizeof body,
                 "{" HI ",\"max_tokens\":1,\"logprobs\":true,\"top_logprobs\":%d}", k);
        a = post(&rig, CHAT, body);
        assert_int_equal(count(a.body, "\"bytes\":["), 1 + k);
        assert_true(k || has(&a, "\"top_logprobs\":[]}],\"refusal\":null}"));
        free(a.body);
    }
    rig_stop(&rig);
}

/* Only what still waits runs into the queue deadline, however long the other takes. */
static void test_queue_timeout(void **s)
{
    (void)s;
    rig_defaults(&rig);
    rig.c.scheduler.max_seqs = 1;
    rig.c.limits.queue_timeout = 2000000; /* far longer than the engine needs to wake up */
    rig_hold(&rig);
    rig_start(&rig);
    int first = dial(&rig), second = dial(&rig);
    put_post(first, TEXT, "{\"prompt\":\"x\",\"max_tokens\":2000}");
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 1));
    rig_steps(&rig, 1); /* it has its turn */
    assert_true(metric_becomes(&rig, "quire_requests_running", 1));
    put_post(second, TEXT, "{\"prompt\":\"x\",\"max_tokens\":1,\"stream\":true}");
    struct pollfd p = {.fd = second, .events = POLLIN};
    for (int i = 0; i < 1900 && poll(&p, 1, 20) == 0; i++)
        rig_steps(&rig, 1); /* the engine looks at its messages between steps */
    struct answer a = get_answer(second, false);
    assert_int_equal(a.status, 503);
    assert_true(has(&a, "\"type\":\"service_unavailable_error\",\"param\":null,"
                        "\"code\":\"queue_timeout\""));
    assert_non_null(strstr(a.head, "Retry-After: "));
    free(a.body);
    rig_go(&rig);
    a = get_answer(first, false);
    assert_int_equal(a.status, 200);
    assert_true(has(&a, "\"completion_tokens\":2000"));
    free(a.body);
    close(first);
    close(second);
    rig_stop(&rig);
}

static void test_run_timeout(void **s)
{
    (void)s;
    rig_defaults(&rig);
    rig.c.limits.request_timeout = 300000;
    rig_hold(&rig);
    rig_start(&rig);
    int plain = dial(&rig);
    put_post(plain, TEXT, "{\"prompt\":\"x\",\"max_tokens\":2000}");
    struct answer a = get_answer(plain, false);
    assert_int_equal(a.status, 504);
    assert_true(has(&a, "\"type\":\"server_error\",\"param\":null,\"code\":\"deadline_exceeded\""));
    assert_non_null(strstr(a.head, "X-Should-Retry: false\r\n"));
    free(a.body);
    rig_go(&rig);
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 0));
    close(plain);
    rig_stop(&rig);
}

/* Gone while queued, before the first token, between tokens; streaming and not. */
static void test_gone_in_each_state(void **s)
{
    (void)s;
    rig_defaults(&rig);
    rig.c.scheduler.max_seqs = 1;
    rig_hold(&rig);
    rig_start(&rig);
    for (int i = 0; i < 6; i++) {
        bool stream = i % 2, queued = i / 2 == 0, begun = i / 2 == 2;
        double gone = metric(&rig, "quire_http_disconnects_total");
        int other = -1, fd;
        if (queued) {
            other = dial(&rig);
            put_post(other, TEXT, "{\"prompt\":\"x\",\"max_tokens\":20}");
            assert_true(metric_becomes(&rig, "quire_http_sequences_live", 1));
        }
        fd = dial(&rig);
        put_post(fd, TEXT,
                 stream ? "{\"prompt\":\"x\",\"max_tokens\":2000,\"stream\":true}"
                        : "{\"prompt\":\"x\",\"max_tokens\":2000}");
        assert_true(metric_becomes(&rig, "quire_http_sequences_live", queued ? 2 : 1));
        if (begun)
            rig_steps(&rig, 3);
        close(fd);
        assert_true(metric_becomes(&rig, "quire_http_disconnects_total", gone + 1));
        rig_go(&rig);
        if (queued) {
            struct answer a = get_answer(other, false);
            assert_int_equal(a.status, 200);
            free(a.body);
            close(other);
        }
        assert_true(metric_becomes(&rig, "quire_http_sequences_live", 0));
        assert_true(metric_becomes(&rig, "quire_requests_running", 0));
        assert_true(metric_becomes(&rig, "quire_requests_waiting", 0));
        assert_true(metric_becomes(&rig, "vllm:kv_cache_usage_perc", 0));
        rig_hold(&rig);
    }
    struct answer a = get(&rig, "/metrics");
    assert_true(has(&a, "vllm:request_success_total{model_name=\"tiny\",engine=\"0\","
                        "finished_reason=\"abort\"} 6\n"));
    free(a.body);
    rig_stop(&rig);
}

/* Request headers that leave less room than one event needs. */
static void test_large_headers(void **s)
{
    (void)s;
    begin();
    static char head[40000];
    const char *body = "{\"prompt\":\"x\",\"max_tokens\":20,\"logprobs\":20,\"stream\":true}";
    static const int sizes[] = {8000, 16000, 24000, 31000, 32500};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t n = (size_t)snprintf(head, sizeof head,
                                    "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: "
                                    "application/json\r\nContent-Length: %zu\r\nX: ",
                                    strlen(body));
        memset(head + n, 'a', (size_t)sizes[i]);
        strcpy(head + n + sizes[i], "\r\n\r\n");
        int fd = dial(&rig);
        put_all(fd, head, strlen(head));
        put_all(fd, body, strlen(body));
        struct answer a = get_answer(fd, false);
        assert_int_equal(a.status, 200);
        assert_int_equal(count(a.body, "\"text\":"), 20);
        assert_string_equal(a.body + a.n - 16, "\n\ndata: [DONE]\n\n");
        free(a.body);
        close(fd);
    }
    rig_stop(&rig);
}

static const char *series(const struct answer *a, const char *name)
{
    const char *p = strstr(a->body, name);
    return p ? p + strlen(name) : "";
}

static void test_counters(void **s)
{
    (void)s;
    begin();
    struct answer a = get(&rig, "/metrics");
    int counters = 0;
    for (char *p = a.body; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
        size_t n = strcspn(p, "{ ");
        bool counter = (n > 6 && strncmp(p + n - 6, "_total", 6) == 0) ||
                       (n > 7 && strncmp(p + n - 7, "_bucket", 7) == 0) ||
                       (n > 6 && strncmp(p + n - 6, "_count", 6) == 0) ||
                       (n > 4 && strncmp(p + n - 4, "_sum", 4) == 0);
        if (*p == '#' || !counter || strncmp(p, "process_", 8) == 0)
            continue;
        char *line = p, *end = strchr(p, '\n'), *v = end;
        while (v[-1] != ' ')
            v--;
        if (strncmp(v, "0\n", 2) != 0)
            fail_msg("not 0 at the start: %.*s", (int)(end - line), line);
        counters++;
    }
    assert_true(counters > 300);
    free(a.body);
    a = post(&rig, TEXT, "{\"prompt\":\"xyz\",\"max_tokens\":5,\"n\":2}");
    free(a.body);
    a = post(&rig, TEXT, "{\"prompt\":5}");
    free(a.body);
    a = get(&rig, "/nowhere");
    free(a.body);
    a = raw(&rig, "garbage\r\n\r\n", 11);
    free(a.body);
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 0));
    a = get(&rig, "/metrics");
    static const struct {
        const char *name, *value;
    } t[] = {
        {"http_requests_total{method=\"POST\",handler=\"completions\",status=\"2xx\"}", " 1\n"},
        {"http_requests_total{method=\"POST\",handler=\"completions\",status=\"4xx\"}", " 1\n"},
        {"http_requests_total{method=\"POST\",handler=\"completions\",status=\"5xx\"}", " 0\n"},
        {"http_requests_total{method=\"GET\",handler=\"none\",status=\"4xx\"}", " 1\n"},
        {"http_requests_total{method=\"other\",handler=\"none\",status=\"4xx\"}", " 1\n"},
        {"vllm:generation_tokens_total{model_name=\"tiny\",engine=\"0\"}", " 10\n"},
        {"vllm:prompt_tokens_total{model_name=\"tiny\",engine=\"0\"}", " 6\n"},
        {"vllm:request_params_n_count{model_name=\"tiny\",engine=\"0\"}", " 1\n"},
        {"vllm:request_params_n_sum{model_name=\"tiny\",engine=\"0\"}", " 2\n"},
        {"vllm:time_to_first_token_seconds_count{model_name=\"tiny\",engine=\"0\"}", " 2\n"},
        {"vllm:inter_token_latency_seconds_count{model_name=\"tiny\",engine=\"0\"}", " 8\n"},
        {"vllm:request_success_total{model_name=\"tiny\",engine=\"0\",finished_reason=\"length\"}",
         " 2\n"},
        {"vllm:cache_config_info{model_name=\"tiny\",engine=\"0\",block_size=\"16\","
         "num_gpu_blocks=\"4096\",",
         "cache_dtype"},
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++)
        if (strncmp(series(&a, t[i].name), t[i].value, strlen(t[i].value)) != 0)
            fail_msg("%s is %.12s, not %s", t[i].name, series(&a, t[i].name), t[i].value);
    free(a.body);
    rig_stop(&rig);
}

/* A client that reads nothing until all is generated gets fewer events and everything that
 * was in them: text, log probabilities, finish reasons, usage, [DONE]. */
static void test_merged(void **s)
{
    (void)s;
    enum { TOKENS = 2000, N = 2 };
    rig_defaults(&rig);
    rig.c.stream.buffer_bytes = 4096;
    rig_start(&rig);
    int fd = socket(AF_INET, SOCK_STREAM, 0), small = 2048;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)rig.port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    put_post(fd, TEXT,
             "{\"prompt\":\"x\",\"max_tokens\":2000,\"n\":2,\"stream\":true,\"logprobs\":20,"
             "\"stream_options\":{\"include_usage\":true}}");
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", N));
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 0));
    struct answer a = get_answer(fd, false);
    assert_int_equal(a.status, 200);
    int events = 0, letters = 0, probs = 0;
    for (char *p = a.body; (p = strstr(p, "data: {")) != NULL; p++)
        events++;
    for (char *p = a.body; (p = strstr(p, "\"text\":\"")) != NULL;)
        for (p += 8; *p != '"'; p++)
            letters++;
    for (char *p = a.body; (p = strstr(p, "\"token_logprobs\":[")) != NULL;)
        for (p += 18, probs++; *p != ']'; p++)
            probs += *p == ',';
    assert_true(events < N * TOKENS);
    assert_int_equal(letters, N * TOKENS);
    assert_int_equal(probs, N * TOKENS);
    assert_int_equal(count(a.body, "\"finish_reason\":\"length\""), N);
    assert_int_equal(count(a.body, "\"completion_tokens\":4000"), 1);
    assert_string_equal(a.body + a.n - 16, "\n\ndata: [DONE]\n\n");
    assert_true(metric(&rig, "quire_http_slow_readers_total") == 0);
    free(a.body);
    close(fd);
    rig_stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_framing),
        cmocka_unit_test(test_chat_choices),
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_logprob_stream),
        cmocka_unit_test(test_queue_timeout),
        cmocka_unit_test(test_run_timeout),
        cmocka_unit_test(test_gone_in_each_state),
        cmocka_unit_test(test_large_headers),
        cmocka_unit_test(test_counters),
        cmocka_unit_test(test_merged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
