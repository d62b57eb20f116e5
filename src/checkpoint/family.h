/* SPDX-License-Identifier: Apache-2.0 */
/* family.h - what distinguishes the model families: one row each, no code elsewhere. */
#ifndef QUIRE_CHECKPOINT_FAMILY_H
#define QUIRE_CHECKPOINT_FAMILY_H

#include "model_config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum bias_rule { BIAS_NEVER, BIAS_ALWAYS, BIAS_BY_KEY };

struct family {
    const char *name;        /* model_type of config.json, and model_config.family */
    const char *hf_arch;     /* architectures[0] of config.json */
    const char *gguf_arch;   /* general.architecture; NULL = comes under another name */
    enum bias_rule qkv_bias; /* BY_KEY: config.json's attention_bias, which covers o_proj too */
    /* What the class of transformers takes where config.json is silent; 0: as many key/value heads
     * as heads; an even share of the hidden size; no window. */
    int32_t kv_heads, head_dim, max_position, window;
    bool window_switch; /* use_sliding_window, off by default, and max_window_layers */
    bool mlp_bias_key;  /* config.json's mlp_bias is honoured */
    bool qk_norm;
    bool gguf_permuted; /* q and k rows are stored in interleaved rotary pairs */
};

/* NULL when there is no such row. */
const struct family *family_by_model_type(const char *model_type);
const struct family *family_by_gguf_arch(const char *arch, size_t n);
/* "llama, mistral, ..." for messages: all names, cut to n bytes. */
void family_names(char *buf, size_t n);

/* The name of a weight in a file; false when this format has no such tensor. */
bool family_tensor_name(bool gguf, int32_t layer, int role, char *buf, size_t n);

#endif
