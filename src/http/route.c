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

bool route_path(const char *uri, char *o)
{
    char *begin = o;
    if (strncmp(uri, "http://", 7) == 0) /* absolute form */
        uri = strchr(uri + 7, '/') ? strchr(uri + 7, '/') : "/";
    for (const char *p = uri; *p && *p != '?' && *p != '#'; p++) {
        int c = (unsigned char)*p;
        if (c == '%') {
            int a = hex_digit(p[1]), b = a < 0 ? -1 : hex_digit(p[2]);
            if (b < 0 || (a == 0 && b == 0))
                return false;
            c = a * 16 + b;
            p += 2;
        }
        if (c == '/' && o > begin && o[-1] == '/')
            continue;
        *o++ = (char)c;
    }
    if (o > begin + 1 && o[-1] == '/')
        o--;
    *o = '\0';
    return true;
}

const struct handler *route_find(const struct handler *table, int n, const char *path)
{
    for (int i = 0; i < n; i++) {
        const char *want = table[i].path;
        size_t len = strlen(want);
        bool tail = want[len - 1] == '/';
        if (tail ? strncmp(path, want, len) == 0 && path[len] : strcmp(path, want) == 0)
            return &table[i];
    }
    return NULL;
}
