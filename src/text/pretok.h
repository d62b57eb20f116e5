/* SPDX-License-Identifier: Apache-2.0 */
/* pretok.h - cutting a normalised text into pieces. Private to text/. */
#ifndef QUIRE_TEXT_PRETOK_H
#define QUIRE_TEXT_PRETOK_H

#include "regex.h"

#include <stdint.h>

enum pre_kind {
    PRE_SPLIT,     /* rx, or the string `lit` */
    PRE_DIGITS,    /* individual: each digit apart */
    PRE_METASPACE, /* spaces become `lit`, which begins a piece */
    PRE_PUNCTUATION,
    PRE_WHITESPACE, /* \w+|[^\w\s]+ are the pieces */
    PRE_WHITESPACE_SPLIT,
    PRE_BYTE_LEVEL /* rx (may be NULL) and add_prefix; the byte mapping itself is in the vocabulary
                    */
};
enum split_how {
    SPLIT_REMOVED,
    SPLIT_ISOLATED,
    SPLIT_MERGED_PREV,
    SPLIT_MERGED_NEXT,
    SPLIT_CONTIGUOUS
};
enum prefix_how { PREFIX_NEVER, PREFIX_FIRST, PREFIX_ALWAYS };
struct pre_step {
    enum pre_kind kind;
    struct rx *rx; /* owned */
    char *lit;     /* owned */
    size_t lit_n;
    enum split_how how;
    enum prefix_how prefix;
    bool invert, individual, split;
};
enum { MAX_PRE_STEPS = 32 };
struct pretok {
    struct pre_step step[MAX_PRE_STEPS];
    int n;
};
void pretok_fini(struct pretok *p);

struct piece {
    uint32_t begin, end;
};
struct pieces {
    struct piece *p;
    size_t n, cap;
};
/* Per-call workspace, reused between texts of one call. */
struct pretok_work {
    struct pieces now, then;
    struct buf *text; /* where a rewriting step puts the text; lives as long as its pieces */
    struct rx_run *run;
};
void pretok_work_fini(struct pretok_work *w);

/* Cut *s of *n bytes (valid UTF-8, < 2 GiB). Leaves the pieces in w->now, in order, none empty. A
 * step that rewrites moves *s to a text in w->text. `first`: the text begins the input. Linear for
 * patterns whose matches are. 0, ST_INVALID_VALUE (match limit), ST_NOMEM. */
int pretok_run(const struct pretok *p, struct pretok_work *w, const char **s, size_t *n,
               bool first);

#endif
