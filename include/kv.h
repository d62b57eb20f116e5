/* SPDX-License-Identifier: Apache-2.0 */
/* kv.h - bookkeeping of the KV page pool. Integers only.
 *
 * Pages are counted references: one per page-table entry that names a page and one for the node of
 * the prefix cache (kv_prefix.h) that holds it.
 *
 * Invariants of both, all recounted by kv_audit (kv_audit.h) but K6 to K8, which concern the seqs
 * (engine/state.h) and the steps (step.h): K1  refs[p] = page-table entries that name p + (1 if a
 * node holds p); at most one node does. K2  The free list is exactly the pages without references,
 * each once. K3  A node's parent exists, and its depth is one less. K4  A node's pins are those its
 * users hold; `lock` counts its pins and its children in use, so that nothing live at or below is
 * one comparison; exactly the leaves with lock 0 may go. K5  Node ids in the tree + free ones =
 * all; each node hangs in the tree exactly once. K9  A node is matched by namespace, parent and
 * token comparison: siblings are in strict order. K10  An account (kv_prefix.h) counts its nodes
 * that nobody uses, and its order holds exactly those of them that may go.
 *
 * Engine thread only. Nothing here allocates after kv_new. Sizes are bounded by n_pages.
 */
#ifndef QUIRE_KV_H
#define QUIRE_KV_H

#include "ids.h"
#include "status.h"

#include <stdint.h>

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

#endif
