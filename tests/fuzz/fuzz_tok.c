/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_tok.c - any text: what is encoded decodes to itself, streamed or not, and spans of a user's
 * text never yield a special token. The tokenizer is byte level with an alphabet of its own making,
 * so every text has an encoding. */
#include "detok.h"
#include "fuzzing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct tok *t;
    const char *s = (const char *)data;
    struct ids ids = {0};
    struct buf out = {0};
    struct span all = {0, n};
    struct detok d;
    if (!t)
        t = fuzz_tok_bytes();
    if (tok_encode(t, s, n, TOK_PARSE_SPECIAL, &ids, NULL)) {
        must(utf8_valid_prefix(s, n) != n);
        must(ids.n == 0);
        return 0;
    }
    tok_decode(t, ids.p, ids.n, false, &out);
    must_equal(&out, s, n);
    out.n = 0;
    detok_init(&d, t, false);
    for (size_t i = 0; i < ids.n; i++) {
        size_t before = out.n;
        detok_push(&d, ids.p[i], &out);
        must_be_whole(&out, before);
    }
    detok_flush(&d, &out);
    must_equal(&out, s, n);
    ids.n = 0;
    must(tok_encode_spans(t, s, n, &all, 1, TOK_PARSE_SPECIAL, &ids, NULL) == 0);
    for (size_t i = 0; i < ids.n; i++)
        must(!tok_is_special(t, ids.p[i]));
    ids_free(&ids);
    buf_free(&out);
    return 0;
}
