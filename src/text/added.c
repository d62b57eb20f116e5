/* SPDX-License-Identifier: Apache-2.0 */
/* added.c - a byte trie of added tokens. Built by one thread, then immutable.
 *
 * Nodes are in one array and a node's children in a linked list; the root has a direct table, so
 * text without a first byte of any token costs one load per byte. */
#include "added.h"

#include "mem.h"
#include "uclass.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

struct added_node {
    uint32_t child, sibling; /* 0 = none */
    token_id id;             /* -1 = no token ends here */
    uint8_t byte, flags;
};
struct added_trie {
    struct added_node *node;
    uint32_t n, cap;
    uint32_t first[256]; /* the root's children */
};

static uint32_t node_new(struct added_trie *t, uint8_t byte)
{
    if (t->n == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 64;
        t->node = xrealloc(t->node, t->cap * sizeof *t->node);
    }
    t->node[t->n] = (struct added_node){.id = -1, .byte = byte};
    return t->n++;
}

struct added_trie *added_new(void)
{
    struct added_trie *t = xalloc(sizeof *t);
    node_new(t, 0); /* index 0 means none */
    return t;
}

void added_free(struct added_trie *t)
{
    if (!t)
        return;
    free(t->node);
    free(t);
}

bool added_empty(const struct added_trie *t)
{
    return t->n == 1;
}

static uint32_t child_of(const struct added_trie *t, uint32_t at, uint8_t byte)
{
    uint32_t c = t->node[at].child;
    while (c && t->node[c].byte != byte)
        c = t->node[c].sibling;
    return c;
}

void added_put(struct added_trie *t, const char *s, size_t n, token_id id, unsigned flags)
{
    uint32_t at;
    if (n == 0)
        return;
    at = t->first[(uint8_t)s[0]];
    if (!at)
        at = t->first[(uint8_t)s[0]] = node_new(t, (uint8_t)s[0]);
    for (size_t i = 1; i < n; i++) {
        uint32_t c = child_of(t, at, (uint8_t)s[i]);
        if (!c) {
            c = node_new(t, (uint8_t)s[i]);
            t->node[c].sibling = t->node[at].child;
            t->node[at].child = c;
        }
        at = c;
    }
    t->node[at].id = id;
    t->node[at].flags = (uint8_t)flags;
}

/* The longest token that begins at s; NULL when none does. */
static const struct added_node *longest(const struct added_trie *t, const char *s, size_t n,
                                        size_t *len)
{
    const struct added_node *best = NULL;
    uint32_t at = t->first[(uint8_t)s[0]];
    for (size_t i = 1; at; i++) {
        if (t->node[at].id >= 0) {
            best = &t->node[at];
            *len = i;
        }
        if (i == n)
            break;
        at = child_of(t, at, (uint8_t)s[i]);
    }
    return best;
}

static size_t spaces_before(const char *s, size_t at, size_t floor)
{
    while (at > floor) {
        unsigned n;
        if (!uclass_space(utf8_before(s + at, &n)))
            break;
        at -= n;
    }
    return at < floor ? floor : at;
}

static size_t spaces_after(const char *s, size_t at, size_t n)
{
    while (at < n) {
        unsigned k;
        if (!uclass_space(utf8_get(s + at, &k)))
            break;
        at += k;
    }
    return at;
}

static bool word_touches(const char *s, size_t n, size_t begin, size_t end)
{
    unsigned k;
    return (begin > 0 && uclass_word(utf8_before(s + begin, &k))) ||
           (end < n && uclass_word(utf8_get(s + end, &k)));
}

bool added_next(const struct added_trie *t, const char *s, size_t n, size_t limit,
                struct added_scan *scan, struct added_hit *hit)
{
    if (added_empty(t))
        scan->at = limit;
    while (scan->at < limit) {
        const struct added_node *x;
        size_t len = 0, begin = scan->at;
        if (!t->first[(uint8_t)s[begin]] || !(x = longest(t, s + begin, limit - begin, &len))) {
            scan->at++;
            continue;
        }
        scan->at = begin + len;
        if ((x->flags & ADDED_SINGLE_WORD) && word_touches(s, n, begin, begin + len))
            continue;
        *hit = (struct added_hit){begin, begin + len, x->id};
        if (x->flags & ADDED_LSTRIP)
            hit->begin = spaces_before(s, begin, scan->last);
        if (x->flags & ADDED_RSTRIP)
            hit->end = spaces_after(s, hit->end, n);
        if (hit->begin >= hit->end) /* the token before took all of it */
            continue;
        scan->last = hit->end;
        return true;
    }
    return false;
}
