/* SPDX-License-Identifier: Apache-2.0 */
/* dequant.c against values that the gguf package computed, against arithmetic done the slow way,
 * and the vectorised body against the portable one. */
#include "testing.h"

#include "checkpoint/dequant.h"
#include "hostile.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>

static uint8_t *unhex(const cJSON *text, size_t *n)
{
    const char *s = text->valuestring;
    *n = strlen(s) / 2;
    uint8_t *p = xalloc(*n);
    for (size_t i = 0; i < *n; i++) {
        unsigned v;
        assert_int_equal(sscanf(s + 2 * i, "%2x", &v), 1);
        p[i] = (uint8_t)v;
    }
    return p;
}

static int type_by_name(const char *name)
{
    for (int t = 0; t < QT_OTHER; t++)
        if (strcmp(qtype_name(t), name) == 0)
            return t;
    return -1;
}

static void check_type(const cJSON *it)
{
    size_t n_bytes, n_values;
    int type = type_by_name(it->string);
    assert_true(type >= 0);
    uint8_t *bytes = unhex(cJSON_GetObjectItem(it, "bytes"), &n_bytes);
    uint8_t *want = unhex(cJSON_GetObjectItem(it, "f32"), &n_values);
    int64_t n = (int64_t)n_values / 4;
    assert_int_equal(n % qtype_block_elems(type), 0);
    assert_int_equal(n / qtype_block_elems(type) * qtype_block_bytes(type), n_bytes);
    float *got = xalloc(n_values);
    qtype_convert(type, bytes, n, got, DT_F32);
    assert_memory_equal(got, want, n_values);
    memset(got, 0, n_values);
    qtype_convert_portable(type, bytes, n, got, DT_F32);
    assert_memory_equal(got, want, n_values);
    /* The same from an odd address. */
    uint8_t *odd = xalloc(n_bytes + 1);
    memcpy(odd + 1, bytes, n_bytes);
    memset(got, 0, n_values);
    qtype_convert(type, odd + 1, n, got, DT_F32);
    assert_memory_equal(got, want, n_values);
    free(odd);
    free(got);
    free(bytes);
    free(want);
}

static void test_reference_values(void **state)
{
    (void)state;
    size_t n;
    char *text = read_file(fixture_path("model/dequant.json"), &n);
    assert_non_null(text);
    cJSON *root = cJSON_ParseWithLength(text, n);
    assert_non_null(root);
    int seen = 0;
    const cJSON *it;
    cJSON_ArrayForEach(it, root)
    {
        check_type(it);
        seen++;
    }
    assert_int_equal(seen, QT_OTHER - 1); /* all but F32 */
    cJSON_Delete(root);
    free(text);
}

static double half_value(uint16_t h)
{
    int e = h >> 10 & 31, m = h & 1023;
    double v = e == 31 ? (m ? NAN : INFINITY) : e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
    return h & 0x8000 ? -v : v;
}

static void test_every_half(void **state)
{
    (void)state;
    static uint16_t h[65536];
    static float f[65536];
    for (int i = 0; i < 65536; i++)
        h[i] = (uint16_t)i;
    qtype_convert(QT_F16, h, 65536, f, DT_F32);
    for (int i = 0; i < 65536; i++) {
        double want = half_value((uint16_t)i);
        if (isnan(want) ? !isnan(f[i])
                        : (double)f[i] != want || (signbit(f[i]) != 0) != (i >= 32768))
            fail_msg("half %04x", i);
    }
    static uint16_t back[65536];
    qtype_convert(QT_F32, f, 65536, back, DT_F16);
    for (int i = 0; i < 65536; i++)
        if (back[i] != h[i] && !isnan(half_value((uint16_t)i)))
            fail_msg("half %04x came back as %04x", i, back[i]);
}

/* Nearest, ties to even, by doubles: `digits` bits of mantissa, smallest step 2^min_exp. */
static double round_slowly(double f, int digits, int min_exp, double limit)
{
    int e;
    if (!isfinite(f) || f == 0)
        return f;
    frexp(f, &e);
    int step = e - digits > min_exp ? e - digits : min_exp;
    double r = ldexp(nearbyint(ldexp(f, -step)), step);
    return fabs(r) >= limit ? copysign(INFINITY, f) : r;
}

static void test_rounding(void **state)
{
    (void)state;
    enum { N = 1 << 18 };
    uint64_t seed = 5;
    float *f = xalloc(N * sizeof *f);
    uint16_t *half = xalloc(N * 2), *bf = xalloc(N * 2);
    for (uint32_t i = 0; i < N; i++) {
        uint32_t u = rng_next(&seed) ^ rng_next(&seed) << 16;
        if (i % 4 == 1) /* the range of halves, close to ties */
            u = (u & 0x80000000u) | (((u >> 23) & 63) + 96) << 23 | (u & 0x7fe000) | (i & 0x1fff);
        if (i % 4 == 2) /* ties and their neighbours */
            u = (u & 0xffff0000u) | (0x8000u + i % 3 - 1);
        memcpy(&f[i], &u, 4);
    }
    qtype_convert(QT_F32, f, N, half, DT_F16);
    qtype_convert(QT_F32, f, N, bf, DT_BF16);
    for (int i = 0; i < N; i++) {
        double x = (double)f[i];
        uint32_t wide = (uint32_t)bf[i] << 16;
        float b;
        memcpy(&b, &wide, 4);
        if (isnan(x)) {
            assert_true(isnan(half_value(half[i])) && isnan(b));
            continue;
        }
        double want = round_slowly(x, 11, -24, 65520);
        if (half_value(half[i]) != want || !signbit(half_value(half[i])) != !signbit(f[i]))
            fail_msg("%a to half: %a, expected %a", x, half_value(half[i]), want);
        want = round_slowly(x, 8, -133, 0x1.ffp127);
        if ((double)b != want || !signbit(b) != !signbit(f[i]))
            fail_msg("%a to bf16: %a, expected %a", x, (double)b, want);
    }
    free(f);
    free(half);
    free(bf);
}

/* Random blocks of every type into every storage type: both bodies agree to the bit, and 16-bit
 * results are the f32 result rounded once. Odd numbers of blocks, so pieces end anywhere. */
static void test_bodies_agree(void **state)
{
    (void)state;
    uint64_t seed = 9;
    for (int type = 0; type < QT_OTHER; type++) {
        for (int64_t blocks = 1; blocks < 40; blocks += 1 + blocks / 3) {
            int64_t n = blocks * qtype_block_elems(type);
            size_t bytes = (size_t)(blocks * qtype_block_bytes(type));
            uint8_t *src = xalloc(bytes);
            for (size_t i = 0; i < bytes; i++)
                src[i] = (uint8_t)rng_next(&seed) & (i % 2 ? 0xbf : 0xff); /* no NAN */
            float *a = xalloc((size_t)n * 4), *b = xalloc((size_t)n * 4);
            qtype_convert(type, src, n, a, DT_F32);
            qtype_convert_portable(type, src, n, b, DT_F32);
            assert_memory_equal(a, b, (size_t)n * 4);
            for (int32_t dt = DT_BF16; dt <= DT_F16; dt++) {
                uint16_t *x = xalloc((size_t)n * 2), *y = xalloc((size_t)n * 2);
                qtype_convert(type, src, n, x, dt);
                qtype_convert_portable(QT_F32, a, n, y, dt);
                assert_memory_equal(x, y, (size_t)n * 2);
                free(x);
                free(y);
            }
            free(a);
            free(b);
            free(src);
        }
    }
}

static void test_type_numbers(void **state)
{
    (void)state;
    assert_int_equal(qtype_of_ggml(0), QT_F32);
    assert_int_equal(qtype_of_ggml(3), QT_Q4_1);
    assert_int_equal(qtype_of_ggml(14), QT_Q6_K);
    assert_int_equal(qtype_of_ggml(30), QT_BF16);
    assert_int_equal(qtype_of_ggml(16), QT_OTHER);
    assert_string_equal(qtype_ggml_name(16), "IQ2_XXS");
    assert_int_equal(qtype_of_ggml(4), QT_OTHER); /* a number without a type */
    assert_null(qtype_ggml_name(4));
    assert_int_equal(qtype_of_ggml(UINT32_MAX), QT_OTHER);
    assert_null(qtype_ggml_name(UINT32_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference_values), cmocka_unit_test(test_every_half),
        cmocka_unit_test(test_rounding),         cmocka_unit_test(test_bodies_agree),
        cmocka_unit_test(test_type_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
