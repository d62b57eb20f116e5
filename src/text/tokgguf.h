/* SPDX-License-Identifier: Apache-2.0 */
/* tokgguf.h - reading the tokenizer in GGUF metadata. Private to text/. */
#ifndef QUIRE_TEXT_TOKGGUF_H
#define QUIRE_TEXT_TOKGGUF_H

#include "tok.h"

int tok_load_gguf(struct tok *t, const struct text_source *src, struct err *e);
/* The split rule of that name, with its normaliser and decoder; ST_UNSUPPORTED when it is unknown.
 * *add_bos: whether such models want BOS when the metadata does not say. (tokpre.c) */
int tok_set_pre(struct tok *t, struct view name, bool *add_bos, struct err *e);

#endif
