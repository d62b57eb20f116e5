/* SPDX-License-Identifier: Apache-2.0 */
/* decode.h - decoder steps: ids to text. Private to text/. */
#ifndef QUIRE_TEXT_DECODE_H
#define QUIRE_TEXT_DECODE_H

#include "regex.h"
#include "vocab.h"

enum dec_kind {
    DEC_REPLACE,
    DEC_STRIP,
    DEC_METASPACE,
    DEC_BYTE_FALLBACK,
    DEC_FUSE,
    DEC_BYTE_LEVEL
};
struct dec_step {
    enum dec_kind kind;
    char *from, *to; /* owned; REPLACE: string to string; STRIP, METASPACE: from = the character */
    size_t from_n, to_n;
    uint32_t start, stop; /* STRIP: at most so many of it */
    bool drop_first;      /* METASPACE: the first token's characters vanish */
};
enum { MAX_DEC_STEPS = 16 };
enum dec_mode {
    DEC_JOIN_SPACES, /* no decoder at all: strings joined by spaces */
    DEC_BYTES,       /* byte level: bytes, repaired as UTF-8 */
    DEC_CHARS        /* strings, with runs of <0xNN> tokens */
};
struct decoder {
    enum dec_mode mode;
    struct dec_step step[MAX_DEC_STEPS];
    int n;
    int fuse;          /* index of FUSE, or n: steps before it see one token, after it all text */
    int byte_fallback; /* index of BYTE_FALLBACK, or n */
    bool first_differs;
};
void decoder_fini(struct decoder *d);
/* Check the steps and fill in mode, fuse, ...; ST_UNSUPPORTED for an order that cannot be streamed.
 */
int decoder_seal(struct decoder *d, struct err *e);
/* Fill the decoded string of every id of v, and mark byte tokens. */
void decoder_fill(const struct decoder *d, struct vocab *v);
/* What id contributes, before the steps after FUSE. Not for byte tokens. */
void decoder_token(const struct decoder *d, const struct vocab *v, token_id id, bool first,
                   struct buf *out);
/* Text made of byte tokens: the steps between BYTE_FALLBACK and FUSE. */
void decoder_run_text(const struct decoder *d, const char *s, size_t n, bool first,
                      struct buf *out);

/* The steps after FUSE as a filter over a stream of whole code points. */
struct dec_post {
    uint64_t stripped; /* STRIP: leading characters taken so far */
    uint64_t held;     /* STRIP: trailing characters held back */
    bool started;
};
void decoder_post(const struct decoder *d, struct dec_post *p, const char *s, size_t n,
                  struct buf *out);

#endif
