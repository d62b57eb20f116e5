/* SPDX-License-Identifier: Apache-2.0 */
/* hash.h - the two hash functions whose values are kept or shown: fingerprints, cache namespaces,
 * seeds. They never change. Neither withstands an opponent who chooses the input. Pure; any thread.
 */
#ifndef QUIRE_HASH_H
#define QUIRE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define FNV1A_BASIS 0xcbf29ce484222325u

/* FNV-1a with 64 bits: h is FNV1A_BASIS or the hash of what came before. */
static inline uint64_t fnv1a(uint64_t h, const void *p, size_t n)
{
    const uint8_t *b = p;
    for (size_t i = 0; i < n; i++) {
        h ^= b[i]; /* NOLINT(clang-analyzer-core*): takes the second byte of an int for garbage */
        h *= 0x100000001b3u;
    }
    return h;
}

/* The output function of splitmix64: a bijection that mixes all bits. */
static inline uint64_t mix64(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

#endif
