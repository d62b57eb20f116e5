/* SPDX-License-Identifier: Apache-2.0 */
/* test_lanes.c - two lanes: what runs beside what, on which part of the device, and how long
 * anybody waits for it. The device is virtual: each lane's steps take their time beside the
 * other's, longer on a smaller part. */
#include "testing.h"

#include "bed.h"
#include "engine/sched.h"
#include "engine/split.h"

#include <math.h>
#include <stdlib.h>

enum { N_SHARES = 7 };

static struct engine_fixture two(void)
{
    struct engine_fixture x = small();
    x.f.n_lanes = 2;
    x.f.n_pages = 4000;
    x.f.max_model_len = 4000;
    x.c.scheduler.max_decode_gap = 5000;
    x.c.scheduler.max_seqs = 8;
    return x;
}

/* Knows what a token and a decode step cost. */
static struct bed *measured(const struct engine_fixture *x)
{
    struct bed *b = bed_new_shares(x, 10, x->f.n_lanes > 1 ? N_SHARES : 0);
    ask(b, 0, NULL, 800, 20, 0, 0);
    until_idle(b);
    return b;
}

static void decode(struct bed *b, int first, int n, int max_new)
{
    for (int i = first; i < first + n; i++)
        ask(b, i, NULL, 8, max_new, 0, 0);
    while (b->n_got[first + n - 1] < 5)
        turn(b);
}

/* Who is alone has the whole device, be it prompts or answers. */
static void test_alone(void **state)
{
    (void)state;
    for (int depth = 1; depth <= 2; depth++) {
        struct engine_fixture x = two();
        x.c.scheduler.steps_in_flight = depth;
        struct bed *b = bed_new_shares(&x, 10, N_SHARES);
        ask(b, 0, NULL, 3000, 100, 0, 0);
        until_idle(b);
        assert_true(b->ended[0] && b->finish[0] == FINISH_LENGTH);
        assert_int_equal(hm_counts(b->hm)->shared, 0);
        assert_int_equal(hm_counts(b->hm)->beside, 0);
        assert_int_equal(hm_counts(b->hm)->handed, 1);
        bed_free(b);
    }
}

/* Rows go on decoding beside a long prompt, on a part of the device, each step within the bound. On
 * this device a part does its part of the work, no more, so that is not paid for with time. */
static void test_side_by_side(void **state)
{
    (void)state;
    int64_t took[2];
    for (int lanes = 1; lanes <= 2; lanes++) {
        struct engine_fixture x = two();
        x.f.n_lanes = lanes;
        struct bed *b = measured(&x);
        decode(b, 1, 3, 60);
        struct hm_counts before = *hm_counts(b->hm);
        int64_t t0 = hm_now(b->hm);
        ask(b, 4, NULL, 3000, 1, 0, 0);
        until_idle(b);
        took[lanes - 1] = hm_now(b->hm) - t0;
        assert_true(b->ended[1] && b->ended[3] && b->ended[4]);
        assert_true(b->en->stats.max_decode_gap_us <= 5000);
        assert_true(lanes == 1 || hm_counts(b->hm)->beside - before.beside > 20);
        assert_true(lanes == 1 || hm_counts(b->hm)->shared - before.shared > 20);
        bed_free(b);
    }
    assert_true(took[1] <= took[0] * 105 / 100);
    printf("3 rows of 60 tokens beside a prompt of 3,000: %lld us in turns, %lld us side by side\n",
           (long long)took[0], (long long)took[1]);
}

/* Prompts without end and rows that decode: neither waits for the other's end. */
static void test_nobody_starves(void **state)
{
    (void)state;
    for (int depth = 1; depth <= 2; depth++) {
        struct engine_fixture x = two();
        x.c.scheduler.steps_in_flight = depth;
        struct bed *b = measured(&x);
        decode(b, 1, 3, 400);
        for (int i = 4; i < 104; i++)
            ask(b, i, NULL, 300, 1, 0, 0);
        int n = b->n_got[1];
        while (b->n_ended < 1 + 40)
            turn(b);
        assert_true(b->n_got[1] >
                    n + 40); /* 40 prompts take as long as 160 decode steps do alone */
        while (!b->ended[1])
            turn(b);
        assert_true(b->n_ended > 60);
        assert_true(b->en->stats.max_decode_gap_us <= 6000);
        until_idle(b);
        bed_free(b);
    }
}

/* Nobody reads what comes: both lanes stop, nothing is lost. */
static void test_full_outbox(void **state)
{
    (void)state;
    struct engine_fixture x = two();
    struct bed *b = measured(&x);
    mbox_free(b->out);
    b->out = b->en->out = mbox_new(1 << 10, 2000, NULL, NULL);
    for (int i = 1; i < 9; i++)
        ask(b, i, NULL, 400, 40, 0, 0);
    for (int i = 0; i < 3000; i++)
        engine_turn(b->en);
    assert_true(b->en->staging.blocked);
    int64_t steps = hm_counts(b->hm)->steps;
    for (int i = 0; i < 100; i++)
        engine_turn(b->en);
    assert_int_equal(hm_counts(b->hm)->steps, steps);
    for (int i = 1; i < 9; i++) {
        while (!b->ended[i])
            turn(b);
        assert_int_equal(b->n_got[i], 40);
    }
    bed_free(b);
}

/* Request 0 gets n tokens more. */
static void decode_by_hand(struct bed *b, void *lane, int32_t n)
{
    const struct lane *d = &b->en->lane[LANE_DECODE];
    n += b->n_got[0];
    while (b->n_got[0] < n) {
        if (d->n_flight > 0)
            hm_run(lane, lane_oldest(d));
        turn(b);
    }
}

/* One lane hangs and the other one goes on: the heartbeat stands still, so that somebody sees it.
 */
static void test_hanging_lane(void **state)
{
    (void)state;
    struct engine_fixture x = two();
    const struct hm_config m = {.n_pages = x.f.n_pages,
                                .page_tokens = (int32_t)x.c.kv.page_tokens,
                                .max_rows = 8,
                                .max_pages = 1001,
                                .vocab = VOCAB,
                                .depth = 2,
                                .lanes = 2,
                                .by_hand = 1};
    struct executor ex[MAX_LANES];
    struct bed *b = xalloc(sizeof *b);
    b->hm = hm_new(&m);
    hm_executor(b->hm, ex);
    b->out = mbox_new(1 << 16, 1 << 20, NULL, NULL);
    b->en = engine_fixture_new(&x, ex, b->out);
    b->en->now = hm_now;
    b->en->pause = hm_pause;
    b->en->now_arg = b->hm;
    ask(b, 0, NULL, 8, 200, 0, 0);
    while (b->n_got[0] == 0) {
        hm_pause(b->hm, 1000);
        turn(b);
    }
    ask(b, 1, NULL, 8, 1, 0, 0); /* its step never runs */
    bool busy;
    int64_t beat[3];
    for (int k = 0; k < 3; k++) {
        decode_by_hand(b, ex[LANE_DECODE].self, 10);
        beat[k] = engine_heartbeat_us(b->en, &busy);
        hm_pause(b->hm, k == 0 ? 0 : 100000000);
    }
    assert_true(busy && b->en->lane[LANE_PREFILL].n_flight == 1);
    assert_true(beat[1] > beat[0]); /* not late yet */
    assert_int_equal(beat[2], beat[1]);
    hm_run(ex[LANE_PREFILL].self, 1);
    decode_by_hand(b, ex[LANE_DECODE].self, 10);
    assert_true(b->ended[1]);
    assert_true(engine_heartbeat_us(b->en, &busy) > beat[2]);
    bed_free(b);
}

/* A newcomer with few tokens waits for others while rows decode, for a decode step at most; one
 * with many begins at once. */
static void test_hold(void **state)
{
    (void)state;
    for (int lanes = 1; lanes <= 2; lanes++) {
        struct engine_fixture x = two();
        x.f.n_lanes = lanes;
        x.c.scheduler.steps_in_flight = 1;
        struct bed *b = measured(&x);
        decode(b, 1, 3, 200);
        const struct hm_counts *n = hm_counts(b->hm);
        int64_t tokens = n->prefill_tokens, steps = b->en->stats.steps_prefill;
        /* One lane is about to wait for a step that is nearly done. */
        struct extra few = {.arrival_us = hm_now(b->hm) + (lanes == 1 ? 900 : 0)};
        assert_int_equal(try_ask(b, 4, NULL, 8, 20, 0, 0, &few), 0);
        engine_turn(b->en);
        assert_int_equal(n->prefill_tokens, tokens);
        struct extra more = {.arrival_us = hm_now(b->hm)};
        assert_int_equal(try_ask(b, 5, NULL, 8, 20, 0, 0, &more), 0);
        while (n->prefill_tokens == tokens)
            turn(b);
        assert_int_equal(n->prefill_tokens, tokens + 16);
        /* a decode step and what is left of the one that was running; or at once when it is time */
        assert_true(hm_now(b->hm) - few.arrival_us < (lanes == 1 ? 2500 : 1100));
        while (!b->ended[5])
            turn(b);
        assert_int_equal(b->en->stats.steps_prefill, steps + 1);
        struct extra many = {.arrival_us = hm_now(b->hm)};
        tokens = n->prefill_tokens;
        assert_int_equal(try_ask(b, 6, NULL, 200, 1, 0, 0, &many), 0);
        engine_turn(b->en);
        assert_int_equal(n->prefill_tokens, tokens + 200);
        until_idle(b);
        bed_free(b);
    }
}

/* ---- decisions alone ---- */

static double decode_us_on(double whole_us, int32_t k)
{
    return whole_us * sqrt((double)(N_SHARES + 1) / k);
}

/* Steps whose load is such that the whole device takes whole_us. */
static void note(struct sched *sc, double whole_us, int n)
{
    for (int i = 0; i < n; i++) {
        int32_t k = split_pick(sc);
        split_note_decode(sc, k, decode_us_on(whole_us, k), whole_us);
    }
}

/* The smallest part that keeps the bound comes by itself; a step that becomes dearer has more at
 * once; a little more and less changes nothing. */
static void test_pick(void **state)
{
    (void)state;
    struct sched sc = {.n_shares = N_SHARES, .max_decode_gap_us = 40000};
    assert_int_equal(split_pick(&sc), 4); /* nothing is known */
    note(&sc, 18000, 200);
    assert_int_equal(sc.share, 3); /* 29.4 ms; on 2 parts it is 36 */
    note(&sc, 14000, 200);
    assert_int_equal(sc.share, 2); /* 28 ms; on 1 part it is 39.6 */
    note(&sc, 10000, 200);
    assert_int_equal(sc.share, 1);
    for (int i = 0; i < 100; i++) { /* no back and forth */
        note(&sc, i % 2 ? 10000 : 12500, 20);
        assert_int_equal(sc.share, 1);
    }
    note(&sc, 30000, 2);
    assert_int_equal(sc.share, 6); /* 34.6 ms; on 5 parts it is 37.9, more than nine tenths */
    note(&sc, 60000, 2);
    assert_int_equal(sc.share, N_SHARES); /* not to be had; the most there is */
    struct sched unbounded = {.n_shares = N_SHARES};
    note(&unbounded, 10000, 200);
    assert_int_equal(unbounded.share, 4); /* no bound: the middle */
    struct sched whole = {.max_decode_gap_us = 40000};
    assert_int_equal(split_pick(&whole), 0);
}

/* A split that was slow once is tried again after a long time: the batch is another one. */
static void test_pick_again(void **state)
{
    (void)state;
    struct sched sc = {.n_shares = 2, .share = 1, .max_decode_gap_us = 40000};
    split_note_decode(&sc, 1, 90000, 10000);
    assert_int_equal(split_pick(&sc), 2);
    for (int i = 0; i < 3000; i++)
        split_note_decode(&sc, split_pick(&sc), 11000, 10000);
    assert_int_equal(sc.share, 2);
    for (int i = 0; i < 3000; i++)
        split_note_decode(&sc, split_pick(&sc), 11000, 10000);
    assert_int_equal(sc.share, 1);
}

/* A step of twice the load is expected to take twice as long on every split. */
static void test_costs_follow_load(void **state)
{
    (void)state;
    struct sched sc = {.n_shares = 3, .max_decode_gap_us = 1000};
    for (int i = 0; i < 50; i++) {
        split_note_decode(&sc, 0, 1000, 10);
        split_note_decode(&sc, 2, 1500, 10);
    }
    assert_float_equal(split_decode_us(&sc, 0), 1000, 1);
    assert_float_equal(split_decode_us(&sc, 2), 1500, 1);
    assert_float_equal(split_decode_us(&sc, 1), 1500 * sqrt(2), 1); /* never tried */
    split_note_decode(&sc, 0, 2000, 20);
    assert_float_equal(split_decode_us(&sc, 2), 3000, 1);
}

static void test_chunks(void **state)
{
    (void)state;
    struct sched sc = {.n_shares = 3, .max_step_tokens = 8192, .max_decode_gap_us = 10000};
    const struct {
        double token_us;
        int32_t n;
    } of[] = {{1, 8192}, {12, 8192}, {13, 6144}, {25, 2048}, {50, 2000}, {200, 500}, {5000, 64}};
    assert_true(sched_lane_budget(&sc, 2) < 2048); /* nothing measured yet */
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        sc.cost.prefill_tokens[1] = 1000;
        sc.cost.prefill_us[1] = of[i].token_us * 1000;
        assert_int_equal(sched_lane_budget(&sc, 1), of[i].n);
        assert_int_equal(sched_lane_budget(&sc, 3), of[i].n); /* the nearest that was tried */
    }
    sc.max_step_tokens = 48;
    assert_int_equal(sched_lane_budget(&sc, 1), 48);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_side_by_side),
        cmocka_unit_test(test_nobody_starves),
        cmocka_unit_test(test_full_outbox),
        cmocka_unit_test(test_hanging_lane),
        cmocka_unit_test(test_hold),
        cmocka_unit_test(test_pick),
        cmocka_unit_test(test_pick_again),
        cmocka_unit_test(test_costs_follow_load),
        cmocka_unit_test(test_chunks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
