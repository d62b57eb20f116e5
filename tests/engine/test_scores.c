/* SPDX-License-Identifier: Apache-2.0 */
/* test_scores.c - log probabilities of a prompt's tokens: each once and right, however the prompt
 * is cut, cached before, preempted or cancelled; and no more at a time than there is room for. */
#include "testing.h"

#include "bed.h"

enum { LEN = 300 };

static void make(token_id tok[LEN], int kind)
{
    for (int k = 0; k < LEN; k++)
        tok[k] = (k * k * 3 + k * 7 + kind * 101) % (VOCAB - 1);
}

/* What the model says of tok[1, n). */
static uint64_t expected(const token_id *tok, int n)
{
    uint64_t acc = 0, sum = 0;
    for (int k = 0; k < n; k++) {
        if (k > 0)
            sum = score_sum(sum, tok[k], hm_score(acc, tok[k]), hm_rank(acc, tok[k], VOCAB - 1));
        acc = hm_mix(acc, hm_entry(acc, tok[k], k));
    }
    return sum;
}

static void ask_scores(struct bed *b, int i, const token_id *tok, int n, int max_new, int best)
{
    const struct extra x = {.scores = 1 + best};
    assert_int_equal(try_ask(b, i, tok, n, max_new, 0, 0, &x), 0);
}

static void check(const struct bed *b, int i, const token_id *tok, int n, int max_new, int best)
{
    assert_int_equal(b->finish[i], FINISH_LENGTH);
    assert_int_equal(b->n_got[i], max_new);
    assert_int_equal(b->n_scored[i], n - 1);
    assert_int_equal(b->n_best[i], (n - 1) * best);
    assert_true(b->scores[i] == expected(tok, n));
    assert_int_equal(b->hit[i], 0);
}

/* In chunks of every size, also of one token, and the last token of the prompt alone. */
static void test_chunks(void **state)
{
    (void)state;
    token_id tok[LEN];
    make(tok, 1);
    for (int most = 1; most <= 64; most += most < 5 ? 1 : 7) {
        struct engine_fixture x = small();
        x.c.scheduler.max_seqs = most < 4 ? most : 4;
        x.c.scheduler.max_step_tokens = most;
        struct bed *b = bed_new(&x);
        for (int i = 0; i < 6; i++)
            ask_scores(b, i, tok, 20 + i * 11, i % 3, i);
        until_idle(b);
        for (int i = 0; i < 6; i++)
            check(b, i, tok, 20 + i * 11, i % 3, i);
        bed_free(b);
    }
}

/* A prompt that is in the cache is computed all the same, and said not to come from there; whoever
 * comes after it finds it. The shortest prompts have one score, or none. */
static void test_cache(void **state)
{
    (void)state;
    token_id tok[LEN];
    make(tok, 2);
    struct engine_fixture x = small();
    struct bed *b = bed_new(&x);
    ask(b, 0, tok, 100, 2, 0, 0);
    until_idle(b);
    int64_t hits = b->en->stats.prefix_hits, asked = b->en->stats.prefix_queries;
    for (int i = 1; i < 3; i++) { /* one of them draws, one does not */
        ask_scores(b, i, tok, 100, 2 - i, 0);
        until_idle(b);
        check(b, i, tok, 100, 2 - i, 0);
    }
    assert_int_equal(b->en->stats.prefix_hits, hits);
    assert_int_equal(b->en->stats.prefix_queries, asked); /* they did not look */
    ask(b, 3, tok, 100, 2, 0, 0);
    until_idle(b);
    assert_int_equal(b->hit[3], 99);
    assert_int_equal(b->got[3][1], b->got[0][1]);
    ask_scores(b, 4, tok, 2, 0, 3);
    ask_scores(b, 5, tok, 1, 1, 3);
    until_idle(b);
    check(b, 4, tok, 2, 0, 3);
    check(b, 5, tok, 1, 1, 3);
    bed_free(b);
}

/* Somebody more important takes the only row while a part of the prompt is scored. With a cache
 * what was scored is found again; without it is computed again, and not told again. */
static void test_preemption(void **state)
{
    (void)state;
    token_id tok[LEN], other[LEN];
    make(tok, 3);
    make(other, 4);
    for (int kind = 0; kind < 4; kind++) {
        struct engine_fixture x = small();
        x.c.scheduler.max_seqs = 1;
        x.c.scheduler.max_step_tokens = 8;
        x.c.kv.prefix_cache.enabled = kind % 2 == 0;
        struct bed *b = bed_new(&x);
        const struct extra scored = {.scores = 3};
        int max_new = kind < 2 ? 0 : 4;
        assert_int_equal(try_ask(b, 0, tok, 200, max_new, 5, 0, &scored), 0);
        while (b->n_scored[0] < 60)
            turn(b);
        ask(b, 1, other, 60, 3, 0, 0); /* short: it need not wait for the rest of the long one */
        while (b->en->stats.preemptions == 0)
            assert_true(turn(b));
        assert_in_range(b->n_scored[0], 60, 100);
        until_idle(b);
        check(b, 0, tok, 200, max_new, 2);
        assert_int_equal(b->n_got[1], 3);
        bed_free(b);
    }
}

/* A cancelled one says nothing more, and its pages come back. */
static void test_cancel(void **state)
{
    (void)state;
    token_id tok[LEN];
    make(tok, 5);
    struct engine_fixture x = small();
    x.c.scheduler.max_step_tokens = 16;
    struct bed *b = bed_new(&x);
    ask_scores(b, 0, tok, 200, 0, 1);
    while (b->n_scored[0] < 40)
        turn(b);
    assert_int_equal(engine_cancel(b->en, 1, ST_CANCELLED), 0);
    until_idle(b);
    assert_int_equal(b->finish[0], FINISH_CANCEL);
    assert_in_range(b->n_scored[0], 40, 100);
    assert_int_equal(b->en->seqs.n_free, b->en->seqs.n_slots);
    bed_free(b);
}

/* Steps that could score 8,000 tokens score MAX_SCORES; others get their turn beside them; a reader
 * that does not read stops them, and finds all when it comes back; a stop ends each once. */
static void test_room(void **state)
{
    (void)state;
    enum { N = 8, LONG = 1000 };
    token_id *tok = xcalloc2(LONG, sizeof *tok);
    for (int k = 0; k < LONG; k++)
        tok[k] = (k * k + 5 * k) % (VOCAB - 1);
    for (int stop = 0; stop < 2; stop++) {
        struct engine_fixture x = rows(N + 1);
        x.c.scheduler.max_step_tokens = 16384;
        x.c.scheduler.max_decode_gap = 0;
        struct bed *b = bed_new(&x);
        ask(b, N, NULL, 4000, 2, 0, 0); /* measures the cost of a token, so that chunks get long */
        until_idle(b);
        for (int i = 0; i < N; i++)
            ask_scores(b, i, tok, LONG, 0, MAX_LOGPROBS);
        int most = 0;
        for (int k = 0; k < 6; k++) {
            struct msg_outbox m = {.h = {.kind = MSG_OUTBOX, .bytes = sizeof m}};
            while (mbox_send(b->out, &m, sizeof m) == 0)
                ;
            for (int j = 0; j < 5; j++)
                engine_turn(b->en);
            most = b->en->staging.n_rec > most ? b->en->staging.n_rec : most;
            turn(b);
        }
        assert_in_range(most, MAX_SCORES / 2, MAX_SCORES + N + 1);
        if (stop)
            engine_stop(b->en, ST_DRAINING);
        until_idle(b);
        for (int i = 0; i < N && !stop; i++)
            check(b, i, tok, LONG, 0, MAX_LOGPROBS);
        assert_int_equal(b->n_ended, N + 1);
        bed_free(b);
    }
    free(tok);
}

static void test_bounds(void **state)
{
    (void)state;
    token_id tok[LEN];
    make(tok, 6);
    struct engine_fixture x = small();
    struct bed *b = bed_new(&x);
#define TRY(n, max_new, s) try_ask(b, 0, tok, n, max_new, 0, 0, &(struct extra){.scores = s})
    assert_int_equal(TRY(10, 0, 0), ST_INVALID_VALUE); /* nothing to do */
    assert_int_equal(TRY(1, 0, 1), ST_INVALID_VALUE);
    assert_int_equal(TRY(10, 0, -1), ST_INVALID_VALUE);
    assert_int_equal(TRY(10, 0, MAX_LOGPROBS + 2), ST_INVALID_VALUE);
    assert_int_equal(TRY(10, -1, 1), ST_INVALID_VALUE);
    assert_int_equal(engine_fits(&b->en->lim, 1200, 0, NULL), 0);
    assert_int_equal(engine_fits(&b->en->lim, 1201, 0, NULL), ST_CONTEXT_LENGTH);
    struct engine_limits l = b->en->lim;
    l.n_pages = 25; /* of 4 */
    assert_int_equal(engine_fits(&l, 100, 0, NULL), 0);
    assert_int_equal(engine_fits(&l, 100, 1, NULL), 0);
    assert_int_equal(engine_fits(&l, 101, 0, NULL), ST_CONTEXT_LENGTH);
    assert_int_equal(engine_fits(&l, 100, 2, NULL), ST_CONTEXT_LENGTH);
    /* a token that gives no numbers ends it, and what is behind it is not told */
    tok[50] = BAD_TOKEN;
    assert_int_equal(TRY(100, 0, 1), 0);
    until_idle(b);
    assert_int_equal(b->status[0], ST_NUMERIC);
    assert_in_range(b->n_scored[0], 0, 49);
    bed_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunks),     cmocka_unit_test(test_cache),
        cmocka_unit_test(test_preemption), cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_room),       cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
