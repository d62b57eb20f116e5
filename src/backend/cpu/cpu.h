/* SPDX-License-Identifier: Apache-2.0 */
/* cpu.h - what the CPU bodies share: the instance behind `struct be`, how matrices lie, scratch. */
#ifndef QUIRE_CPU_H
#define QUIRE_CPU_H

#include "backend.h"
#include "backend/calls.h"
#include "half.h"
#include "threads.h"
#include "vec.h"

#include <stddef.h>
#include <stdint.h>

enum {
    CPU_MAX_HEAD = 256, /* head_dim, see opcheck.c */
    CPU_GRAIN = 16384   /* elements of light work worth handing to another thread */
};

/* How struct matrix is filled here. Packed: panels of VEC_PANEL rows of the [n_out, n_in] matrix,
 * each stored [n_in][VEC_PANEL], the last one filled up with zeros. Codes (WC_U4, WC_U8, always
 * packed): lines of levels as vec.h has them; scales and offsets alternate, [panel][n_in /
 * group_in][2][VEC_PANEL], so that offset = scale + VEC_PANEL; dt is then DT_F32. */

/* Line k of a panel. */
static inline const uint8_t *cpu_levels(const struct matrix *m, int64_t panel, int64_t k)
{
    return (const uint8_t *)m->data + (panel * m->n_in + k) * 4 * m->bits;
}
static inline const float *cpu_scales(const struct matrix *m, int64_t panel, int64_t k)
{
    return m->scale + (panel * m->n_in + k) / m->group_in * 2 * VEC_PANEL;
}

struct cpu_block; /* one allocation */

struct cpu_be {
    struct cpu_pool *pool;
    const struct vec_fns *vec;
    struct cpu_block *blocks;
    float *scratch; /* per worker */
    size_t scratch_stride;
};

static inline struct cpu_be *cpu_of(struct be *be)
{
    return be->priv;
}

int cpu_load_matrix(struct be *be, const struct be_matrix_spec *s, struct matrix *out,
                    struct err *e);

/* Floats of scratch per worker: attention's tiles are the largest user. */
size_t cpu_attn_scratch(void);
static inline float *cpu_scratch(struct cpu_be *c, int worker)
{
    return c->scratch + (size_t)worker * c->scratch_stride;
}

/* What adjusted logits take at the beginning of the sampler's scratch. */
static inline size_t cpu_adjusted_bytes(int32_t rows, int32_t vocab)
{
    return ((size_t)rows * (size_t)vocab * sizeof(float) + 63) & ~(size_t)63;
}

static inline const void *dt_at(const void *p, int32_t dt, size_t i)
{
    return (const char *)p + i * dtype_size(dt);
}
static inline void *dt_at_mut(void *p, int32_t dt, size_t i)
{
    return (char *)p + i * dtype_size(dt);
}

/* Rows per chunk for jobs of n elements per row. */
static inline int64_t cpu_row_grain(int64_t n)
{
    return n >= CPU_GRAIN ? 1 : CPU_GRAIN / (n > 0 ? n : 1);
}

#endif
