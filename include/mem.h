/* SPDX-License-Identifier: Apache-2.0 */
/* mem.h - allocation, checked size arithmetic, fault points.
 *
 * xalloc, xrealloc, xstrdup abort on exhaustion: for start-up, and for what is small, which a
 * reserve stands behind. What else a connection or a request needs comes from try_alloc, whose NULL
 * ends that one alone, and from soft buffers (buf.h).
 * struct arena is for work of unknown size (templates, names of a file): capped, NULL at the cap.
 * Sizes that come from files or requests are only multiplied through mul_size/add_size.
 */
#ifndef QUIRE_MEM_H
#define QUIRE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed memory; n == 0 gives a valid unique pointer. Freed with free(). */
void *xalloc(size_t n) __attribute__((malloc, warn_unused_result));
void *xcalloc2(size_t n, size_t size) __attribute__((malloc, warn_unused_result));
void *xrealloc(void *p, size_t n) __attribute__((warn_unused_result));
char *xstrdup(const char *s) __attribute__((malloc, warn_unused_result));
char *xstrndup(const char *s, size_t n) __attribute__((malloc, warn_unused_result));
/* Zeroed, aligned to 64 bytes or more (power of two). Freed with free(). */
void *xalloc_aligned(size_t align, size_t n) __attribute__((malloc, warn_unused_result));

/* A reserve of n bytes behind xalloc and the others that abort: when there is no memory they give
 * it back and try again, so that what is small and already promised can be finished. Until
 * mem_refill got it again nothing new should be begun: it says whether the reserve is whole (or
 * none was ever asked for). mem_room: could a piece of n bytes be had now? For work whose many
 * small pieces could come to so much. Any thread. */
void mem_reserve(size_t n);
bool mem_refill(void);
bool mem_room(size_t n);

/* As xalloc, or NULL. */
void *try_alloc(size_t n) __attribute__((malloc, warn_unused_result));

/* *out = a*b or a+b; false on overflow (then *out is untouched). */
static inline bool mul_size(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_mul_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}
static inline bool add_size(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_add_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

/* Bump allocator. One owner thread. arena_alloc returns zeroed, 16-byte aligned memory, or NULL
 * when `cap` bytes would be passed or malloc fails (then oom is set). arena_reset keeps the first
 * chunk. */
struct arena {
    struct arena_chunk *head;
    size_t used, cap;
    bool oom;
};
void arena_init(struct arena *a, size_t cap);
void *arena_alloc(struct arena *a, size_t n);
char *arena_strndup(struct arena *a, const char *s, size_t n);
void arena_reset(struct arena *a);
void arena_free(struct arena *a);

/* Test builds (QUIRE_FAULTS): fault_point(name) is true on the call number armed by fault_arm, so a
 * scenario can be run failing point 1, 2, 3, ... until none fires. Elsewhere it is the constant
 * false. */
#ifdef QUIRE_FAULTS
void fault_arm(int64_t nth); /* 1-based; 0 disarms and resets the counter */
bool fault_fired(void);
bool fault_point(const char *name);
#else
#define fault_point(name) (false)
#endif

#endif
