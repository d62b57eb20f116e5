/* SPDX-License-Identifier: Apache-2.0 */
/* test_outbox.c - a reader that does not read: nothing is lost, nothing overflows, whatever is in
 * flight when the engine stops. */
#include "testing.h"

#include "bed.h"

enum { ROWS = 16 };

static struct bed *full_rows(int n)
{
    struct engine_fixture x = rows(ROWS);
    struct bed *b = bed_new(&x);
    const struct extra most = {.params = {.n_logprobs = MAX_LOGPROBS}};
    for (int i = 0; i < n; i++)
        assert_int_equal(try_ask(b, i, NULL, 8, 1000, 0, 0, &most), 0);
    for (int i = 0; i < 20; i++)
        turn(b);
    assert_int_equal(b->en->seqs.n_run, n < ROWS ? n : ROWS);
    assert_int_equal(b->en->lane[0].n_flight, 2);
    return b;
}

/* Other messages take all room of the outbox. */
static void block(struct bed *b)
{
    struct msg_outbox m = {.h = {.kind = MSG_OUTBOX, .bytes = sizeof m}};
    while (mbox_send(b->out, &m, sizeof m) == 0)
        ;
}

/* Two steps of the most log probabilities in flight, or one and the tokens of another held, or the
 * ends of everything else held; then the engine stops. Every request gets one end. */
static void test_stop_while_blocked(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        int n = kind == 2 ? 100 : ROWS;
        struct bed *b = full_rows(n);
        block(b);
        if (kind == 1) { /* one is committed, its tokens stay */
            engine_turn(b->en);
            assert_int_equal(b->en->staging.n_top, ROWS * MAX_LOGPROBS);
            assert_int_equal(b->en->lane[0].n_flight, 1);
        }
        for (int i = ROWS; i < n; i++)
            assert_int_equal(engine_cancel(b->en, (req_id)i + 1, ST_CANCELLED), 0);
        engine_stop(b->en, ST_DRAINING);
        assert_int_equal(b->en->lane[0].n_flight, 0);
        assert_true(b->en->staging.blocked);
        for (int i = 0; i < 4; i++)
            engine_turn(b->en); /* still nobody reads */
        for (int i = 0; i < 4; i++)
            turn(b);
        assert_int_equal(b->n_ended, n);
        for (int i = 0; i < n; i++)
            assert_int_equal(b->status[i], i < ROWS ? ST_DRAINING : ST_CANCELLED);
        assert_int_equal(atomic_load(&b->en->live), 0);
        bed_free(b);
    }
}

/* A reader that comes back finds every token, in order. */
static void test_blocked_and_back(void **state)
{
    (void)state;
    struct bed *b = full_rows(ROWS), *free_running = full_rows(ROWS);
    block(b);
    for (int i = 0; i < 50; i++)
        engine_turn(b->en);
    turn(b); /* takes what was in the way */
    until_idle(b);
    until_idle(free_running);
    for (int i = 0; i < ROWS; i++) {
        assert_int_equal(b->n_got[i], 1000);
        assert_memory_equal(b->got[i], free_running->got[i], sizeof b->got[i]);
    }
    bed_free(free_running);
    bed_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stop_while_blocked),
        cmocka_unit_test(test_blocked_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
