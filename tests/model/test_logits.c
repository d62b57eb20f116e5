/* SPDX-License-Identifier: Apache-2.0 */
/* Golden logits: one tiny random model per family against the reference implementation
 * (scripts/gen_golden.py), f32 arithmetic, chunked at odd places, then greedy decode. */
#include "testing.h"

#include "model_run.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>

enum { MAX_GOLDEN = 4096 };

static int32_t int_list(const cJSON *a, int32_t *out)
{
    int32_t n = 0;
    const cJSON *it;
    cJSON_ArrayForEach(it, a)
    {
        assert_true(n < MAX_GOLDEN);
        out[n++] = (int32_t)it->valuedouble;
    }
    return n;
}

static void check_position(struct model_run *x, const cJSON *want, const char *name, int32_t pos,
                           double *worst)
{
    int32_t vocab = model_config(x->m)->vocab, i = 0;
    float *got = malloc((size_t)vocab * sizeof *got);
    assert_int_equal(model_logits(x->m, 0, got), 0);
    assert_int_equal(cJSON_GetArraySize(want), vocab);
    const cJSON *it;
    cJSON_ArrayForEach(it, want)
    {
        double d = fabs(it->valuedouble - (double)got[i]);
        double tol = 2e-4 * (1.0 + fabs(it->valuedouble));
        if (!(d <= tol))
            fail_msg("%s: position %d, logit %d: %g, the reference has %g", name, pos, i,
                     (double)got[i], it->valuedouble);
        if (d > *worst)
            *worst = d;
        i++;
    }
    free(got);
}

/* 1 when compared; 0 for a folder that has no golden. */
static int check_family(const char *name)
{
    char rel[300];
    size_t n_text;
    snprintf(rel, sizeof rel, "model/%s/golden.json", name);
    char *text = read_file(fixture_path(rel), &n_text);
    if (!text) {
        printf("%s: no golden.json, not a model golden\n", name);
        return 0;
    }
    cJSON *g = cJSON_ParseWithLength(text, n_text);
    assert_non_null(g);
    static int32_t prompt[MAX_GOLDEN], positions[MAX_GOLDEN], greedy[MAX_GOLDEN];
    int32_t n = int_list(cJSON_GetObjectItem(g, "prompt"), prompt);
    int32_t n_pos = int_list(cJSON_GetObjectItem(g, "positions"), positions);
    int32_t n_greedy = int_list(cJSON_GetObjectItem(g, "greedy"), greedy);
    assert_true(n > 0 && n_pos > 0 && n_greedy > 0);
    assert_int_equal(positions[n_pos - 1], n - 1);

    snprintf(rel, sizeof rel, "model/%s", name);
    struct model_source_opts so = {.path = fixture_path(rel)};
    struct be_config bc = {.kind = BE_CPU, .threads = 2};
    struct model_run x;
    struct err e = {0};
    if (model_run_open(&x, &so, &bc, 2, n + n_greedy + 1, 64, &e) != 0)
        fail_msg("%s: %s", name, e.msg);
    struct sample_params sp = greedy_params();
    double worst = 0;
    int32_t at = 0;
    for (int32_t i = 0; i < n_pos; i++) {
        while (at <= positions[i]) {
            int32_t len = positions[i] + 1 - at < 64 ? positions[i] + 1 - at : 64;
            model_run_begin(&x, STEP_PREFILL);
            model_run_add(&x, 0, at, prompt + at, len, &sp);
            assert_int_equal(model_run_go(&x), 0);
            at += len;
        }
        check_position(&x, cJSON_GetArrayItem(cJSON_GetObjectItem(g, "logits"), i), name,
                       positions[i], &worst);
    }
    token_id next = x.r->token[0];
    for (int32_t i = 0; i < n_greedy; i++) {
        assert_int_equal(next, greedy[i]);
        model_run_begin(&x, STEP_DECODE);
        model_run_add(&x, 0, n + i, &next, 1, &sp);
        assert_int_equal(model_run_go(&x), 0);
        next = x.r->token[0];
    }
    printf("%-12s %4d positions, %d greedy tokens, largest difference %.2e\n", name, (int)n_pos,
           (int)n_greedy, worst);
    model_run_close(&x);
    cJSON_Delete(g);
    free(text);
    return 1;
}

static void test_families(void **state)
{
    (void)state;
    DIR *d = opendir(fixture_path("model"));
    assert_non_null(d);
    int n = 0;
    for (struct dirent *f; (f = readdir(d));) {
        char rel[300];
        snprintf(rel, sizeof rel, "model/%.200s/config.json", f->d_name);
        FILE *there = f->d_name[0] == '.' ? NULL : fopen(fixture_path(rel), "r");
        if (!there)
            continue;
        fclose(there);
        n += check_family(f->d_name);
    }
    closedir(d);
    assert_true(n >=
                8); /* llama2, llama3, llama_bias, smollm2, mistral, qwen2, qwen3, qwen3_tied */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_families)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
