/* events.c - the text of answers and events. Everything constant is written once per request; only
 * the delta is new per token. Loop thread.
 */
#include "http/state.h"

#include <stdio.h>
#include <string.h>

void event_prefix(struct req *r)
{
    struct buf *b = &r->pre;
    const struct http *h = r->h;
    out_fmt(b, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", r->object_id,
            !r->g.chat    ? "text_completion"
            : r->g.stream ? "chat.completion.chunk"
                          : "chat.completion",
            (long long)r->created);
    out_json(b, r->g.model, strlen(r->g.model));
    out_str(b, ",\"system_fingerprint\":");
    out_json(b, h->fingerprint, strlen(h->fingerprint));
    out_str(b, ",\"choices\":[");
}

/* ---- logprobs ---- */

static int64_t code_points(const char *s, size_t n)
{
    int64_t k = 0;
    for (size_t i = 0; i < n; i++)
        k += ((unsigned char)s[i] & 0xC0) != 0x80;
    return k;
}

/* Token text as a key: its text, or bytes:\xE4 when it is not text by itself. */
static int64_t token_key(struct buf *b, const struct tok *t, token_id id, bool lossy)
{
    struct buf raw = {0}, esc = {0};
    tok_bytes(t, id, &raw);
    const char *p = raw.p ? raw.p : "";
    if (lossy || json_utf8_valid(p, raw.n) == raw.n) {
        out_json(b, p, raw.n);
    } else {
        out_str(&esc, "bytes:");
        for (size_t i = 0; i < raw.n; i++)
            out_fmt(&esc, "\\x%02X", (unsigned char)p[i]);
        out_json(b, esc.p, esc.n);
    }
    int64_t k = esc.n ? (int64_t)esc.n : code_points(p, raw.n);
    buf_free(&raw);
    buf_free(&esc);
    return k;
}

static void chat_entry(struct buf *b, const struct tok *t, token_id id, float v)
{
    struct buf raw = {0};
    tok_bytes(t, id, &raw);
    out_str(b, "{\"token\":");
    out_json(b, raw.p ? raw.p : "", raw.n);
    out_str(b, ",\"logprob\":");
    out_logprob(b, v);
    out_str(b, ",\"bytes\":[");
    for (size_t i = 0; i < raw.n; i++)
        out_fmt(b, i ? ",%u" : "%u", (unsigned char)raw.p[i]);
    out_str(b, "]");
    buf_free(&raw);
}

static void logprob_chat(struct choice *c, const struct out_rec *rec,
                         const struct token_logprob *top)
{
    const struct tok *t = c->r->h->s.tok;
    struct buf *b = &c->lp_a;
    out_str(b, b->n ? "," : "");
    chat_entry(b, t, rec->token, rec->logprob);
    out_str(b, ",\"top_logprobs\":[");
    for (int32_t i = 0; i < rec->n_top && i < c->r->g.n_logprobs; i++) {
        out_str(b, i ? "," : "");
        chat_entry(b, t, top[i].token, top[i].logprob);
        out_str(b, "}");
    }
    out_str(b, "]}");
}

static bool same_text(const struct tok *t, token_id a, token_id b)
{
    struct buf x = {0}, y = {0};
    tok_bytes(t, a, &x);
    tok_bytes(t, b, &y);
    bool same = x.n == y.n && (x.n == 0 || memcmp(x.p, y.p, x.n) == 0);
    buf_free(&x);
    buf_free(&y);
    return same;
}

static void logprob_text(struct choice *c, const struct out_rec *rec,
                         const struct token_logprob *top)
{
    const struct tok *t = c->r->h->s.tok;
    const char *comma = c->lp_a.n ? "," : "";
    out_str(&c->lp_a, comma);
    int64_t k = token_key(&c->lp_a, t, rec->token, false);
    out_str(&c->lp_b, comma);
    out_logprob(&c->lp_b, rec->logprob);
    out_fmt(&c->lp_c, "%s{", comma);
    bool have = false;
    int32_t n = 0;
    for (int32_t i = 0; i < rec->n_top && i < c->r->g.n_logprobs; i++) {
        bool again = false; /* equal texts of different ids: the first is the better one */
        for (int32_t j = 0; j < i && !again; j++)
            again = same_text(t, top[i].token, top[j].token);
        if (again)
            continue;
        have |= top[i].token == rec->token || same_text(t, top[i].token, rec->token);
        out_str(&c->lp_c, n++ ? "," : "");
        token_key(&c->lp_c, t, top[i].token, false);
        out_str(&c->lp_c, ":");
        out_logprob(&c->lp_c, top[i].logprob);
    }
    if (!have) {
        out_str(&c->lp_c, n ? "," : "");
        token_key(&c->lp_c, t, rec->token, false);
        out_str(&c->lp_c, ":");
        out_logprob(&c->lp_c, rec->logprob);
    }
    out_str(&c->lp_c, "}");
    out_fmt(&c->lp_d, "%s%lld", comma, (long long)c->offset);
    c->offset += k;
}

void logprob_add(struct choice *c, const struct out_rec *rec, const struct token_logprob *top)
{
    if (c->r->g.n_logprobs < 0)
        return;
    if (c->r->g.chat)
        logprob_chat(c, rec, top);
    else
        logprob_text(c, rec, top);
}

static void put(struct buf *b, const struct buf *v)
{
    if (v->n)
        buf_add(b, v->p, v->n);
}

/* `,"logprobs":` and what has been collected since the last call. */
static void put_logprobs(struct buf *b, struct choice *c)
{
    if (c->r->g.n_logprobs < 0 || (c->r->g.stream && c->lp_a.n == 0)) {
        out_str(b, ",\"logprobs\":null");
        return;
    }
    if (c->r->g.chat) {
        out_str(b, ",\"logprobs\":{\"content\":[");
        put(b, &c->lp_a);
        out_str(b, "],\"refusal\":null}");
    } else {
        out_str(b, ",\"logprobs\":{\"tokens\":[");
        put(b, &c->lp_a);
        out_str(b, "],\"token_logprobs\":[");
        put(b, &c->lp_b);
        out_str(b, "],\"top_logprobs\":[");
        put(b, &c->lp_c);
        out_str(b, "],\"text_offset\":[");
        put(b, &c->lp_d);
        out_str(b, "]}");
    }
    c->lp_a.n = c->lp_b.n = c->lp_c.n = c->lp_d.n = 0;
}

static void put_finish(struct buf *b, const struct choice *c)
{
    if (c->finish)
        out_fmt(b, ",\"finish_reason\":\"%s\"", c->finish);
    else
        out_str(b, ",\"finish_reason\":null");
}

static void put_stop_reason(struct buf *b, const struct choice *c)
{
    out_str(b, ",\"stop_reason\":");
    if (c->stop_string >= 0) {
        const struct view *v = &c->r->g.stop[c->stop_string];
        out_json(b, v->p, v->n);
    } else if (c->stop_id >= 0) {
        out_fmt(b, "%d", c->stop_id);
    } else {
        out_str(b, "null");
    }
}

/* ---- usage ---- */

static void put_usage(struct buf *b, int64_t prompt, int64_t completion, int64_t cached)
{
    out_fmt(b,
            "\"usage\":{\"prompt_tokens\":%lld,\"completion_tokens\":%lld,\"total_tokens\":%lld,"
            "\"prompt_tokens_details\":{\"cached_tokens\":%lld}}",
            (long long)prompt, (long long)completion, (long long)(prompt + completion),
            (long long)cached);
}

static void put_total(struct buf *b, const struct req *r)
{
    int64_t completion = 0, cached = 0;
    for (int32_t i = 0; i < r->n_choices; i++) {
        completion += r->choice[i].n_tokens;
        if (i % r->g.n == 0)
            cached += r->choice[i].n_cached;
    }
    put_usage(b, (int64_t)r->g.ids.n, completion, cached);
}

/* ---- events ---- */

static void chunk_begin(struct req *r, const struct choice *c)
{
    out_str(&r->out, "data: ");
    put(&r->out, &r->pre);
    out_fmt(&r->out, "{\"index\":%d,", c->index);
}

static void chunk_end(struct req *r, const struct choice *c)
{
    out_str(&r->out, "}]");
    if (r->g.include_usage && r->g.continuous_usage) {
        size_t n = r->g.first[c->prompt + 1] - r->g.first[c->prompt];
        out_str(&r->out, ",");
        put_usage(&r->out, (int64_t)n, c->n_tokens, c->n_cached);
    } else if (r->g.include_usage) {
        out_str(&r->out, ",\"usage\":null");
    }
    out_str(&r->out, "}\n\n");
}

static void chat_event(struct req *r, struct choice *c, const struct buf *text, bool last)
{
    struct buf *b = &r->out;
    if (!c->started) {
        chunk_begin(r, c);
        out_str(b, "\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,"
                   "\"finish_reason\":null");
        chunk_end(r, c);
        c->started = true;
    }
    chunk_begin(r, c);
    out_str(b, "\"delta\":{\"content\":");
    out_json(b, text->p ? text->p : "", text->n);
    out_str(b, "}");
    put_logprobs(b, c);
    out_str(b, ",\"finish_reason\":null");
    chunk_end(r, c);
    if (!last)
        return;
    chunk_begin(r, c);
    out_str(b, "\"delta\":{},\"logprobs\":null");
    put_finish(b, c);
    put_stop_reason(b, c);
    chunk_end(r, c);
}

/* The answered part of r->out is dropped before it grows, so a long stream stays small. */
static void compact(struct req *r)
{
    if (r->out_at == 0)
        return;
    memmove(r->out.p, r->out.p + r->out_at, r->out.n - r->out_at);
    r->out.n -= r->out_at;
    r->out_at = 0;
}

void event_token(struct req *r, struct choice *c, const struct buf *text, bool last)
{
    compact(r);
    if (r->g.chat) {
        chat_event(r, c, text, last);
        return;
    }
    struct buf *b = &r->out;
    chunk_begin(r, c);
    out_str(b, "\"text\":");
    out_json(b, text->p ? text->p : "", text->n);
    put_logprobs(b, c);
    put_finish(b, c);
    put_stop_reason(b, c);
    chunk_end(r, c);
}

void event_done(struct req *r)
{
    if (r->g.include_usage) {
        out_str(&r->out, "data: ");
        put(&r->out, &r->pre);
        out_str(&r->out, "],");
        put_total(&r->out, r);
        out_str(&r->out, "}\n\n");
    }
    out_str(&r->out, "data: [DONE]\n\n");
}

void answer_json(struct req *r, struct buf *b)
{
    put(b, &r->pre);
    for (int32_t i = 0; i < r->n_choices; i++) {
        struct choice *c = &r->choice[i];
        out_fmt(b, "%s{\"index\":%d,", i ? "," : "", c->index);
        out_str(b, r->g.chat ? "\"message\":{\"role\":\"assistant\",\"content\":" : "\"text\":");
        out_json(b, c->text.p ? c->text.p : "", c->text.n);
        out_str(b, r->g.chat ? ",\"refusal\":null}" : "");
        put_logprobs(b, c);
        put_finish(b, c);
        put_stop_reason(b, c);
        out_str(b, "}");
    }
    out_str(b, "],");
    put_total(b, r);
    out_str(b, "}");
}
