/* SPDX-License-Identifier: Apache-2.0 */
/* test_greedy.c - the demo model on the GPU against the CPU backend: the golden prompts, 64 greedy
 * tokens each. Both follow the CPU's tokens, so every position is compared under the same history.
 * Where the CPU's two best logits are closer than a margin, 16-bit arithmetic may choose the other:
 * 0.05 in f16; in bf16, which rounds eight times as coarsely, 0.1, and what lies above 0.05 is
 * counted.
 * Needs QUIRE_TEST_MODEL; skipped without it or without a GPU. */
#include "testing.h"

#include "log.h"
#include "model_run.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>

enum { SKIPPED = 77, MAX_CASES = 64, N_OUT = 64 };
static const double MARGIN = 0.05, MARGIN_BF16 = 0.1;

static struct model_run cpu, gpu;
static cJSON *cases;
static int32_t n_cases, n_prompt[MAX_CASES], longest;
static token_id *prompt[MAX_CASES], text[MAX_CASES][N_OUT];
static double margin[MAX_CASES][N_OUT];

static void load_cases(void)
{
    size_t n;
    char *p = read_file(fixture_path("smollm2_greedy.json"), &n);
    assert_non_null(p);
    cases = cJSON_ParseWithLength(p, n);
    const cJSON *list = cJSON_IsArray(cases) ? cases : cJSON_GetObjectItem(cases, "cases");
    n_cases = cJSON_GetArraySize(list);
    assert_true(n_cases >= 20 && n_cases <= MAX_CASES);
    for (int32_t i = 0; i < n_cases; i++) {
        const cJSON *ids = cJSON_GetObjectItem(cJSON_GetArrayItem(list, i), "prompt_ids"), *it;
        int32_t k = 0;
        n_prompt[i] = cJSON_GetArraySize(ids);
        prompt[i] = malloc((size_t)n_prompt[i] * sizeof *prompt[i]);
        cJSON_ArrayForEach(it, ids) prompt[i][k++] = (token_id)it->valuedouble;
        longest = n_prompt[i] > longest ? n_prompt[i] : longest;
    }
    free(p);
}

static void open_run(struct model_run *x, int kind, int32_t dt)
{
    struct model_source_opts so = {.path = getenv("QUIRE_TEST_MODEL")};
    struct be_config bc = {.kind = kind, .memory_utilization = 0.9, .graphs = 1};
    struct err e = {0};
    int32_t chunk = longest > 512 ? longest : 512;
    if (model_run_open_dt(x, &so, &bc, n_cases, longest + N_OUT, chunk, dt, &e) != 0)
        fail_msg("%s", e.msg);
}

/* Token t of every row: prompts one by one for t = 0, one decode step afterwards. */
static void step(struct model_run *x, int32_t t, int32_t i)
{
    struct sample_params sp = greedy_params();
    if (t == 0) {
        model_run_begin(x, STEP_PREFILL);
        model_run_add(x, i, 0, prompt[i], n_prompt[i], &sp);
    } else {
        model_run_begin(x, STEP_DECODE);
        for (int32_t k = 0; k < n_cases; k++)
            model_run_add(x, k, n_prompt[k] + t - 1, &text[k][t - 1], 1, &sp);
    }
    assert_int_equal(model_run_go(x), 0);
}

static double top_margin(const float *v, int32_t n)
{
    float a = -INFINITY, b = -INFINITY;
    for (int32_t i = 0; i < n; i++) {
        b = v[i] > a ? a : fmaxf(b, v[i]);
        a = fmaxf(a, v[i]);
    }
    return (double)a - (double)b;
}

static void note(int32_t row, int32_t i, int32_t t, float *logits)
{
    text[i][t] = cpu.r->token[row];
    assert_int_equal(model_logits(cpu.m, row, logits), 0);
    margin[i][t] = top_margin(logits, model_config(cpu.m)->vocab);
}

struct tally {
    int compared, above, wrong, close_calls, close_equal;
};

/* What the GPU chose for prompt i, token t. */
static void judge(struct tally *n, int32_t i, int32_t t, token_id got, double limit)
{
    int same = got == text[i][t];
    if (margin[i][t] <= MARGIN) {
        n->close_calls++;
        n->close_equal += same;
        return;
    }
    n->compared++;
    n->above += !same;
    n->wrong += !same && margin[i][t] > limit;
    if (!same)
        printf("prompt %d token %d: GPU %d, CPU %d, margin %.3f\n", (int)i, (int)t, (int)got,
               (int)text[i][t], margin[i][t]);
}

static void run_cpu(void)
{
    open_run(&cpu, BE_CPU, -1);
    float *logits = malloc((size_t)model_config(cpu.m)->vocab * sizeof *logits);
    for (int32_t t = 0; t < N_OUT; t++)
        for (int32_t i = 0; i < (t == 0 ? n_cases : 1); i++) {
            step(&cpu, t, i);
            for (int32_t k = 0; k < cpu.r->n_rows; k++)
                note(k, t == 0 ? i : k, t, logits);
        }
    free(logits);
    model_run_close(&cpu);
}

static void run_gpu(int32_t dt, const char *name, double limit)
{
    struct tally n = {0};
    open_run(&gpu, BE_CUDA, dt);
    for (int32_t t = 0; t < N_OUT; t++)
        for (int32_t i = 0; i < (t == 0 ? n_cases : 1); i++) {
            step(&gpu, t, i);
            for (int32_t k = 0; k < gpu.r->n_rows; k++)
                judge(&n, t == 0 ? i : k, t, gpu.r->token[k], limit);
        }
    model_run_close(&gpu);
    printf("%s, %d prompts x %d tokens: %d with a margin above %g, %d of them differ, %d of these "
           "above %g; %d closer ones, %d of them equal\n",
           name, (int)n_cases, N_OUT, n.compared, MARGIN, n.above, n.wrong, limit, n.close_calls,
           n.close_equal);
    assert_true(n.compared > n_cases * N_OUT / 2);
    assert_int_equal(n.wrong, 0);
}

static void test_against_cpu(void **state)
{
    (void)state;
    log_set(LOG_WARN, LOG_TEXT);
    load_cases();
    run_cpu();
    run_gpu(DT_F16, "f16", MARGIN);
    run_gpu(DT_BF16, "bf16", MARGIN_BF16);
    for (int32_t i = 0; i < n_cases; i++)
        free(prompt[i]);
    cJSON_Delete(cases);
}

int main(void)
{
    struct be_config bc = {.kind = BE_CUDA, .memory_utilization = 0.9};
    struct be *be;
    struct err e = {0};
    if (!getenv("QUIRE_TEST_MODEL")) {
        printf("skipped: QUIRE_TEST_MODEL is not set\n");
        return SKIPPED;
    }
    if (be_open(&be, &bc, &e) != 0) {
        printf("skipped: %s\n", e.msg);
        return SKIPPED;
    }
    be_close(be);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_cpu)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
