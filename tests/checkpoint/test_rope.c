/* SPDX-License-Identifier: Apache-2.0 */
/* rope.c and the rotary part of hf_config.c against transformers' inverse frequencies. */
#include "testing.h"

#include "checkpoint/config_check.h"
#include "checkpoint/hf_config.h"
#include "checkpoint/rope.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check_golden(const cJSON *g)
{
    const char *name = cJSON_GetObjectItem(g, "name")->valuestring;
    char *config = cJSON_PrintUnformatted(cJSON_GetObjectItem(g, "config"));
    struct model_source *s = source_new();
    struct err e = {0};
    if (hf_config_read(s, config, strlen(config), &e) != 0)
        fail_msg("%s: %s", name, e.msg);
    const cJSON *want = cJSON_GetObjectItem(g, "inv_freq"), *it;
    assert_int_equal(cJSON_GetArraySize(want), s->cfg.kind[0].head_dim / 2);
    int i = 0;
    cJSON_ArrayForEach(it, want)
    {
        double got = (double)s->cfg.rope[0].inv_freq[i];
        /* the reference computes in single precision */
        if (!(fabs(got / it->valuedouble - 1) < 3e-6))
            fail_msg("%s: frequency %d is %.9g, expected %.9g", name, i, got, it->valuedouble);
        i++;
    }
    double attn = cJSON_GetObjectItem(g, "attention_factor")->valuedouble;
    if (!(fabs((double)s->cfg.rope[0].attn_factor - attn) < 1e-6))
        fail_msg("%s: attention factor %g, expected %g", name, (double)s->cfg.rope[0].attn_factor,
                 attn);
    model_source_close(s);
    free(config);
}

static void test_goldens(void **state)
{
    (void)state;
    size_t n;
    char *text = read_file(fixture_path("model/rope.json"), &n);
    assert_non_null(text);
    cJSON *root = cJSON_ParseWithLength(text, n);
    const cJSON *it;
    assert_true(cJSON_GetArraySize(root) >= 18);
    cJSON_ArrayForEach(it, root) check_golden(it);
    cJSON_Delete(root);
    free(text);
}

static void test_names(void **state)
{
    (void)state;
    enum rope_kind kind = ROPE_YARN;
    struct err e;
    assert_int_equal(rope_kind_parse("none", 4, &kind, &e), 0);
    assert_int_equal(kind, ROPE_PLAIN);
    static const char *const others[] = {"dynamic", "longrope", "su",   "mrope",
                                         "",        "linea",    "yarns"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_int_equal(rope_kind_parse(others[i], strlen(others[i]), &kind, &e), ST_UNSUPPORTED);
        assert_non_null(strstr(e.msg, others[i]));
    }
}

static void test_nonsense_is_refused(void **state)
{
    (void)state;
    const struct rope_params llama3 = {.kind = ROPE_LLAMA3,
                                       .theta = 5e5,
                                       .factor = 8,
                                       .original_len = 8192,
                                       .low_freq = 1,
                                       .high_freq = 4,
                                       .attn_factor = NAN};
    struct rope_table t;
    struct err e;
    assert_int_equal(rope_fill(&t, 64, &llama3, &e), 0);
    struct {
        const char *name;
        struct rope_params p;
    } cases[] = {
        {"rope_theta", llama3},       {"rope_theta", llama3},       {"factor", llama3},
        {"factor", llama3},           {"original_max", llama3},     {"low_freq_factor", llama3},
        {"high_freq_factor", llama3}, {"beta_slow", llama3},        {"beta_fast", llama3},
        {"attention_factor", llama3}, {"frequency factor", llama3},
    };
    static const float zeros[32];
    cases[0].p.theta = 0;
    cases[1].p.theta = NAN;
    cases[2].p.factor = 0.5;
    cases[3].p.factor = NAN;
    cases[4].p.original_len = INFINITY;
    cases[5].p.low_freq = 0;
    cases[6].p.high_freq = 1;
    cases[7].p.kind = ROPE_YARN;
    cases[7].p.beta_slow = -1;
    cases[8].p.kind = ROPE_YARN;
    cases[8].p.beta_fast = 0.5;
    cases[9].p.kind = ROPE_YARN;
    cases[9].p.attn_factor = -1;
    cases[10].p.freq_factors = zeros;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(rope_fill(&t, 64, &cases[i].p, &e), ST_FORMAT);
        if (!strstr(e.msg, cases[i].name))
            fail_msg("case %zu: %s", i, e.msg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goldens),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_nonsense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
