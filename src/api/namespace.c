/* SPDX-License-Identifier: Apache-2.0 */
/* namespace.c - see namespace.h. The count of cached tokens and the time to a first token tell what
 * is in the cache, to the token. Whoever could reach another's namespace would read its prompts
 * with that, so the hash is one that no choice of salts can make collide.
 */
#include "namespace.h"

#include "random.h"

#include <stdlib.h>
#include <string.h>

struct ns_key ns_key_new(void)
{
    struct ns_key key;
    char hex[17];
    for (int i = 0; i < 2; i++) {
        random_hex(hex, 16);
        key.k[i] = strtoull(hex, NULL, 16);
    }
    return key;
}

static uint64_t rotl(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

static void rounds(uint64_t v[4], int n)
{
    while (n-- > 0) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = rotl(v[1], 13) ^ v[0];
        v[3] = rotl(v[3], 16) ^ v[2];
        v[0] = rotl(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = rotl(v[1], 17) ^ v[2];
        v[3] = rotl(v[3], 21) ^ v[0];
        v[2] = rotl(v[2], 32);
    }
}

static void take_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    rounds(v, 2);
    v[0] ^= word;
}

/* Up to 8 bytes, the first the lowest. */
static uint64_t word_of(const unsigned char *p, size_t n)
{
    uint64_t word = 0;
    for (size_t i = 0; i < n; i++)
        word |= (uint64_t)p[i] << (8 * i);
    return word;
}

uint64_t ns_hash(const struct ns_key *key, const void *p, size_t n)
{
    const unsigned char *b = p;
    uint64_t v[4] = {key->k[0] ^ 0x736f6d6570736575u, key->k[1] ^ 0x646f72616e646f6du,
                     key->k[0] ^ 0x6c7967656e657261u, key->k[1] ^ 0x7465646279746573u};
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        take_word(v, word_of(b + i, 8));
    take_word(v, word_of(b + i, n - i) | (uint64_t)n << 56);
    v[2] ^= 0xff;
    rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t ns_of(const struct ns_key *key, uint64_t cache, const char *salt, size_t n_salt)
{
    unsigned char all[sizeof cache + NS_MAX_SALT];
    if (cache == 0 && n_salt == 0)
        return 0;
    memcpy(all, &cache, sizeof cache);
    memcpy(all + sizeof cache, salt, n_salt);
    return ns_hash(key, all, sizeof cache + n_salt);
}
