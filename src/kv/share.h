/* SPDX-License-Identifier: Apache-2.0 */
/* share.h - inside of kv: accounts, told of what becomes of their nodes. Their bounds: kv_prefix.h.
 */
#ifndef QUIRE_KV_SHARE_H
#define QUIRE_KV_SHARE_H

#include "tree.h"

/* A node became idle; it is used again, or is no more. */
void share_idle(struct kv *kv, node_id n, bool idle);
/* It came into the heap; it is about to leave it. */
void share_insert(struct kv *kv, node_id n);
void share_remove(struct kv *kv, node_id n);
/* The candidate of least worth of the account that is furthest beyond its bound (the first of
 * several); KV_ROOT: none is, or none that is has a candidate. */
node_id share_pick(const struct kv *kv);

#endif
