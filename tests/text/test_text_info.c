/* SPDX-License-Identifier: Apache-2.0 */
/* test_text_info.c - what is told of a folder's tokenizer and of a GGUF file's. */
#include "json.h"
#include "testing.h"
#include "text_info.h"

#include <string.h>

static struct view view_of(const char *s)
{
    return (struct view){s, strlen(s)};
}

static const struct json *parsed(struct json_doc *d, const struct text_info *i)
{
    assert_int_equal(json_parse(d, i->config.p, i->config.n, NULL), 0);
    return &d->v[0];
}

static void test_folder(void **state)
{
    const struct text_source src = {
        .tokenizer_json = view_of("{}"),
        .tokenizer_config_json = view_of(
            "{\"bos_token\":{\"content\":\"<s>\",\"special\":true},\"eos_token\":\"</s>\","
            "\"model_max_length\":1e30,\"name_or_path\":\"/home/someone/model\","
            "\"tokenizer_file\":\"/home/someone/t\",\"chat_template\":\"{{ old }}\"}"),
        .chat_template_jinja = view_of("{{ \"new\" }}"),
        .bos_id = -1,
        .eos_id = -1,
        .unk_id = -1,
        .pad_id = -1};
    struct text_info i;
    struct json_doc d;
    (void)state;
    assert_int_equal(text_info_read(&i, &src, true, NULL), 0);
    assert_string_equal(i.bos.p, "<s>");
    assert_string_equal(i.eos.p, "</s>");
    assert_true(i.template.n == 11 && memcmp(i.template.p, "{{ \"new\" }}", 11) == 0);
    const struct json *o = parsed(&d, &i);
    assert_true(json_is(json_get(&d, o, "tokenizer_class"), "PreTrainedTokenizerFast"));
    assert_true(json_is(json_get(&d, o, "chat_template"), "{{ \"new\" }}"));
    assert_true(json_is(json_get(&d, json_get(&d, o, "bos_token"), "content"), "<s>"));
    assert_true(json_get(&d, o, "model_max_length")->d == 1e30);
    assert_null(json_get(&d, o, "name_or_path"));
    assert_null(json_get(&d, o, "tokenizer_file"));
    json_free(&d);
    text_info_fini(&i);
    assert_int_equal(text_info_read(&i, &src, false, NULL), 0);
    assert_true(!i.config.p && i.template.p);
    text_info_fini(&i);
}

static void test_class_is_kept(void **state)
{
    const struct text_source src = {
        .tokenizer_json = view_of("{}"),
        .tokenizer_config_json = view_of("{\"tokenizer_class\":\"LlamaTokenizer\"}")};
    struct text_info i;
    struct json_doc d;
    (void)state;
    assert_int_equal(text_info_read(&i, &src, true, NULL), 0);
    const struct json *o = parsed(&d, &i);
    assert_true(json_is(json_get(&d, o, "tokenizer_class"), "LlamaTokenizer"));
    assert_null(json_get(&d, o, "chat_template"));
    assert_true(!i.template.p && !i.bos.p);
    json_free(&d);
    text_info_fini(&i);
}

static void test_no_config(void **state)
{
    const struct text_source src = {.tokenizer_json = view_of("{}")};
    struct text_info i;
    (void)state;
    assert_int_equal(text_info_read(&i, &src, true, NULL), 0);
    assert_int_equal(i.config.n, strlen("{\"tokenizer_class\":\"PreTrainedTokenizerFast\"}"));
    text_info_fini(&i);
}

static void test_damaged(void **state)
{
    const struct text_source src = {.tokenizer_json = view_of("{}"),
                                    .tokenizer_config_json = view_of("{\"a\":")};
    struct text_info i;
    struct err e;
    (void)state;
    assert_int_equal(text_info_read(&i, &src, true, &e), ST_FORMAT);
    text_info_fini(&i);
}

static void test_gguf(void **state)
{
    const struct view tokens[] = {view_of("<a>"), view_of("<b>")};
    const struct text_source src = {.gguf_model = view_of("gpt2"),
                                    .gguf_tokens = tokens,
                                    .n_gguf_tokens = 2,
                                    .gguf_chat_template = view_of("{{ x }}"),
                                    .bos_id = 0,
                                    .eos_id = 1,
                                    .unk_id = -1,
                                    .pad_id = 99,
                                    .add_bos = 1,
                                    .add_eos = -1};
    static const char want[] =
        "{\"bos_token\":\"<a>\",\"eos_token\":\"<b>\",\"add_bos_token\":true,"
        "\"tokenizer_class\":\"PreTrainedTokenizerFast\",\"chat_template\":"
        "\"{{ x }}\"}";
    struct text_info i;
    (void)state;
    assert_int_equal(text_info_read(&i, &src, true, NULL), 0);
    assert_int_equal(i.config.n, sizeof want - 1);
    assert_memory_equal(i.config.p, want, sizeof want - 1);
    assert_string_equal(i.eos.p, "<b>");
    text_info_fini(&i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_folder),
                                       cmocka_unit_test(test_class_is_kept),
                                       cmocka_unit_test(test_no_config),
                                       cmocka_unit_test(test_damaged), cmocka_unit_test(test_gguf)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
