/* SPDX-License-Identifier: Apache-2.0 */
/* buf.h - byte strings: one that is looked at, one that grows, and ranges of one.
 *
 * A struct buf has one owner at a time, on any thread. When memory is exhausted, growing aborts;
 * but a soft one then keeps what it has, takes nothing more and says so, for its owner to look at.
 */
#ifndef QUIRE_BUF_H
#define QUIRE_BUF_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes that somebody else owns. */
struct view {
    const char *p; /* not zero-terminated; NULL = absent */
    size_t n;
};

/* A growing byte string, {0} or {.soft = true} to begin with; not zero-terminated. */
struct buf {
    char *p;
    size_t n, cap;
    bool soft, oom; /* oom, of a soft one: something is missing since some call of buf_add */
};
void buf_add(struct buf *b, const void *p, size_t n);
void buf_free(struct buf *b); /* empty again afterwards, and as soft as it was */
/* Room for n bytes more, so that adding them cannot abort. False, and nothing changed, when there
 * is no memory for that, or a large piece would leave none for the small ones that everybody else
 * needs: the request ends then, not the process. */
bool buf_room(struct buf *b, size_t n);

/* Byte ranges [begin, end) of a text, ascending and disjoint; free(p). */
struct span {
    size_t begin, end;
};
struct spans {
    struct span *p;
    size_t n, cap;
};
void spans_add(struct spans *v, size_t begin, size_t end);

/* The capacity that a full buffer grows to: half as much again, at least `need` and `least`. */
static inline size_t buf_grown(size_t cap, size_t need, size_t least)
{
    size_t grown = cap + cap / 2;
    if (grown < least)
        grown = least;
    return grown < need ? need : grown;
}

#endif
