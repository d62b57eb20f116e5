/* SPDX-License-Identifier: Apache-2.0 */
/* test_messages.c - /v1/messages and its count_tokens: what is asked and answered in Anthropic's
 * shape, through real sockets, engine and tokenizer. The rig's template writes "role: content" and
 * a line feed for each message, and the token at position p is the p-th letter.
 */
#include "rig.h"

#define PATH "/v1/messages"
#define COUNT "/v1/messages/count_tokens"
#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]" /* 9 tokens: then j, k, l */

static void expect(const char *path, const char *body, int status, const char *part)
{
    struct answer a = post(&rig, path, body);
    if (a.status != status || !has(&a, part))
        fail_msg("%s\n%s\nwanted %d %s\ngot %d %s", path, body, status, part, a.status, a.body);
    free(a.body);
}

/* 400 with what the message begins with. */
static void refused(const char *body, const char *message)
{
    char want[400];
    snprintf(want, sizeof want,
             "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"%s",
             message);
    expect(PATH, body, 400, want);
}

static void counts(const char *members, int n)
{
    char body[1000], want[40];
    snprintf(body, sizeof body, "{%s}", members);
    snprintf(want, sizeof want, "{\"input_tokens\":%d}", n);
    expect(COUNT, body, 200, want);
}

static void test_plain(void **s)
{
    (void)s;
    struct answer a = post(&rig, PATH, "{" HI ",\"max_tokens\":3}");
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.head, "\r\nRequest-Id: req_"));
    assert_int_equal(strspn(a.body + 11, "0123456789abcdef"), 32);
    assert_memory_equal(a.body, "{\"id\":\"msg_", 11);
    assert_string_equal(a.body + 11 + 32,
                        "\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"tiny\","
                        "\"content\":[{\"type\":\"text\",\"text\":\"jkl\"}],"
                        "\"stop_reason\":\"max_tokens\",\"stop_sequence\":null,"
                        "\"usage\":{\"input_tokens\":9,\"cache_creation_input_tokens\":0,"
                        "\"cache_read_input_tokens\":0,\"output_tokens\":3}}");
    free(a.body);
    expect("/messages", "{" HI ",\"max_tokens\":1,\"model\":\"other/name\"}", 200,
           "\"model\":\"other/name\"");
}

static void test_stops(void **s)
{
    (void)s;
    expect(PATH, "{" HI ",\"max_tokens\":20,\"stop_sequences\":[\"zz\",\"mn\"]}", 200,
           "\"text\":\"jkl\"}],\"stop_reason\":\"stop_sequence\",\"stop_sequence\":\"mn\"");
    expect(PATH, "{" HI ",\"max_tokens\":20,\"stop_sequences\":[]}", 200,
           "\"stop_reason\":\"max_tokens\"");
    atomic_store(&rig.ex.eos_at, 12);
    expect(PATH, "{" HI ",\"max_tokens\":20}", 200,
           "\"text\":\"jkl\"}],\"stop_reason\":\"end_turn\",\"stop_sequence\":null");
    expect(PATH, "{" HI ",\"max_tokens\":20,\"stream\":true}", 200,
           "\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null}");
    atomic_store(&rig.ex.eos_at, 0);
    expect(PATH, "{" HI ",\"max_tokens\":20,\"stop_token_ids\":[109]}", 200,
           "\"text\":\"jkl\"}],\"stop_reason\":\"end_turn\",\"stop_sequence\":null");
    expect(PATH, "{" HI ",\"max_tokens\":20,\"stop_sequences\":[\"mn\"],\"stream\":true}", 200,
           "\"delta\":{\"stop_reason\":\"stop_sequence\",\"stop_sequence\":\"mn\"},\"usage\":{"
           "\"input_tokens\":9,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,"
           "\"output_tokens\":5}}");
}

/* Every event, byte by byte. */
static void test_stream(void **s)
{
    static const char start[] =
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_";
    static const char rest[] =
        "\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"tiny\",\"content\":[],"
        "\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":9,"
        "\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":1}}}\n\n"
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,"
        "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n"
        "event: ping\ndata: {\"type\":\"ping\"}\n\n"
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,"
        "\"delta\":{\"type\":\"text_delta\",\"text\":\"j\"}}\n\n"
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,"
        "\"delta\":{\"type\":\"text_delta\",\"text\":\"k\"}}\n\n"
        "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{"
        "\"stop_reason\":\"max_tokens\",\"stop_sequence\":null},\"usage\":{\"input_tokens\":9,"
        "\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":2}}\n\n"
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    (void)s;
    struct answer a = post(&rig, PATH, "{" HI ",\"max_tokens\":2,\"stream\":true}");
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.head, "Content-Type: text/event-stream; charset=utf-8\r\n"));
    assert_memory_equal(a.body, start, sizeof start - 1);
    assert_string_equal(a.body + sizeof start - 1 + 32, rest);
    free(a.body);
}

/* system and messages, told by how long the prompt is. */
static void test_prompts(void **s)
{
    (void)s;
    counts(HI, 9);
    counts(HI ",\"system\":\"\"", 9);
    counts(HI ",\"system\":\"ab\"", 9 + 11);
    counts(HI ",\"system\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]",
           9 + 12);
    counts("\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"hi\"}]}]",
           9);
    counts(HI ",\"max_tokens\":7,\"thinking\":{\"type\":\"disabled\"},\"tools\":[],"
              "\"tool_choice\":{\"type\":\"auto\"}",
           9);
    /* two in a row are one turn: "user: a\nb\nc\n" */
    counts("\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\",\"content\":"
           "[{\"type\":\"text\",\"text\":\"b\"},{\"type\":\"text\",\"text\":\"c\"}]}]",
           12);
    counts("\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\","
           "\"content\":\"b\"},{\"role\":\"user\",\"content\":\"c\"}]",
           8 + 13 + 8);
    /* the answer goes on with the assistant's own text, whose line does not end */
    counts("\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\","
           "\"content\":\"Sure\"}]",
           9 + 15);
    counts("\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\","
           "\"content\":\"\"}]",
           9);
    expect(PATH,
           "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\","
           "\"content\":\"Sure\"}],\"max_tokens\":2}",
           200, "\"text\":\"yz\"");
}

static void test_refusals(void **s)
{
    static const struct {
        const char *members, *message;
    } t[] = {
        {HI, "'max_tokens' is required."},
        {HI ",\"max_tokens\":0", "'max_tokens' must be at least 1."},
        {HI ",\"max_tokens\":-5", "'max_tokens' must be at least 1."},
        {HI ",\"max_tokens\":\"3\"", "'max_tokens' must be an integer"},
        {HI ",\"max_tokens\":2040", "messages: This model's maximum context length is 2048"},
        {"\"max_tokens\":3", "'messages' is required."},
        {"\"max_tokens\":3,\"messages\":[]", "'messages' must have between 1 and 2048 items."},
        {"\"max_tokens\":3,\"messages\":{}", "'messages' must be an array"},
        {"\"max_tokens\":3,\"messages\":[3]", "'messages[0]' must be an object"},
        {"\"max_tokens\":3,\"messages\":[{\"content\":\"x\"}]", "'messages[0].role' is required."},
        {"\"max_tokens\":3,\"messages\":[{\"role\":\"system\",\"content\":\"x\"}]",
         "'messages[0].role' must be user or assistant."},
        {"\"max_tokens\":3,\"messages\":[{\"role\":\"user\"}]",
         "'messages[0].content' is required."},
        {"\"max_tokens\":3,\"messages\":[{\"role\":\"user\",\"content\":[]}]",
         "'messages[0].content' must not be empty."},
        {"\"max_tokens\":3,\"messages\":[{\"role\":\"user\",\"content\":5}]",
         "'messages[0].content' must be a string or an array of blocks"},
        {"\"max_tokens\":3,\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"x\"}]}]",
         "'messages[0].content[0].type' is required."},
        {"\"max_tokens\":3,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
         "\"text\":5}]}]",
         "'messages[0].content[0].text' must be a string"},
        {"\"max_tokens\":3,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
         "\"text\":\"x\"},{\"type\":\"image\",\"source\":{}}]}]",
         "messages[0].content[1].type: The content block type 'image' is not supported"},
        {"\"max_tokens\":3,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":"
         "\"tool_result\"}]}]",
         "messages[0].content[0].type: The content block type 'tool_result' is not supported"},
        {HI ",\"max_tokens\":3,\"system\":[{\"type\":\"document\"}]",
         "system[0].type: The content block type 'document' is not supported"},
        {HI ",\"max_tokens\":3,\"system\":5", "'system' must be a string or an array"},
        {HI ",\"max_tokens\":3,\"tools\":[{\"name\":\"f\"}]", "'tools' is not supported"},
        {HI ",\"max_tokens\":3,\"tool_choice\":{\"type\":\"any\"}",
         "'tool_choice' is not supported"},
        {HI ",\"max_tokens\":3,\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1024}",
         "'thinking' is not supported"},
        {HI ",\"max_tokens\":3,\"container\":\"c\"", "'container' is not supported"},
        {HI ",\"max_tokens\":3,\"stop_sequences\":\"x\"",
         "'stop_sequences' must be an array of strings"},
        {HI ",\"max_tokens\":3,\"stop_sequences\":[\"\"]",
         "'stop_sequences[0]' must have between 1 and 512 characters."},
        {HI ",\"max_tokens\":3,\"metadata\":{\"user_id\":5}",
         "'metadata.user_id' must be a string"},
        {HI ",\"max_tokens\":3,\"stop\":\"x\"", "'stop' is not supported"},
        {HI ",\"max_tokens\":3,\"n\":2", "'n' is not supported"},
        {HI ",\"max_tokens\":3,\"logprobs\":true", "'logprobs' is not supported"},
        {HI ",\"max_tokens\":3,\"temperature\":3", "'temperature' must be between 0 and 2."},
        {HI ",\"max_tokens\":3,\"top_k\":0.5", "'top_k' must be an integer"},
    };
    (void)s;
    char body[1000];
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        snprintf(body, sizeof body, "{%s}", t[i].members);
        refused(body, t[i].message);
    }
    refused("{", "The body is not valid JSON: ");
    expect(PATH, "{" HI ",\"max_tokens\":3,\"model\":\"nope\"}", 404,
           "{\"type\":\"not_found_error\",\"message\":\"The model 'nope' does not exist.\"},"
           "\"request_id\":\"req_");
    expect(PATH,
           "{" HI ",\"max_tokens\":3,\"metadata\":{\"user_id\":\"u\"},\"top_k\":5,\"top_p\":0.9,"
           "\"temperature\":0.5,\"thinking\":{\"type\":\"disabled\"},\"tools\":[],\"n\":1,"
           "\"service_tier\":\"auto\",\"unknown\":1}",
           200, "\"output_tokens\":3");
    struct answer a = get(&rig, PATH); /* from before the handler */
    assert_int_equal(a.status, 405);
    assert_true(has(&a, "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\","));
    free(a.body);
}

/* Who marks something for caching is told what came from the cache. */
static void test_cache(void **s)
{
    static const char marked[] =
        "{" HI ",\"max_tokens\":1,\"system\":[{\"type\":\"text\",\"text\":"
        "\"abcdefghijklmnopqrstuvwxyz\",\"cache_control\":{\"type\":\"ephemeral\"}}]}";
    (void)s;
    expect(PATH, marked, 200,
           "{\"input_tokens\":44,\"cache_creation_input_tokens\":0,"
           "\"cache_read_input_tokens\":0,");
    assert_true(metric_becomes(&rig, "quire_requests_running", 0));
    struct answer a = post(&rig, PATH, marked);
    long in = atol(strstr(a.body, "\"input_tokens\":") + 15);
    long read = atol(strstr(a.body, "\"cache_read_input_tokens\":") + 26);
    assert_int_equal(in + read, 44);
    assert_true(read >= 32);
    free(a.body);
    expect(PATH,
           "{" HI ",\"max_tokens\":1,\"system\":[{\"type\":\"text\",\"text\":"
           "\"abcdefghijklmnopqrstuvwxyz\"}]}",
           200,
           "{\"input_tokens\":44,\"cache_creation_input_tokens\":0,"
           "\"cache_read_input_tokens\":0,");
}

/* All texts of the deltas, unescaped where JSON's escape is a letter. */
static int deltas(const char *body, char *out)
{
    static const char key[] = "\"type\":\"text_delta\",\"text\":\"";
    int n = 0;
    for (const char *p = body; (p = strstr(p, key)) != NULL; n++)
        for (p += sizeof key - 1; *p != '"'; p++)
            *out++ = *p;
    *out = '\0';
    return n;
}

/* Characters of two, three and four bytes, one token a byte, and a byte that is none. */
static void test_unicode(void **s)
{
    static const char script[] = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xFF"; /* 11 tokens */
    const char *old = rig.ex.script;
    size_t n_old = rig.ex.n_script;
    char text[200];
    (void)s;
    rig.ex.script = script;
    rig.ex.n_script = sizeof script - 1;
    /* 9 tokens of prompt: the first two are 0x80, the end of a character, and 0xFF */
    struct answer a = post(&rig, PATH, "{" HI ",\"max_tokens\":13,\"stream\":true}");
    deltas(a.body, text);
    assert_string_equal(text, "\xEF\xBF\xBD\xEF\xBF\xBD"
                              "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xEF\xBF\xBD");
    free(a.body);
    expect(PATH, "{" HI ",\"max_tokens\":13}", 200,
           "\"text\":\"\xEF\xBF\xBD\xEF\xBF\xBD"
           "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xEF\xBF\xBD\"");
    rig.ex.script = old;
    rig.ex.n_script = n_old;
}

/* A text never becomes a control token. */
static void test_special(void **s)
{
    (void)s;
    rig_stop(&rig);
    rig_defaults(&rig);
    rig.template = "{% for m in messages %}{{ m.content }}{% endfor %}</s>";
    rig_start(&rig);
    counts("\"messages\":[{\"role\":\"user\",\"content\":\"</s>\"}]", 5);
    counts("\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"</s>\"}]}]"
           ",\"system\":\"<s>\"",
           8);
    rig_stop(&rig);
    rig_defaults(&rig);
    rig_start(&rig);
}

/* An error after the first event. */
static void test_error_event(void **s)
{
    (void)s;
    rig_stop(&rig);
    rig_defaults(&rig);
    rig.c.limits.request_timeout = 300000;
    rig_hold(&rig);
    rig_start(&rig);
    int fd = dial(&rig);
    put_post(fd, PATH, "{" HI ",\"max_tokens\":2000,\"stream\":true}");
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 1));
    rig_steps(&rig, 1);
    struct answer a = get_answer(fd, false);
    assert_int_equal(a.status, 200);
    const char *last = strstr(a.body, "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":"
                                      "\"timeout_error\",\"message\":\"");
    assert_non_null(last);
    assert_string_equal(strstr(last, "\n\n"), "\n\n");
    assert_null(strstr(a.body, "message_stop"));
    free(a.body);
    close(fd);
    rig_go(&rig);
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 0));
    fd = dial(&rig); /* before it: an answer with a status */
    rig_hold(&rig);
    put_post(fd, PATH, "{" HI ",\"max_tokens\":2000,\"stream\":true}");
    a = get_answer(fd, false);
    assert_int_equal(a.status, 504);
    assert_true(has(&a, "{\"type\":\"error\",\"error\":{\"type\":\"timeout_error\","));
    free(a.body);
    close(fd);
    rig_go(&rig);
}

/* A client that takes nothing gets fewer events with all of the text; one that leaves is cancelled.
 */
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
    put_post(fd, PATH, "{" HI ",\"max_tokens\":2000,\"stream\":true}");
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 1));
    rig_go(&rig);
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 0));
    struct answer a = get_answer(fd, false);
    assert_true(deltas(a.body, text) < 2000);
    assert_int_equal(strlen(text), 2000);
    for (int i = 0; i < 2000; i++)
        assert_int_equal(text[i], rig.ex.script[(9 + i) % 36]);
    assert_true(has(&a, "\"output_tokens\":2000}}\n\nevent: message_stop\n"));
    free(a.body);
    close(fd);
    rig_hold(&rig);
    fd = dial(&rig);
    put_post(fd, PATH, "{" HI ",\"max_tokens\":2000,\"stream\":true}");
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
        cmocka_unit_test(test_plain),       cmocka_unit_test(test_stops),
        cmocka_unit_test(test_stream),      cmocka_unit_test(test_prompts),
        cmocka_unit_test(test_refusals),    cmocka_unit_test(test_cache),
        cmocka_unit_test(test_unicode),     cmocka_unit_test(test_special),
        cmocka_unit_test(test_error_event), cmocka_unit_test(test_slow_and_gone),
    };
    return cmocka_run_group_tests(tests, rig_up, rig_down);
}
