/* fuzz_tok.c - any text: what is encoded decodes to itself, streamed or not, and spans of a user's
 * text never yield a special token. The tokenizer is byte level with an alphabet of its own making,
 * so every text has an encoding. */
#include "text.h"
#include "text/tok.h"
#include "text/utf8.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void add(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

/* All 256 bytes in the byte-level alphabet, a few merges, two special tokens. */
static struct tok *make(void)
{
    struct buf j = {0};
    struct text_source src = {0};
    struct tok *t = NULL;
    struct err e;
    unsigned next = 0x100;
    add(&j, "{\"added_tokens\":[{\"id\":300,\"content\":\"<s>\",\"special\":true},"
            "{\"id\":301,\"content\":\"  \",\"special\":false,\"normalized\":true}],"
            "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\","
            "\"individual_digits\":true},{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]},"
            "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{");
    for (unsigned b = 0; b < 256; b++) {
        bool plain = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
        char s[24];
        snprintf(s, sizeof(s), "\"\\u%04x\":%u,", plain ? b : next, b);
        next += !plain;
        add(&j, s);
    }
    add(&j,
        "\"aa\":256,\"aaa\":257,\"ab\":258,\"aab\":259,\"\\u0120a\":260,\"\\u0120\\u0120\":261},"
        "\"merges\":[\"a a\",\"aa a\",\"a b\",\"aa b\",\"\\u0120 a\",\"\\u0120 \\u0120\"]}}");
    src.tokenizer_json = (struct view){j.p, j.n};
    if (tok_open(&t, &src, &e)) {
        fprintf(stderr, "%s\n", e.msg);
        abort();
    }
    buf_free(&j);
    return t;
}

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void same(const struct buf *b, const char *s, size_t n)
{
    must(b->n == n && (n == 0 || memcmp(b->p, s, n) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct tok *t;
    const char *s = (const char *)data;
    struct ids ids = {0};
    struct buf out = {0};
    struct span all = {0, n};
    struct detok d;
    if (!t)
        t = make();
    if (tok_encode(t, s, n, TOK_PARSE_SPECIAL, &ids, NULL)) {
        must(utf8_valid_prefix(s, n) != n);
        must(ids.n == 0);
        return 0;
    }
    tok_decode(t, ids.p, ids.n, false, &out);
    same(&out, s, n);
    out.n = 0;
    detok_init(&d, t, false);
    for (size_t i = 0; i < ids.n; i++) {
        size_t before = out.n;
        detok_push(&d, ids.p[i], &out);
        must(utf8_valid_prefix(out.p + before, out.n - before) == out.n - before);
    }
    detok_flush(&d, &out);
    same(&out, s, n);
    ids.n = 0;
    must(tok_encode_spans(t, s, n, &all, 1, TOK_PARSE_SPECIAL, &ids, NULL) == 0);
    for (size_t i = 0; i < ids.n; i++)
        must(!tok_is_special(t, ids.p[i]));
    ids_free(&ids);
    buf_free(&out);
    return 0;
}
