/* SPDX-License-Identifier: Apache-2.0 */
/* namespace.h - who shares the prefix cache with whom. Pure, but for the key; any thread. */
#ifndef QUIRE_API_NAMESPACE_H
#define QUIRE_API_NAMESPACE_H

#include <stddef.h>
#include <stdint.h>

enum { NS_MAX_SALT = 512 }; /* bytes of a salt */

struct ns_key {
    uint64_t k[2];
};

/* A key of this process, from the kernel. */
struct ns_key ns_key_new(void);
/* SipHash-2-4 of n bytes. */
uint64_t ns_hash(const struct ns_key *key, const void *p, size_t n);
/* The namespace of requests with this salt (n_salt 0 = none) whose tenants use the cache of tenant
 * `cache` (struct tenant). Two caches never share one, whatever salts are sent, because the cache
 * is a part of what is hashed and nobody outside knows the key. Only anonymous requests without a
 * salt are in namespace 0. */
uint64_t ns_of(const struct ns_key *key, uint64_t cache, const char *salt, size_t n_salt);

#endif
