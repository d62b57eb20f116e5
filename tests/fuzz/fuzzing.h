/* SPDX-License-Identifier: Apache-2.0 */
/* fuzzing.h - what fuzz targets share: checks that stop the run, and two tokenizers that need no
 * file. A target defines LLVMFuzzerTestOneInput; libFuzzer or replay_main.c calls it. */
#ifndef QUIRE_TESTS_FUZZING_H
#define QUIRE_TESTS_FUZZING_H

#include "text/tok.h"
#include "utf8.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static inline void must(bool ok)
{
    if (!ok)
        abort();
}

static inline void must_equal(const struct buf *b, const char *s, size_t n)
{
    must(b->n == n && (n == 0 || memcmp(b->p, s, n) == 0));
}

/* Whole code points from byte `from` on. */
static inline void must_be_whole(const struct buf *b, size_t from)
{
    must(b->n == from || utf8_valid_prefix(b->p + from, b->n - from) == b->n - from);
}

static inline struct tok *fuzz_open(const struct buf *json)
{
    struct text_source src = {.tokenizer_json = {json->p, json->n}};
    struct tok *t = NULL;
    struct err e;
    if (tok_open(&t, &src, &e)) {
        fprintf(stderr, "%s\n", e.msg);
        abort();
    }
    return t;
}

static inline void fuzz_add(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

/* Byte level: ids 0 to 255 are the bytes, a few merges, one special token and one that is not. */
static inline struct tok *fuzz_tok_bytes(void)
{
    struct buf j = {0};
    struct tok *t;
    unsigned next = 0x100;
    fuzz_add(&j,
             "{\"added_tokens\":[{\"id\":300,\"content\":\"<s>\",\"special\":true},"
             "{\"id\":301,\"content\":\"  \",\"special\":false,\"normalized\":true}],"
             "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\","
             "\"individual_digits\":true},{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]},"
             "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{");
    for (unsigned b = 0; b < 256; b++) {
        bool plain = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
        char s[24];
        snprintf(s, sizeof s, "\"\\u%04x\":%u,", plain ? b : next, b);
        next += !plain;
        fuzz_add(&j, s);
    }
    fuzz_add(&j,
             "\"aa\":256,\"aaa\":257,\"ab\":258,\"aab\":259,\"\\u0120a\":260,\"\\u0120\\u0120\":"
             "261},\"merges\":[\"a a\",\"aa a\",\"a b\",\"aa b\",\"\\u0120 a\",\"\\u0120 "
             "\\u0120\"]}}");
    t = fuzz_open(&j);
    buf_free(&j);
    return t;
}

/* SentencePiece style: ids 0 to 255 are <0xNN>, then pieces; the decoder strips at both ends. */
static inline struct tok *fuzz_tok_pieces(void)
{
    struct buf j = {0};
    struct tok *t;
    fuzz_add(&j,
             "{\"added_tokens\":[{\"id\":300,\"content\":\"<s>\",\"special\":true}],"
             "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\","
             "\"prepend\":\"\\u2581\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},"
             "\"content\":\"\\u2581\"}]},\"decoder\":{\"type\":\"Sequence\",\"decoders\":["
             "{\"type\":\"Replace\",\"pattern\":{\"String\":\"\\u2581\"},\"content\":\" \"},"
             "{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":"
             "\" \",\"start\":1,\"stop\":1}]},\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,"
             "\"fuse_unk\":true,\"vocab\":{");
    for (unsigned b = 0; b < 256; b++) {
        char s[24];
        snprintf(s, sizeof s, "\"<0x%02X>\":%u,", b, b);
        fuzz_add(&j, s);
    }
    fuzz_add(&j, "\"\\u2581\":256,\"a\":257,\"b\":258,\"ab\":259,\"\\u2581a\":260,\"\\u00e9\":261},"
                 "\"merges\":[\"a b\",\"\\u2581 a\"]}}");
    t = fuzz_open(&j);
    buf_free(&j);
    return t;
}

#endif
