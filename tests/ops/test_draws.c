/* SPDX-License-Identifier: Apache-2.0 */
/* Draws from adjusted logits against what they should be by Pearson's chi-square: many seeds, each
 * way to cut, with and without penalties and biases. */
#include "backend.h"
#include "penalty.h"
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { VOCAB = 40, ROWS = 512, ROUNDS = 40, N_TOK = 30 };

static struct be *be;
static struct step step;

struct arrays {
    float *logits;
    struct sample_params *params;
    struct row_adjust *adjust;
    uint32_t *area;
    int32_t *slot, *out, *pos;
    token_id *last, *token;
    uint16_t *counts;
    float *logprob;
    struct token_logprob *top;
    int32_t *n_top;
    void *work;
    size_t work_bytes;
};

static int setup(void **state)
{
    struct be_config bc = {.kind = BE_CPU, .threads = 2};
    struct err e = {0};
    (void)state;
    return be_open(&be, &bc, &e);
}

static int teardown(void **state)
{
    (void)state;
    be_close(be);
    return 0;
}

static void *room(size_t bytes)
{
    void *p = be_alloc(be, "draws", bytes);
    assert_non_null(p);
    return p;
}

static struct arrays make_arrays(void)
{
    struct arrays a = {.work_bytes = be_sample_work_bytes(be, ROWS, VOCAB)};
    a.logits = room(sizeof(float) * ROWS * VOCAB);
    a.params = room(sizeof *a.params * ROWS);
    a.adjust = room(sizeof *a.adjust * ROWS);
    a.area = room(sizeof step.area);
    a.slot = room(sizeof(int32_t) * ROWS);
    a.out = room(sizeof(int32_t) * ROWS);
    a.pos = room(sizeof(int32_t) * ROWS);
    a.last = room(sizeof(token_id) * ROWS);
    a.token = room(sizeof(token_id) * ROWS);
    a.counts = room(sizeof(uint16_t) * ROWS * VOCAB);
    a.logprob = room(sizeof(float) * ROWS);
    a.top = room(sizeof *a.top * ROWS * MAX_LOGPROBS);
    a.n_top = room(sizeof(int32_t) * ROWS);
    a.work = room(a.work_bytes);
    return a;
}

/* How likely each token is: softmax at the temperature of what the cuts leave. */
static void expected(const float *x, const struct sample_params *p, double *prob)
{
    int32_t order[VOCAB] = {0}, n = VOCAB;
    double w[VOCAB], sum = 0, kept = 0;
    for (int32_t i = 0; i < VOCAB; i++) {
        w[i] = exp(((double)x[i] - (double)x[penalty_best(x, VOCAB)]) / (double)p->temperature);
        int32_t at = i;
        for (; at > 0 && w[order[at - 1]] < w[i]; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    n = p->top_k > 0 ? p->top_k : n;
    for (int32_t i = 0; i < n; i++)
        sum += w[order[i]];
    memset(prob, 0, VOCAB * sizeof *prob);
    for (int32_t i = 0; i < n; i++) {
        if (kept >= (double)p->top_p * sum || w[order[i]] < (double)p->min_p)
            break;
        kept += w[order[i]];
        prob[order[i]] = w[order[i]];
    }
    for (int32_t i = 0; i < VOCAB; i++)
        prob[i] /= kept;
}

/* The statistic over cells of 5 and more expected draws, the others as one; the limit is four
 * standard deviations of chi-square above its mean. */
static void check(const char *name, const double *prob, const int64_t *drawn, double n)
{
    double chi = 0, rest = 0, rest_drawn = 0;
    int cells = 0;
    for (int i = 0; i < VOCAB; i++) {
        if (prob[i] <= 0)
            assert_int_equal(drawn[i], 0);
        if (prob[i] * n < 5) {
            rest += prob[i] * n;
            rest_drawn += (double)drawn[i];
            continue;
        }
        cells++;
        chi += ((double)drawn[i] - prob[i] * n) * ((double)drawn[i] - prob[i] * n) / (prob[i] * n);
    }
    if (rest >= 5) {
        cells++;
        chi += (rest_drawn - rest) * (rest_drawn - rest) / rest;
    }
    double limit = cells - 1 + 4 * sqrt(2.0 * (cells - 1)) + 4;
    printf("%-24s %2d cells, chi-square %.1f of at most %.1f\n", name, cells, chi, limit);
    assert_true(cells > 2 && chi < limit);
}

static void draw_all(struct arrays *a, const struct penalty_row *row, const struct sample_params *p,
                     const char *name)
{
    float raw[VOCAB], x[VOCAB];
    double prob[VOCAB];
    int64_t drawn[VOCAB] = {0};
    for (int i = 0; i < VOCAB; i++)
        raw[i] = (float)((i * 37 + 11) % 53) * 0.06f - 1.5f;
    step.n_area = 0;
    penalty_area(row, VOCAB, true, &step, 0);
    memcpy(a->area, step.area, sizeof *a->area * (size_t)step.n_area);
    int32_t n_counts = (int32_t)(step.area[0] >> 8) / 2, bias0 = 1 + 2 * n_counts + 1;
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < ROWS; i++) {
            memcpy(a->logits + (size_t)i * VOCAB, raw, sizeof raw);
            a->params[i] = *p;
            a->params[i].seed = (uint64_t)(round / 2) * 7919;
            a->pos[i] = round % 2 * ROWS + i;
            a->slot[i] = a->out[i] = i;
            a->adjust[i] = (struct row_adjust){.kind = ADJUST_COUNTS,
                                               .counts0 = 1,
                                               .n_counts = n_counts,
                                               .bias0 = bias0,
                                               .n_bias = row->n_bias,
                                               .mask0 = -1};
        }
        struct op_adjust j = {a->work, a->logits, a->params, a->adjust, a->area, a->slot,
                              a->out,  a->last,   a->counts, ROWS,      VOCAB};
        struct op_sample s = {.logits = a->logits,
                              .params = a->params,
                              .pos = a->pos,
                              .row_slot = a->slot,
                              .row_out = a->out,
                              .last_token = a->last,
                              .token = a->token,
                              .logprob = a->logprob,
                              .top = a->top,
                              .n_top = a->n_top,
                              .adjust = a->adjust,
                              .adjusted = a->work,
                              .n_rows = ROWS,
                              .vocab = VOCAB,
                              .work = a->work,
                              .work_bytes = a->work_bytes};
        assert_int_equal(be->op->adjust(be, &j), 0);
        assert_int_equal(be->op->sample(be, &s), 0);
        assert_int_equal(be_sync(be), 0);
        for (int i = 0; i < ROWS; i++) {
            assert_in_range(a->token[i], 0, VOCAB - 1);
            drawn[a->token[i]]++;
        }
    }
    penalty_logits(row, p, raw, VOCAB, x);
    expected(x, p, prob);
    check(name, prob, drawn, (double)ROWS * ROUNDS);
}

static void test_draws(void **state)
{
    static const token_id tok[N_TOK] = {1, 2, 3, 4,  5,  6, 7, 8, 9, 9, 20, 21, 21, 21, 22,
                                        3, 3, 3, 30, 31, 5, 5, 5, 5, 5, 5,  5,  38, 39, 39};
    static const token_id bias_tok[] = {0, 10, 25};
    static const float bias[] = {1.5f, -2.0f, 3.0f};
    static const struct {
        const char *name;
        int n_bias;
        struct sample_params p;
    } kinds[] = {
        {"plain", 0, {.temperature = 1, .top_p = 1}},
        {"bias", 3, {.temperature = 1, .top_p = 1}},
        {"repetition", 0, {.temperature = 0.8f, .top_p = 1, .repetition_penalty = 1.4f}},
        {"frequency", 0, {.temperature = 1, .top_p = 1, .frequency_penalty = 0.3f}},
        {"presence, top-k", 0, {.temperature = 1, .top_p = 1, .top_k = 20, .presence_penalty = 1}},
        {"all, top-p, min-p",
         3,
         {.temperature = 1.3f,
          .top_p = 0.93f,
          .min_p = 0.05f,
          .presence_penalty = -0.6f,
          .frequency_penalty = 0.2f,
          .repetition_penalty = 0.9f}}};
    struct arrays a = make_arrays();
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        struct penalty_row row = {tok, 15, N_TOK, bias_tok, bias, kinds[k].n_bias, NULL};
        struct sample_params p = kinds[k].p;
        p.n_logprobs = -1;
        draw_all(&a, &row, &p, kinds[k].name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_draws)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
