/* SPDX-License-Identifier: Apache-2.0 */
/* keys.h - inside of config: API keys, from texts, files and variables to hashes, each with the
 * place it came from. At start, one thread.
 */
#ifndef QUIRE_CONFIG_KEYS_H
#define QUIRE_CONFIG_KEYS_H

#include "tenants.h"

enum { NOBODY = -1 }; /* the tenant of a key that stands for itself */

struct key_place {
    const char *file; /* or a variable, or a setting; outlives the list */
    int line, col;    /* 0 = the whole of it */
};
struct found_key {
    struct tenant_key key;
    struct key_place at;
    int32_t order;
};
/* A problem: where, and a text without any key in it. */
struct key_sink {
    void *arg;
    void (*bad)(void *arg, const struct key_place *at, const char *text);
};
struct key_list {
    const struct key_sink *sink;
    struct found_key *v; /* [n] */
    int32_t n;
};

/* One key of `tenant`: plain, or sha256:HEX. `what` names it in a problem. */
void key_add(struct key_list *l, int32_t tenant, const struct key_place *at, const char *what,
             const char *key, size_t n);
/* One key a line, # comments; nobody but the owner may write the file, and others not read it. `at`
 * is where the file was named, for a file that cannot be read. */
void keys_add_file(struct key_list *l, int32_t tenant, const struct key_place *at,
                   const char *file);
void keys_add_variable(struct key_list *l, int32_t tenant, const struct key_place *at,
                       const char *name);
/* Nobody else may write the file, nor read it if it holds secrets. fd: it is open; -1: it is not.
 * False: a problem was told. */
bool key_file_is_safe(const struct key_sink *sink, const struct key_place *at, const char *file,
                      int fd, bool secret);
/* Into the order of their hashes; one that comes twice is a problem, but for keys that stand for
 * themselves, of which the first is kept. */
void keys_settle(struct key_list *l);

/* All that auth.* names, problems to the sink, each of them; what is left is usable only without
 * any. tenants_load is this with the first one. */
void tenants_read(struct tenants *t, const struct config *c, const struct key_sink *sink);

#endif
