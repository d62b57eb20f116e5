/* SPDX-License-Identifier: Apache-2.0 */
/* gemm.c - op_gemm: out = in @ w^T + bias over packed panels.
 *
 * The k dimension is cut into blocks of VEC_KBLOCK; a block is one chain of multiply-adds, blocks
 * are added in order, then the bias. Every output element goes through exactly this whatever m is
 * and whichever thread computes it. Work is cut by panels, and for large m by strips of rows too.
 * A block of a quantised panel is unpacked once for all rows of a strip; for a few rows its
 * levels are used as they are read.
 */
#include "cpu.h"

#include <string.h>

enum {
    STRIP_ROWS = 8 * VEC_TILE_M, /* rows per work item: several register tiles share a panel */
    FEW_ROWS = 3                 /* up to here unpacking costs more than reading levels again */
};

struct gemm {
    const struct op_gemm *o;
    const struct vec_fns *vec;
    const struct matrix *w;
    int64_t n_panels;
};

/* k0.. of up to VEC_TILE_M input rows as f32: in place when they are f32, else converted. */
static const float *input_block(const struct gemm *g, int32_t row, int m, int k0, int kc,
                                float tmp[VEC_TILE_M * VEC_KBLOCK], ptrdiff_t *lda)
{
    const struct op_gemm *o = g->o;
    if (o->dt == DT_F32) {
        *lda = o->n_in;
        return (const float *)o->in + (size_t)row * (size_t)o->n_in + k0;
    }
    for (int r = 0; r < m; r++)
        g->vec->load(tmp + (size_t)r * VEC_KBLOCK,
                     dt_at(o->in, o->dt, (size_t)(row + r) * (size_t)o->n_in + (size_t)k0), o->dt,
                     (size_t)kc);
    *lda = VEC_KBLOCK;
    return tmp;
}

/* Rows k0..k0+kc of a panel as tile() takes them: in place where they are packed numbers, else
 * unpacked or packed into tmp. */
static const void *panel_block(const struct gemm *g, int64_t panel, int k0, int kc,
                               float tmp[VEC_KBLOCK * VEC_PANEL], int *dt)
{
    const struct op_gemm *o = g->o;
    const struct matrix *m = g->w;
    *dt = m->dt;
    if (m->packed && !m->bits)
        return dt_at(m->data, m->dt, (size_t)(panel * o->n_in + k0) * VEC_PANEL);
    if (m->bits) {
        g->vec->unpack(tmp, cpu_levels(m, panel, k0), cpu_scales(m, panel, k0), kc, m->bits,
                       m->group_in);
        return tmp;
    }
    float line[VEC_KBLOCK];
    memset(tmp, 0, (size_t)kc * VEC_PANEL * sizeof *tmp);
    for (int j = 0; j < VEC_PANEL && panel * VEC_PANEL + j < o->n_out; j++) {
        size_t at = (size_t)(panel * VEC_PANEL + j) * (size_t)o->n_in + (size_t)k0;
        g->vec->load(line, dt_at(m->data, *dt, at), *dt, (size_t)kc);
        for (int k = 0; k < kc; k++)
            tmp[k * VEC_PANEL + j] = line[k];
    }
    *dt = DT_F32;
    return tmp;
}

static void finish_rows(const struct gemm *g, int64_t panel, int32_t row, int m,
                        float (*acc)[VEC_PANEL])
{
    const struct op_gemm *o = g->o;
    int64_t col = panel * VEC_PANEL;
    size_t n = (size_t)(o->n_out - col < VEC_PANEL ? o->n_out - col : VEC_PANEL);
    float bias[VEC_PANEL];
    if (o->bias)
        g->vec->load(bias, dt_at(o->bias, o->dt, (size_t)col), o->dt, n);
    for (int r = 0; r < m; r++) {
        if (o->bias)
            for (size_t j = 0; j < n; j++)
                /* opcheck_gemm wants n_in > 0, so a first block has set acc:
                 * NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Assign) */
                acc[r][j] += bias[j];
        size_t at = (size_t)(row + r) * (size_t)o->n_out + (size_t)col;
        g->vec->store(dt_at_mut(o->out, o->out_dt, at), acc[r], o->out_dt, n);
    }
}

/* A few rows of a quantised matrix, as decoding has them: the levels of a block are read from
 * memory for the first row and from the cache for the others, and never written out. */
static void gemm_rows(const struct gemm *g, int64_t panel, int32_t row0, int n_rows)
{
    float acc[FEW_ROWS][VEC_PANEL], in[VEC_TILE_M * VEC_KBLOCK];
    const struct matrix *m = g->w;
    for (int k0 = 0; k0 < m->n_in; k0 += VEC_KBLOCK) {
        int kc = m->n_in - k0 < VEC_KBLOCK ? (int)m->n_in - k0 : VEC_KBLOCK;
        ptrdiff_t lda;
        const float *a = input_block(g, row0, n_rows, k0, kc, in, &lda);
        for (int r = 0; r < n_rows; r++)
            g->vec->row(acc[r], a + r * lda, cpu_levels(m, panel, k0), cpu_scales(m, panel, k0), kc,
                        m->bits, m->group_in, k0 > 0);
    }
    finish_rows(g, panel, row0, n_rows, acc);
}

static void gemm_strip(const struct gemm *g, int64_t panel, int32_t row0, int n_rows)
{
    float acc[STRIP_ROWS][VEC_PANEL];
    float in[VEC_TILE_M * VEC_KBLOCK], w[VEC_KBLOCK * VEC_PANEL];
    int32_t n_in = g->o->n_in;
    for (int k0 = 0; k0 < n_in; k0 += VEC_KBLOCK) {
        int kc = n_in - k0 < VEC_KBLOCK ? n_in - k0 : VEC_KBLOCK, dt;
        const void *b = panel_block(g, panel, k0, kc, w, &dt);
        for (int r = 0; r < n_rows; r += VEC_TILE_M) {
            int m = n_rows - r < VEC_TILE_M ? n_rows - r : VEC_TILE_M;
            ptrdiff_t lda;
            const float *a = input_block(g, row0 + r, m, k0, kc, in, &lda);
            g->vec->tile(acc[r], VEC_PANEL, a, lda, b, VEC_PANEL, kc, m, VEC_PANEL, dt, k0 > 0);
        }
    }
    finish_rows(g, panel, row0, n_rows, acc);
}

static void gemm_items(void *arg, int64_t begin, int64_t end, int worker)
{
    const struct gemm *g = arg;
    (void)worker;
    for (int64_t i = begin; i < end; i++) {
        int64_t panel = i % g->n_panels, row0 = i / g->n_panels * STRIP_ROWS;
        int64_t n_rows = g->o->m - row0 < STRIP_ROWS ? g->o->m - row0 : STRIP_ROWS;
        /* cppcheck-suppress knownConditionTrueFalse ; up to STRIP_ROWS, as the line before says */
        if (n_rows <= FEW_ROWS && g->w->bits)
            gemm_rows(g, panel, (int32_t)row0, (int)n_rows);
        else
            gemm_strip(g, panel, (int32_t)row0, (int)n_rows);
    }
}

int cpu_gemm(struct be *be, const struct op_gemm *o)
{
    int st = opcheck_gemm(o);
    if (st != 0 || o->m == 0)
        return st;
    struct cpu_be *c = cpu_of(be);
    struct gemm g = {o, c->vec, o->w, (o->n_out + VEC_PANEL - 1) / VEC_PANEL};
    int64_t strips = (o->m + STRIP_ROWS - 1) / STRIP_ROWS;
    int64_t grain = (1 << 17) / ((int64_t)o->n_in * VEC_PANEL);
    cpu_pool_run(c->pool, g.n_panels * strips, grain > 0 ? grain : 1, gemm_items, &g);
    return 0;
}
