/* SPDX-License-Identifier: Apache-2.0 */
/* regex.h - the tokenizers' regular expressions on PCRE2. Private to text/. */
#ifndef QUIRE_TEXT_REGEX_H
#define QUIRE_TEXT_REGEX_H

#include "status.h"

#include <stdbool.h>
#include <stddef.h>

struct rx;
/* Compile a pattern (UTF, Unicode properties, JIT). What our translation does not know is
 * ST_UNSUPPORTED, a syntax error ST_FORMAT. A compiled pattern is immutable and shared by threads.
 */
int rx_new(struct rx **out, const char *pat, size_t n, struct err *e);
void rx_free(struct rx *r);

/* Per-call scratch: match data, the JIT stack once one was needed. */
struct rx_run {
    void *md, *mctx, *stack;
};
void rx_run_fini(struct rx_run *run);

/* All matches from left to right; an empty one right after the match before it is passed over.
 * Start with a zeroed walk over s[0..n) (valid UTF-8). 1 with [*b, *e), 0 at the end, or negative:
 * ST_INVALID_VALUE when the match limit was passed. */
struct rx_walk {
    size_t from, last, new_at; /* new_at: the next code point that PCRE2's tables do not know */
    bool any, looked, has_new;
};
int rx_walk(const struct rx *r, struct rx_run *run, const char *s, size_t n, struct rx_walk *w,
            size_t *b, size_t *e);

#endif
