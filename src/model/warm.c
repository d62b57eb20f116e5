/* SPDX-License-Identifier: Apache-2.0 */
/* warm.c - first passes before ready: does the model answer in numbers at all? Kernels are loaded,
 * matrix products choose their algorithms and decode graphs are recorded now, not under the first
 * requests.
 *
 * Loader thread, at the end of model_load. The steps are real ones over pages that nobody owns yet;
 * what they leave in the pool, the tables and the results is overwritten before it is ever read.
 */
#include "warm.h"

#include "executor.h"
#include "forward.h"
#include "mem.h"

#include <stdlib.h>

enum { WARM_KV = 8192 }; /* decode graphs are recorded for contexts up to this length */

struct warmer {
    struct model *m;
    struct executor ex;
    struct step *s;
    struct step_result *r;
    uint64_t no;
};

/* A chunk of n tokens that ends at position `last`, with pages for the whole row. */
static void add_row(struct warmer *w, row_id row, int32_t last, int32_t n)
{
    struct step *s = w->s;
    int32_t i = s->n_rows++, pt = w->m->kv.page_tokens;
    s->rows[i] = (struct step_row){
        .row = row, .first = last + 1 - n, .n = n, .want = STEP_WANT_SAMPLE, .token0 = s->n_tokens};
    s->sample[i] = (struct sample_params){.top_p = 1.0f, .n_logprobs = -1};
    for (int32_t k = 0; k < n; k++)
        s->tokens[s->n_tokens++] = k % w->m->cfg.vocab;
    for (int32_t k = 0; k <= last / pt; k++)
        s->edits[s->n_edits++] = (struct page_edit){row, k, (row + k) % w->m->kv.n_pages};
}

static void begin(struct warmer *w, int kind)
{
    struct step *s = w->s;
    s->version = STEP_VERSION;
    s->kind = (uint32_t)kind;
    s->seq_no = ++w->no;
    s->n_rows = s->n_tokens = s->n_edits = s->n_out = s->n_in = s->n_copy = s->n_area = 0;
    s->share = 0;
}

static int run(struct warmer *w)
{
    int st = w->ex.submit(w->ex.self, 0, w->s);
    if (st == ST_DEVICE_RETRY) /* a graph that could not be recorded */
        st = w->ex.submit(w->ex.self, 0, w->s);
    return st != 0 ? st : w->ex.wait(w->ex.self, 0, w->r);
}

/* A prompt of n tokens, whose answer must be a number: weights with NaN or infinity in them are no
 * model, whatever the file is called. */
static int warm_prompt(struct warmer *w, int32_t n)
{
    begin(w, STEP_PREFILL);
    add_row(w, 0, n - 1, n);
    int st = run(w);
    return st != 0 ? st : w->r->row[0].status;
}

/* Chunks of 1, 4, 16, ... tokens and the largest there will be. */
static int warm_prefill(struct warmer *w)
{
    int32_t most = w->m->max_tokens < w->m->max_len ? w->m->max_tokens : w->m->max_len;
    int st = 0;
    for (int32_t n = 1; st == 0; n = n * 4 < most ? n * 4 : most) {
        st = warm_prompt(w, n);
        if (n == most)
            break;
    }
    return st;
}

/* `rows` rows, the first with kv tokens. */
static int warm_decode(struct warmer *w, int32_t rows, int32_t kv)
{
    begin(w, STEP_DECODE);
    for (int32_t r = 0; r < rows; r++)
        add_row(w, r, r == 0 ? kv - 1 : 0, 1);
    return run(w);
}

/* Every bucket of rows, the first row with kv tokens. */
static int warm_rows(struct warmer *w, const struct model *m, int32_t kv)
{
    int st = 0;
    for (int32_t rows = 0; st == 0 && rows < m->max_seqs;) {
        rows = row_bucket(m, rows + 1);
        st = warm_decode(w, rows, kv);
    }
    return st;
}

/* Decode steps, on their lane. A pass of every bucket of rows brings kernels and products along;
 * after that, all graphs are recorded without running them. */
static int warm_graphs(struct warmer *w, bool all)
{
    struct model *m = w->m->lane ? w->m->lane : w->m;
    int32_t most = m->max_len < WARM_KV ? m->max_len : WARM_KV, kv = 0;
    model_executor(w->m, w->m->lane ? 1 : 0, &w->ex);
    int st = warm_rows(w, m, kv_bucket(m, 1) < most ? kv_bucket(m, 1) : most);
    if (st != 0 || !all || !m->be->info.graphs)
        return st;
    be_graph_only_record(m->be, true);
    while (st == 0 && kv < most) {
        kv = kv_bucket(m, kv + 1);
        kv = kv < most ? kv : most;
        st = warm_rows(w, m, kv);
    }
    be_graph_only_record(m->be, false);
    return st;
}

/* Products of every size that a step can have, for a device that measures them or has measured. */
static int tune(struct model *m, const char *cache)
{
    int st = be_tune_begin(m->be, cache);
    if (st != 0)
        return st == 1 ? 0 : st;
    for (int32_t n = 1; st == 0; n = gemm_bucket(n + 1)) {
        n = n < m->max_tokens ? n : m->max_tokens;
        st = forward_products(m, n);
        if (n == m->max_tokens)
            break;
    }
    if (st == 0)
        st = be_sync(m->be);
    be_tune_end(m->be);
    return st;
}

int model_warm(struct model *m, int how, const char *gemm_cache, struct err *e)
{
    struct warmer w = {.m = m};
    if (how == WARM_NONE)
        return 0;
    int tuned = gemm_cache && how != WARM_ANSWER ? tune(m, gemm_cache) : 0;
    if (tuned != 0)
        return err_set(e, tuned, "the matrix products of the model failed: %s", st_text(tuned));
    model_executor(m, 0, &w.ex);
    w.s = xalloc(sizeof *w.s);
    w.r = xalloc(sizeof *w.r);
    int st = how == WARM_ANSWER ? warm_prompt(&w, 1) : warm_prefill(&w);
    if (st == 0 && how != WARM_ANSWER)
        st = warm_graphs(&w, how == WARM_GRAPHS);
    free(w.s);
    free(w.r);
    if (st == ST_NUMERIC)
        return err_set(e, ST_FORMAT,
                       "the model's first answer is no number: its logits have NaN or infinity, or "
                       "nothing finite. A weight of the checkpoint is broken, or its values do not "
                       "fit model.dtype");
    return st != 0 ? err_set(e, st, "the first pass of the model failed: %s", st_text(st)) : 0;
}
