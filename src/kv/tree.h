/* SPDX-License-Identifier: Apache-2.0 */
/* tree.h - the state shared by the files of this room, lower ones first: pool.c (pages), share.c
 * (who keeps how many), evict.c (which goes first), radix.c (the tree), kv.c (taking a page may
 * evict), audit.c. */
#ifndef QUIRE_KV_TREE_H
#define QUIRE_KV_TREE_H

#include "kv.h"
#include "kv_prefix.h"

#include <stdbool.h>
#include <stdint.h>

/* What policies judge a node by. Written by evict.c alone. */
struct node_stat {
    int64_t created, last_use; /* in uses, see evict_state.tick */
    int32_t uses;
    int32_t depth; /* 1 = a child of the root */
};

struct node {
    node_id parent; /* -1: this node does not exist */
    node_id kids;   /* root of the children's treap */
    node_id left, right;
    uint32_t prio; /* of the treap: no child's is larger */
    int32_t pins;  /* seqs and copies that named exactly this node */
    int32_t lock;  /* pins + children with lock > 0; 0 = nothing live at or below */
    page_id page;
    int32_t heap_at;       /* place in the heap, -1 = not there */
    bool forgotten;        /* its page is not to be trusted: never matched, first to go */
    int32_t account;       /* whose idle page it is */
    node_id sooner, later; /* in the account's order of candidates, see share.c */
    uint64_t ns;
    struct node_stat stat;
};

struct evict_state;

/* A policy, one row of the table in evict.c. */
struct evict_ops {
    /* Worth of keeping a node, computed when it becomes evictable; the least goes first. */
    int64_t (*worth)(const struct evict_state *ev, const struct node_stat *stat);
};

/* The candidates: exactly the leaves nobody uses, as a binary heap, least worth first. */
struct evict_state {
    const struct evict_ops *ops;
    int32_t capacity; /* most nodes there can be */
    int64_t tick;     /* logical time: counts uses */
    int64_t evicted;
    node_id *heap;
    int64_t *key; /* worth of heap[i] when it came in */
    int32_t n;
};

/* Who keeps how many idle pages. */
struct account {
    int32_t idle; /* its nodes with lock 0 */
    int32_t most; /* beyond that its candidates go before all others */
    node_id root; /* its candidates, a treap by worth */
};

struct kv {
    struct kv_config c;
    int32_t *refs;  /* [n_pages] */
    page_id *freed; /* [n_pages] stack */
    int32_t n_free;
    int32_t n_slots;   /* ids of nodes, the root's included */
    struct node *node; /* [n_slots] */
    token_id *tok;     /* [n_slots][page_tokens]; the root's are unused */
    node_id *unused;   /* [n_slots] stack of ids that no node has */
    int32_t n_unused;
    int32_t n_nodes, n_locked; /* without the root; of these with lock > 0 */
    uint64_t rng;              /* treap priorities */
    struct evict_state ev;
    struct account account[KV_ACCOUNTS]; /* [0] is unused: nobody's bound */
    int32_t n_over;                      /* accounts with more than their bound */
    int32_t *tally; /* [n_slots] scratch of the audit: a count a page, then the walk's stack */
};

static inline const token_id *node_tok(const struct kv *kv, node_id n)
{
    return kv->tok + (int64_t)n * kv->c.page_tokens;
}

/* evict.c. A node was made (its parent is set) or used once more. */
void evict_insert(struct kv *kv, node_id n);
void evict_hit(struct kv *kv, node_id n);
/* A leaf nobody uses is in the heap; call after any change of lock or kids. */
void evict_update(struct kv *kv, node_id n);
/* Take the leaf that goes first out of the heap: the least of an account beyond its bound, or else
 * of all. KV_ROOT: there is none. It is still in the tree. */
node_id evict_pop(struct kv *kv);
/* The policy's table row; NULL when there is no such policy. */
const struct evict_ops *evict_ops_of(int32_t policy);

/* radix.c. Take leaf n out of the tree and give its id back; its page is the caller's to unref. */
void radix_remove(struct kv *kv, node_id n);
/* <0, 0, >0: (ns, tok) against node n; *common = leading tokens that agree (0 if ns differs). */
int radix_compare(const struct kv *kv, uint64_t ns, const token_id *tok, int32_t n_tok, node_id n,
                  int32_t *common);

#endif
