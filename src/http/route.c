/* SPDX-License-Identifier: Apache-2.0 */
/* route.c - the one way to read a request target, and its row in a table of handlers. Pure. */
#include "route.h"

#include "utf8.h"

#include <ctype.h>
#include <stdio.h>
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

/* ---- what a path that nobody answers may have meant ---- */

enum { ASKED_MAX = 64 }; /* longer ones are not compared letter by letter */

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* Letters to change, add, drop or swap with their neighbour, case aside. */
static int distance(const char *a, size_t n, const char *b, size_t m)
{
    int row[3][ASKED_MAX + 1], *old = row[0], *last = row[1], *now = row[2];
    for (size_t j = 0; j <= m; j++)
        last[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int c = tolower((unsigned char)a[i - 1]);
        now[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int d = tolower((unsigned char)b[j - 1]);
            now[j] = least(least(last[j], now[j - 1]) + 1, last[j - 1] + (c != d));
            if (i > 1 && j > 1 && c == tolower((unsigned char)b[j - 2]) &&
                d == tolower((unsigned char)a[i - 2]))
                now[j] = least(now[j], old[j - 2] + 1);
        }
        int *t = old;
        old = last;
        last = now;
        now = t;
    }
    return last[m];
}

/* How far a row is from what was asked; more than `most` = too far. A base URL given twice or with
 * a prefix ends in a path of ours, which is as good as one letter. */
static int far(const char *asked, size_t n, const char *path, int most)
{
    size_t m = strlen(path);
    if (n > m && memcmp(asked + n - m, path, m) == 0)
        return 1;
    if (n > 4 && n < m && path[n] == '/' && memcmp(asked, path, n) == 0)
        return 2;
    if (n > ASKED_MAX || m > ASKED_MAX || n > m + (size_t)most || m > n + (size_t)most)
        return most + 1;
    return distance(asked, n, path, m);
}

const char *route_nearest(const struct handler *table, int n, const char *uri)
{
    const char *asked = path_of(uri), *best = NULL;
    size_t len = strcspn(asked, "?#");
    int most = len > 12 ? 4 : len > 5 ? 2 : 1, at_best = most + 1;
    for (int i = 0; i < n; i++) {
        const char *path = table[i].path;
        size_t m = strlen(path);
        if (path[m - 1] == '/')
            continue;
        int d = far(asked, len, path, most);
        if (d < at_best || (d == at_best && best && m > strlen(best) && d == 1)) {
            best = path;
            at_best = d;
        }
    }
    return best;
}

void route_show(const char *uri, char out[ROUTE_SHOWN])
{
    const char *p = path_of(uri);
    size_t n = strcspn(p, "?#"), k = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        bool plain = isalnum(c) || (c && strchr("/._~:@!$&()*+,;-%{}", c));
        if (k + 6 > ROUTE_SHOWN) { /* an escape or the dots, and the end */
            memcpy(out + k, "..", 2);
            k += 2;
            break;
        }
        k += (size_t)snprintf(out + k, ROUTE_SHOWN - k, plain ? "%c" : "%%%02X", c);
    }
    out[k] = '\0';
}
