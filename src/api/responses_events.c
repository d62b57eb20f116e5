/* SPDX-License-Identifier: Apache-2.0 */
/* responses_events.c - answers and events of /v1/responses: one message with one text. A stream
 * numbers its events and ends with the whole response, so its text is kept meanwhile (cost.c bounds
 * it). Loop thread.
 */
#include "clock.h"
#include "cost.h"
#include "events.h"
#include "json_out.h"

#include <stdio.h>
#include <string.h>

static void put(struct buf *b, const struct buf *v)
{
    buf_add(b, v->p ? v->p : "", v->n);
}

static void put_text(struct buf *b, const struct buf *text)
{
    out_json(b, text->p ? text->p : "", text->n);
}

/* The message's id is the response's with another beginning. */
static void item_id(const struct stream *s, char *out, size_t n)
{
    snprintf(out, n, "msg_%s", s->object_id + strlen(s->shape->id));
}

static void put_prefix(struct stream *s)
{
    struct buf *b = &s->pre;
    out_fmt(b,
            "{\"id\":\"%s\",\"object\":\"response\",\"created_at\":%lld,\"model\":", s->object_id,
            (long long)s->created);
    out_json(b, s->g.model, strlen(s->g.model));
    out_str(b, ",");
    put(b, &s->g.shown);
    out_fmt(b,
            ",\"temperature\":%g,\"top_p\":%g,\"top_logprobs\":0,\"truncation\":\"disabled\","
            "\"background\":false,\"store\":false,\"service_tier\":\"default\","
            "\"previous_response_id\":null,",
            (double)s->g.sample.temperature, (double)s->g.sample.top_p);
}

static void put_part(struct buf *b, const struct buf *text)
{
    out_str(b, "{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":");
    put_text(b, text);
    out_str(b, "}");
}

/* text NULL: it has none yet */
static void put_item(struct buf *b, const struct stream *s, const char *status,
                     const struct buf *text)
{
    char id[64];
    item_id(s, id, sizeof id);
    out_fmt(b,
            "{\"id\":\"%s\",\"type\":\"message\",\"role\":\"assistant\",\"status\":\"%s\","
            "\"content\":[",
            id, status);
    if (text)
        put_part(b, text);
    out_str(b, "]}");
}

static void put_usage(struct buf *b, const struct stream *s)
{
    const struct choice *c = &s->choice[0];
    int64_t input = (int64_t)s->g.ids.n;
    out_fmt(b,
            "\"usage\":{\"input_tokens\":%lld,\"input_tokens_details\":{\"cached_tokens\":%d,"
            "\"cache_write_tokens\":0},\"output_tokens\":%d,\"output_tokens_details\":{"
            "\"reasoning_tokens\":0},\"total_tokens\":%lld}",
            (long long)input, (int)c->n_cached, (int)c->n_tokens, (long long)(input + c->n_tokens));
}

static bool is_cut(const struct stream *s)
{
    return strcmp(s->choice[0].finish, "length") == 0;
}

static const char *end_status(const struct stream *s)
{
    return is_cut(s) ? "incomplete" : "completed";
}

/* The response before it has its output, or (e) when it failed. */
static void put_empty(struct buf *b, const struct stream *s, const struct err *e)
{
    put(b, &s->pre);
    out_fmt(b,
            "\"status\":\"%s\",\"completed_at\":null,\"incomplete_details\":null,\"output\":[],"
            "\"usage\":null,\"error\":",
            e ? "failed" : "in_progress");
    if (e) {
        out_str(b, "{\"code\":\"server_error\",\"message\":");
        out_json(b, e->msg, strlen(e->msg));
        out_str(b, "}}");
    } else {
        out_str(b, "null}");
    }
}

static void put_whole(struct buf *b, const struct stream *s, const struct buf *text)
{
    put(b, &s->pre);
    out_fmt(b, "\"status\":\"%s\",\"error\":null,", end_status(s));
    if (is_cut(s))
        out_str(b, "\"completed_at\":null,"
                   "\"incomplete_details\":{\"reason\":\"max_output_tokens\"},");
    else
        out_fmt(b, "\"completed_at\":%lld,\"incomplete_details\":null,", (long long)clock_unix_s());
    out_str(b, "\"output\":[");
    put_item(b, s, end_status(s), text);
    out_str(b, "],");
    put_usage(b, s);
    out_str(b, "}");
}

/* ---- events ---- */

static struct buf *event_begin(struct stream *s, const char *type)
{
    struct buf *b = &s->r->out;
    out_fmt(b, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%lld,", type, type,
            (long long)s->n_events++);
    return b;
}

/* One about the text. */
static struct buf *text_begin(struct stream *s, const char *type)
{
    char id[64];
    item_id(s, id, sizeof id);
    struct buf *b = event_begin(s, type);
    out_fmt(b, "\"item_id\":\"%s\",\"output_index\":0,\"content_index\":0,", id);
    return b;
}

static void event_end(struct buf *b)
{
    out_str(b, "}\n\n");
}

static void begin(struct stream *s)
{
    static const char *const types[] = {"response.created", "response.in_progress"};
    static const struct buf nothing = {0};
    struct buf *b;
    for (int i = 0; i < 2; i++) {
        b = event_begin(s, types[i]);
        out_str(b, "\"response\":");
        put_empty(b, s, NULL);
        event_end(b);
    }
    b = event_begin(s, "response.output_item.added");
    out_str(b, "\"output_index\":0,\"item\":");
    put_item(b, s, "in_progress", NULL);
    event_end(b);
    b = text_begin(s, "response.content_part.added");
    out_str(b, "\"part\":");
    put_part(b, &nothing);
    event_end(b);
}

static void put_token(struct stream *s, struct choice *c, const struct buf *text, bool last)
{
    (void)last;
    if (!c->started)
        begin(s);
    c->started = true;
    if (text->n == 0)
        return;
    s->whole.soft = true;
    buf_add(&s->whole, text->p, text->n);
    struct buf *b = text_begin(s, "response.output_text.delta");
    out_str(b, "\"logprobs\":[],\"delta\":");
    put_text(b, text);
    event_end(b);
}

static void put_error(struct stream *s, const struct err *e)
{
    struct buf *b = event_begin(s, "error");
    out_fmt(b, "\"code\":\"%s\",\"message\":", st_code(e->st));
    out_json(b, e->msg, strlen(e->msg));
    out_str(b, ",\"param\":null");
    event_end(b);
    b = event_begin(s, "response.failed");
    out_str(b, "\"response\":");
    put_empty(b, s, e);
    event_end(b);
}

enum { AROUND = 1024 }; /* bytes of an event around its text */

static void put_done(struct stream *s)
{
    const struct buf *text = &s->whole;
    size_t bytes = cost_json(text->p ? text->p : "", text->n);
    struct buf *b;
    if (text->oom || !buf_room(&s->r->out, 4 * (bytes + AROUND) + s->pre.n)) {
        struct err e;
        err_set(&e, ST_NOMEM, "This server has no memory left for this request.");
        put_error(s, &e);
        return;
    }
    b = text_begin(s, "response.output_text.done");
    out_str(b, "\"logprobs\":[],\"text\":");
    put_text(b, text);
    event_end(b);
    b = text_begin(s, "response.content_part.done");
    out_str(b, "\"part\":");
    put_part(b, text);
    event_end(b);
    b = event_begin(s, "response.output_item.done");
    out_str(b, "\"output_index\":0,\"item\":");
    put_item(b, s, end_status(s), text);
    event_end(b);
    b = event_begin(s, is_cut(s) ? "response.incomplete" : "response.completed");
    out_str(b, "\"response\":");
    put_whole(b, s, text);
    event_end(b);
}

/* ---- in one piece ---- */

static size_t count_bytes(const struct stream *s)
{
    const struct buf *text = &s->choice[0].text;
    return s->pre.n + AROUND + cost_json(text->p ? text->p : "", text->n);
}

static void put_answer(struct stream *s, struct buf *b)
{
    put_whole(b, s, &s->choice[0].text);
}

const struct shape shape_responses = {.id = "resp_",
                                      .prefix = put_prefix,
                                      .token = put_token,
                                      .error = put_error,
                                      .done = put_done,
                                      .bytes = count_bytes,
                                      .answer = put_answer};
