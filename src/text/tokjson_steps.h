/* SPDX-License-Identifier: Apache-2.0 */
/* tokjson_steps.h - reading tokenizer.json's components. Private to text/. */
#ifndef QUIRE_TEXT_TOKJSON_STEPS_H
#define QUIRE_TEXT_TOKJSON_STEPS_H

#include "json_file.h"
#include "tok.h"

/* Each takes the component (NULL or null: nothing to do). ST_UNSUPPORTED names what we lack. */
int js_normalizer(struct normalizer *m, const cJSON *o, struct err *e);
/* *byte_level: the pieces end in the byte-level alphabet. */
int js_pretok(struct pretok *p, bool *byte_level, const cJSON *o, struct err *e);
int js_decoder(struct decoder *d, const cJSON *o, struct err *e);
int js_post(struct tok *t, const cJSON *o, struct err *e);

#endif
