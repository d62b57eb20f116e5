/* SPDX-License-Identifier: Apache-2.0 */
/* added.h - finding added tokens in a text. Private to text/. */
#ifndef QUIRE_TEXT_ADDED_H
#define QUIRE_TEXT_ADDED_H

#include "vocab.h"

enum { ADDED_LSTRIP = 1, ADDED_RSTRIP = 2, ADDED_SINGLE_WORD = 4 };
enum { MAX_ADDED = 1 << 17, MAX_ADDED_BYTES = 4096 };

struct added_trie; /* a set of strings; the longest at the leftmost place wins */
struct added_trie *added_new(void);
void added_free(struct added_trie *t);
void added_put(struct added_trie *t, const char *s, size_t n, token_id id, unsigned flags);
bool added_empty(const struct added_trie *t);

struct added_hit {
    size_t begin, end; /* the part of the text the token takes, stripped spaces included */
    token_id id;
};
/* Where a scan stands: begin = end of the last hit's own text, last = end of what it took. */
struct added_scan {
    size_t at, last;
};
/* The next added token in s[0..limit), where s[0..n) is the text that stripping and word borders
 * look at; false (and scan->at = limit) when there is none. Start with a zeroed scan. Time is
 * linear in what is passed over, times the longest token's length at worst. */
bool added_next(const struct added_trie *t, const char *s, size_t n, size_t limit,
                struct added_scan *scan, struct added_hit *hit);

#endif
