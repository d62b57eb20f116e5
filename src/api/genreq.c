/* SPDX-License-Identifier: Apache-2.0 */
/* genreq.c - from a body to a checked request: fields, prompts, lengths against the context and the
 * pool. See genreq.h.
 */
#include "genreq.h"

#include "cost.h"
#include "field.h"
#include "fields.h"
#include "mem.h"
#include "prompt.h"
#include "stop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- prompt forms: a string, strings, ids, arrays of ids ---- */

static int add_prompt(struct genreq *g, size_t *cap)
{
    if ((size_t)g->n_prompts + 2 > *cap) {
        *cap = *cap ? *cap * 2 : 4;
        g->first = xrealloc(g->first, *cap * sizeof *g->first);
        g->max_new = xrealloc(g->max_new, *cap * sizeof *g->max_new);
    }
    g->first[g->n_prompts++] = g->ids.n;
    g->first[g->n_prompts] = g->ids.n;
    return 0;
}

static int one_prompt(struct genreq *g, const struct json_doc *d, const struct json *v,
                      const struct gen_rules *u, const char *param, size_t *cap, struct err *e)
{
    add_prompt(g, cap);
    int st = v->type == JSON_STR ? prompt_text(u, v, g->add_special, param, &g->ids, e)
                                 : prompt_ids(d, v, u->s->limits.vocab, param, &g->ids, e);
    g->first[g->n_prompts] = g->ids.n;
    if (st == 0 && g->ids.n == g->first[g->n_prompts - 1])
        return err_param(e, ST_INVALID_LENGTH, param, "'%s' must give at least one token.", param);
    return st;
}

int genreq_prompts(struct genreq *g, const struct json_doc *d, const struct gen_rules *u,
                   const char *key, int64_t max, struct err *e)
{
    const struct json *v = json_get(d, &d->v[0], key);
    size_t cap = 0;
    const struct json *k = json_child(d, v);
    if (v->type == JSON_STR || (k && k->type == JSON_NUM))
        return one_prompt(g, d, v, u, key, &cap, e);
    if (!k || v->n > max)
        return err_param(e, ST_INVALID_LENGTH, key, "'%s' must have between 1 and %d items.", key,
                         (int)max);
    uint8_t type = k->type;
    int i = 0;
    for (; k; k = json_next(d, k), i++) {
        char param[32];
        snprintf(param, sizeof param, "%s[%d]", key, i);
        if (k->type != type || (type != JSON_STR && type != JSON_ARR))
            return wrong_type(e, param, "like the other items: strings, or arrays of integers", k);
        int st = one_prompt(g, d, k, u, param, &cap, e);
        if (st)
            return st;
    }
    return 0;
}

/* engine_fits, and the sentence for the client where it does not. */
static int fits(const struct engine_limits *l, int64_t n, int64_t want, struct err *e)
{
    struct engine_misfit why;
    int st = engine_fits(l, n, want, &why);
    if (st == 0)
        return 0;
    if (why.bound == ENGINE_BOUND_MODEL)
        return err_set(e, st,
                       "This model's maximum context length is %d tokens. However, you requested "
                       "%lld tokens (%lld in the messages, %lld in the completion). Please reduce "
                       "the length of the messages or completion.",
                       l->max_model_len, (long long)(n > INT64_MAX - want ? INT64_MAX : n + want),
                       (long long)n, (long long)want);
    return err_set(e, st,
                   "This server's KV cache holds %lld tokens (%d pages of %d). However, you "
                   "requested %lld tokens (%lld in the messages, %lld in the completion). "
                   "Please reduce the length of the messages or completion.",
                   (long long)why.tokens, l->n_pages, l->page_tokens, (long long)(n + want),
                   (long long)n, (long long)want);
}

/* What prompt i may generate: the prompt must leave room; what is asked for must fit into it;
 * without a number chat gets all the room, up to the setting. */
static int check_length(struct genreq *g, int32_t i, const struct gen_rules *u, struct err *e)
{
    const struct api_service *s = u->s;
    int64_t most = u->c->limits.max_completion_tokens;
    const char *param = g->dialect->prompt;
    int64_t max = s->limits.max_model_len, n = (int64_t)(g->first[i + 1] - g->first[i]);
    int64_t want = g->chat && g->max_completion_tokens != INT64_MIN ? g->max_completion_tokens
                                                                    : g->max_tokens;
    bool given = want != INT64_MIN;
    if (n >= max && !(g->echo && want == 0 && n == max))
        return err_param(e, ST_CONTEXT_LENGTH, param,
                         "This model's maximum context length is %lld tokens, but the prompt has "
                         "%lld tokens.",
                         (long long)max, (long long)n);
    if (!given)
        want = g->chat || g->fit_max ? max - n : 16;
    if (!given && (g->chat || g->fit_max) && most && want > most)
        want = most;
    if (!given && want > max - n)
        want = max - n;
    if (want > max - n)
        return err_param(e, ST_CONTEXT_LENGTH, param,
                         "This model's maximum context length is %lld tokens, but %lld were "
                         "requested: %lld in the prompt and %lld for the completion.",
                         (long long)max, (long long)(n + want), (long long)n, (long long)want);
    if (g->min_tokens > want)
        return err_param(e, ST_INVALID_VALUE, "min_tokens",
                         "'min_tokens' must not be above the maximum of %lld new tokens.",
                         (long long)want);
    g->max_new[i] = (int32_t)want;
    if (want == 0 && g->scores == 0) /* nothing is computed */
        return 0;
    int st = fits(&s->limits, n, want, e);
    if (st && !given && st == ST_CONTEXT_LENGTH && (g->chat || g->fit_max)) {
        /* the omitted maximum means what fits: also what fits in the pool */
        int64_t pool = (int64_t)s->limits.n_pages * s->limits.page_tokens - n;
        want = want < pool ? want : pool;
        for (int k = 0; k < 4 && want > 0 && (st = fits(&s->limits, n, want, e)) != 0; k++)
            want -= s->limits.page_tokens;
        g->max_new[i] = (int32_t)want;
        if (want <= 0)
            st = ST_CONTEXT_LENGTH;
    }
    if (st && e && !e->param[0])
        snprintf(e->param, sizeof e->param, "%s", param);
    return st;
}

void genreq_truncate(struct genreq *g, const struct engine_limits *l)
{
    enum { NEW = 16 }; /* where the client does not say how many */
    int64_t keep = g->truncate, pool = (int64_t)l->n_pages * l->page_tokens;
    int64_t want = g->max_completion_tokens != INT64_MIN ? g->max_completion_tokens : g->max_tokens;
    if (keep == INT64_MIN)
        return;
    if (keep < 0)
        keep = (l->max_model_len < pool ? l->max_model_len : pool) - (want < 0 ? NEW : want);
    if (keep < 1)
        keep = 1;
    size_t to = 0, from = 0;
    for (int32_t i = 0; i < g->n_prompts; i++) {
        size_t end = g->first[i + 1], n = end - from;
        size_t kept = n < (size_t)keep ? n : (size_t)keep;
        memmove(g->ids.p + to, g->ids.p + end - kept, kept * sizeof *g->ids.p);
        g->first[i] = to;
        to += kept;
        from = end;
    }
    g->first[g->n_prompts] = g->ids.n = to;
}

/* Sequences: what the settings allow, and what this server has places for at all; a request with
 * more could wait for ever. */
static int check_count(const struct genreq *g, const struct gen_rules *u, struct err *e)
{
    int64_t n = (int64_t)g->n_prompts * g->n_made, most = u->c->limits.max_sequences_per_request;
    int64_t places = (int64_t)u->s->limits.max_seqs + u->c->limits.queue_size;
    if (n > most)
        return err_param(e, ST_INVALID_LENGTH, "n", "Prompts times 'n' must be at most %lld.",
                         (long long)most);
    if (n > places)
        return err_param(e, ST_INVALID_LENGTH, g->n > 1 ? "n" : "prompt",
                         "%lld sequences were requested, but this server has places for %lld, "
                         "running and waiting.",
                         (long long)n, (long long)places);
    return 0;
}

/* Sequences, lengths, the size of the answer. */
static int check_room(struct genreq *g, const struct gen_rules *u, struct err *e)
{
    int st = check_count(g, u, e);
    for (int32_t i = 0; i < g->n_prompts && st == 0; i++)
        st = check_length(g, i, u, e);
    return st ? st : cost_check(g, u, e);
}

const struct dialect dialect_text = {.where = TEXT, .prompt = "prompt", .max_tokens = "max_tokens"};
const struct dialect dialect_chat = {
    .chat = true, .where = CHAT, .prompt = "messages", .max_tokens = "max_tokens"};

static int read_chat(struct genreq *g, const struct json_doc *d, const struct gen_rules *u,
                     struct err *e)
{
    const char *name = g->dialect->prompt;
    size_t cap = 0;
    add_prompt(g, &cap);
    int st = g->dialect->read
                 ? g->dialect->read(g, d, u, e)
                 : prompt_messages(u, d, g->add_generation_prompt, g->add_special, &g->ids, e);
    g->first[1] = g->ids.n;
    if (st == 0 && g->ids.n == 0)
        return err_param(e, ST_INVALID_LENGTH, name, "The %s give no token.", name);
    return st;
}

int genreq_make(struct genreq *g, const struct dialect *dialect, const char *body, size_t n,
                const struct gen_rules *u, struct err *e)
{
    struct json_doc d;
    *g = (struct genreq){.dialect = dialect, .chat = dialect->chat};
    int st = json_parse(&d, body, n, e);
    if (st)
        return st;
    if (d.v[0].type != JSON_OBJ)
        st = err_set(e, ST_INVALID_TYPE, "The body must be a JSON object.");
    st = st ? st : fields_read(g, &d, u, e);
    if (st == 0)
        st = g->chat ? read_chat(g, &d, u, e)
                     : genreq_prompts(g, &d, u, "prompt", u->c->limits.max_prompts, e);
    if (st == 0)
        genreq_truncate(g, &u->s->limits);
    st = st || dialect->count_only ? st : check_room(g, u, e);
    json_free(&d);
    return st;
}

void genreq_fini(struct genreq *g)
{
    for (int32_t i = 0; i < g->n_stop; i++)
        free((char *)g->stop[i].p);
    stops_free(g->stops);
    for (int32_t i = 0; g->echo_text && i < g->n_prompts; i++)
        buf_free(&g->echo_text[i]);
    free(g->echo_text);
    buf_free(&g->shown);
    free(g->bias);
    free(g->mask);
    ids_free(&g->ids);
    ignored_free(&g->ignored);
    free(g->first);
    free(g->max_new);
}
