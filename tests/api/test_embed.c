/* SPDX-License-Identifier: Apache-2.0 */
/* test_embed.c - embeddings: shape and encodings of the answer, every field, more inputs than the
 * server has places, bounds, and each way in which a request can end. */
#include "rig.h"

#include "api/embed_req.h"

#include <math.h>

#define EMBED "/v1/embeddings"

/* 24 random bits in the place of a mantissa and any exponent: each reads back as the same float. */
static void test_numbers(void **state)
{
    (void)state;
    uint64_t rng = 1;
    static const float some[] = {
        0,     1,     -1,         0.1f,      9.99999999f, 123456792,     1e8f,    1e9f, 1e11f,
        1e12f, 1e-4f, 9.9999e-5f, 1.17e-38f, 1e-45f,      3.4028235e38f, -1e-12f, 0.5f, 100};
    char t[OUT_FLOAT_BYTES + 1];
    for (int i = 0; i < 2000000; i++) {
        float v;
        rng = rng * 6364136223846793005u + 1442695040888963407u;
        uint32_t bits = (uint32_t)(rng >> 32);
        memcpy(&v, &bits, sizeof v);
        if (i % 2) /* as vectors have them */
            v = ldexpf((float)(int32_t)bits, -31 - (int)(rng & 15));
        if (i < (int)(sizeof some / sizeof *some))
            v = some[i];
        if (!isfinite(v))
            continue;
        memset(t, 'x', sizeof t);
        int n = out_float(t, v);
        if (n >= OUT_FLOAT_BYTES)
            fail_msg("%.9g: %d bytes", (double)v, n);
        t[n] = '\0';
        char *end;
        if (strtof(t, &end) != v || *end || !strpbrk(t, ".e") || t[n - 1] == '.' ||
            !strchr("-0123456789", t[0]) || t[0] == '.' || (t[0] == '0' && t[1] != '.'))
            fail_msg("%.9g became %s", (double)v, t);
    }
    out_float(t, 0.25f);
    assert_memory_equal(t, "0.25", 4);
    out_float(t, -0x1p-20f);
    assert_memory_equal(t, "-9.53674316e-7", 14);
}

static void exact(const char *body, const char *want)
{
    struct answer a = post(&rig, EMBED, body);
    if (a.status != 200 || strcmp(a.body, want) != 0)
        fail_msg("%s\ngot %d %s\nwanted %s", body, a.status, a.body, want);
    free(a.body);
}

#define HEAD "{\"object\":\"list\",\"data\":["
#define ITEM(i, v) "{\"object\":\"embedding\",\"index\":" #i ",\"embedding\":" v "}"
#define TAIL(n)                                                                                    \
    "],\"model\":\"tiny\",\"usage\":{\"prompt_tokens\":" #n ",\"total_tokens\":" #n                \
    ",\"prompt_tokens_details\":{\"cached_tokens\":0}}}"

static void test_answers(void **state)
{
    (void)state;
    /* 'd' is 100, so its states are 2, 3, 4, ... */
    exact("{\"input\":\"d\",\"normalize\":false,\"dimensions\":3}",
          HEAD ITEM(0, "[2.0,3.0,4.0]") TAIL(1));
    exact(
        "{\"input\":[\"d\",\"ad\"],\"use_activation\":false,\"dimensions\":2,\"pooling\":\"mean\"}",
        HEAD ITEM(0, "[-2.0,-3.0]") "," ITEM(1, "[-2.0,-3.0]") TAIL(3));
    exact("{\"input\":[100],\"normalize\":false,\"dimensions\":1,\"encoding_format\":\"base64\"}",
          HEAD ITEM(0, "\"AAAAQA==\"") TAIL(1));
    exact("{\"input\":[[100],[1,2,100]],\"normalize\":false,\"dimensions\":3,"
          "\"encoding_format\":\"base64\",\"user\":\"u\",\"endianness\":\"little\"}",
          HEAD ITEM(0, "\"AAAAQAAAQEAAAIBA\"") "," ITEM(1, "\"AAAAQAAAQEAAAIBA\"") TAIL(4));
    /* cut first: 3/5 and 4/5 are of length one */
    exact("{\"input\":[200],\"dimensions\":2}", HEAD ITEM(0, "[0.600000024,0.800000012]") TAIL(1));
    exact("{\"input\":[200],\"dimensions\":1,\"model\":\"tiny\"}", HEAD ITEM(0, "[1.0]") TAIL(1));
    exact("{\"input\":\"zzzd\",\"truncate_prompt_tokens\":1,\"dimensions\":1}",
          HEAD ITEM(0, "[1.0]") TAIL(1));
    struct answer a = post(&rig, "/embeddings", "{\"input\":\"d\"}");
    assert_int_equal(a.status, 200);
    free(a.body);
}

static void expect(const char *body, int status, const char *param, const char *code)
{
    char want[200];
    struct answer a = post(&rig, EMBED, body);
    snprintf(want, sizeof want, "\"param\":\"%s\",\"code\":\"%s\"}}", param, code);
    if (a.status != status || !has(&a, want))
        fail_msg("%.300s\nwanted %d %s\ngot %d %.600s", body, status, want, a.status, a.body);
    free(a.body);
}

static void test_fields(void **state)
{
    static const struct {
        const char *body, *param, *code;
    } bad[] = {
        {"{}", "input", "missing_required_parameter"},
        {"{\"input\":null}", "input", "missing_required_parameter"},
        {"{\"input\":5}", "input", "invalid_type"},
        {"{\"input\":{}}", "input", "invalid_type"},
        {"{\"input\":[]}", "input", "invalid_length"},
        {"{\"input\":\"\"}", "input", "invalid_length"},
        {"{\"input\":[\"a\",\"\"]}", "input[1]", "invalid_length"},
        {"{\"input\":[\"a\",5]}", "input[1]", "invalid_type"},
        {"{\"input\":[\"a\",[5]]}", "input[1]", "invalid_type"},
        {"{\"input\":[[5],\"a\"]}", "input[1]", "invalid_type"},
        {"{\"input\":[[5],[]]}", "input[1]", "invalid_length"},
        {"{\"input\":[null]}", "input[0]", "invalid_type"},
        {"{\"input\":[true]}", "input[0]", "invalid_type"},
        {"{\"input\":[5,\"a\"]}", "input[1]", "invalid_type"},
        {"{\"input\":[5,0.5]}", "input[1]", "invalid_type"},
        {"{\"input\":[5,258]}", "input[1]", "invalid_value"},
        {"{\"input\":[[5],[5,-1]]}", "input[1][1]", "invalid_value"},
        {"{\"input\":\"a\",\"dimensions\":0}", "dimensions", "invalid_value"},
        {"{\"input\":\"a\",\"dimensions\":9}", "dimensions", "invalid_value"},
        {"{\"input\":\"a\",\"dimensions\":1e30}", "dimensions", "invalid_value"},
        {"{\"input\":\"a\",\"dimensions\":1.5}", "dimensions", "invalid_type"},
        {"{\"input\":\"a\",\"dimensions\":\"4\"}", "dimensions", "invalid_type"},
        {"{\"input\":\"a\",\"encoding_format\":\"hex\"}", "encoding_format", "invalid_value"},
        {"{\"input\":\"a\",\"encoding_format\":5}", "encoding_format", "invalid_type"},
        {"{\"input\":\"a\",\"pooling\":\"cls\"}", "pooling", "invalid_value"},
        {"{\"input\":\"a\",\"pooling\":true}", "pooling", "invalid_type"},
        {"{\"input\":\"a\",\"normalize\":1}", "normalize", "invalid_type"},
        {"{\"input\":\"a\",\"add_special_tokens\":\"no\"}", "add_special_tokens", "invalid_type"},
        {"{\"input\":\"a\",\"truncate_prompt_tokens\":0}", "truncate_prompt_tokens",
         "invalid_value"},
        {"{\"input\":\"a\",\"truncate_prompt_tokens\":5000}", "truncate_prompt_tokens",
         "invalid_value"},
        {"{\"input\":\"a\",\"truncation_side\":\"right\"}", "truncation_side",
         "unsupported_parameter"},
        {"{\"input\":\"a\",\"embed_dtype\":\"float16\"}", "embed_dtype", "unsupported_parameter"},
        {"{\"input\":\"a\",\"endianness\":\"big\"}", "endianness", "unsupported_parameter"},
        {"{\"input\":\"a\",\"endianness\":\"odd\"}", "endianness", "invalid_value"},
        {"{\"input\":\"a\",\"messages\":[]}", "messages", "unsupported_parameter"},
        {"{\"input\":\"a\",\"user\":5}", "user", "invalid_type"},
        {"{\"input\":\"a\",\"priority\":-1}", "priority", "invalid_value"},
        {"{\"input\":\"a\",\"cache_salt\":\"\"}", "cache_salt", "invalid_length"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect(bad[i].body, 400, bad[i].param, bad[i].code);
    expect("{\"input\":\"a\",\"model\":\"gpt\"}", 404, "model", "model_not_found");
    exact("{\"input\":\"d\",\"dimensions\":1.0,\"encoding_format\":null,\"pooling\":null,"
          "\"normalize\":null,\"user\":null,\"truncate_prompt_tokens\":null,\"stream\":true,"
          "\"temperature\":99,\"truncation_side\":\"left\",\"embed_dtype\":\"float32\"}",
          HEAD ITEM(0, "[1.0]") TAIL(1)); /* null is absent; unknown fields are ignored */
    struct answer a = post(&rig, EMBED, "[]");
    assert_true(a.status == 400 && has(&a, "must be a JSON object"));
    free(a.body);
}

/* "input": n items, or a text of n bytes, and `more` behind it. */
static char *inputs(int n, const char *item, bool text, const char *more)
{
    size_t one = strlen(item) + 1;
    char *b = malloc((size_t)n * one + strlen(more) + 40), *p = b;
    p += sprintf(p, "{\"input\":%c", text ? '"' : '[');
    for (int i = 0; i < n; i++)
        p += sprintf(p, "%s%s", i && !text ? "," : "", item);
    sprintf(p, "%c%s}", text ? '"' : ']', more);
    return b;
}

static void test_lengths(void **state)
{
    (void)state;
    char *all = inputs(2048, "a", true, ""), *more = inputs(2049, "a", true, "");
    char *cut = inputs(5000, "a", true, ",\"truncate_prompt_tokens\":-1");
    char *many = inputs(2049, "\"a\"", false, "");
    struct answer a = post(&rig, EMBED, all); /* all of the context, for nothing is drawn */
    assert_true(a.status == 200 && has(&a, "\"prompt_tokens\":2048,"));
    free(a.body);
    expect(more, 400, "input", "context_length_exceeded");
    a = post(&rig, EMBED, cut);
    assert_true(a.status == 200 && has(&a, "\"prompt_tokens\":2048,"));
    free(a.body);
    expect(many, 400, "input", "invalid_length");
    char *second = malloc(5000);
    sprintf(second, "{\"input\":[\"a\",\"%2100s\"]}", "a");
    expect(second, 400, "input[1]", "context_length_exceeded");
    free(all);
    free(more);
    free(cut);
    free(many);
    free(second);
}

/* 2,048 inputs on a server with places for 6; their order stays. */
static void test_more_than_places(void **state)
{
    (void)state;
    rig_defaults(&rig);
    rig.c.scheduler.max_seqs = 4;
    rig.c.limits.queue_size = 2;
    rig_start(&rig);
    char *body = malloc(1 << 16), *p = body;
    p += sprintf(p, "{\"normalize\":false,\"dimensions\":1,\"input\":[");
    for (int i = 0; i < 2048; i++)
        p += sprintf(p, "%s[%d,%d]", i ? "," : "", i % 250 + 1, i % 256);
    sprintf(p, "]}");
    body = realloc(body, strlen(body) + 1);
    /* '!' is 33 and no number, so no input ends with it */
    for (char *bad = body; (bad = strstr(bad, ",33]")) != NULL; bad++)
        memcpy(bad, ",34]", 4);
    struct answer a = post(&rig, EMBED, body);
    assert_int_equal(a.status, 200);
    const char *at = a.body;
    for (int i = 0; i < 2048; i++) {
        char want[80];
        int last = i % 256 == 33 ? 34 : i % 256;
        snprintf(want, sizeof want, "\"index\":%d,\"embedding\":[", i);
        assert_non_null(at = strstr(at, want));
        double v = strtod(at + strlen(want), NULL);
        if (fabs(v - (1 + last / 100.0)) > 1e-5)
            fail_msg("input %d: %.9g", i, v);
    }
    free(a.body);
    free(body);
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 0));
    rig_stop(&rig);
}

static void test_cost(void **state)
{
    (void)state;
    rig_defaults(&rig);
    rig_set(&rig, "limits.max_answer_bytes", "64KiB");
    rig_start(&rig);
    char *numbers = inputs(400, "[5]", false, "");
    char *base64 = inputs(400, "[5]", false, ",\"encoding_format\":\"base64\"");
    struct answer a = post(&rig, EMBED, numbers);
    assert_true(a.status == 400 &&
                has(&a, "400 inputs, vectors of 8 floats, up to 192 bytes each") &&
                has(&a, "at most 65536"));
    free(a.body);
    a = post(&rig, EMBED, base64);
    assert_true(a.status == 200 && a.n < 65536);
    free(a.body);
    free(numbers);
    free(base64);
    rig_stop(&rig);
}

/* One input without numbers: the request is told which, and the next is served. */
static void test_numeric(void **state)
{
    (void)state;
    expect("{\"input\":[\"a\",\"b!\",\"c\"]}", 500, "input[1]", "numeric_error");
    exact("{\"input\":\"d\",\"dimensions\":1}", HEAD ITEM(0, "[1.0]") TAIL(1));
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 0));
}

static void test_timeouts_and_queue(void **state)
{
    (void)state;
    rig_defaults(&rig);
    rig.c.scheduler.max_seqs = 1;
    rig.c.limits.queue_size = 1;
    rig_set(&rig, "limits.request_timeout", "1s");
    rig_start(&rig);
    rig_hold(&rig);
    int one = dial(&rig), two = dial(&rig);
    put_post(one, EMBED, "{\"input\":[\"a\",\"b\",\"c\"]}");
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 1));
    put_post(two, EMBED, "{\"input\":\"a\"}");
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 2));
    struct answer a = post(&rig, EMBED, "{\"input\":\"a\"}");
    assert_true(a.status == 429 && has(&a, "queue_full"));
    free(a.body);
    a = get_answer(one, false);
    assert_true(a.status == 504 && has(&a, "deadline_exceeded"));
    free(a.body);
    close(one);
    rig_go(&rig);
    a = get_answer(two, false);
    assert_true(a.status == 200 || a.status == 504);
    free(a.body);
    close(two);
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 0));
    assert_true(metric_becomes(&rig, "quire_requests_running", 0));
    rig_stop(&rig);
}

/* The client leaves while some inputs run, some wait and some are not in the engine yet. */
static void test_gone(void **state)
{
    (void)state;
    rig_defaults(&rig);
    rig.c.scheduler.max_seqs = 2;
    rig.c.limits.queue_size = 2;
    rig_start(&rig);
    for (int i = 0; i < 3; i++) {
        rig_hold(&rig);
        int fd = dial(&rig);
        put_post(fd, EMBED, "{\"input\":[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\"]}");
        assert_true(metric_becomes(&rig, "quire_http_sequences_live", 2));
        if (i > 0)
            rig_steps(&rig, i);
        close(fd);
        assert_true(metric_becomes(&rig, "quire_http_disconnects_total", i + 1));
        rig_go(&rig);
        assert_true(metric_becomes(&rig, "quire_http_sequences_live", 0));
        assert_true(metric_becomes(&rig, "quire_requests_running", 0));
        assert_true(metric_becomes(&rig, "vllm:kv_cache_usage_perc", 0));
    }
    exact("{\"input\":\"d\",\"dimensions\":1}", HEAD ITEM(0, "[1.0]") TAIL(1));
    rig_stop(&rig);
}

/* The device is lost while inputs wait for it. */
static void test_device_lost(void **state)
{
    (void)state;
    rig_defaults(&rig);
    rig.limits.failed_exit_us = -1;
    rig_start(&rig);
    atomic_store(&rig.ex.fail, ST_DEVICE);
    struct answer a = post(&rig, EMBED, "{\"input\":[\"a\",\"b\"]}");
    assert_true(a.status == 503 && has(&a, "engine_unavailable"));
    free(a.body);
    rig_stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test_setup_teardown(test_answers, rig_up, rig_down),
        cmocka_unit_test_setup_teardown(test_fields, rig_up, rig_down),
        cmocka_unit_test_setup_teardown(test_lengths, rig_up, rig_down),
        cmocka_unit_test_setup_teardown(test_numeric, rig_up, rig_down),
        cmocka_unit_test(test_more_than_places),
        cmocka_unit_test(test_cost),
        cmocka_unit_test(test_timeouts_and_queue),
        cmocka_unit_test(test_gone),
        cmocka_unit_test(test_device_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
