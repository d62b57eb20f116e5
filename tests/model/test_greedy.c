/* SPDX-License-Identifier: Apache-2.0 */
/* The demo model against an independent reference: 20 chat prompts x 64 greedy tokens, made by
 * scripts/gen_golden.py with transformers in float32 from the same GGUF. Where the reference's own
 * two best logits are closer than 1e-3 either choice is right, so we compare there no more, but go
 * on along the reference's tokens: every later token is judged after the same history, so a close
 * call excuses one token, not the rest of an answer. The model is QUIRE_TEST_MODEL, else where
 * scripts/fetch_demo_model.sh puts it; without it the test counts as skipped. */
#include "testing.h"

#include "model_run.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <unistd.h>

#define DEMO_MODEL "SmolLM2-135M-Instruct.Q4_1.gguf"

static const double MARGIN = 1e-3;

/* Sanitizers slow the model down some thirty times: there, the beginnings only. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { N_CASES = 5, N_TOKENS = 8 };
#else
enum { N_CASES = 20, N_TOKENS = 64 };
#endif

static char path[1024]; /* of the model */

static bool find_model(void)
{
    const char *set = getenv("QUIRE_TEST_MODEL"), *cache = getenv("XDG_CACHE_HOME"),
               *home = getenv("HOME");
    if (set && *set)
        snprintf(path, sizeof path, "%s", set);
    else if (cache && *cache)
        snprintf(path, sizeof path, "%s/quire/models/%s", cache, DEMO_MODEL);
    else
        snprintf(path, sizeof path, "%s/.cache/quire/models/%s", home ? home : "", DEMO_MODEL);
    return access(path, R_OK) == 0;
}

struct greedy_case {
    token_id *prompt;
    int32_t n_prompt;
    token_id out[64];
    double margin[64];
    int32_t n_out;
};

static void load_case(struct greedy_case *c, const cJSON *j)
{
    const cJSON *p = cJSON_GetObjectItem(j, "prompt_ids"),
                *o = cJSON_GetObjectItem(j, "output_ids"), *m = cJSON_GetObjectItem(j, "margins");
    c->n_prompt = cJSON_GetArraySize(p);
    c->n_out = cJSON_GetArraySize(o);
    assert_true(c->n_prompt > 0 && c->n_out == 64 && cJSON_GetArraySize(m) == c->n_out);
    c->prompt = malloc((size_t)c->n_prompt * sizeof *c->prompt);
    int32_t i = 0;
    const cJSON *it;
    cJSON_ArrayForEach(it, p) c->prompt[i++] = (token_id)it->valuedouble;
    i = 0;
    cJSON_ArrayForEach(it, o) c->out[i++] = (token_id)it->valuedouble;
    i = 0;
    cJSON_ArrayForEach(it, m) c->margin[i++] = it->valuedouble;
}

/* All prompts at once, decoded as one batch along the reference's tokens: each row must give the
 * reference's next token. */
static void test_greedy(void **state)
{
    (void)state;
    size_t n_text;
    char *text = read_file(fixture_path("smollm2_greedy.json"), &n_text);
    assert_non_null(text);
    cJSON *j = cJSON_ParseWithLength(text, n_text);
    const cJSON *list = cJSON_IsArray(j) ? j : cJSON_GetObjectItem(j, "cases");
    int32_t n = N_CASES;
    assert_int_equal(cJSON_GetArraySize(list), 20);
    struct greedy_case *c = calloc((size_t)n, sizeof *c);
    int32_t longest = 0;
    for (int32_t i = 0; i < n; i++) {
        load_case(&c[i], cJSON_GetArrayItem(list, i));
        if (c[i].n_prompt > longest)
            longest = c[i].n_prompt;
    }
    struct model_run x;
    struct err e = {0};
    struct model_source_opts so = {.path = path};
    struct be_config bc = {.kind = BE_CPU, .threads = 2};
    if (model_run_open(&x, &so, &bc, n, longest + 64, longest > 512 ? longest : 512, &e) != 0)
        fail_msg("%s", e.msg);
    struct sample_params sp = greedy_params();
    int compared = 0, close_calls = 0, wrong = 0;
    for (int32_t t = 0; t < N_TOKENS; t++) {
        for (int32_t i = 0; i < n; i++) {
            if (t == 0) { /* prompts one by one */
                model_run_begin(&x, STEP_PREFILL);
                model_run_add(&x, i, 0, c[i].prompt, c[i].n_prompt, &sp);
            } else {
                if (i == 0)
                    model_run_begin(&x, STEP_DECODE);
                model_run_add(&x, i, c[i].n_prompt + t - 1, &c[i].out[t - 1], 1, &sp);
            }
            if (t > 0 && i < n - 1)
                continue;
            assert_int_equal(model_run_go(&x), 0);
            for (int32_t k = t == 0 ? i : 0; k <= i; k++) {
                token_id got = x.r->token[t == 0 ? 0 : k];
                if (c[k].margin[t] <= MARGIN) {
                    close_calls++;
                    continue;
                }
                compared++;
                if (got != c[k].out[t]) {
                    printf("prompt %d token %d: %d, the reference has %d (margin %g)\n", (int)k,
                           (int)t, (int)got, (int)c[k].out[t], c[k].margin[t]);
                    wrong++;
                }
            }
        }
    }
    printf("greedy: %d tokens compared, %d wrong, %d left out (margin <= %g)\n", compared, wrong,
           close_calls, MARGIN);
    assert_true(compared >= N_CASES * N_TOKENS * 9 / 10);
    assert_int_equal(wrong, 0);
    model_run_close(&x);
    for (int32_t i = 0; i < n; i++)
        free(c[i].prompt);
    free(c);
    cJSON_Delete(j);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_greedy)};
    if (!find_model()) {
        printf("%s is not there: skipped\n", path);
        return 77; /* what ctest is told to count as skipped */
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
