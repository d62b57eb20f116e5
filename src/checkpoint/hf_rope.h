/* SPDX-License-Identifier: Apache-2.0 */
/* hf_rope.h - the rotary embedding of a config.json. Opening thread. Private to checkpoint/. */
#ifndef QUIRE_CHECKPOINT_HF_ROPE_H
#define QUIRE_CHECKPOINT_HF_ROPE_H

#include "model_config.h"
#include "status.h"

struct json_obj;
/* Fills rope[0] for kind[0]; YaRN raises max_position to what it scales to. After the sizes. */
int hf_rope_read(struct model_config *c, const struct json_obj *j, struct err *e);

#endif
