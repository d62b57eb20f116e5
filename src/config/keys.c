/* SPDX-License-Identifier: Apache-2.0 */
/* keys.c - API keys become hashes, and a request's key is looked up among them. See keys.h.
 *
 * A key that is presented is hashed once and compared with every hash, all bytes of it, whatever
 * came out of the comparisons before: the time says nothing about the keys there are.
 */
#include "keys.h"

#include "mem.h"

#include <ctype.h>
#include <errno.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char HASHED[] = "sha256:";

static void hash_key(const char *key, size_t n, uint8_t hash[KEY_HASH])
{
    struct sha256_ctx h;
    sha256_init(&h);
    sha256_update(&h, n, (const uint8_t *)key);
    sha256_digest(&h, KEY_HASH, hash);
}

static bool hash_of_hex(const char *hex, size_t n, uint8_t hash[KEY_HASH])
{
    if (n != (size_t)2 * KEY_HASH)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!isxdigit((unsigned char)hex[i]))
            return false;
        int d = isdigit((unsigned char)hex[i]) ? hex[i] - '0' : (hex[i] | 0x20) - 'a' + 10;
        hash[i / 2] = (uint8_t)(i % 2 ? hash[i / 2] | d : d << 4);
    }
    return true;
}

static void bad(const struct key_list *l, const struct key_place *at, const char *what,
                const char *text)
{
    char all[400];
    snprintf(all, sizeof all, "%.150s: %.200s", what, text);
    l->sink->bad(l->sink->arg, at, all);
}

/* A key with a byte that no header can carry would never be matched, or be matched cut short. */
static const char *key_fault(const char *key, size_t n)
{
    if (n == 0)
        return "an API key must not be empty";
    if (n > KEY_BYTES)
        return "an API key has at most 256 bytes";
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)key[i] <= ' ' || key[i] == 0x7f)
            return "a blank, a NUL or a control character inside an API key";
    return NULL;
}

void key_add(struct key_list *l, int32_t tenant, const struct key_place *at, const char *what,
             const char *key, size_t n)
{
    const size_t prefix = sizeof HASHED - 1;
    struct found_key k = {.key.tenant = tenant, .at = *at, .order = l->n};
    const char *fault = key_fault(key, n);
    if (!fault && n >= prefix && memcmp(key, HASHED, prefix) == 0) {
        if (!hash_of_hex(key + prefix, n - prefix, k.key.hash))
            fault = "sha256: is followed by the 64 hexadecimal digits of the key's hash";
    } else if (!fault) {
        hash_key(key, n, k.key.hash);
    }
    if (!fault && l->n == MAX_KEYS)
        fault = "there are more than 10000 API keys";
    if (fault) {
        bad(l, at, what, fault);
        return;
    }
    if ((l->n & (l->n - 1)) == 0)
        l->v = xrealloc(l->v, (size_t)(l->n ? l->n * 2 : 1) * sizeof *l->v);
    l->v[l->n++] = k;
}

/* ---- files and variables ---- */

static void cannot_read(const struct key_sink *s, const struct key_place *at, const char *file)
{
    char text[400];
    snprintf(text, sizeof text, "cannot read %.250s: %s", file, strerror(errno));
    s->bad(s->arg, at, text);
}

/* Whoever can read the file has the keys, and whoever can write it makes some. */
bool key_file_is_safe(const struct key_sink *sink, const struct key_place *at, const char *file,
                      int fd, bool secret)
{
    char text[500];
    struct stat s;
    if ((fd >= 0 ? fstat(fd, &s) : stat(file, &s)) != 0) {
        cannot_read(sink, at, file);
        return false;
    }
    if (!(s.st_mode & (S_IWOTH | S_IWGRP | (secret ? S_IRWXO | S_IXGRP : 0))))
        return true;
    snprintf(text, sizeof text, "%.250s has mode %04o: %s", file, (unsigned)s.st_mode & 07777,
             secret
                 ? "others than its owner and readers of its group have a right to it (chmod 0600)"
                 : "others than its owner may write it (chmod 0644)");
    sink->bad(sink->arg, at, text);
    return false;
}

/* What surrounds the key is dropped. */
static size_t trim(const char **s, size_t n)
{
    while (n && strchr(" \t\r\n", (*s)[n - 1]) && (*s)[n - 1])
        n--;
    while (n && (**s == ' ' || **s == '\t')) {
        ++*s;
        n--;
    }
    return n;
}

void keys_add_file(struct key_list *l, int32_t tenant, const struct key_place *at, const char *file)
{
    struct key_place here = {.file = file};
    char *line = NULL;
    size_t cap = 0, n_line;
    ssize_t n;
    int32_t n_seen = 0;
    FILE *f = fopen(file, "re");
    if (!f) {
        cannot_read(l->sink, at, file);
        return;
    }
    if (!key_file_is_safe(l->sink, at, file, fileno(f), true)) {
        fclose(f);
        return;
    }
    while ((n = getline(&line, &cap, f)) >= 0) {
        const char *s = line;
        here.line++;
        n_line = trim(&s, (size_t)n);
        if (n_line == 0 || *s == '#')
            continue;
        n_seen++;
        key_add(l, tenant, &here, "API key", s, n_line);
        explicit_bzero(line, (size_t)n);
    }
    if (ferror(f))
        cannot_read(l->sink, at, file);
    else if (n_seen == 0)
        l->sink->bad(l->sink->arg, &(struct key_place){.file = file}, "the file holds no key");
    free(line);
    fclose(f);
}

/* A variable that is named and missing must not open the server. */
void keys_add_variable(struct key_list *l, int32_t tenant, const struct key_place *at,
                       const char *name)
{
    char what[260];
    const char *s = getenv(name);
    size_t n = s ? trim(&s, strlen(s)) : 0;
    snprintf(what, sizeof what, "the variable %.200s", name);
    if (n == 0)
        bad(l, at, what, s ? "it is empty" : "it is not set");
    else
        key_add(l, tenant, at, what, s, n);
}

/* ---- all together ---- */

static int by_hash(const void *a, const void *b)
{
    const struct found_key *x = a, *y = b;
    int d = memcmp(x->key.hash, y->key.hash, KEY_HASH);
    return d ? d : (x->order > y->order) - (x->order < y->order);
}

void keys_settle(struct key_list *l)
{
    int32_t n = 0;
    if (l->n)
        qsort(l->v, (size_t)l->n, sizeof *l->v, by_hash);
    for (int32_t i = 0; i < l->n; i++) {
        const struct found_key *k = &l->v[i], *last = n ? &l->v[n - 1] : NULL;
        if (!last || memcmp(last->key.hash, k->key.hash, KEY_HASH) != 0)
            l->v[n++] = *k;
        else if (last->key.tenant != NOBODY || k->key.tenant != NOBODY)
            l->sink->bad(l->sink->arg, &k->at, "this API key is given twice");
    }
    l->n = n;
}

const struct tenant *tenants_find(const struct tenants *t, const char *key, size_t n)
{
    uint64_t want[KEY_HASH / 8], has[KEY_HASH / 8], found = 0;
    if (n == 0 || n > KEY_BYTES)
        return NULL;
    hash_key(key, n, (uint8_t *)want);
    for (int32_t i = 0; i < t->n_keys; i++) {
        uint64_t diff = 0;
        memcpy(has, t->key[i].hash, sizeof has);
        for (size_t j = 0; j < KEY_HASH / 8; j++)
            diff |= want[j] ^ has[j];
        uint64_t same = (uint64_t)0 - (uint64_t)(diff == 0);
        found |= ((uint64_t)t->key[i].tenant + 1) & same;
    }
    return found ? &t->v[found - 1] : NULL;
}
