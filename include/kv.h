/* kv.h - bookkeeping of the KV page pool and of the prefix cache. Integers only.
 *
 * Pages are counted references: one per page-table entry that names a page and one for the node
 * that holds it. The prefix cache is a tree whose edges are one full page of tokens, so nodes never
 * split; a node is found by namespace and exact token comparison. Node id = page id + 1; node 0 is
 * the root. A seq pins the deepest node of its path; pinned paths are never evicted.
 *
 * Engine thread only. Nothing here allocates after kv_new. Sizes are bounded by n_pages.
 */
#ifndef QUIRE_KV_H
#define QUIRE_KV_H

#include "ids.h"
#include "status.h"

#include <stdint.h>

enum kv_evict { KV_LRU, KV_LFU, KV_FIFO };
enum { KV_ROOT = 0 };

struct kv_config {
    int32_t n_pages, page_tokens;
    int32_t eviction; /* enum kv_evict */
    uint64_t seed;    /* of the sibling order's balance; any value */
};

struct kv_stats {
    int32_t n_pages, n_free;
    int32_t n_nodes;     /* pages held by the tree */
    int32_t n_evictable; /* of these: on no live seq's path */
    int64_t evicted;     /* since kv_new */
};

/* What kv_match found. The caller owns one reference on each of the n_pages pages, one pin on
 * `node` (unless KV_ROOT) and one on `part` (unless KV_ROOT). */
struct kv_hit {
    node_id node;    /* deepest node whose whole page matched */
    int32_t n_pages; /* whole pages matched */
    node_id part;    /* a child of `node` that shares a head of n_part tokens; KV_ROOT = none */
    int32_t n_part;  /* 1 .. page_tokens - 1 */
};

struct kv;

/* 0, or ST_INVALID_VALUE for sizes below 1 or past what can be indexed. */
int kv_new(struct kv **out, const struct kv_config *c, struct err *e);
void kv_free(struct kv *kv);

/* A page with one reference owned by the caller; evicts cached pages when none is free. -1: every
 * page is in use. */
page_id kv_take(struct kv *kv);
void kv_ref(struct kv *kv, page_id p);
void kv_unref(struct kv *kv, page_id p); /* the last reference frees the page */

/* Pages that kv_take could give now: free + evictable. */
int32_t kv_avail(const struct kv *kv);
void kv_get_stats(const struct kv *kv, struct kv_stats *s);

/* Longest cached prefix of tok[0, n) in namespace ns, exact to the token: whole pages go to pages[]
 * (room for n / page_tokens) and the best partial page to hit->part. Counts as a use. */
void kv_match(struct kv *kv, uint64_t ns, const token_id *tok, int32_t n, page_id *pages,
              struct kv_hit *hit);

/* KV_ROOT is never pinned: both are no-ops on it. */
void kv_pin(struct kv *kv, node_id node);
void kv_unpin(struct kv *kv, node_id node);

/* Enter `page`, which holds the KV of tok[0, page_tokens), as a child of `parent`, which the caller
 * has pinned (or is the root). The caller's pin moves from parent to the returned node. When such a
 * child exists already it is returned instead and `page` stays the caller's alone; compare with
 * kv_node_page. */
node_id kv_publish(struct kv *kv, node_id parent, uint64_t ns, const token_id *tok, page_id page);
page_id kv_node_page(node_id node);

/* Recount everything from scratch: K1-K4 of the design. held[p]: page-table entries that name p.
 * pins[n]: pins the caller holds on node n, n in [0, n_pages]. 0, or ST_INTERNAL with the first
 * violation. O(pages + tokens held). */
int kv_audit(const struct kv *kv, const int32_t *held, const int32_t *pins, struct err *e);

#endif
