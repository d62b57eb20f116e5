/* SPDX-License-Identifier: Apache-2.0 */
/* tenants.h - who may ask, and for how much: API keys, the tenants they stand for, and the limits
 * of these. Loaded at start, then read-only; any thread.
 *
 * Keys come from auth.tenants_file (YAML; configs/tenants.yaml explains it), where each belongs to
 * a named tenant, and from auth.api_keys_file and auth.api_key_env, where each stands for itself.
 * No key is kept, only its SHA-256.
 */
#ifndef QUIRE_TENANTS_H
#define QUIRE_TENANTS_H

#include "config.h"
#include "status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TENANT_NAME = 64,   /* bytes of a name */
    MAX_TENANTS = 1000, /* with a name */
    MAX_ACCOUNTS = 255, /* of these with a cache_share below 1 */
    MAX_KEYS = 10000,   /* all together */
    KEY_BYTES = 256,    /* of the longest key */
    KEY_HASH = 32       /* bytes of a SHA-256 */
};

struct tenant {
    char name[TENANT_NAME + 1];                        /* "" = a key that stands for itself */
    uint64_t id;                                       /* never 0; no other tenant's */
    int64_t weight;                                    /* share beside others, 1 .. 1000 */
    int64_t min_priority;                              /* lowest that its requests may ask for */
    int64_t max_requests, tokens_per_minute, max_seqs; /* 0 = no bound */
    double cache_share; /* of the pool's pages, for finished prefixes; 1 = no bound */
    bool operator;      /* sees the numbers of all tenants */
    uint64_t cache; /* id of the tenant whose prefix cache it uses: its own, or its group's first */
    bool shares_cache; /* so does another tenant */
    int32_t account;   /* of its pages, 1 .. MAX_ACCOUNTS; 0 = cache_share is 1 */
};
struct tenant_key {
    uint8_t hash[KEY_HASH];
    int32_t tenant; /* index in v[] */
};
struct tenants {
    struct tenant *v; /* [n], the named ones first, in the order of the file */
    int32_t n, n_named;
    struct tenant_key *key; /* [n_keys] */
    int32_t n_keys;         /* 0 = an open server */
};

/* All that auth.* names. A source that is named and gives no key, a file that others have a right
 * to, a name, key or hash that comes twice, and a field that is unknown or out of range are
 * ST_INVALID_VALUE with file and line: a server that was meant to be closed never starts open.
 * tenants_free in every case. */
int tenants_load(struct tenants *t, const struct config *c, struct err *e);
void tenants_free(struct tenants *t);
/* Whose key that is; NULL: nobody's. Constant time over all keys. */
const struct tenant *tenants_find(const struct tenants *t, const char *key, size_t n);
/* For logs and metrics: the name, or "key". */
static inline const char *tenant_label(const struct tenant *t)
{
    return t->name[0] ? t->name : "key";
}

#endif
