/* model.h - a model: its files, its weights on a backend, and the executor that runs steps.
 *
 * model_source_* map and check files (no device); model_load puts weights on a backend;
 * model_executor is what the engine calls.
 */
#ifndef QUIRE_MODEL_H
#define QUIRE_MODEL_H

#include "backend.h"
#include "ids.h"
#include "status.h"
#include "step.h"
#include "text_source.h"

#include <stdbool.h>
#include <stdint.h>

/* Shape and numerics, from config.json or GGUF metadata, checked. */
struct model_config {
    char family[32]; /* llama, mistral, qwen2, qwen3 (SmolLM2 is llama) */
    int32_t n_layers, dim, n_heads, n_kv_heads, head_dim, ffn_dim, vocab;
    int32_t max_position; /* the model's own context length */
    float norm_eps, rope_theta, rope_attn_factor;
    bool tied_head, qkv_bias, o_bias, mlp_bias, qk_norm;
    float inv_freq[128]; /* [head_dim / 2], scaling folded in */
    int32_t n_eos;
    token_id eos[16];
    token_id bos; /* -1 = none */
    /* generation defaults (generation_config.json); NAN / -1 = not given */
    float gen_temperature, gen_top_p, gen_min_p, gen_repetition;
    int32_t gen_top_k;
    char torch_dtype[16]; /* of the stored weights, informational */
    uint64_t weights_id;  /* hash over names, shapes, sizes and file stats: for fingerprints */
};

/* Files mapped and verified: every offset, shape and size checked; nothing loaded yet. */
struct model_source;
struct model_source_opts {
    const char *path; /* a Hugging Face folder or one .gguf file */
    bool dummy;       /* config only; weights are random from `seed` */
    uint64_t seed;
};
int model_source_open(struct model_source **out, const struct model_source_opts *o, struct err *e);
void model_source_close(struct model_source *s);
const struct model_config *model_source_config(const struct model_source *s);
const struct text_source *model_source_text(const struct model_source *s);

/* Passes run before model_load returns: none; one of each size, so that the first requests find
 * kernels loaded and algorithms chosen; also every decode graph up to a context of 8,192. */
enum warm { WARM_NONE, WARM_PASSES, WARM_GRAPHS };

struct model_opts {
    int32_t kv_dt;             /* enum dtype or -1 = backend's choice */
    int32_t act_dt, weight_dt; /* -1 = backend's choice */
    int32_t page_tokens;
    int64_t pool_bytes; /* 0 = auto: rest of the GPU; 1 GiB on CPU */
    int32_t max_seqs, max_step_tokens;
    int32_t warm;          /* enum warm */
    int32_t max_model_len; /* 0 = the model's own, bounded by the pool */
    void (*progress)(void *arg, const char *phase,
                     double fraction); /* loader thread; may be NULL */
    void *progress_arg;
};
struct model;
/* Weights, workspace, tables, pool: everything is allocated here. The source may be closed after.
 */
int model_load(struct model **out, const struct model_source *s, struct be *be,
               const struct model_opts *o, struct err *e);
void model_free(struct model *m);
const struct model_config *model_config(const struct model *m);
int32_t model_n_pages(const struct model *m);
int64_t model_page_bytes(const struct model *m);
int32_t model_max_len(const struct model *m); /* effective max_model_len */
/* Steps in, tokens out. The executor lives as long as the model. */
void model_executor(struct model *m, struct executor *ex);
/* For tests and golden checks: after the last submitted step completed, copy the raw f32 logits of
 * sampling row i ([vocab]) to host memory. */
int model_logits(struct model *m, int32_t i, float *dst);

#endif
