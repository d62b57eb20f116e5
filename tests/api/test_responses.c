/* SPDX-License-Identifier: Apache-2.0 */
/* test_responses.c - /v1/responses through real sockets, engine and tokenizer. The rig's template
 * writes "role: content" and a line feed for each message, and the token at position p is the p-th
 * letter.
 */
#include "rig.h"

#define PATH "/v1/responses"
#define HI "\"input\":\"hi\"" /* "user: hi\n", 9 tokens: then j, k, l */

static void expect(const char *body, int status, const char *part)
{
    struct answer a = post(&rig, PATH, body);
    if (a.status != status || !has(&a, part))
        fail_msg("%s\nwanted %d %s\ngot %d %s", body, status, part, a.status, a.body);
    free(a.body);
}

static void refused(const char *members, const char *param, const char *code)
{
    char want[200], body[1300];
    snprintf(body, sizeof body, "{%s}", members);
    snprintf(want, sizeof want, "\"param\":\"%s\",\"code\":\"%s\"}}", param, code);
    expect(body, 400, want);
}

/* The number of prompt tokens. */
static void counts(const char *members, int n)
{
    char body[1000], want[60];
    snprintf(body, sizeof body, "{%s,\"max_output_tokens\":1}", members);
    snprintf(want, sizeof want, "\"usage\":{\"input_tokens\":%d,", n);
    expect(body, 200, want);
}

#define CONSTANT                                                                                   \
    "\"instructions\":null,\"metadata\":{},\"user\":null,\"safety_identifier\":null,"              \
    "\"prompt_cache_key\":null,\"tools\":[],\"tool_choice\":\"auto\","                             \
    "\"parallel_tool_calls\":true,\"max_output_tokens\":2,\"text\":{\"format\":{"                  \
    "\"type\":\"text\"}},\"reasoning\":{\"effort\":null,\"summary\":null},\"temperature\":1,"      \
    "\"top_p\":1,\"top_logprobs\":0,\"truncation\":\"disabled\",\"background\":false,"             \
    "\"store\":false,\"service_tier\":\"default\",\"previous_response_id\":null,"
#define PART "{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":\"jk\"}"
#define CUT                                                                                        \
    "\"status\":\"incomplete\",\"error\":null,\"completed_at\":null,\"incomplete_details\":{"      \
    "\"reason\":\"max_output_tokens\"},\"output\":["
#define USAGE                                                                                      \
    "\"usage\":{\"input_tokens\":9,\"input_tokens_details\":{\"cached_tokens\":0,"                 \
    "\"cache_write_tokens\":0},\"output_tokens\":2,\"output_tokens_details\":{"                    \
    "\"reasoning_tokens\":0},\"total_tokens\":11}"

static void test_plain(void **s)
{
    char want[3000];
    (void)s;
    struct answer a = post(&rig, PATH, "{" HI ",\"max_output_tokens\":2}");
    assert_int_equal(a.status, 200);
    assert_memory_equal(a.body, "{\"id\":\"resp_", 12);
    assert_int_equal(strspn(a.body + 12, "0123456789abcdef"), 32);
    snprintf(want, sizeof want,
             "{\"id\":\"resp_%.32s\",\"object\":\"response\",\"created_at\":%.10s,\"model\":"
             "\"tiny\"," CONSTANT CUT
             "{\"id\":\"msg_%.32s\",\"type\":\"message\",\"role\":\"assistant\","
             "\"status\":\"incomplete\",\"content\":[" PART "]}]," USAGE "}",
             a.body + 12, strstr(a.body, "\"created_at\":") + 13, a.body + 12);
    assert_string_equal(a.body, want);
    free(a.body);
    atomic_store(&rig.ex.eos_at, 12);
    expect("{" HI "}", 200, "\"text\":\"jkl\"}]}],\"usage\"");
    expect("{" HI "}", 200, "\"status\":\"completed\",\"error\":null,\"completed_at\":1");
    expect("{" HI ",\"stream\":true}", 200, "\"type\":\"response.completed\",");
    atomic_store(&rig.ex.eos_at, 0);
    a = post(&rig, "/responses", "{" HI ",\"max_output_tokens\":1}");
    assert_int_equal(a.status, 200);
    free(a.body);
}

/* What was asked is said again. */
static void test_echo(void **s)
{
    (void)s;
    expect(
        "{" HI ",\"max_output_tokens\":1,\"instructions\":\"a\\n\\\"b\",\"metadata\":{\"k\":\"v\","
        "\"l\":\"\\u00e9\"},\"user\":\"u\",\"safety_identifier\":\"s\",\"prompt_cache_key\":\"p\","
        "\"tool_choice\":\"none\",\"parallel_tool_calls\":false,\"max_tool_calls\":3,"
        "\"text\":{\"format\":{\"type\":\"text\"},\"verbosity\":\"low\"},\"store\":true,"
        "\"reasoning\":{\"effort\":\"low\",\"summary\":\"auto\"},\"temperature\":0.5,"
        "\"top_p\":0.25,\"include\":[\"reasoning.encrypted_content\"],\"tools\":[],"
        "\"truncation\":\"disabled\",\"service_tier\":\"auto\",\"previous_response_id\":null}",
        200,
        "\"instructions\":\"a\\n\\\"b\",\"metadata\":{\"k\":\"v\",\"l\":\"\xC3\xA9\"},\"user\":"
        "\"u\","
        "\"safety_identifier\":\"s\",\"prompt_cache_key\":\"p\",\"tools\":[],"
        "\"tool_choice\":\"none\",\"parallel_tool_calls\":false,\"max_tool_calls\":3,"
        "\"max_output_tokens\":1,\"text\":{\"format\":{\"type\":\"text\"},\"verbosity\":\"low\"},"
        "\"reasoning\":{\"effort\":\"low\",\"summary\":null},\"temperature\":0.5,\"top_p\":0.25,");
}

static void test_prompts(void **s)
{
    (void)s;
    counts(HI, 9);
    counts(HI ",\"instructions\":\"ab\"", 11 + 9);
    counts("\"input\":[{\"role\":\"user\",\"content\":\"hi\"}]", 9);
    counts("\"input\":[{\"type\":\"message\",\"role\":\"user\",\"content\":[{\"type\":"
           "\"input_text\",\"text\":\"a\"},{\"type\":\"input_text\",\"text\":\"b\"}]}]",
           10);
    counts(
        "\"input\":[{\"role\":\"developer\",\"content\":\"a\"},{\"role\":\"user\",\"content\":"
        "\"b\"},{\"type\":\"message\",\"id\":\"msg_1\",\"status\":\"completed\",\"role\":"
        "\"assistant\",\"content\":[{\"type\":\"output_text\",\"text\":\"c\",\"annotations\":[]},"
        "{\"type\":\"refusal\",\"refusal\":\"d\"}]}]",
        10 + 8 + 15);
}

static void test_refusals(void **s)
{
    static const char no[] = "unsupported_parameter", value[] = "invalid_value";
    static const char type[] = "invalid_type", length[] = "invalid_length";
    static const char missing[] = "missing_required_parameter";
    static const struct {
        const char *members, *param, *code;
    } t[] = {
        {"", "input", missing},
        {"\"input\":5", "input", type},
        {"\"input\":[]", "input", length},
        {"\"input\":[5]", "input[0]", type},
        {"\"input\":[{\"type\":\"function_call\"}]", "input[0].type", no},
        {"\"input\":[{\"type\":\"item_reference\",\"id\":\"x\"}]", "input[0].type", no},
        {"\"input\":[{\"type\":5}]", "input[0].type", type},
        {"\"input\":[{\"content\":\"x\"}]", "input[0].role", missing},
        {"\"input\":[{\"role\":\"tool\",\"content\":\"x\"}]", "input[0].role", value},
        {"\"input\":[{\"role\":\"user\"}]", "input[0].content", missing},
        {"\"input\":[{\"role\":\"user\",\"content\":[]}]", "input[0].content", length},
        {"\"input\":[{\"role\":\"user\",\"content\":5}]", "input[0].content", type},
        {"\"input\":[{\"role\":\"user\",\"content\":[5]}]", "input[0].content[0]", type},
        {"\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_image\"}]}]",
         "input[0].content[0].type", no},
        {"\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_text\"}]}]",
         "input[0].content[0].text", missing},
        {HI ",\"previous_response_id\":\"resp_1\"", "previous_response_id", no},
        {HI ",\"conversation\":\"c\"", "conversation", no},
        {HI ",\"prompt\":{\"id\":\"p\"}", "prompt", no},
        {HI ",\"background\":true", "background", no},
        {HI ",\"tools\":[{\"type\":\"function\"}]", "tools", no},
        {HI ",\"tool_choice\":\"required\"", "tool_choice", no},
        {HI ",\"top_logprobs\":2", "top_logprobs", no},
        {HI ",\"include\":[\"message.output_text.logprobs\"]", "include[0]", no},
        {HI ",\"include\":[5]", "include[0]", type},
        {HI ",\"truncation\":\"auto\"", "truncation", no},
        {HI ",\"text\":{\"format\":{\"type\":\"json_object\"}}", "text.format", no},
        {HI ",\"text\":{\"format\":{}}", "text.format.type", missing},
        {HI ",\"text\":{\"verbosity\":\"x\"}", "text.verbosity", value},
        {HI ",\"reasoning\":{\"effort\":\"x\"}", "reasoning.effort", value},
        {HI ",\"reasoning\":5", "reasoning", type},
        {HI ",\"metadata\":{\"k\":5}", "metadata.k", type},
        {HI ",\"max_output_tokens\":0", "max_output_tokens", value},
        {HI ",\"max_output_tokens\":2040", "input", "context_length_exceeded"},
        {HI ",\"max_tool_calls\":0", "max_tool_calls", value},
        {HI ",\"stop\":\"x\"", "stop", no},
        {HI ",\"n\":2", "n", no},
        {HI ",\"max_tokens\":2", "max_tokens", no},
        {HI ",\"messages\":[]", "messages", no},
        {HI ",\"echo\":true", "echo", no},
        {HI ",\"instructions\":5", "instructions", type},
        {HI ",\"store\":\"x\"", "store", type},
        {HI ",\"temperature\":3", "temperature", value},
        {HI ",\"stream_options\":{\"include_obfuscation\":true}", "stream_options",
         "invalid_combination"},
    };
    (void)s;
    for (size_t i = 0; i < sizeof t / sizeof *t; i++)
        refused(t[i].members, t[i].param, t[i].code);
    char body[1200], long_text[602] = "";
    memset(long_text, 'a', 513);
    snprintf(body, sizeof body, HI ",\"metadata\":{\"k\":\"%s\"}", long_text);
    refused(body, "metadata.k", length);
    long_text[65] = '\0';
    snprintf(body, sizeof body, HI ",\"metadata\":{\"%s\":\"v\"}", long_text);
    long_text[64] = '\0';
    char param[100];
    snprintf(param, sizeof param, "metadata.%s", long_text);
    refused(body, param, length);
    size_t n = (size_t)sprintf(body, HI ",\"metadata\":{");
    for (int i = 0; i < 17; i++)
        n += (size_t)sprintf(body + n, "%s\"%d\":\"\"", i ? "," : "", i);
    strcpy(body + n, "}");
    refused(body, "metadata", length);
    expect("{" HI ",\"model\":\"nope\"}", 404, "\"code\":\"model_not_found\"}}");
}

/* The events in their order, each type on its line and in its data, numbered from 0. */
static int check_events(const char *body, const char *const *types, int n)
{
    int events = 0, kind = -1;
    for (const char *p = body; *p; events++) {
        char type[64], want[200];
        assert_int_equal(sscanf(p, "event: %60[^\n]\n", type), 1);
        snprintf(want, sizeof want, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%d,",
                 type, type, events);
        assert_memory_equal(p, want, strlen(want));
        if (kind < 0 || strcmp(types[kind], type) != 0)
            kind++;
        assert_true(kind < n);
        assert_string_equal(types[kind], type);
        p = strstr(p, "\n\n");
        assert_non_null(p);
        p += 2;
    }
    assert_int_equal(kind, n - 1);
    return events;
}

static const char *const all[] = {"response.created",           "response.in_progress",
                                  "response.output_item.added", "response.content_part.added",
                                  "response.output_text.delta", "response.output_text.done",
                                  "response.content_part.done", "response.output_item.done",
                                  "response.incomplete"};

static void test_stream(void **s)
{
    char want[4000];
    (void)s;
    struct answer a = post(&rig, PATH, "{" HI ",\"max_output_tokens\":2,\"stream\":true}");
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.head, "Content-Type: text/event-stream; charset=utf-8\r\n"));
    assert_int_equal(check_events(a.body, all, 9), 10);
    assert_null(strstr(a.body, "[DONE]"));
    const char *id = strstr(a.body, "resp_") + 5, *at = strstr(a.body, "\"created_at\":") + 13;
    snprintf(want, sizeof want,
             "\"sequence_number\":1,\"response\":{\"id\":\"resp_%.32s\",\"object\":\"response\","
             "\"created_at\":%.10s,\"model\":\"tiny\"," CONSTANT "\"status\":\"in_progress\","
             "\"completed_at\":null,\"incomplete_details\":null,\"output\":[],\"usage\":null,"
             "\"error\":null}}\n\n",
             id, at);
    assert_true(has(&a, want));
    snprintf(want, sizeof want,
             "\"sequence_number\":5,\"item_id\":\"msg_%.32s\",\"output_index\":0,"
             "\"content_index\":0,\"logprobs\":[],\"delta\":\"k\"}\n\n",
             id);
    assert_true(has(&a, want));
    snprintf(want, sizeof want,
             "\"sequence_number\":6,\"item_id\":\"msg_%.32s\",\"output_index\":0,"
             "\"content_index\":0,\"logprobs\":[],\"text\":\"jk\"}\n\n",
             id);
    assert_true(has(&a, want));
    snprintf(want, sizeof want,
             CUT "{\"id\":\"msg_%.32s\",\"type\":\"message\",\"role\":\"assistant\",\"status\":"
                 "\"incomplete\",\"content\":[" PART "]}]," USAGE "}}\n\n",
             id);
    assert_true(has(&a, want));
    assert_string_equal(strstr(a.body, want) + strlen(want), "");
    free(a.body);
}

/* All texts of the deltas. */
static int deltas(const char *body, char *out)
{
    static const char key[] = "\"delta\":\"";
    int n = 0;
    for (const char *p = body; (p = strstr(p, key)) != NULL; n++)
        for (p += sizeof key - 1; *p != '"'; p++)
            *out++ = *p;
    *out = '\0';
    return n;
}

static void test_unicode(void **s)
{
    static const char script[] = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xFF"; /* 11 tokens */
    static const char want[] = "\xEF\xBF\xBD\xEF\xBF\xBD"
                               "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xEF\xBF\xBD";
    const char *old = rig.ex.script;
    size_t n_old = rig.ex.n_script;
    char text[200];
    (void)s;
    rig.ex.script = script;
    rig.ex.n_script = sizeof script - 1;
    struct answer a = post(&rig, PATH, "{" HI ",\"max_output_tokens\":13,\"stream\":true}");
    check_events(a.body, all, 9);
    deltas(a.body, text);
    assert_string_equal(text, want);
    int whole = 0;
    for (const char *p = a.body; (p = strstr(p, want)) != NULL; p++)
        whole++;
    assert_int_equal(whole, 4); /* text, part, item, response */
    free(a.body);
    rig.ex.script = old;
    rig.ex.n_script = n_old;
}

/* A stream ends with its text four times, so what that may take is bounded as for other answers. */
static void test_cost(void **s)
{
    static char body[9000], text[8001];
    (void)s;
    rig_stop(&rig);
    rig_defaults(&rig);
    rig_set(&rig, "limits.max_answer_bytes", "64KiB");
    rig_start(&rig);
    expect("{" HI ",\"max_output_tokens\":2035}", 200, "\"output_tokens\":2035,");
    refused(HI ",\"max_output_tokens\":2035,\"stream\":true", "max_output_tokens", "invalid_value");
    expect("{" HI ",\"max_output_tokens\":1900,\"stream\":true}", 200, "\"output_tokens\":1900,");
    expect("{" HI ",\"stream\":true}", 200, "\"type\":\"response.incomplete\"");
    memset(text, 'a', 1900); /* said again in each event with a response */
    snprintf(body, sizeof body, "{" HI ",\"instructions\":\"%s\",\"stream\":true}", text);
    expect(body, 200, "\"type\":\"response.incomplete\"");
    rig_stop(&rig);
    rig_defaults(&rig);
    rig_start(&rig);
}

static void test_error_event(void **s)
{
    static const char *const types[] = {"response.created",
                                        "response.in_progress",
                                        "response.output_item.added",
                                        "response.content_part.added",
                                        "response.output_text.delta",
                                        "error",
                                        "response.failed"};
    (void)s;
    rig_stop(&rig);
    rig_defaults(&rig);
    rig.c.limits.request_timeout = 300000;
    rig_hold(&rig);
    rig_start(&rig);
    int fd = dial(&rig);
    put_post(fd, PATH, "{" HI ",\"stream\":true}");
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 1));
    rig_steps(&rig, 1);
    struct answer a = get_answer(fd, false);
    assert_int_equal(a.status, 200);
    check_events(a.body, types, 7);
    assert_true(has(&a, "\"code\":\"deadline_exceeded\",\"message\":\""));
    assert_true(has(&a, "\"status\":\"failed\",") && has(&a, "\"code\":\"server_error\","));
    free(a.body);
    close(fd);
    rig_go(&rig);
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 0));
}

static void test_slow_and_gone(void **s)
{
    static char text[4000];
    (void)s;
    rig_stop(&rig);
    rig_defaults(&rig);
    rig.c.stream.buffer_bytes = 4096;
    rig_hold(&rig);
    rig_start(&rig);
    int fd = socket(AF_INET, SOCK_STREAM, 0), small = 2048;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)rig.port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    put_post(fd, PATH, "{" HI ",\"max_output_tokens\":2000,\"stream\":true}");
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 1));
    rig_go(&rig);
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 0));
    struct answer a = get_answer(fd, false);
    assert_true(check_events(a.body, all, 9) < 2000);
    assert_true(deltas(a.body, text) < 2000);
    assert_int_equal(strlen(text), 2000);
    for (int i = 0; i < 2000; i++)
        assert_int_equal(text[i], rig.ex.script[(9 + i) % 36]);
    int whole = 0;
    for (const char *p = a.body; (p = strstr(p, text)) != NULL; p++)
        whole++;
    assert_int_equal(whole, 4);
    free(a.body);
    close(fd);
    rig_hold(&rig);
    fd = dial(&rig);
    put_post(fd, PATH, "{" HI ",\"stream\":true}");
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 1));
    rig_steps(&rig, 3);
    close(fd);
    assert_true(metric_becomes(&rig, "quire_http_disconnects_total", 1));
    rig_go(&rig);
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),         cmocka_unit_test(test_echo),
        cmocka_unit_test(test_prompts),       cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_stream),        cmocka_unit_test(test_unicode),
        cmocka_unit_test(test_cost),          cmocka_unit_test(test_error_event),
        cmocka_unit_test(test_slow_and_gone),
    };
    return cmocka_run_group_tests(tests, rig_up, rig_down);
}
