/* SPDX-License-Identifier: Apache-2.0 */
/* test_model_text.c - where what a model's files say meets the wire: defaults, rows without a
 * token, calls without arguments, offsets into the text, stop strings around min_tokens. */
#include "rig.h"

static void expect(const char *path, const char *body, int status, const char *part)
{
    struct answer a = post(&rig, path, body);
    if (a.status != status || !strstr(a.body, part))
        fail_msg("%s\n%s\nwanted %d %s\ngot %d %s", path, body, status, part, a.status, a.body);
    free(a.body);
}

/* The pieces of all `key` strings of a stream, without escapes. */
static void pieces(const char *body, const char *key, char *out)
{
    size_t k = strlen(key);
    for (const char *p = body; (p = strstr(p, key)) != NULL;) {
        p += k;
        while (*p && *p != '"')
            *out++ = *p++;
    }
    *out = '\0';
}

/* The model has 300 rows, the tokenizer 258 tokens: the others can be sampled and have no text. */
static void test_padded_rows(void **s)
{
    (void)s;
    rig_defaults(&rig);
    rig.f.vocab = 300;
    rig_start(&rig);
    expect("/detokenize", "{\"tokens\":[104,299,105]}", 200, "{\"prompt\":\"hi\"}");
    expect("/detokenize", "{\"tokens\":[299]}", 200, "{\"prompt\":\"\"}");
    expect("/detokenize", "{\"tokens\":[300]}", 400, "must be between 0 and 299");
    expect("/v1/completions", "{\"prompt\":[104,299,105],\"max_tokens\":1}", 200, "\"text\"");
    rig_stop(&rig);
}

static void test_generation_defaults(void **s)
{
    (void)s;
    struct answer a = get(&rig, "/v1/models/tiny");
    assert_true(has(&a, "\"generation_defaults\":{\"temperature\":1,\"top_p\":1,\"top_k\":0,"
                        "\"min_p\":0,\"repetition_penalty\":1}"));
    free(a.body);
}

/* A template that goes through the arguments, as Qwen's and MiniMax's do. */
static void test_no_arguments(void **s)
{
    (void)s;
    static const char *const calls[] = {"\"arguments\":\"\"", "\"arguments\":null",
                                        "\"arguments\":\" \\n\"", "\"arguments\":\"{}\"", NULL};
    rig_defaults(&rig);
    rig.template = "{% for m in messages %}{% for c in m.tool_calls or [] %}"
                   "{{ c.function.name }}{% for k, v in c.function.arguments|items %}"
                   "{{ k }}={{ v }}{% endfor %}{{ c.function.arguments|tojson }}"
                   "{% endfor %}{% endfor %}";
    rig_start(&rig);
    for (int i = 0; i < 5; i++) {
        char body[512];
        snprintf(body, sizeof body,
                 "{\"messages\":[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":"
                 "\"1\",\"type\":\"function\",\"function\":{\"name\":\"f\"%s%s}}]},"
                 "{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":\"x\"}]}",
                 calls[i] ? "," : "", calls[i] ? calls[i] : "");
        expect("/tokenize", body, 200, "\"tokens\":[102,123,125]"); /* f{} */
    }
    expect("/tokenize",
           "{\"messages\":[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"function\":"
           "{\"arguments\":\"{\\\"k\\\":1}\",\"name\":\"f\"}}]}]}",
           200, "\"tokens\":[102,107,61,49,123,34,107,34,58,32,49,125]"); /* fk=1{"k": 1} */
    rig_stop(&rig);
}

/* Tokens are bytes of "aé€", a lone continuation byte, and "b": an offset is a place in the text
 * that was given, where a character begins at its first token and a byte that is no text is one
 * U+FFFD. */
static void test_offsets(void **s)
{
    (void)s;
    static const char script[] = "a\xC3\xA9\xE2\x82\xAC\x80"
                                 "b\xE2z\xFF";
    rig.ex.script = script;
    rig.ex.n_script = sizeof script - 1;
    /* position 12 of the script is its first byte again: the prompt fills the first round */
    static const char *const want[] = {"0,1,1,2,2,2,3,4,5,6,7]", /* a é é € € € U b U z U */
                                       NULL};
    char prompt[128] = "[120";
    for (size_t i = 1; i < sizeof script - 1; i++)
        strcat(prompt, ",120");
    strcat(prompt, "]");
    for (int stream = 0; stream < 2; stream++) {
        char body[256], got[256] = "";
        snprintf(body, sizeof body,
                 "{\"prompt\":%s,\"max_tokens\":11,\"logprobs\":0,\"stream\":%s}", prompt,
                 stream ? "true" : "false");
        struct answer a = post(&rig, "/v1/completions", body);
        assert_int_equal(a.status, 200);
        for (const char *p = a.body; (p = strstr(p, "\"text_offset\":[")) != NULL;) {
            p += strlen("\"text_offset\":[");
            size_t n = strcspn(p, "]");
            strncat(got, p, n);
            strcat(got, ",");
        }
        got[strlen(got) - 1] = ']';
        if (strcmp(got, want[0]) != 0)
            fail_msg("stream %d: %s\n%s", stream, got, a.body);
        free(a.body);
    }
}

/* The script after "x" is bcdefgh: "efg" ends at the sixth token, wherever it began. */
static void test_min_tokens(void **s)
{
    (void)s;
    static const struct {
        int min;
        const char *text, *reason;
    } cases[] = {{0, "bcd", "\"stop\""},
                 {4, "bcd", "\"stop\""},
                 {5, "bcd", "\"stop\""},        /* begun before the border, ended behind it */
                 {6, "bcdefghi", "\"length\""}, /* ended before it */
                 {8, "bcdefghi", "\"length\""}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int stream = 0; stream < 2; stream++) {
            char body[256], text[256], reason[64];
            snprintf(body, sizeof body,
                     "{\"prompt\":\"x\",\"max_tokens\":8,\"stop\":\"efg\",\"min_tokens\":%d,"
                     "\"stream\":%s}",
                     cases[i].min, stream ? "true" : "false");
            struct answer a = post(&rig, "/v1/completions", body);
            pieces(a.body, "\"text\":\"", text);
            snprintf(reason, sizeof reason, "\"finish_reason\":%s", cases[i].reason);
            if (strcmp(text, cases[i].text) != 0 || !strstr(a.body, reason))
                fail_msg("min_tokens %d, stream %d: %s", cases[i].min, stream, a.body);
            free(a.body);
        }
    }
}

/* Two stop strings that overlap: the one that ends first, streamed or not. */
static void test_overlap(void **s)
{
    (void)s;
    for (int stream = 0; stream < 2; stream++) {
        char body[256], text[256];
        snprintf(body, sizeof body,
                 "{\"prompt\":\"x\",\"max_tokens\":9,\"stop\":[\"defgh\",\"efg\"],\"stream\":%s}",
                 stream ? "true" : "false");
        struct answer a = post(&rig, "/v1/completions", body);
        pieces(a.body, "\"text\":\"", text);
        assert_string_equal(text, "bcd");
        assert_true(has(&a, "\"stop_reason\":\"efg\""));
        free(a.body);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_padded_rows),
        cmocka_unit_test(test_no_arguments),
        cmocka_unit_test_setup_teardown(test_generation_defaults, rig_up, rig_down),
        cmocka_unit_test_setup_teardown(test_offsets, rig_up, rig_down),
        cmocka_unit_test_setup_teardown(test_min_tokens, rig_up, rig_down),
        cmocka_unit_test_setup_teardown(test_overlap, rig_up, rig_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
