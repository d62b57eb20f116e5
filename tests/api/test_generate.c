/* SPDX-License-Identifier: Apache-2.0 */
/* test_generate.c - completions and chat through real sockets, engine and tokenizer. */
#include "rig.h"

static void expect(const char *path, const char *body, int status, const char *part)
{
    struct answer a = post(&rig, path, body);
    if (a.status != status || !strstr(a.body, part))
        fail_msg("%s\n%s\nwanted %d %s\ngot %d %s", path, body, status, part, a.status, a.body);
    free(a.body);
}

static void test_plain(void **s)
{
    (void)s;
    struct answer a = post(&rig, "/v1/completions", "{\"prompt\":\"xyz\",\"max_tokens\":5}");
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.head, "X-Request-Id: req_"));
    assert_non_null(strstr(a.head, "Date: "));
    char *id = strstr(a.body, "\"created\"");
    assert_non_null(id);
    const char *tail =
        "\"model\":\"tiny\",\"system_fingerprint\":\"fp_000000000000\",\"choices\":[{\"index\":0,"
        "\"text\":\"defgh\",\"logprobs\":null,\"finish_reason\":\"length\",\"stop_reason\":null}],"
        "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5,\"total_tokens\":8,"
        "\"prompt_tokens_details\":{\"cached_tokens\":0}}}";
    assert_string_equal(strstr(a.body, "\"model\""), tail);
    free(a.body);
    expect("/v1/completions", "{\"prompt\":[120,121,122],\"max_tokens\":5}", 200, "\"defgh\"");
    expect("/v1/completions", "{\"prompt\":[\"xy\",\"xyz\"],\"max_tokens\":2,\"n\":2}", 200,
           "{\"index\":3,\"text\":\"de\"");
    expect("/v1/completions", "{\"prompt\":\"xyz\",\"max_tokens\":0,\"echo\":true}", 200,
           "\"text\":\"xyz\"");
    expect("/v1/completions", "{\"prompt\":\"xyz\",\"max_tokens\":2,\"echo\":true}", 200,
           "\"text\":\"xyzde\"");
}

static void test_stop(void **s)
{
    (void)s;
    expect(
        "/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":20,\"stop\":\"gh\"}", 200,
        "\"text\":\"bcdef\",\"logprobs\":null,\"finish_reason\":\"stop\",\"stop_reason\":\"gh\"");
    expect("/v1/completions",
           "{\"prompt\":\"x\",\"max_tokens\":20,\"stop\":[\"q\",\"gh\"],"
           "\"include_stop_str_in_output\":true}",
           200, "\"text\":\"bcdefgh\"");
    expect("/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":20,\"stop_token_ids\":[102]}", 200,
           "\"text\":\"bcde\",\"logprobs\":null,\"finish_reason\":\"stop\",\"stop_reason\":102");
    expect("/v1/completions",
           "{\"prompt\":\"x\",\"max_tokens\":20,\"stop\":\"gh\",\"min_tokens\":9}", 200,
           "\"finish_reason\":\"length\"");
    expect("/v1/completions",
           "{\"prompt\":\"x\",\"max_tokens\":20,\"stop\":\"gh\",\"stream\":true}", 200,
           "\"text\":\"\",\"logprobs\":null,\"finish_reason\":\"stop\",\"stop_reason\":\"gh\"");
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 0));
}

static void test_logprobs(void **s)
{
    (void)s;
    expect("/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":2,\"logprobs\":1}", 200,
           "\"logprobs\":{\"tokens\":[\"b\",\"c\"],\"token_logprobs\":[-0.5,-0.5],"
           "\"top_logprobs\":[{\"b\":-0.5},{\"c\":-0.5}],\"text_offset\":[0,1]}");
    expect("/v1/chat/completions",
           "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"max_tokens\":1,"
           "\"logprobs\":true,\"top_logprobs\":2}",
           200, "\"top_logprobs\":[{\"token\":\"");
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

static void test_stream(void **s)
{
    (void)s;
    char text[512];
    struct answer a = post(&rig, "/v1/completions",
                           "{\"prompt\":\"xyz\",\"max_tokens\":4,\"stream\":true,"
                           "\"stream_options\":{\"include_usage\":true}}");
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.head, "Content-Type: text/event-stream; charset=utf-8\r\n"));
    assert_non_null(strstr(a.head, "Cache-Control: no-cache\r\n"));
    pieces(a.body, "\"text\":\"", text);
    assert_string_equal(text, "defg");
    /* every event is `data: ` + one line + LF LF */
    int events = 0;
    for (char *p = a.body; *p; events++) {
        assert_int_equal(strncmp(p, "data: ", 6), 0);
        char *end = strstr(p, "\n\n");
        assert_non_null(end);
        assert_null(memchr(p, '\n', (size_t)(end - p)));
        p = end + 2;
    }
    assert_int_equal(events, 6);
    assert_non_null(
        strstr(a.body, "\"finish_reason\":null,\"stop_reason\":null}],\"usage\":null}"));
    assert_non_null(strstr(a.body, "\"choices\":[],\"usage\":{\"prompt_tokens\":3,"
                                   "\"completion_tokens\":4,\"total_tokens\":7,"));
    assert_string_equal(a.body + a.n - 16, "\n\ndata: [DONE]\n\n");
    free(a.body);
    a = post(&rig, "/v1/chat/completions",
             "{\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}],\"max_tokens\":3,"
             "\"stream\":true}");
    assert_int_equal(a.status, 200);
    assert_null(strstr(a.body, "usage"));
    char *role = strstr(a.body, "{\"delta\":{\"role\"");
    (void)role;
    assert_non_null(strstr(a.body,
                           "\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":"
                           "null,\"finish_reason\":null}]}\n\n"));
    assert_non_null(strstr(a.body, "\"delta\":{},\"logprobs\":null,\"finish_reason\":\"length\","
                                   "\"stop_reason\":null}]}\n\ndata: [DONE]\n\n"));
    free(a.body);
}

static void test_chat_forms(void **s)
{
    (void)s;
    expect("/tokenize",
           "{\"messages\":[{\"role\":\"developer\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
           "{\"text\":\"b\"}]}],\"add_generation_prompt\":false}",
           200, "{\"count\":12,"); /* "system: a\nb\n" */
    expect("/v1/chat/completions", "{\"messages\":[{\"role\":\"user\"}]}", 400,
           "\"param\":\"messages[0].content\",\"code\":\"missing_required_parameter\"");
    expect("/v1/chat/completions",
           "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}", 400,
           "\"param\":\"messages[0].content[0].type\",\"code\":\"unsupported_parameter\"");
    expect("/v1/chat/completions", "{\"messages\":[]}", 400, "\"code\":\"invalid_length\"");
    expect("/v1/chat/completions",
           "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"max_completion_tokens\":3,"
           "\"max_tokens\":9}",
           200, "\"completion_tokens\":3");
}

static void test_cached_tokens(void **s)
{
    (void)s;
    char body[400], tokens[300] = "";
    for (int i = 0; i < 40; i++)
        snprintf(tokens + strlen(tokens), sizeof tokens - strlen(tokens), "%s%d", i ? "," : "",
                 200 + i);
    snprintf(body, sizeof body, "{\"prompt\":[%s],\"max_tokens\":1}", tokens);
    expect("/v1/completions", body, 200, "\"cached_tokens\":0");
    expect("/v1/completions", body, 200, "\"cached_tokens\":32");
    snprintf(body, sizeof body, "{\"prompt\":[%s],\"max_tokens\":1,\"cache_salt\":\"s\"}", tokens);
    expect("/v1/completions", body, 200, "\"cached_tokens\":0");
}

/* Ids beside the text; ids in place of texts; the best of several; the end of a long prompt. */
static void test_ids(void **s)
{
    (void)s;
    expect("/v1/completions",
           "{\"prompt\":\"xyz\",\"max_tokens\":2,\"return_token_ids\":true,\"n\":2}", 200,
           "{\"index\":1,\"text\":\"de\",\"logprobs\":null,\"token_ids\":[100,101],"
           "\"prompt_token_ids\":[120,121,122],\"finish_reason\":\"length\"");
    expect("/v1/chat/completions",
           "{\"messages\":[{\"role\":\"user\",\"content\":\"\"}],\"max_tokens\":1,"
           "\"return_token_ids\":true}",
           200, "}],\"prompt_token_ids\":[");
    struct answer a = post(&rig, "/v1/completions",
                           "{\"prompt\":\"xyz\",\"max_tokens\":2,\"return_token_ids\":true,"
                           "\"stream\":true}");
    assert_true(has(&a, "\"token_ids\":[100],\"prompt_token_ids\":[120,121,122],"));
    assert_true(has(&a, "\"token_ids\":[101],\"finish_reason\":\"length\""));
    free(a.body);
    expect("/v1/completions",
           "{\"prompt\":\"x\",\"max_tokens\":1,\"logprobs\":1,\"return_tokens_as_token_ids\":true}",
           200,
           "{\"tokens\":[\"token_id:98\"],\"token_logprobs\":[-0.5],"
           "\"top_logprobs\":[{\"token_id:98\":-0.5");
    expect("/v1/chat/completions",
           "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"max_tokens\":1,"
           "\"logprobs\":true,\"return_tokens_as_token_ids\":true}",
           200, "{\"content\":[{\"token\":\"token_id:");
    a = post(&rig, "/v1/completions",
             "{\"prompt\":[\"xyz\",\"x\"],\"max_tokens\":2,\"best_of\":4,\"n\":1}");
    assert_true(has(&a, "{\"index\":0,\"text\":\"de\""));
    assert_true(has(&a, "{\"index\":1,\"text\":\"bc\""));
    assert_false(has(&a, "{\"index\":2,"));
    assert_true(has(&a, "\"logprobs\":null"));
    assert_true(has(&a, "\"prompt_tokens\":4,\"completion_tokens\":16,"));
    free(a.body);
    expect("/v1/completions",
           "{\"prompt\":[\"abcxyz\",\"y\"],\"max_tokens\":1,\"truncate_prompt_tokens\":3,"
           "\"echo\":true}",
           200, "\"text\":\"xyzd\"");
    expect("/v1/completions",
           "{\"prompt\":[[97,98,99,120],[121,122]],\"max_tokens\":1,\"truncate_prompt_tokens\":1,"
           "\"echo\":true}",
           200, "{\"index\":1,\"text\":\"zb\"");
}

static void cached_for(const char *key, const char *body, const char *want)
{
    char head[400], extra[100];
    snprintf(extra, sizeof extra, "Authorization: Bearer %s\r\n", key);
    post_head(head, sizeof head, "/v1/completions", strlen(body), extra);
    int fd = dial(&rig);
    put_all(fd, head, strlen(head));
    put_all(fd, body, strlen(body));
    struct answer a = get_answer(fd, false);
    if (a.status != 200 || !has(&a, want))
        fail_msg("%s: wanted %s, got %d %s", key, want, a.status, a.body);
    free(a.body);
    close(fd);
}

/* What one key's requests left in the cache is not there for another key, with no salt, with the
 * same salt, and with whatever it takes for the other's. */
static void test_tenants(void **s)
{
    (void)s;
    char path[] = "/tmp/quired-keys-XXXXXX", body[500], tokens[300] = "";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "key-a\nkey-b\n", 12), 12);
    close(fd);
    rig_stop(&rig);
    rig_defaults(&rig);
    rig_set(&rig, "auth.api_keys_file", path);
    rig_start(&rig);
    for (int i = 0; i < 40; i++)
        snprintf(tokens + strlen(tokens), sizeof tokens - strlen(tokens), "%s%d", i ? "," : "",
                 200 + i);
    for (int salted = 0; salted <= 1; salted++) {
        snprintf(body, sizeof body, "{\"prompt\":[%s],\"max_tokens\":1%s}", tokens,
                 salted ? ",\"cache_salt\":\"s\"" : "");
        cached_for("key-a", body, "\"cached_tokens\":0");
        cached_for("key-a", body, "\"cached_tokens\":32");
        cached_for("key-b", body, "\"cached_tokens\":0");
        cached_for("key-b", body, "\"cached_tokens\":32");
    }
    snprintf(body, sizeof body, "{\"prompt\":[%s],\"max_tokens\":1,\"cache_salt\":\"key-a\"}",
             tokens);
    cached_for("key-b", body, "\"cached_tokens\":0");
    unlink(path);
}

static void test_tokenize(void **s)
{
    (void)s;
    expect("/tokenize", "{\"prompt\":\"hi\"}", 200,
           "{\"count\":2,\"max_model_len\":2048,\"tokens\":[104,105],\"token_strs\":null}");
    expect("/v1/tokenize", "{\"content\":\"hi\",\"with_pieces\":true}", 200,
           "{\"tokens\":[{\"id\":104,\"piece\":\"h\"},{\"id\":105,\"piece\":\"i\"}]}");
    expect("/detokenize", "{\"tokens\":[104,105]}", 200, "{\"prompt\":\"hi\"}");
    expect("/detokenize?content=1", "{\"tokens\":[]}", 200, "{\"content\":\"\"}");
    expect("/detokenize", "{\"tokens\":[258]}", 400, "\"param\":\"tokens[0]\"");
    expect("/tokenize", "{}", 400, "missing_required_parameter");
}

static void test_eos(void **s)
{
    (void)s;
    atomic_store(&rig.ex.eos_at, 10);
    expect(
        "/v1/completions", "{\"prompt\":\"xyz\",\"max_tokens\":20}", 200,
        "\"text\":\"defghij\",\"logprobs\":null,\"finish_reason\":\"stop\",\"stop_reason\":null}],"
        "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":8,");
    expect("/v1/completions", "{\"prompt\":\"xyz\",\"max_tokens\":9,\"ignore_eos\":true}", 200,
           "\"text\":\"defghijl\",\"logprobs\":null,\"finish_reason\":\"length\"");
    expect(
        "/v1/completions",
        "{\"prompt\":\"xyz\",\"max_tokens\":9,\"ignore_eos\":true,\"skip_special_tokens\":false}",
        200, "\"text\":\"defghij</s>l\"");
    atomic_store(&rig.ex.eos_at, 0);
}

/* Tokens are bytes here: code points are cut between tokens, and the end cuts one for good. */
static void test_split_characters(void **s)
{
    (void)s;
    static const char script[] = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xFF";
    const char *old = rig.ex.script;
    size_t n_old = rig.ex.n_script;
    rig.ex.script = script;
    rig.ex.n_script = sizeof script - 1;
    for (int n = 1; n < 26; n++) {
        char body[128], plain[512], stream[512];
        snprintf(body, sizeof body, "{\"prompt\":\"x\",\"max_tokens\":%d}", n);
        struct answer a = post(&rig, "/v1/completions", body);
        pieces(a.body, "\"text\":\"", plain);
        free(a.body);
        snprintf(body, sizeof body, "{\"prompt\":\"x\",\"max_tokens\":%d,\"stream\":true}", n);
        a = post(&rig, "/v1/completions", body);
        pieces(a.body, "\"text\":\"", stream);
        free(a.body);
        assert_string_equal(plain, stream);
        assert_true(strlen(plain) > 0);
    }
    rig.ex.script = old;
    rig.ex.n_script = n_old;
}

static void test_http10(void **s)
{
    (void)s;
    const char *t = "POST /v1/completions HTTP/1.0\r\nContent-Type: application/json\r\n"
                    "Content-Length: 45\r\n\r\n"
                    "{\"prompt\":\"xyz\",\"max_tokens\":2,\"stream\":true}";
    int fd = dial(&rig);
    char all[4096];
    size_t n = 0;
    ssize_t k;
    put_all(fd, t, strlen(t));
    while (n < sizeof all - 1 && (k = recv(fd, all + n, sizeof all - 1 - n, 0)) > 0)
        n += (size_t)k;
    all[n] = '\0';
    close(fd);
    assert_non_null(strstr(all, " 200 OK\r\n"));
    assert_null(strstr(all, "chunked"));
    assert_non_null(strstr(all, "\r\n\r\ndata: {"));
    assert_string_equal(all + n - 16, "\n\ndata: [DONE]\n\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_logprobs),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_chat_forms),
        cmocka_unit_test(test_cached_tokens),
        cmocka_unit_test(test_tokenize),
        cmocka_unit_test(test_eos),
        cmocka_unit_test(test_split_characters),
        cmocka_unit_test(test_http10),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_tenants),
    };
    return cmocka_run_group_tests(tests, rig_up, rig_down);
}
