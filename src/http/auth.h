/* SPDX-License-Identifier: Apache-2.0 */
/* auth.h - API keys. Loaded at start, then read-only. */
#ifndef QUIRE_HTTP_AUTH_H
#define QUIRE_HTTP_AUTH_H

#include "status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct key {
    unsigned char bytes[256]; /* zero after n */
    uint32_t n;
    uint64_t tenant; /* its hash, never 0 */
};
struct keys {
    struct key *v; /* [n] */
    int32_t n;     /* 0 = an open server */
};

/* The file's keys, one a line, and the one in the environment variable `env`; either may be NULL or
 * "". What is named but gives no key, or a file that others have a right to, is
 * ST_INVALID_VALUE: a server that was meant to be closed never starts open. keys_free in every
 * case. */
int keys_load(struct keys *k, const char *file, const char *env, struct err *e);
void keys_free(struct keys *k);
/* Constant time over all keys. False = refuse. */
bool keys_check(const struct keys *k, const char *key, size_t n, uint64_t *tenant);

#endif
