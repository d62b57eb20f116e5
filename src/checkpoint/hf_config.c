/* SPDX-License-Identifier: Apache-2.0 */
/* hf_config.c - config.json.
 *
 * Both spellings are understood: transformers 4 (rope_theta, rope_scaling, torch_dtype) and 5
 * (rope_parameters, dtype). Defaults are those of the transformers configuration classes (family.c
 * has those that differ). Keys that change the computation in a way we do not implement are refused
 * by name; what nobody read and nobody knows as harmless is named in one warning. Opening thread.
 */
#include "hf_config.h"

#include "config_check.h"
#include "family.h"
#include "hf_rope.h"
#include "json_file.h"
#include "unread.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int unsupported(const struct json_obj *j, struct err *e, const char *key, const char *value)
{
    return err_set(e, ST_UNSUPPORTED, "%s: %s '%.64s' is not supported", j->file, key, value);
}

/* A key that is absent takes the class's default; null means none. */
static bool is_given(const struct json_obj *j, const char *key)
{
    (void)json_find(j, key); /* read, then */
    return js_get(j->o, key) != NULL;
}

/* A size: required unless *out holds a default already. config_check knows the bounds. */
static int get_size(const struct json_obj *j, const char *key, int32_t *out, struct err *e)
{
    int64_t v = *out;
    int st = json_int(j, key, &v, e);
    if (st)
        return st;
    if (v == 0 && !json_find(j, key))
        return err_set(e, ST_FORMAT, "%s: %s is missing", j->file, key);
    if (v < 1 || v > INT32_MAX)
        return err_set(e, ST_FORMAT, "%s: %s = %lld", j->file, key, (long long)v);
    *out = (int32_t)v;
    return 0;
}

static int read_family(struct model_source *s, const struct json_obj *j, struct err *e)
{
    const char *type = NULL;
    int st = json_str(j, "model_type", &type, e);
    if (st)
        return st;
    if (!type)
        return err_set(e, ST_FORMAT, "%s: model_type is missing", j->file);
    s->family = family_by_model_type(type);
    if (!s->family) {
        char names[128];
        family_names(names, sizeof names);
        return err_set(e, ST_UNSUPPORTED, "%s: model type '%.64s' is not supported (supported: %s)",
                       j->file, type, names);
    }
    snprintf(s->cfg.family, sizeof s->cfg.family, "%s", s->family->name);
    const cJSON *arch = json_find(j, "architectures");
    if (arch && (!cJSON_IsArray(arch) || (arch->child && !cJSON_IsString(arch->child))))
        return err_set(e, ST_FORMAT, "%s: architectures is not a list of names", j->file);
    if (arch && arch->child && strcmp(arch->child->valuestring, s->family->hf_arch) != 0)
        return unsupported(j, e, "architecture", arch->child->valuestring);
    return 0;
}

/* Switches that make another model of it. */
static int refuse_flags(const struct json_obj *j, struct err *e)
{
    static const struct {
        const char *key;
        bool ours;
    } flags[] = {{"is_causal", true},
                 {"is_encoder_decoder", false},
                 {"add_cross_attention", false},
                 {"use_bidirectional_attention", false}};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        bool v = flags[i].ours;
        int st = json_bool(j, flags[i].key, &v, e);
        if (st)
            return st;
        if (v != flags[i].ours)
            return unsupported(j, e, flags[i].key, v ? "true" : "false");
    }
    return 0;
}

static int refuse_foreign_keys(const struct json_obj *j, struct err *e)
{
    const char *act = "silu", *method = "?";
    double partial = 1;
    int st = json_str(j, "hidden_act", &act, e);
    if (st == 0 && strcmp(act, "silu") != 0 && strcmp(act, "swish") != 0)
        st = unsupported(j, e, "hidden_act", act);
    if (st == 0)
        st = json_num(j, "partial_rotary_factor", &partial, e);
    if (st == 0 && partial != 1)
        st = err_set(e, ST_UNSUPPORTED, "%s: partial_rotary_factor %g is not supported", j->file,
                     partial);
    if (st)
        return st;
    st = refuse_flags(j, e);
    if (st)
        return st;
    struct json_obj quant = {.file = j->file, .o = json_find(j, "quantization_config")};
    if (!quant.o)
        return 0;
    if ((st = json_str(&quant, "quant_method", &method, e)) != 0)
        return st;
    return unsupported(j, e, "quantisation", method);
}

/* The five sizes without which there is no model are required, although the classes have defaults
 * for them, too: a file without one is damaged. */
static int read_sizes(struct model_config *c, const struct family *f, const struct json_obj *j,
                      struct err *e)
{
    struct layer_kind *k = &c->kind[0]; /* of all layers */
    const struct {
        const char *key;
        int32_t *out;
    } sizes[] = {
        {"hidden_size", &c->dim},
        {"num_hidden_layers", &c->n_layers},
        {"num_attention_heads", &k->n_heads},
        {"intermediate_size", &k->ffn_dim},
        {"vocab_size", &c->vocab},
        {"max_position_embeddings", &c->max_position},
    };
    c->max_position = is_given(j, "max_position_embeddings") ? 0 : f->max_position;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        int st = get_size(j, sizes[i].key, sizes[i].out, e);
        if (st)
            return st;
    }
    bool silent = !is_given(j, "num_key_value_heads");
    k->n_kv_heads = silent && f->kv_heads ? f->kv_heads : k->n_heads;
    int st = get_size(j, "num_key_value_heads", &k->n_kv_heads, e);
    if (st)
        return st;
    silent = !is_given(j, "head_dim");
    k->head_dim = silent ? f->head_dim : 0;
    if (json_find(j, "head_dim")) {
        st = get_size(j, "head_dim", &k->head_dim, e);
    } else if (!k->head_dim) {
        if (c->dim % k->n_heads != 0)
            return err_set(e, ST_FORMAT, "%s: %d heads do not share a hidden size of %d evenly",
                           j->file, k->n_heads, c->dim);
        k->head_dim = c->dim / k->n_heads;
    }
    k->rope_dim = k->head_dim;
    double eps = 1e-6;
    if (st == 0)
        st = json_num(j, "rms_norm_eps", &eps, e);
    c->norm_eps = (float)eps;
    return st;
}

static int read_flags(struct model_source *s, const struct json_obj *j, struct err *e)
{
    struct model_config *c = &s->cfg;
    const char *dtype = "";
    bool attention_bias = false, mlp_bias = false;
    int st = json_bool(j, "tie_word_embeddings", &c->tied_head, e);
    if (st == 0)
        st = json_bool(j, "attention_bias", &attention_bias, e);
    if (st == 0)
        st = json_bool(j, "mlp_bias", &mlp_bias, e);
    if (st == 0)
        st = json_str(j, "torch_dtype", &dtype, e);
    if (st == 0)
        st = json_str(j, "dtype", &dtype, e);
    if (st)
        return st;
    bool by_key = s->family->qkv_bias == BIAS_BY_KEY && attention_bias;
    c->qkv_bias = s->family->qkv_bias == BIAS_ALWAYS || by_key;
    c->o_bias = by_key;
    c->mlp_bias = s->family->mlp_bias_key && mlp_bias;
    c->qk_norm = s->family->qk_norm;
    snprintf(c->torch_dtype, sizeof c->torch_dtype, "%.15s", dtype);
    return 0;
}

/* *all_full: does every layer see all tokens? */
static int read_layer_types(const struct model_config *c, const struct json_obj *j,
                            const cJSON *types, int64_t window, bool *all_full, struct err *e)
{
    const cJSON *it;
    if (!cJSON_IsArray(types))
        return err_set(e, ST_FORMAT, "%s: layer_types is not a list", j->file);
    if (cJSON_GetArraySize(types) != c->n_layers)
        return err_set(e, ST_FORMAT, "%s: layer_types has %d items for %d layers", j->file,
                       cJSON_GetArraySize(types), (int)c->n_layers);
    *all_full = true;
    cJSON_ArrayForEach(it, types)
    {
        const char *type = cJSON_IsString(it) ? it->valuestring : "?";
        bool full = strcmp(type, "full_attention") == 0;
        if (!full && !(strcmp(type, "sliding_attention") == 0 && window > 0))
            return unsupported(j, e, "layer type", type);
        *all_full &= full;
    }
    return 0;
}

/* The window of tokens that a layer sees. Qwen's classes have a switch, off by default, and a
 * number of layers from the first that see everything; or layer_types says it layer by layer.
 * Mistral's have neither, and 4096 where config.json is silent. */
static int read_window(const struct model_config *c, const struct family *f,
                       const struct json_obj *j, struct err *e)
{
    bool use = !f->window_switch, all_full = false;
    int64_t window = is_given(j, "sliding_window") ? 0 : f->window, full_layers = 28;
    int st = json_bool(j, "use_sliding_window", &use, e);
    if (st == 0)
        st = json_int(j, "sliding_window", &window, e);
    if (st == 0)
        st = json_int(j, "max_window_layers", &full_layers, e);
    if (st)
        return st;
    window = use ? window : 0;
    if (f->window_switch && full_layers >= c->n_layers)
        all_full = true;
    const cJSON *types = json_find(j, "layer_types");
    if (types) {
        bool full = false;
        st = read_layer_types(c, j, types, window, &full, e);
        if (f->window_switch)
            all_full = full;
    }
    if (st == 0 && !all_full)
        st = config_check_window(c, window, e);
    return st;
}

static int read_ids(struct model_source *s, const struct json_obj *j, struct err *e)
{
    int64_t bos = -1, pad = -1;
    int st = hf_ends_read(s, j, e);
    if (st == 0)
        st = json_int(j, "bos_token_id", &bos, e);
    if (st == 0)
        st = json_int(j, "pad_token_id", &pad, e);
    if (st)
        return st;
    if (bos >= 0 && bos < s->cfg.vocab)
        s->text.bos_id = (token_id)bos;
    if (pad >= 0 && pad < s->cfg.vocab)
        s->text.pad_id = (token_id)pad;
    return 0;
}

/* Of a class or a tool, and without a say in what is computed for inference. */
static const char *const harmless[] = {"_attn_implementation",
                                       "_name_or_path",
                                       "attention_dropout",
                                       "auto_map",
                                       "chunk_size_feed_forward",
                                       "cls_token_id",
                                       "decoder_start_token_id",
                                       "embd_pdrop",
                                       "finetuning_task",
                                       "id2label",
                                       "initializer_range",
                                       "is_decoder",
                                       "label2id",
                                       "max_length",
                                       "max_sequence_length",
                                       "model_max_length",
                                       "output_attentions",
                                       "output_hidden_states",
                                       "prefix",
                                       "pretraining_tp",
                                       "problem_type",
                                       "return_dict",
                                       "resid_pdrop",
                                       "sep_token_id",
                                       "task_specific_params",
                                       "tf_legacy_loss",
                                       "tokenizer_class",
                                       "torchscript",
                                       "transformers_version",
                                       "transformers.js_config",
                                       "unsloth_fixed",
                                       "unsloth_version",
                                       "use_bfloat16",
                                       "use_cache",
                                       NULL};

static int read_all(struct model_source *s, const struct json_obj *j, struct err *e)
{
    int st = read_family(s, j, e);
    if (st == 0)
        st = refuse_foreign_keys(j, e);
    if (st == 0)
        st = read_sizes(&s->cfg, s->family, j, e);
    if (st == 0)
        st = config_check(&s->cfg, e);
    if (st == 0)
        st = read_flags(s, j, e);
    if (st == 0)
        st = hf_rope_read(&s->cfg, j, e);
    if (st == 0) /* YaRN may have made the context longer than the window */
        st = read_window(&s->cfg, s->family, j, e);
    if (st == 0)
        st = read_ids(s, j, e);
    return st;
}

int hf_config_read(struct model_source *s, const void *p, size_t n, struct err *e)
{
    struct json_obj j = {.file = "config.json"};
    cJSON *root = json_document(j.file, p, n, e);
    if (!root)
        return e ? e->st : ST_FORMAT;
    j.o = root;
    j.seen = xcalloc2((size_t)cJSON_GetArraySize(root), sizeof *j.seen);
    int st = read_all(s, &j, e);
    if (st == 0)
        unread_warn(&j, j.file, harmless);
    free(j.seen);
    cJSON_Delete(root);
    return st;
}
