/* SPDX-License-Identifier: Apache-2.0 */
/* copy.c - op_gather and op_copy_pages: rows and whole pages. */
#include "cpu.h"

#include <string.h>

static void gather_rows(void *arg, int64_t begin, int64_t end, int worker)
{
    const struct op_gather *o = arg;
    size_t dim = (size_t)o->dim;
    (void)worker;
    for (int64_t i = begin; i < end; i++) {
        void *out = dt_at_mut(o->out, o->dt, (size_t)i * dim);
        if (o->index[i] < 0)
            memset(out, 0, dim * dtype_size(o->dt));
        else
            memcpy(out, dt_at(o->in, o->dt, (size_t)o->index[i] * dim), dim * dtype_size(o->dt));
    }
}

int cpu_gather(struct be *be, const struct op_gather *o)
{
    int st = opcheck_gather(o);
    if (st != 0)
        return st;
    struct op_gather job = *o;
    cpu_pool_run(cpu_of(be)->pool, o->n_rows, cpu_row_grain(o->dim), gather_rows, &job);
    return 0;
}

static void copy_range(void *arg, int64_t begin, int64_t end, int worker)
{
    const struct op_copy_pages *o = arg;
    size_t bytes = kv_page_elems(&o->kv) * dtype_size(o->kv.dt);
    char *base = o->kv.base;
    (void)worker;
    for (int64_t i = begin; i < end; i++)
        memcpy(base + (size_t)o->copies[i].dst * bytes, base + (size_t)o->copies[i].src * bytes,
               bytes);
}

int cpu_copy_pages(struct be *be, const struct op_copy_pages *o)
{
    int st = opcheck_copy_pages(o);
    if (st != 0)
        return st;
    struct op_copy_pages job = *o;
    cpu_pool_run(cpu_of(be)->pool, o->n, 1, copy_range, &job);
    return 0;
}
