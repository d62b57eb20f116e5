/* SPDX-License-Identifier: Apache-2.0 */
/* model_run.h - drive a model's executor by hand: rows with pages of their own, one step at a time.
 *
 * For tests and benchmarks of src/model, without the engine. Row r owns the pages
 * [r * stride, (r + 1) * stride). QUIRE_GEMM_CACHE names a file of measured products. One thread.
 */
#ifndef QUIRE_MODEL_RUN_H
#define QUIRE_MODEL_RUN_H

#include "clock.h"
#include "model.h"
#include "status.h"

#include <stdlib.h>
#include <string.h>

struct model_run {
    struct be *be;
    struct model *m;
    struct executor ex;
    struct step *s;
    struct step_result *r;
    int32_t page_tokens, stride; /* pages of a row */
    uint64_t n_steps;
    int64_t open_us, load_us; /* what be_open and model_load took */
};

/* `max_len` tokens a row, `rows` rows; weights, activations and KV of dt (-1: as the backend
 * likes).
 */
static inline int model_run_open_dt(struct model_run *x, const struct model_source_opts *so,
                                    const struct be_config *bc, int32_t rows, int32_t max_len,
                                    int32_t max_step_tokens, int32_t dt, struct err *e)
{
    memset(x, 0, sizeof *x);
    struct model_source *src;
    int st = model_source_open(&src, so, e);
    if (st != 0)
        return st;
    int64_t t0 = clock_us();
    st = be_open(&x->be, bc, e);
    x->open_us = clock_us() - t0;
    if (st != 0) {
        model_source_close(src);
        return st;
    }
    x->page_tokens = 16;
    x->stride = (max_len + 15) / 16;
    const struct model_config *c = model_source_config(src);
    size_t el = dtype_size(dt < 0 ? x->be->info.kv_dt : dt);
    int64_t page = (int64_t)c->n_layers * 2 * c->kind[0].n_kv_heads * 16 * c->kind[0].head_dim *
                   (int64_t)el;
    struct model_opts mo = {.kv_dt = dt,
                            .act_dt = dt,
                            .weight_dt = dt,
                            .page_tokens = 16,
                            .warm = bc->graphs == 2 ? WARM_GRAPHS : WARM_NONE,
                            .gemm_cache = getenv("QUIRE_GEMM_CACHE"),
                            .pool_bytes = page * rows * x->stride + page,
                            .max_seqs = rows,
                            .max_step_tokens = max_step_tokens};
    t0 = clock_us();
    st = model_load(&x->m, src, x->be, &mo, e);
    x->load_us = clock_us() - t0;
    model_source_close(src);
    if (st != 0) {
        be_close(x->be);
        return st;
    }
    model_executor(x->m, 0, &x->ex);
    x->s = calloc(1, sizeof *x->s);
    x->r = calloc(1, sizeof *x->r);
    return 0;
}

static inline int model_run_open(struct model_run *x, const struct model_source_opts *so,
                                 const struct be_config *bc, int32_t rows, int32_t max_len,
                                 int32_t max_step_tokens, struct err *e)
{
    return model_run_open_dt(x, so, bc, rows, max_len, max_step_tokens, -1, e);
}

static inline void model_run_close(struct model_run *x)
{
    model_free(x->m);
    be_close(x->be);
    free(x->s);
    free(x->r);
}

static inline void step_begin(struct step *s, int kind, uint64_t seq_no)
{
    s->version = STEP_VERSION;
    s->kind = (uint32_t)kind;
    s->seq_no = seq_no;
    s->n_rows = s->n_tokens = s->n_edits = s->n_out = s->n_in = s->n_copy = s->n_area = 0;
}

static inline void model_run_begin(struct model_run *x, int kind)
{
    step_begin(x->s, kind, ++x->n_steps);
}

/* Append a chunk of `row` at position `first`; sp != NULL samples after it. */
static inline void step_add(struct step *s, const struct model_run *x, row_id row, int32_t first,
                            const token_id *ids, int32_t n, const struct sample_params *sp)
{
    int32_t i = s->n_rows++;
    s->rows[i] = (struct step_row){.row = row,
                                   .first = first,
                                   .n = n,
                                   .token0 = s->n_tokens,
                                   .want = sp ? STEP_WANT_SAMPLE : STEP_WANT_NONE};
    s->sample[i] = sp ? *sp : (struct sample_params){.top_p = 1.0f, .n_logprobs = -1};
    memcpy(s->tokens + s->n_tokens, ids, (size_t)n * sizeof *ids);
    s->n_tokens += n;
    for (int32_t p = first / x->page_tokens; p <= (first + n - 1) / x->page_tokens; p++)
        s->edits[s->n_edits++] = (struct page_edit){
            .row = row, .index = p, .page = row * x->stride + p};
}

static inline void model_run_add(struct model_run *x, row_id row, int32_t first,
                                 const token_id *ids, int32_t n, const struct sample_params *sp)
{
    step_add(x->s, x, row, first, ids, n, sp);
}

static inline int model_run_go(struct model_run *x)
{
    int st = x->ex.submit(x->ex.self, 0, x->s);
    return st != 0 ? st : x->ex.wait(x->ex.self, 0, x->r);
}

static inline struct sample_params greedy_params(void)
{
    return (struct sample_params){.temperature = 0.0f, .top_p = 1.0f, .n_logprobs = -1};
}

#endif
