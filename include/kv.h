/* SPDX-License-Identifier: Apache-2.0 */
/* kv.h - bookkeeping of the KV page pool and of the prefix cache. Integers only.
 *
 * Pages are counted references: one per page-table entry that names a page and one for the node
 * that holds it. The prefix cache is a tree whose edges are one full page of tokens, so nodes never
 * split; a node is found by namespace and exact token comparison. A node has an id of its own and
 * names the page it holds; node 0 is the root and holds none. A seq pins the deepest node of its
 * path; pinned paths are never evicted.
 *
 * Invariants, all recounted by kv_audit but K6 to K8, which concern the seqs (engine/state.h) and
 * the steps (step.h):
 *   K1  refs[p] = page-table entries that name p + (1 if a node holds p); at most one node does.
 *   K2  The free list is exactly the pages without references, each once.
 *   K3  A node's parent exists, and its depth is one less.
 *   K4  A node's pins are those its users hold; `lock` counts its pins and its children in use, so
 *       that nothing live at or below is one comparison; exactly the leaves with lock 0 may go.
 *   K5  Node ids in the tree + free ones = all; each node hangs in the tree exactly once.
 *   K9  A node is matched by namespace, parent and token comparison: siblings are in strict order.
 *
 * Engine thread only. Nothing here allocates after kv_new. Sizes are bounded by n_pages.
 */
#ifndef QUIRE_KV_H
#define QUIRE_KV_H

#include "ids.h"
#include "status.h"

#include <stdint.h>

enum { KV_ROOT = 0 };

struct kv_config {
    int32_t n_pages, page_tokens;
    int32_t eviction; /* enum evict_policy */
    uint64_t seed;    /* of the priorities that balance the order of siblings; any value */
};

struct kv_stats {
    int32_t n_pages, n_free;
    int32_t n_nodes;     /* of the tree; each holds a page */
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
/* The page that an existing node holds; -1 for the root. */
page_id kv_node_page(const struct kv *kv, node_id node);
/* Node ids are below this (kv_audit's pins[]). */
int32_t kv_node_slots(const struct kv *kv);

/* Recount K1-K5 and K9 from scratch. held[p]: page-table entries that name p. pins[n]: pins the
 * caller holds on node n, n in [0, kv_node_slots). 0, or ST_INTERNAL with the first violation.
 * O(pages + tokens held). */
int kv_audit(const struct kv *kv, const int32_t *held, const int32_t *pins, struct err *e);

#endif
