/* SPDX-License-Identifier: Apache-2.0 */
/* act.c - op_silu_mul: gate and up halves of each row to one activation. */
#include "cpu.h"

#include <string.h>

struct act {
    const struct op_silu_mul *o;
    const struct vec_fns *vec;
};

static void act_row(const struct act *a, int64_t row)
{
    const struct op_silu_mul *o = a->o;
    size_t dim = (size_t)o->dim, in = (size_t)row * 2 * dim, out = (size_t)row * dim;
    for (size_t j = 0; j < dim; j += 16) {
        size_t len = dim - j < 16 ? dim - j : 16;
        float g[16] = {0}, u[16] = {0}, y[16];
        a->vec->load(g, dt_at(o->in, o->dt, in + j), o->dt, len);
        a->vec->load(u, dt_at(o->in, o->dt, in + dim + j), o->dt, len);
        a->vec->silu16(y, g, u);
        a->vec->store(dt_at_mut(o->out, o->dt, out + j), y, o->dt, len);
    }
}

static void act_rows(void *arg, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    for (int64_t i = begin; i < end; i++)
        act_row(arg, i);
}

int cpu_silu_mul(struct be *be, const struct op_silu_mul *o)
{
    int st = opcheck_silu_mul(o);
    if (st != 0)
        return st;
    struct act a = {o, cpu_of(be)->vec};
    cpu_pool_run(cpu_of(be)->pool, o->n_rows, cpu_row_grain(4 * (int64_t)o->dim), act_rows, &a);
    return 0;
}
