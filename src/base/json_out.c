/* SPDX-License-Identifier: Apache-2.0 */
/* json_out.c - the only place that writes JSON strings. Pure; any thread. */
#include "json_out.h"

#include "utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void out_str(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void out_fmt(struct buf *b, const char *fmt, ...)
{
    char t[2048];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(t, sizeof t, fmt, ap);
    va_end(ap);
    if (n > 0)
        buf_add(b, t, (size_t)n < sizeof t ? (size_t)n : sizeof t - 1);
}

static void escape_one(struct buf *b, unsigned char c)
{
    static const char plain[] = "\b\t\n\f\r\"\\", names[] = "btnfr\"\\";
    const char *q = c ? strchr(plain, c) : NULL;
    char t[8];
    if (q) {
        t[0] = '\\';
        t[1] = names[q - plain];
        buf_add(b, t, 2);
    } else {
        buf_add(b, t, (size_t)snprintf(t, sizeof t, "\\u%04x", c));
    }
}

/* A run of bytes that need no escape is copied at once: the common case is one copy. */
static void out_valid(struct buf *b, const char *s, size_t n)
{
    size_t from = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7F)
            continue;
        buf_add(b, s + from, i - from);
        escape_one(b, c);
        from = i + 1;
    }
    buf_add(b, s + from, n - from);
}

void out_json(struct buf *b, const char *s, size_t n)
{
    buf_add(b, "\"", 1);
    while (n) {
        size_t k = utf8_valid_prefix(s, n);
        out_valid(b, s, k);
        s += k;
        n -= k;
        if (n) {
            buf_add(b, "\xEF\xBF\xBD", 3);
            s++;
            n--;
        }
    }
    buf_add(b, "\"", 1);
}
