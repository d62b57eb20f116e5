/* SPDX-License-Identifier: Apache-2.0 */
/* hostile.h - random damage to file images, always in a buffer of exactly the file's size, so that
 * a sanitizer sees the first byte read past the end. */
#ifndef QUIRE_TEST_HOSTILE_H
#define QUIRE_TEST_HOSTILE_H

#include "checkpoint/source.h"
#include "mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static inline uint32_t rng_next(uint64_t *s)
{
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    uint32_t x = (uint32_t)(*s >> 33);
    return (x ^ x >> 15) * 0x2c1b3c6du ^ (uint32_t)*s >> 9;
}

static inline uint8_t *exact_copy(const uint8_t *p, size_t n)
{
    uint8_t *q = malloc(n ? n : 1);
    if (n)
        memcpy(q, p, n);
    return q;
}

/* One to four changes within the first `span` bytes: a bit, a byte, or a whole little-endian word
 * set to a value that tends to hurt. */
static inline void mutate(uint8_t *p, size_t n, size_t span, uint64_t *seed)
{
    static const uint64_t nasty[] = {0,
                                     1,
                                     0x7f,
                                     0xff,
                                     0xffff,
                                     0x7fffffff,
                                     0x80000000u,
                                     0xffffffffu,
                                     UINT64_MAX,
                                     (uint64_t)INT64_MAX,
                                     (uint64_t)1 << 32,
                                     (uint64_t)1 << 61,
                                     UINT64_MAX - 7};
    size_t reach = span < n ? span : n;
    for (uint32_t k = 1 + rng_next(seed) % 4; k > 0 && reach > 8; k--) {
        size_t at = rng_next(seed) % reach;
        uint64_t v = nasty[rng_next(seed) % (sizeof nasty / sizeof nasty[0])];
        switch (rng_next(seed) % 4) {
        case 0:
            p[at] ^= (uint8_t)(1u << rng_next(seed) % 8);
            break;
        case 1:
            p[at] = (uint8_t)rng_next(seed);
            break;
        case 2:
            memcpy(p + at, &v, at + 8 <= n ? 8 : n - at);
            break;
        default:
            memcpy(p + at, &v, at + 4 <= n ? 4 : n - at);
            break;
        }
    }
}

/* Touch every byte that a loader would: whatever was accepted must lie inside of the file. */
static inline uint32_t read_everything(const struct tensor_table *t)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < t->n; i++)
        for (size_t k = 0; k < t->v[i].bytes; k++)
            sum += t->v[i].data[k];
    return sum;
}

#endif
