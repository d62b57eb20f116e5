/* SPDX-License-Identifier: Apache-2.0 */
/* tok.h - the tokenizer's parts put together. Private to text/. */
#ifndef QUIRE_TEXT_TOK_H
#define QUIRE_TEXT_TOK_H

#include "added.h"
#include "bpe.h"
#include "decode.h"
#include "normalize.h"
#include "pretok.h"
#include "tokenizer.h"

#include <stdatomic.h>

/* Does the model encode a vocabulary string as that one token? Filled in as texts ask; racing
 * threads write the same answer. */
enum { SELF_UNKNOWN, SELF_YES, SELF_NO };

struct tok {
    struct vocab v;
    struct merges merges;
    bool ignore_merges, byte_fallback, fuse_unk;
    bool split_words; /* no merge crosses the border before U+2581, so words are encoded apart */
    token_id unk;
    token_id byte_id[256]; /* byte level: the byte's token; byte fallback: <0xNN>; -1 = none */
    _Atomic uint8_t *self; /* [v.n] SELF_* */
    struct normalizer norm;
    struct pretok pre;
    struct decoder dec;
    bool has_affix;               /* one of the two below is not empty */
    struct buf subword, word_end; /* continuing_subword_prefix, end_of_word_suffix */
    token_id char_id[128];        /* not byte level: the ASCII characters' tokens; -1 = none */
    /* [0] matched in the input, [1] in the normalised text; without the special ones in plain_;
     * without all that could act as markup in span_ (see tok_put_added). */
    struct added_trie *added[2], *plain_added[2], *span_added[2];
    struct ids prefix, suffix; /* what TOK_SPECIAL adds */
    token_id bos, eos;
};

/* tok_encode of text in which [spans[i].begin, spans[i].end), ascending and disjoint, came from a
 * user: the whole is normalised, cut and merged as one text, but added tokens are found only
 * outside the spans (inside them only those that cannot act as markup, e.g. runs of spaces), and
 * none that crosses a border. flags as in tok_encode, for what is outside. */
int tok_encode_spans(const struct tok *t, const char *text, size_t n, const struct span *spans,
                     size_t n_spans, unsigned flags, struct ids *out, struct err *e);

#endif
