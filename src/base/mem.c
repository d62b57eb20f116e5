/* SPDX-License-Identifier: Apache-2.0 */
/* mem.c - allocation that aborts, the reserve behind it, and the request arena. */
#include "mem.h"

#include "check.h"
#include "log.h"
#include "log_drain.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Atomic(void *) reserve;
static _Atomic size_t reserve_bytes; /* 0: none was asked for */

void mem_reserve(size_t n)
{
    atomic_store(&reserve_bytes, n);
    mem_refill();
}

bool mem_refill(void)
{
    size_t n = atomic_load(&reserve_bytes);
    void *none = NULL, *p;
    if (n == 0 || atomic_load(&reserve))
        return true;
    p = malloc(n);
    if (!p)
        return false;
    if (!atomic_compare_exchange_strong(&reserve, &none, p))
        free(p);
    return true;
}

bool mem_room(size_t n)
{
    void *p = malloc(n);
    free(p);
    return p != NULL;
}

/* p, or when it is NULL what the system gives once the reserve is back (which another thread may
 * have done first). `aligned` 0: any. */
static void *or_die(void *p, void *old, size_t n, size_t aligned)
{
    if (!p && n < SIZE_MAX && atomic_load(&reserve_bytes)) {
        free(atomic_exchange(&reserve, NULL));
        if (aligned && posix_memalign(&p, aligned, n) != 0)
            p = NULL;
        if (!aligned)
            p = realloc(old, n);
    }
    if (!p) {
        char text[64];
        int k = snprintf(text, sizeof text, "out of memory: %zu bytes\n", n);
        log_line(text, (size_t)k);
        log_flush(1000);
        abort();
    }
    return p;
}

void *xalloc(size_t n)
{
    size_t want = n ? n : 1;
    void *p = calloc(1, want);
    /* cppcheck-suppress memleak ; p is returned, or it is NULL */
    return p ? p : memset(or_die(NULL, NULL, want, 0), 0, want);
}

void *try_alloc(size_t n)
{
    return fault_point("alloc") ? NULL : calloc(1, n ? n : 1);
}

void *xcalloc2(size_t n, size_t size)
{
    size_t total = 0;
    if (!mul_size(n, size, &total))
        or_die(NULL, NULL, SIZE_MAX, 0);
    return xalloc(total);
}

void *xrealloc(void *p, size_t n)
{
    size_t want = n ? n : 1;
    void *q = realloc(p, want);
    /* cppcheck-suppress memleak ; q is returned, or it is NULL */
    return q ? q : or_die(NULL, p, want, 0); /* then p is as it was */
}

char *xstrndup(const char *s, size_t n)
{
    char *p = xalloc(n + 1);
    if (n)
        memcpy(p, s, n);
    return p;
}

char *xstrdup(const char *s)
{
    return xstrndup(s, strlen(s));
}

void *xalloc_aligned(size_t align, size_t n)
{
    size_t at = align < sizeof(void *) ? sizeof(void *) : align, want = n ? n : 1;
    void *p = NULL;
    if (posix_memalign(&p, at, want) != 0)
        p = NULL;
    return memset(or_die(p, NULL, want, at), 0, n);
}

enum { ARENA_CHUNK = 16384, ARENA_ALIGN = 16 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t used, cap;
    _Alignas(ARENA_ALIGN) char data[];
};

void arena_init(struct arena *a, size_t cap)
{
    *a = (struct arena){.cap = cap};
}

void *arena_alloc(struct arena *a, size_t n)
{
    size_t need;
    if (!add_size(n ? n : 1, ARENA_ALIGN - 1, &need))
        return NULL;
    need &= ~(size_t)(ARENA_ALIGN - 1);
    if (need > a->cap - a->used || fault_point("arena"))
        return NULL;
    struct arena_chunk *c = a->head;
    if (!c || c->cap - c->used < need) {
        size_t cap = need > ARENA_CHUNK ? need : ARENA_CHUNK;
        c = malloc(sizeof *c + cap);
        if (!c) {
            a->oom = true;
            return NULL;
        }
        *c = (struct arena_chunk){.next = a->head, .cap = cap};
        a->head = c;
    }
    void *p = c->data + c->used;
    c->used += need;
    a->used += need;
    return memset(p, 0, need);
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
    char *p = n < SIZE_MAX ? arena_alloc(a, n + 1) : NULL;
    if (p && n)
        memcpy(p, s, n);
    return p;
}

void arena_reset(struct arena *a)
{
    while (a->head && a->head->next) {
        struct arena_chunk *c = a->head;
        a->head = c->next;
        free(c);
    }
    if (a->head)
        a->head->used = 0;
    a->used = 0;
}

void arena_free(struct arena *a)
{
    while (a->head) {
        struct arena_chunk *c = a->head;
        a->head = c->next;
        free(c);
    }
    a->used = 0;
}
