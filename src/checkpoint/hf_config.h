/* SPDX-License-Identifier: Apache-2.0 */
/* hf_config.h - what the JSON files of a Hugging Face folder say about the model. Opening thread.
 * Private to checkpoint/. */
#ifndef QUIRE_CHECKPOINT_HF_CONFIG_H
#define QUIRE_CHECKPOINT_HF_CONFIG_H

#include "source.h"

/* config.json: family, sizes, numerics, rope, ids that end a generation. Checked; FORMAT for what
 * cannot be, UNSUPPORTED naming what we do not compute. Call first. */
int hf_config_read(struct model_source *s, const void *p, size_t n, struct err *e);
/* generation_config.json: sampling defaults, further ids that end a generation. */
int hf_generation_read(struct model_source *s, const void *p, size_t n, struct err *e);

struct json_obj;
/* eos_token_id of a file: an id or a list of ids. */
int hf_ends_read(struct model_source *s, const struct json_obj *j, struct err *e);

#endif
