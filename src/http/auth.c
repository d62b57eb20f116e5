/* SPDX-License-Identifier: Apache-2.0 */
/* auth.c - API keys: a file of keys, one constant-time check. Loaded at start, then read-only. */
#include "auth.h"

#include "hash.h"
#include "mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_KEYS = 10000 };

static int key_add(struct keys *k, const char *s, size_t n, int line, struct err *e)
{
    if (n > sizeof k->v->bytes)
        return err_set(e, ST_INVALID_VALUE, "API key in line %d is longer than %zu bytes", line,
                       sizeof k->v->bytes);
    if (k->n == MAX_KEYS)
        return err_set(e, ST_INVALID_VALUE, "more than %d API keys", MAX_KEYS);
    if ((k->n & (k->n - 1)) == 0)
        k->v = xrealloc(k->v, (size_t)(k->n ? k->n * 2 : 1) * sizeof *k->v);
    struct key *x = &k->v[k->n++];
    memset(x, 0, sizeof *x);
    memcpy(x->bytes, s, n);
    x->n = (uint32_t)n;
    x->tenant = fnv1a(FNV1A_BASIS, s, n) | 1;
    return 0;
}

int keys_load(struct keys *k, const char *file, const char *extra, struct err *e)
{
    char line[1024];
    int no = 0, st = 0;
    *k = (struct keys){0};
    if (extra && *extra && (st = key_add(k, extra, strlen(extra), 0, e)) != 0)
        return st;
    if (!file || !*file)
        return 0;
    FILE *f = fopen(file, "r");
    if (!f)
        return err_set(e, ST_IO, "cannot read the API keys file %s: %s", file, strerror(errno));
    while (!st && fgets(line, sizeof line, f)) {
        no++;
        char *p = line + strspn(line, " \t");
        size_t n = strcspn(p, " \t\r\n");
        if (n && *p != '#')
            st = key_add(k, p, n, no, e);
    }
    fclose(f);
    if (!st && k->n == 0)
        st = err_set(e, ST_INVALID_VALUE, "the API keys file %s holds no key", file);
    return st;
}

void keys_free(struct keys *k)
{
    free(k->v);
    *k = (struct keys){0};
}

bool keys_check(const struct keys *k, const char *key, size_t n, uint64_t *tenant)
{
    unsigned char given[256] = {0};
    uint64_t found = 0;
    if (n <= sizeof given)
        memcpy(given, key, n);
    for (int32_t i = 0; i < k->n; i++) {
        uint32_t diff = k->v[i].n ^ (uint32_t)n;
        for (size_t j = 0; j < sizeof given; j++)
            diff |= (uint32_t)(given[j] ^ k->v[i].bytes[j]);
        uint64_t same = (uint64_t)0 - (uint64_t)(diff == 0);
        found |= k->v[i].tenant & same;
    }
    *tenant = found;
    return found != 0;
}
