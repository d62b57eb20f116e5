/* SPDX-License-Identifier: Apache-2.0 */
/* test_policy.c - what clients feel of the policy: exact hits, the decode gap, order between
 * priorities and tenants, no starvation, token budgets. Virtual time. */
#include "testing.h"

#include "bed.h"

#include <string.h>

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
    tok[18] = 990;
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

/* A long prompt whose turn came out of order, as its tenant's oldest, has its chunk; there is room
 * for more of it in the same step, but a row is in a step once. */
static void test_once_a_step(void **state)
{
    (void)state;
    struct engine_fixture x = small();
    x.f.n_pages = 1000;
    struct bed *b = bed_new_slow(&x, 1);
    ask(b, 0, NULL, 8, 1000, 0, 0); /* stays, and so does its tenant */
    for (int i = 1; i < 6; i++) {
        ask(b, i, NULL, 200, 1, 0, 0);
        while (!b->ended[i])
            turn(b);
    }
    ask(b, 6, NULL, 1000, 1, 0, 0);
    turn(b);
    ask(b, 7, NULL, 800, 1, -1, 0);
    until_idle(b);
    assert_int_equal(b->n_got[6] + b->n_got[7], 2);
    bed_free(b);
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

/* A heavy tenant fills all rows for thousands of steps, more of it waits; a light one's short
 * request has its first token within five steps, whatever priority the heavy one claims; so has the
 * tenth after it, and then nobody is pushed out any more, because a row is kept. */
static void test_light_beside_heavy(void **state)
{
    (void)state;
    for (int depth = 1; depth <= 2; depth++)
        for (int64_t priority = -1; priority <= 1; priority++) {
            struct engine_fixture x = rows(16);
            x.c.scheduler.steps_in_flight = depth;
            struct bed *b = bed_new(&x);
            for (int i = 0; i < 60; i++)
                ask(b, i, NULL, 8, 4000, priority, 1);
            for (int i = 0; i < 100; i++)
                turn(b);
            assert_int_equal(b->n_first, 16);
            for (int i = 60; i < 80; i++) {
                int64_t before = (int64_t)b->en->lane[0].step_no;
                ask(b, i, NULL, 8, 1, 0, 2);
                for (int k = 0; !b->ended[i]; k++) {
                    turn(b);
                    assert_true(k < 20);
                }
                /* with two in flight, two had been submitted that it could not be in */
                int64_t steps = b->steps_at_first[i] - before;
                assert_int_equal(steps, depth == 1 ? 2 : i == 60 ? 4 : 3);
                for (int k = 0; k < 7; k++)
                    turn(b);
            }
            assert_int_equal(b->en->stats.fair_preemptions, 1);
            for (int i = 0; i < 16; i++) /* who was pushed out is back, or is next in line */
                assert_true(b->n_got[i] > 0);
            bed_free(b);
        }
}

/* The kept row is not lost: when nobody came for it, the heavy tenant has it again. */
static void test_kept_row_expires(void **state)
{
    (void)state;
    struct engine_fixture x = rows(16);
    struct bed *b = bed_new(&x);
    for (int i = 0; i < 20; i++)
        ask(b, i, NULL, 8, 4000, 0, 1);
    for (int i = 0; i < 50; i++)
        turn(b);
    ask(b, 20, NULL, 8, 1, 0, 2);
    while (!b->ended[20])
        turn(b);
    for (int i = 0; i < 20; i++)
        turn(b);
    assert_int_equal(b->en->seqs.n_run, 15);
    assert_int_equal(b->en->sched.n_kept, 1);
    for (int i = 0; i < 600; i++)
        turn(b);
    assert_int_equal(b->en->seqs.n_run, 16);
    assert_int_equal(b->en->sched.n_kept, 0);
    bed_free(b);
}

static int running_of(const struct bed *b, uint64_t tenant)
{
    const struct seqs *q = &b->en->seqs;
    int n = 0;
    for (int32_t i = 0; i < q->n_run; i++)
        n += q->tenant[q->seq[q->run[i]].tenant].key == tenant;
    return n;
}

/* Two tenants with more than all rows each: by their weights, and it stays so: nobody is pushed out
 * to and fro. Weights 1 and 1, 3 and 1. */
static void test_weights(void **state)
{
    (void)state;
    for (int weight = 1; weight <= 3; weight += 2) {
        struct engine_fixture x = rows(16);
        struct bed *b = bed_new(&x);
        b->weight[2] = weight;
        for (int i = 0; i < 40; i++)
            ask(b, i, NULL, 8, 4000, 0, 1);
        for (int i = 0; i < 50; i++)
            turn(b);
        for (int i = 40; i < 80; i++)
            ask(b, i, NULL, 8, 4000, 5, 2);
        for (int i = 0; i < 200; i++)
            turn(b);
        assert_int_equal(running_of(b, 1), weight == 1 ? 8 : 4);
        assert_int_equal(running_of(b, 2), weight == 1 ? 8 : 12);
        assert_int_equal(b->en->stats.preemptions, weight == 1 ? 8 : 12);
        for (int i = 0; i < 1000; i++)
            turn(b);
        assert_int_equal(b->en->stats.preemptions, weight == 1 ? 8 : 12);
        for (int i = 0; i < 80; i++)
            assert_true(b->en->seqs.seq[i].n_preempted <= 1);
        bed_free(b);
    }
}

/* A tenant never has more rows than its bound; the others use the rest. */
static void test_row_bound(void **state)
{
    (void)state;
    struct engine_fixture x = rows(16);
    struct bed *b = bed_new(&x);
    b->max_rows[1] = 5;
    for (int i = 0; i < 20; i++)
        ask(b, i, NULL, 8, 300, 0, 1);
    for (int i = 20; i < 40; i++)
        ask(b, i, NULL, 8, 300, 0, 2);
    for (int i = 0; i < 150; i++) {
        turn(b);
        assert_true(running_of(b, 1) <= 5);
    }
    assert_int_equal(running_of(b, 1), 5);
    assert_int_equal(running_of(b, 2), 11);
    until_idle(b);
    assert_int_equal(b->n_ended, 40);
    bed_free(b);
}

/* What a tenant may keep in the cache: while nobody else needs pages, everything; then its own go
 * first down to its share, and the other tenant's stay. */
static void test_cache_share(void **state)
{
    (void)state;
    for (int bounded = 0; bounded <= 1; bounded++) {
        struct engine_fixture x = small(); /* 400 pages of 4 tokens */
        struct bed *b = bed_new(&x);
        token_id tok[80];
        b->account[1] = bounded ? 7 : 0;
        for (int i = 0; i < 40; i++) { /* 0 to 9 of tenant 2, then 30 of tenant 1, 20 pages each */
            for (int k = 0; k < 80; k++)
                tok[k] = i * 20 + k % 20;
            ask(b, i, tok, 80, 1, 0, i < 10 ? 2 : 1);
            until_idle(b);
        }
        int kept[2] = {0};
        for (int i = 0; i < 40; i++) { /* asked again: the newest first, so that nothing is lost */
            for (int k = 0; k < 80; k++)
                tok[k] = (39 - i) * 20 + k % 20;
            b->whole_pages = true;
            ask(b, 40 + i, tok, 80, 1, 0, 39 - i < 10 ? 2 : 1);
            until_idle(b);
            kept[39 - i < 10] += b->hit[40 + i] > 0;
        }
        if (bounded)
            assert_true(kept[1] == 10 && kept[0] >= 5 && kept[0] <= 10);
        else
            assert_true(kept[1] < 10);
        bed_free(b);
    }
}

/* With whole pages the count of cached tokens says nothing about a page that is not all known. */
static void test_whole_pages(void **state)
{
    (void)state;
    struct engine_fixture x = small();
    x.f.n_pages = 4000; /* nothing is evicted */
    struct bed *b = bed_new(&x);
    token_id tok[40];
    for (int k = 0; k < 40; k++)
        tok[k] = k;
    ask(b, 0, tok, 40, 2, 0, 1);
    until_idle(b);
    for (int same = 0; same < 40; same++) {
        for (int whole = 0; whole <= 1; whole++) {
            int i = 1 + 2 * same + whole;
            b->whole_pages = whole;
            for (int k = 0; k < 40; k++)
                tok[k] = k < same ? k : 500 + i;
            ask(b, i, tok, 40, 1, 0, 2);
            until_idle(b);
            assert_int_equal(b->hit[i], whole ? same / 4 * 4 : same);
        }
    }
    bed_free(b);
}

/* On a device of 50 tokens a second, a prompt of 3,000 is a minute of work in steps of a
 * second or so, each within what the engine says it may take; a cancel in the middle is done at
 * once. */
static void test_slow_device(void **state)
{
    (void)state;
    struct engine_fixture x = rows(4);
    x.c.scheduler.max_step_tokens = 8192;
    struct bed *b = bed_new_slow(&x, 20000);
    assert_int_equal(engine_allowance_us(b->en), 0);
    ask(b, 0, NULL, 3000, 8, 0, 0);
    int64_t most = 0, begin = hm_now(b->hm);
    while (!b->ended[0]) {
        int64_t allowed = engine_allowance_us(b->en), t0 = hm_now(b->hm);
        turn(b);
        int64_t took = hm_now(b->hm) - t0;
        most = took > most ? took : most;
        assert_true(took < 2000 || took < allowed);
    }
    assert_true(hm_now(b->hm) - begin > 60000000);
    assert_in_range(most, 500000, 1400000);
    assert_true(b->en->stats.steps_prefill < 75);
    ask(b, 1, NULL, 3000, 8, 0, 0);
    for (int i = 0; i < 10; i++)
        turn(b);
    begin = hm_now(b->hm);
    assert_int_equal(engine_cancel(b->en, 2, ST_CANCELLED), 0);
    while (!b->ended[1])
        turn(b);
    assert_true(hm_now(b->hm) - begin < 1400000);
    until_idle(b);
    turn(b);
    assert_int_equal(engine_allowance_us(b->en), 0);
    bed_free(b);
}

/* Inside a tenant a short prompt does not wait for the longer ones before it, and long ones advance
 * while short ones keep coming. */
static void test_short_passes_long(void **state)
{
    (void)state;
    struct engine_fixture x = rows(16);
    x.c.scheduler.max_step_tokens = 64;
    struct bed *b = bed_new(&x);
    for (int i = 0; i < 3; i++)
        ask(b, i, NULL, 4000, 1, 0, 0);
    for (int i = 0; i < 6; i++)
        turn(b);
    int64_t before = (int64_t)b->en->lane[0].step_no;
    ask(b, 3, NULL, 8, 1, 0, 0);
    for (int k = 0; !b->ended[3]; k++) {
        turn(b);
        assert_true(k < 10);
    }
    assert_int_equal(b->steps_at_first[3] - before, 3); /* two were in flight */
    assert_false(b->ended[0]);
    int next = 4;
    for (int k = 0; !b->ended[0]; k++) { /* a short one a turn: a quarter is for the long one */
        if (next < MAX_REQ - 1 && b->en->seqs.n_wait < 4)
            ask(b, next++, NULL, 60, 1, 0, 0);
        turn(b);
        assert_true(k < 4000 / 16 + 20);
    }
    assert_true(next > 60);
    until_idle(b);
    bed_free(b);
}

/* A stream of urgent requests that never ends does not keep an unimportant one of the same tenant
 * out, and new tenants for ever do not keep a known one out. */
static void test_no_starvation(void **state)
{
    (void)state;
    for (int same = 0; same <= 1; same++) {
        struct engine_fixture x = small();
        x.f.n_pages = 40;
        x.f.max_model_len = 100;
        struct bed *b = bed_new(&x);
        int next = 1;
        ask(b, 0, NULL, 30, 20, 9, 0);
        for (int turns = 0; !b->ended[0] && next < MAX_REQ; turns++) {
            while (b->en->seqs.n_wait + b->en->seqs.n_run < 8 && next < MAX_REQ) {
                ask(b, next, NULL, 30, 20, 0, same ? 0 : (uint64_t)next);
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
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact_hits),       cmocka_unit_test(test_decode_gap),
        cmocka_unit_test(test_priority),         cmocka_unit_test(test_tenants),
        cmocka_unit_test(test_no_starvation),    cmocka_unit_test(test_light_beside_heavy),
        cmocka_unit_test(test_kept_row_expires), cmocka_unit_test(test_weights),
        cmocka_unit_test(test_row_bound),        cmocka_unit_test(test_short_passes_long),
        cmocka_unit_test(test_slow_device),      cmocka_unit_test(test_cache_share),
        cmocka_unit_test(test_whole_pages),      cmocka_unit_test(test_once_a_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
