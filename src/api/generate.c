/* api_gen.c - what runs off the loop when it is large, and POST /v1/completions and
 * /v1/chat/completions: body to a checked request. A job works on its own request's copies; the
 * connection may be gone by then.
 */
#include "http/state.h"

enum { INLINE_BYTES = 16 << 10 };

static void on_work(uv_work_t *w)
{
    struct req *r = w->data;
    r->job(r);
}

static void on_worked(uv_work_t *w, int status)
{
    struct req *r = w->data;
    struct http *h = r->h;
    r->job_pending = false;
    if (status != 0)
        reply_fail(r, ST_DRAINING, "The server is shutting down.");
    else if (!r->dead && !r->completed)
        r->job_done(r);
    req_release(r);
    server_pump(h);
}

/* Inside the handler. `job` may run on the pool: pure, this request's own data and the immutable
 * configuration only. `done` runs on the loop unless the client left. */
void req_job(struct req *r, void (*job)(struct req *), void (*done)(struct req *))
{
    r->started = true;
    if (r->body.n <= INLINE_BYTES) {
        job(r);
        done(r);
        req_sleep(r);
        return;
    }
    r->job = job;
    r->job_done = done;
    r->work.data = r;
    r->job_pending = true;
    if (uv_queue_work(&r->h->loop, &r->work, on_work, on_worked) != 0) {
        r->job_pending = false;
        reply_fail(r, ST_INTERNAL, "The request could not be queued.");
        return;
    }
    req_sleep(r);
}

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
    r->h->m.ignored_parameters += r->g.n_ignored;
    if (r->job_st)
        reply_error(r, &r->job_err);
    else
        gen_start(r);
}

static void generate(struct req *r, bool chat)
{
    r->is_gen = true;
    r->g.chat = chat;
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
