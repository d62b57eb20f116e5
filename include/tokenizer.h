/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.h - text to token ids: encoding, and what is asked about ids (detok.h goes back).
 *
 * struct tok is immutable after loading and may be used by any thread at once.
 */
#ifndef QUIRE_TOKENIZER_H
#define QUIRE_TOKENIZER_H

#include "buf.h"
#include "ids.h"
#include "status.h"
#include "text_source.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tok;
/* From tokenizer.json (+ tokenizer_config.json) or GGUF metadata. What the file asks for and we
 * lack is refused by name (ST_UNSUPPORTED); a damaged file is ST_FORMAT. */
int tok_open(struct tok **out, const struct text_source *src, struct err *e);
void tok_close(struct tok *t);

enum {
    TOK_SPECIAL = 1,       /* add BOS/EOS as the post-processor says */
    TOK_PARSE_SPECIAL = 2, /* added tokens marked special are found in the text; without it they are
                              plain text (other added tokens are always parsed) */
    TOK_ADDED_AS_TEXT = 4  /* no added token at all is parsed */
};
/* Appends to *out. Input must be valid UTF-8 (ST_INVALID_VALUE otherwise). Time is linear in n. */
int tok_encode(const struct tok *t, const char *s, size_t n, unsigned flags, struct ids *out,
               struct err *e);
int32_t tok_vocab(const struct tok *t); /* ids are < this (added tokens included) */
/* The vocabulary string of an id (e.g. "Ġam"); *n = 0 and NULL when there is no such id. */
const char *tok_string(const struct tok *t, token_id id, size_t *n);
token_id tok_find(const struct tok *t, const char *s, size_t n); /* exact vocabulary string; -1 */
bool tok_is_special(const struct tok *t, token_id id);
/* The raw bytes an id stands for inside a text (no start-of-text stripping), as long as t lives;
 * none when there is no such id. */
struct view tok_view(const struct tok *t, token_id id);
/* Appends them. */
void tok_bytes(const struct tok *t, token_id id, struct buf *out);
token_id tok_bos(const struct tok *t), tok_eos(const struct tok *t); /* -1 = none */

#endif
