/* SPDX-License-Identifier: Apache-2.0 */
/* 16-bit floats: every value there and back, and rounding against a search over all values. */
#include "backend/cpu/half.h"
#include "testing.h"

#include <math.h>

static void test_bf16_every_value(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = f32_of_bf16((uint16_t)h);
        if (isnan(f))
            assert_true(isnan(f32_of_bf16(bf16_of_f32(f))));
        else
            assert_int_equal(bf16_of_f32(f), h);
    }
}

static void test_f16_every_value(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = f32_of_f16((uint16_t)h);
        uint32_t exp = h >> 10 & 31, man = h & 1023;
        if (exp == 31 && man != 0) {
            assert_true(isnan(f));
            assert_true(isnan(f32_of_f16(f16_of_f32(f))));
            continue;
        }
        double want = exp == 31 ? INFINITY
                      : exp     ? ldexp(1.0 + man / 1024.0, (int)exp - 15)
                                : ldexp(man, -24);
        assert_true((double)f == (h & 0x8000 ? -want : want));
        assert_int_equal(f16_of_f32(f), h);
    }
}

/* Between neighbours lo and hi: below the middle lo, above hi, in the middle the even one. */
static void check_middle(float lo, float hi, uint32_t code, uint16_t (*narrow)(float))
{
    double mid = ((double)lo + (double)hi) / 2;
    float m = (float)mid;
    assert_true((double)m == mid);
    assert_int_equal(narrow(m), code & 1 ? code + 1 : code);
    assert_int_equal(narrow(nextafterf(m, lo)), code);
    assert_int_equal(narrow(nextafterf(m, hi)), code + 1);
    assert_int_equal(narrow(-m), (code & 1 ? code + 1 : code) | 0x8000);
}

static void test_rounding_to_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h + 1 < 0x7c00; h++)
        check_middle(f32_of_f16((uint16_t)h), f32_of_f16((uint16_t)(h + 1)), h, f16_of_f32);
    for (uint32_t h = 1; h + 1 < 0x7f80; h++)
        check_middle(f32_of_bf16((uint16_t)h), f32_of_bf16((uint16_t)(h + 1)), h, bf16_of_f32);
}

static void test_overflow(void **state)
{
    (void)state;
    assert_int_equal(f16_of_f32(65519.0f), 0x7bff);
    assert_int_equal(f16_of_f32(65520.0f), 0x7c00);
    assert_int_equal(f16_of_f32(-INFINITY), 0xfc00);
    assert_int_equal(bf16_of_f32(3.4e38f), 0x7f80);
    assert_int_equal(bf16_of_f32(INFINITY), 0x7f80);
    assert_true(isnan(f32_of_bf16(bf16_of_f32(f32_of_bits(0x7f800001u)))));
    assert_true(isnan(f32_of_f16(f16_of_f32(f32_of_bits(0xff800001u)))));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bf16_every_value),
        cmocka_unit_test(test_f16_every_value),
        cmocka_unit_test(test_rounding_to_even),
        cmocka_unit_test(test_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
