/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_tok_load.c - any bytes as tokenizer.json, and as tokenizer_config.json beside a good one:
 * either refused, or a tokenizer that encodes and decodes. */
#include "detok.h"
#include "fuzzing.h"

static const char good[] = "{\"added_tokens\":[{\"id\":4,\"content\":\"<s>\",\"special\":true}],"
                           "\"model\":{\"type\":\"BPE\","
                           "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\" \":3},\"merges\":[\"a b\"]}}";

static void use(const struct tok *t)
{
    static const char text[] = "a <s> ab\xC3\xA9 1\n b";
    struct ids ids = {0};
    struct buf back = {0};
    struct detok d;
    if (tok_encode(t, text, sizeof text - 1, TOK_SPECIAL | TOK_PARSE_SPECIAL, &ids, NULL) == 0)
        tok_decode(t, ids.p, ids.n, false, &back);
    detok_init(&d, t, true);
    for (size_t i = 0; i < ids.n; i++)
        detok_push(&d, ids.p[i], &back);
    detok_flush(&d, &back);
    ids_free(&ids);
    buf_free(&back);
}

static void try(struct text_source *src)
{
    struct tok *t;
    struct err e;
    if (tok_open(&t, src, &e) == 0) {
        use(t);
        tok_close(t);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct text_source src = {.tokenizer_json = {(const char *)data, n}};
    try(&src);
    src = (struct text_source){.tokenizer_json = {good, sizeof good - 1},
                               .tokenizer_config_json = {(const char *)data, n}};
    try(&src);
    return 0;
}
