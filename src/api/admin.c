/* SPDX-License-Identifier: Apache-2.0 */
/* admin.c - models, health, version and metrics. Nothing here waits for the engine: states are
 * atomics or the last copied statistics.
 */
#include "admin.h"

#include "fields.h"
#include "json_out.h"
#include "life.h"
#include "reply.h"
#include "shapes.h"
#include "tenant.h"

#include <string.h>

static const char no_memory[] = "This server has no memory left for this request.";

static void send_json(struct req *r, int status, struct buf *b)
{
    if (b->oom)
        reply_fail(r, ST_NOMEM, no_memory);
    else
        reply(r, status, "application/json", b->p, b->n);
    buf_free(b);
}

static void put_model(const struct api *a, struct buf *b, const char *name, bool one)
{
    const struct api_service *s = &a->s;
    bool ready = life_ready(a);
    out_str(b, "{\"id\":");
    out_json(b, name, strlen(name));
    out_fmt(b, ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"quire\",\"root\":",
            (long long)(ready ? s->created_unix_s : a->start_unix_s));
    out_json(b, a->names.v[0], strlen(a->names.v[0]));
    out_str(b, ",\"parent\":null,\"max_model_len\":");
    if (ready)
        out_fmt(b, "%d", s->limits.max_model_len);
    else
        out_str(b, "null");
    out_str(b, ",\"permission\":[]");
    if (one && ready)
        out_fmt(b,
                ",\"generation_defaults\":{\"temperature\":%g,\"top_p\":%g,\"top_k\":%d,"
                "\"min_p\":%g,\"repetition_penalty\":%g}",
                s->temperature >= 0 ? s->temperature : 1.0, s->top_p >= 0 ? s->top_p : 1.0,
                s->top_k >= 0 ? s->top_k : 0, s->min_p >= 0 ? s->min_p : 0.0,
                s->repetition > 0 ? s->repetition : 1.0);
    out_str(b, "}");
}

void api_models(struct req *r)
{
    const struct api *a = r->service;
    struct buf b = {.soft = true};
    out_str(&b, "{\"object\":\"list\",\"data\":[");
    for (int32_t i = 0; i < a->names.n; i++) {
        out_str(&b, i ? "," : "");
        put_model(a, &b, a->names.v[i], false);
    }
    out_str(&b, "]}");
    send_json(r, 200, &b);
}

void api_model(struct req *r)
{
    const struct api *a = r->service;
    struct buf b = {.soft = true};
    struct err e;
    if (!model_is_served(&a->names, r->tail, strlen(r->tail))) {
        err_param(&e, ST_MODEL_NOT_FOUND, "model", "The model '%.64s' does not exist.", r->tail);
        reply_error(r, &e);
        return;
    }
    put_model(a, &b, r->tail, true);
    send_json(r, 200, &b);
}

static void not_ready(struct req *r)
{
    struct api *a = r->service;
    struct buf b = {.soft = true};
    struct err e;
    int load = atomic_load(&a->life.load);
    const char *phase = atomic_load(&a->life.phase);
    if (load == LOAD_FAILED) {
        err_set(&e, ST_ENGINE_DOWN, "The model could not be loaded: %s.",
                phase ? phase : "unknown");
        reply_error(r, &e);
        return;
    }
    if (load == LOAD_READY) {
        reply_fail(r, ST_ENGINE_DOWN, "The engine is not available.");
        return;
    }
    err_set(&e, ST_LOADING, "The model is still loading.");
    out_error(&b, &e);
    b.n -= b.n > 0; /* the closing brace: two more keys */
    out_str(&b, ",\"phase\":");
    out_json(&b, phase ? phase : "start", strlen(phase ? phase : "start"));
    out_fmt(&b, ",\"progress\":%.6g}", atomic_load(&a->life.progress_ppm) * 1e-6);
    r->retry_after = life_retry(a, ST_LOADING);
    send_json(r, 503, &b);
}

static void ok(struct req *r)
{
    reply(r, 200, "application/json", "{\"status\":\"ok\"}", 15);
}

void api_health(struct req *r)
{
    if (life_serves(r->service))
        ok(r);
    else
        not_ready(r);
}

void api_ready(struct req *r)
{
    if (!life_serves(r->service))
        not_ready(r);
    else if (http_stage_now(r->http) != HTTP_SERVE)
        reply_fail(r, ST_DRAINING, "The server is shutting down.");
    else
        ok(r);
}

void api_live(struct req *r)
{
    const struct api *a = r->service;
    if (atomic_load(&a->life.load) == LOAD_LOADING || life_serves(a))
        ok(r);
    else
        not_ready(r);
}

void api_version(struct req *r)
{
    struct buf b = {.soft = true};
#ifdef NDEBUG
    const char *build = "release";
#else
    const char *build = "debug";
#endif
    out_fmt(&b, "{\"version\":\"%s\",\"build\":\"%s\"}", QUIRE_VERSION, build);
    send_json(r, 200, &b);
}

void api_metrics(struct req *r)
{
    static const char type[] = "text/plain; version=0.0.4; charset=utf-8";
    struct buf b = {.soft = true};
    bool whole = metrics_text(r->service, &b);
    tenant_metrics(r->service, r->who, &b);
    if (whole && !b.oom)
        reply(r, 200, type, b.p, b.n);
    else
        reply_fail(r, ST_NOMEM, no_memory);
    buf_free(&b);
}
