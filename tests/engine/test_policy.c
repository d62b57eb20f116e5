/* SPDX-License-Identifier: Apache-2.0 */
/* test_policy.c - what clients feel of the policy: exact hits, the decode gap, order between
 * priorities and tenants, no starvation, token budgets. Virtual time. */
#include "testing.h"

#include "engine/state.h"
#include "engine_fixture.h"
#include "hash_model.h"
#include "mem.h"

#include <stdlib.h>
#include <string.h>

enum { VOCAB = 1000, MAX_REQ = 200, MAX_GOT = 64 };

struct bed {
    struct engine *en;
    struct hash_model *hm;
    struct mbox *out;
    int32_t n_got[MAX_REQ], hit[MAX_REQ], ended[MAX_REQ];
    token_id got[MAX_REQ][MAX_GOT];
    int order[MAX_REQ], n_ended; /* in order of the first token */
    int first[MAX_REQ], n_first;
};

static struct bed *bed_new(const struct engine_fixture *x)
{
    struct bed *b = xalloc(sizeof *b);
    const struct hm_config m = {.n_pages = x->f.n_pages,
                                .page_tokens = (int32_t)x->c.kv.page_tokens,
                                .max_rows = (int32_t)x->c.scheduler.max_seqs,
                                .max_pages = x->f.max_model_len / (int32_t)x->c.kv.page_tokens + 1,
                                .vocab = VOCAB,
                                .depth = (int32_t)x->c.scheduler.steps_in_flight,
                                .late = 1,
                                .step_us = 1000,
                                .token_us = 10};
    struct executor ex;
    b->hm = hm_new(&m);
    hm_executor(b->hm, &ex);
    b->out = mbox_new(1 << 16, 1 << 20, NULL, NULL);
    b->en = engine_fixture_new(x, &ex, b->out);
    b->en->now = hm_now;
    b->en->now_arg = b->hm;
    return b;
}

static void bed_free(struct bed *b)
{
    assert_int_equal(b->en->stats.audit_failures, 0);
    assert_int_equal(hm_counts(b->hm)->violations, 0);
    engine_free(b->en);
    hm_free(b->hm);
    mbox_free(b->out);
    free(b);
}

static struct engine_fixture small(void)
{
    struct engine_fixture x = engine_fixture();
    x.f.n_pages = 400;
    x.f.max_model_len = 1200;
    x.f.vocab = VOCAB;
    x.c.kv.page_tokens = 4;
    x.c.scheduler.max_seqs = 4;
    x.c.scheduler.max_step_tokens = 256;
    x.c.limits.queue_size = MAX_REQ;
    return x;
}

/* Request i: n tokens from tok (NULL: some of its own), max_new to draw. */
static void ask(struct bed *b, int i, const token_id *tok, int n, int max_new, int64_t priority,
                uint64_t tenant)
{
    struct msg_submit *m = xalloc(sizeof *m + (size_t)n * sizeof(token_id));
    *m = (struct msg_submit){.h = {.kind = MSG_SUBMIT},
                             .id = (req_id)i + 1,
                             .n_prompt = n,
                             .max_new = max_new,
                             .priority = priority,
                             .tenant = tenant,
                             .ignore_eos = 1,
                             .params = {.n_logprobs = -1}};
    token_id *to = (token_id *)(m + 1);
    for (int k = 0; k < n; k++)
        to[k] = tok ? tok[k] : (i * 31 + k * 7) % VOCAB;
    assert_int_equal(engine_submit(b->en, m), 0);
    free(m);
}

static int turn(struct bed *b)
{
    int did = engine_turn(b->en);
    const struct msg_outbox *m;
    mbox_take(b->out);
    while ((m = mbox_next(b->out, NULL)) != NULL)
        for (int32_t k = 0; k < m->n_rec; k++) {
            const struct out_rec *r = (const struct out_rec *)(m + 1) + k;
            int i = (int)r->id - 1;
            b->hit[i] = r->n_cached;
            if (r->token >= 0 && b->n_got[i]++ == 0)
                b->first[b->n_first++] = i;
            if (r->token >= 0 && b->n_got[i] <= MAX_GOT)
                b->got[i][b->n_got[i] - 1] = r->token;
            if (r->finish != FINISH_NONE) {
                b->ended[i] = 1;
                b->order[b->n_ended++] = i;
            }
        }
    return did;
}

static void until_idle(struct bed *b)
{
    int n = 0;
    while (turn(b))
        assert_true(++n < 100000);
}

static int place(const int *order, int n, int i)
{
    for (int k = 0; k < n; k++)
        if (order[k] == i)
            return k;
    return -1;
}

/* A second chat turn finds the first one's prompt and answer, whole pages of the answer included.
 */
static void test_exact_hits(void **state)
{
    (void)state;
    struct engine_fixture x = small();
    struct bed *b = bed_new(&x);
    token_id tok[64];
    for (int k = 0; k < 64; k++)
        tok[k] = k + 1;
    ask(b, 0, tok, 22, 12, 0, 0);
    until_idle(b);
    assert_int_equal(b->hit[0], 0);
    ask(b, 1, tok, 22, 1, 0, 0); /* the same again: all but the last token */
    until_idle(b);
    assert_int_equal(b->hit[1], 21);
    ask(b, 2, tok, 15, 1, 0, 0); /* in the middle of a page: exact to the token */
    until_idle(b);
    assert_int_equal(b->hit[2], 14);
    tok[18] = 999;
    ask(b, 3, tok, 22, 1, 0, 0); /* differs at 18 */
    until_idle(b);
    assert_int_equal(b->hit[3], 18);
    tok[18] = 19;
    memcpy(tok + 22, b->got[0], 12 * sizeof *tok);
    tok[34] = 5;
    ask(b, 4, tok, 35, 1, 0, 0); /* 33 tokens of KV existed; full pages cover 32 */
    until_idle(b);
    assert_int_equal(b->hit[4], 32);
    bed_free(b);
}

/* While a long prompt is chunked, running streams wait no longer than configured. */
static void test_decode_gap(void **state)
{
    (void)state;
    struct engine_fixture x = small();
    x.c.scheduler
        .max_decode_gap = 5000; /* a chunk costs 1000 + 10 per token, a decode step 1000 + rows */
    x.c.scheduler.max_step_tokens = 1024;
    for (int depth = 1; depth <= 2; depth++) {
        x.c.scheduler.steps_in_flight = depth;
        struct bed *b = bed_new(&x);
        ask(b, 9, NULL, 800, 1, 0, 0); /* measures the cost of a token */
        until_idle(b);
        for (int i = 0; i < 3; i++)
            ask(b, i, NULL, 8, 50, 0, 0);
        while (b->n_got[2] < 5)
            turn(b);
        ask(b, 3, NULL, 1000, 4, 0, 0);
        until_idle(b);
        assert_true(b->ended[3] && b->en->stats.max_decode_gap_us > 0);
        assert_true(b->en->stats.max_decode_gap_us <= 5000 * 12 / 10);
        assert_true(b->en->stats.steps_prefill >= 5); /* it was chunked */
        bed_free(b);
    }
}

static void test_priority(void **state)
{
    (void)state;
    struct engine_fixture x = small();
    struct bed *b = bed_new(&x);
    for (int i = 0; i < 8; i++)
        ask(b, i, NULL, 20, 40, 5, 0);
    for (int i = 0; i < 20; i++)
        turn(b);
    ask(b, 8, NULL, 20, 10, 0, 0); /* runs at once, in place of the last of the others */
    until_idle(b);
    assert_true(b->en->stats.preemptions >= 1);
    assert_int_equal(place(b->order, b->n_ended, 8), 0);
    bed_free(b);
}

/* One tenant floods; the other one's single requests do not queue behind the flood. */
static void test_tenants(void **state)
{
    (void)state;
    struct engine_fixture x = small();
    struct bed *b = bed_new(&x);
    for (int i = 0; i < 100; i++)
        ask(b, i, NULL, 30, 10, 0, 1);
    for (int i = 0; i < 30; i++)
        turn(b);
    int before = b->n_first;
    ask(b, 100, NULL, 30, 10, 0, 2);
    until_idle(b);
    assert_true(place(b->first, b->n_first, 100) < before + 10);
    bed_free(b);
}

/* A stream of urgent requests that never ends does not keep an unimportant one out. */
static void test_no_starvation(void **state)
{
    (void)state;
    struct engine_fixture x = small();
    x.f.n_pages = 40;
    x.f.max_model_len = 100;
    struct bed *b = bed_new(&x);
    int next = 1;
    ask(b, 0, NULL, 30, 20, 9, 0);
    for (int turns = 0; !b->ended[0] && next < MAX_REQ; turns++) {
        while (b->en->seqs.n_wait + b->en->seqs.n_run < 8 && next < MAX_REQ) {
            ask(b, next, NULL, 30, 20, 0, (uint64_t)next);
            next++;
            turn(b);
        }
        turn(b);
    }
    assert_true(b->ended[0]);
    assert_true(next < MAX_REQ);
    until_idle(b);
    bed_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact_hits),    cmocka_unit_test(test_decode_gap),
        cmocka_unit_test(test_priority),      cmocka_unit_test(test_tenants),
        cmocka_unit_test(test_no_starvation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
