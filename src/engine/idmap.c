/* SPDX-License-Identifier: Apache-2.0 */
/* idmap.c - a fixed hash map from 64-bit keys to indices; linear probing, deletion by shifting
 * back. Cap: half of its slots, sized once. Engine thread. */
#include "idmap.h"

#include "check.h"
#include "mem.h"

#include <stdlib.h>

void idmap_init(struct idmap *m, int32_t max)
{
    uint32_t n = 16;
    while (n < 2 * (uint32_t)max)
        n *= 2;
    m->mask = n - 1;
    m->key = xcalloc2(n, sizeof *m->key);
    m->val = xcalloc2(n, sizeof *m->val);
    for (uint32_t i = 0; i < n; i++)
        m->val[i] = -1;
}

void idmap_fini(struct idmap *m)
{
    free(m->key);
    free(m->val);
}

static uint32_t home(const struct idmap *m, uint64_t key)
{
    key ^= key >> 32;
    key *= 0x9e3779b97f4a7c15u;
    return (uint32_t)(key >> 32) & m->mask;
}

/* The slot that holds key, or the empty one where it belongs. */
static uint32_t find(const struct idmap *m, uint64_t key)
{
    uint32_t i = home(m, key);
    while (m->val[i] >= 0 && m->key[i] != key)
        i = (i + 1) & m->mask;
    return i;
}

int32_t idmap_get(const struct idmap *m, uint64_t key)
{
    return m->val[find(m, key)];
}

void idmap_put(struct idmap *m, uint64_t key, int32_t val)
{
    uint32_t i = find(m, key);
    CHECK(m->val[i] < 0);
    m->key[i] = key;
    m->val[i] = val;
}

void idmap_del(struct idmap *m, uint64_t key)
{
    uint32_t i = find(m, key);
    CHECK(m->val[i] >= 0);
    for (uint32_t j = i;;) {
        m->val[i] = -1;
        do {
            j = (j + 1) & m->mask;
            if (m->val[j] < 0)
                return;
        } while (((j - home(m, m->key[j])) & m->mask) < ((j - i) & m->mask));
        m->key[i] = m->key[j];
        m->val[i] = m->val[j];
        i = j;
    }
}
