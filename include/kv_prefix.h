/* SPDX-License-Identifier: Apache-2.0 */
/* kv_prefix.h - the prefix cache in front of the page pool: match, pin, publish.
 *
 * The cache is a tree whose edges are one full page of tokens, so nodes never split; a node is
 * found by namespace and exact token comparison. A node has an id of its own and names the page it
 * holds; node 0 is the root and holds none. A seq pins the deepest node of its path; pinned paths
 * are never evicted. Which of the others go, and when, is kv_take's business (kv.h, where the
 * invariants stand, too). Engine thread only; nothing here allocates.
 */
#ifndef QUIRE_KV_PREFIX_H
#define QUIRE_KV_PREFIX_H

#include "ids.h"

#include <stdint.h>

struct kv;

enum { KV_ROOT = 0 };

/* What kv_match found. The caller owns one reference on each of the n_pages pages, one pin on
 * `node` (unless KV_ROOT) and one on `part` (unless KV_ROOT). */
struct kv_hit {
    node_id node;    /* deepest node whose whole page matched */
    int32_t n_pages; /* whole pages matched */
    node_id part;    /* a child of `node` that shares a head of n_part tokens; KV_ROOT = none */
    int32_t n_part;  /* 1 .. page_tokens - 1 */
};

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
 * kv_node_page. KV_ROOT: the child there is forgotten (kv_forget) and still in use, so nothing was
 * done and the pin stays where it was; a forgotten one that is not in use takes the new page. */
node_id kv_publish(struct kv *kv, node_id parent, uint64_t ns, const token_id *tok, page_id page);
/* What `node` and those above it hold is not to be trusted: nobody finds them any more. They stay
 * while somebody uses them and are the first to be evicted. The caller has `node` pinned; no-op on
 * the root. */
void kv_forget(struct kv *kv, node_id node);
/* Accounts: on which of them a node's page is kept while nobody uses it. kv_charge: `node` is on
 * `account` from now on (0 = nobody's, as every new node is); the caller has it pinned. kv_bound:
 * the account may keep `most` pages; while it keeps more, its own go first when a page is needed.
 */
enum { KV_ACCOUNTS = 256 };
void kv_charge(struct kv *kv, node_id node, int32_t account);
void kv_bound(struct kv *kv, int32_t account, int32_t most);
/* The page that an existing node holds; -1 for the root. */
page_id kv_node_page(const struct kv *kv, node_id node);

#endif
