/* SPDX-License-Identifier: Apache-2.0 */
/* model_config.h - what a model is: its layers, numerics and weights, as checked numbers.
 *
 * Filled by checkpoint.h from whatever files there are; plain data, read-only afterwards.
 */
#ifndef QUIRE_MODEL_CONFIG_H
#define QUIRE_MODEL_CONFIG_H

#include "ids.h"

#include <stdbool.h>
#include <stdint.h>

enum { MAX_LAYERS = 1024, MAX_LAYER_KINDS = 4, MAX_ROPES = 2, MAX_HEAD_DIM = 256 };

/* How tokens of a layer hear of each other, and what follows. */
enum mixer { MIX_ATTN };
enum ffn { FFN_DENSE };

/* What one layer computes. The layers of a model share a few kinds; all families of today have one,
 * without a window and with nothing of the second line. */
struct layer_kind {
    int32_t mixer;            /* enum mixer */
    bool sinks, gate, k_is_v; /* a learnt logit per head; a gated output; no v weight */
    int32_t window;           /* keys a token sees, 0 = all */
    int32_t n_heads, n_kv_heads, head_dim; /* n_heads is a multiple of n_kv_heads */
    int32_t rope_dim, rope;                /* columns of a head that rotate; by which table */
    int32_t ffn, ffn_dim;                  /* enum ffn */
};

/* Rotary positions as numbers: every scaling is folded in. */
struct rope_table {
    float theta, attn_factor;         /* attn_factor multiplies cos and sin */
    float inv_freq[MAX_HEAD_DIM / 2]; /* [rope_dim / 2] */
};

/* Shape and numerics of a whole model, from config.json or GGUF metadata, checked. */
struct model_config {
    char family[32]; /* llama, mistral, qwen2, qwen3 (SmolLM2 is llama) */
    int32_t n_layers, dim, vocab;
    int32_t max_position; /* the model's own context length, with what its rope scaling adds */
    int32_t n_kinds, n_ropes;
    struct layer_kind kind[MAX_LAYER_KINDS];
    uint8_t kind_of[MAX_LAYERS]; /* [n_layers] index of kind */
    struct rope_table rope[MAX_ROPES];
    float norm_eps;
    bool tied_head, qkv_bias, o_bias, mlp_bias, qk_norm;
    /* generation defaults (generation_config.json); NAN / -1 = not given */
    float gen_temperature, gen_top_p, gen_min_p, gen_repetition;
    int32_t gen_top_k;
    char torch_dtype[16]; /* of the stored weights, informational */
    uint64_t weights_id;  /* hash over names, shapes, sizes and file stats: for fingerprints */
};
static inline const struct layer_kind *layer_kind_of(const struct model_config *c, int32_t layer)
{
    return &c->kind[c->kind_of[layer]];
}

/* Weights of one layer, then those of the whole model (their layer is -1). */
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

/* Whether the model that *c describes has this weight; `layer` is -1 for one of the whole model. */
bool weight_exists(const struct model_config *c, int32_t layer, int role);
/* Rows and columns of a weight; vectors have n_cols = 0. */
void weight_shape(const struct model_config *c, int32_t layer, int role, int64_t *n_rows,
                  int64_t *n_cols);

#endif
