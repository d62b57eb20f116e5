/* SPDX-License-Identifier: Apache-2.0 */
/* scores.c - see scores.h. The first token of a prompt has nothing before it that could say how
 * likely it was: its entry is null. The buffers are soft, so that what does not fit into memory
 * ends the request. */
#include "scores.h"

#include "json_out.h"
#include "logprobs.h"
#include "shapes.h"
#include "tokenizer.h"

#include <stdlib.h>

static bool wants_echo(const struct genreq *g)
{
    return g->echo && g->n_logprobs >= 0;
}

static bool wants_list(const struct genreq *g)
{
    return g->prompt_logprobs >= 0;
}

/* The offset of token t of the prompt of p. */
static int64_t place(struct scores *p, struct buf *raw, token_id t)
{
    const struct detok before = p->detok;
    int64_t offset;
    raw->n = 0;
    detok_push(&p->detok, t, raw);
    logprob_place(&offset, &p->emitted, &before, raw);
    return offset;
}

static void add_first(struct stream *s, struct scores *p, token_id t)
{
    if (wants_list(&s->g))
        out_str(&p->list, "null");
    if (!wants_echo(&s->g))
        return;
    token_key(&p->echo.tokens, s, t);
    out_str(&p->echo.token_logprobs, "null");
    out_str(&p->echo.top_logprobs, "null");
    out_fmt(&p->echo.text_offset, "%lld", (long long)place(p, &s->a->scratch, t));
}

bool scores_open(struct stream *s)
{
    const struct genreq *g = &s->g;
    if (g->scores == 0)
        return true;
    s->scores = calloc((size_t)g->n_prompts, sizeof *s->scores);
    for (int32_t i = 0; s->scores && i < g->n_prompts; i++) {
        struct scores *p = &s->scores[i];
        p->echo.tokens.soft = p->echo.token_logprobs.soft = p->echo.top_logprobs.soft =
            p->echo.text_offset.soft = p->list.soft = true;
        p->left = (int32_t)(g->first[i + 1] - g->first[i]) - 1;
        detok_init(&p->detok, s->a->s.tok, g->skip_special);
        add_first(s, p, g->ids.p[g->first[i]]);
    }
    return s->scores != NULL;
}

void scores_free(struct stream *s)
{
    for (int32_t i = 0; s->scores && i < s->g.n_prompts; i++) {
        struct scores *p = &s->scores[i];
        buf_free(&p->echo.tokens);
        buf_free(&p->echo.token_logprobs);
        buf_free(&p->echo.top_logprobs);
        buf_free(&p->echo.text_offset);
        buf_free(&p->list);
    }
    free(s->scores);
}

/* "ID":{"logprob":V,"rank":R,"decoded_token":TEXT} */
static void list_entry(struct buf *b, const struct stream *s, token_id id, float v, int32_t rank)
{
    out_fmt(b, "\"%d\":{\"logprob\":", id);
    out_logprob(b, v);
    out_fmt(b, ",\"rank\":%d,\"decoded_token\":", rank);
    if (s->g.ids_as_texts) {
        out_fmt(b, "\"token_id:%d\"}", id);
        return;
    }
    struct view raw = tok_view(s->a->s.tok, id);
    out_json(b, raw.p, raw.n);
    out_str(b, "}");
}

/* The token's own entry, then the best without it. */
static void list_add(struct buf *b, const struct stream *s, const struct out_rec *rec,
                     const struct token_logprob *top)
{
    out_str(b, ",{");
    list_entry(b, s, rec->token, rec->logprob, rec->rank);
    for (int32_t i = 0; i < rec->n_top && i < s->g.prompt_logprobs; i++) {
        if (top[i].token == rec->token)
            continue;
        out_str(b, ",");
        list_entry(b, s, top[i].token, top[i].logprob, i + 1);
    }
    out_str(b, "}");
}

bool scores_add(const struct choice *c, const struct out_rec *rec, const struct token_logprob *top)
{
    struct stream *s = c->s;
    struct scores *p = &s->scores[c->prompt];
    p->left--;
    if (wants_echo(&s->g)) {
        int64_t offset = place(p, &s->a->scratch, rec->token);
        logprob_text(&p->echo, s, offset, rec, top, s->g.n_logprobs);
    }
    if (wants_list(&s->g))
        list_add(&p->list, s, rec, top);
    return !(p->list.oom || p->echo.tokens.oom || p->echo.token_logprobs.oom ||
             p->echo.top_logprobs.oom || p->echo.text_offset.oom);
}

bool scores_pending(const struct choice *c)
{
    return c->s->scores && c->s->scores[c->prompt].left > 0;
}

const struct scores *scores_due(const struct choice *c)
{
    const struct stream *s = c->s;
    return s->scores && (!s->g.stream || !c->started) ? &s->scores[c->prompt] : NULL;
}

size_t scores_bytes(const struct choice *c)
{
    enum { AROUND = 64 };
    const struct scores *p = scores_due(c);
    return p ? AROUND + p->list.n + logprob_bytes(&p->echo) : 0;
}

void scores_put(struct buf *b, const struct choice *c)
{
    const struct scores *p = scores_due(c);
    if (!p || !wants_list(&c->s->g))
        return;
    out_str(b, ",\"prompt_logprobs\":[");
    buf_add(b, p->list.p, p->list.n);
    out_str(b, "]");
}
