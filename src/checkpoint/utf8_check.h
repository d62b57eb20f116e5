/* utf8_check.h - is a piece of a model file UTF-8? What it says ends up in messages and logs, which
 * must stay valid text. Pure; any thread. */
#ifndef QUIRE_CHECKPOINT_UTF8_CHECK_H
#define QUIRE_CHECKPOINT_UTF8_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Index of the first byte that is not part of a well-formed code point (no surrogates, nothing
 * overlong, at most U+10FFFF); n when there is none. */
static inline size_t utf8_first_bad(const void *text, size_t n)
{
    const uint8_t *s = text;
    for (size_t i = 0; i < n;) {
        uint8_t c = s[i];
        size_t len = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
        if (len == 0 || len > n - i)
            return i;
        uint8_t lo = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
        uint8_t hi = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
        if (len > 1 && (s[i + 1] < lo || s[i + 1] > hi))
            return i;
        for (size_t k = 2; k < len; k++)
            if ((s[i + k] & 0xc0) != 0x80)
                return i;
        i += len;
    }
    return n;
}

#endif
