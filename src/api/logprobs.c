/* SPDX-License-Identifier: Apache-2.0 */
/* logprobs.c - see logprobs.h. Two shapes: completions' four arrays side by side, and chat's list
 * of objects.
 */
#include "logprobs.h"

#include "json_out.h"
#include "scores.h"
#include "shapes.h"
#include "tokenizer.h"
#include "utf8.h"

#include <string.h>

static void put_byte(struct buf *b, unsigned v, bool comma)
{
    char t[4] = {',', (char)('0' + v / 100), (char)('0' + v / 10 % 10), (char)('0' + v % 10)};
    int skip = v >= 100 ? 1 : v >= 10 ? 2 : 3;
    if (comma)
        t[--skip] = ',';
    buf_add(b, t + skip, sizeof t - (size_t)skip);
}

/* Token text as a key: its text, or bytes:\xE4 when it is not text by itself. */
static void put_key(struct buf *b, struct view raw)
{
    static const char hex[] = "0123456789ABCDEF";
    if (utf8_valid_prefix(raw.p, raw.n) == raw.n) {
        out_json(b, raw.p, raw.n);
        return;
    }
    out_str(b, "\"bytes:");
    for (size_t i = 0; i < raw.n; i++) {
        unsigned char c = (unsigned char)raw.p[i];
        char t[5] = {'\\', '\\', 'x', hex[c >> 4], hex[c & 15]}; /* the escape of \xE4 */
        buf_add(b, t, sizeof t);
    }
    out_str(b, "\"");
}

void token_key(struct buf *b, const struct stream *s, token_id id)
{
    if (s->g.ids_as_texts)
        out_fmt(b, "\"token_id:%d\"", id);
    else
        put_key(b, tok_view(s->a->s.tok, id));
}

static void chat_entry(struct buf *b, const struct stream *s, token_id id, float v)
{
    struct view raw = tok_view(s->a->s.tok, id);
    out_str(b, "{\"token\":");
    if (s->g.ids_as_texts)
        out_fmt(b, "\"token_id:%d\"", id);
    else
        out_json(b, raw.p, raw.n);
    out_str(b, ",\"logprob\":");
    out_logprob(b, v);
    out_str(b, ",\"bytes\":[");
    for (size_t i = 0; i < raw.n; i++)
        put_byte(b, (unsigned char)raw.p[i], i > 0);
    out_str(b, "]");
}

static void logprob_chat(struct choice *c, const struct out_rec *rec,
                         const struct token_logprob *top)
{
    struct buf *b = &c->lp.tokens;
    out_str(b, b->n ? "," : "");
    chat_entry(b, c->s, rec->token, rec->logprob);
    out_str(b, ",\"top_logprobs\":[");
    for (int32_t i = 0; i < rec->n_top && i < c->s->g.n_logprobs; i++) {
        out_str(b, i ? "," : "");
        chat_entry(b, c->s, top[i].token, top[i].logprob);
        out_str(b, "}");
    }
    out_str(b, "]}");
}

static bool same_text(struct view x, struct view y)
{
    return x.n == y.n && memcmp(x.p, y.p, x.n) == 0;
}

static void put_top(struct buf *b, const struct stream *s, token_id id, float v, bool first)
{
    out_str(b, first ? "" : ",");
    token_key(b, s, id);
    out_str(b, ":");
    out_logprob(b, v);
}

/* {key: log probability} of the best n_top, and of the token itself. Equal texts of different ids
 * are one key: the first is the better one. */
static void put_tops(struct buf *b, const struct stream *s, const struct out_rec *rec,
                     const struct token_logprob *top, int32_t n_top)
{
    struct view text[MAX_LOGPROBS], own = tok_view(s->a->s.tok, rec->token);
    bool ids = s->g.ids_as_texts; /* then every key is another */
    bool have = false;
    int32_t n = 0; /* keys so far */
    out_str(b, "{");
    for (int32_t i = 0; i < n_top && i < MAX_LOGPROBS; i++) {
        bool again = false;
        text[n] = tok_view(s->a->s.tok, top[i].token);
        for (int32_t j = 0; j < n && !again && !ids; j++)
            again = same_text(text[j], text[n]);
        if (again)
            continue;
        have |= top[i].token == rec->token || (!ids && same_text(text[n], own));
        put_top(b, s, top[i].token, top[i].logprob, n == 0);
        n++;
    }
    if (!have)
        put_top(b, s, rec->token, rec->logprob, n == 0);
    out_str(b, "}");
}

void logprob_text(struct lp *to, const struct stream *s, int64_t offset, const struct out_rec *rec,
                  const struct token_logprob *top, int32_t most)
{
    const char *comma = to->tokens.n ? "," : "";
    out_str(&to->tokens, comma);
    token_key(&to->tokens, s, rec->token);
    out_str(&to->token_logprobs, comma);
    out_logprob(&to->token_logprobs, rec->logprob);
    out_str(&to->top_logprobs, comma);
    put_tops(&to->top_logprobs, s, rec, top, rec->n_top < most ? rec->n_top : most);
    out_fmt(&to->text_offset, "%s%lld", comma, (long long)offset);
}

void logprob_add(struct choice *c, const struct out_rec *rec, const struct token_logprob *top)
{
    if (c->s->g.n_logprobs < 0)
        return;
    if (c->s->g.chat)
        logprob_chat(c, rec, top);
    else
        logprob_text(&c->lp, c->s, c->offset, rec, top, c->s->g.n_logprobs);
}

/* One of the arrays: the prompt's part, then what was generated. */
static void put_array(struct buf *b, const char *name, const struct buf *prompt,
                      const struct buf *made)
{
    out_str(b, name);
    if (prompt)
        buf_add(b, prompt->p, prompt->n);
    if (prompt && prompt->n && made->n)
        out_str(b, ",");
    buf_add(b, made->p, made->n);
    out_str(b, "]");
}

void put_logprobs(struct buf *b, struct choice *c)
{
    const struct genreq *g = &c->s->g;
    const struct scores *due = g->echo ? scores_due(c) : NULL;
    if (g->n_logprobs < 0 || (g->stream && c->lp.tokens.n == 0 && !due)) {
        out_str(b, ",\"logprobs\":null");
        return;
    }
    if (g->chat) {
        put_array(b, ",\"logprobs\":{\"content\":[", NULL, &c->lp.tokens);
        out_str(b, ",\"refusal\":null}");
    } else {
        put_array(b, ",\"logprobs\":{\"tokens\":[", due ? &due->echo.tokens : NULL, &c->lp.tokens);
        put_array(b, ",\"token_logprobs\":[", due ? &due->echo.token_logprobs : NULL,
                  &c->lp.token_logprobs);
        put_array(b, ",\"top_logprobs\":[", due ? &due->echo.top_logprobs : NULL,
                  &c->lp.top_logprobs);
        put_array(b, ",\"text_offset\":[", due ? &due->echo.text_offset : NULL, &c->lp.text_offset);
        out_str(b, "}");
    }
    c->lp.tokens.n = c->lp.token_logprobs.n = c->lp.top_logprobs.n = c->lp.text_offset.n = 0;
}

size_t logprob_bytes(const struct lp *lp)
{
    return lp->tokens.n + lp->token_logprobs.n + lp->top_logprobs.n + lp->text_offset.n;
}

/* Held bytes that it does
 * not go on with became U+FFFD (each of them stands at the beginning of `raw`, and they are no more
 * than a flush before it would have given). A character in several tokens begins at the first one's
 * place. */
void logprob_place(int64_t *offset, int64_t *emitted, const struct detok *before,
                   const struct buf *raw)
{
    static const char lost[] = "\xEF\xBF\xBD";
    int64_t at = *emitted, most = 0;
    if (before->n_hold) {
        struct detok d = *before;
        struct buf flushed = {0};
        detok_flush(&d, &flushed);
        most = (int64_t)utf8_count(flushed.p ? flushed.p : "", flushed.n);
        buf_free(&flushed);
    }
    for (size_t i = 0; most > 0 && i + 3 <= raw->n && memcmp(raw->p + i, lost, 3) == 0; i += 3) {
        at++;
        most--;
    }
    *offset = at;
    *emitted += (int64_t)utf8_count(raw->p ? raw->p : "", raw->n);
}
