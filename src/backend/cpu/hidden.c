/* SPDX-License-Identifier: Apache-2.0 */
/* hidden.c - op_hidden: the hidden state of a chunk's last token, or the mean over a prompt.
 *
 * Sums go on token by token in f32 from chunk to chunk, so a cut changes no bit.
 */
#include "cpu.h"

enum { CPU_HIDDEN_STEP = 256 }; /* columns taken at a time */

struct hidden_job {
    const struct op_hidden *o;
    const struct vec_fns *vec;
};

/* Columns [j, j + n) of row i. */
static void take_columns(const struct hidden_job *job, int64_t i, size_t j, size_t n)
{
    const struct op_hidden *o = job->o;
    const struct batch *bv = o->bv;
    size_t dim = (size_t)o->dim, t = (size_t)bv->row_tok0[i], end = t + (size_t)bv->row_new[i];
    float *to = o->out + (size_t)i * dim + j, *sum = o->sum + (size_t)bv->row_slot[i] * dim + j;
    if (o->want[i] == STEP_WANT_HIDDEN) {
        job->vec->load(to, dt_at(o->in, o->dt, (end - 1) * dim + j), o->dt, n);
        return;
    }
    for (size_t k = 0; bv->row_kv[i] == bv->row_new[i] && k < n; k++)
        sum[k] = 0.0f;
    for (; t < end; t++) {
        float x[CPU_HIDDEN_STEP];
        job->vec->load(x, dt_at(o->in, o->dt, t * dim + j), o->dt, n);
        for (size_t k = 0; k < n; k++)
            sum[k] += x[k];
    }
    for (size_t k = 0; o->want[i] == STEP_WANT_MEAN && k < n; k++)
        to[k] = sum[k] / (float)bv->row_kv[i];
}

static void hidden_rows(void *arg, int64_t begin, int64_t end, int worker)
{
    const struct hidden_job *job = arg;
    size_t dim = (size_t)job->o->dim, step = CPU_HIDDEN_STEP;
    (void)worker;
    for (int64_t i = begin; i < end; i++) {
        int32_t want = job->o->want[i];
        if (want != STEP_WANT_HIDDEN && want != STEP_WANT_SUM && want != STEP_WANT_MEAN)
            continue;
        for (size_t j = 0; job->o->bv->row_new[i] > 0 && j < dim; j += step)
            take_columns(job, i, j, dim - j < step ? dim - j : step);
    }
}

int cpu_hidden(struct be *be, const struct op_hidden *o)
{
    int st = opcheck_hidden(o);
    if (st != 0)
        return st;
    struct hidden_job job = {o, cpu_of(be)->vec};
    cpu_pool_run(cpu_of(be)->pool, o->bv->n_rows, 1, hidden_rows, &job);
    return 0;
}
