/* SPDX-License-Identifier: Apache-2.0 */
/* Hidden states that steps give back: of the last token and the mean over a prompt, against those
 * read out of the pass position by position; the same to the bit however the prompt is cut; what
 * is not finite ends the row. */
#include "testing.h"

#include "model/state.h"
#include "tiny_run.h"

#include <math.h>
#include <stdio.h>

enum { VOCAB = 97, ROWS = 3, MAX_LEN = 96, LEN = 70, DIM = 48 };

static token_id ids[ROWS][LEN];

static int make_config(void **state)
{
    static const struct tiny_model tiny = {.family = "qwen3",
                                           .dim = DIM,
                                           .ffn = 96,
                                           .layers = 2,
                                           .heads = 3,
                                           .kv_heads = 1,
                                           .head_dim = 16,
                                           .vocab = VOCAB,
                                           .max_position = 512,
                                           .norm_eps = 1e-6};
    (void)state;
    tiny_begin("hidden", &tiny);
    for (int i = 0; i < ROWS; i++)
        for (int k = 0; k < LEN; k++)
            ids[i][k] = (token_id)((k * k * (i + 3) + 17 * i + k) % VOCAB);
    return 0;
}

static void open_run(struct model_run *x)
{
    tiny_open(x, 9, ROWS, MAX_LEN, ROWS * LEN);
    assert_int_equal(x->ex.hidden_dim, DIM);
}

static void add(struct model_run *x, int i, int32_t at, int32_t n, int32_t want)
{
    struct step_row *r = &x->s->rows[x->s->n_rows];
    model_run_add(x, i, at, ids[i] + at, n, NULL);
    r->want = want;
}

/* One chunk of row i; its vector into v unless it has none. */
static void chunk(struct model_run *x, int i, int32_t at, int32_t n, int32_t want, float *v)
{
    model_run_begin(x, STEP_PREFILL);
    add(x, i, at, n, want);
    assert_int_equal(model_run_go(x), 0);
    assert_int_equal(x->r->row[0].status, 0);
    assert_int_equal(x->r->row[0].n, 0);
    assert_int_equal(x->ex.hidden(x->ex.self, 0, 0, v),
                     want == STEP_WANT_SUM ? ST_INVALID_VALUE : 0);
}

static void test_positions(void **state)
{
    static const struct sample_params sp = {.top_p = 1, .n_logprobs = -1};
    struct model_run x;
    float v[DIM], mean[DIM], sum[DIM] = {0};
    (void)state;
    open_run(&x);
    for (int32_t k = 0; k < LEN; k++) {
        float state_k[DIM];
        model_run_begin(&x, STEP_PREFILL);
        model_run_add(&x, 1, k, &ids[0][k], 1, &sp);
        assert_int_equal(model_run_go(&x), 0);
        memcpy(state_k, x.m->h, sizeof state_k); /* the CPU's activations are f32 */
        for (int j = 0; j < DIM; j++)
            sum[j] += state_k[j];
        if (k % 9 != 0 && k != LEN - 1)
            continue;
        chunk(&x, 0, 0, k + 1, STEP_WANT_HIDDEN, v);
        assert_memory_equal(v, state_k, sizeof v);
        chunk(&x, 0, 0, k + 1, STEP_WANT_MEAN, v);
        for (int j = 0; j < DIM; j++)
            mean[j] = sum[j] / (float)(k + 1);
        assert_memory_equal(v, mean, sizeof v);
    }
    model_run_close(&x);
}

static void test_cuts_and_neighbours(void **state)
{
    struct model_run x;
    float want[ROWS][DIM], last[DIM], got[DIM];
    (void)state;
    open_run(&x);
    for (int i = 0; i < ROWS; i++)
        chunk(&x, i, 0, LEN, STEP_WANT_MEAN, want[i]);
    chunk(&x, 0, 0, LEN, STEP_WANT_HIDDEN, last);
    for (int32_t piece = 1; piece < LEN; piece += 11) {
        for (int32_t at = 0; at < LEN; at += piece) {
            int32_t n = LEN - at < piece ? LEN - at : piece;
            chunk(&x, 1, at, n, at + n == LEN ? STEP_WANT_MEAN : STEP_WANT_SUM, got);
        }
        assert_memory_equal(want[1], got, sizeof got);
    }
    /* together, one of them the last token's, and one that draws */
    static const struct sample_params sp = {.top_p = 1, .n_logprobs = -1};
    model_run_begin(&x, STEP_PREFILL);
    add(&x, 0, 0, LEN, STEP_WANT_HIDDEN);
    model_run_add(&x, 1, 0, ids[1], 11, &sp);
    add(&x, 2, 0, LEN, STEP_WANT_MEAN);
    assert_int_equal(model_run_go(&x), 0);
    assert_int_equal(x.r->row[1].n, 1);
    assert_int_equal(x.r->n, 1);
    assert_int_equal(x.ex.hidden(x.ex.self, 0, 0, got), 0);
    assert_memory_equal(last, got, sizeof got);
    assert_int_equal(x.ex.hidden(x.ex.self, 0, 1, got), ST_INVALID_VALUE);
    assert_int_equal(x.ex.hidden(x.ex.self, 0, 2, got), 0);
    assert_memory_equal(want[2], got, sizeof got);
    assert_int_equal(x.ex.hidden(x.ex.self, 0, 3, got), ST_INVALID_VALUE);
    model_run_close(&x);
}

static void test_refusals_and_numeric(void **state)
{
    struct model_run x;
    float v[DIM];
    (void)state;
    open_run(&x);
    chunk(&x, 0, 0, 20, STEP_WANT_SUM, v);
    for (int how = 0; how < 3; how++) {
        model_run_begin(&x, how == 0 ? STEP_DECODE : STEP_PREFILL);
        if (how == 0)
            add(&x, 0, 20, 1, STEP_WANT_HIDDEN);
        else if (how == 1) /* not where the sum is */
            add(&x, 0, 21, 5, STEP_WANT_MEAN);
        else /* never begun */
            add(&x, 1, 20, 5, STEP_WANT_SUM);
        assert_int_equal(x.ex.submit(x.ex.self, 0, x.s), ST_INVALID_VALUE);
    }
    chunk(&x, 0, 20, 5, STEP_WANT_MEAN, v);
    *(float *)(uintptr_t)x.m->w.final_norm = NAN;
    for (int want = STEP_WANT_HIDDEN; want <= STEP_WANT_MEAN; want++) {
        model_run_begin(&x, STEP_PREFILL);
        add(&x, 2, 0, 9, want);
        assert_int_equal(model_run_go(&x), 0);
        assert_int_equal(x.r->row[0].status, want == STEP_WANT_SUM ? 0 : ST_NUMERIC);
    }
    model_run_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_positions),
        cmocka_unit_test(test_cuts_and_neighbours),
        cmocka_unit_test(test_refusals_and_numeric),
    };
    return cmocka_run_group_tests(tests, make_config, tiny_end);
}
