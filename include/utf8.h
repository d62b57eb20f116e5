/* SPDX-License-Identifier: Apache-2.0 */
/* utf8.h - code points in byte strings. Pure functions, any thread. */
#ifndef QUIRE_UTF8_H
#define QUIRE_UTF8_H

#include "buf.h"

#include <stddef.h>
#include <stdint.h>

/* Length of the code point whose lead byte is c, in a string known to be valid. */
static inline unsigned utf8_len(unsigned char c)
{
    return c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
}

/* The code point at p in a string known to be valid; *n its length. */
static inline uint32_t utf8_get(const char *s, unsigned *n)
{
    const unsigned char *p = (const unsigned char *)s;
    if (p[0] < 0x80) {
        *n = 1;
        return p[0];
    }
    if (p[0] < 0xE0) {
        *n = 2;
        return (uint32_t)(p[0] & 31) << 6 | (p[1] & 63);
    }
    if (p[0] < 0xF0) {
        *n = 3;
        return (uint32_t)(p[0] & 15) << 12 | (uint32_t)(p[1] & 63) << 6 | (p[2] & 63);
    }
    *n = 4;
    return (uint32_t)(p[0] & 7) << 18 | (uint32_t)(p[1] & 63) << 12 | (uint32_t)(p[2] & 63) << 6 |
           (p[3] & 63);
}

/* How many code points a valid string has. */
static inline size_t utf8_count(const char *s, size_t n)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        k += ((unsigned char)s[i] & 0xC0) != 0x80;
    return k;
}

/* The value of a hexadecimal digit, or -1. */
static inline int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* The code point that ends before p in a valid string that starts at or before p - 1. */
static inline uint32_t utf8_before(const char *p, unsigned *n)
{
    const char *q = p - 1;
    while (((unsigned char)*q & 0xC0) == 0x80)
        q--;
    return utf8_get(q, n);
}

/* Writes at most 4 bytes; returns how many. c is a scalar value. */
unsigned utf8_put(char *out, uint32_t c);

/* How the bytes at p begin: > 0 the length of a valid code point; 0 a cut but so far valid one
 * (n bytes are not enough); < 0 invalid, minus the length of the maximal invalid part (1 to 3), the
 * part that String::from_utf8_lossy replaces by one U+FFFD. n >= 1. */
int utf8_check(const unsigned char *p, size_t n);

/* Offset of the first byte that is not valid UTF-8, or n. Linear. */
size_t utf8_valid_prefix(const char *s, size_t n);

/* Append s, with U+FFFD for each maximal invalid part. */
void utf8_add_lossy(struct buf *out, const char *s, size_t n);

#endif
