/* SPDX-License-Identifier: Apache-2.0 */
/* hf_config.c - config.json, generation_config.json, tokenizer_config.json.
 *
 * Both spellings are understood: transformers 4 (rope_theta, rope_scaling, torch_dtype) and 5
 * (rope_parameters, dtype). Defaults are those of the transformers configuration classes. Keys that
 * change the computation in a way we do not implement are refused by name. Opening thread.
 */
#include "hf_config.h"

#include "config_check.h"
#include "family.h"
#include "json_file.h"
#include "log.h"
#include "rope.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int unsupported(const struct json_obj *j, struct err *e, const char *key, const char *value)
{
    return err_set(e, ST_UNSUPPORTED, "%s: %s '%.64s' is not supported", j->file, key, value);
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
    struct json_obj quant = {j->file, json_find(j, "quantization_config")};
    if (!quant.o)
        return 0;
    if ((st = json_str(&quant, "quant_method", &method, e)) != 0)
        return st;
    return unsupported(j, e, "quantisation", method);
}

static int read_sizes(struct model_config *c, const struct json_obj *j, struct err *e)
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
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        int st = get_size(j, sizes[i].key, sizes[i].out, e);
        if (st)
            return st;
    }
    k->n_kv_heads = k->n_heads;
    int st = get_size(j, "num_key_value_heads", &k->n_kv_heads, e);
    if (st)
        return st;
    if (!json_find(j, "head_dim") && c->dim % k->n_heads != 0)
        return err_set(e, ST_FORMAT, "%s: %d heads do not share a hidden size of %d evenly",
                       j->file, k->n_heads, c->dim);
    k->head_dim = c->dim / k->n_heads;
    if (json_find(j, "head_dim"))
        st = get_size(j, "head_dim", &k->head_dim, e);
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

/* use_sliding_window decides where it is given (Qwen); layer_types may name what layers do. */
static int read_window(const struct model_config *c, const struct json_obj *j, struct err *e)
{
    bool use = true;
    int64_t window = 0;
    int st = json_bool(j, "use_sliding_window", &use, e);
    if (st == 0 && use)
        st = json_int(j, "sliding_window", &window, e);
    if (st == 0)
        st = config_check_window(c, window, e);
    const cJSON *types = json_find(j, "layer_types"), *it;
    if (st || !types)
        return st;
    if (!cJSON_IsArray(types))
        return err_set(e, ST_FORMAT, "%s: layer_types is not a list", j->file);
    cJSON_ArrayForEach(it, types)
    {
        const char *type = cJSON_IsString(it) ? it->valuestring : "?";
        bool full = strcmp(type, "full_attention") == 0;
        if (!full && !(strcmp(type, "sliding_attention") == 0 && window > 0))
            return unsupported(j, e, "layer type", type);
    }
    return 0;
}

/* One of the two spellings of the rotary parameters; both NULL is plain with the default base. */
static int find_rope(const struct json_obj *j, struct json_obj *rope, struct rope_params *p,
                     struct err *e)
{
    const cJSON *it;
    rope->file = j->file;
    rope->o = json_find(j, "rope_parameters");
    if (!rope->o)
        rope->o = json_find(j, "rope_scaling");
    if (rope->o && !cJSON_IsObject(rope->o))
        return err_set(e, ST_FORMAT, "%s: rope_scaling is not an object", j->file);
    cJSON_ArrayForEach(it, rope->o)
    {
        if (cJSON_IsObject(it))
            return unsupported(j, e, "rope_parameters per layer type", it->string);
    }
    p->theta = 10000;
    int st = json_num(j, "rope_theta", &p->theta, e);
    if (st == 0 && rope->o)
        st = json_num(rope, "rope_theta", &p->theta, e);
    return st;
}

static int read_rope(struct model_config *c, const struct json_obj *j, struct err *e)
{
    struct rope_params p = {.factor = NAN, .attn_factor = NAN};
    struct json_obj r;
    const char *type = "default";
    bool truncate = true;
    int st = find_rope(j, &r, &p, e);
    if (st)
        return st;
    if (!r.o)
        return rope_fill(&c->rope[0], c->kind[0].rope_dim, &p, e);
    if ((st = json_str(&r, "type", &type, e)) != 0 ||
        (st = json_str(&r, "rope_type", &type, e)) != 0 ||
        (st = rope_kind_parse(type, strlen(type), &p.kind, e)) != 0)
        return st;
    p.original_len = c->max_position;
    const struct {
        const char *key;
        double *out;
    } nums[] = {
        {"factor", &p.factor},
        {"original_max_position_embeddings", &p.original_len},
        {"low_freq_factor", &p.low_freq},
        {"high_freq_factor", &p.high_freq},
        {"beta_fast", &p.beta_fast},
        {"beta_slow", &p.beta_slow},
        {"attention_factor", &p.attn_factor},
        {"mscale", &p.mscale},
        {"mscale_all_dim", &p.mscale_all},
    };
    for (size_t i = 0; i < sizeof nums / sizeof nums[0] && st == 0; i++)
        st = json_num(&r, nums[i].key, nums[i].out, e);
    if (st == 0)
        st = json_bool(&r, "truncate", &truncate, e);
    double partial = 1;
    if (st == 0)
        st = json_num(&r, "partial_rotary_factor", &partial, e);
    if (st == 0 && partial != 1)
        st = err_set(e, ST_UNSUPPORTED, "%s: partial_rotary_factor %g is not supported", j->file,
                     partial);
    p.no_truncate = !truncate;
    return st ? st : rope_fill(&c->rope[0], c->kind[0].rope_dim, &p, e);
}

/* An id or a list of ids. */
static int read_eos(struct model_config *c, const struct json_obj *j, struct err *e)
{
    const cJSON *v = json_find(j, "eos_token_id"), *it;
    int64_t id;
    if (!v)
        return 0;
    if (json_item_int(v, &id)) {
        config_add_eos(c, id);
        return 0;
    }
    if (!cJSON_IsArray(v))
        return err_set(e, ST_FORMAT, "%s: eos_token_id is neither an id nor a list", j->file);
    cJSON_ArrayForEach(it, v)
    {
        if (!json_item_int(it, &id))
            return err_set(e, ST_FORMAT, "%s: eos_token_id holds something else than ids", j->file);
        config_add_eos(c, id);
    }
    return 0;
}

static int read_ids(struct model_source *s, const struct json_obj *j, struct err *e)
{
    int64_t bos = -1, pad = -1;
    int st = read_eos(&s->cfg, j, e);
    if (st == 0)
        st = json_int(j, "bos_token_id", &bos, e);
    if (st == 0)
        st = json_int(j, "pad_token_id", &pad, e);
    if (st)
        return st;
    if (bos >= 0 && bos < s->cfg.vocab)
        s->cfg.bos = s->text.bos_id = (token_id)bos;
    if (pad >= 0 && pad < s->cfg.vocab)
        s->text.pad_id = (token_id)pad;
    if (s->cfg.n_eos)
        s->text.eos_id = s->cfg.eos[0];
    return 0;
}

int hf_config_read(struct model_source *s, const void *p, size_t n, struct err *e)
{
    struct json_obj j = {"config.json", NULL};
    cJSON *root = json_document(j.file, p, n, e);
    if (!root)
        return e ? e->st : ST_FORMAT;
    j.o = root;
    int st = read_family(s, &j, e);
    if (st == 0)
        st = refuse_foreign_keys(&j, e);
    if (st == 0)
        st = read_sizes(&s->cfg, &j, e);
    if (st == 0)
        st = config_check(&s->cfg, e);
    if (st == 0)
        st = read_flags(s, &j, e);
    if (st == 0)
        st = read_window(&s->cfg, &j, e);
    if (st == 0)
        st = read_rope(&s->cfg, &j, e);
    if (st == 0)
        st = read_ids(s, &j, e);
    cJSON_Delete(root);
    return st;
}

/* A sampling default; one that no request could ask for is left out with a warning. */
static int read_default(const struct json_obj *j, const char *key, double min, double max,
                        float *out, struct err *e)
{
    double v = NAN;
    int st = json_num(j, key, &v, e);
    if (st || isnan(v))
        return st;
    if (v < min || v > max)
        log_warn("checkpoint.generation_config", "ignored=%s value=%g", key, v);
    else
        *out = (float)v;
    return 0;
}

int hf_generation_read(struct model_source *s, const void *p, size_t n, struct err *e)
{
    struct json_obj j = {"generation_config.json", NULL};
    struct model_config *c = &s->cfg;
    float top_k = NAN;
    cJSON *root = json_document(j.file, p, n, e);
    if (!root)
        return e ? e->st : ST_FORMAT;
    j.o = root;
    int st = read_eos(c, &j, e);
    if (st == 0)
        st = read_default(&j, "temperature", 0, 2, &c->gen_temperature, e);
    if (st == 0)
        st = read_default(&j, "top_p", 1e-6, 1, &c->gen_top_p, e);
    if (st == 0)
        st = read_default(&j, "min_p", 0, 1, &c->gen_min_p, e);
    if (st == 0)
        st = read_default(&j, "top_k", 0, 1 << 22, &top_k, e);
    if (!isnan(top_k))
        c->gen_top_k = (int32_t)top_k;
    cJSON_Delete(root);
    return st;
}

/* A token as text: a string, or an object with "content". NULL when it is neither. */
static const char *token_text(const cJSON *v)
{
    if (cJSON_IsObject(v))
        v = cJSON_GetObjectItemCaseSensitive(v, "content");
    return cJSON_IsString(v) ? v->valuestring : NULL;
}

int hf_tokenizer_eos_read(struct model_source *s, const void *p, size_t n, struct err *e)
{
    struct json_obj j = {"tokenizer_config.json", NULL};
    cJSON *root = json_document(j.file, p, n, e);
    if (!root)
        return e ? e->st : ST_FORMAT;
    j.o = root;
    const char *eos = token_text(json_find(&j, "eos_token"));
    const cJSON *added = json_find(&j, "added_tokens_decoder"), *it;
    cJSON_ArrayForEach(it, added)
    {
        const char *text = it->string ? token_text(it) : NULL;
        char *end;
        if (!text || !eos || strcmp(text, eos) != 0)
            continue;
        long id = strtol(it->string, &end, 10);
        if (end != it->string && *end == '\0')
            config_add_eos(&s->cfg, id);
    }
    cJSON_Delete(root);
    return 0;
}
