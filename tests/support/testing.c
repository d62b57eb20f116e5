/* SPDX-License-Identifier: Apache-2.0 */
#include "testing.h"

#include "mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *fixture_path(const char *rel)
{
    static char path[1024];
    const char *root = getenv("QUIRE_TEST_SOURCE"); /* where the tree is, on another machine */
    snprintf(path, sizeof path, "%s/tests/fixtures/%s", root && *root ? root : QUIRE_SOURCE_DIR,
             rel);
    return path;
}

const char *data_path(const char *rel)
{
    static char path[1024];
    const char *root = getenv("QUIRE_TEST_DATA");
    if (root && *root)
        snprintf(path, sizeof path, "%s", root);
    else
        snprintf(path, sizeof path, "%s/../shared/data", QUIRE_SOURCE_DIR);
    if (access(path, R_OK) != 0)
        return NULL;
    size_t n = strlen(path);
    snprintf(path + n, sizeof path - n, "/%s", rel);
    return path;
}

static char *slurp(FILE *f, size_t *n)
{
    char *p = NULL;
    size_t used = 0, cap = 0;
    for (;;) {
        if (used + 65536 + 1 > cap) {
            cap = cap ? cap * 2 : 262144;
            p = xrealloc(p, cap);
        }
        size_t k = fread(p + used, 1, 65536, f);
        if (k == 0)
            break;
        used += k;
    }
    p[used] = '\0';
    if (n)
        *n = used;
    return p;
}

char *read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    char *p = slurp(f, n);
    fclose(f);
    return p;
}

char *read_xz(const char *path, size_t *n)
{
    char cmd[1200];
    if (access(path, R_OK) != 0)
        return NULL;
    snprintf(cmd, sizeof cmd, "xz -dc '%s'", path);
    FILE *f = popen(cmd, "r");
    if (!f)
        return NULL;
    char *p = slurp(f, n);
    if (pclose(f) != 0) {
        free(p);
        return NULL;
    }
    return p;
}
