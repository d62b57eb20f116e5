/* SPDX-License-Identifier: Apache-2.0 */
/* hf_config.h - what the JSON files of a Hugging Face folder say about the model. */
#ifndef QUIRE_CHECKPOINT_HF_CONFIG_H
#define QUIRE_CHECKPOINT_HF_CONFIG_H

#include "source.h"

/* config.json: family, sizes, numerics, rope, end-of-sequence ids. Checked; FORMAT for what cannot
 * be, UNSUPPORTED naming what we do not compute. Call first. */
int hf_config_read(struct model_source *s, const void *p, size_t n, struct err *e);
/* generation_config.json: sampling defaults, further end-of-sequence ids. */
int hf_generation_read(struct model_source *s, const void *p, size_t n, struct err *e);
/* tokenizer_config.json: the id of its eos_token, where the file itself lists it. */
int hf_tokenizer_eos_read(struct model_source *s, const void *p, size_t n, struct err *e);

#endif
