/* SPDX-License-Identifier: Apache-2.0 */
/* vec_avx512.c - vec.h for processors with AVX-512 (F, BW, DQ, VL). */
#include "vec.h"

#if defined(__x86_64__)
#include "half.h"
#include "ops.h"
#include "vec_exp.h"

#include <immintrin.h>

#define TGT __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma,f16c")))
#define VEC __m512
#define W 16
#define ROWS 12
#define VZERO _mm512_setzero_ps
#define VSET1 _mm512_set1_ps
#define VLOAD _mm512_loadu_ps
#define VSTORE _mm512_storeu_ps
#define VADD _mm512_add_ps
#define VSUB _mm512_sub_ps
#define VMUL _mm512_mul_ps
#define VDIV _mm512_div_ps
#define VFMA _mm512_fmadd_ps
#define VEXP exp_avx512
#define VLOAD_BF16 bf16_avx512
#define VLOAD_F16(p) _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(p)))
#define VLOAD_U8(p) _mm512_cvtepi32_ps(bytes_avx512(p))
#define VLOAD_LO(p) _mm512_cvtepi32_ps(_mm512_and_si512(bytes_avx512(p), _mm512_set1_epi32(15)))
#define VLOAD_HI(p) _mm512_cvtepi32_ps(_mm512_srli_epi32(bytes_avx512(p), 4))

static inline TGT __m512i bytes_avx512(const uint8_t *p)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
}

static inline TGT __m512 bf16_avx512(const uint16_t *p)
{
    __m256i h = _mm256_loadu_si256((const __m256i *)(const void *)p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

static inline TGT __m512 exp_avx512(__m512 x)
{
    __m512 lo = _mm512_set1_ps(EXP_MIN);
    __mmask16 tiny = _mm512_cmp_ps_mask(x, lo, _CMP_LT_OQ);
    /* min and max return their second operand for NaN, which must survive */
    x = _mm512_min_ps(_mm512_set1_ps(EXP_MAX), _mm512_max_ps(lo, x));
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(EXP_LOG2E)), 0);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(EXP_LN2_HI), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(EXP_LN2_LO), r);
    __m512 y = _mm512_set1_ps(EXP_C7);
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(EXP_C6));
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(EXP_C5));
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(EXP_C4));
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(EXP_C3));
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(EXP_C2));
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(1.0f));
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(1.0f));
    return _mm512_mask_mov_ps(_mm512_scalef_ps(y, n), tiny, _mm512_setzero_ps());
}

#include "vec_body.h"

const struct vec_fns vec_avx512 = {"avx512",     vec_tile,   vec_unpack, vec_row,
                                   vec_exp_tile, vec_silu16, vec_load,   vec_store};
#else
typedef int vec_avx512_is_not_empty;
#endif
