/* SPDX-License-Identifier: Apache-2.0 */
/* half.h - bf16 and f16 to f32 and back, one number at a time: round to nearest even, NaN stays NaN
 * (quiet), overflow becomes infinity, f16 subnormals are kept. */
#ifndef QUIRE_CPU_HALF_H
#define QUIRE_CPU_HALF_H

#include <stdint.h>
#include <string.h>

static inline float f32_of_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline uint32_t bits_of_f32(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float f32_of_bf16(uint16_t h)
{
    return f32_of_bits((uint32_t)h << 16);
}

static inline uint16_t bf16_of_f32(float f)
{
    uint32_t u = bits_of_f32(f);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(u >> 16 | 0x40u);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

static inline float f32_of_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, mag = h & 0x7fffu;
    if (mag >= 0x7c00u) /* infinity, NaN (made quiet) */
        return f32_of_bits(sign | 0x7f800000u | (mag & 0x3ffu) << 13 |
                           (mag > 0x7c00u ? 0x400000u : 0u));
    if (mag < 0x400u) { /* zero and subnormal: mag * 2^-24 is exact */
        float f = (float)mag * 0x1p-24f;
        return sign ? -f : f;
    }
    return f32_of_bits(sign | ((mag << 13) + 0x38000000u));
}

static inline uint16_t f16_of_f32(float f)
{
    uint32_t u = bits_of_f32(f), sign = u >> 16 & 0x8000u, mag = u & 0x7fffffffu;
    if (mag > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | (mag >> 13 & 0x1ffu));
    if (mag >= 0x477ff000u) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00u);
    if (mag <
        0x38800000u) { /* below 2^-14: adding 1/2 leaves the rounded subnormal in the low bits */
        uint32_t r = bits_of_f32(f32_of_bits(mag) + 0.5f) - 0x3f000000u;
        return (uint16_t)(sign | r);
    }
    mag += 0xc8000fffu + (mag >> 13 & 1u); /* rebias by -112 << 23, round half to even */
    return (uint16_t)(sign | mag >> 13);
}

#endif
