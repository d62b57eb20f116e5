/* SPDX-License-Identifier: Apache-2.0 */
/* ops.h - one list of kernels, two bodies each (cpu_x in backend/cpu, cuda_x in kernels/x.cu).
 *
 * An op is a fused operation on raw pointers with explicit dimensions. Launchers neither allocate
 * nor synchronise; they first call the shared opcheck_x, and return 0 or ST_*. On CUDA every op is
 * enqueued on the backend's current stream. Every output row depends on its own inputs only, never
 * on which other rows share the batch; on the CPU this holds to the bit, for any split of a prompt
 * into chunks too.
 *
 * Storage types: activations, weights and KV are one of DT_F32, DT_BF16, DT_F16 (`dt` fields);
 * arithmetic accumulates in f32 or better. Matrices are row-major and dense unless a stride is
 * given. Token batch: n_tokens tokens of n_rows rows are packed one row after the other without
 * padding.
 */
#ifndef QUIRE_OPS_H
#define QUIRE_OPS_H

#include "dtype.h"
#include "ids.h"
#include "step.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What input a matrix wants of op_gemm. Today's backends make ACT_PLAIN only. */
enum act_form {
    ACT_PLAIN,    /* numbers of op_gemm.dt as they are */
    ACT_Q_TOKEN,  /* E4M3, scaled by the largest value of each row */
    ACT_Q_STATIC, /* E4M3, scaled by act_scale */
    ACT_Q_G128    /* E4M3, scaled by the largest value of every 128 columns of a row */
};

/* A weight matrix [n_out, n_in] as its backend keeps it: filled by be_load_matrix (or by hand for
 * row-major memory) and constant from then on. This description is host memory of its owner; what
 * it points to is backend memory at fixed addresses, so a recorded graph, which holds the addresses
 * and not this struct, stays valid. */
struct matrix {
    const void *data;
    const float *scale, *offset; /* of codes, laid out as the backend likes; NULL where plain */
    int64_t n_out, n_in;
    int32_t dt;         /* enum dtype: of the numbers in data, or of what codes stand for */
    int32_t code, bits; /* enum wcode of the elements of data; bits of a code, 0 = plain */
    int32_t group_in, group_out; /* columns and rows that share a scale; 0 where plain */
    int32_t act_form;            /* enum act_form */
    float act_scale;             /* ACT_Q_STATIC */
    bool packed; /* as this backend's op_gemm and op_embed like it; else row-major */
};

/* KV pool of the layers that keep KV, in their order; page-major: [page][layer][k|v][kv_head][token
 * in page][head_dim], see kv_offset.
 */
struct kv_pool_view {
    void *base;
    int32_t dt; /* enum dtype */
    int32_t n_pages, n_layers, n_kv_heads, page_tokens, head_dim;
};
/* Element offset of token `t` of head `h` (k: which = 0, v: 1) in `page`, `layer` (of the pool). */
static inline size_t kv_offset(const struct kv_pool_view *p, page_id page, int32_t layer, int which,
                               int32_t h, int32_t t)
{
    size_t head = (size_t)p->page_tokens * (size_t)p->head_dim;
    size_t side = head * (size_t)p->n_kv_heads;
    return ((size_t)page * (size_t)p->n_layers + (size_t)layer) * 2 * side + (size_t)which * side +
           (size_t)h * head + (size_t)t * (size_t)p->head_dim;
}
static inline size_t kv_page_elems(const struct kv_pool_view *p)
{
    return (size_t)p->n_layers * 2 * (size_t)p->n_kv_heads * (size_t)p->page_tokens *
           (size_t)p->head_dim;
}

/* What a step looks like to the layer ops: arrays in backend memory at fixed addresses, filled once
 * per step by step_inputs, which alone writes them. Counts are host values (upper bounds under CUDA
 * graphs: rows beyond the real ones carry row_new = 0 and are skipped). */
struct batch {
    int32_t n_rows, n_tokens, max_new; /* max_new: most new tokens of any row */
    int32_t max_kv;                    /* most KV tokens of any row after this step */
    token_id *tok;                     /* [n_tokens] input ids, fed-back tokens resolved */
    int32_t *pos;                      /* [n_tokens] position in its sequence */
    int32_t *tok_row;    /* [n_tokens] index into the row arrays below; -1 = padding */
    int32_t *row_slot;   /* [n_rows] row_id, selects the page table line */
    int32_t *row_tok0;   /* [n_rows] first token in the batch */
    int32_t *row_new;    /* [n_rows] new tokens */
    int32_t *row_kv;     /* [n_rows] KV tokens after this step (cached + new) */
    int32_t *row_out;    /* [n_rows] token index to sample from (last of the row), -1 = none */
    page_id *page_table; /* [max rows][table_stride] */
    int32_t table_stride;
};

/* RoPE as one table: inv_freq[head_dim/2] f32 (every scaling is folded in by the model loader) and
 * the attention factor that multiplies cos and sin. Rotation pairs (i, i + head_dim/2), the Hugging
 * Face "rotate half" layout; GGUF llama weights are permuted to it at load. */

/* Fills a batch from a step: its arrays and counts; applies edits to the page table; feeds back
 * sampled tokens where ids are TOKEN_FROM_ROW (last_token[row_slot]). `step` is host memory on CPU
 * and pinned host memory on CUDA; the device body copies only the used parts. */
struct op_step_inputs {
    const struct step *step;
    struct batch *bv;
    const token_id *last_token;   /* [max rows] */
    struct sample_params *params; /* [n_rows] out, backend memory: step->sample for op_sample */
    int32_t pad_rows; /* decode graphs: fill up to this many rows with padding; 0 = none */
};

/* out[i] = table[ids[i]]; the table may be a gemm operand too (tied embeddings need one copy). An
 * id outside the vocabulary, and padding, gives zeros. */
struct op_embed {
    void *out;                  /* [n_tokens, dim] of out_dt: DT_F32 or dt */
    const struct matrix *table; /* [vocab, dim] of dt */
    const token_id *ids;        /* [n_tokens] */
    int32_t n_tokens, dim, vocab, dt, out_dt;
};

/* residual += x (x may be NULL), out = residual / rms(residual) * weight. The residual is of
 * res_dt, DT_F32 or dt: it is the sum of all layers, and 16 bits would cost it more precision than
 * all the products together. */
struct op_add_rmsnorm {
    void *out;           /* [n_rows, dim]; may equal x */
    void *residual;      /* [n_rows, dim] of res_dt, updated in place */
    const void *x;       /* [n_rows, dim] or NULL */
    const float *weight; /* [dim] */
    int32_t n_rows, dim, dt, res_dt;
    float eps;
};

/* out = in @ w^T + bias. */
struct op_gemm {
    void *out;              /* [m, n_out], dtype out_dt */
    const void *in;         /* [m, n_in], dtype dt */
    const struct matrix *w; /* [n_out, n_in] of dt; act_form ACT_PLAIN */
    const void *bias;       /* [n_out] dtype dt, or NULL */
    int32_t m, n_in, n_out, dt, out_dt;
};
/* Products of up to so many rows as m are alike: a body may choose how to compute them once, for
 * all. 1 2 4 8, then multiples of 8 to 64, of 64 to 512, of 256 to 2048, of 1024 beyond. */
static inline int32_t gemm_bucket(int32_t m)
{
    int32_t grain = m <= 64 ? 8 : m <= 512 ? 64 : m <= 2048 ? 256 : 1024, b = 1;
    if (m > 8)
        return (m + grain - 1) / grain * grain;
    while (b < m)
        b *= 2;
    return b;
}

/* qkv [n_tokens, (n_heads + 2 n_kv_heads) * head_dim]: per-head RMS norm of q and k when q_norm is
 * given (Qwen3), rotate q and k by position, write q back in place, k and v into the pool. */
struct op_rope_kv_write {
    void *qkv;
    const float *q_norm, *k_norm; /* [head_dim] or NULL */
    const float *inv_freq;        /* [head_dim / 2] */
    float attn_factor, eps;
    int32_t n_heads, dt, layer; /* layer: of the pool */
    struct kv_pool_view kv;
    const struct batch *bv;
};

/* Causal attention of every new token over its row's KV (which already holds the new tokens).
 * q: first n_heads*head_dim columns of each qkv row (stride qkv_stride elements). */
struct op_attn {
    void *out;                              /* [n_tokens, n_heads * head_dim] */
    const void *q;                          /* [n_tokens, qkv_stride] */
    int32_t qkv_stride, n_heads, dt, layer; /* layer: of the pool */
    float scale;                            /* usually 1/sqrt(head_dim) */
    struct kv_pool_view kv;
    const struct batch *bv;
    void *work; /* CUDA: split-KV partials and work list; sized by be_attn_work_bytes */
    size_t work_bytes;
};

/* out[i, j] = silu(in[i, j]) * in[i, dim + j]; in holds gate then up: [n_rows, 2*dim]. */
struct op_silu_mul {
    void *out;
    const void *in;
    int32_t n_rows, dim, dt;
};

/* out[i] = in[index[i]]; rows of dim elements; index -1 gives zeros. Picks the rows that sample. */
struct op_gather {
    void *out;
    const void *in;
    const int32_t *index; /* [n_rows] */
    int32_t n_rows, dim, dt;
};

/* What op_adjust does to a row: made by the executor from a step's areas and penalties. */
enum adjust_kind {
    ADJUST_NONE,    /* nothing: the row is drawn from its raw logits */
    ADJUST_PLAIN,   /* bias and mask */
    ADJUST_COUNTED, /* penalties, too; the token that the row drew last is counted first */
    ADJUST_COUNTS   /* penalties, too; the row's counts are wiped and set from the area first */
};
struct row_adjust {
    int32_t kind;              /* enum adjust_kind */
    int32_t counts0, n_counts; /* pairs of ADJUST_COUNTS: area[counts0, counts0 + 2 n_counts) */
    int32_t bias0, n_bias;     /* pairs */
    int32_t mask0;             /* first word; -1 = no mask */
};
/* A row's count of a token: bit 15 = it occurs in the prompt; the rest = how often it was drawn, at
 * most 32,767. */
enum { COUNT_PROMPT = 0x8000, COUNT_MOST = 0x7fff };

/* The logits that are drawn from, where a row does not draw from the raw ones. With c = how often
 * the row drew the token: x > 0 ? x / repetition : x * repetition, where c > 0 or it occurs in the
 * prompt; then x - frequency * c; then x - presence, where c > 0; then x + bias; then -inf where
 * the mask does not allow it. All in f32, each operation rounded by itself, so that it equals what
 * PyTorch computes (transformers, vLLM) to the bit. Rows with row_out[i] < 0 and of ADJUST_NONE are
 * left alone. A pair of a token outside the vocabulary, and a last_token outside it, is skipped. */
struct op_adjust {
    float *out;                         /* [n_rows, vocab] */
    const float *logits;                /* [n_rows, vocab] raw */
    const struct sample_params *params; /* [n_rows] backend memory */
    const struct row_adjust *adjust;    /* [n_rows] backend memory */
    const uint32_t *area;               /* backend memory, see enum step_area */
    const int32_t *row_slot, *row_out;  /* [n_rows] */
    const token_id *last_token;         /* [max rows] */
    uint16_t *counts;                   /* [max rows][vocab], kept from step to step */
    int32_t n_rows, vocab;
};

/* op_sample's answer for a row whose logits are no numbers. */
enum { TOKEN_NUMERIC = -2 };

/* One token per row from raw logits, or where `adjust` says that op_adjust made some for a row,
 * from those. A row with a NaN, with +inf or with nothing finite among either is a numeric error:
 * its token is TOKEN_NUMERIC, also for feedback, n_top 0 (-inf alone is legal: a token that cannot
 * be). Greedy when temperature < 1e-5 (lowest id wins ties). Otherwise weights w = exp((logit -
 * best) / temperature), and of the tokens in the order (weight descending, id ascending) those are
 * kept that pass, one after the other: top-k (the first k), top-p over the renormalised rest (the
 * shortest head whose sum reaches top_p of it; at least one token), min-p (w
 * >= min_p, the best has w = 1). One draw by inversion over the kept tokens in ascending id order:
 * the first whose running sum exceeds u * total. u = (r >> 11) * 2^-53, r = x0 << 32 | x1 of
 * philox4x32-10 with counter {pos, 0, 0, 0} and key {low, high half of seed}, so that it depends on
 * nothing else. logprobs are of the raw logits; where they are not asked for, n_top is 0 and
 * logprob is anything. last_token[row_slot[i]] receives the token for feedback. Rows with
 * row_out[i] < 0 are skipped (token -1, n_top 0, feedback untouched). pos: the position of the
 * drawn token, which is row_kv. */
struct op_sample {
    const float *logits;                /* [n_rows, vocab] */
    const struct sample_params *params; /* [n_rows] backend memory */
    const int32_t *pos;                 /* [n_rows] position of the token being drawn */
    const int32_t *row_slot, *row_out;  /* [n_rows] */
    token_id *last_token;               /* [max rows] */
    token_id *token;                    /* [n_rows] out */
    float *logprob;                     /* [n_rows] out */
    struct token_logprob *top;          /* [n_rows][MAX_LOGPROBS] out, best first */
    int32_t *n_top;                     /* [n_rows] out */
    const struct row_adjust *adjust;    /* [n_rows] backend memory; NULL = ADJUST_NONE for all */
    float
        *adjusted; /* [n_rows, vocab] of op_adjust; may be overwritten, may be where work begins */
    int32_t n_rows, vocab, any_logprobs;
    void *work; /* be_sample_work_bytes */
    size_t work_bytes;
};

/* The token whose log probability is asked for, and how many of the best beside it. */
struct score_want {
    token_id token; /* -1 = nothing is asked for here */
    int32_t n_top;  /* 0 .. MAX_LOGPROBS */
};

/* Log probabilities of given tokens, of raw logits: no draw. Where a row is a numeric error (see
 * op_sample) its logprob is a NaN and n_top 0; without a token of the vocabulary both are 0. A
 * token that is among the best has the same float there. */
struct op_score {
    const float *logits;           /* [n_rows, vocab] */
    const struct score_want *want; /* [n_rows] backend memory */
    float *logprob;                /* [n_rows] out */
    struct token_logprob *top;     /* [n_rows][MAX_LOGPROBS] out, best first */
    int32_t *n_top;                /* [n_rows] out: that many, or the vocabulary */
    int32_t *rank; /* [n_rows] out: the token's place among all by logit, the best has 1, of equal
                      ones the lower id comes first; 0 where there is no log probability */
    int32_t n_rows, vocab;
};

/* Hidden states that are given back, by row (enum step_want): HIDDEN copies that of its last token
 * to out; SUM and MEAN add those of all its tokens, one after the other, to the row's line of sum,
 * which is 0 first where the row's chunk begins at position 0; MEAN divides the line by the row's
 * tokens into out. Rows that want something else, and padding, are left alone. */
struct op_hidden {
    float *out;          /* [n_rows, dim] */
    float *sum;          /* [max rows, dim], kept from step to step */
    const void *in;      /* [n_tokens, dim] of dt */
    const int32_t *want; /* [n_rows] backend memory */
    const struct batch *bv;
    int32_t dim, dt;
};

/* Whole pages inside the pool, in list order semantics (no dst is a src or another dst). */
struct op_copy_pages {
    struct kv_pool_view kv;
    const struct page_copy *copies; /* host memory */
    int32_t n;
};

/* clang-format off */
#define OP_LIST(X) \
    X(step_inputs) X(embed) X(add_rmsnorm) X(gemm) X(rope_kv_write) X(attn_prefill) X(attn_decode) \
    X(silu_mul) X(gather) X(adjust) X(sample) X(score) X(hidden) X(copy_pages)
/* clang-format on */

/* attn_prefill and attn_decode share one argument struct: same contract, other shapes. */
#define op_attn_prefill op_attn
#define op_attn_decode op_attn

struct be; /* a backend instance, backend.h */

/* The table a backend is called through. */
struct op_table {
#define X(n) int (*n)(struct be * be, const struct op_##n *o);
    OP_LIST(X)
#undef X
};

#endif
