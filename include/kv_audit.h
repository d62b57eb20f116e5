/* SPDX-License-Identifier: Apache-2.0 */
/* kv_audit.h - the invariants of kv.h, recounted. Engine thread only. */
#ifndef QUIRE_KV_AUDIT_H
#define QUIRE_KV_AUDIT_H

#include "ids.h"
#include "status.h"

#include <stdint.h>

struct kv;

/* Node ids are below this (kv_audit's pins[]). */
int32_t kv_node_slots(const struct kv *kv);
/* Recount K1-K5, K9 and K10 from scratch. held[p]: page-table entries that name p. pins[n]: pins
 * the caller holds on node n, n in [0, kv_node_slots). 0, or ST_INTERNAL with the first violation.
 * O(pages + tokens held). */
int kv_audit(const struct kv *kv, const int32_t *held, const int32_t *pins, struct err *e);

#endif
