/* SPDX-License-Identifier: Apache-2.0 */
/* state.h - inside of a loaded model: weights, workspace, page table, pool, and the two step slots.
 *
 * Everything is allocated by model_load and never again. All device arrays have fixed addresses,
 * so that a recorded graph of a decode step stays valid. Engine thread once model_load returned.
 */
#ifndef QUIRE_MODEL_STATE_H
#define QUIRE_MODEL_STATE_H

#include "model.h"
#include "weights.h"

/* Host memory of one step in flight. */
struct step_slot {
    struct step *step; /* be_alloc_host: the used parts of the engine's step */
    token_id *token;   /* [max_seqs] results, be_alloc_host */
    float *logprob;
    int32_t *n_top;
    struct token_logprob *top;       /* [max_seqs][MAX_LOGPROBS] */
    struct row_adjust *adjust;       /* [max_seqs], be_alloc_host */
    struct score_want *want;         /* [max_tokens], be_alloc_host */
    float *score;                    /* [max_tokens], be_alloc_host */
    int32_t *score_rank;             /* [max_tokens], be_alloc_host */
    struct token_logprob *score_top; /* [max_tokens][MAX_LOGPROBS], be_alloc_host */
    int32_t score0, score1; /* the tokens from the first that is asked for; score1 0: none */
    int32_t *hidden_want;   /* [max_seqs], be_alloc_host */
    float *hidden;          /* [max_seqs, dim], be_alloc_host */
    bool any_logprobs, any_sample, any_adjust, any_score_top, any_hidden;
};

/* What this rank holds and computes. model_config is the file's shape, these are the rank's own: a
 * rank with a slice of the model has fewer heads and feed-forward columns; one that has all of it,
 * as today, has the same. */
struct model_dims {
    struct layer_dims {
        int32_t n_heads, n_kv_heads, head_dim, ffn_dim;
        int32_t n_q, n_qkv; /* columns: n_heads heads; those and twice n_kv_heads more */
        float attn_scale;
    } kind[MAX_LAYER_KINDS];
    int32_t n_q, n_qkv, ffn_dim;  /* the widest of all kinds */
    int32_t n_kv_layers;          /* layers that keep KV */
    int32_t kv_layer[MAX_LAYERS]; /* a layer's index among them: the ops' `layer`; -1 = no KV */
};

/* What the host knows of what a row has on the device, in whichever lane it runs. */
struct row_marks {
    int32_t count_next[MAX_ROWS]; /* the position at which a row may draw with its counts as they
                                     are; 0 = nowhere */
    int32_t sum_next[MAX_ROWS];   /* the position at which a row's sum may go on; 0 = nowhere */
};

/* A loaded model and its queue on the device; a second lane is another one, that shares what is
 * marked so (model.c). */
struct model {
    struct model *lane; /* the second lane, or NULL */
    struct model_config cfg;
    struct model_dims d;
    struct be *be;       /* of a lane its own */
    struct weight_set w; /* shared */
    int32_t act_dt, weight_dt;
    int32_t max_seqs, max_tokens; /* rows and tokens of one step */
    int32_t logit_rows;           /* rows of logits, at least max_seqs */
    int32_t max_len;
    struct kv_pool_view kv; /* shared */
    int64_t page_bytes;
    float *inv_freq; /* shared; backend memory, [n_ropes][MAX_HEAD_DIM / 2] */

    /* step inputs: backend memory, see op_step_inputs */
    struct batch bv;      /* its page table is shared */
    token_id *last_token; /* shared; [max_seqs]: TOKEN_FROM_ROW reads it */
    struct sample_params *params;
    struct row_adjust *adjust; /* [max_seqs] */
    uint32_t *area;            /* [MAX_AREA] */
    uint16_t *counts;          /* shared; [max_seqs][vocab], see op_adjust */
    struct row_marks *marks;   /* shared */
    struct score_want *want;   /* [max_tokens] */
    int32_t *hidden_want;      /* [max_seqs] */
    float *hidden_sum;         /* shared; [max_seqs, dim], see op_hidden */

    /* workspace: backend memory, act_dt unless said */
    float *x;      /* [max_tokens, dim] residual */
    void *h;       /* [max_tokens, dim] normed input, then the block's output */
    void *qkv;     /* [max_tokens, d.n_qkv] */
    void *attn;    /* [max_tokens, d.n_q] */
    void *gate_up; /* [max_tokens, 2 * d.ffn_dim] */
    void *act;     /* [max_tokens, d.ffn_dim] */
    void *last;    /* [max_seqs, dim] the rows that sample */
    float *logits; /* [logit_rows, vocab] f32 */
    void *attn_work, *sample_work;
    size_t attn_work_bytes, sample_work_bytes;

    /* results of the sampler, backend memory */
    token_id *out_token;
    float *out_logprob;
    int32_t *out_n_top;
    struct token_logprob *out_top;
    float *out_hidden; /* [max_seqs, dim] */
    float *out_score;  /* [max_tokens] */
    int32_t *out_score_n_top, *out_score_rank;
    struct token_logprob *out_score_top; /* [max_tokens][MAX_LOGPROBS] */

    struct step_slot slot[MAX_INFLIGHT];
};

#endif
