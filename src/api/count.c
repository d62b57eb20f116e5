/* SPDX-License-Identifier: Apache-2.0 */
/* count.c - POST /v1/messages/count_tokens: the same translation as for /v1/messages, then a number
 * instead of a stream. Off the loop when the body is large.
 */
#include "count.h"

#include "genreq.h"
#include "json_out.h"
#include "mem.h"
#include "reply.h"
#include "state.h"

#include <stdlib.h>

struct count { /* r->user */
    int st;
    struct err err;
    struct ignored ignored;
    size_t n;
};

/* A job: it sees its own request's body and what is immutable once the model is loaded. */
static void count(struct req *r)
{
    struct count *k = r->user;
    const struct api *a = r->service;
    const struct gen_rules rules = {a->c, &a->names, &a->s, r->who};
    struct genreq g;
    k->st = genreq_make(&g, &dialect_count, r->body.p ? r->body.p : "", r->body.n, &rules, &k->err);
    k->err.st = k->st;
    k->n = g.ids.n;
    k->ignored = g.ignored; /* moved */
    g.ignored = (struct ignored){0};
    genreq_fini(&g);
    buf_free(&r->body);
}

static void counted(struct req *r)
{
    struct count *k = r->user;
    struct api *a = r->service;
    struct buf b = {0};
    a->m.ignored_parameters += k->ignored.n;
    ignored_count(&a->ignored, &k->ignored, r->id);
    if (k->st) {
        reply_error(r, &k->err);
        return;
    }
    out_fmt(&b, "{\"input_tokens\":%zu}", k->n);
    reply(r, 200, "application/json", b.p, b.n);
    buf_free(&b);
}

void api_count_tokens(struct req *r)
{
    r->user = xalloc(sizeof(struct count));
    req_job(r, count, counted);
}

void count_free(struct req *r)
{
    struct count *k = r->user;
    ignored_free(&k->ignored);
    free(k);
}
