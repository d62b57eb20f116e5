/* SPDX-License-Identifier: Apache-2.0 */
/* utf8.c - validation, encoding and lossy repair of UTF-8. Pure functions, any thread. */
#include "utf8.h"

#include <string.h>

unsigned utf8_put(char *out, uint32_t c)
{
    unsigned char *o = (unsigned char *)out;
    if (c < 0x80) {
        o[0] = (unsigned char)c;
        return 1;
    }
    if (c < 0x800) {
        o[0] = (unsigned char)(0xC0 | c >> 6);
        o[1] = (unsigned char)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        o[0] = (unsigned char)(0xE0 | c >> 12);
        o[1] = (unsigned char)(0x80 | (c >> 6 & 63));
        o[2] = (unsigned char)(0x80 | (c & 63));
        return 3;
    }
    o[0] = (unsigned char)(0xF0 | c >> 18);
    o[1] = (unsigned char)(0x80 | (c >> 12 & 63));
    o[2] = (unsigned char)(0x80 | (c >> 6 & 63));
    o[3] = (unsigned char)(0x80 | (c & 63));
    return 4;
}

int utf8_check(const unsigned char *p, size_t n)
{
    unsigned char lo = 0x80, hi = 0xBF;
    unsigned len;
    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xC2 || p[0] > 0xF4)
        return -1;
    len = p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    if (p[0] == 0xE0)
        lo = 0xA0;
    else if (p[0] == 0xED)
        hi = 0x9F;
    else if (p[0] == 0xF0)
        lo = 0x90;
    else if (p[0] == 0xF4)
        hi = 0x8F;
    for (unsigned i = 1; i < len; i++) {
        if (i >= n)
            return 0;
        if (p[i] < lo || p[i] > hi)
            return -(int)i;
        lo = 0x80;
        hi = 0xBF;
    }
    return (int)len;
}

size_t utf8_valid_prefix(const char *s, size_t n)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t i = 0;
    while (i < n) {
        uint64_t w;
        int k;
        if (n - i >= sizeof w) {
            memcpy(&w, p + i, sizeof w);
            if (!(w & 0x8080808080808080u)) {
                i += sizeof w;
                continue;
            }
        }
        k = utf8_check(p + i, n - i);
        if (k <= 0)
            return i;
        i += (size_t)k;
    }
    return n;
}

void utf8_add_lossy(struct buf *out, const char *s, size_t n)
{
    size_t i = 0;
    while (i < n) {
        size_t good = utf8_valid_prefix(s + i, n - i);
        int bad;
        buf_add(out, s + i, good);
        i += good;
        if (i == n)
            break;
        bad = utf8_check((const unsigned char *)s + i, n - i);
        buf_add(out, "\xEF\xBF\xBD", 3);
        i += bad < 0 ? (size_t)-bad : n - i; /* cut at the end: one replacement */
    }
}
