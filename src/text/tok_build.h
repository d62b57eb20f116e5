/* SPDX-License-Identifier: Apache-2.0 */
/* tok_build.h - filling a struct tok: under the loaders, which know one file format each. Private
 * to text/. One thread, at load. */
#ifndef QUIRE_TEXT_TOK_BUILD_H
#define QUIRE_TEXT_TOK_BUILD_H

#include "tok.h"

/* After the vocabulary, the added tokens and the decoder are in: fills byte_id, split_words, self
 * and the decoded strings. */
int tok_finish(struct tok *t, struct err *e);
/* An added token into the tries. Inside the spans of tok_encode_spans a special token, or one that
 * begins like markup ('<' or '['), is plain text: some models leave their role tokens unmarked. The
 * strip flags are ADDED_*. normalized: matched in the normalised text. */
int tok_put_added(struct tok *t, token_id id, const char *s, size_t n, unsigned strip, bool special,
                  bool normalized, struct err *e);

#endif
