/* SPDX-License-Identifier: Apache-2.0 */
/* Log probabilities of a prompt's own tokens: against logits taken position by position, the same
 * to the bit however the prompt is cut and whoever is beside it, more of them in a step than there
 * are logits; the best list has the token's own float; what is no number ends the row. */
#include "testing.h"

#include "model/state.h"
#include "tiny_run.h"

#include <math.h>
#include <stdio.h>

enum { VOCAB = 97, ROWS = 5, MAX_LEN = 160, LEN = 90, TOP = 5 };

static token_id ids[ROWS][LEN];

static int make_config(void **state)
{
    static const struct tiny_model tiny = {.family = "llama",
                                           .dim = 48,
                                           .ffn = 96,
                                           .layers = 2,
                                           .heads = 3,
                                           .kv_heads = 3,
                                           .head_dim = 16,
                                           .vocab = VOCAB,
                                           .max_position = 512,
                                           .norm_eps = 1e-6};
    (void)state;
    tiny_begin("score", &tiny);
    for (int i = 0; i < ROWS; i++)
        for (int k = 0; k < LEN; k++)
            ids[i][k] = (token_id)((k * k * (i + 3) + 17 * i + k) % (VOCAB - 1));
    return 0;
}

static void open_run(struct model_run *x)
{
    tiny_open(x, 5, ROWS, MAX_LEN, ROWS * LEN);
}

struct scores {
    int32_t n;
    float score[LEN];
    int32_t rank[LEN];
    struct token_logprob top[LEN][TOP];
};

/* A chunk of row i that scores all that it can; the prompt's last token draws. */
static void add(struct model_run *x, int i, int32_t at, int32_t n, int32_t top)
{
    static const struct sample_params sp = {.top_p = 1, .n_logprobs = -1};
    bool last = at + n == LEN;
    struct step_row *r = &x->s->rows[x->s->n_rows];
    model_run_add(x, i, at, ids[i] + at, n, last ? &sp : NULL);
    r->n_score = last ? n - 1 : n;
    r->n_score_top = top;
    r->next = last ? -1 : ids[i][at + n];
}

static void take(const struct model_run *x, int32_t k, struct scores *s, int32_t top)
{
    assert_int_equal(x->r->row[k].status, 0);
    assert_int_equal(x->r->row[k].n_score, x->s->rows[k].n_score);
    for (int32_t j = 0; j < x->r->row[k].n_score; j++, s->n++) {
        int32_t at = x->r->row[k].score0 + j;
        s->score[s->n] = x->r->score[at];
        s->rank[s->n] = x->r->score_rank[at];
        memcpy(s->top[s->n], x->r->score_top[at], (size_t)top * sizeof *s->top[0]);
    }
}

/* Row i's prompt in chunks of `piece`, alone. */
static void score_alone(struct model_run *x, int i, int32_t piece, struct scores *s)
{
    memset(s, 0, sizeof *s);
    for (int32_t at = 0; at < LEN; at += piece) {
        model_run_begin(x, STEP_PREFILL);
        add(x, i, at, LEN - at < piece ? LEN - at : piece, TOP);
        assert_int_equal(model_run_go(x), 0);
        take(x, 0, s, TOP);
    }
    assert_int_equal(s->n, LEN - 1);
}

static void test_positions(void **state)
{
    static const struct sample_params sp = {.top_p = 1, .n_logprobs = TOP};
    static struct scores s;
    struct model_run x;
    float raw[VOCAB];
    int greedy = 0;
    double worst = 0;
    (void)state;
    open_run(&x);
    score_alone(&x, 0, LEN, &s);
    for (int32_t k = 0; k + 1 < LEN; k++) {
        model_run_begin(&x, STEP_PREFILL);
        model_run_add(&x, 1, k, &ids[0][k], 1, &sp);
        assert_int_equal(model_run_go(&x), 0);
        assert_int_equal(model_logits(x.m, 0, raw), 0);
        double sum = 0;
        for (int t = 0; t < VOCAB; t++)
            sum += exp((double)raw[t]);
        token_id t = ids[0][k + 1];
        worst = fmax(worst, fabs((double)raw[t] - log(sum) - (double)s.score[k]));
        assert_memory_equal(x.r->top[0], s.top[k], sizeof s.top[k]);
        greedy += x.r->token[0] == t;
        int32_t place = 1;
        for (int v = 0; v < VOCAB; v++)
            place += raw[v] > raw[t];
        assert_int_equal(s.rank[k], place);
        for (int j = 0; j < TOP; j++) /* to the bit: a token is greedy when these are equal */
            if (s.top[k][j].token == t)
                assert_memory_equal(&s.top[k][j].logprob, &s.score[k], sizeof(float));
    }
    printf("%d positions, %d greedy, largest difference %.2e\n", LEN - 1, greedy, worst);
    assert_true(worst < 2e-6);
    model_run_close(&x);
}

/* The greedy continuation scores, each, the largest of its position: what harnesses compare. */
static void test_greedy(void **state)
{
    static struct scores s;
    static const struct sample_params sp = {.top_p = 1, .n_logprobs = -1};
    struct model_run x;
    (void)state;
    open_run(&x);
    for (int32_t k = 0; k + 1 < LEN; k++) {
        model_run_begin(&x, STEP_PREFILL);
        model_run_add(&x, 0, k, &ids[4][k], 1, &sp);
        assert_int_equal(model_run_go(&x), 0);
        if (k >= 20)
            ids[4][k + 1] = x.r->token[0];
    }
    score_alone(&x, 4, 33, &s);
    for (int32_t k = 20; k + 1 < LEN; k++)
        assert_memory_equal(&s.score[k], &s.top[k][0].logprob, sizeof(float));
    model_run_close(&x);
}

static void test_cuts_and_neighbours(void **state)
{
    static struct scores want[ROWS], got[ROWS];
    struct model_run x;
    (void)state;
    open_run(&x);
    for (int i = 0; i < ROWS; i++)
        score_alone(&x, i, LEN, &want[i]);
    for (int32_t piece = 1; piece < LEN; piece += 13) {
        score_alone(&x, 0, piece, &got[0]);
        assert_memory_equal(&want[0], &got[0], sizeof got[0]);
    }
    /* all in one step; then row 2 asks for nothing, row 3 for a part without the best */
    assert_true(x.m->logit_rows < ROWS * LEN);
    for (int part = 0; part < 2; part++) {
        model_run_begin(&x, STEP_PREFILL);
        memset(got, 0, sizeof got);
        for (int i = 0; i < ROWS; i++) {
            add(&x, i, 0, LEN, TOP);
            if (part == 1 && i == 2)
                x.s->rows[i].n_score = 0;
            if (part == 1 && i == 3) {
                x.s->rows[i].n_score = 7;
                x.s->rows[i].n_score_top = 0;
            }
        }
        assert_int_equal(model_run_go(&x), 0);
        for (int i = 0; i < ROWS; i++) {
            assert_int_equal(x.r->row[i].n, 1);
            take(&x, i, &got[i], part == 1 && i == 3 ? 0 : TOP);
            if (part == 0 || (i != 2 && i != 3))
                assert_memory_equal(&want[i], &got[i], sizeof got[i]);
        }
        if (part == 1) {
            assert_int_equal(got[2].n, 0);
            assert_int_equal(got[3].n, 7);
            assert_memory_equal(want[3].score, got[3].score, 7 * sizeof(float));
        }
    }
    model_run_close(&x);
}

static void test_numeric(void **state)
{
    struct model_run x;
    (void)state;
    open_run(&x);
    float *embed = (float *)(uintptr_t)x.m->w.embed.data;
    assert_false(x.m->w.embed.packed);
    embed[(VOCAB - 1) * x.m->cfg.dim] = INFINITY; /* a token that no prompt has */
    for (int with = 0; with < 2; with++) {
        token_id was = ids[1][40];
        ids[1][40] = with ? VOCAB - 1 : was;
        model_run_begin(&x, STEP_PREFILL);
        for (int i = 0; i < 3; i++)
            add(&x, i, 0, LEN - 1, 0);
        assert_int_equal(model_run_go(&x), 0);
        for (int i = 0; i < 3; i++) {
            bool bad = with && i == 1;
            assert_int_equal(x.r->row[i].status, bad ? ST_NUMERIC : 0);
            assert_int_equal(x.r->row[i].n_score, bad ? 0 : LEN - 1);
        }
        assert_int_equal(x.r->n_score, (with ? 2 : 3) * (LEN - 1));
        ids[1][40] = was;
    }
    model_run_close(&x);
}

static void test_refusals(void **state)
{
    struct model_run x;
    (void)state;
    open_run(&x);
    for (int how = 0; how < 8; how++) {
        model_run_begin(&x, STEP_PREFILL);
        add(&x, 0, 0, 20, 2);
        add(&x, 1, 0, 20, 2);
        struct step_row *r = &x.s->rows[1];
        if (how == 0)
            r->n_score = 21;
        else if (how == 1)
            r->n_score = -1;
        else if (how == 2)
            r->n_score_top = MAX_LOGPROBS + 1;
        else if (how == 3)
            r->n_score_top = -1;
        else if (how == 4)
            r->next = VOCAB;
        else if (how == 5)
            r->next = TOKEN_FROM_ROW;
        else if (how == 6)
            x.s->tokens[r->token0 + 3] = TOKEN_FROM_ROW;
        if (how == 7) {
            model_run_begin(&x, STEP_DECODE);
            add(&x, 0, 20, 1, 2);
        }
        assert_int_equal(x.ex.submit(x.ex.self, 0, x.s), ST_INVALID_VALUE);
    }
    model_run_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_positions),
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_cuts_and_neighbours),
        cmocka_unit_test(test_numeric),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, make_config, tiny_end);
}
