/* SPDX-License-Identifier: Apache-2.0 */
/* cost.c - see cost.h. Prompts x n x (echoed text + new tokens x what one of them takes): the
 * factors are each within their own limits and their product is not. A stream is not collected, so
 * only what it says of its prompts counts, which leaves in one piece; but some end with all of
 * their text.
 */
#include "cost.h"

#include "detok.h"
#include "mem.h"
#include "utf8.h"

enum {
    TOKEN_TEXT = 8,     /* bytes of a token's text in an answer: most have 3 to 6 */
    TEXT_ENTRY = 32,    /* of one token in completions' logprobs, its text and its number */
    CHAT_ENTRY = 96,    /* the same in chat's: an object with its bytes one by one */
    LIST_ENTRY = 64,    /* of one token in prompt_logprobs */
    PROMPT_SLICE = 256, /* ids whose text is made at a time, before the bound is looked at ... */
    TOKEN_ROOM = 64     /* ... with this much memory for each */
};

size_t cost_json(const char *s, size_t n)
{
    size_t bytes = utf8_valid_prefix(s, n) == n ? n : 3 * n; /* a bad byte becomes U+FFFD */
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        bytes += c < ' ' || c == 0x7f ? 5 : c == '"' || c == '\\';
    }
    return bytes;
}

static int64_t copies(const struct genreq *g)
{
    return g->stream ? g->dialect->copies : 1;
}

static int64_t token_bytes(const struct genreq *g)
{
    int64_t entry = g->chat ? CHAT_ENTRY : TEXT_ENTRY;
    int64_t once = g->n_logprobs < 0 ? TOKEN_TEXT : TOKEN_TEXT + entry * (1 + g->n_logprobs);
    return copies(g) * once;
}

static int too_much(const struct genreq *g, int64_t bytes, int64_t most, const char *param,
                    struct err *e)
{
    return err_param(e, ST_INVALID_VALUE, param,
                     "The answer to this request (%d prompts, n = %lld) may take %lld bytes or "
                     "more, but answers of this server have at most %lld.",
                     (int)g->n_prompts, (long long)g->n_made, (long long)bytes, (long long)most);
}

/* One prompt's text; *bytes has that of those before it and gets this one's. */
static int echo_prompt(struct genreq *g, int32_t i, int64_t *bytes, int64_t most,
                       const struct gen_rules *u, struct err *e)
{
    struct buf *text = &g->echo_text[i];
    struct detok d;
    detok_init(&d, u->s->tok, g->skip_special);
    for (size_t k = g->first[i]; k < g->first[i + 1];) {
        size_t left = g->first[i + 1] - k, before = text->n;
        size_t slice = left < PROMPT_SLICE ? left : PROMPT_SLICE, end = k + slice;
        if (!buf_room(text, slice * TOKEN_ROOM))
            return err_set(e, ST_NOMEM, "This server has no memory left for this request.");
        while (k < end)
            detok_push(&d, g->ids.p[k++], text);
        if (k == g->first[i + 1])
            detok_flush(&d, text);
        *bytes += g->n_made * (int64_t)cost_json(text->p ? text->p + before : "", text->n - before);
        if (*bytes > most)
            return too_much(g, *bytes, most, "echo", e);
    }
    return 0;
}

/* The log probabilities of prompt i beside its echoed text of n bytes: each of its choices shows
 * them, and a chat's answer once more. */
static int64_t scores_cost(const struct genreq *g, int32_t i, int64_t n)
{
    int64_t tokens = (int64_t)(g->first[i + 1] - g->first[i]), bytes = 0;
    if (g->echo && g->n_logprobs >= 0) /* the text again, as tokens and as keys */
        bytes += 2 * n + tokens * TEXT_ENTRY * (1 + g->n_logprobs);
    if (g->prompt_logprobs >= 0)
        bytes += tokens * LIST_ENTRY * (1 + g->prompt_logprobs);
    return bytes * (g->n_made + g->chat);
}

/* New tokens of all choices beside `bytes` of echoed text. */
static int bound_tokens(struct genreq *g, int64_t bytes, int64_t most, struct err *e)
{
    int64_t each = token_bytes(g), all = bytes;
    bool chat_max = g->chat && g->max_completion_tokens != INT64_MIN;
    for (int32_t i = 0; i < g->n_prompts; i++)
        all += (int64_t)g->n_made * g->max_new[i] * each;
    if (all <= most)
        return 0;
    int64_t fit = (most - bytes) / each / g->n_made / g->n_prompts;
    if (chat_max || g->max_tokens != INT64_MIN || fit < 1 || fit < g->min_tokens)
        return too_much(g, all, most, chat_max ? "max_completion_tokens" : g->dialect->max_tokens,
                        e);
    for (int32_t i = 0; i < g->n_prompts; i++)
        if (g->max_new[i] > fit)
            g->max_new[i] = (int32_t)fit;
    return 0;
}

int cost_check(struct genreq *g, const struct gen_rules *u, struct err *e)
{
    int64_t most = u->c->limits.max_answer_bytes, bytes = 0;
    if (g->echo)
        g->echo_text = xcalloc2((size_t)g->n_prompts, sizeof *g->echo_text);
    for (int32_t i = 0; (g->echo || g->scores) && i < g->n_prompts; i++) {
        int64_t before = bytes;
        int st = g->echo ? echo_prompt(g, i, &bytes, most, u, e) : 0;
        if (st)
            return st;
        bytes += scores_cost(g, i, (bytes - before) / g->n_made);
        if (bytes > most)
            return too_much(g, bytes, most,
                            g->prompt_logprobs >= 0 ? "prompt_logprobs" : "logprobs", e);
    }
    return copies(g) ? bound_tokens(g, bytes + copies(g) * (int64_t)g->shown.n, most, e) : 0;
}
