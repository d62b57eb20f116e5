/* SPDX-License-Identifier: Apache-2.0 */
/* dummy.c - the generator of dummy weights: a counter-based hash, so any piece can be made alone.
 *
 * Two integer multiplications give 32 random bits, which make two values of 16 bits each: models of
 * many gigabytes take seconds. Good enough to keep activations in range and logits distinct; not a
 * generator for statistics. Compiled twice like dequant.c, with equal results. Any thread.
 */
#include "dummy.h"

#include "dequant.h"
#include "family.h"
#include "hash.h"

#include <math.h>

#define INLINE static inline __attribute__((always_inline))

enum { PIECE = 1024 }; /* values per round of the inner loop; even */

INLINE uint32_t mix32(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    x ^= x >> 16;
    return x;
}

/* Values of pairs [pair, pair + PIECE / 2): the low half of a hash first, then the high half. */
INLINE void make_piece(uint32_t key, uint32_t pair, float scale, float centre, float *v)
{
    for (uint32_t i = 0; i < PIECE / 2; i++) {
        uint32_t h = mix32((pair + i) ^ key);
        v[(size_t)2 * i] = (float)(int16_t)(h & 0xffff) * scale + centre;
        v[(size_t)2 * i + 1] = (float)(int16_t)(h >> 16) * scale + centre;
    }
}

static void piece_portable(uint32_t key, uint32_t pair, float scale, float centre, float *v)
{
    make_piece(key, pair, scale, centre, v);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void piece_avx2(uint32_t key, uint32_t pair, float scale,
                                                       float centre, float *v)
{
    make_piece(key, pair, scale, centre, v);
}
#endif

static void piece(uint32_t key, uint32_t pair, float scale, float centre, float *v)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        piece_avx2(key, pair, scale, centre, v);
        return;
    }
#endif
    piece_portable(key, pair, scale, centre, v);
}

static bool is_norm(int role)
{
    return role == W_ATTN_NORM || role == W_FFN_NORM || role == W_FINAL_NORM || role == W_Q_NORM ||
           role == W_K_NORM;
}

void dummy_fill(uint64_t seed, int32_t layer, int role, int64_t fan_in, int64_t first, int64_t n,
                void *dst, int32_t dt)
{
    uint64_t base = mix64(seed ^ mix64(((uint64_t)(uint32_t)layer << 32) + (uint32_t)role + 1));
    bool norm = is_norm(role);
    /* A uniform int16 has a standard deviation of 65536 / sqrt(12). */
    double dev = norm ? 0.05 : 1 / sqrt((double)fan_in);
    float scale = (float)(dev * sqrt(12.0) / 65536), centre = norm ? 1 : 0;
    float v[PIECE];
    char *out = dst;
    for (int64_t i = first / PIECE * PIECE; i < first + n; i += PIECE) {
        /* Indices beyond 2^32 pairs get another key. */
        uint64_t pair = (uint64_t)i / 2;
        uint32_t key = (uint32_t)(mix64(base + (pair >> 32)) >> 32);
        piece(key, (uint32_t)pair, scale, centre, v);
        int64_t lo = i < first ? first - i : 0, hi = first + n - i < PIECE ? first + n - i : PIECE;
        qtype_convert(QT_F32, v + lo, hi - lo, out, dt);
        out += (hi - lo) * (int64_t)dtype_size(dt);
    }
}
