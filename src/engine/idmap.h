/* SPDX-License-Identifier: Apache-2.0 */
/* idmap.h - a fixed hash map from 64-bit keys (request ids, tenants) to indices. */
#ifndef QUIRE_ENGINE_IDMAP_H
#define QUIRE_ENGINE_IDMAP_H

#include <stdint.h>

/* uint64 -> int32, open addressing, never more than half full. */
struct idmap {
    uint64_t *key;
    int32_t *val; /* -1 = empty */
    uint32_t mask;
};

/* Room for `max` keys. Put takes a key that is not in it, del one that is. get: -1 = not there. */
void idmap_init(struct idmap *m, int32_t max);
void idmap_fini(struct idmap *m);
int32_t idmap_get(const struct idmap *m, uint64_t key);
void idmap_put(struct idmap *m, uint64_t key, int32_t val);
void idmap_del(struct idmap *m, uint64_t key);

#endif
