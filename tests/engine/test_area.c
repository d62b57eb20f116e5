/* SPDX-License-Identifier: Apache-2.0 */
/* test_area.c - biases, masks, ids that must not be drawn yet, penalties: bounds, and what happens
 * when the area of a step is full. That they reach the right rows is what the traces test. */
#include "testing.h"

#include "bed.h"

#include <math.h>

/* What the engine refuses, and the least that it takes. */
static void test_bounds(void **state)
{
    (void)state;
    struct engine_fixture x = small();
    x.f.n_eos = 1;
    x.f.eos[0] = 7;
    struct bed *b = bed_new(&x);
    struct token_bias bias[MAX_BIAS];
    uint32_t mask[MSG_MASK_WORDS(VOCAB)] = {0};
    token_id stop = 9;
    for (int i = 0; i < MAX_BIAS; i++)
        bias[i] = (struct token_bias){.token = i % VOCAB, .bias = 1};
#define TRY(...) try_ask(b, 0, NULL, 4, 4, 0, 0, &(struct extra){__VA_ARGS__})
    assert_int_equal(TRY(.bias = bias, .n_bias = MAX_BIAS), ST_INVALID_VALUE); /* one twice */
    struct msg_submit raw[2] = {/* the second is the prompt */
                                {.h = {.kind = MSG_SUBMIT}, .id = 1, .n_prompt = 4, .max_new = 1}};
    for (int i = 0; i < 2; i++) { /* lengths are judged before what they count is read */
        raw[0].n_bias = i ? MAX_BIAS + 1 : -1;
        assert_int_equal(engine_submit(b->en, raw), ST_INVALID_VALUE);
        raw[0].n_bias = 0;
        raw[0].n_mask = i ? MSG_MASK_WORDS(VOCAB) + 1 : -1;
        assert_int_equal(engine_submit(b->en, raw), ST_INVALID_VALUE);
        raw[0].n_mask = 0;
    }
    struct token_bias bad[] = {{5, 1}, {4, 1}, {VOCAB, 1}, {1, NAN}, {1, INFINITY}, {-1, 1}};
    assert_int_equal(TRY(.bias = bad, .n_bias = 2), ST_INVALID_VALUE);
    for (int i = 2; i < 6; i++)
        assert_int_equal(TRY(.bias = bad + i, .n_bias = 1), ST_INVALID_VALUE);
    assert_int_equal(TRY(.mask = mask, .n_mask = 1), ST_INVALID_VALUE);
    assert_int_equal(TRY(.mask = mask, .n_mask = MSG_MASK_WORDS(VOCAB)), ST_INVALID_VALUE);
    assert_int_equal(TRY(.params = {.presence_penalty = NAN}), ST_INVALID_VALUE);
    assert_int_equal(TRY(.params = {.frequency_penalty = INFINITY}), ST_INVALID_VALUE);
    assert_int_equal(TRY(.params = {.repetition_penalty = -1}), ST_INVALID_VALUE);
    /* EOS and the stop id are all that is allowed, and must not come first */
    mask[0] = 1u << 7 | 1u << 9;
    assert_int_equal(TRY(.mask = mask, .n_mask = MSG_MASK_WORDS(VOCAB), .stop = &stop, .n_stop = 1,
                         .min_new = 1, .with_eos = 1),
                     ST_INVALID_VALUE);
    const struct token_bias never = {.token = 7, .bias = -INFINITY};
    assert_int_equal(TRY(.mask = mask, .n_mask = MSG_MASK_WORDS(VOCAB), .stop = &stop, .n_stop = 1,
                         .min_new = 1, .bias = &never, .n_bias = 1),
                     ST_INVALID_VALUE);
    assert_int_equal(TRY(.mask = mask, .n_mask = MSG_MASK_WORDS(VOCAB), .stop = &stop, .n_stop = 1,
                         .min_new = 1), /* EOS is a token like others */
                     0);
    until_idle(b);
    assert_int_equal(b->got[0][0], 7);
    assert_int_equal(b->n_got[0] == 4 || b->got[0][b->n_got[0] - 1] == 9, 1);
    bed_free(b);
}

/* min_new: neither EOS nor a stop id is drawn before, although nothing else is likely. */
static void test_min_new(void **state)
{
    (void)state;
    struct engine_fixture x = small();
    x.f.n_eos = 1;
    x.f.eos[0] = 7;
    struct bed *b = bed_new(&x);
    uint32_t mask[MSG_MASK_WORDS(VOCAB)] = {1u << 7 | 1u << 9 | 1u << 11};
    token_id stop = 9;
    assert_int_equal(TRY(.mask = mask, .n_mask = MSG_MASK_WORDS(VOCAB), .stop = &stop, .n_stop = 1,
                         .min_new = 3, .with_eos = 1),
                     0);
    until_idle(b);
    for (int k = 0; k < 3; k++)
        assert_int_equal(b->got[0][k], 11);
    bed_free(b);
}

/* 60 rows whose masks fill the area of one step with 41: the rest waits a step, all advance alike,
 * and rows without a mask are in every step. */
static void test_full_area(void **state)
{
    (void)state;
    enum { WIDE = 200000, ROWS = 60, NEW = 21 };
    struct engine_fixture x = rows(64);
    x.f.vocab = WIDE;
    struct bed *b = bed_new(&x);
    uint32_t *mask = xcalloc2(MSG_MASK_WORDS(WIDE), sizeof *mask);
    mask[3] = 0xff;
    const struct extra masked = {.mask = mask, .n_mask = MSG_MASK_WORDS(WIDE)};
    int32_t fit = MAX_AREA / (1 + MSG_MASK_WORDS(WIDE));
    assert_int_equal(fit, 41);
    for (int i = 0; i < ROWS; i++)
        assert_int_equal(try_ask(b, i, NULL, 4, NEW, 0, 0, &masked), 0);
    for (int i = ROWS; i < 64; i++)
        ask(b, i, NULL, 4, 60, 0, 0);
    int least, most, behind = 0;
    do {
        turn(b);
        least = NEW, most = 0;
        for (int i = 0; i < ROWS; i++) {
            least = b->n_got[i] < least ? b->n_got[i] : least;
            most = b->n_got[i] > most ? b->n_got[i] : most;
        }
        behind = most - least > behind ? most - least : behind;
    } while (least < NEW);
    assert_true(behind <= 2);
    int64_t steps = b->en->stats.steps_decode + b->en->stats.steps_prefill;
    assert_in_range(steps, NEW * ROWS / fit, NEW * ROWS / fit + 8);
    until_idle(b);
    for (int i = 0; i < ROWS; i++)
        for (int k = 0; k < NEW; k++)
            assert_in_range(b->got[i][k], 96, 103);
    for (int i = ROWS; i < 64; i++)
        assert_int_equal(b->n_got[i], 60);
    bed_free(b);
    free(mask);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_min_new),
        cmocka_unit_test(test_full_area),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
