/* SPDX-License-Identifier: Apache-2.0 */
/* gguf_config.c - what GGUF metadata means: configuration and tokenizer views.
 *
 * Keys below "<arch>." describe the model, "tokenizer." the text side. Opening thread only. Keys
 * that would change the computation in a way we do not implement are refused by name.
 */
#include "formats.h"

#include "config_check.h"
#include "dequant.h"
#include "family.h"
#include "gguf.h"
#include "rope.h"
#include "unread.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    const struct gguf *g;
    const char *arch;
    struct err *e;
    char key[128];
};

static const char *arch_key(struct reader *r, const char *tail)
{
    snprintf(r->key, sizeof r->key, "%s.%s", r->arch, tail);
    return r->key;
}

/* A size of the model in 1..INT32_MAX; required unless *out was preset to a default. */
static int get_size(struct reader *r, const char *tail, int32_t *out)
{
    int64_t v = *out;
    int st = gguf_get_same_int(r->g, arch_key(r, tail), &v, r->e);
    if (st)
        return st;
    if (v == 0 && !gguf_find(r->g, r->key))
        return err_set(r->e, ST_FORMAT, "gguf: %s is missing", r->key);
    if (v < 1 || v > INT32_MAX)
        return err_set(r->e, ST_FORMAT, "gguf: %s = %" PRId64, r->key, v);
    *out = (int32_t)v;
    return 0;
}

static int get_float(struct reader *r, const char *tail, double *out)
{
    return gguf_get_same_float(r->g, arch_key(r, tail), out, r->e);
}

static int refuse_foreign_keys(struct reader *r)
{
    static const char *const tails[] = {"attention.scale", "logit_scale", "embedding_scale",
                                        "residual_scale", "attention.clamp_kqv"};
    int64_t v = 0;
    for (size_t i = 0; i < sizeof tails / sizeof tails[0]; i++)
        if (gguf_find(r->g, arch_key(r, tails[i])))
            return err_set(r->e, ST_UNSUPPORTED, "gguf: %s is not supported", r->key);
    int st = gguf_get_int(r->g, arch_key(r, "expert_count"), &v, r->e);
    if (st == 0 && v > 0)
        st = err_set(r->e, ST_UNSUPPORTED, "mixture-of-experts models are not supported (%s)",
                     r->key);
    if (st)
        return st;
    v = 0;
    st = gguf_get_int(r->g, "split.count", &v, r->e);
    if (st == 0 && v > 1)
        st = err_set(r->e, ST_UNSUPPORTED,
                     "split GGUF files are not supported (split.count = %" PRId64
                     "): merge them into one",
                     v);
    return st;
}

static int read_sizes(struct model_source *s, struct reader *r)
{
    struct model_config *c = &s->cfg;
    struct layer_kind *k = &c->kind[0]; /* of all layers */
    double eps = NAN;
    int64_t window = 0;
    int st = get_size(r, "block_count", &c->n_layers);
    if (st == 0)
        st = get_size(r, "embedding_length", &c->dim);
    if (st == 0)
        st = get_size(r, "feed_forward_length", &k->ffn_dim);
    if (st == 0)
        st = get_size(r, "context_length", &c->max_position);
    if (st == 0)
        st = get_size(r, "attention.head_count", &k->n_heads);
    k->n_kv_heads = k->n_heads;
    if (st == 0)
        st = get_size(r, "attention.head_count_kv", &k->n_kv_heads);
    if (st)
        return st;
    int32_t value_len;
    k->head_dim = c->dim / k->n_heads;
    if ((st = get_size(r, "attention.key_length", &k->head_dim)) != 0)
        return st;
    value_len = k->head_dim;
    if ((st = get_size(r, "attention.value_length", &value_len)) != 0)
        return st;
    if (value_len != k->head_dim)
        return err_set(r->e, ST_UNSUPPORTED, "gguf: key length %d and value length %d differ",
                       k->head_dim, value_len);
    if ((st = get_float(r, "attention.layer_norm_rms_epsilon", &eps)) != 0)
        return st;
    if (isnan(eps))
        return err_set(r->e, ST_FORMAT, "gguf: %s is missing", r->key);
    k->rope_dim = k->head_dim;
    c->norm_eps = (float)eps;
    st = gguf_get_same_int(r->g, arch_key(r, "attention.sliding_window"), &window, r->e);
    return st ? st : config_check_window(c, window, r->e);
}

/* "rope_freqs.weight": the llama3 factors, already computed for this model. */
static int find_freq_factors(struct model_source *s, float *buf, const float **out, struct err *e)
{
    struct tensor *t = tensor_find(&s->tensors, "rope_freqs.weight");
    *out = NULL;
    if (!t)
        return 0;
    t->used = true;
    if (t->type != QT_F32 || t->n_dims != 1 || t->dim[0] != s->cfg.kind[0].rope_dim / 2)
        return err_set(e, ST_FORMAT, "gguf: rope_freqs.weight must be F32 [%d]",
                       s->cfg.kind[0].rope_dim / 2);
    memcpy(buf, t->data, t->bytes);
    *out = buf;
    return 0;
}

/* How positions are scaled. As llama.cpp reads it: a factor without a type is linear; a factor of
 * 0, or none, leaves it to the key of older writers; "none" scales nothing. */
static int read_scaling(struct reader *r, struct rope_params *p)
{
    struct view type = {0};
    double factor = 0;
    int st = gguf_get_string(r->g, arch_key(r, "rope.scaling.type"), &type, r->e);
    if (st)
        return st;
    p->kind = ROPE_LINEAR;
    if (type.p && (st = rope_kind_parse(type.p, type.n, &p->kind, r->e)) != 0)
        return st;
    if (p->kind != ROPE_PLAIN && p->kind != ROPE_LINEAR) /* llama3 comes as rope_freqs.weight */
        return err_set(r->e, ST_UNSUPPORTED, "gguf: %s = '%.*s' is not supported", r->key,
                       (int)type.n, type.p);
    if (p->kind == ROPE_PLAIN)
        return 0;
    st = get_float(r, "rope.scaling.factor", &factor);
    if (st == 0 && factor == 0)
        st = get_float(r, "rope.scale_linear", &factor);
    if (factor == 0)
        p->kind = ROPE_PLAIN;
    else
        p->factor = factor;
    return st;
}

static int read_rope(struct model_source *s, struct reader *r)
{
    struct rope_params p = {.theta = 10000, .factor = 1, .attn_factor = NAN};
    int32_t head_dim = s->cfg.kind[0].head_dim, rot = head_dim;
    double attn = 1;
    float factors[128];
    int st = get_size(r, "rope.dimension_count", &rot);
    if (st)
        return st;
    if (rot != head_dim)
        return err_set(r->e, ST_UNSUPPORTED, "gguf: %s = %d of %d: partial rotary embeddings",
                       r->key, rot, head_dim);
    st = get_float(r, "rope.freq_base", &p.theta);
    if (st == 0)
        st = read_scaling(r, &p);
    if (st == 0)
        st = get_float(r, "rope.scaling.attn_factor", &attn);
    if (st == 0 && attn != 1)
        st = err_set(r->e, ST_UNSUPPORTED, "gguf: %s = %g is not supported", r->key, attn);
    if (st == 0)
        st = find_freq_factors(s, factors, &p.freq_factors, r->e);
    if (st)
        return st;
    return rope_fill(&s->cfg.rope[0], s->cfg.kind[0].rope_dim, &p, r->e);
}

static int read_special_ids(struct model_source *s, struct reader *r)
{
    struct text_source *t = &s->text;
    struct {
        const char *key;
        int32_t *id;
        bool ends;
    } ids[] = {
        {"tokenizer.ggml.bos_token_id", &t->bos_id, false},
        {"tokenizer.ggml.eos_token_id", &t->eos_id, true},
        {"tokenizer.ggml.unknown_token_id", &t->unk_id, false},
        {"tokenizer.ggml.padding_token_id", &t->pad_id, false},
        {"tokenizer.ggml.eot_token_id", NULL, true},
        {"tokenizer.ggml.eom_token_id", NULL, true},
    };
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        int64_t v = -1;
        int st = gguf_get_int(r->g, ids[i].key, &v, r->e);
        if (st)
            return st;
        if (v < 0 || v >= s->cfg.vocab)
            continue; /* some writers store 0xffffffff for "none" */
        if (ids[i].id)
            *ids[i].id = (int32_t)v;
        if (ids[i].ends && (st = source_add_end(s, v, ids[i].key, r->e)) != 0)
            return st;
    }
    return 0;
}

static int read_vocabulary(struct model_source *s, struct reader *r)
{
    struct text_source *t = &s->text;
    size_t n_types = 0, n_scores = 0;
    int st = gguf_get_strings(r->g, "tokenizer.ggml.tokens", &s->tokens, &t->n_gguf_tokens,
                              SRC_MAX_VOCAB, r->e);
    if (st == 0)
        st = gguf_get_strings(r->g, "tokenizer.ggml.merges", &s->merges, &t->n_gguf_merges,
                              SRC_MAX_VOCAB, r->e);
    if (st == 0)
        st = gguf_get_i32s(r->g, "tokenizer.ggml.token_type", &s->token_types, &n_types,
                           SRC_MAX_VOCAB, r->e);
    if (st == 0)
        st = gguf_get_f32s(r->g, "tokenizer.ggml.scores", &s->token_scores, &n_scores,
                           SRC_MAX_VOCAB, r->e);
    if (st)
        return st;
    if ((s->token_types && n_types != t->n_gguf_tokens) ||
        (s->token_scores && n_scores != t->n_gguf_tokens))
        return err_set(r->e, ST_FORMAT, "gguf: %zu tokens, but %zu types and %zu scores",
                       t->n_gguf_tokens, n_types, n_scores);
    if (t->n_gguf_tokens > (size_t)s->cfg.vocab)
        return err_set(r->e, ST_FORMAT, "gguf: %zu tokens, but only %d rows of embeddings",
                       t->n_gguf_tokens, s->cfg.vocab);
    t->gguf_tokens = s->tokens;
    t->gguf_merges = s->merges;
    t->gguf_types = s->token_types;
    t->gguf_scores = s->token_scores;
    return 0;
}

static int read_text(struct model_source *s, struct reader *r)
{
    struct text_source *t = &s->text;
    int st = gguf_get_string(r->g, "tokenizer.ggml.model", &t->gguf_model, r->e);
    if (st == 0)
        st = gguf_get_string(r->g, "tokenizer.ggml.pre", &t->gguf_pre, r->e);
    if (st == 0)
        st = gguf_get_string(r->g, "tokenizer.chat_template", &t->gguf_chat_template, r->e);
    if (st == 0)
        st = gguf_get_bool(r->g, "tokenizer.ggml.add_bos_token", &t->add_bos, r->e);
    if (st == 0)
        st = gguf_get_bool(r->g, "tokenizer.ggml.add_eos_token", &t->add_eos, r->e);
    if (st == 0)
        st = gguf_get_bool(r->g, "tokenizer.ggml.add_space_prefix", &t->add_space_prefix, r->e);
    if (st == 0)
        st = read_vocabulary(s, r);
    return st ? st : read_special_ids(s, r);
}

/* Keys about the model or its text that nobody read, but for those that change nothing here. */
static void name_unread(const struct reader *r)
{
    static const char *const harmless[] = {"vocab_size",
                                           "rope.scaling.original_context_length",
                                           "rope.scaling.finetuned",
                                           "tokenizer.ggml.seperator_token_id",
                                           "tokenizer.ggml.mask_token_id",
                                           "tokenizer.ggml.cls_token_id",
                                           "tokenizer.ggml.fim_",
                                           "tokenizer.ggml.prefix_token_id",
                                           "tokenizer.ggml.suffix_token_id",
                                           "tokenizer.ggml.middle_token_id",
                                           "tokenizer.ggml.token_type_count",
                                           "tokenizer.ggml.added_tokens",
                                           "tokenizer.chat_template",
                                           "tokenizer.huggingface.json"};
    static const char text[] = "tokenizer.";
    struct unread u = {0};
    size_t n_arch = strlen(r->arch);
    for (size_t i = 0; i < r->g->n_kv; i++) {
        const struct gguf_kv *kv = &r->g->kv[i];
        const char *p = kv->key.p;
        size_t n = kv->key.n;
        bool ours = n > n_arch && memcmp(p, r->arch, n_arch) == 0 && p[n_arch] == '.';
        if (kv->seen || (!ours && !(n > sizeof text && memcmp(p, text, sizeof text - 1) == 0)))
            continue;
        const char *tail = ours ? p + n_arch + 1 : p;
        size_t n_tail = n - (size_t)(tail - p);
        bool known = false;
        for (size_t k = 0; k < sizeof harmless / sizeof harmless[0]; k++) {
            size_t m = strlen(harmless[k]);
            known |= n_tail >= m && memcmp(tail, harmless[k], m) == 0;
        }
        if (!known)
            unread_add(&u, p, n);
    }
    unread_say(&u, "gguf");
}

static int read_family(struct model_source *s, struct reader *r)
{
    struct view arch = {0};
    int st = gguf_get_string(r->g, "general.architecture", &arch, r->e);
    if (st)
        return st;
    if (!arch.p)
        return err_set(r->e, ST_FORMAT, "gguf: general.architecture is missing");
    s->family = family_by_gguf_arch(arch.p, arch.n);
    if (!s->family)
        return err_set(r->e, ST_UNSUPPORTED,
                       "GGUF architecture '%.*s' is not supported (supported: llama, qwen2, qwen3)",
                       (int)(arch.n < 64 ? arch.n : 64), arch.p);
    r->arch = s->family->gguf_arch;
    snprintf(s->cfg.family, sizeof s->cfg.family, "%s", s->family->name);
    return 0;
}

/* GGUF has no flags for optional tensors: what is there says it. */
static void read_shape_of_tensors(struct model_source *s)
{
    struct model_config *c = &s->cfg;
    const struct tensor *embed = tensor_find(&s->tensors, "token_embd.weight");
    c->vocab = embed && embed->n_dims == 2 ? (int32_t)embed->dim[0] : 0;
    c->tied_head = !tensor_find(&s->tensors, "output.weight");
    c->qkv_bias = tensor_find(&s->tensors, "blk.0.attn_q.bias");
    c->o_bias = tensor_find(&s->tensors, "blk.0.attn_output.bias");
    c->mlp_bias = tensor_find(&s->tensors, "blk.0.ffn_gate.bias");
    c->qk_norm = s->family->qk_norm;
    const struct tensor *w = tensor_find(&s->tensors, "blk.0.ffn_gate.weight");
    if (w)
        snprintf(c->torch_dtype, sizeof c->torch_dtype, "%s", w->type_name);
}

int source_open_gguf(struct model_source *s, const uint8_t *data, size_t n, struct err *e)
{
    struct gguf g;
    struct reader r = {.g = &g, .e = e};
    int st = gguf_parse(&g, &s->tensors, data, n, e);
    if (st)
        return st;
    s->is_gguf = true;
    st = read_family(s, &r);
    if (st == 0)
        st = refuse_foreign_keys(&r);
    if (st)
        goto out;
    read_shape_of_tensors(s);
    if (s->cfg.vocab == 0) {
        st = err_set(e, ST_FORMAT, "gguf: token_embd.weight is missing");
        goto out;
    }
    st = read_sizes(s, &r);
    if (st == 0)
        st = config_check(&s->cfg, e);
    if (st == 0)
        st = read_rope(s, &r);
    if (st == 0)
        st = read_text(s, &r);
    if (st == 0)
        name_unread(&r);
out:
    gguf_free(&g);
    return st;
}
