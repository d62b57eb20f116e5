/* tree.h - the state shared by pool.c, radix.c, evict.c and audit.c. */
#ifndef QUIRE_KV_TREE_H
#define QUIRE_KV_TREE_H

#include "kv.h"

#include <stdint.h>

struct node {
    node_id parent; /* -1: this node does not exist */
    node_id kids;   /* root of the children's treap */
    node_id left, right;
    uint32_t prio;
    int32_t pins; /* seqs and copies that named exactly this node */
    int32_t lock; /* pins + children with lock > 0; 0 = nothing live at or below */
    int32_t uses;
    int32_t heap_at; /* index in heap[], -1 = not there */
    int64_t last_use, created;
    uint64_t ns;
};

struct kv {
    struct kv_config c;
    int32_t *refs;  /* [n_pages] */
    page_id *freed; /* [n_pages] stack */
    int32_t n_free;
    struct node *node; /* [n_pages + 1]; node i > 0 holds page i - 1 */
    token_id *tok;     /* [n_pages][page_tokens] of the node that holds the page */
    int32_t n_nodes, n_locked;
    node_id *heap; /* leaves with lock == 0, least worth keeping first */
    int64_t *heap_key;
    int32_t n_heap;
    int64_t tick; /* logical time: counts uses */
    uint64_t rng;
    int64_t evicted;
};

static inline const token_id *node_tok(const struct kv *kv, node_id n)
{
    return kv->tok + (int64_t)(n - 1) * kv->c.page_tokens;
}

/* A leaf nobody uses is in the heap; call after any change of lock or kids. */
void evict_update(struct kv *kv, node_id n);
/* Remove the least valuable leaf; its page goes to the free list. 0: there is none. */
int evict_one(struct kv *kv);

/* Take n out of its parent's children. */
void radix_unlink(struct kv *kv, node_id n);
/* <0, 0, >0: (ns, tok) against node n; *common = leading tokens that agree (0 if ns differs). */
int radix_compare(const struct kv *kv, uint64_t ns, const token_id *tok, int32_t n_tok, node_id n,
                  int32_t *common);

#endif
