/* SPDX-License-Identifier: Apache-2.0 */
/* text_info.h - what a model's files say about its text, as clients that render or tokenise by
 * themselves ask for it. Read once, at load, by one thread; then it may be read by any.
 */
#ifndef QUIRE_TEXT_INFO_H
#define QUIRE_TEXT_INFO_H

#include "buf.h"
#include "status.h"
#include "text_source.h"

#include <stdbool.h>

struct text_info {
    struct buf template; /* the chat template's source; p == NULL: the model has none */
    struct buf bos, eos; /* the tokens' strings; p == NULL: none */
    struct buf config;   /* JSON: tokenizer_config.json, or what GGUF metadata says of it; the
                            template in use and tokenizer_class are always in it, and no names of
                            files. p == NULL: not asked for */
};

/* Fills in *out; text_info_fini in every case. The status of a damaged file. */
int text_info_read(struct text_info *out, const struct text_source *src, bool config,
                   struct err *e);
void text_info_fini(struct text_info *i);

#endif
