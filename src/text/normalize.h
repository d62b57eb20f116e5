/* SPDX-License-Identifier: Apache-2.0 */
/* normalize.h - the normalizer steps of a tokenizer. Private to text/. */
#ifndef QUIRE_TEXT_NORMALIZE_H
#define QUIRE_TEXT_NORMALIZE_H

#include "buf.h"
#include "regex.h"

enum norm_kind {
    NORM_NFC,
    NORM_NFD,
    NORM_NFKC,
    NORM_NFKD,
    NORM_LOWERCASE,
    NORM_PREPEND, /* text in front, unless the input is empty */
    NORM_REPLACE, /* every match of rx, or of the string `from`, becomes `to` */
    NORM_STRIP,
    NORM_STRIP_ACCENTS /* combining marks go */
};
struct norm_step {
    enum norm_kind kind;
    struct rx *rx;   /* owned; NULL = the string `from` */
    char *from, *to; /* owned */
    size_t from_n, to_n;
    bool left, right;
};
enum { MAX_NORM_STEPS = 32 };
struct normalizer {
    struct norm_step step[MAX_NORM_STEPS];
    int n;
};
void normalizer_fini(struct normalizer *m);
/* Does any step change s? false guarantees that it does not (then the caller keeps s). */
bool normalizer_may_change(const struct normalizer *m, const char *s, size_t n);
/* Appends the normal form of s (valid UTF-8) to *out. Linear in n for any text. 0 or negative. */
int normalizer_run(const struct normalizer *m, struct rx_run *run, const char *s, size_t n,
                   struct buf *out);

#endif
