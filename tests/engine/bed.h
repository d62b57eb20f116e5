/* SPDX-License-Identifier: Apache-2.0 */
/* bed.h - an engine over the hash model, turn by turn in virtual time, and what its clients got.
 * Functions in a header, for the tests of this folder. */
#ifndef QUIRE_TEST_BED_H
#define QUIRE_TEST_BED_H

#include "testing.h"

#include "engine/state.h"
#include "engine_fixture.h"
#include "hash_model.h"
#include "mem.h"

#include <stdlib.h>
#include <string.h>

enum { VOCAB = 1000, MAX_REQ = 200, MAX_GOT = 64, BAD_TOKEN = VOCAB - 1 };

struct bed {
    struct engine *en;
    struct hash_model *hm;
    struct mbox *out;
    int32_t n_got[MAX_REQ], hit[MAX_REQ], ended[MAX_REQ], finish[MAX_REQ], status[MAX_REQ];
    token_id got[MAX_REQ][MAX_GOT];
    int order[MAX_REQ], n_ended; /* in order of the first token */
    int first[MAX_REQ], n_first;
    float vec[MAX_REQ][HM_DIM];
    int32_t n_vec[MAX_REQ];
    int64_t steps_at_first[MAX_REQ]; /* submitted when the first token came */
    int32_t n_scored[MAX_REQ];       /* scores, of tokens 1 to that one of the prompt */
    uint64_t scores[MAX_REQ];        /* sum over them, see score_sum */
    int32_t n_best[MAX_REQ];         /* tokens told beside them */
    int32_t weight[4], max_rows[4];  /* by tenant, 0 = the default */
    int32_t account[4];              /* likewise; an account may keep a quarter of the pages */
    bool whole_pages;
};

/* No request but those that have BAD_TOKEN among theirs meets it: the vocabulary that is drawn from
 * ends before it. */
static inline struct bed *bed_new_shares(const struct engine_fixture *x, int64_t token_us,
                                         int32_t n_shares)
{
    struct bed *b = xalloc(sizeof *b);
    const struct hm_config m = {.n_pages = x->f.n_pages,
                                .page_tokens = (int32_t)x->c.kv.page_tokens,
                                .max_rows = (int32_t)x->c.scheduler.max_seqs,
                                .max_pages = x->f.max_model_len / (int32_t)x->c.kv.page_tokens + 1,
                                .vocab = x->f.vocab - 1,
                                .depth = (int32_t)x->c.scheduler.steps_in_flight,
                                .late = 1,
                                .lanes = x->f.n_lanes,
                                .n_shares = n_shares,
                                .step_us = 1000,
                                .token_us = token_us,
                                .bad_token = BAD_TOKEN};
    struct executor ex[MAX_LANES];
    b->hm = hm_new(&m);
    hm_executor(b->hm, ex);
    b->out = mbox_new(1 << 16, 1 << 20, NULL, NULL);
    b->en = engine_fixture_new(x, ex, b->out);
    b->en->now = hm_now;
    b->en->pause = hm_pause;
    b->en->now_arg = b->hm;
    return b;
}

static inline struct bed *bed_new_slow(const struct engine_fixture *x, int64_t token_us)
{
    return bed_new_shares(x, token_us, 0);
}

static inline struct bed *bed_new(const struct engine_fixture *x)
{
    return bed_new_slow(x, 10);
}

static inline void bed_free(struct bed *b)
{
    assert_int_equal(b->en->stats.audit_failures, 0);
    assert_int_equal(hm_counts(b->hm)->violations, 0);
    engine_free(b->en);
    hm_free(b->hm);
    mbox_free(b->out);
    free(b);
}

static inline struct engine_fixture small(void)
{
    struct engine_fixture x = engine_fixture();
    x.f.n_pages = 400;
    x.f.max_model_len = 1200;
    x.f.vocab = VOCAB;
    x.f.hidden_dim = HM_DIM;
    x.c.kv.page_tokens = 4;
    x.c.scheduler.max_seqs = 4;
    x.c.scheduler.max_step_tokens = 256;
    x.c.limits.queue_size = MAX_REQ;
    return x;
}

/* For streams of thousands of tokens: pages for all. */
static inline struct engine_fixture rows(int n)
{
    struct engine_fixture x = small();
    x.c.kv.page_tokens = 16;
    x.f.max_model_len = 4096;
    x.f.n_pages = (n + 4) * 4096 / 16;
    x.f.audit_every = 16;
    x.c.scheduler.max_seqs = n;
    return x;
}

/* What a request may ask for beyond a prompt; arrays as in msg.h. */
struct extra {
    const token_id *stop;
    const struct token_bias *bias;
    const uint32_t *mask;
    int32_t n_stop, n_bias, n_mask, min_new, embed, scores;
    int with_eos;
    int64_t arrival_us;
    struct sample_params params; /* n_logprobs 0 stands for none */
};

/* The answer of engine_submit to request i: n tokens from tok (NULL: some of its own), max_new to
 * draw. */
static inline int try_ask(struct bed *b, int i, const token_id *tok, int n, int max_new,
                          int64_t priority, uint64_t tenant, const struct extra *x)
{
    struct msg_submit h = {.h = {.kind = MSG_SUBMIT},
                           .id = (req_id)i + 1,
                           .arrival_us = x->arrival_us,
                           .n_prompt = n,
                           .max_new = max_new,
                           .priority = priority,
                           .tenant = tenant,
                           .weight = tenant < 4 ? b->weight[tenant] : 0,
                           .max_rows = tenant < 4 ? b->max_rows[tenant] : 0,
                           .account = tenant < 4 ? b->account[tenant] : 0,
                           .cache_share = 0.25,
                           .whole_pages = b->whole_pages,
                           .ignore_eos = !x->with_eos,
                           .n_stop_ids = x->n_stop,
                           .n_bias = x->n_bias,
                           .n_mask = x->n_mask,
                           .min_new = x->min_new,
                           .scores = x->scores,
                           .embed = x->embed,
                           .params = x->params};
    if (h.params.n_logprobs == 0)
        h.params.n_logprobs = -1;
    struct msg_submit *m = xalloc(msg_submit_bytes(&h));
    *m = h;
    token_id *to = (token_id *)(m + 1);
    for (int k = 0; k < n; k++)
        to[k] = tok ? tok[k] : (i * 31 + k * 7) % (VOCAB - 1);
    if (x->n_stop > 0)
        memcpy(to + n, x->stop, (size_t)x->n_stop * sizeof *to);
    struct token_bias *bias = (struct token_bias *)(to + n + x->n_stop);
    if (x->n_bias > 0)
        memcpy(bias, x->bias, (size_t)x->n_bias * sizeof *bias);
    if (x->n_mask > 0)
        memcpy(bias + x->n_bias, x->mask, (size_t)x->n_mask * sizeof *x->mask);
    int st = engine_submit(b->en, m);
    free(m);
    return st;
}

static inline void ask(struct bed *b, int i, const token_id *tok, int n, int max_new,
                       int64_t priority, uint64_t tenant)
{
    const struct extra none = {0};
    assert_int_equal(try_ask(b, i, tok, n, max_new, priority, tenant, &none), 0);
}

/* Over scores in their order. */
static inline uint64_t score_sum(uint64_t sum, token_id t, float score, int32_t rank)
{
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    return hm_mix(hm_mix(sum, (uint32_t)t), (uint64_t)bits << 32 | (uint32_t)rank);
}

static inline void take_score(struct bed *b, int i, const struct out_rec *r)
{
    assert_int_equal(r->scored_at, ++b->n_scored[i]);
    assert_int_equal(b->n_got[i] + b->ended[i], 0);
    b->scores[i] = score_sum(b->scores[i], r->token, r->logprob, r->rank);
    b->n_best[i] += r->n_top;
}

static inline int turn(struct bed *b)
{
    int did = engine_turn(b->en);
    const struct msg_outbox *m;
    mbox_take(b->out);
    while ((m = mbox_next(b->out, NULL)) != NULL)
        for (int32_t k = 0; k < m->n_rec; k++) {
            const struct out_rec *r = (const struct out_rec *)(m + 1) + k;
            const struct token_logprob
                *top = (const struct token_logprob *)((const struct out_rec *)(m + 1) + m->n_rec);
            int i = (int)r->id - 1;
            if (r->finish == FINISH_VECTOR)
                memcpy(b->vec[i], (const float *)(top + m->n_top) + r->vec0, sizeof b->vec[i]);
            b->n_vec[i] += r->finish == FINISH_VECTOR ? r->n_vec : 0;
            b->hit[i] = r->n_cached;
            if (r->scored_at > 0) {
                take_score(b, i, r);
                continue;
            }
            if (r->token >= 0 && b->n_got[i]++ == 0) {
                b->steps_at_first[i] = (int64_t)b->en->lane[0].step_no;
                b->first[b->n_first++] = i;
            }
            if (r->token >= 0 && b->n_got[i] <= MAX_GOT)
                b->got[i][b->n_got[i] - 1] = r->token;
            if (r->finish != FINISH_NONE) {
                b->ended[i] = 1;
                b->finish[i] = r->finish;
                b->status[i] = r->status;
                b->order[b->n_ended++] = i;
            }
        }
    return did;
}

static inline void until_idle(struct bed *b)
{
    int n = 0;
    while (turn(b))
        assert_true(++n < 100000);
}

static inline int place(const int *order, int n, int i)
{
    for (int k = 0; k < n; k++)
        if (order[k] == i)
            return k;
    return -1;
}

#endif
