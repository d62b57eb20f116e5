/* SPDX-License-Identifier: Apache-2.0 */
/* Penalties, biases and masks through the executor: each token is the best of what the definitions
 * make of the raw logits and of the row's own tokens; the same with two steps in flight, after a
 * preemption, and whoever had the row before; log probabilities stay raw; what breaks the contract
 * of the area is refused. */
#include "testing.h"

#include "penalty.h"
#include "tiny_run.h"

#include <math.h>
#include <stdio.h>

enum { VOCAB = 211, ROWS = 5, MAX_LEN = 160, PROMPT = 24, N = 40 };

static int make_config(void **state)
{
    static const struct tiny_model tiny = {.family = "llama",
                                           .dim = 64,
                                           .ffn = 96,
                                           .layers = 2,
                                           .heads = 4,
                                           .kv_heads = 2,
                                           .head_dim = 16,
                                           .vocab = VOCAB,
                                           .max_position = 512,
                                           .norm_eps = 1e-6};
    (void)state;
    return tiny_begin("adjust", &tiny);
}

static void open_run(struct model_run *x)
{
    tiny_open(x, 11, ROWS, MAX_LEN, 512);
}

/* What the rows ask for: nothing, each penalty, all of it with a bias and a mask. */
static const token_id bias_tok[] = {5, 17, 100, 3};
static const float bias[] = {2.5f, -4.0f, 0.75f, -INFINITY};
static uint32_t mask[(VOCAB + 31) / 32];
static const struct sample_params want[ROWS] = {
    {.top_p = 1, .n_logprobs = 2},
    {.top_p = 1, .n_logprobs = -1, .repetition_penalty = 1.3f},
    {.top_p = 1, .n_logprobs = -1, .repetition_penalty = 1, .presence_penalty = 0.9f},
    {.top_p = 1, .n_logprobs = 0, .repetition_penalty = 0.8f, .frequency_penalty = 0.4f},
    {.top_p = 1,
     .n_logprobs = 4,
     .repetition_penalty = 1.2f,
     .frequency_penalty = 0.3f,
     .presence_penalty = -0.5f}};

struct run {
    token_id tok[ROWS][PROMPT + N + 1];
    struct penalty_row row[ROWS];
};

static void begin_rows(struct run *r)
{
    for (int i = 0; i < (VOCAB + 31) / 32; i++)
        mask[i] = 0x9f3b7d6eu * (uint32_t)(2 * i + 1);
    for (int i = 0; i < ROWS; i++) {
        for (int k = 0; k < PROMPT; k++)
            r->tok[i][k] = (token_id)((i * 31 + k * k * 7) % VOCAB);
        r->row[i] = (struct penalty_row){.tok = r->tok[i], .n_prompt = PROMPT, .n_tok = PROMPT};
        if (i >= 3) {
            r->row[i].bias_tok = bias_tok;
            r->row[i].bias = bias;
            r->row[i].n_bias = 4;
        }
        if (i == 4)
            r->row[i].mask = mask;
    }
}

/* Rows [from, ROWS) with all their tokens, moved by `shift` rows, and their counts. */
static void plan_prefill(struct run *r, struct step *s, const struct model_run *x, int shift)
{
    step_begin(s, STEP_PREFILL, 1);
    for (int i = 0; i < ROWS; i++) {
        step_add(s, x, (i + shift) % ROWS, 0, r->tok[i], r->row[i].n_tok, &want[i]);
        penalty_area(&r->row[i], VOCAB, has_penalty(&want[i]), s, i);
    }
}

static void plan_decode(struct run *r, struct step *s, const struct model_run *x, int shift,
                        int32_t at)
{
    token_id again = TOKEN_FROM_ROW;
    step_begin(s, STEP_DECODE, 2);
    for (int i = 0; i < ROWS; i++) {
        step_add(s, x, (i + shift) % ROWS, at, &again, 1, &want[i]);
        penalty_area(&r->row[i], VOCAB, false, s, i);
    }
}

static double log_softmax(const float *x, token_id t)
{
    double sum = 0;
    for (int i = 0; i < VOCAB; i++)
        sum += exp((double)x[i] - (double)x[t]);
    return -log(sum);
}

/* Take the tokens of the step just done; with logits, check each against the definitions. */
static void take(struct run *r, struct model_run *x, bool check)
{
    float raw[VOCAB], adjusted[VOCAB];
    for (int i = 0; i < ROWS; i++) {
        assert_int_equal(x->r->row[i].status, 0);
        assert_int_equal(x->r->row[i].n, 1);
        int32_t k = x->r->row[i].first;
        token_id t = x->r->token[k];
        if (check) {
            assert_int_equal(model_logits(x->m, i, raw), 0);
            penalty_logits(&r->row[i], &want[i], raw, VOCAB, adjusted);
            assert_int_equal(t, penalty_best(adjusted, VOCAB));
            if (want[i].n_logprobs >= 0)
                assert_true(fabs((double)x->r->logprob[k] - log_softmax(raw, t)) < 1e-5);
            if (want[i].n_logprobs > 0)
                assert_int_equal(x->r->top[k][0].token, penalty_best(raw, VOCAB));
        }
        r->tok[i][r->row[i].n_tok++] = t;
    }
}

/* All N tokens; when `stop` are there the rows are given up and prefilled again, two rows further.
 */
static void generate(struct run *r, struct model_run *x, int32_t stop)
{
    int shift = 0;
    begin_rows(r);
    for (int32_t n = 0; n < N; n++) {
        if (n == 0 || n == stop) {
            shift = n == 0 ? 0 : 2;
            plan_prefill(r, x->s, x, shift);
        } else {
            plan_decode(r, x->s, x, shift, PROMPT + n - 1);
        }
        assert_int_equal(model_run_go(x), 0);
        take(r, x, true);
    }
}

static void test_definitions(void **state)
{
    static struct run a, b;
    struct model_run x;
    (void)state;
    open_run(&x);
    generate(&a, &x, -1);
    for (int32_t stop = 1; stop < N; stop += 9) { /* rows that others' counts are left in */
        generate(&b, &x, stop);
        assert_memory_equal(a.tok, b.tok, sizeof a.tok);
    }
    int differ = 0;
    for (int i = 1; i < ROWS; i++)
        differ += memcmp(a.tok[i], a.tok[0], sizeof a.tok[0]) != 0;
    assert_int_equal(differ, ROWS - 1);
    model_run_close(&x);
}

static void test_two_in_flight(void **state)
{
    static struct run a, b;
    static struct step s[2];
    struct model_run x;
    (void)state;
    open_run(&x);
    generate(&a, &x, -1);
    begin_rows(&b);
    plan_prefill(&b, &s[0], &x, 0);
    assert_int_equal(x.ex.submit(x.ex.self, 0, &s[0]), 0);
    for (int32_t n = 1; n <= N; n++) {
        if (n < N) {
            plan_decode(&b, &s[n % 2], &x, 0, PROMPT + n - 1);
            assert_int_equal(x.ex.submit(x.ex.self, n % 2, &s[n % 2]), 0);
        }
        assert_int_equal(x.ex.wait(x.ex.self, (n - 1) % 2, x.r), 0);
        take(&b, &x, false);
    }
    assert_memory_equal(a.tok, b.tok, sizeof a.tok);
    model_run_close(&x);
}

/* A mask that leaves one token gives it, with its own logprob; one that leaves none is an error of
 * that row. */
static void test_masks(void **state)
{
    static struct run r;
    struct model_run x;
    static const uint32_t masks[2][(VOCAB + 31) / 32] = {{[200 / 32] = 1u << 200 % 32}};
    float raw[VOCAB];
    (void)state;
    open_run(&x);
    begin_rows(&r);
    for (int round = 0; round < 2; round++) {
        r.row[0].mask = masks[round];
        plan_prefill(&r, x.s, &x, 0);
        assert_int_equal(model_run_go(&x), 0);
        assert_int_equal(x.r->row[0].status, round == 0 ? 0 : ST_NUMERIC);
        assert_int_equal(x.r->row[1].status, 0);
        assert_int_equal(model_logits(x.m, 0, raw), 0);
        if (round == 0) {
            assert_int_equal(x.r->token[0], 200);
            assert_true(fabs((double)x.r->logprob[0] - log_softmax(raw, 200)) < 1e-5);
        }
    }
    model_run_close(&x);
}

/* Word k of the record that row 4 begins with, in a plan that is fine but for it. */
static void spoil(struct step *s, int how)
{
    uint32_t *w = s->area + s->rows[4].area0, n = w[0] >> 8, *second = w + 1 + n;
    const float nan = NAN, inf = INFINITY;
    switch (how) {
    case 0: /* a token outside */
        w[1] = VOCAB;
        break;
    case 1: /* longer than the row's area */
        w[0] += 1000u << 8;
        break;
    case 2: /* half a pair */
        w[0] -= 1u << 8;
        break;
    case 3: /* unknown */
        w[0] = (w[0] & ~0xffu) | 9;
        break;
    case 4: /* twice */
        second[0] = STEP_AREA_COUNTS | (second[0] & ~0xffu);
        break;
    case 5:
        memcpy(&second[2], &nan, sizeof nan);
        break;
    case 6:
        memcpy(&second[2], &inf, sizeof inf);
        break;
    case 7: /* of the mask, the last record, one word less */
        s->area[s->n_area - (VOCAB + 31) / 32 - 1] -= 1u << 8;
        break;
    case 8:
        s->rows[4].n_area = s->n_area;
        break;
    case 9:
        s->rows[4].area0 = -1;
        break;
    case 10: /* draws nothing */
        s->rows[4].want = STEP_WANT_NONE;
        break;
    case 11:
        s->sample[4].presence_penalty = NAN;
        break;
    case 12:
        s->sample[4].repetition_penalty = -1;
        break;
    case 13: /* counts without a penalty */
        s->sample[4] = want[0];
        break;
    case 14: /* a penalty without counts */
        s->rows[1].area0 = s->rows[1].n_area = 0;
        break;
    default:
        break;
    }
}

static void test_refusals(void **state)
{
    static struct run a, r;
    struct model_run x;
    token_id again = TOKEN_FROM_ROW;
    (void)state;
    open_run(&x);
    generate(&a, &x, -1);
    for (int how = 0; how < 15; how++) {
        begin_rows(&r);
        plan_prefill(&r, x.s, &x, 0);
        spoil(x.s, how);
        assert_int_equal(x.ex.submit(x.ex.self, 0, x.s), ST_INVALID_VALUE);
    }
    /* going on where the row did not draw last, or draws no more since */
    for (int how = 0; how < 2; how++) {
        begin_rows(&r);
        plan_prefill(&r, x.s, &x, 0);
        assert_int_equal(model_run_go(&x), 0);
        step_begin(x.s, STEP_DECODE, 2);
        step_add(x.s, &x, 1, PROMPT + 1 - how, &again, 1, how == 0 ? &want[1] : NULL);
        assert_int_equal(model_run_go(&x), how == 0 ? ST_INVALID_VALUE : 0);
        step_begin(x.s, STEP_DECODE, 3);
        step_add(x.s, &x, 1, PROMPT + how, &again, 1, &want[1]);
        assert_int_equal(model_run_go(&x), how == 0 ? 0 : ST_INVALID_VALUE);
    }
    generate(&r, &x, 5);
    assert_memory_equal(a.tok, r.tok, sizeof a.tok);
    model_run_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_definitions),
        cmocka_unit_test(test_two_in_flight),
        cmocka_unit_test(test_masks),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, make_config, tiny_end);
}
