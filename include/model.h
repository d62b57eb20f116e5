/* SPDX-License-Identifier: Apache-2.0 */
/* model.h - a model: its weights on a backend, and the executor that runs steps.
 *
 * model_load puts what checkpoint.h opened on a backend; model_executor is what the engine calls.
 */
#ifndef QUIRE_MODEL_H
#define QUIRE_MODEL_H

#include "backend.h"
#include "checkpoint.h"
#include "ids.h"
#include "status.h"
#include "step.h"

#include <stdbool.h>
#include <stdint.h>

/* Passes run before model_load returns: none; one token, to see that the answer is a number; one
 * pass of each size, so that the first requests find kernels loaded and algorithms chosen; also
 * every decode graph up to a context of 8,192. A model whose answer is no number is refused
 * (ST_FORMAT). */
enum warm { WARM_NONE, WARM_ANSWER, WARM_PASSES, WARM_GRAPHS };

struct model_opts {
    int32_t kv_dt;             /* enum dtype or -1 = backend's choice */
    int32_t act_dt, weight_dt; /* -1 = backend's choice */
    int32_t page_tokens;
    int64_t pool_bytes; /* 0 = auto: rest of the GPU; 1 GiB on CPU */
    int32_t max_seqs, max_step_tokens;
    int32_t warm; /* enum warm */
    const char
        *gemm_cache; /* file of measured products, see be_tune_begin; NULL: none is measured */
    int32_t lanes;   /* 1 (also 0), or 2: prefill and decode steps side by side */
    int32_t max_model_len; /* 0 = the model's own, bounded by the pool */
    void (*progress)(void *arg, const char *phase,
                     double fraction); /* loader thread; may be NULL */
    void *progress_arg;
};
struct model;
/* max_seqs for this model and device where nobody says: 256 on a CPU; on a GPU the largest power of
 * two in 64 .. 1024 whose rows (logits and counts over the vocabulary in every lane) take no more
 * than a 32nd of the memory that is left. */
int32_t model_auto_seqs(const struct model_source *s, const struct be *be, int32_t lanes);
/* Weights, workspace, tables, pool: everything is allocated here. The source may be closed after.
 */
int model_load(struct model **out, const struct model_source *s, struct be *be,
               const struct model_opts *o, struct err *e);
void model_free(struct model *m);
const struct model_config *model_config(const struct model *m);
int32_t model_n_pages(const struct model *m);
int64_t model_weight_tokens(const struct model *m); /* tokens whose KV is as large as the weights */
int64_t model_page_bytes(const struct model *m);
int32_t model_max_len(const struct model *m); /* effective max_model_len */
/* Steps in, tokens out. Lane 0 takes every step, or with two lanes the prefill steps, lane 1 the
 * decode steps. Executors live as long as the model. */
int32_t model_lanes(const struct model *m);
void model_executor(struct model *m, int32_t lane, struct executor *ex);
/* For tests and golden checks: after the last submitted step completed, copy the raw f32 logits of
 * sampling row i ([vocab]) to host memory. */
int model_logits(struct model *m, int32_t i, float *dst);

#endif
