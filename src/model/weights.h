/* SPDX-License-Identifier: Apache-2.0 */
/* weights.h - the weights of one model in backend memory, and how they get there.
 *
 * Filled once by weights_load on the loader thread and constant afterwards. What lies behind the
 * pointers is backend memory that belongs to the backend (released by be_close), so there is
 * nothing to free. Matrices are of weight_dt, biases and the embedding table of act_dt, norms f32
 * on every backend. A pointer is NULL exactly where model_config says that the model has no such
 * tensor.
 */
#ifndef QUIRE_MODEL_WEIGHTS_H
#define QUIRE_MODEL_WEIGHTS_H

#include "backend.h"
#include "model.h"

struct layer_weights {
    const float *attn_norm;       /* [dim] */
    struct matrix wqkv;           /* [(n_heads + 2 n_kv_heads) * head_dim, dim]: q, k, v rows */
    const void *bqkv;             /* [(n_heads + 2 n_kv_heads) * head_dim]; qkv_bias */
    const float *q_norm, *k_norm; /* [head_dim]; qk_norm */
    struct matrix wo;             /* [dim, n_heads * head_dim] */
    const void *bo;               /* [dim]; o_bias */
    const float *ffn_norm;        /* [dim] */
    struct matrix w_gate_up;      /* [2 * ffn_dim, dim]: gate rows, then up rows */
    const void *b_gate_up;        /* [2 * ffn_dim]; mlp_bias */
    struct matrix w_down;         /* [dim, ffn_dim] */
    const void *b_down;           /* [dim]; mlp_bias */
};

struct weight_set {
    int32_t n_layers;
    int32_t act_dt, weight_dt;   /* enum dtype: biases and embedding; matrices */
    struct layer_weights *layer; /* [n_layers], host array, freed by weights_free */
    struct matrix embed;         /* [vocab, dim] of act_dt: for op_embed */
    const float *final_norm;     /* [dim] */
    struct matrix head; /* [vocab, dim] for op_gemm; the embedding's where tied and possible */
};

/* Load (or for a dummy source, generate) every weight onto `be` before be_seal. act_dt and
 * weight_dt: enum dtype, or -1 for what the backend prefers. `progress` (may be
 * NULL) hears the fraction 0..1 of the bytes written. On an error
 * the set is emptied; backend memory already taken stays with the backend. Fails with NOMEM when
 * the backend is full, DEVICE, CANCELLED. The source may be closed afterwards. Loader thread. */
int weights_load(struct weight_set *w, const struct model_source *s, struct be *be, int32_t act_dt,
                 int32_t weight_dt, void (*progress)(void *arg, const char *phase, double fraction),
                 void *progress_arg, struct err *e);

/* Free the host side; safe on a zeroed or emptied set. */
void weights_free(struct weight_set *w);

/* Bytes that weights_load will take at most on a backend for these types; one that keeps quantised
 * weights as they are takes less. */
int64_t weights_bytes(const struct model_config *c, int32_t act_dt, int32_t weight_dt);

#endif
