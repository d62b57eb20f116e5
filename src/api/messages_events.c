/* SPDX-License-Identifier: Apache-2.0 */
/* messages_events.c - answers, events and errors of /v1/messages, as Anthropic's clients read them:
 * one text block, named events, no [DONE]. Loop thread.
 */
#include "cost.h"
#include "events.h"
#include "json_out.h"

#include <stdio.h>
#include <string.h>

static void put(struct buf *b, const struct buf *v)
{
    buf_add(b, v->p ? v->p : "", v->n);
}

static void put_prefix(struct stream *s)
{
    struct buf *b = &s->pre;
    out_fmt(b,
            "{\"id\":\"%s\",\"type\":\"message\",\"role\":\"assistant\",\"model\":", s->object_id);
    out_json(b, s->g.model, strlen(s->g.model));
    out_str(b, ",\"content\":[");
}

/* Tokens from the cache are told apart for a client that marked something for caching; to others
 * all of the prompt is input. */
static void put_usage(struct buf *b, const struct stream *s)
{
    const struct choice *c = &s->choice[0];
    int64_t cached = s->g.tell_cached ? c->n_cached : 0;
    out_fmt(b,
            "\"usage\":{\"input_tokens\":%lld,\"cache_creation_input_tokens\":0,"
            "\"cache_read_input_tokens\":%lld,\"output_tokens\":%d}",
            (long long)((int64_t)s->g.ids.n - cached), (long long)cached, (int)c->n_tokens);
}

/* "stop_reason":..,"stop_sequence":.. */
static void put_stop(struct buf *b, const struct stream *s)
{
    const struct choice *c = &s->choice[0];
    if (c->stop_string >= 0) {
        const struct view *v = &s->g.stop[c->stop_string];
        out_str(b, "\"stop_reason\":\"stop_sequence\",\"stop_sequence\":");
        out_json(b, v->p, v->n);
    } else {
        out_fmt(b, "\"stop_reason\":\"%s\",\"stop_sequence\":null",
                strcmp(c->finish, "length") == 0 ? "max_tokens" : "end_turn");
    }
}

static void begin(struct stream *s)
{
    struct buf *b = &s->r->out;
    out_str(b, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":");
    put(b, &s->pre);
    out_str(b, "],\"stop_reason\":null,\"stop_sequence\":null,");
    put_usage(b, s);
    out_str(b, "}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\","
               "\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n"
               "event: ping\ndata: {\"type\":\"ping\"}\n\n");
}

static void put_token(struct stream *s, struct choice *c, const struct buf *text, bool last)
{
    struct buf *b = &s->r->out;
    (void)last;
    if (!c->started)
        begin(s);
    c->started = true;
    if (text->n == 0)
        return;
    out_str(b, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,"
               "\"delta\":{\"type\":\"text_delta\",\"text\":");
    out_json(b, text->p, text->n);
    out_str(b, "}}\n\n");
}

static void put_done(struct stream *s)
{
    struct buf *b = &s->r->out;
    out_str(b, "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
               "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{");
    put_stop(b, s);
    out_str(b, "},");
    put_usage(b, s);
    out_str(b, "}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
}

/* Anthropic's name of what our statuses mean. */
static const char *type_of(int http)
{
    switch (http) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 404:
        return "not_found_error";
    case 408:
    case 504:
        return "timeout_error";
    case 413:
        return "request_too_large";
    case 429:
        return "rate_limit_error";
    case 503:
        return "overloaded_error";
    default:
        return http < 500 ? "invalid_request_error" : "api_error";
    }
}

/* There is no member for the field, so the message names it. */
void messages_error(struct buf *out, const struct req *r, const struct err *e)
{
    char text[sizeof e->param + 2 + sizeof e->msg];
    bool named = !e->param[0] || strstr(e->msg, e->param) != NULL;
    snprintf(text, sizeof text, "%s%s%s", named ? "" : e->param, named ? "" : ": ", e->msg);
    out_fmt(out,
            "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":", type_of(st_http(e->st)));
    out_json(out, text, strlen(text));
    out_fmt(out, "},\"request_id\":\"%s\"}", r->id);
}

static void put_error(struct stream *s, const struct err *e)
{
    out_str(&s->r->out, "event: error\ndata: ");
    messages_error(&s->r->out, s->r, e);
    out_str(&s->r->out, "\n\n");
}

static size_t count_bytes(const struct stream *s)
{
    enum { AROUND = 512 };
    const struct choice *c = &s->choice[0];
    size_t n = s->pre.n + AROUND + cost_json(c->text.p ? c->text.p : "", c->text.n);
    if (c->stop_string >= 0)
        n += cost_json(s->g.stop[c->stop_string].p, s->g.stop[c->stop_string].n);
    return n;
}

static void put_answer(struct stream *s, struct buf *b)
{
    const struct buf *text = &s->choice[0].text;
    put(b, &s->pre);
    out_str(b, "{\"type\":\"text\",\"text\":");
    out_json(b, text->p ? text->p : "", text->n);
    out_str(b, "}],");
    put_stop(b, s);
    out_str(b, ",");
    put_usage(b, s);
    out_str(b, "}");
}

const struct shape shape_messages = {.id = "msg_",
                                     .prefix = put_prefix,
                                     .token = put_token,
                                     .error = put_error,
                                     .done = put_done,
                                     .bytes = count_bytes,
                                     .answer = put_answer};
