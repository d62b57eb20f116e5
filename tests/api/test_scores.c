/* SPDX-License-Identifier: Apache-2.0 */
/* test_scores.c - log probabilities of prompts byte by byte: beside an echo, as prompt_logprobs, in
 * streams; what is said when they cost too much, or fail. Of the rig's scores each is -0.25 and its
 * token the second best. */
#include "rig.h"

#define TEXT "/v1/completions"
#define CHAT "/v1/chat/completions"
#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static void expect(const char *path, const char *body, int status, const char *part)
{
    struct answer a = post(&rig, path, body);
    if (a.status != status || !has(&a, part))
        fail_msg("%s\n%s\nwanted %d %s\ngot %d %s", path, body, status, part, a.status, a.body);
    free(a.body);
}

static void test_echo(void **s)
{
    (void)s;
    expect(TEXT, "{\"prompt\":\"xyz\",\"max_tokens\":0,\"echo\":true,\"logprobs\":0}", 200,
           "{\"index\":0,\"text\":\"xyz\",\"logprobs\":{\"tokens\":[\"x\",\"y\",\"z\"],"
           "\"token_logprobs\":[null,-0.25,-0.25],"
           "\"top_logprobs\":[null,{\"y\":-0.25},{\"z\":-0.25}],\"text_offset\":[0,1,2]},"
           "\"finish_reason\":\"length\",\"stop_reason\":null}],"
           "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":0,\"total_tokens\":3,"
           "\"prompt_tokens_details\":{\"cached_tokens\":0}}}");
    expect(TEXT, "{\"prompt\":\"xyz\",\"max_tokens\":1,\"echo\":true,\"logprobs\":1}", 200,
           "\"text\":\"xyzd\",\"logprobs\":{\"tokens\":[\"x\",\"y\",\"z\",\"d\"],"
           "\"token_logprobs\":[null,-0.25,-0.25,-0.5],"
           "\"top_logprobs\":[null,{\"z\":-0.125,\"y\":-0.25},{\"{\":-0.125,\"z\":-0.25},"
           "{\"d\":-0.5}],\"text_offset\":[0,1,2,3]}");
    /* a character of three bytes: its parts stand where it begins; what follows counts characters
     */
    expect(TEXT,
           "{\"prompt\":\"\xE2\x82\xAC.\",\"max_tokens\":1,\"echo\":true,\"logprobs\":0,"
           "\"return_tokens_as_token_ids\":true}",
           200,
           "\"logprobs\":{\"tokens\":[\"token_id:226\",\"token_id:130\",\"token_id:172\","
           "\"token_id:46\",\"token_id:101\"],\"token_logprobs\":[null,-0.25,-0.25,-0.25,-0.5],"
           "\"top_logprobs\":[null,{\"token_id:130\":-0.25},{\"token_id:172\":-0.25},"
           "{\"token_id:46\":-0.25},{\"token_id:101\":-0.5}],\"text_offset\":[0,0,0,1,2]}");
    expect(TEXT, "{\"prompt\":[\"x\",\"yz\"],\"max_tokens\":0,\"echo\":true,\"logprobs\":1}", 200,
           "\"text\":\"x\",\"logprobs\":{\"tokens\":[\"x\"],\"token_logprobs\":[null],"
           "\"top_logprobs\":[null],\"text_offset\":[0]},\"finish_reason\":\"length\"");
    /* without logprobs nothing is computed */
    int64_t steps = atomic_load(&rig.ex.steps);
    expect(TEXT, "{\"prompt\":\"xyz\",\"max_tokens\":0,\"echo\":true}", 200, "\"logprobs\":null");
    assert_int_equal(atomic_load(&rig.ex.steps), steps);
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 0));
}

static void test_list(void **s)
{
    static const char zero[] = "\"prompt_logprobs\":[null,"
                               "{\"121\":{\"logprob\":-0.25,\"rank\":2,\"decoded_token\":\"y\"}}]";
    static const char two[] =
        "\"prompt_logprobs\":[null,{\"121\":{\"logprob\":-0.25,\"rank\":2,\"decoded_token\":\"y\"},"
        "\"122\":{\"logprob\":-0.125,\"rank\":1,\"decoded_token\":\"z\"}}]";
    (void)s;
    expect(TEXT, "{\"prompt\":\"xy\",\"max_tokens\":1,\"prompt_logprobs\":0}", 200, zero);
    expect(TEXT, "{\"prompt\":\"xy\",\"max_tokens\":1,\"prompt_logprobs\":2}", 200, two);
    expect(TEXT, "{\"prompt\":\"xy\",\"max_tokens\":1,\"prompt_logprobs\":null}", 200,
           "\"stop_reason\":null}],\"usage\"");
    expect(TEXT,
           "{\"prompt\":\"xy\",\"max_tokens\":1,\"prompt_logprobs\":0,"
           "\"return_tokens_as_token_ids\":true}",
           200, "\"decoded_token\":\"token_id:121\"}}]");
    expect(TEXT, "{\"prompt\":[120,255],\"max_tokens\":0,\"echo\":true,\"prompt_logprobs\":0}", 200,
           "[null,{\"255\":{\"logprob\":-0.25,\"rank\":2,\"decoded_token\":\"\xEF\xBF\xBD\"}}]");
    struct answer a = post(&rig, CHAT, "{" HI ",\"max_tokens\":1,\"n\":2,\"prompt_logprobs\":1}");
    int n = 0;
    for (const char *p = a.body; (p = strstr(p, "\"prompt_logprobs\":[null,{")); p++)
        n++;
    assert_int_equal(n, 3); /* each choice's, and where a chat's is in vLLM */
    free(a.body);
}

/* The prompt's part is in the first event of each choice and in no other. */
static void test_stream(void **s)
{
    (void)s;
    struct answer a = post(&rig, TEXT,
                           "{\"prompt\":[\"xyz\",\"q\"],\"max_tokens\":2,\"n\":2,\"echo\":true,"
                           "\"logprobs\":0,\"prompt_logprobs\":0,\"stream\":true}");
    for (int i = 0; i < 4; i++) {
        char first[100], list[100];
        const char *text = i < 2 ? "xyz" : "q";
        snprintf(first, sizeof first, "{\"index\":%d,\"text\":\"%s", i, text);
        const char *ev = strstr(a.body, first);
        assert_non_null(ev);
        snprintf(first, sizeof first, "{\"index\":%d,", i);
        assert_ptr_equal(ev, strstr(a.body, first)); /* nothing of the choice comes before */
        const char *end = strchr(ev, '\n');
        snprintf(list, sizeof list, "\"prompt_logprobs\":[null%s", i < 2 ? ",{\"121\":" : "]");
        const char *l = strstr(ev, list), *t = strstr(ev, "\"token_logprobs\":[null");
        assert_true(l && l < end && t && t < end);
        for (ev = end; (ev = strstr(ev, first)); ev = end) {
            end = strchr(ev, '\n');
            l = strstr(ev, "prompt_logprobs");
            t = strstr(ev, "null,-0.25");
            assert_true((!l || l > end) && (!t || t > end));
        }
    }
    assert_true(has(&a, "data: [DONE]"));
    free(a.body);
    a = post(&rig, CHAT, "{" HI ",\"max_tokens\":1,\"prompt_logprobs\":0,\"stream\":true}");
    const char *role = strstr(a.body, "\"role\":\"assistant\""),
               *list = strstr(a.body, "\"prompt_logprobs\":[null,");
    assert_true(role && list && list > role && list < strchr(role, '\n'));
    assert_null(strstr(list + 2, "prompt_logprobs"));
    free(a.body);
    expect(TEXT,
           "{\"prompt\":\"xyz\",\"max_tokens\":0,\"echo\":true,\"logprobs\":0,\"stream\":true}",
           200,
           "\"text_offset\":[0,1,2]},\"finish_reason\":\"length\",\"stop_reason\":null}]}\n\n"
           "data: [DONE]");
}

/* A device that fails while a prompt is scored: an error, with a status as long as nothing was
 * sent; n choices of which one asks the engine. */
static void test_failure(void **s)
{
    (void)s;
    for (int stream = 0; stream < 2; stream++) {
        rig_hold(&rig);
        int fd = dial(&rig);
        put_post(
            fd, TEXT,
            stream ? "{\"prompt\":\"xyz\",\"max_tokens\":0,\"n\":3,\"echo\":true,\"logprobs\":1,"
                     "\"stream\":true}"
                   : "{\"prompt\":\"xyz\",\"max_tokens\":0,\"n\":3,\"echo\":true,\"logprobs\":1}");
        assert_true(metric_becomes(&rig, "quire_http_sequences_live", 1));
        if (stream)
            atomic_store(&rig.ex.fail, ST_DEVICE);
        rig_go(&rig);
        struct answer a = get_answer(fd, false);
        assert_int_equal(a.status, stream ? 503 : 200);
        free(a.body);
    }
    rig_stop(&rig);
}

static void test_cost(void **s)
{
    (void)s;
    rig_defaults(&rig);
    rig_set(&rig, "limits.max_answer_bytes", "64KiB");
    rig_start(&rig);
    static char body[2000], prompt[901];
    memset(prompt, 'x', sizeof prompt - 1);
#define BODY(...)                                                                                  \
    (snprintf(body, sizeof body, "{\"prompt\":\"%s\",\"max_tokens\":1,", prompt),                  \
     strcat(body, __VA_ARGS__), body)
    static const char *const ends[] = {"}", ",\"stream\":true}"};
    for (int i = 0; i < 2; i++) {
        char part[200];
        snprintf(part, sizeof part, "\"prompt_logprobs\":0%s", ends[i]);
        expect(TEXT, BODY(part), 200, "prompt_logprobs");
        snprintf(part, sizeof part, "\"prompt_logprobs\":1%s", ends[i]);
        expect(TEXT, BODY(part), 400, "\"param\":\"prompt_logprobs\"");
        snprintf(part, sizeof part, "\"echo\":true,\"logprobs\":0%s", ends[i]);
        expect(TEXT, BODY(part), 200, "token_logprobs");
        snprintf(part, sizeof part, "\"echo\":true,\"logprobs\":2%s", ends[i]);
        expect(TEXT, BODY(part), 400, "at most 65536.\"");
        snprintf(part, sizeof part, "\"echo\":true,\"logprobs\":0,\"n\":3%s", ends[i]);
        expect(TEXT, BODY(part), 400, "\"param\":\"logprobs\"");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_echo, rig_up, rig_down),
        cmocka_unit_test_setup_teardown(test_list, rig_up, rig_down),
        cmocka_unit_test_setup_teardown(test_stream, rig_up, rig_down),
        cmocka_unit_test_setup(test_failure, rig_up),
        cmocka_unit_test_teardown(test_cost, rig_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
