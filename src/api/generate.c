/* SPDX-License-Identifier: Apache-2.0 */
/* generate.c - POST /v1/completions, /v1/chat/completions, /v1/messages and /v1/responses: from the
 * body to a checked request, off the loop when the body is large, then to a stream. The four differ
 * in how a body is read (struct dialect) and in how the answer is written (struct shape).
 */
#include "generate.h"

#include "events.h"
#include "mem.h"
#include "prompt.h"
#include "reply.h"

/* A job: it sees its own request's body and what is immutable once the model is loaded. */
static void prepare(struct req *r)
{
    struct stream *s = r->user;
    const struct gen_rules rules = {s->a->c, &s->a->names, &s->a->s, r->who};
    s->st = prompt_room(r->body.n, &s->err);
    if (s->st == 0)
        s->st = genreq_make(&s->g, s->g.dialect, r->body.p ? r->body.p : "", r->body.n, &rules,
                            &s->err);
    if (s->st)
        s->err.st = s->st;
    buf_free(&r->body);
}

static void prepared(struct req *r)
{
    struct stream *s = r->user;
    s->a->m.ignored_parameters += s->g.ignored.n;
    ignored_count(&s->a->ignored, &s->g.ignored, r->id);
    if (s->st)
        reply_error(r, &s->err);
    else
        stream_begin(s);
}

static void generate(struct req *r, const struct dialect *dialect, const struct shape *shape)
{
    struct stream *s = xalloc(sizeof *s);
    s->a = r->service;
    s->r = r;
    s->shape = shape;
    s->g.dialect = dialect;
    r->user = s;
    req_job(r, prepare, prepared);
}

void api_completions(struct req *r)
{
    generate(r, &dialect_text, &shape_text);
}

void api_chat(struct req *r)
{
    generate(r, &dialect_chat, &shape_chat);
}

void api_messages(struct req *r)
{
    generate(r, &dialect_messages, &shape_messages);
}

void api_responses(struct req *r)
{
    generate(r, &dialect_responses, &shape_responses);
}
