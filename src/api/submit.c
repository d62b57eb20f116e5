/* SPDX-License-Identifier: Apache-2.0 */
/* submit.c - see submit.h. */
#include "submit.h"

#include "hash.h"
#include "random.h"
#include "tenant.h"

#include <stdlib.h>
#include <string.h>

static uint64_t seed_of(const struct stream *s, int32_t i)
{
    char hex[17];
    if (s->g.seed == INT64_MIN || s->g.seed == -1) {
        random_hex(hex, 16);
        return strtoull(hex, NULL, 16);
    }
    /* choice i draws from a stream of its own, wherever in a batch its prompt stands */
    uint64_t seed = (uint64_t)s->g.seed;
    return i == 0 ? seed : mix64(seed + 0x9e3779b97f4a7c15u * (uint64_t)i);
}

/* m has room for the longest prompt and what follows it. */
static int submit(struct choice *c, struct msg_submit *m, int32_t i)
{
    struct stream *s = c->s;
    struct slots *slots = &s->a->slots;
    const struct genreq *g = &s->g;
    size_t n = g->first[c->prompt + 1] - g->first[c->prompt];
    token_id *tok = (token_id *)(m + 1);
    *m = (struct msg_submit){.id = slot_take(slots, c),
                             .arrival_us = s->r->arrival_us,
                             .priority = g->priority,
                             .n_prompt = (int32_t)n,
                             .max_new = g->max_new[c->prompt],
                             .n_stop_ids = g->n_stop_ids,
                             .min_new = (int32_t)g->min_tokens,
                             .ignore_eos = g->ignore_eos,
                             .n_bias = g->n_bias,
                             .n_mask = g->n_mask,
                             .scores = i == 0 ? g->scores : 0, /* once a prompt */
                             .params = g->sample};
    m->h.kind = MSG_SUBMIT;
    m->h.bytes = (uint32_t)msg_submit_bytes(m);
    m->params.seed = seed_of(s, i);
    tenant_fill(s->a, s->r, g->salt, g->n_salt, m);
    memcpy(tok, g->ids.p + g->first[c->prompt], n * sizeof *tok);
    memcpy(tok + n, g->stop_ids, (size_t)g->n_stop_ids * sizeof *tok);
    struct token_bias *bias = (struct token_bias *)(tok + n + g->n_stop_ids);
    if (g->n_bias)
        memcpy(bias, g->bias, (size_t)g->n_bias * sizeof *bias);
    if (g->n_mask)
        memcpy(bias + g->n_bias, g->mask, (size_t)g->n_mask * sizeof *g->mask);
    int st = engine_submit(s->a->s.engine, m);
    if (st) {
        slot_give(slots, m->id);
        return st;
    }
    c->id = m->id;
    s->n_open++;
    return 0;
}

/* A choice that generates nothing is for the engine where its prompt is to be scored: once, and if
 * it has a token that comes after another. */
static bool has_work(const struct stream *s, int32_t i)
{
    const struct genreq *g = &s->g;
    int32_t p = s->choice[i].prompt;
    return g->max_new[p] > 0 ||
           (g->scores > 0 && i % g->n_made == 0 && g->first[p + 1] - g->first[p] > 1);
}

int submit_all(struct stream *s)
{
    const struct genreq *g = &s->g;
    size_t most = 0;
    for (int32_t p = 0; p < g->n_prompts; p++)
        if (g->first[p + 1] - g->first[p] > most)
            most = g->first[p + 1] - g->first[p];
    const struct msg_submit longest = {.n_prompt = (int32_t)most,
                                       .n_stop_ids = g->n_stop_ids,
                                       .n_bias = g->n_bias,
                                       .n_mask = g->n_mask};
    struct msg_submit *m = malloc(msg_submit_bytes(&longest));
    int st = m ? 0 : ST_NOMEM;
    for (int32_t i = 0; i < s->n_choices && !st; i++)
        if (has_work(s, i))
            st = submit(&s->choice[i], m, i % g->n_made);
    free(m);
    return st;
}
