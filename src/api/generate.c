/* SPDX-License-Identifier: Apache-2.0 */
/* generate.c - POST /v1/completions and /v1/chat/completions: from the body to a checked request,
 * off the loop when the body is large, then to a stream.
 */
#include "generate.h"

#include "mem.h"
#include "reply.h"
#include "stream.h"

/* A job: it sees its own request's body and what is immutable once the model is loaded. */
static void prepare(struct req *r)
{
    struct stream *s = r->user;
    const struct gen_rules rules = {s->a->c, &s->a->names, &s->a->s, r->who};
    s->st = genreq_make(&s->g, s->g.chat, r->body.p ? r->body.p : "", r->body.n, &rules, &s->err);
    if (s->st)
        s->err.st = s->st;
    buf_free(&r->body);
}

static void prepared(struct req *r)
{
    struct stream *s = r->user;
    s->a->m.ignored_parameters += s->g.n_ignored;
    if (s->st)
        reply_error(r, &s->err);
    else
        stream_begin(s);
}

static void generate(struct req *r, bool chat)
{
    struct stream *s = xalloc(sizeof *s);
    s->a = r->service;
    s->r = r;
    s->g.chat = chat;
    r->user = s;
    req_job(r, prepare, prepared);
}

void api_completions(struct req *r)
{
    generate(r, false);
}

void api_chat(struct req *r)
{
    generate(r, true);
}
