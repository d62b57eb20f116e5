/* SPDX-License-Identifier: Apache-2.0 */
/* family.c - the table of model families and of tensor names.
 *
 * A new family of the same block shape is one row here. All data is constant; any thread.
 */
#include "family.h"

#include <stdio.h>
#include <string.h>

static const struct family families[] = {
    {.name = "llama",
     .hf_arch = "LlamaForCausalLM",
     .gguf_arch = "llama",
     .qkv_bias = BIAS_BY_KEY,
     .mlp_bias_key = true,
     .max_position = 2048,
     .gguf_permuted = true},
    {.name = "mistral",
     .hf_arch = "MistralForCausalLM",
     .kv_heads = 8,
     .max_position = 131072,
     .window = 4096},
    {.name = "qwen2",
     .hf_arch = "Qwen2ForCausalLM",
     .gguf_arch = "qwen2",
     .qkv_bias = BIAS_ALWAYS,
     .kv_heads = 32,
     .max_position = 32768,
     .window = 4096,
     .window_switch = true},
    {.name = "qwen3",
     .hf_arch = "Qwen3ForCausalLM",
     .gguf_arch = "qwen3",
     .qkv_bias = BIAS_BY_KEY,
     .qk_norm = true,
     .kv_heads = 32,
     .head_dim = 128,
     .max_position = 32768,
     .window = 4096,
     .window_switch = true},
};
enum { N_FAMILIES = sizeof families / sizeof families[0] };

struct role_name {
    const char *hf, *gguf; /* below "model.layers.N." and "blk.N."; whole names for globals */
};

static const struct role_name role_names[N_ROLES] = {
    [W_ATTN_NORM] = {"input_layernorm.weight", "attn_norm.weight"},
    [W_Q] = {"self_attn.q_proj.weight", "attn_q.weight"},
    [W_K] = {"self_attn.k_proj.weight", "attn_k.weight"},
    [W_V] = {"self_attn.v_proj.weight", "attn_v.weight"},
    [W_Q_BIAS] = {"self_attn.q_proj.bias", "attn_q.bias"},
    [W_K_BIAS] = {"self_attn.k_proj.bias", "attn_k.bias"},
    [W_V_BIAS] = {"self_attn.v_proj.bias", "attn_v.bias"},
    [W_Q_NORM] = {"self_attn.q_norm.weight", "attn_q_norm.weight"},
    [W_K_NORM] = {"self_attn.k_norm.weight", "attn_k_norm.weight"},
    [W_O] = {"self_attn.o_proj.weight", "attn_output.weight"},
    [W_O_BIAS] = {"self_attn.o_proj.bias", "attn_output.bias"},
    [W_FFN_NORM] = {"post_attention_layernorm.weight", "ffn_norm.weight"},
    [W_GATE] = {"mlp.gate_proj.weight", "ffn_gate.weight"},
    [W_UP] = {"mlp.up_proj.weight", "ffn_up.weight"},
    [W_DOWN] = {"mlp.down_proj.weight", "ffn_down.weight"},
    [W_GATE_BIAS] = {"mlp.gate_proj.bias", "ffn_gate.bias"},
    [W_UP_BIAS] = {"mlp.up_proj.bias", "ffn_up.bias"},
    [W_DOWN_BIAS] = {"mlp.down_proj.bias", "ffn_down.bias"},
    [W_EMBED] = {"model.embed_tokens.weight", "token_embd.weight"},
    [W_FINAL_NORM] = {"model.norm.weight", "output_norm.weight"},
    [W_HEAD] = {"lm_head.weight", "output.weight"},
};

const struct family *family_by_model_type(const char *model_type)
{
    for (int i = 0; i < N_FAMILIES; i++)
        if (strcmp(families[i].name, model_type) == 0)
            return &families[i];
    return NULL;
}

const struct family *family_by_gguf_arch(const char *arch, size_t n)
{
    for (int i = 0; i < N_FAMILIES; i++) {
        const char *a = families[i].gguf_arch;
        if (a && strlen(a) == n && memcmp(a, arch, n) == 0)
            return &families[i];
    }
    return NULL;
}

void family_names(char *buf, size_t n)
{
    size_t used = 0;
    if (n > 0)
        buf[0] = '\0';
    for (int i = 0; i < N_FAMILIES && used < n; i++)
        used += (size_t)snprintf(buf + used, n - used, "%s%s", i ? ", " : "", families[i].name);
}

bool family_tensor_name(bool gguf, int32_t layer, int role, char *buf, size_t n)
{
    const char *name = gguf ? role_names[role].gguf : role_names[role].hf;
    if (!name)
        return false;
    if (role >= N_LAYER_ROLES)
        snprintf(buf, n, "%s", name);
    else
        snprintf(buf, n, gguf ? "blk.%d.%s" : "model.layers.%d.%s", (int)layer, name);
    return true;
}

bool weight_exists(const struct model_config *c, int32_t layer, int role)
{
    (void)layer; /* all layers of today's families are of one kind */
    switch (role) {
    case W_Q_BIAS:
    case W_K_BIAS:
    case W_V_BIAS:
        return c->qkv_bias;
    case W_O_BIAS:
        return c->o_bias;
    case W_Q_NORM:
    case W_K_NORM:
        return c->qk_norm;
    case W_GATE_BIAS:
    case W_UP_BIAS:
    case W_DOWN_BIAS:
        return c->mlp_bias;
    case W_HEAD:
        return !c->tied_head;
    default:
        return true;
    }
}

void weight_shape(const struct model_config *c, int32_t layer, int role, int64_t *n_rows,
                  int64_t *n_cols)
{
    const struct layer_kind *k = layer_kind_of(c, layer < 0 ? 0 : layer);
    int64_t q = (int64_t)k->n_heads * k->head_dim, kv = (int64_t)k->n_kv_heads * k->head_dim;
    const int64_t shape[N_ROLES][2] = {
        [W_ATTN_NORM] = {c->dim, 0},
        [W_Q] = {q, c->dim},
        [W_K] = {kv, c->dim},
        [W_V] = {kv, c->dim},
        [W_Q_BIAS] = {q, 0},
        [W_K_BIAS] = {kv, 0},
        [W_V_BIAS] = {kv, 0},
        [W_Q_NORM] = {k->head_dim, 0},
        [W_K_NORM] = {k->head_dim, 0},
        [W_O] = {c->dim, q},
        [W_O_BIAS] = {c->dim, 0},
        [W_FFN_NORM] = {c->dim, 0},
        [W_GATE] = {k->ffn_dim, c->dim},
        [W_UP] = {k->ffn_dim, c->dim},
        [W_DOWN] = {c->dim, k->ffn_dim},
        [W_GATE_BIAS] = {k->ffn_dim, 0},
        [W_UP_BIAS] = {k->ffn_dim, 0},
        [W_DOWN_BIAS] = {c->dim, 0},
        [W_EMBED] = {c->vocab, c->dim},
        [W_FINAL_NORM] = {c->dim, 0},
        [W_HEAD] = {c->vocab, c->dim},
    };
    *n_rows = shape[role][0];
    *n_cols = shape[role][1];
}
