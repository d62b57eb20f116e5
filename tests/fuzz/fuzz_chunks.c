/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_chunks.c - any bytes as a chunked body. Where it ends and what is wrong with it do not
 * depend on how it arrives; and a plain second reader agrees about every body that is taken. */
#include "http/chunks.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BODY = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int check(const uint8_t *data, size_t n, size_t piece, size_t *end)
{
    struct chunks c;
    struct err e = {0};
    int st = CHUNKS_MORE;
    chunks_begin(&c);
    for (*end = 0; *end < n && st == CHUNKS_MORE;) {
        size_t k = piece < n - *end ? piece : n - *end, used;
        char *s = malloc(k); /* exactly k bytes readable */
        if (!s)
            abort();
        memcpy(s, data + *end, k);
        st = chunks_read(&c, s, k, MAX_BODY, &used, &e);
        free(s);
        if (used > k || (st == CHUNKS_MORE && used != k) || c.payload > MAX_BODY)
            abort();
        *end += used;
    }
    if (st < 0 && (st != e.st || (st != ST_BAD_REQUEST && st != ST_BODY_TOO_LARGE)))
        abort();
    return st;
}

/* The end of a body that was taken, by lines; 0 = there is none. */
static size_t second_reader(const char *s, size_t n)
{
    size_t at = 0;
    for (;;) {
        const char *lf = memchr(s + at, '\n', n - at);
        if (!lf || lf == s || lf[-1] != '\r')
            return 0;
        size_t size = strtoull(s + at, NULL, 16);
        at = (size_t)(lf - s) + 1;
        if (size == 0)
            break;
        if (size > n - at || n - at - size < 2 || memcmp(s + at + size, "\r\n", 2) != 0)
            return 0;
        at += size + 2;
    }
    for (;;) {
        const char *lf = memchr(s + at, '\n', n - at);
        if (!lf || lf[-1] != '\r')
            return 0;
        size_t line = (size_t)(lf - s) + 1 - at;
        at += line;
        if (line == 2)
            return at;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    size_t end, other;
    int st = check(data, n, n ? n : 1, &end);
    for (size_t piece = 1; piece <= 7; piece += 2)
        if (check(data, n, piece, &other) != st || other != end)
            abort();
    if (st == 0) {
        char *s = malloc(end + 1);
        if (!s)
            abort();
        memcpy(s, data, end);
        s[end] = '\0';
        if (second_reader(s, end) != end)
            abort();
        free(s);
    }
    return 0;
}
