/* api_gen.c - POST /v1/completions and /v1/chat/completions: body to a checked request, on the pool
 * when it is large. The job works on its own request's copies; the connection may be gone by then.
 */
#include "server.h"

enum { INLINE_BYTES = 16 << 10 };

static void prepare(struct req *r)
{
    r->job_st = genreq_make(&r->g, r->g.chat, r->body.p ? r->body.p : "", r->body.n, &r->h->c,
                            &r->h->s, &r->job_err);
    if (r->job_st)
        r->job_err.st = r->job_st;
    buf_free(&r->body);
}

static void prepared(struct req *r)
{
    if (r->dead || r->completed)
        return;
    r->h->m.ignored_parameters += r->g.n_ignored;
    if (r->job_st)
        reply_error(r, &r->job_err);
    else
        gen_start(r);
}

static void on_work(uv_work_t *w)
{
    prepare(w->data);
}

static void on_worked(uv_work_t *w, int status)
{
    struct req *r = w->data;
    struct http *h = r->h;
    r->job_pending = false;
    if (status == 0)
        prepared(r);
    else
        reply_fail(r, ST_DRAINING, "The server is shutting down.");
    req_release(r);
    server_pump(h);
}

static void generate(struct req *r, bool chat)
{
    r->is_gen = true;
    r->g.chat = chat;
    if (r->body.n <= INLINE_BYTES) {
        prepare(r);
        prepared(r);
        req_sleep(r);
        return;
    }
    r->work.data = r;
    r->job_pending = true;
    if (uv_queue_work(&r->h->loop, &r->work, on_work, on_worked) != 0) {
        r->job_pending = false;
        reply_fail(r, ST_INTERNAL, "The request could not be queued.");
        return;
    }
    req_sleep(r);
}

void api_completions(struct req *r)
{
    generate(r, false);
}

void api_chat(struct req *r)
{
    generate(r, true);
}
