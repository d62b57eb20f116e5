/* SPDX-License-Identifier: Apache-2.0 */
/* tokjson.h - reading the tokenizer's JSON files. Private to text/. */
#ifndef QUIRE_TEXT_TOKJSON_H
#define QUIRE_TEXT_TOKJSON_H

#include "tok.h"

int tok_load_json(struct tok *t, const struct text_source *src, struct err *e);
/* What tokenizer_config.json and special_tokens_map.json say: bos, eos, added BOS/EOS. After
 * tok_finish. (tokconfig.c) */
int tok_apply_config(struct tok *t, const struct text_source *src, struct err *e);

#endif
