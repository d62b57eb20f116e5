/* cpu.h - what the CPU bodies share: the instance behind `struct be`, loaded matrices, scratch. */
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
    MAX_MATRICES = 16384, /* be_load_matrix calls on one backend */
    CPU_MAX_HEAD = 256,   /* head_dim, see opcheck.c */
    CPU_GRAIN = 16384     /* elements of light work worth handing to another thread */
};

/* A matrix from be_load_matrix. Packed: panels of VEC_PANEL rows of the [n_out, n_in] matrix, each
 * stored [n_in][VEC_PANEL], the last one filled up with zeros. Plain: row-major. Quantised (bits 4
 * or 8, always packed): lines of levels as vec.h has them, and sm[panel][n_in /
 * group][2][VEC_PANEL] scales and offsets; dt is then the type of the values that come out, DT_F32.
 */
struct cpu_matrix {
    const void *data;
    int64_t n_out, n_in;
    int32_t dt;
    int32_t packed;
    int32_t bits, group; /* 0: not quantised */
    const float *sm;
};

/* Line k of a panel. */
static inline const uint8_t *cpu_levels(const struct cpu_matrix *m, int64_t panel, int64_t k)
{
    return (const uint8_t *)m->data + (panel * m->n_in + k) * 4 * m->bits;
}
static inline const float *cpu_scales(const struct cpu_matrix *m, int64_t panel, int64_t k)
{
    return m->sm + (panel * m->n_in + k) / m->group * 2 * VEC_PANEL;
}

struct cpu_block; /* one allocation */

struct cpu_be {
    struct cpu_pool *pool;
    const struct vec_fns *vec;
    struct cpu_matrix *matrix; /* sorted by data */
    int n_matrices;
    struct cpu_block *blocks;
    float *scratch; /* per worker */
    size_t scratch_stride;
};

static inline struct cpu_be *cpu_of(struct be *be)
{
    return be->priv;
}

/* The loaded matrix that starts at p, or NULL for plain memory. */
const struct cpu_matrix *cpu_find_matrix(const struct cpu_be *c, const void *p);
int cpu_load_matrix(struct be *be, const char *what, const struct be_weight_part *parts,
                    int n_parts, int64_t n_in, int32_t dt, int gemm_operand, void **out,
                    struct err *e);

/* Floats of scratch per worker: attention's tiles are the largest user. */
size_t cpu_attn_scratch(void);
static inline float *cpu_scratch(struct cpu_be *c, int worker)
{
    return c->scratch + (size_t)worker * c->scratch_stride;
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
