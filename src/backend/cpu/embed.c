/* SPDX-License-Identifier: Apache-2.0 */
/* embed.c - op_embed: table rows by id, from a row-major table or from packed panels. */
#include "cpu.h"

#include <string.h>

struct embed {
    const struct op_embed *o;
    const struct vec_fns *vec;
    const struct matrix *m;
};

/* Row id of a packed matrix, one value after the other: a panel has them far apart. */
static void gather_row(const struct embed *e, token_id id, void *out)
{
    const struct matrix *m = e->m;
    int64_t panel = id / VEC_PANEL, lane = id % VEC_PANEL;
    for (int64_t j = 0; j < m->n_in; j++) {
        float x;
        if (m->bits) {
            const float *s = cpu_scales(m, panel, j);
            const uint8_t *q = cpu_levels(m, panel, j);
            int level = m->bits == 8 ? q[lane] : q[lane % 16] >> (lane / 16 * 4) & 15;
            x = s[lane] * (float)level; /* exact, so that the sum is rounded once */
            x += s[VEC_PANEL + lane];
        } else {
            int64_t at = (panel * m->n_in + j) * VEC_PANEL + lane;
            e->vec->load(&x, dt_at(m->data, m->dt, (size_t)at), m->dt, 1);
        }
        e->vec->store(dt_at_mut(out, e->o->out_dt, (size_t)j), &x, e->o->out_dt, 1);
    }
}

static void widen_row(const struct embed *e, const void *row, void *out)
{
    enum { STEP = 256 };
    const struct op_embed *o = e->o;
    float x[STEP];
    for (size_t j = 0, dim = (size_t)o->dim; j < dim; j += STEP) {
        size_t n = dim - j < STEP ? dim - j : STEP;
        e->vec->load(x, dt_at(row, o->dt, j), o->dt, n);
        e->vec->store(dt_at_mut(out, o->out_dt, j), x, o->out_dt, n);
    }
}

static void embed_row(const struct embed *e, int64_t i)
{
    const struct op_embed *o = e->o;
    token_id id = o->ids[i];
    size_t dim = (size_t)o->dim;
    void *out = dt_at_mut(o->out, o->out_dt, (size_t)i * dim);
    if (id < 0 || id >= o->vocab) {
        memset(out, 0, dim * dtype_size(o->out_dt));
    } else if (e->m->packed) {
        gather_row(e, id, out);
    } else {
        const void *row = dt_at(e->m->data, o->dt, (size_t)id * dim);
        if (o->dt == o->out_dt)
            memcpy(out, row, dim * dtype_size(o->dt));
        else
            widen_row(e, row, out);
    }
}

static void embed_rows(void *arg, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    for (int64_t i = begin; i < end; i++)
        embed_row(arg, i);
}

int cpu_embed(struct be *be, const struct op_embed *o)
{
    int st = opcheck_embed(o);
    if (st != 0)
        return st;
    struct cpu_be *c = cpu_of(be);
    struct embed e = {o, c->vec, o->table};
    cpu_pool_run(c->pool, o->n_tokens, cpu_row_grain(o->dim), embed_rows, &e);
    return 0;
}
