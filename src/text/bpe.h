/* SPDX-License-Identifier: Apache-2.0 */
/* bpe.h - merge tables and the merge loop. Private to text/. */
#ifndef QUIRE_TEXT_BPE_H
#define QUIRE_TEXT_BPE_H

#include "vocab.h"

struct merge_slot {
    uint64_t pair; /* left << 32 | right; UINT64_MAX = empty */
    int32_t rank;  /* lower merges first; equal ranks go left to right */
    token_id id;   /* what the two become */
};
struct merges {
    struct merge_slot *slot;
    uint64_t mask;
    size_t n;
};
void merges_init(struct merges *m, size_t n);
void merges_fini(struct merges *m);
/* A repeated pair takes the later rank, as in the reference. */
void merges_put(struct merges *m, token_id left, token_id right, int32_t rank, token_id id);

/* A symbol: a token and how many of the piece's first symbols it covers. */
struct bpe_sym {
    token_id id;
    uint32_t n;
};
/* Per-call workspace; zero-initialised, grown on demand, freed by bpe_work_fini. */
struct bpe_work {
    struct bpe_sym *sym; /* the piece's first symbols */
    size_t sym_cap;
    struct bpe_sym *win[2], *pair; /* results of two windows and of a border */
    struct bpe_node *node;
    struct bpe_cand *heap;
    size_t win_cap;
};
void bpe_work_fini(struct bpe_work *w);
/* Room for n first symbols at w->sym. */
void bpe_reserve(struct bpe_work *w, size_t n);
/* Merge the n symbols at w->sym (their contents are spent); appends the tokens. O(n log n). */
void bpe_merge(const struct merges *m, struct bpe_work *w, size_t n, struct ids *out);
/* The same for a long piece, in windows of bounded size: linear in the piece, the same tokens. Its
 * symbols come from fill, which gives some of at most `room` (>= BPE_FILL_MIN), and 0 at the end.
 * false when a window has no border that holds: then *out has tokens to be taken back, and the
 * whole is for bpe_merge. */
enum { BPE_LONG = 2048, BPE_FILL_MIN = 8 };
typedef size_t (*bpe_fill)(void *ctx, struct bpe_sym *sym, size_t room);
bool bpe_merge_long(const struct merges *m, struct bpe_work *w, bpe_fill fill, void *ctx,
                    struct ids *out);

#endif
