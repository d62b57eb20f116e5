/* SPDX-License-Identifier: Apache-2.0 */
/* test_metrics.c - the numbers behind the names: what each series counts, under which servers'
 * names it appears, and what stands apart. The format: tests/http/test_hostile.c and the clients of
 * tests/wire. */
#include "rig.h"

#include "api/expo.h"

#define TEXT "/v1/completions"
#define LABELS "{model_name=\"tiny\",engine=\"0\"}"

static void begin(const char *compat)
{
    rig_defaults(&rig);
    rig_set(&rig, "metrics.compat", compat);
    rig_start(&rig);
}

static void ask(const char *body)
{
    struct answer a = post(&rig, TEXT, body);
    assert_int_equal(a.status, 200);
    free(a.body);
}

static void want(const struct answer *a, const char *series, const char *value)
{
    char line[200];
    snprintf(line, sizeof line, "\n%s %s\n", series, value);
    if (!strstr(a->body, line)) {
        const char *p = strstr(a->body, series);
        fail_msg("%s is %.*s, not %s", series, p ? (int)strcspn(p, "\n") : 7, p ? p : "missing",
                 value);
    }
}

/* Two requests, three sequences: a prompt of 40 tokens twice (n = 2, of which the second time 39 at
 * most are cached, in whole pages), then one of 3. */
static void test_counts(void **state)
{
    (void)state;
    begin("vllm,sglang");
    ask("{\"prompt\":\"0123456789012345678901234567890123456789\",\"max_tokens\":5}");
    ask("{\"prompt\":\"0123456789012345678901234567890123456789\",\"max_tokens\":7,\"n\":2}");
    ask("{\"prompt\":\"xyz\",\"max_tokens\":2,\"stream\":true}");
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 0));
    struct answer a = get(&rig, "/metrics");
    want(&a, "vllm:e2e_request_latency_seconds_count" LABELS, "4"); /* sequences */
    want(&a, "vllm:request_max_num_generation_tokens_count" LABELS, "3");
    want(&a, "vllm:request_max_num_generation_tokens_sum" LABELS, "14");
    want(&a, "vllm:request_generation_tokens_sum" LABELS, "21");
    want(&a, "vllm:request_generation_tokens_count" LABELS, "4");
    double computed = metric_in(a.body, "quire_prompt_tokens_computed_total");
    assert_true(metric_in(a.body, "vllm:request_prefill_kv_computed_tokens_sum") == computed);
    assert_true(computed >= 43 && computed < 123);
    assert_true(metric_in(a.body, "sglang:uncached_prompt_tokens_histogram_sum") == computed);
    want(&a, "vllm:request_prefill_kv_computed_tokens_count" LABELS, "4");
    double steps = metric_in(a.body, "quire_steps_prefill_total") +
                   metric_in(a.body, "quire_steps_decode_total");
    assert_true(metric_in(a.body, "vllm:iteration_tokens_total_count") == steps);
    assert_true(metric_in(a.body, "vllm:iteration_tokens_total_sum") >= computed);
    assert_true(metric_in(a.body, "vllm:gpu_cache_usage_perc") ==
                metric_in(a.body, "vllm:kv_cache_usage_perc"));
    want(&a, "sglang:num_running_reqs" LABELS, "0");
    want(&a, "sglang:num_queue_reqs" LABELS, "0");
    want(&a, "sglang:max_total_num_tokens" LABELS, "65536");
    want(&a, "sglang:generation_tokens_total" LABELS, "21");
    want(&a, "sglang:num_requests_total{model_name=\"tiny\",engine=\"0\",is_streaming=\"true\"}",
         "1");
    want(&a, "sglang:num_requests_total{model_name=\"tiny\",engine=\"0\",is_streaming=\"false\"}",
         "2");
    want(&a,
         "sglang:cache_config_info{model_name=\"tiny\",engine=\"0\",page_size=\"16\","
         "num_pages=\"4096\"}",
         "1");
    want(&a, "quire_numeric_errors_total" LABELS, "0");
    want(&a, "quire_fair_preemptions_total" LABELS, "0");
    free(a.body);
    rig_stop(&rig);
}

/* A step of 40 tokens, then four of one. */
static void test_step_tokens(void **state)
{
    (void)state;
    begin("vllm");
    ask("{\"prompt\":\"0123456789012345678901234567890123456789\",\"max_tokens\":5,"
        "\"ignore_eos\":true}");
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 0));
    struct answer a = get(&rig, "/metrics");
    static const char *const le[] = {"1", "8", "16", "32", "64", "16384", "+Inf"};
    static const double least[] = {4, 4, 4, 4, 5, 5, 5};
    for (size_t i = 0; i < sizeof le / sizeof *le; i++) {
        char name[160];
        snprintf(name, sizeof name,
                 "vllm:iteration_tokens_total_bucket{model_name=\"tiny\",engine=\"0\",le=\"%s\"}",
                 le[i]);
        /* steps in flight may run one more for the row that is about to end */
        double v = metric_in(a.body, name);
        if (v < least[i] || v > least[i] + 1)
            fail_msg("%s: %g", le[i], v);
    }
    free(a.body);
    rig_stop(&rig);
}

/* What is not asked for is not written; nothing is written twice. */
static void test_compat(void **state)
{
    static const struct {
        const char *compat;
        bool vllm, sglang;
    } t[] = {{"vllm", true, false},
             {"sglang", false, true},
             {"[vllm, sglang]", true, true},
             {"none", false, false},
             {"", false, false}};
    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        begin(t[i].compat);
        struct answer a = get(&rig, "/metrics");
        assert_true(has(&a, "vllm:") == t[i].vllm);
        assert_true(has(&a, "sglang:") == t[i].sglang);
        assert_true(has(&a, "quire_requests_running"));
        assert_true(has(&a, "\nprocess_resident_memory_bytes "));
        for (const char *p = a.body; (p = strstr(p, "# TYPE ")) != NULL;) {
            p += 7;
            char head[120];
            snprintf(head, sizeof head, "# TYPE %.*s ", (int)strcspn(p, " "), p);
            if (strstr(p, head))
                fail_msg("twice: %s", head);
        }
        free(a.body);
        rig_stop(&rig);
    }
}

/* Probes have a family of their own: a 503 that says "still loading" is no error of the service.
 * Scrapes work in every state. */
static void test_probes(void **state)
{
    (void)state;
    rig_defaults(&rig);
    rig_listen(&rig);
    for (int i = 0; i < 3; i++) {
        struct answer a = get(&rig, i == 2 ? "/live" : "/health");
        assert_int_equal(a.status, i == 2 ? 200 : 503);
        free(a.body);
    }
    struct answer a = get(&rig, "/metrics");
    assert_int_equal(a.status, 200);
    want(&a, "quire_http_probes_total{handler=\"health\",status=\"5xx\"}", "2");
    want(&a, "quire_http_probes_total{handler=\"live\",status=\"2xx\"}", "1");
    for (const char *p = a.body; (p = strstr(p, "\nhttp_requests_total{")) != NULL; p++) {
        if (strncmp(strchr(p + 1, '\n') - 2, " 0", 2) != 0)
            fail_msg("%.100s", p);
        const char *h = strstr(p, "handler=\"");
        assert_true(strncmp(h + 9, "health", 6) != 0 && strncmp(h + 9, "metrics", 7) != 0);
    }
    free(a.body);
    rig_load(&rig);
    assert_true(status_becomes(&rig, "/ready", 200));
    rig_stop(&rig);
}

static void test_process(void **state)
{
    (void)state;
    begin("none");
    struct answer a = get(&rig, "/metrics");
    double rss = metric_in(a.body, "process_resident_memory_bytes");
    double all = metric_in(a.body, "process_virtual_memory_bytes");
    double fds = metric_in(a.body, "process_open_fds");
    double start = metric_in(a.body, "process_start_time_seconds");
    assert_true(rss > 1 << 20 && all >= rss);
    assert_true(fds > 5 && fds <= metric_in(a.body, "process_max_fds"));
    assert_true(start <= (double)clock_unix_s() && start > (double)clock_unix_s() - 600);
    assert_true(metric_in(a.body, "process_cpu_seconds_total") > 0);
    free(a.body);
    int fd[10];
    for (int i = 0; i < 10; i++)
        fd[i] = dial(&rig);
    double more = metric(&rig, "process_open_fds"); /* both ends are of this process */
    assert_true(more >= fds + 18 && more <= fds + 24);
    for (int i = 0; i < 10; i++)
        close(fd[i]);
    rig_stop(&rig);
}

/* Exact text of what has more than one way to be written. */
static void test_format(void **state)
{
    static const char *const le[] = {"0.5", "2"};
    static const int64_t n[] = {1, 2, 3};
    struct buf b = {.soft = true};
    (void)state;
    expo_one(&b, "a_", "b", EXPO_GAUGE, "Help.", "", -5);
    expo_sample(&b, "", "c", "x=\"1\"", 0.1);
    expo_sample(&b, "", "d", "", 9007199254740992.0);
    expo_sample(&b, "", "e", "", 1e300);
    expo_buckets(&b, "", "h", "x=\"1\"", le, 2, n, 7.25);
    expo_buckets(&b, "", "i", "", le, 2, n, 0);
    expo_label(&b, "a\"b\\c\nd");
    buf_add(&b, "", 1);
    assert_string_equal(b.p, "# HELP a_b Help.\n# TYPE a_b gauge\na_b -5\n"
                             "c{x=\"1\"} 0.1\nd 9.00719925474099e+15\ne 1e+300\n"
                             "h_bucket{x=\"1\",le=\"0.5\"} 1\nh_bucket{x=\"1\",le=\"2\"} 3\n"
                             "h_bucket{x=\"1\",le=\"+Inf\"} 6\nh_sum{x=\"1\"} 7.25\n"
                             "h_count{x=\"1\"} 6\n"
                             "i_bucket{le=\"0.5\"} 1\ni_bucket{le=\"2\"} 3\n"
                             "i_bucket{le=\"+Inf\"} 6\ni_sum 0\ni_count 6\n"
                             "\"a\\\"b\\\\c\\nd\"");
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),  cmocka_unit_test(test_step_tokens),
        cmocka_unit_test(test_compat),  cmocka_unit_test(test_probes),
        cmocka_unit_test(test_process), cmocka_unit_test(test_format),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
