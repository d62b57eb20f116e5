/* SPDX-License-Identifier: Apache-2.0 */
/* vec.h - the few inner loops that are worth instructions of their own, in three builds.
 *
 * vec_body.h is compiled for AVX-512, AVX2+FMA and plain C; vec_pick takes the best one at run
 * time. Within one build every output element is computed by one fixed chain of operations,
 * whatever the number of rows around it: this is what makes a row independent of its batch to the
 * bit.
 */
#ifndef QUIRE_CPU_VEC_H
#define QUIRE_CPU_VEC_H

#include <stddef.h>
#include <stdint.h>

enum {
    VEC_PANEL = 32,  /* columns of one packed weight panel */
    VEC_TILE_M = 12, /* rows that vec tile loops like best; any other number works */
    VEC_KBLOCK = 256 /* k of one accumulation chain; partial sums are then added in order */
};

struct vec_fns {
    const char *name;
    /* c[m][n] (+)= a[m][k] @ b[k][n], row strides ldc, lda, ldb in elements. a and c are f32, b is
     * b_dt (enum dtype). n is a multiple of 16. One chain of multiply-adds along k per element,
     * started at 0; with `add` the result is then added to c. */
    void (*tile)(float *c, ptrdiff_t ldc, const float *a, ptrdiff_t lda, const void *b,
                 ptrdiff_t ldb, int k, int m, int n, int b_dt, int add);
    /* Quantised panels, see cpu.h: k lines of VEC_PANEL levels (16 bytes at 4 bits,
     * line byte j holds columns j and j + 16; 32 bytes at 8), and for every `group` lines VEC_PANEL
     * scales, then VEC_PANEL offsets. k is a multiple of group. unpack: dst[k][VEC_PANEL] =
     * scale * q + offset, one rounding. row: what tile() does for one row of a, n = VEC_PANEL and
     * b = the unpacked lines, in the same order, without writing them out. */
    void (*unpack)(float *dst, const uint8_t *q, const float *sm, int k, int bits, int group);
    void (*row)(float *c, const float *a, const uint8_t *q, const float *sm, int k, int bits,
                int group, int add);
    /* p[j] = exp(s[j] - max) for j < n_valid, else 0; j < n, n a multiple of 16, in place.
     * Returns the sum, added up in one fixed order of lanes. */
    float (*exp_tile)(float *s, int n_valid, int n, float max);
    /* out[j] = g/(1+exp(-g)) * u for 16 elements. */
    void (*silu16)(float *out, const float *g, const float *u);
    /* f32 from n elements of dt, and back; any n. */
    void (*load)(float *dst, const void *src, int32_t dt, size_t n);
    void (*store)(void *dst, const float *src, int32_t dt, size_t n);
};

extern const struct vec_fns vec_base;
#if defined(__x86_64__)
extern const struct vec_fns vec_avx2, vec_avx512;
#endif
const struct vec_fns *vec_pick(void);
/* By name ("base", "avx2", "avx512"); NULL when this processor cannot run it. For tests. */
const struct vec_fns *vec_named(const char *name);

#endif
