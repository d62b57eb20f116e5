/* SPDX-License-Identifier: Apache-2.0 */
/* ends.c, end_names.c, tokgguf.c, tokconfig.c: what ends a generation, however the files say it;
 * and the text of added tokens. */
#include "testing.h"

#include "detok.h"
#include "ends.h"
#include "tokenizer.h"

#include <stdio.h>
#include <string.h>

enum { VOCAB = 300 };

static struct view view_of(const char *s)
{
    return (struct view){s, strlen(s)};
}

/* "4 1": the ids that were found. */
static const char *found(const struct text_source *src, int32_t vocab)
{
    static char text[256];
    struct tok *t;
    struct ends ends;
    struct err e = {0};
    size_t n = 0;
    if (tok_open(&t, src, &e) != 0 || ends_find(&ends, src, t, vocab, &e) != 0)
        fail_msg("%s", e.msg);
    text[0] = '\0';
    for (int32_t i = 0; i < ends.n; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, i ? " %d" : "%d", (int)ends.v[i].id);
    tok_close(t);
    return text;
}

/* ---- folders ---- */

static const char json[] =
    "{\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"special\":true},"
    "{\"id\":1,\"content\":\"</s>\",\"special\":true},"
    "{\"id\":3,\"content\":\"<|im_start|>\",\"special\":true},"
    "{\"id\":4,\"content\":\"<|im_end|>\",\"special\":true},"
    "{\"id\":5,\"content\":\"<|endoftext|>\",\"special\":true},"
    "{\"id\":6,\"content\":\"f\xC3\xBCr\",\"special\":false},"
    "{\"id\":7,\"content\":\"<|eot_id|>\",\"special\":false}],"
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
    "\"decoder\":{\"type\":\"ByteLevel\"},"
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":8,\"b\":9,\"\xC3\xBC\":10,\"f\":11,\"r\":12,"
    "\"\xC4\xA0\":13},\"merges\":[]}}";

static void test_folder(void **state)
{
    (void)state;
    static const struct end_id one[] = {{1, "config.json"}},
                               off[] = {{1, "config.json"}, {99, "x"}};
    static const struct {
        const char *config, *template;
        size_t n;
        const char *want;
    } cases[] = {
        /* as transformers 4 wrote it, as 5 does, and as an object */
        {"{\"eos_token\":\"<|im_end|>\",\"added_tokens_decoder\":{\"4\":{\"content\":\"<|im_end|>"
         "\"}}}",
         NULL, 1, "1 4"},
        {"{\"eos_token\":\"<|im_end|>\"}", NULL, 1, "1 4"},
        {"{\"eos_token\":{\"content\":\"<|im_end|>\"}}", NULL, 1, "1 4"},
        {"{\"eos_token\":\"<|im_end|>\"}", NULL, 0, "4"},
        {"{\"eos_token\":\"</s>\"}", NULL, 1, "1"},
        {"{}", NULL, 1, "1"},
        {"{}", NULL, 0, ""},
        /* listed by tokenizer_config.json alone */
        {"{\"eos_token\":\"<x>\",\"added_tokens_decoder\":{\"14\":{\"content\":\"<x>\"}}}", NULL, 1,
         "1 14"},
        /* what the template ends a turn with, where the tokenizer has it as special */
        {"{}", "{{ m }}<|im_end|>\n", 1, "1 4"},
        {"{}", "<|eot_id|>", 1, "1"},
        {"{}", "im_end", 1, "1"},
        {"{\"chat_template\":\"<|endoftext|>\"}", NULL, 1, "1 5"},
        {"{\"eos_token\":\"<|im_end|>\"}", "<|im_end|><|endoftext|>", 1, "1 4 5"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct text_source src = {.tokenizer_json = view_of(json),
                                  .tokenizer_config_json = view_of(cases[i].config),
                                  .ends = one,
                                  .n_ends = cases[i].n};
        if (cases[i].template)
            src.chat_template_jinja = view_of(cases[i].template);
        const char *got = found(&src, VOCAB);
        if (strcmp(got, cases[i].want) != 0)
            fail_msg("%s %s: '%s', not '%s'", cases[i].config,
                     cases[i].template ? cases[i].template : "", got, cases[i].want);
    }
    struct text_source src = {.tokenizer_json = view_of(json), .ends = off, .n_ends = 2};
    assert_string_equal(found(&src, 50), "1"); /* the model never says 99 */
}

/* More than there is room for is refused, not cut. */
static void test_too_many(void **state)
{
    (void)state;
    static struct end_id ids[MAX_EOS];
    struct text_source src = {.tokenizer_json = view_of(json),
                              .tokenizer_config_json = view_of("{\"eos_token\":\"<|im_end|>\"}"),
                              .ends = ids,
                              .n_ends = MAX_EOS};
    struct tok *t;
    struct ends ends;
    struct err e = {0};
    for (int i = 0; i < MAX_EOS; i++)
        ids[i] = (struct end_id){10 + i, "config.json"};
    assert_int_equal(tok_open(&t, &src, &e), 0);
    assert_int_equal(ends_find(&ends, &src, t, VOCAB, &e), ST_UNSUPPORTED);
    src.n_ends--;
    assert_int_equal(ends_find(&ends, &src, t, VOCAB, &e), 0);
    assert_int_equal(ends.v[MAX_EOS - 1].id, 4);
    tok_close(t);
}

static void test_said(void **state)
{
    (void)state;
    static const struct end_id one[] = {{1, "config.json"}};
    struct text_source src = {.tokenizer_json = view_of(json),
                              .tokenizer_config_json = view_of("{\"eos_token\":\"<|im_end|>\"}"),
                              .ends = one,
                              .n_ends = 1};
    struct tok *t;
    struct ends ends;
    struct err e = {0};
    struct buf b = {0};
    assert_int_equal(tok_open(&t, &src, &e), 0);
    assert_int_equal(ends_find(&ends, &src, t, VOCAB, &e), 0);
    ends_text(&ends, t, &b);
    assert_string_equal(b.p, "1(</s>,config.json) 4(<|im_end|>,tokenizer)");
    buf_free(&b);
    tok_close(t);
}

/* ---- GGUF metadata ---- */

/* Tokens a and b, then one with this text and type (types NULL: no array); 1 is the key's end. */
static struct text_source gguf_of(const char *name, int32_t type, struct view *tokens,
                                  int32_t *types)
{
    static const struct end_id key[] = {{1, "tokenizer.ggml.eos_token_id"}};
    tokens[0] = view_of("a");
    tokens[1] = view_of("</s>");
    tokens[2] = view_of("b");
    tokens[3] = view_of(name);
    types[0] = types[2] = 1;
    types[1] = 3;
    types[3] = type;
    return (struct text_source){.gguf_model = {"gpt2", 4},
                                .gguf_pre = {"gpt-2", 5},
                                .gguf_tokens = tokens,
                                .n_gguf_tokens = 4,
                                .gguf_types = type ? types : NULL,
                                .ends = key,
                                .n_ends = 1,
                                .bos_id = -1,
                                .eos_id = 1,
                                .unk_id = -1,
                                .pad_id = -1,
                                .add_bos = -1,
                                .add_eos = -1,
                                .add_space_prefix = -1};
}

static void test_gguf_names(void **state)
{
    (void)state;
    static const char *const names[] = {
        "<|im_end|>",
        "<|eot_id|>",
        "<|eom_id|>",
        "<|eot|>",
        "<|end|>",
        "<end_of_turn>",
        "<turn|>",
        "<|endoftext|>",
        "<EOT>",
        "_<EOT>",
        "[EOT]",
        "<|end_of_text|>",
        "<|return|>",
        "<end_of_utterance>",
        "<\357\275\234end\342\226\201of\342\226\201sentence\357\275\234>"};
    struct view tokens[4];
    int32_t types[4];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        for (int32_t type = 0; type <= 4; type++) { /* none, normal, unknown, control, user's */
            struct text_source src = gguf_of(names[i], type, tokens, types);
            struct tok *t;
            struct ids ids = {0};
            struct buf text = {0};
            struct err e = {0};
            if (strcmp(found(&src, VOCAB), "1 3") != 0)
                fail_msg("%s of type %d: %s", names[i], (int)type, found(&src, VOCAB));
            assert_int_equal(tok_open(&t, &src, &e), 0);
            /* one token in the template's text, and no text of an answer */
            tok_encode(t, names[i], strlen(names[i]), TOK_PARSE_SPECIAL, &ids, &e);
            assert_true(ids.n == 1 && ids.p[0] == 3);
            assert_true(tok_is_special(t, 3));
            tok_decode(t, ids.p, 1, true, &text);
            assert_int_equal(text.n, 0);
            tok_decode(t, ids.p, 1, false, &text);
            assert_true(text.n == strlen(names[i]) && memcmp(text.p, names[i], text.n) == 0);
            ids_free(&ids);
            buf_free(&text);
            tok_close(t);
        }
    }
}

static void test_gguf_others(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int32_t type;
        const char *want;
    } cases[] = {
        {"<|im_start|>", 3, "1"}, {"<|im_end|>x", 1, "1"}, {"im_end", 4, "1"},
        {"<eos>", 1, "1"}, /* a word of prose about models, unless it is marked */
        {"<eos>", 4, "1"},        {"<eos>", 3, "1 3"},     {"<|fim_pad|>", 3, "1"},
    };
    struct view tokens[4];
    int32_t types[4];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct text_source src = gguf_of(cases[i].name, cases[i].type, tokens, types);
        const char *got = found(&src, VOCAB);
        if (strcmp(got, cases[i].want) != 0)
            fail_msg("%s of type %d: %s", cases[i].name, (int)cases[i].type, got);
    }
    /* where "<|return|>" ends the answer, "<|end|>" ends a part of it */
    struct text_source src = gguf_of("<|end|>", 3, tokens, types);
    struct view with_return[4] = {tokens[0], tokens[1], view_of("<|return|>"), tokens[3]};
    static const int32_t control[4] = {1, 3, 3, 3};
    src.gguf_tokens = with_return;
    src.gguf_types = control;
    assert_string_equal(found(&src, VOCAB), "1 2");
}

/* ---- the text of added tokens ---- */

static void expect_text(const struct tok *t, token_id id, const char *want)
{
    struct buf all = {0}, one = {0};
    struct detok d;
    tok_decode(t, &id, 1, false, &all);
    detok_init(&d, t, false);
    detok_push(&d, id, &one);
    detok_flush(&d, &one);
    if (all.n != strlen(want) || memcmp(all.p, want, all.n) != 0)
        fail_msg("%d: '%.*s', not '%s'", (int)id, (int)all.n, all.p ? all.p : "", want);
    assert_true(one.n == all.n && memcmp(one.p, all.p, all.n) == 0);
    buf_free(&all);
    buf_free(&one);
}

/* Letters of the byte alphabet stand for bytes in the model's tokens, and for themselves in a token
 * that was added. */
static void test_added_text(void **state)
{
    (void)state;
    static const char *const words[] = {"f\xC3\xBCr", "\xC4\x91\x65m", "\xE6\x97\xA5\xE6\x9C\xAC",
                                        "se\xC3\xB1or"};
    struct view tokens[4];
    int32_t types[4];
    struct tok *t;
    struct err e = {0};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        for (int32_t type = 3; type <= 4; type++) {
            struct text_source src = gguf_of(words[i], type, tokens, types);
            assert_int_equal(tok_open(&t, &src, &e), 0);
            expect_text(t, 3, words[i]);
            tok_close(t);
        }
    }
    /* a model's token is bytes */
    struct text_source src = gguf_of("\xC3\x83\xC2\xBC", 1, tokens, types);
    assert_int_equal(tok_open(&t, &src, &e), 0);
    expect_text(t, 3, "\xC3\xBC");
    tok_close(t);
    src = (struct text_source){.tokenizer_json = view_of(json)};
    assert_int_equal(tok_open(&t, &src, &e), 0);
    expect_text(t, 6, "f\xC3\xBCr");
    expect_text(t, 10, "\xEF\xBF\xBD"); /* the byte FC alone */
    expect_text(t, 13, " ");
    tok_close(t);
}

/* ---- a split rule's name ---- */

static void test_pixtral(void **state)
{
    (void)state;
    static const char *const words[] = {"2", "0", "4", "20", "202"};
    static const struct view merges[] = {{"2 0", 3}, {"20 2", 4}};
    static const char *const names[] = {"pixtral", "llama-bpe", "tekken"};
    struct view tokens[5];
    struct err e = {0};
    for (int i = 0; i < 5; i++)
        tokens[i] = view_of(words[i]);
    for (int i = 0; i < 3; i++) {
        struct text_source src = {.gguf_model = {"gpt2", 4},
                                  .gguf_pre = view_of(names[i]),
                                  .gguf_tokens = tokens,
                                  .n_gguf_tokens = 5,
                                  .gguf_merges = merges,
                                  .n_gguf_merges = 2,
                                  .bos_id = -1,
                                  .eos_id = -1,
                                  .unk_id = -1,
                                  .pad_id = -1,
                                  .add_bos = 0,
                                  .add_eos = -1,
                                  .add_space_prefix = -1};
        struct tok *t;
        struct ids ids = {0};
        assert_int_equal(tok_open(&t, &src, &e), 0);
        tok_encode(t, "2024", 4, 0, &ids, &e);
        if (i < 2) { /* up to three digits together */
            assert_int_equal(ids.n, 2);
            assert_true(ids.p[0] == 4 && ids.p[1] == 2);
        } else {
            assert_int_equal(ids.n, 4);
        }
        ids_free(&ids);
        tok_close(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folder),      cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_said),        cmocka_unit_test(test_gguf_names),
        cmocka_unit_test(test_gguf_others), cmocka_unit_test(test_added_text),
        cmocka_unit_test(test_pixtral),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
