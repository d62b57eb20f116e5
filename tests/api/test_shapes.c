/* SPDX-License-Identifier: Apache-2.0 */
/* test_shapes.c - numbers and errors as OpenAI's answers write them. */
#include "api/shapes.h"
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t rng = 88172645463325252u;
static uint32_t rnd(uint32_t n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (uint32_t)(rng >> 33) % n;
}

/* By printf: the fewest digits, six at least, that read back. */
static void shortest(char *t, size_t n, float v)
{
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(t, n, "%.*g", digits, (double)v);
        if (strtof(t, NULL) == v)
            break;
    }
    if (!strpbrk(t, ".e"))
        strcat(t, ".0");
}

static void check_logprob(float v)
{
    struct buf b = {0};
    char want[40] = "-9999.0";
    if (v > -9999.0f)
        shortest(want, sizeof want - 2, v);
    out_logprob(&b, v);
    buf_add(&b, "", 1);
    assert_string_equal(b.p, want);
    buf_free(&b);
}

static void test_logprob(void **state)
{
    (void)state;
    static const float edges[] = {0,
                                  -0.0f,
                                  -1,
                                  -10,
                                  -0.5f,
                                  -9999,
                                  -9998.5f,
                                  -9998.999f,
                                  -1e-4f,
                                  -9.99999e-5f,
                                  -1e-9f,
                                  -1e-45f,
                                  -0.0999999940f,
                                  -0.1f,
                                  -0.999999940f,
                                  -999.99994f,
                                  0.25f,
                                  -1e30f,
                                  -INFINITY,
                                  NAN,
                                  -16777216,
                                  -0.00123456789f};
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++)
        check_logprob(edges[i]);
    for (int i = 0; i < 60000; i++) {
        union {
            uint32_t bits;
            float v;
        } any = {.bits = 0x80000000u | (rnd(1u << 15) << 16) | rnd(1u << 16)};
        if (any.v == any.v)
            check_logprob(any.v);
        any.bits = 0xB8D00000u + rnd(0x0D400000u); /* between -0.0001 and -9,999 */
        check_logprob(any.v);
        check_logprob(-(float)rnd(1u << 30) / (float)(1 + rnd(1u << 30)));
        check_logprob(-(float)rnd(1000000) / 10000.0f);
    }
}

static void test_error(void **state)
{
    (void)state;
    struct buf b = {0};
    struct err e;
    err_param(&e, ST_INVALID_VALUE, "n", "n is \"0\".");
    out_error(&b, &e);
    err_set(&e, ST_NOT_FOUND, "No such path.");
    out_error(&b, &e);
    buf_add(&b, "", 1);
    assert_string_equal(
        b.p, "{\"error\":{\"message\":\"n is \\\"0\\\".\",\"type\":\"invalid_request_error\","
             "\"param\":\"n\",\"code\":\"invalid_value\"}}"
             "{\"error\":{\"message\":\"No such path.\",\"type\":\"invalid_request_error\","
             "\"param\":null,\"code\":\"not_found\"}}");
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_logprob),
                                       cmocka_unit_test(test_error)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
