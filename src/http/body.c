/* SPDX-License-Identifier: Apache-2.0 */
/* body.c - request bodies in memory. See body.h.
 *
 * Loop thread. A body counts with the bytes that came, not with those it promises: a promise costs
 * its sender nothing. The first SMALL bytes of each never count, so that small requests pass when
 * large ones have taken all room; there are at most as many of them as connections.
 */
#include "body.h"

enum { SMALL = 16 << 10 };

static int64_t counted(int64_t n)
{
    return n > SMALL ? n - SMALL : 0;
}

static int64_t most(const struct http *h)
{
    int64_t one = h->c->http.max_body_bytes, all = h->c->http.max_bodies_bytes;
    return all > one ? all : one;
}

static int short_of(struct err *e, const char *what)
{
    return err_set(e, ST_ENGINE_DOWN, "%s; try again later.", what);
}

int body_room(const struct http *h, int64_t n, struct err *e)
{
    if (counted(n) == 0 || h->wire.body_bytes + counted(n) <= most(h))
        return 0;
    return short_of(e, "Too many bytes of other requests are in flight");
}

static void count(struct exchange *x, int64_t n)
{
    x->r.http->wire.body_bytes += counted(n) - x->n_counted;
    x->n_counted = counted(n);
}

int body_take(struct exchange *x, const char *data, size_t n, struct err *e)
{
    struct http *h = x->r.http;
    int64_t max = h->c->http.max_body_bytes, all = (int64_t)(x->r.body.n + n);
    if (all > max)
        return err_set(e, ST_BODY_TOO_LARGE, "The body is larger than %lld bytes.", (long long)max);
    if (counted(all) > 0 && h->wire.body_bytes - x->n_counted + counted(all) > most(h))
        return short_of(e, "Too many bytes of other requests are in flight");
    buf_add(&x->r.body, data, n);
    if (x->r.body.oom)
        return short_of(e, "The server is short of memory");
    count(x, all);
    return 0;
}

void body_settle(struct exchange *x)
{
    if (!x->r.body.p)
        count(x, 0);
}
