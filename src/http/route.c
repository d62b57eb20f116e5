/* SPDX-License-Identifier: Apache-2.0 */
/* route.c - the one way to read a request target, and its row in a table of handlers. Pure. */
#include "route.h"

#include "utf8.h"

#include <string.h>

const char *route_allow(const struct handler *t)
{
    return t->methods == M_POST  ? "POST, OPTIONS"
           : t->methods == M_GET ? "GET, HEAD, OPTIONS"
                                 : "GET, HEAD, POST, OPTIONS";
}

/* Where the path of a target begins: behind the authority of the absolute form. */
static const char *path_of(const char *uri)
{
    if (strncmp(uri, "http://", 7) != 0)
        return uri;
    const char *slash = strchr(uri + 7, '/');
    return slash ? slash : "/";
}

/* The path from p on, decoded into o (NULL: nowhere). False: malformed. */
static bool decode(const char *p, char *o)
{
    for (; *p && *p != '?' && *p != '#'; p++) {
        int c = (unsigned char)*p;
        if (c == '%') {
            int a = hex_digit(p[1]), b = a < 0 ? -1 : hex_digit(p[2]);
            if (b < 0 || (a == 0 && b == 0))
                return false;
            c = a * 16 + b;
            p += 2;
        }
        if (o)
            *o++ = (char)c;
    }
    if (o)
        *o = '\0';
    return true;
}

bool route_good(const char *uri)
{
    return decode(path_of(uri), NULL);
}

void route_tail(const char *uri, const struct handler *t, char *o)
{
    decode(path_of(uri) + strlen(t->path), o);
}

/* A path has one spelling, byte by byte: two of them would be two keys in every cache and rule of a
 * proxy. Only what follows a beginning may be encoded. */
const struct handler *route_find(const struct handler *table, int n, const char *uri)
{
    const char *path = path_of(uri);
    size_t n_path = strcspn(path, "?#");
    for (int i = 0; i < n; i++) {
        const char *want = table[i].path;
        size_t len = strlen(want);
        bool tail = want[len - 1] == '/';
        if (strncmp(path, want, len) == 0 && (tail ? n_path > len : n_path == len))
            return &table[i];
    }
    return NULL;
}
