/* SPDX-License-Identifier: Apache-2.0 */
/* norm.c - op_add_rmsnorm: residual += x; out = residual / sqrt(mean(residual^2) + eps) * weight.
 *
 * The sum of squares is taken in double over the stored (rounded) residual.
 */
#include "cpu.h"

#include <math.h>
#include <string.h>

enum { NORM_BLOCK = 256 };

struct norm {
    const struct op_add_rmsnorm *o;
    const struct vec_fns *vec;
};

/* Add one block of x to the residual, round to storage, and return its sum of squares. */
static double add_block(const struct norm *n, size_t at, size_t len, size_t col)
{
    const struct op_add_rmsnorm *o = n->o;
    float r[NORM_BLOCK], x[NORM_BLOCK];
    n->vec->load(r, dt_at(o->residual, o->res_dt, at + col), o->res_dt, len);
    if (o->x) {
        n->vec->load(x, dt_at(o->x, o->dt, at + col), o->dt, len);
        for (size_t j = 0; j < len; j++)
            r[j] += x[j];
        n->vec->store(dt_at_mut(o->residual, o->res_dt, at + col), r, o->res_dt, len);
        n->vec->load(r, dt_at(o->residual, o->res_dt, at + col), o->res_dt, len);
    }
    double part[8] = {0}, sum = 0;
    memset(r + len, 0, (NORM_BLOCK - len) * sizeof *r);
    for (size_t j = 0; j < NORM_BLOCK; j += 8)
        for (size_t k = 0; k < 8; k++)
            part[k] += (double)r[j + k] * (double)r[j + k];
    for (size_t k = 0; k < 8; k++)
        sum += part[k];
    return sum;
}

static void norm_row(const struct norm *n, int64_t row)
{
    const struct op_add_rmsnorm *o = n->o;
    size_t dim = (size_t)o->dim, at = (size_t)row * dim;
    double sum = 0;
    for (size_t j = 0; j < dim; j += NORM_BLOCK)
        sum += add_block(n, at, dim - j < NORM_BLOCK ? dim - j : NORM_BLOCK, j);
    float scale = (float)(1.0 / sqrt(sum / (double)o->dim + (double)o->eps));
    for (size_t j = 0; j < dim; j += NORM_BLOCK) {
        size_t len = dim - j < NORM_BLOCK ? dim - j : NORM_BLOCK;
        float r[NORM_BLOCK];
        const float *w = o->weight + j;
        n->vec->load(r, dt_at(o->residual, o->res_dt, at + j), o->res_dt, len);
        for (size_t k = 0; k < len; k++)
            r[k] = r[k] * scale * w[k];
        n->vec->store(dt_at_mut(o->out, o->dt, at + j), r, o->dt, len);
    }
}

static void norm_rows(void *arg, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    for (int64_t i = begin; i < end; i++)
        norm_row(arg, i);
}

int cpu_add_rmsnorm(struct be *be, const struct op_add_rmsnorm *o)
{
    int st = opcheck_add_rmsnorm(o);
    if (st != 0)
        return st;
    struct norm n = {o, cpu_of(be)->vec};
    cpu_pool_run(cpu_of(be)->pool, o->n_rows, cpu_row_grain(o->dim), norm_rows, &n);
    return 0;
}
