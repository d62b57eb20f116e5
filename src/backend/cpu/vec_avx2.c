/* SPDX-License-Identifier: Apache-2.0 */
/* vec_avx2.c - vec.h for processors with AVX2, FMA and F16C. */
#include "vec.h"

#if defined(__x86_64__)
#include "half.h"
#include "ops.h"
#include "vec_exp.h"

#include <immintrin.h>

#define TGT __attribute__((target("avx2,fma,f16c")))
#define VEC __m256
#define W 8
#define ROWS 6
#define VZERO _mm256_setzero_ps
#define VSET1 _mm256_set1_ps
#define VLOAD _mm256_loadu_ps
#define VSTORE _mm256_storeu_ps
#define VADD _mm256_add_ps
#define VSUB _mm256_sub_ps
#define VMUL _mm256_mul_ps
#define VDIV _mm256_div_ps
#define VFMA _mm256_fmadd_ps
#define VEXP exp_avx2
#define VLOAD_BF16 bf16_avx2
#define VLOAD_F16(p) _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p)))
#define VLOAD_U8(p) _mm256_cvtepi32_ps(bytes_avx2(p))
#define VLOAD_LO(p) _mm256_cvtepi32_ps(_mm256_and_si256(bytes_avx2(p), _mm256_set1_epi32(15)))
#define VLOAD_HI(p) _mm256_cvtepi32_ps(_mm256_srli_epi32(bytes_avx2(p), 4))

static inline TGT __m256i bytes_avx2(const uint8_t *p)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
}

static inline TGT __m256 bf16_avx2(const uint16_t *p)
{
    __m128i h = _mm_loadu_si128((const __m128i *)(const void *)p);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

static inline TGT __m256 exp_avx2(__m256 x)
{
    __m256 lo = _mm256_set1_ps(EXP_MIN);
    __m256 tiny = _mm256_cmp_ps(x, lo, _CMP_LT_OQ);
    /* min and max return their second operand for NaN, which must survive */
    x = _mm256_min_ps(_mm256_set1_ps(EXP_MAX), _mm256_max_ps(lo, x));
    __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(EXP_LOG2E)),
                               _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(EXP_LN2_HI), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(EXP_LN2_LO), r);
    __m256 y = _mm256_set1_ps(EXP_C7);
    y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(EXP_C6));
    y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(EXP_C5));
    y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(EXP_C4));
    y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(EXP_C3));
    y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(EXP_C2));
    y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(1.0f));
    y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(1.0f));
    __m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    y = _mm256_mul_ps(y, _mm256_castsi256_ps(_mm256_slli_epi32(e, 23)));
    return _mm256_andnot_ps(tiny, y);
}

#include "vec_body.h"

const struct vec_fns vec_avx2 = {"avx2",       vec_tile,   vec_unpack, vec_row,
                                 vec_exp_tile, vec_silu16, vec_load,   vec_store};
#else
typedef int vec_avx2_is_not_empty;
#endif
