/* family.h - what distinguishes the model families: one row each, no code elsewhere. */
#ifndef QUIRE_CHECKPOINT_FAMILY_H
#define QUIRE_CHECKPOINT_FAMILY_H

#include "model.h"

#include <stdbool.h>
#include <stdint.h>

/* Weights of one layer, then those of the whole model. */
enum weight_role {
    W_ATTN_NORM,
    W_Q,
    W_K,
    W_V,
    W_Q_BIAS,
    W_K_BIAS,
    W_V_BIAS,
    W_Q_NORM,
    W_K_NORM,
    W_O,
    W_O_BIAS,
    W_FFN_NORM,
    W_GATE,
    W_UP,
    W_DOWN,
    W_GATE_BIAS,
    W_UP_BIAS,
    W_DOWN_BIAS,
    N_LAYER_ROLES,
    W_EMBED = N_LAYER_ROLES,
    W_FINAL_NORM,
    W_HEAD,
    N_ROLES,
    N_GLOBAL_ROLES = N_ROLES - N_LAYER_ROLES
};

enum bias_rule { BIAS_NEVER, BIAS_ALWAYS, BIAS_BY_KEY };

struct family {
    const char *name;        /* model_type of config.json, and model_config.family */
    const char *hf_arch;     /* architectures[0] of config.json */
    const char *gguf_arch;   /* general.architecture; NULL = comes under another name */
    enum bias_rule qkv_bias; /* BY_KEY: config.json's attention_bias, which covers o_proj too */
    bool mlp_bias_key;       /* config.json's mlp_bias is honoured */
    bool qk_norm;
    bool gguf_permuted; /* q and k rows are stored in interleaved rotary pairs */
};

/* NULL when there is no such row. */
const struct family *family_by_model_type(const char *model_type);
const struct family *family_by_gguf_arch(const char *arch, size_t n);
/* "llama, mistral, ..." for messages; static. */
const char *family_names(void);

/* The name of a weight in a file; false when this format has no such tensor. */
bool family_tensor_name(bool gguf, int32_t layer, int role, char *buf, size_t n);
/* Whether the model that *c describes has this weight. */
bool family_has_weight(const struct model_config *c, int role);
/* Rows and columns of a weight; vectors have n_cols = 0. */
void family_weight_shape(const struct model_config *c, int role, int64_t *n_rows, int64_t *n_cols);

#endif
