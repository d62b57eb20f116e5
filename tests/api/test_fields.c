/* SPDX-License-Identifier: Apache-2.0 */
/* test_fields.c - request bodies: every field with null, each wrong type and its bounds; the JSON
 * rules; prompt forms; messages; the order of checks. The tables are the contract's. */
#include "rig.h"

#define TEXT "/v1/completions"
#define CHAT "/v1/chat/completions"

static void expect(const char *path, const char *body, int status, const char *code,
                   const char *param)
{
    struct answer a = post(&rig, path, body);
    char want[200] = "";
    if (code)
        snprintf(want, sizeof want,
                 param ? "\"param\":\"%s\",\"code\":\"%s\"}}" : "%s\"code\":\"%s\"}}",
                 param ? param : "", code);
    if (a.status != status || !has(&a, want))
        fail_msg("%s\n%.300s\nwanted %d %s\ngot %d %.600s", path, body, status, want, a.status,
                 a.body);
    free(a.body);
}

/* One field, put into an otherwise good body. */
static void field(const char *path, const char *name, const char *value, int status,
                  const char *code, const char *param)
{
    char body[3000];
    const char *base = strcmp(path, TEXT) == 0
                           ? "\"prompt\":\"x\""
                           : "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]";
    bool ours = strcmp(name, "max_tokens") == 0 || strcmp(name, "n_predict") == 0;
    snprintf(body, sizeof body, "{%s%s,\"%s\":%s}", base, ours ? "" : ",\"max_tokens\":1", name,
             value);
    expect(path, body, status, code, param);
}

enum { INT = 1, NUM = 2, BOOL = 4, STR = 8, ARR = 16, OBJ = 32 };
static const char *const samples[] = {"5", "0.5", "true", "\"s\"", "[]", "{}"};

static const struct {
    const char *name;
    int where;                           /* 1 = completions, 2 = chat */
    int types;                           /* JSON types that are right */
    const char *good[4], *bad[4], *code; /* bad: right type, wrong value */
} fields[] = {
    {"n", 3, INT, {"1", "1.0", "128"}, {"0", "129", "-1"}, "invalid_value"},
    {"max_tokens", 1, INT, {"1", "2.0", "-1"}, {"0", "-2"}, "invalid_value"},
    {"max_tokens", 2, INT, {"1", "-1"}, {"0", "-2"}, "invalid_value"},
    {"max_completion_tokens", 2, INT, {"1", "9"}, {"0", "-5"}, "invalid_value"},
    {"temperature",
     3,
     INT | NUM,
     {"0", "2", "0.001", "1e-9"},
     {"2.0001", "-0.1", "1e999"},
     "invalid_value"},
    {"top_p", 3, INT | NUM, {"0", "1", "0.5"}, {"1.01", "-0.01"}, "invalid_value"},
    {"top_k", 3, INT, {"-1", "0", "1", "100000"}, {"-2"}, "invalid_value"},
    {"min_p", 3, INT | NUM, {"0", "1"}, {"1.5", "-1"}, "invalid_value"},
    {"presence_penalty", 3, INT | NUM, {"0", "2", "-2", "0.5"}, {"2.1", "-2.1"}, "invalid_value"},
    {"frequency_penalty", 3, INT | NUM, {"0", "2", "-2", "0.5"}, {"2.1", "-2.1"}, "invalid_value"},
    {"repetition_penalty",
     3,
     INT | NUM,
     {"1", "1.1", "10", "0.01"},
     {"10.5", "-1", "0"},
     "invalid_value"},
    {"logit_bias", 3, OBJ, {"{}", "{\"5\":1}", "{\"7\":-100,\"0\":100}"}, {NULL}, NULL},
    {"allowed_token_ids", 3, ARR, {"[5]", "[0,257]", "[5,5]"}, {"[]"}, "invalid_length"},
    {"truncate_prompt_tokens", 3, INT, {"-1", "1", "2048"}, {"0", "-2", "2049"}, "invalid_value"},
    {"seed",
     3,
     INT,
     {"-1", "0", "9007199254740992", "-9223372036854775808"},
     {"9223372036854775808", "1e30"},
     "invalid_value"},
    {"stop",
     3,
     STR | ARR,
     {"\"\"", "[]", "\"a\"", "[\"a\",\"b\",\"c\",\"d\"]"},
     {"[\"a\",\"b\",\"c\",\"d\",\"e\"]"},
     "invalid_length"},
    {"stop_token_ids", 3, ARR, {"[]", "[0,257]", "[1.0]"}, {NULL}, NULL},
    {"include_stop_str_in_output", 3, BOOL, {"true", "false"}, {NULL}, NULL},
    {"ignore_eos", 3, BOOL, {"true"}, {NULL}, NULL},
    {"min_tokens", 3, INT, {"0", "1"}, {"-1", "2"}, "invalid_value"},
    {"skip_special_tokens", 3, BOOL, {"false"}, {NULL}, NULL},
    {"spaces_between_special_tokens", 3, BOOL, {"false"}, {NULL}, NULL},
    {"stream_options", 3, OBJ, {"{}"}, {"{\"include_usage\":true}"}, "invalid_combination"},
    {"user", 3, STR, {"\"me\""}, {NULL}, NULL},
    {"priority", 3, INT, {"0", "9", "9223372036854775807"}, {"-1", "-9"}, "invalid_value"},
    {"cache_salt", 3, STR, {"\"a\""}, {"\"\""}, "invalid_length"},
    {"cache_salt",
     3,
     STR,
     {"\"a\""},
     {"\"a/b\"", "\"a@\"", "\"\\\\\"", "\"\\u0000\""},
     "invalid_value"},
    {"request_id", 3, STR, {"\"a\"", "\"a b\""}, {NULL}, NULL},
    {"return_token_ids", 3, BOOL, {"false", "true"}, {NULL}, NULL},
    {"return_tokens_as_token_ids", 3, BOOL, {"false", "true"}, {NULL}, NULL},
    {"prompt_logprobs", 3, INT, {"0", "20", "null"}, {"21", "-1"}, "invalid_value"},
    {"use_beam_search", 3, BOOL, {"false"}, {"true"}, "unsupported_parameter"},
    {"length_penalty", 3, INT | NUM, {"1", "1.0"}, {"1.5"}, "unsupported_parameter"},
    {"response_format",
     3,
     OBJ,
     {"{\"type\":\"text\"}"},
     {"{\"type\":\"json_object\"}", "{\"type\":\"json_schema\"}"},
     "unsupported_parameter"},
    {"echo", 1, BOOL, {"false", "true"}, {NULL}, NULL},
    {"echo", 2, BOOL, {"false"}, {"true"}, "unsupported_parameter"},
    {"suffix", 1, STR, {"\"\""}, {"\"x\""}, "unsupported_parameter"},
    {"best_of", 1, INT, {"0", "1", "2", "20"}, {"21", "-1"}, "invalid_value"},
    {"add_special_tokens", 3, BOOL, {"false", "true"}, {NULL}, NULL},
    {"logprobs", 1, INT, {"0", "5", "20"}, {"-1", "21"}, "invalid_value"},
    {"logprobs", 2, BOOL, {"false", "true"}, {NULL}, NULL},
    {"top_logprobs", 2, INT, {"0"}, {"-1", "21"}, "invalid_value"},
    {"top_logprobs", 2, INT, {"0"}, {"1", "20"}, "invalid_combination"},
    {"chat_template_kwargs", 2, OBJ, {"{}", "{\"a\":[1]}"}, {NULL}, NULL},
    {"add_generation_prompt", 2, BOOL, {"true", "false"}, {NULL}, NULL},
    {"continue_final_message", 2, BOOL, {"false"}, {"true"}, "invalid_combination"},
    {"reasoning_effort", 2, STR, {"\"none\"", "\"max\""}, {"\"much\""}, "invalid_value"},
    {"include_reasoning", 2, BOOL, {"true"}, {NULL}, NULL},
    {"tools", 2, ARR, {NULL}, {"[]"}, "invalid_length"},
    {"tools", 2, ARR, {NULL}, {"[{\"type\":\"function\"}]"}, "unsupported_parameter"},
    {"tool_choice",
     2,
     STR | OBJ | INT | NUM | BOOL | ARR,
     {"\"none\""},
     {"\"auto\""},
     "invalid_combination"},
    {"repeat_penalty", 3, INT | NUM, {"1", "1.1"}, {"0", "11"}, "invalid_value"},
    {"n_predict", 3, INT, {"1", "-1"}, {"-2"}, "invalid_value"},
    {"repeat_last_n", 3, INT, {"64", "-1"}, {NULL}, NULL},
    {"mirostat", 3, INT | NUM, {"0"}, {"1", "2"}, "unsupported_parameter"},
    {"typical_p", 3, INT | NUM, {"1"}, {"0.5"}, "unsupported_parameter"},
    {"tfs_z", 3, INT | NUM, {"1"}, {"0.5"}, "unsupported_parameter"},
    {"xtc_probability", 3, INT | NUM, {"0"}, {"0.5"}, "unsupported_parameter"},
    {"dry_multiplier", 3, INT | NUM, {"0"}, {"0.8"}, "unsupported_parameter"},
    {"dynatemp_range", 3, INT | NUM, {"0"}, {"0.5"}, "unsupported_parameter"},
    {"penalize_nl", 3, BOOL, {"true"}, {"false"}, "unsupported_parameter"},
    {"model", 3, STR, {"\"\"", "\"tiny\"", "\"other/name\""}, {NULL}, NULL},
};

/* Known, not built: anything but null is refused by name. */
static const struct {
    const char *name;
    int where;
} refused[] = {{"bad_words", 3},     {"structured_outputs", 3}, {"guided_json", 3},
               {"guided_regex", 3},  {"guided_choice", 3},      {"guided_grammar", 3},
               {"grammar", 3},       {"json_schema", 3},        {"regex", 3},
               {"ebnf", 3},          {"kv_transfer_params", 3}, {"vllm_xargs", 3},
               {"lora_path", 3},     {"prompt_embeds", 3},      {"logprob_token_ids", 3},
               {"audio", 3},         {"web_search_options", 3}, {"functions", 3},
               {"chat_template", 2}, {"documents", 2}};

static const char *const no_effect[] = {"service_tier",
                                        "store",
                                        "metadata",
                                        "safety_identifier",
                                        "prompt_cache_key",
                                        "prompt_cache_retention",
                                        "prompt_cache_options",
                                        "verbosity",
                                        "prediction",
                                        "parallel_tool_calls",
                                        "session_id",
                                        "rid",
                                        "quite_unknown"};

static void test_table(void **s)
{
    (void)s;
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        for (int w = 1; w <= 2; w++) {
            const char *path = w == 1 ? TEXT : CHAT, *name = fields[i].name;
            if (!(fields[i].where & w))
                continue;
            field(path, name, "null", 200, NULL, NULL); /* as if left out */
            for (int t = 0; t < 6; t++) {
                bool right = (fields[i].types >> t & 1) || (t == 0 && fields[i].types & NUM);
                if (!right)
                    field(path, name, samples[t], 400, "invalid_type", name);
            }
            for (int k = 0; k < 4 && fields[i].good[k]; k++)
                field(path, name, fields[i].good[k], 200, NULL, NULL);
            for (int k = 0; k < 4 && fields[i].bad[k]; k++)
                field(path, name, fields[i].bad[k], 400, fields[i].code, name);
        }
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        for (int w = 1; w <= 2; w++) {
            if (!(refused[i].where & w))
                continue;
            const char *path = w == 1 ? TEXT : CHAT;
            field(path, refused[i].name, "null", 200, NULL, NULL);
            field(path, refused[i].name, "{}", 400, "unsupported_parameter", refused[i].name);
            field(path, refused[i].name, "1", 400, "unsupported_parameter", refused[i].name);
        }
    for (size_t i = 0; i < sizeof no_effect / sizeof no_effect[0]; i++)
        for (int t = 0; t < 6; t++)
            field(TEXT, no_effect[i], samples[t], 200, NULL, NULL);
    field(TEXT, "modalities", "[\"text\"]", 200, NULL, NULL);
    field(TEXT, "modalities", "[\"audio\"]", 400, "unsupported_parameter", "modalities");
    field(TEXT, "moderation", "null", 200, NULL, NULL);
    field(CHAT, "function_call", "\"none\"", 200, NULL, NULL);
    field(CHAT, "tool_choice", "\"none\",\"tools\":[{\"type\":\"function\"}]", 200, NULL, NULL);
    field(CHAT, "top_logprobs", "20,\"logprobs\":true", 200, NULL, NULL);
    field(TEXT, "n", "2,\"best_of\":1", 400, "invalid_combination", "best_of");
    field(TEXT, "echo", "true,\"logprobs\":1", 200, NULL, NULL);
    field(TEXT, "echo", "true,\"logprobs\":21", 400, "invalid_value", "logprobs");
}

/* Characters, not bytes, bound strings. */
static void test_lengths(void **s)
{
    static const struct {
        const char *name;
        int most;
    } t[] = {{"user", 512}, {"stop", 512}, {"cache_salt", 128}};
    (void)s;
    char v[2600];
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++)
        for (int over = 0; over <= 1; over++) {
            size_t n = 0;
            v[n++] = '"';
            for (int k = 0; k < t[i].most + over; k++) {
                memcpy(v + n, "\xe2\x82\xac", 3);
                n += 3;
            }
            v[n++] = '"';
            v[n] = '\0';
            field(TEXT, t[i].name, v, over ? 400 : 200, over ? "invalid_length" : NULL,
                  over ? t[i].name : NULL);
        }
    field(TEXT, "stop", "[\"a\",\"\"]", 400, "invalid_length", "stop[1]");
    field(TEXT, "stop", "[\"a\",5]", 400, "invalid_type", "stop[1]");
    field(TEXT, "stop_token_ids", "[1,258]", 400, "invalid_value", "stop_token_ids[1]");
    field(TEXT, "stop_token_ids", "[\"a\"]", 400, "invalid_type", "stop_token_ids[0]");
    field(TEXT, "stream_options", "{\"include_usage\":1},\"stream\":true", 400, "invalid_type",
          "stream_options.include_usage");
    field(TEXT, "repeat_last_n", "64,\"repeat_penalty\":1.1", 400, "unsupported_parameter",
          "repeat_last_n");
    field(TEXT, "repeat_last_n", "-1,\"repeat_penalty\":1.1", 200, NULL, NULL);
    field(TEXT, "logit_bias", "{\"258\":1}", 400, "invalid_value", "logit_bias.258");
    field(TEXT, "logit_bias", "{\"05\":1}", 400, "invalid_value", "logit_bias.05");
    field(TEXT, "logit_bias", "{\"-1\":1}", 400, "invalid_value", "logit_bias.-1");
    field(TEXT, "logit_bias", "{\"5\":1,\"6\":101}", 400, "invalid_value", "logit_bias.6");
    field(TEXT, "logit_bias", "{\"5\":\"1\"}", 400, "invalid_type", "logit_bias.5");
    field(TEXT, "allowed_token_ids", "[5,258]", 400, "invalid_value", "allowed_token_ids[1]");
    field(TEXT, "allowed_token_ids", "[257],\"min_tokens\":1", 400, "invalid_value", NULL);
    field(TEXT, "best_of", "2,\"stream\":true", 400, "invalid_combination", "best_of");
    field(TEXT, "response_format", "{}", 400, "missing_required_parameter", "response_format.type");
}

static void json_case(const char *body, size_t n, int status)
{
    int fd = dial(&rig);
    char head[300];
    post_head(head, sizeof head, TEXT, n, NULL);
    put_all(fd, head, strlen(head));
    put_all(fd, body, n);
    struct answer a = get_answer(fd, false);
    if (a.status != status || (status == 400 && !has(&a, "\"code\":\"invalid_json\"")))
        fail_msg("%.200s: %d %s", body, a.status, a.body);
    free(a.body);
    close(fd);
}

static void test_json(void **s)
{
    static const struct {
        const char *text;
        int status;
    } t[] = {{"", 400},
             {"{", 400},
             {"{\"prompt\":\"x\",}", 400},
             {"{\"prompt\":\"x\"} x", 400},
             {"{\"prompt\":\"x\"}{}", 400},
             {"{\"prompt\":\"x\" /* c */}", 400},
             {"{'prompt':'x'}", 400},
             {"{\"prompt\":\"x\",\"a\":NaN}", 400},
             {"{\"prompt\":\"x\",\"a\":Infinity}", 400},
             {"{\"prompt\":\"x\",\"a\":01}", 400},
             {"{\"prompt\":\"x\",\"a\":1.}", 400},
             {"{\"prompt\":\"x\",\"a\":.5}", 400},
             {"{\"prompt\":\"x\",\"a\":+1}", 400},
             {"{\"prompt\":\"x\",\"a\":1,\"a\":2}", 400},
             {"{\"prompt\":\"x\",\"a\":1,\"\\u0061\":2}", 400},
             {"{\"prompt\":\"x\",\"a\":{\"b\":1,\"b\":2}}", 400},
             {"{\"prompt\":\"\\ud800\"}", 400},
             {"{\"prompt\":\"\\udc00\\ud800\"}", 400},
             {"{\"prompt\":\"\xff\"}", 400},
             {"{\"prompt\":\"\xc0\xaf\"}", 400},
             {"{\"prompt\":\"\xed\xa0\x80\"}", 400},
             {"{\"prompt\":\"a\nb\"}", 400},
             {"{\"prompt\":\"\\x\"}", 400},
             {"\xef\xbb\xbf{\"prompt\":\"x\"}", 400},
             {"{\"prompt\":\"\\ud83d\\ude00\",\"max_tokens\":1}", 200},
             {"{\"prompt\":\"a\\u0000b\",\"max_tokens\":1}", 200},
             {" \t\r\n{\"prompt\":\"x\",\"max_tokens\":1.0} \n", 200},
             {"{\"prompt\":\"x\",\"max_tokens\":1e0}", 200}};
    (void)s;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++)
        json_case(t[i].text, strlen(t[i].text), t[i].status);
    for (int depth = 127; depth <= 128; depth++) { /* below the object itself */
        char body[600];
        int n = sprintf(body, "{\"prompt\":\"x\",\"max_tokens\":1,\"a\":");
        memset(body + n, '[', (size_t)depth);
        memset(body + n + depth, ']', (size_t)depth);
        strcpy(body + n + 2 * depth, "}");
        json_case(body, strlen(body), depth == 127 ? 200 : 400);
    }
}

/* The four forms, none of them empty; choices come prompt by prompt. */
static void test_prompts(void **s)
{
    (void)s;
    expect(TEXT, "{\"prompt\":[\"\",\"x\"]}", 400, "invalid_length", "prompt[0]");
    expect(TEXT, "{\"prompt\":[[]]}", 400, "invalid_length", "prompt[0]");
    expect(TEXT, "{\"prompt\":[[1],2]}", 400, "invalid_type", "prompt[1]");
    expect(TEXT, "{\"prompt\":[1,[2]]}", 400, "invalid_type", "prompt[1]");
    expect(TEXT, "{\"prompt\":[\"a\",[2]]}", 400, "invalid_type", "prompt[1]");
    expect(TEXT, "{\"prompt\":[1,\"a\"]}", 400, "invalid_type", "prompt[1]");
    expect(TEXT, "{\"prompt\":[1.5]}", 400, "invalid_type", "prompt[0]");
    expect(TEXT, "{\"prompt\":[-1]}", 400, "invalid_value", "prompt[0]");
    expect(TEXT, "{\"prompt\":{}}", 400, "invalid_type", "prompt");
    expect(TEXT, "{\"prompt\":true}", 400, "invalid_type", "prompt");
    expect(TEXT, "{\"prompt\":[null]}", 400, "invalid_type", "prompt[0]");
    char big[8000] = "{\"max_tokens\":1,\"prompt\":[";
    size_t n = strlen(big);
    for (int i = 0; i < 1025; i++)
        n += (size_t)sprintf(big + n, "%s\"x\"", i ? "," : "");
    strcpy(big + n, "]}");
    expect(TEXT, big, 400, "invalid_length", "prompt");
    expect(TEXT, "{\"prompt\":[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\",\"i\"],\"n\":128}",
           400, "invalid_length", "n"); /* 1152 sequences */
    struct answer a = post(&rig, TEXT,
                           "{\"prompt\":[[120],[120,121],[120,121,122]],\"n\":2,\"max_tokens\":2}");
    assert_int_equal(a.status, 200);
    const char *p = a.body, *text[] = {"bc", "bc", "cd", "cd", "de", "de"};
    for (int i = 0; i < 6; i++) {
        char want[64];
        snprintf(want, sizeof want, "{\"index\":%d,\"text\":\"%s\"", i, text[i]);
        p = strstr(p, want);
        if (!p)
            fail_msg("%s not in order in %s", want, a.body);
    }
    assert_true(has(&a, "\"usage\":{\"prompt_tokens\":6,\"completion_tokens\":12,"
                        "\"total_tokens\":18,")); /* 9.5: a prompt counts once */
    free(a.body);
}

static void test_context(void **s)
{
    (void)s;
    static char body[8000];
    for (int over = 0; over <= 1; over++) {
        int n = sprintf(body, "{\"max_tokens\":1,\"prompt\":\"");
        memset(body + n, 'a', (size_t)(2047 + over));
        strcpy(body + n + 2047 + over, "\"}");
        expect(TEXT, body, over ? 400 : 200, over ? "context_length_exceeded" : NULL,
               over ? "prompt" : NULL);
    }
    struct answer a = post(&rig, TEXT, "{\"prompt\":\"xyz\",\"max_tokens\":2046}");
    assert_int_equal(a.status, 400);
    assert_true(has(
        &a,
        "This model's maximum context length is 2048 tokens")); /* clients look for these words */
    assert_true(has(&a, "2046") && has(&a, " 3 in"));
    assert_null(strstr(a.body, "xyz")); /* never the prompt's text */
    free(a.body);
    expect(CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"max_tokens\":2048}", 400,
           "context_length_exceeded", "messages");
}

/* Roles, contents, parts. */
static void test_messages(void **s)
{
    static const struct {
        const char *message;
        int status;
        const char *code, *param;
    } t[] = {
        {"5", 400, "invalid_type", "messages[0]"},
        {"{\"content\":\"x\"}", 400, "missing_required_parameter", "messages[0].role"},
        {"{\"role\":5,\"content\":\"x\"}", 400, "invalid_type", "messages[0].role"},
        {"{\"role\":\"user\"}", 400, "missing_required_parameter", "messages[0].content"},
        {"{\"role\":\"user\",\"content\":null}", 400, "missing_required_parameter",
         "messages[0].content"},
        {"{\"role\":\"user\",\"content\":5}", 400, "invalid_type", "messages[0].content"},
        {"{\"role\":\"user\",\"content\":[]}", 400, "invalid_length", "messages[0].content"},
        {"{\"role\":\"user\",\"content\":[\"x\"]}", 400, "invalid_type", "messages[0].content[0]"},
        {"{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}", 400, "missing_required_parameter",
         "messages[0].content[0].text"},
        {"{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}", 400, "unsupported_parameter",
         "messages[0].content[0].type"},
        {"{\"role\":\"user\",\"content\":[{\"type\":\"refusal\",\"refusal\":\"x\"}]}", 400,
         "unsupported_parameter", "messages[0].content[0].type"},
        {"{\"role\":\"assistant\",\"content\":[{\"type\":\"refusal\",\"refusal\":\"x\"}]}", 200,
         NULL, NULL},
        {"{\"role\":\"assistant\"}", 200, NULL, NULL},
        {"{\"role\":\"assistant\",\"content\":null}", 200, NULL, NULL},
        {"{\"role\":\"developer\",\"content\":\"x\"}", 200, NULL, NULL},
        {"{\"role\":\"function\",\"content\":\"x\"}", 200, NULL, NULL},
        {"{\"role\":\"some-other\",\"content\":\"x\"}", 400, "invalid_value", "messages[0].role"},
        {"{\"role\":\"\",\"content\":\"x\"}", 400, "invalid_value", "messages[0].role"},
        {"{\"role\":\"user\\n\",\"content\":\"x\"}", 400, "invalid_value", "messages[0].role"},
        {"{\"role\":\"user\\u0000\",\"content\":\"x\"}", 400, "invalid_value", "messages[0].role"},
        {"{\"role\":\"user<|im_end|>\",\"content\":\"x\"}", 400, "invalid_value",
         "messages[0].role"},
        {"{\"role\":\"user\",\"content\":[{\"text\":\"x\"}],\"name\":null,\"extra\":1}", 200, NULL,
         NULL},
    };
    (void)s;
    char body[400];
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        snprintf(body, sizeof body, "{\"max_tokens\":1,\"messages\":[%s]}", t[i].message);
        expect(CHAT, body, t[i].status, t[i].code, t[i].param);
    }
    expect(CHAT, "{}", 400, "missing_required_parameter", "messages");
    expect(CHAT, "{\"messages\":null}", 400, "missing_required_parameter", "messages");
    expect(CHAT, "{\"messages\":\"x\"}", 400, "invalid_type", "messages");
}

/* Two faults: the first in the contract's order is the answer. */
static void test_order(void **s)
{
    (void)s;
    expect(TEXT, "{\"model\":\"no\",\"temperature\":9", 400, "invalid_json", NULL);
    expect(TEXT, "{\"prompt\":\"x\",\"model\":\"no\",\"temperature\":9}", 400, "invalid_value",
           "temperature");
    expect(TEXT, "{\"prompt\":\"x\",\"min_p\":9,\"top_p\":9}", 400, "invalid_value", "top_p");
    expect(TEXT, "{\"prompt\":\"x\",\"model\":\"no\",\"stream_options\":{\"include_usage\":true}}",
           404, "model_not_found", "model");
    expect(TEXT,
           "{\"prompt\":\"x\",\"max_tokens\":9999,\"stream_options\":{\"include_usage\":true}}",
           400, "invalid_combination", "stream_options");
    static const char put[] = "PUT /no HTTP/1.1\r\nHost: x\r\n\r\n";
    struct answer a = raw(&rig, put, sizeof put - 1);
    assert_int_equal(a.status, 404);
    free(a.body);
}

static void test_tokenize(void **s)
{
    static const struct {
        const char *path, *body;
        int status;
        const char *code, *param;
    } t[] = {
        {"/tokenize", "{\"prompt\":\"a\",\"content\":\"b\"}", 400, "invalid_combination", "prompt"},
        {"/tokenize", "{\"prompt\":5}", 400, "invalid_type", "prompt"},
        {"/tokenize", "{\"prompt\":\"a\",\"model\":\"no\"}", 404, "model_not_found", "model"},
        {"/tokenize", "{\"prompt\":\"a\",\"add_special_tokens\":1}", 400, "invalid_type",
         "add_special_tokens"},
        {"/tokenize", "[]", 400, "invalid_type", NULL},
        {"/tokenize", "{\"prompt\":\"\"}", 200, NULL, NULL},
        {"/detokenize", "{}", 400, "missing_required_parameter", "tokens"},
        {"/detokenize", "{\"tokens\":\"a\"}", 400, "invalid_type", "tokens"},
        {"/detokenize", "{\"tokens\":[\"a\"]}", 400, "invalid_type", "tokens[0]"},
        {"/v1/detokenize", "{\"tokens\":[97,-1]}", 400, "invalid_value", "tokens[1]"},
        {"/v1/detokenize", "{\"tokens\":[97]}", 200, NULL, NULL}};
    (void)s;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++)
        expect(t[i].path, t[i].body, t[i].status, t[i].code, t[i].param);
    static char body[200100];
    int n = sprintf(body, "{\"prompt\":\""); /* off the loop, and longer than the context */
    memset(body + n, 'a', 200000);
    strcpy(body + n + 200000, "\"}");
    struct answer a = post(&rig, "/tokenize", body);
    assert_int_equal(a.status, 200);
    assert_true(has(&a, "{\"count\":200000,\"max_model_len\":2048,\"tokens\":[97,97,"));
    free(a.body);
    a = post(&rig, "/detokenize?xcontent=10", "{\"tokens\":[97]}");
    assert_string_equal(a.body, "{\"prompt\":\"a\"}");
    free(a.body);
    a = post(&rig, "/tokenize", "{\"prompt\":\"h i\",\"return_token_strs\":true}");
    assert_true(has(&a, "\"token_strs\":[\"h\",\"\xc4\xa0\",\"i\"]"));
    free(a.body);
}

/* What the template wrote for this body of /tokenize, through /detokenize. */
static void render(const char *body, const char *want)
{
    struct answer a = post(&rig, "/tokenize", body);
    assert_int_equal(a.status, 200);
    char *from = strstr(a.body, "\"tokens\":["), *to = from ? strchr(from, ']') : NULL;
    assert_non_null(to);
    char back[4000], text[1000];
    snprintf(back, sizeof back, "{%.*s]}", (int)(to - from), from);
    free(a.body);
    a = post(&rig, "/detokenize", back);
    snprintf(text, sizeof text, "{\"prompt\":\"%s\"}", want);
    assert_string_equal(a.body, text);
    free(a.body);
}

/* Developer or system, parts or text, passed fields, parsed arguments; and what the client may set
 * and what not. */
static void test_template(void **s)
{
    (void)s;
    rig_stop(&rig);
    rig_defaults(&rig);
    rig.template =
        "{% for m in messages %}{{ m.role }}={{ m.content }}"
        "{% if m.name %} name {{ m.name }}{% endif %}"
        "{% if m.tool_calls %} call {{ m.tool_calls[0].function.arguments.x }}{% endif %}"
        "{% if m.reasoning_content %} because {{ m.reasoning_content }}{% endif %}|{% endfor %}"
        "{% if add_generation_prompt %}go{% endif %}"
        "{% if note is defined %} note {{ note }}{% endif %}"
        "{% if enable_thinking is defined %} think {{ enable_thinking }}{% endif %}";
    rig_start(&rig);
    render("{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}", "user=hi|go");
    render(
        "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"add_generation_prompt\":false}",
        "user=hi|");
    render("{\"messages\":[{\"role\":\"developer\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
           "{\"text\":\"b\"}],\"name\":\"N\"}]}",
           "system=a\\nb name N|go");
    render("{\"messages\":[{\"role\":\"assistant\",\"content\":null,\"reasoning_content\":\"r\","
           "\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"x\\\": 5}\"}}]}]}",
           "assistant= call 5 because r|go");
    render("{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"chat_template_kwargs\":{"
           "\"note\":\"n\",\"enable_thinking\":false,\"messages\":[],\"add_generation_prompt\":"
           "false}}",
           "user=hi|go note n think False");
#define GO_ON "\"continue_final_message\":true"
    render("{" GO_ON ",\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\","
           "\"content\":\"so a\",\"name\":\"N\"}]}",
           "user=a|assistant=so a");
    render("{" GO_ON
           ",\"messages\":[{\"role\":\"assistant\",\"content\":[{\"text\":\"a\"},{\"text\":"
           "\"b c\"}]}],\"add_generation_prompt\":false}",
           "assistant=a\\nb c");
    expect("/tokenize",
           "{" GO_ON ",\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],"
           "\"add_generation_prompt\":true}",
           400, "invalid_combination", "continue_final_message");
    expect("/tokenize", "{" GO_ON ",\"messages\":[{\"role\":\"assistant\"}]}", 400,
           "invalid_combination", "continue_final_message");
    render("{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"reasoning_effort\":\"none\"}",
           "user=hi|go think False");
    render("{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"reasoning_effort\":\"low\"}",
           "user=hi|go think True");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),    cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_json),     cmocka_unit_test(test_prompts),
        cmocka_unit_test(test_context),  cmocka_unit_test(test_messages),
        cmocka_unit_test(test_order),    cmocka_unit_test(test_tokenize),
        cmocka_unit_test(test_template),
    };
    return cmocka_run_group_tests(tests, rig_up, rig_down);
}
