/* SPDX-License-Identifier: Apache-2.0 */
/* buf.c - the growing byte string and the list of byte ranges. Any thread, one owner at a time. */
#include "buf.h"

#include "mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static bool grow(struct buf *b, size_t need)
{
    size_t cap = buf_grown(b->cap, need, 64);
    if (!b->soft) {
        b->p = xrealloc(b->p, cap);
    } else {
        char *p = fault_point("buf") ? NULL : realloc(b->p, cap);
        if (!p)
            return false;
        b->p = p;
    }
    b->cap = cap;
    return true;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
    if (n == 0 || b->oom)
        return;
    if (n > b->cap - b->n && ((b->soft && n > SIZE_MAX / 2 - b->n) || !grow(b, b->n + n))) {
        b->oom = true;
        return;
    }
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

bool buf_room(struct buf *b, size_t n)
{
    enum { LARGE = 64 << 10, SPARE = 16 << 20 };
    size_t need;
    if (n <= b->cap - b->n)
        return true;
    if (!add_size(b->n, n, &need) || fault_point("buf_room"))
        return false;
    size_t cap = buf_grown(b->cap, need, 64);
    void *spare = cap > LARGE ? malloc(SPARE) : NULL;
    char *p = cap > LARGE && !spare ? NULL : realloc(b->p, cap);
    free(spare);
    if (!p)
        return false;
    b->p = p;
    b->cap = cap;
    return true;
}

void buf_free(struct buf *b)
{
    free(b->p);
    *b = (struct buf){.soft = b->soft};
}

void spans_add(struct spans *v, size_t begin, size_t end)
{
    if (v->n == v->cap) {
        size_t bytes;
        v->cap = v->cap ? v->cap * 2 : 16;
        v->p = xrealloc(v->p, mul_size(v->cap, sizeof *v->p, &bytes) ? bytes : SIZE_MAX);
    }
    v->p[v->n++] = (struct span){begin, end};
}
