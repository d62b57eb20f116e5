/* SPDX-License-Identifier: Apache-2.0 */
/* bpe.c - byte-pair merging.
 *
 * Short pieces: scan for the lowest rank, merge, repeat. Longer ones: linked list and a heap of
 * candidate pairs. Long ones in windows: a token sequence is the encoding of its text exactly when
 * every two neighbours are the encoding of their own text (the first merge that crosses a border in
 * the whole would cross it in the two neighbours alone, since until then both sides ran
 * independently). So windows are encoded apart, and each border is checked with its two tokens:
 *
 *      |---- window ----|
 *      t0 t1 t2 | t3 t4          cut before the tail, which the window's end may have spoilt
 *               |---- next window ----|
 *               u0 u1 ...        good when merge(t2 u0) = t2 u0; else cut one token earlier
 *
 * The symbols of a long piece are made as the windows go on, so its memory does not grow with it.
 * If no border near a window's end holds, the whole piece is merged at once (O(n log n)). Pure
 * functions over immutable tables; the workspace belongs to one call. */
#include "bpe.h"

#include "mem.h"

#include <stdlib.h>
#include <string.h>

enum {
    SCAN_MAX = 48,      /* symbols; above it the heap wins */
    WINDOW = 2048,      /* symbols */
    FEED = 16 * WINDOW, /* symbols that are there at a time */
    WINDOW_TAIL = 64,   /* symbols left for the next window */
    WINDOW_CUTS = 32    /* borders tried before giving windows up */
};

struct bpe_node {
    token_id id;
    int32_t prev, next; /* -1 = none */
    uint32_t n;         /* first symbols covered; 0 = merged away */
};
struct bpe_cand {
    uint64_t key; /* rank << 32 | position of the left symbol */
    token_id id;
};

/* ---- table ---- */

static uint64_t pair_of(token_id l, token_id r)
{
    return (uint64_t)(uint32_t)l << 32 | (uint32_t)r;
}

static uint64_t pair_hash(uint64_t pair)
{
    pair *= 0x9E3779B97F4A7C15u;
    return pair ^ pair >> 32;
}

void merges_init(struct merges *m, size_t n)
{
    size_t cap = 16;
    while (cap < n * 2)
        cap *= 2;
    m->slot = xcalloc2(cap, sizeof *m->slot);
    memset(m->slot, 0xFF, cap * sizeof *m->slot);
    m->mask = cap - 1;
    m->n = 0;
}

void merges_fini(struct merges *m)
{
    free(m->slot);
    *m = (struct merges){0};
}

void merges_put(struct merges *m, token_id left, token_id right, int32_t rank, token_id id)
{
    uint64_t pair = pair_of(left, right), i;
    if ((m->n + 1) * 2 > m->mask + 1) {
        struct merges old = *m;
        merges_init(m, (size_t)old.mask + 1);
        for (uint64_t j = 0; j <= old.mask; j++)
            if (old.slot[j].pair != UINT64_MAX)
                merges_put(m, (token_id)(old.slot[j].pair >> 32), (token_id)old.slot[j].pair,
                           old.slot[j].rank, old.slot[j].id);
        free(old.slot);
    }
    for (i = pair_hash(pair) & m->mask; m->slot[i].pair != UINT64_MAX; i = (i + 1) & m->mask)
        if (m->slot[i].pair == pair) {
            m->slot[i] = (struct merge_slot){pair, rank, id};
            return;
        }
    m->slot[i] = (struct merge_slot){pair, rank, id};
    m->n++;
}

static inline const struct merge_slot *merges_get(const struct merges *m, token_id l, token_id r)
{
    uint64_t pair = pair_of(l, r);
    for (uint64_t i = pair_hash(pair) & m->mask; m->slot[i].pair != UINT64_MAX;
         i = (i + 1) & m->mask)
        if (m->slot[i].pair == pair)
            return &m->slot[i];
    return NULL;
}

/* ---- short pieces ---- */

/* n <= SCAN_MAX symbols at s, merged in place; returns how many are left. */
static size_t merge_scan(const struct merges *m, struct bpe_sym *s, size_t n)
{
    int32_t rank[SCAN_MAX];
    token_id id[SCAN_MAX];
    for (size_t i = 0; i + 1 < n; i++) {
        const struct merge_slot *g = merges_get(m, s[i].id, s[i + 1].id);
        rank[i] = g ? g->rank : INT32_MAX;
        id[i] = g ? g->id : -1;
    }
    while (n > 1) {
        const struct merge_slot *g;
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (rank[i] < rank[best])
                best = i;
        if (rank[best] == INT32_MAX)
            break;
        s[best].id = id[best];
        s[best].n += s[best + 1].n;
        n--;
        memmove(s + best + 1, s + best + 2, (n - best - 1) * sizeof *s);
        memmove(rank + best, rank + best + 1, (n - best) * sizeof *rank);
        memmove(id + best, id + best + 1, (n - best) * sizeof *id);
        if (best + 1 < n) {
            g = merges_get(m, s[best].id, s[best + 1].id);
            rank[best] = g ? g->rank : INT32_MAX;
            id[best] = g ? g->id : -1;
        }
        if (best > 0) {
            g = merges_get(m, s[best - 1].id, s[best].id);
            rank[best - 1] = g ? g->rank : INT32_MAX;
            id[best - 1] = g ? g->id : -1;
        }
    }
    return n;
}

/* ---- one window ---- */

static void sift_down(struct bpe_cand *h, size_t n, size_t i)
{
    struct bpe_cand x = h[i];
    for (;;) {
        size_t c = 2 * i + 1;
        if (c >= n)
            break;
        if (c + 1 < n && h[c + 1].key < h[c].key)
            c++;
        if (h[c].key >= x.key)
            break;
        h[i] = h[c];
        i = c;
    }
    h[i] = x;
}

static void heap_push(struct bpe_cand *h, size_t *n, struct bpe_cand x)
{
    size_t i = (*n)++;
    while (i > 0 && h[(i - 1) / 2].key > x.key) {
        h[i] = h[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    h[i] = x;
}

static bool candidate(const struct merges *m, const struct bpe_node *node, int32_t at,
                      struct bpe_cand *out)
{
    const struct merge_slot *g;
    if (at < 0 || node[at].next < 0)
        return false;
    g = merges_get(m, node[at].id, node[node[at].next].id);
    if (!g)
        return false;
    *out = (struct bpe_cand){(uint64_t)(uint32_t)g->rank << 32 | (uint32_t)at, g->id};
    return true;
}

/* Does the candidate still describe the pair at its place? A merge of another pair may have come
 * first. Equal result means equal pair, since a token's text fixes what is merged there. */
static bool still_true(const struct merges *m, const struct bpe_node *node, struct bpe_cand c)
{
    int32_t at = (int32_t)(uint32_t)c.key;
    struct bpe_cand now;
    return node[at].n != 0 && candidate(m, node, at, &now) && now.id == c.id;
}

static size_t merge_heap(const struct merges *m, struct bpe_work *w, const struct bpe_sym *s,
                         size_t n, struct bpe_sym *out)
{
    struct bpe_node *node = w->node;
    size_t n_heap = 0, n_out = 0;
    struct bpe_cand c;
    for (size_t i = 0; i < n; i++)
        node[i] = (struct bpe_node){s[i].id, (int32_t)i - 1, i + 1 < n ? (int32_t)i + 1 : -1,
                                    s[i].n};
    for (size_t i = 0; i + 1 < n; i++)
        if (candidate(m, node, (int32_t)i, &c))
            w->heap[n_heap++] = c;
    for (size_t i = n_heap / 2; i-- > 0;)
        sift_down(w->heap, n_heap, i);
    while (n_heap > 0) {
        int32_t at, next;
        c = w->heap[0];
        w->heap[0] = w->heap[--n_heap];
        if (n_heap)
            sift_down(w->heap, n_heap, 0);
        if (!still_true(m, node, c))
            continue;
        at = (int32_t)(uint32_t)c.key;
        next = node[at].next;
        node[at].id = c.id;
        node[at].n += node[next].n;
        node[at].next = node[next].next;
        node[next].n = 0;
        if (node[at].next >= 0)
            node[node[at].next].prev = at;
        if (candidate(m, node, at, &c))
            heap_push(w->heap, &n_heap, c);
        if (candidate(m, node, node[at].prev, &c))
            heap_push(w->heap, &n_heap, c);
    }
    for (int32_t i = n ? 0 : -1; i >= 0; i = node[i].next)
        out[n_out++] = (struct bpe_sym){node[i].id, node[i].n};
    return n_out;
}

/* ---- workspace ---- */

void bpe_work_fini(struct bpe_work *w)
{
    free(w->sym);
    free(w->win[0]);
    free(w->win[1]);
    free(w->pair);
    free(w->node);
    free(w->heap);
    *w = (struct bpe_work){0};
}

void bpe_reserve(struct bpe_work *w, size_t n)
{
    if (n <= w->sym_cap)
        return;
    const size_t least = (size_t)2 * SCAN_MAX;
    w->sym_cap = n < least ? least : n;
    w->sym = xrealloc(w->sym, w->sym_cap * sizeof *w->sym);
}

/* A window of n symbols needs n nodes; each of its at most n - 1 merges pops one candidate and
 * pushes at most two, so the heap never holds more than 2n. */
static void reserve_window(struct bpe_work *w, size_t n)
{
    if (n <= w->win_cap)
        return;
    w->win_cap = n;
    w->win[0] = xrealloc(w->win[0], n * sizeof(struct bpe_sym));
    w->win[1] = xrealloc(w->win[1], n * sizeof(struct bpe_sym));
    w->pair = xrealloc(w->pair, n * sizeof *w->pair);
    w->node = xrealloc(w->node, n * sizeof *w->node);
    w->heap = xrealloc(w->heap, 2 * n * sizeof *w->heap);
}

/* Merge s[0..n) into out, which has room for n and may not be s; returns the number of tokens. */
static size_t merge_apart(const struct merges *m, struct bpe_work *w, const struct bpe_sym *s,
                          size_t n, struct bpe_sym *out)
{
    if (n > SCAN_MAX)
        return merge_heap(m, w, s, n, out);
    memcpy(out, s, n * sizeof *s);
    return merge_scan(m, out, n);
}

static void emit(const struct bpe_sym *t, size_t n, struct ids *out)
{
    for (size_t i = 0; i < n; i++)
        ids_add(out, t[i].id);
}

/* ---- long pieces ---- */

/* May a token of n_left symbols end and one of n_right symbols begin at s + n_left? */
static bool border_holds(const struct merges *m, struct bpe_work *w, const struct bpe_sym *s,
                         size_t n_left, size_t n_right)
{
    size_t k;
    if (n_left + n_right > w->win_cap)
        return false;
    k = merge_apart(m, w, s, n_left + n_right, w->pair);
    return k == 2 && w->pair[0].n == n_left;
}

/* How many of the k tokens of a window to keep before its tail. */
static size_t cut_before_tail(const struct bpe_sym *tok, size_t k)
{
    size_t tail = 0;
    while (k > 1 && tail < WINDOW_TAIL)
        tail += tok[--k].n;
    return k;
}

/* The symbols from a window's begin on: w->sym[begin..end), then what fill still gives. */
struct feed {
    struct bpe_sym *sym;
    size_t begin, end;
    bool done;
};

/* At least two windows, unless they are the last symbols. */
static void top_up(struct feed *f, bpe_fill fill, void *ctx)
{
    if (f->done || f->end - f->begin >= (size_t)2 * WINDOW)
        return;
    memmove(f->sym, f->sym + f->begin, (f->end - f->begin) * sizeof *f->sym);
    f->end -= f->begin;
    f->begin = 0;
    while (!f->done && f->end + BPE_FILL_MIN <= FEED) {
        size_t k = fill(ctx, f->sym + f->end, FEED - f->end);
        f->done = k == 0;
        f->end += k;
    }
}

static size_t window_of(size_t n)
{
    return n < WINDOW ? n : WINDOW;
}

bool bpe_merge_long(const struct merges *m, struct bpe_work *w, bpe_fill fill, void *ctx,
                    struct ids *out)
{
    struct bpe_sym *tok, *next, *swap;
    struct feed f = {0};
    size_t k, span;
    bpe_reserve(w, FEED);
    reserve_window(w, WINDOW);
    f.sym = w->sym;
    tok = w->win[0];
    next = w->win[1];
    top_up(&f, fill, ctx);
    span = window_of(f.end);
    k = merge_apart(m, w, f.sym, span, tok);
    while (f.begin + span < f.end) {
        size_t keep = cut_before_tail(tok, k), covered = 0, n_next = 0, cuts = 0;
        for (size_t i = 0; i < keep; i++)
            covered += tok[i].n;
        for (; keep > 0 && cuts < WINDOW_CUTS; cuts++) {
            const struct bpe_sym *border = f.sym + f.begin + covered;
            span = window_of(f.end - f.begin - covered);
            n_next = merge_apart(m, w, border, span, next);
            if (border_holds(m, w, border - tok[keep - 1].n, tok[keep - 1].n, next[0].n))
                break;
            covered -= tok[--keep].n;
        }
        if (keep == 0 || cuts == WINDOW_CUTS)
            return false;
        emit(tok, keep, out);
        f.begin += covered;
        top_up(&f, fill, ctx);
        k = n_next;
        swap = tok;
        tok = next;
        next = swap;
    }
    emit(tok, k, out);
    return true;
}

void bpe_merge(const struct merges *m, struct bpe_work *w, size_t n, struct ids *out)
{
    if (n <= SCAN_MAX) {
        emit(w->sym, merge_scan(m, w->sym, n), out);
        return;
    }
    reserve_window(w, n);
    emit(w->win[0], merge_heap(m, w, w->sym, n, w->win[0]), out);
}
