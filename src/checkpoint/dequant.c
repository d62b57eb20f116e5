/* SPDX-License-Identifier: Apache-2.0 */
/* dequant.c - stored element types to f32, bf16 or f16.
 *
 * One portable body, compiled twice: plainly and for AVX2 (chosen at run time). The loops are
 * written for the auto-vectoriser: fixed trip counts, no branches inside. FMA is left out of the
 * target on purpose: contraction would change the last bit between machines. Pure functions, any
 * thread. Sizes were checked when the file was opened.
 */
#include "dequant.h"

#include <stddef.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

struct qinfo {
    const char *name;
    int32_t elems, bytes;
};

static const struct qinfo infos[N_QTYPES] = {
    [QT_F32] = {"F32", 1, 4},       [QT_F16] = {"F16", 1, 2},       [QT_BF16] = {"BF16", 1, 2},
    [QT_Q4_0] = {"Q4_0", 32, 18},   [QT_Q4_1] = {"Q4_1", 32, 20},   [QT_Q5_0] = {"Q5_0", 32, 22},
    [QT_Q5_1] = {"Q5_1", 32, 24},   [QT_Q8_0] = {"Q8_0", 32, 34},   [QT_Q4_K] = {"Q4_K", 256, 144},
    [QT_Q5_K] = {"Q5_K", 256, 176}, [QT_Q6_K] = {"Q6_K", 256, 210}, [QT_OTHER] = {"other", 0, 0},
};

struct ggml_type {
    const char *name;
    int type;
};

static const struct ggml_type ggml_types[] = {
    [0] = {"F32", QT_F32},       [1] = {"F16", QT_F16},        [2] = {"Q4_0", QT_Q4_0},
    [3] = {"Q4_1", QT_Q4_1},     [6] = {"Q5_0", QT_Q5_0},      [7] = {"Q5_1", QT_Q5_1},
    [8] = {"Q8_0", QT_Q8_0},     [9] = {"Q8_1", QT_OTHER},     [10] = {"Q2_K", QT_OTHER},
    [11] = {"Q3_K", QT_OTHER},   [12] = {"Q4_K", QT_Q4_K},     [13] = {"Q5_K", QT_Q5_K},
    [14] = {"Q6_K", QT_Q6_K},    [15] = {"Q8_K", QT_OTHER},    [16] = {"IQ2_XXS", QT_OTHER},
    [17] = {"IQ2_XS", QT_OTHER}, [18] = {"IQ3_XXS", QT_OTHER}, [19] = {"IQ1_S", QT_OTHER},
    [20] = {"IQ4_NL", QT_OTHER}, [21] = {"IQ3_S", QT_OTHER},   [22] = {"IQ2_S", QT_OTHER},
    [23] = {"IQ4_XS", QT_OTHER}, [24] = {"I8", QT_OTHER},      [25] = {"I16", QT_OTHER},
    [26] = {"I32", QT_OTHER},    [27] = {"I64", QT_OTHER},     [28] = {"F64", QT_OTHER},
    [29] = {"IQ1_M", QT_OTHER},  [30] = {"BF16", QT_BF16},     [34] = {"TQ1_0", QT_OTHER},
    [35] = {"TQ2_0", QT_OTHER},  [39] = {"MXFP4", QT_OTHER},
};

int32_t qtype_block_elems(int type)
{
    return infos[type].elems;
}

int32_t qtype_block_bytes(int type)
{
    return infos[type].bytes;
}

const char *qtype_name(int type)
{
    return infos[type].name;
}

const char *qtype_ggml_name(uint32_t ggml_type)
{
    return ggml_type < sizeof ggml_types / sizeof ggml_types[0] ? ggml_types[ggml_type].name : NULL;
}

int qtype_of_ggml(uint32_t ggml_type)
{
    return qtype_ggml_name(ggml_type) ? ggml_types[ggml_type].type : QT_OTHER;
}

/* --- scalar pieces --- */

INLINE float bits_f32(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}

INLINE uint32_t f32_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

/* Exponent and mantissa moved into place and rescaled by 2^112: exact for subnormals too. */
INLINE float half_f32(uint16_t h)
{
    uint32_t em = (uint32_t)(h & 0x7fff) << 13;
    uint32_t special = (h & 0x7c00) == 0x7c00 ? 0x7f800000u : 0;
    uint32_t u = f32_bits(bits_f32(em) * 0x1p112f) | special;
    return bits_f32(u | (uint32_t)(h & 0x8000) << 16);
}

INLINE uint16_t f32_bf16(float f)
{
    uint32_t u = f32_bits(f);
    uint32_t rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
    uint32_t quiet = (u >> 16) | 0x40;
    return (uint16_t)((u & 0x7fffffff) > 0x7f800000 ? quiet : rounded);
}

/* Normal results round in integer arithmetic; subnormal ones by adding 0.5, whose last mantissa
 * bit is worth exactly one half-precision subnormal step (2^-24). */
INLINE uint16_t f32_half(float f)
{
    uint32_t u = f32_bits(f), sign = (u >> 16) & 0x8000, a = u & 0x7fffffff;
    uint32_t normal = (a + 0xc8000fffu + ((a >> 13) & 1)) >> 13;
    uint32_t sub = f32_bits(bits_f32(a) + 0.5f) - 0x3f000000u;
    uint32_t h = a < 0x38800000 ? sub : normal;
    h = a >= 0x477ff000 ? 0x7c00 : h; /* 65520 and above round to infinity */
    h = a > 0x7f800000 ? 0x7e00 : h;
    return (uint16_t)(h | sign);
}

INLINE float load_half(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, 2);
    return half_f32(h);
}

/* --- blocks to f32 --- */

INLINE void block_q4_0(const uint8_t *b, float *y)
{
    float d = load_half(b);
    for (int i = 0; i < 16; i++) {
        y[i] = (float)((b[2 + i] & 15) - 8) * d;
        y[i + 16] = (float)((b[2 + i] >> 4) - 8) * d;
    }
}

INLINE void block_q4_1(const uint8_t *b, float *y)
{
    float d = load_half(b), m = load_half(b + 2);
    for (int i = 0; i < 16; i++) {
        y[i] = (float)(b[4 + i] & 15) * d + m;
        y[i + 16] = (float)(b[4 + i] >> 4) * d + m;
    }
}

INLINE void block_q5_0(const uint8_t *b, float *y)
{
    float d = load_half(b);
    uint32_t high;
    memcpy(&high, b + 2, 4);
    for (int i = 0; i < 16; i++) {
        int lo = (b[6 + i] & 15) | (int)((high >> i) & 1) << 4;
        int hi = (b[6 + i] >> 4) | (int)((high >> (i + 16)) & 1) << 4;
        y[i] = (float)(lo - 16) * d;
        y[i + 16] = (float)(hi - 16) * d;
    }
}

INLINE void block_q5_1(const uint8_t *b, float *y)
{
    float d = load_half(b), m = load_half(b + 2);
    uint32_t high;
    memcpy(&high, b + 4, 4);
    for (int i = 0; i < 16; i++) {
        int lo = (b[8 + i] & 15) | (int)((high >> i) & 1) << 4;
        int hi = (b[8 + i] >> 4) | (int)((high >> (i + 16)) & 1) << 4;
        y[i] = (float)lo * d + m;
        y[i + 16] = (float)hi * d + m;
    }
}

INLINE void block_q8_0(const uint8_t *b, float *y)
{
    float d = load_half(b);
    for (int i = 0; i < 32; i++)
        y[i] = (float)(int8_t)b[2 + i] * d;
}

/* Eight 6-bit scales and eight 6-bit minima in 12 bytes: the low four of each are whole bytes'
 * low six bits, the upper four are split between a nibble and the spare two bits. */
INLINE void k_scales(const uint8_t *p, uint8_t scale[8], uint8_t min[8])
{
    for (int j = 0; j < 4; j++) {
        scale[j] = p[j] & 63;
        min[j] = p[j + 4] & 63;
        scale[j + 4] = (uint8_t)((p[j + 8] & 15) | (p[j] >> 6) << 4);
        min[j + 4] = (uint8_t)((p[j + 8] >> 4) | (p[j + 4] >> 6) << 4);
    }
}

INLINE void block_q4_k(const uint8_t *b, float *y)
{
    float d = load_half(b), dmin = load_half(b + 2);
    uint8_t scale[8], min[8];
    k_scales(b + 4, scale, min);
    for (ptrdiff_t j = 0; j < 4; j++) {
        const uint8_t *q = b + 16 + 32 * j;
        float d0 = d * scale[2 * j], m0 = dmin * min[2 * j];
        float d1 = d * scale[2 * j + 1], m1 = dmin * min[2 * j + 1];
        for (int i = 0; i < 32; i++) {
            y[64 * j + i] = d0 * (float)(q[i] & 15) - m0;
            y[64 * j + 32 + i] = d1 * (float)(q[i] >> 4) - m1;
        }
    }
}

INLINE void block_q5_k(const uint8_t *b, float *y)
{
    float d = load_half(b), dmin = load_half(b + 2);
    const uint8_t *high = b + 16;
    uint8_t scale[8], min[8];
    k_scales(b + 4, scale, min);
    for (ptrdiff_t j = 0; j < 4; j++) {
        const uint8_t *q = b + 48 + 32 * j;
        float d0 = d * scale[2 * j], m0 = dmin * min[2 * j];
        float d1 = d * scale[2 * j + 1], m1 = dmin * min[2 * j + 1];
        for (int i = 0; i < 32; i++) {
            int lo = (q[i] & 15) | ((high[i] >> (2 * j)) & 1) << 4;
            int hi = (q[i] >> 4) | ((high[i] >> (2 * j + 1)) & 1) << 4;
            y[64 * j + i] = d0 * (float)lo - m0;
            y[64 * j + 32 + i] = d1 * (float)hi - m1;
        }
    }
}

INLINE void block_q6_k(const uint8_t *b, float *y)
{
    float d = load_half(b + 208);
    for (ptrdiff_t half = 0; half < 2; half++) {
        const uint8_t *low = b + 64 * half, *high = b + 128 + 32 * half;
        const uint8_t *scale = b + 192 + 8 * half;
        for (ptrdiff_t k = 0; k < 4;
             k++) { /* 32 elements each: low nibbles first, then high ones */
            const uint8_t *q = low + 32 * (k & 1);
            int shift = (int)(4 * (k >> 1));
            float d0 = d * (float)(int8_t)scale[2 * k], d1 = d * (float)(int8_t)scale[2 * k + 1];
            for (int i = 0; i < 32; i++) {
                int v = ((q[i] >> shift) & 15) | ((high[i] >> (2 * k)) & 3) << 4;
                y[128 * half + 32 * k + i] = (i < 16 ? d0 : d1) * (float)(v - 32);
            }
        }
    }
}

/* --- rows --- */

#define BLOCKS(fn, elems, bytes)                                                                   \
    for (int64_t i = 0; i < n / (elems); i++)                                                      \
        fn(src + i * (bytes), dst + i * (elems));                                                  \
    break

INLINE void to_f32(int type, const uint8_t *src, int64_t n, float *dst)
{
    switch (type) {
    case QT_F32:
        memcpy(dst, src, (size_t)n * 4);
        break;
    case QT_F16:
        for (int64_t i = 0; i < n; i++)
            dst[i] = load_half(src + 2 * i);
        break;
    case QT_BF16:
        for (int64_t i = 0; i < n; i++) {
            uint16_t h;
            memcpy(&h, src + 2 * i, 2);
            dst[i] = bits_f32((uint32_t)h << 16);
        }
        break;
    case QT_Q4_0:
        BLOCKS(block_q4_0, 32, 18);
    case QT_Q4_1:
        BLOCKS(block_q4_1, 32, 20);
    case QT_Q5_0:
        BLOCKS(block_q5_0, 32, 22);
    case QT_Q5_1:
        BLOCKS(block_q5_1, 32, 24);
    case QT_Q8_0:
        BLOCKS(block_q8_0, 32, 34);
    case QT_Q4_K:
        BLOCKS(block_q4_k, 256, 144);
    case QT_Q5_K:
        BLOCKS(block_q5_k, 256, 176);
    case QT_Q6_K:
        BLOCKS(block_q6_k, 256, 210);
    default:
        break;
    }
}

/* The analyzer thinks that to_f32 may have left src as it was: it does not know that n is a number
 * of whole blocks of a known type. */
INLINE void from_f32(const float *src, int64_t n, uint16_t *dst, int32_t dt)
{
    if (dt == DT_BF16) {
        for (int64_t i = 0; i < n; i++)
            dst[i] = f32_bf16(src[i]); /* NOLINT(clang-analyzer-core.CallAndMessage) */
    } else {
        for (int64_t i = 0; i < n; i++)
            dst[i] = f32_half(src[i]); /* NOLINT(clang-analyzer-core.CallAndMessage) */
    }
}

/* 16-bit results go through a piece of f32 that stays in the first-level cache. */
INLINE void convert(int type, const void *from, int64_t n, void *to, int32_t dt)
{
    const uint8_t *src = from;
    uint8_t *dst = to;
    enum { PIECE = 4 * QT_MAX_BLOCK };
    if (dt == DT_F32) {
        to_f32(type, src, n, (float *)to);
        return;
    }
    if ((type == QT_BF16 && dt == DT_BF16) || (type == QT_F16 && dt == DT_F16)) {
        memcpy(dst, src, (size_t)n * 2);
        return;
    }
    float piece[PIECE];
    for (int64_t i = 0; i < n; i += PIECE) {
        int64_t m = n - i < PIECE ? n - i : PIECE;
        to_f32(type, src + i / infos[type].elems * infos[type].bytes, m, piece);
        from_f32(piece, m, (uint16_t *)to + i, dt);
    }
}

void qtype_convert_portable(int type, const void *src, int64_t n, void *dst, int32_t dt)
{
    convert(type, src, n, dst, dt);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void convert_avx2(int type, const void *src, int64_t n,
                                                         void *dst, int32_t dt)
{
    convert(type, src, n, dst, dt);
}

void qtype_convert(int type, const void *src, int64_t n, void *dst, int32_t dt)
{
    if (__builtin_cpu_supports("avx2"))
        convert_avx2(type, src, n, dst, dt);
    else
        qtype_convert_portable(type, src, n, dst, dt);
}
#else
void qtype_convert(int type, const void *src, int64_t n, void *dst, int32_t dt)
{
    qtype_convert_portable(type, src, n, dst, dt);
}
#endif
