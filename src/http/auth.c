/* SPDX-License-Identifier: Apache-2.0 */
/* auth.c - API keys: a file of keys, one constant-time check. Loaded at start, then read-only. */
#include "auth.h"

#include "hash.h"
#include "mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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

/* One line of the file, or the environment's value as line 0. What surrounds the key is dropped. A
 * key with a byte that no header can carry would never be matched, or be matched cut short. */
static int line_add(struct keys *k, const char *s, size_t n, int line, struct err *e)
{
    while (n && strchr(" \t\r\n", s[n - 1]) && s[n - 1])
        n--;
    while (n && (*s == ' ' || *s == '\t')) {
        s++;
        n--;
    }
    if (n == 0 || (line && *s == '#'))
        return 0;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] <= ' ' || s[i] == 0x7f)
            return err_set(e, ST_INVALID_VALUE,
                           "API key in line %d: a blank, a NUL or a control character inside it",
                           line);
    return key_add(k, s, n, line, e);
}

/* Whoever can read the file has the keys, and whoever can write it makes some. */
static int check_mode(FILE *f, const char *file, struct err *e)
{
    struct stat s;
    if (fstat(fileno(f), &s) != 0)
        return err_set(e, ST_IO, "cannot read the API keys file %s: %s", file, strerror(errno));
    if (s.st_mode & (S_IRWXO | S_IWGRP | S_IXGRP))
        return err_set(e, ST_INVALID_VALUE,
                       "the API keys file %s has mode %04o: others than its owner and readers of "
                       "its group have a right to it (chmod 0600)",
                       file, (unsigned)s.st_mode & 07777);
    return 0;
}

static int file_add(struct keys *k, const char *file, struct err *e)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    int no = 0, before = k->n;
    FILE *f = fopen(file, "re");
    if (!f)
        return err_set(e, ST_IO, "cannot read the API keys file %s: %s", file, strerror(errno));
    int st = check_mode(f, file, e);
    while (!st && (n = getline(&line, &cap, f)) >= 0)
        st = line_add(k, line, (size_t)n, ++no, e);
    if (!st && ferror(f))
        st = err_set(e, ST_IO, "cannot read the API keys file %s: %s", file, strerror(errno));
    if (!st && k->n == before)
        st = err_set(e, ST_INVALID_VALUE, "the API keys file %s holds no key", file);
    free(line);
    fclose(f);
    return st;
}

/* A variable that is named and missing must not open the server. */
static int env_add(struct keys *k, const char *name, struct err *e)
{
    const char *v = getenv(name);
    int st = v ? line_add(k, v, strlen(v), 0, e) : 0;
    if (st)
        return err_set(e, st,
                       "the key in %s (auth.api_key_env) is too long, or has a blank or a "
                       "control character inside",
                       name);
    if (k->n == 0)
        return err_set(e, ST_INVALID_VALUE, "auth.api_key_env names %s, which is %s", name,
                       v ? "empty" : "not set");
    return 0;
}

int keys_load(struct keys *k, const char *file, const char *env, struct err *e)
{
    *k = (struct keys){0};
    int st = env && *env ? env_add(k, env, e) : 0;
    return st || !file || !*file ? st : file_add(k, file, e);
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
