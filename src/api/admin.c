/* api_admin.c - models, health, version, metrics, tokenize and detokenize. Nothing here waits for
 * the engine: states are atomics or the last copied statistics.
 */
#include "http/state.h"

#include "clock.h"

#include <stdlib.h>
#include <string.h>

static void send_buf(struct req *r, int status, const char *ctype, struct buf *b)
{
    reply(r, status, ctype, b->p ? b->p : "", b->n);
    buf_free(b);
}

static void put_model(struct http *h, struct buf *b, const char *name, bool one)
{
    bool ready = atomic_load(&h->load) == LOAD_READY;
    out_str(b, "{\"id\":");
    out_json(b, name, strlen(name));
    out_fmt(b, ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"quire\",\"root\":",
            (long long)(ready ? h->s.created_unix_s : h->start_unix_s));
    out_json(b, h->c.served_names[0], strlen(h->c.served_names[0]));
    out_str(b, ",\"parent\":null,\"max_model_len\":");
    if (ready)
        out_fmt(b, "%d", h->s.ec.max_model_len);
    else
        out_str(b, "null");
    out_str(b, ",\"permission\":[]");
    if (one && ready)
        out_fmt(b,
                ",\"generation_defaults\":{\"temperature\":%g,\"top_p\":%g,\"top_k\":%d,"
                "\"min_p\":%g}",
                h->s.temperature >= 0 ? h->s.temperature : 1.0, h->s.top_p >= 0 ? h->s.top_p : 1.0,
                h->s.top_k >= 0 ? h->s.top_k : 0, h->s.min_p >= 0 ? h->s.min_p : 0.0);
    out_str(b, "}");
}

void api_models(struct req *r)
{
    struct buf b = {0};
    out_str(&b, "{\"object\":\"list\",\"data\":[");
    for (int32_t i = 0; i < r->h->c.n_served_names; i++) {
        out_str(&b, i ? "," : "");
        put_model(r->h, &b, r->h->c.served_names[i], false);
    }
    out_str(&b, "]}");
    send_buf(r, 200, "application/json", &b);
}

void api_model(struct req *r)
{
    struct buf b = {0};
    struct err e;
    const char *name = route_tail(r);
    if (!model_is_served(&r->h->c, name, strlen(name))) {
        err_param(&e, ST_MODEL_NOT_FOUND, "model", "The model '%.64s' does not exist.", name);
        reply_error(r, &e);
        return;
    }
    put_model(r->h, &b, name, true);
    send_buf(r, 200, "application/json", &b);
}

static void not_ready(struct req *r)
{
    struct http *h = r->h;
    struct buf b = {0};
    struct err e;
    int load = atomic_load(&h->load);
    if (load == LOAD_FAILED) {
        const char *why = atomic_load(&h->phase);
        err_set(&e, ST_ENGINE_DOWN, "The model could not be loaded: %s.", why ? why : "unknown");
        reply_error(r, &e);
        return;
    }
    if (load == LOAD_READY) {
        reply_fail(r, ST_ENGINE_DOWN, "The engine is not available.");
        return;
    }
    err_set(&e, ST_LOADING, "The model is still loading.");
    out_error(&b, &e);
    b.n--; /* the closing brace: two more keys */
    const char *phase = atomic_load(&h->phase);
    out_str(&b, ",\"phase\":");
    out_json(&b, phase ? phase : "start", strlen(phase ? phase : "start"));
    out_fmt(&b, ",\"progress\":%.6g}", atomic_load(&h->progress_ppm) * 1e-6);
    r->retry_after = 2;
    send_buf(r, 503, "application/json", &b);
}

static void ok(struct req *r)
{
    reply(r, 200, "application/json", "{\"status\":\"ok\"}", 15);
}

static bool engine_serves(struct req *r)
{
    return atomic_load(&r->h->load) == LOAD_READY && server_engine_ok(r->h);
}

void api_health(struct req *r)
{
    if (engine_serves(r))
        ok(r);
    else
        not_ready(r);
}

void api_ready(struct req *r)
{
    if (!engine_serves(r))
        not_ready(r);
    else if (r->h->run != RUN_SERVE)
        reply_fail(r, ST_DRAINING, "The server is shutting down.");
    else
        ok(r);
}

void api_live(struct req *r)
{
    if (atomic_load(&r->h->load) == LOAD_LOADING || engine_serves(r))
        ok(r);
    else
        not_ready(r);
}

void api_version(struct req *r)
{
    struct buf b = {0};
#ifdef NDEBUG
    const char *build = "release";
#else
    const char *build = "debug";
#endif
    out_fmt(&b, "{\"version\":\"%s\",\"build\":\"%s\"}", QUIRE_VERSION, build);
    send_buf(r, 200, "application/json", &b);
}

void api_metrics(struct req *r)
{
    struct buf b = {0};
    metrics_text(r->h, &b);
    send_buf(r, 200, "text/plain; version=0.0.4; charset=utf-8", &b);
}

/* ---- tokenize ---- */

static int bool_field(const struct jdoc *d, const char *key, bool dflt, bool *out, struct err *e)
{
    const struct jval *v = json_get(d, &d->v[0], key);
    *out = dflt;
    if (!v || v->type == J_NULL)
        return 0;
    if (v->type != J_BOOL)
        return err_param(e, ST_INVALID_TYPE, key, "'%s' must be a boolean, but it is %s.", key,
                         json_type_name(v));
    *out = v->boolean;
    return 0;
}

static void put_ids(struct buf *b, const struct ids *ids)
{
    out_str(b, "[");
    for (size_t i = 0; i < ids->n; i++)
        out_fmt(b, i ? ",%d" : "%d", ids->p[i]);
    out_str(b, "]");
}

/* llama.cpp's dialect: `content`. */
static int tokenize_content(struct http *h, const struct jdoc *d, const struct jval *v,
                            struct buf *b, struct err *e)
{
    bool special = false, parse = true, pieces = false;
    struct ids ids = {0};
    int st = bool_field(d, "add_special", false, &special, e);
    st = st ? st : bool_field(d, "parse_special", true, &parse, e);
    st = st ? st : bool_field(d, "with_pieces", false, &pieces, e);
    if (st == 0)
        st = tok_encode(h->s.tok, v->s, v->n,
                        (special ? TOK_SPECIAL : 0) | (parse ? TOK_PARSE_SPECIAL : 0), &ids, e);
    out_str(b, "{\"tokens\":");
    if (!pieces)
        put_ids(b, &ids);
    else
        out_str(b, "[");
    for (size_t i = 0; pieces && i < ids.n; i++) {
        struct buf raw = {0};
        tok_bytes(h->s.tok, ids.p[i], &raw);
        out_fmt(b, "%s{\"id\":%d,\"piece\":", i ? "," : "", ids.p[i]);
        if (json_utf8_valid(raw.p ? raw.p : "", raw.n) == raw.n) {
            out_json(b, raw.p ? raw.p : "", raw.n);
        } else {
            for (size_t k = 0; k < raw.n; k++)
                out_fmt(b, k ? ",%u" : "[%u", (unsigned char)raw.p[k]);
            out_str(b, "]");
        }
        out_str(b, "}");
        buf_free(&raw);
    }
    out_str(b, pieces ? "]}" : "}");
    ids_free(&ids);
    return st;
}

static int tokenize_vllm(struct http *h, const struct jdoc *d, const struct jval *prompt,
                         struct buf *b, struct err *e)
{
    bool special = false, strs = false, gen = true;
    struct ids ids = {0};
    int st = bool_field(d, "add_special_tokens", prompt != NULL, &special, e);
    st = st ? st : bool_field(d, "return_token_strs", false, &strs, e);
    st = st ? st : bool_field(d, "add_generation_prompt", true, &gen, e);
    if (st == 0)
        st = prompt ? prompt_text(&h->c, &h->s, prompt, special, "prompt", &ids, e)
                    : prompt_messages(&h->c, &h->s, d, gen, special, &ids, e);
    out_fmt(b, "{\"count\":%zu,\"max_model_len\":%d,\"tokens\":", ids.n, h->s.ec.max_model_len);
    put_ids(b, &ids);
    out_str(b, ",\"token_strs\":");
    out_str(b, strs ? "[" : "null");
    for (size_t i = 0; strs && i < ids.n; i++) {
        size_t n;
        const char *s = tok_string(h->s.tok, ids.p[i], &n);
        out_str(b, i ? "," : "");
        out_json(b, s ? s : "", s ? n : 0);
    }
    out_str(b, strs ? "]}" : "}");
    ids_free(&ids);
    return st;
}

static const struct jval *given(const struct jdoc *d, const char *key)
{
    const struct jval *v = json_get(d, &d->v[0], key);
    return v && v->type != J_NULL ? v : NULL;
}

static int tokenize(struct http *h, const struct jdoc *d, struct buf *b, struct err *e)
{
    char name[256];
    const struct jval *p = given(d, "prompt"), *m = given(d, "messages"), *c = given(d, "content");
    int st = model_check(json_get(d, &d->v[0], "model"), &h->c, name, e);
    if (st)
        return st;
    if (!p + !m + !c == 3)
        return err_param(e, ST_MISSING, "prompt", "'prompt' is required.");
    if (!p + !m + !c != 2)
        return err_param(e, ST_INVALID_COMBINATION, "prompt",
                         "Give one of 'prompt', 'messages' and 'content'.");
    const struct jval *v = p ? p : m ? m : c;
    const char *key = p ? "prompt" : m ? "messages" : "content";
    if (v->type != (m ? J_ARR : J_STR))
        return err_param(e, ST_INVALID_TYPE, key, "'%s' must be %s, but it is %s.", key,
                         m ? "an array" : "a string", json_type_name(v));
    return c ? tokenize_content(h, d, c, b, e) : tokenize_vllm(h, d, p, b, e);
}

static bool wants_content(const char *query)
{
    for (; *query; query += strcspn(query, "&"), query += *query == '&')
        if (strncmp(query, "content=1", 9) == 0 && strchr("&#", query[9]))
            return true;
    return false;
}

static int detokenize(struct req *r, const struct jdoc *d, struct buf *b, struct err *e)
{
    struct http *h = r->h;
    char name[256];
    struct ids ids = {0};
    struct buf text = {0};
    const struct jval *v = given(d, "tokens");
    const char *q = strchr(r->uri, '?');
    int st = model_check(json_get(d, &d->v[0], "model"), &h->c, name, e);
    if (st)
        return st;
    if (!v)
        return err_param(e, ST_MISSING, "tokens", "'tokens' is required.");
    if (v->type != J_ARR)
        return err_param(e, ST_INVALID_TYPE, "tokens", "'tokens' must be an array, but it is %s.",
                         json_type_name(v));
    st = prompt_ids(d, v, tok_vocab(h->s.tok), "tokens", &ids, e);
    if (st == 0 && ids.n)
        tok_decode(h->s.tok, ids.p, ids.n, false, &text);
    out_str(b, q && wants_content(q + 1) ? "{\"content\":" : "{\"prompt\":");
    out_json(b, text.p ? text.p : "", text.n);
    out_str(b, "}");
    ids_free(&ids);
    buf_free(&text);
    return st;
}

static void token_job(struct req *r, bool back)
{
    struct jdoc d;
    int st = json_parse(&d, r->body.p ? r->body.p : "", r->body.n, &r->job_err);
    if (st == 0) {
        if (d.v[0].type != J_OBJ)
            st = err_set(&r->job_err, ST_INVALID_TYPE, "The body must be a JSON object.");
        else
            st = back ? detokenize(r, &d, &r->job_out, &r->job_err)
                      : tokenize(r->h, &d, &r->job_out, &r->job_err);
        json_free(&d);
    }
    r->job_st = r->job_err.st = st;
}

static void tokenize_job(struct req *r)
{
    token_job(r, false);
}

static void detokenize_job(struct req *r)
{
    token_job(r, true);
}

static void token_done(struct req *r)
{
    if (r->job_st)
        reply_error(r, &r->job_err);
    else
        send_buf(r, 200, "application/json", &r->job_out);
}

void api_tokenize(struct req *r)
{
    req_job(r, tokenize_job, token_done);
}

void api_detokenize(struct req *r)
{
    req_job(r, detokenize_job, token_done);
}
