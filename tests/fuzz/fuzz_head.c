/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_head.c - any bytes as a request head. What is judged does not depend on how it arrives: a
 * good head has no refused beginning, what follows it does not matter, a refusal stays one. */
#include "handler.h"
#include "http/head.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* A good head ends with an empty line, and is the same one when it was tidied. */
static void check_good(char *s, size_t n, const struct head_seen *f)
{
    struct head_seen g;
    struct err e;
    if (f->n < 4 || f->n > n || memcmp(s + f->n - 4, "\r\n\r\n", 4) != 0)
        abort();
    head_tidy(s, f->n);
    if (head_check(s, f->n, 2048, &g, &e) != 0 || g.blanks || g.n != f->n ||
        g.length != f->length || g.chunked != f->chunked || strcmp(g.id, f->id) != 0)
        abort();
}

static int check(const uint8_t *data, size_t n, struct head_seen *f)
{
    struct err e = {0};
    char *s = malloc(n ? n : 1); /* exactly n bytes readable */
    if (!s)
        abort();
    memcpy(s, data, n);
    int st = head_check(s, n, 2048, f, &e);
    if (st < 0 && (st != e.st || !e.msg[0] || st_http(st) < 400 || st_http(st) > 505))
        abort();
    if (f->id[0] && !req_id_ok(f->id, strlen(f->id)))
        abort();
    if (st == 0)
        check_good(s, n, f);
    free(s);
    return st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct head_seen f, g;
    int all = check(data, n, &f), state = HEAD_MORE;
    size_t step = n > 256 ? n / 64 : 1;
    for (size_t k = 0; k < n; k += step) {
        int st = check(data, k, &g);
        if (state != HEAD_MORE && st != state)
            abort();
        state = st;
    }
    if (state != HEAD_MORE && all != state)
        abort();
    return 0;
}
