/* SPDX-License-Identifier: Apache-2.0 */
/* test_shapes.c - numbers and errors as OpenAI's answers write them. */
#include "api/shapes.h"
#include "testing.h"

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

static void test_logprob(void **state)
{
    (void)state;
    struct buf b = {0};
    for (int i = 0; i < 20000; i++) {
        float v = -(float)rnd(1u << 30) / (float)(1 + rnd(1u << 30));
        b.n = 0;
        out_logprob(&b, v);
        buf_add(&b, "", 1);
        assert_true(v <= -9999.0f ? strcmp(b.p, "-9999.0") == 0 : strtof(b.p, NULL) == v);
    }
    buf_free(&b);
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
