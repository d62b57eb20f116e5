/* SPDX-License-Identifier: Apache-2.0 */
/* test_numeric.c - logits that are no numbers: the request ends with ST_NUMERIC, the others do not
 * notice, and nothing that it computed is found by anybody. */
#include "testing.h"

#include "bed.h"
#include "kv.h"
#include "kv_prefix.h"

#include <string.h>

enum { N_TOK = 30 };

static void prompt(token_id *tok, int first)
{
    for (int k = 0; k < N_TOK; k++)
        tok[k] = first + k;
}

static void check_clean(struct bed *b)
{
    struct kv_stats k;
    for (int i = 0; i < 6; i++)
        turn(b);
    kv_get_stats(b->en->kv, &k);
    assert_int_equal(k.n_free + k.n_evictable, k.n_pages);
    assert_int_equal(b->en->lane[0].n_limbo, 0);
}

/* A token whose embedding is no number, between clean requests, with one step in flight and two. */
static void test_bad_token(void **state)
{
    (void)state;
    for (int depth = 1; depth <= 2; depth++) {
        struct engine_fixture x = small();
        x.c.scheduler.steps_in_flight = depth;
        struct bed *b = bed_new(&x), *alone = bed_new(&x);
        token_id tok[N_TOK];
        prompt(tok, 1);
        ask(alone, 0, tok, N_TOK, 12, 0, 0);
        until_idle(alone);
        ask(b, 0, tok, N_TOK, 12, 0, 0);
        tok[17] = BAD_TOKEN;
        ask(b, 1, tok, N_TOK, 12, 0, 0);
        until_idle(b);
        assert_true(b->finish[0] == FINISH_LENGTH && b->n_got[0] == 12);
        assert_memory_equal(b->got[0], alone->got[0], 12 * sizeof(token_id));
        assert_true(b->finish[1] == FINISH_ERROR && b->status[1] == ST_NUMERIC);
        assert_int_equal(b->n_got[1], 0);
        assert_int_equal(b->en->stats.numeric_errors, 1);
        check_clean(b);
        ask(b, 2, tok, N_TOK, 12, 0, 0); /* again: it finds what the clean one had, no more */
        until_idle(b);
        assert_int_equal(b->status[2], ST_NUMERIC);
        assert_int_equal(b->hit[2], 17);
        ask(b, 3, tok, N_TOK, 12, 0,
            0); /* that might have been the cause, so it is forgotten, too */
        until_idle(b);
        assert_int_equal(b->hit[3], 0);
        bed_free(b);
        bed_free(alone);
    }
}

/* One step of the device goes wrong, in the middle of a prompt or of the answer, while a second
 * request shares the prefix: both end, and afterwards the same prompt is computed anew and right.
 */
static void test_spoiled_step(void **state)
{
    (void)state;
    for (int depth = 1; depth <= 2; depth++)
        for (uint64_t no = 2; no <= 8; no++) {
            struct engine_fixture x = small();
            x.c.scheduler.steps_in_flight = depth;
            x.c.scheduler.max_step_tokens = 8;
            struct bed *b = bed_new(&x);
            token_id tok[N_TOK];
            prompt(tok, 1);
            hm_spoil(b->hm, no);
            ask(b, 0, tok, N_TOK, 12, 0, 0);
            ask(b, 1, tok, N_TOK - 3, 12, 0, 0);
            until_idle(b);
            assert_true(b->en->stats.numeric_errors > 0); /* of those that were in it */
            for (int i = 0; i < 2; i++)
                assert_true(b->finish[i] == FINISH_LENGTH || b->status[i] == ST_NUMERIC);
            check_clean(b);
            hm_spoil(b->hm, 0);
            ask(b, 2, tok, N_TOK, 12, 0, 0);
            until_idle(b);
            struct bed *alone = bed_new(&x);
            ask(alone, 2, tok, N_TOK, 12, 0, 0);
            until_idle(alone);
            assert_int_equal(b->finish[2], FINISH_LENGTH);
            assert_memory_equal(b->got[2], alone->got[2], 12 * sizeof(token_id));
            ask(b, 3, tok, N_TOK, 12, 0, 0); /* and its pages are in the cache again */
            until_idle(b);
            assert_int_equal(b->hit[3], N_TOK - 1);
            bed_free(alone);
            bed_free(b);
        }
}

/* Cancelled before its verdict came: that comes all the same, and its pages go. */
static void test_cancelled(void **state)
{
    (void)state;
    struct engine_fixture x = small();
    struct bed *b = bed_new(&x);
    token_id tok[N_TOK];
    prompt(tok, 1);
    tok[5] = BAD_TOKEN;
    ask(b, 0, tok, N_TOK, 12, 0, 0);
    turn(b);
    assert_int_equal(engine_cancel(b->en, 1, ST_CANCELLED), 0);
    until_idle(b);
    assert_int_equal(b->status[0], ST_CANCELLED);
    assert_int_equal(b->en->stats.numeric_errors, 0);
    check_clean(b);
    ask(b, 1, tok, N_TOK, 12, 0, 0);
    until_idle(b);
    assert_int_equal(b->hit[1], 0);
    bed_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_token),
        cmocka_unit_test(test_spoiled_step),
        cmocka_unit_test(test_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
