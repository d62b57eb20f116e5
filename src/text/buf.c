/* buf.c - the growing byte string and id list of text.h. Any thread, one owner at a time. */
#include "text.h"

#include <stdlib.h>
#include <string.h>

static size_t grown(size_t cap, size_t need, size_t least)
{
    size_t want = cap + cap / 2;
    if (want < least)
        want = least;
    return want < need ? need : want;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
    if (n == 0)
        return;
    if (n > b->cap - b->n) {
        b->cap = grown(b->cap, b->n + n, 64);
        b->p = xrealloc(b->p, b->cap);
    }
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

void buf_free(struct buf *b)
{
    free(b->p);
    *b = (struct buf){0};
}

void ids_add(struct ids *v, token_id t)
{
    if (v->n == v->cap) {
        size_t bytes;
        v->cap = grown(v->cap, v->n + 1, 32);
        v->p = xrealloc(v->p, mul_size(v->cap, sizeof(*v->p), &bytes) ? bytes : SIZE_MAX);
    }
    v->p[v->n++] = t;
}

void ids_free(struct ids *v)
{
    free(v->p);
    *v = (struct ids){0};
}
