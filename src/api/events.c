/* SPDX-License-Identifier: Apache-2.0 */
/* events.c - the text of answers and events. Everything constant is written once per request; only
 * the delta is new per token. Loop thread.
 */
#include "events.h"

#include "check.h"

#include "cost.h"
#include "json_out.h"
#include "logprobs.h"
#include "scores.h"
#include "shapes.h"
#include "tokenizer.h"
#include "utf8.h"

#include <stdio.h>
#include <string.h>

static void event_prefix(struct stream *s)
{
    struct buf *b = &s->pre;
    const char *fingerprint = s->a->fingerprint;
    out_fmt(b, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", s->object_id,
            !s->g.chat    ? "text_completion"
            : s->g.stream ? "chat.completion.chunk"
                          : "chat.completion",
            (long long)s->created);
    out_json(b, s->g.model, strlen(s->g.model));
    out_str(b, ",\"system_fingerprint\":");
    out_json(b, fingerprint, strlen(fingerprint));
    out_str(b, ",\"choices\":[");
}

void token_id_add(struct choice *c, token_id id)
{
    if (c->s->g.return_ids)
        out_fmt(&c->token_ids, c->token_ids.n ? ",%d" : "%d", id);
}

static void put(struct buf *b, const struct buf *v)
{
    if (v->n)
        buf_add(b, v->p, v->n);
}

/* return_token_ids: those since the last call. */
static void put_token_ids(struct buf *b, struct choice *c)
{
    if (!c->s->g.return_ids)
        return;
    out_str(b, ",\"token_ids\":[");
    put(b, &c->token_ids);
    out_str(b, "]");
    c->token_ids.n = 0;
}

/* The prompt's: beside a choice of completions, once for chat, in streams with the first chunk. */
static void put_prompt_ids(struct buf *b, const struct stream *s, int32_t prompt)
{
    if (!s->g.return_ids)
        return;
    out_str(b, ",\"prompt_token_ids\":[");
    for (size_t i = s->g.first[prompt]; i < s->g.first[prompt + 1]; i++)
        out_fmt(b, i > s->g.first[prompt] ? ",%d" : "%d", s->g.ids.p[i]);
    out_str(b, "]");
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
        const struct view *v = &c->s->g.stop[c->stop_string];
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

static void put_total(struct buf *b, const struct stream *s)
{
    int64_t completion = 0, cached = 0;
    for (int32_t i = 0; i < s->n_choices; i++) {
        completion += s->choice[i].n_tokens;
        if (i % s->g.n_made == 0)
            cached += s->choice[i].n_cached;
    }
    put_usage(b, (int64_t)s->g.ids.n, completion, cached);
}

/* ---- events ---- */

static void chunk_begin(struct stream *s, const struct choice *c)
{
    out_str(&s->r->out, "data: ");
    put(&s->r->out, &s->pre);
    out_fmt(&s->r->out, "{\"index\":%d,", c->index);
}

static void chunk_end(struct stream *s, const struct choice *c)
{
    out_str(&s->r->out, "}]");
    if (s->g.chat && !c->started && !s->prompt_shown) {
        put_prompt_ids(&s->r->out, s, 0);
        s->prompt_shown = true;
    }
    if (s->g.include_usage && s->g.continuous_usage) {
        size_t n = s->g.first[c->prompt + 1] - s->g.first[c->prompt];
        out_str(&s->r->out, ",");
        put_usage(&s->r->out, (int64_t)n, s->g.chat && !c->started ? 0 : c->n_tokens, c->n_cached);
    } else if (s->g.include_usage) {
        out_str(&s->r->out, ",\"usage\":null");
    }
    out_str(&s->r->out, "}\n\n");
}

static void chat_event(struct stream *s, struct choice *c, const struct buf *text, bool last)
{
    struct buf *b = &s->r->out;
    if (!c->started) {
        chunk_begin(s, c);
        out_str(b, "\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,"
                   "\"finish_reason\":null");
        scores_put(b, c);
        chunk_end(s, c);
        c->started = true;
    }
    chunk_begin(s, c);
    out_str(b, "\"delta\":{\"content\":");
    out_json(b, text->p ? text->p : "", text->n);
    out_str(b, "}");
    put_logprobs(b, c);
    put_token_ids(b, c);
    out_str(b, ",\"finish_reason\":null");
    chunk_end(s, c);
    if (!last)
        return;
    chunk_begin(s, c);
    out_str(b, "\"delta\":{},\"logprobs\":null");
    put_finish(b, c);
    put_stop_reason(b, c);
    chunk_end(s, c);
}

static void event_token(struct stream *s, struct choice *c, const struct buf *text, bool last)
{
    if (s->g.chat) {
        chat_event(s, c, text, last);
        return;
    }
    struct buf *b = &s->r->out;
    chunk_begin(s, c);
    out_str(b, "\"text\":");
    out_json(b, text->p ? text->p : "", text->n);
    put_logprobs(b, c);
    put_token_ids(b, c);
    scores_put(b, c);
    if (!c->started)
        put_prompt_ids(b, s, c->prompt);
    c->started = true;
    put_finish(b, c);
    put_stop_reason(b, c);
    chunk_end(s, c);
}

static void event_error(struct stream *s, const struct err *e)
{
    out_str(&s->r->out, "data: ");
    out_error(&s->r->out, e);
    out_str(&s->r->out, "\n\ndata: [DONE]\n\n");
}

static void event_done(struct stream *s)
{
    if (s->g.include_usage) {
        out_str(&s->r->out, "data: ");
        put(&s->r->out, &s->pre);
        out_str(&s->r->out, "],");
        put_total(&s->r->out, s);
        out_str(&s->r->out, "}\n\n");
    }
    out_str(&s->r->out, "data: [DONE]\n\n");
}

static size_t answer_bytes(const struct stream *s)
{
    enum { AROUND = 512 };
    size_t n = s->pre.n + AROUND;
    for (int32_t i = 0; i < s->n_choices; i++) {
        const struct choice *c = &s->choice[i];
        n += cost_json(c->text.p ? c->text.p : "", c->text.n) + AROUND + logprob_bytes(&c->lp) +
             c->token_ids.n + scores_bytes(c) * (s->g.chat ? 2 : 1); /* chat's, once more below */
        if (s->g.return_ids)
            n += 12 * (s->g.first[c->prompt + 1] - s->g.first[c->prompt]);
        if (c->stop_string >= 0)
            n += cost_json(s->g.stop[c->stop_string].p, s->g.stop[c->stop_string].n);
    }
    return n;
}

/* best_of: the choice of a prompt with the highest mean log probability that is not shown yet; else
 * they come as they are. */
static struct choice *next_choice(struct stream *s, int32_t prompt, int32_t k)
{
    struct choice *of = &s->choice[(size_t)prompt * (size_t)s->g.n_made], *best = NULL;
    double most = 0;
    if (s->g.n_made == s->g.n)
        return &of[k];
    for (int32_t i = 0; i < s->g.n_made; i++) {
        double mean = of[i].n_tokens ? of[i].sum_logprob / of[i].n_tokens : 0;
        if (of[i].started || (best && mean <= most))
            continue;
        best = &of[i];
        most = mean;
    }
    CHECK(best); /* asked n times, and n_made >= n were generated */
    best->started = true;
    return best;
}

static void put_choice(struct stream *s, struct choice *c, int64_t index, struct buf *b)
{
    out_fmt(b, "%s{\"index\":%lld,", index ? "," : "", (long long)index);
    out_str(b, s->g.chat ? "\"message\":{\"role\":\"assistant\",\"content\":" : "\"text\":");
    out_json(b, c->text.p ? c->text.p : "", c->text.n);
    out_str(b, s->g.chat ? ",\"refusal\":null}" : "");
    put_logprobs(b, c);
    put_token_ids(b, c);
    scores_put(b, c);
    if (!s->g.chat)
        put_prompt_ids(b, s, c->prompt);
    put_finish(b, c);
    put_stop_reason(b, c);
    out_str(b, "}");
}

static void answer_json(struct stream *s, struct buf *b)
{
    put(b, &s->pre);
    for (int32_t p = 0; p < s->g.n_prompts; p++)
        for (int32_t k = 0; k < s->g.n; k++)
            put_choice(s, next_choice(s, p, k), p * s->g.n + k, b);
    out_str(b, "]");
    if (s->g.chat) {
        put_prompt_ids(b, s, 0);
        scores_put(b, &s->choice[0]);
    }
    out_str(b, ",");
    put_total(b, s);
    out_str(b, "}");
}

const struct shape shape_text = {.id = "cmpl-",
                                 .prefix = event_prefix,
                                 .token = event_token,
                                 .error = event_error,
                                 .done = event_done,
                                 .bytes = answer_bytes,
                                 .answer = answer_json};
const struct shape shape_chat = {.id = "chatcmpl-",
                                 .prefix = event_prefix,
                                 .token = event_token,
                                 .error = event_error,
                                 .done = event_done,
                                 .bytes = answer_bytes,
                                 .answer = answer_json};
