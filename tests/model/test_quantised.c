/* SPDX-License-Identifier: Apache-2.0 */
/* Weights that the CPU backend keeps quantised give what their dequantised values give, to the bit:
 * op_gemm and op_embed, every block type, every vector build this processor runs, any batch. */
#include "testing.h"

#include "backend/cpu/cpu.h"
#include "checkpoint/dequant.h"
#include "hostile.h"

#include <stdio.h>

enum { MAX_M = 103, N_PART = 45 };

struct rows {
    const uint8_t *data;
    int type;
    int64_t n_in;
};

static int64_t row_bytes(const struct rows *r)
{
    return r->n_in / qtype_block_elems(r->type) * qtype_block_bytes(r->type);
}

static int fill(void *arg, int64_t row0, int64_t n, void *dst)
{
    const struct rows *r = arg;
    qtype_convert(r->type, r->data + row0 * row_bytes(r), n * r->n_in, dst, DT_F32);
    return 0;
}

static int fill_codes(void *arg, int64_t row0, int64_t n, int32_t group, uint8_t *q, float *scale,
                      float *offset)
{
    const struct rows *r = arg;
    qtype_split(r->type, r->data + row0 * row_bytes(r), n * r->n_in, group, q, scale, offset);
    return 0;
}

/* Random blocks whose half-precision fields are ordinary, negative, subnormal or zero. */
static uint8_t *random_rows(int type, int64_t n_in, uint64_t *seed)
{
    static const int halves[N_QTYPES][2] = {
        [QT_Q4_0] = {0, -1}, [QT_Q4_1] = {0, 2}, [QT_Q5_0] = {0, -1}, [QT_Q5_1] = {0, 2},
        [QT_Q8_0] = {0, -1}, [QT_Q4_K] = {0, 2}, [QT_Q5_K] = {0, 2},  [QT_Q6_K] = {208, -1}};
    struct rows r = {NULL, type, n_in};
    size_t n = (size_t)(N_PART * row_bytes(&r));
    uint8_t *p = xalloc(n);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)rng_next(seed);
    for (size_t b = 0; b < n; b += (size_t)qtype_block_bytes(type))
        for (int k = 0; k < 2 && halves[type][k] >= 0; k++) {
            uint32_t x = rng_next(seed);
            uint16_t h = (uint16_t)((x & 0x83ff) | 0x2400);
            if (x >> 16 & 1 && (x >> 17 & 7) == 0)
                h = (uint16_t)(x & 0x83ff & (x >> 20 & 1 ? 0xffff : 0));
            memcpy(p + b + halves[type][k], &h, 2);
        }
    return p;
}

static struct matrix load(struct be *be, struct rows *r, int n_parts, bool levels)
{
    struct be_weight_part part[3];
    struct be_matrix_spec spec = {.what = "test",
                                  .parts = part,
                                  .n_parts = n_parts,
                                  .dt = DT_F32,
                                  .n_in = r[0].n_in,
                                  .gemm_operand = true};
    struct err e = {0};
    struct matrix w;
    for (int i = 0; i < n_parts; i++) {
        part[i] = (struct be_weight_part){.n_rows = N_PART, .arg = &r[i], .fill = fill};
        if (levels) {
            part[i].fill_codes = fill_codes;
            part[i].code = qtype_code(r[i].type, &part[i].group_in);
            part[i].group_out = 1;
            assert_true(part[i].code == WC_U4 || part[i].code == WC_U8);
        }
    }
    if (be_load_matrix(be, &spec, &w, &e) != 0)
        fail_msg("%s", e.msg);
    assert_int_equal(w.bits != 0, levels);
    return w;
}

static void compare(struct be *be, const struct matrix *plain, const struct matrix *kept,
                    int32_t n_in, int32_t n_out)
{
    static const int32_t ms[] = {1, 2, 3, 5, 8, 12, 13, 96, 97, MAX_M};
    float *in = xalloc((size_t)(MAX_M * n_in) * 4), *want = xalloc((size_t)(MAX_M * n_out) * 4),
          *got = xalloc((size_t)(MAX_M * n_out) * 4);
    uint64_t seed = 5;
    for (int32_t i = 0; i < MAX_M * n_in; i++)
        in[i] = (float)(int32_t)rng_next(&seed) * 0x1p-31f;
    struct op_gemm o = {.in = in, .n_in = n_in, .n_out = n_out};
    for (size_t i = 0; i < sizeof ms / sizeof *ms; i++) {
        size_t bytes = (size_t)ms[i] * (size_t)n_out * 4;
        o.m = ms[i];
        o.w = plain;
        o.out = want;
        assert_int_equal(be->op->gemm(be, &o), 0);
        memset(got, 0xff, bytes);
        o.w = kept;
        o.out = got;
        assert_int_equal(be->op->gemm(be, &o), 0);
        assert_memory_equal(want, got, bytes);
    }
    token_id id[2] = {0, n_out - 1};
    struct op_embed e = {.ids = id, .n_tokens = 2, .dim = n_in, .vocab = n_out};
    for (id[0] = 0; id[0] < n_out; id[0] += 7) {
        e.table = plain;
        e.out = want;
        assert_int_equal(be->op->embed(be, &e), 0);
        e.table = kept;
        e.out = got;
        assert_int_equal(be->op->embed(be, &e), 0);
        for (int32_t i = 0; i < 2 * n_in; i++) /* zeros may differ in their sign */
            assert_true(want[i] == got[i]);
    }
    free(in);
    free(want);
    free(got);
}

static void check(const int *types, int n_parts, int32_t n_in)
{
    static const char *const builds[] = {"base", "avx2", "avx512"};
    uint64_t seed = 11;
    struct rows r[3];
    for (int i = 0; i < n_parts; i++)
        r[i] = (struct rows){random_rows(types[i], n_in, &seed), types[i], n_in};
    struct be *be;
    struct err e = {0};
    struct be_config c = {.kind = BE_CPU, .threads = 2};
    assert_int_equal(be_open(&be, &c, &e), 0);
    struct matrix plain = load(be, r, n_parts, false), kept = load(be, r, n_parts, true);
    for (size_t b = 0; b < 3; b++) {
        if (!vec_named(builds[b]))
            continue;
        cpu_of(be)->vec = vec_named(builds[b]);
        compare(be, &plain, &kept, n_in, n_parts * N_PART);
    }
    be_close(be);
    for (int i = 0; i < n_parts; i++)
        free((void *)(uintptr_t)r[i].data);
}

static void test_every_type(void **state)
{
    (void)state;
    for (int t = 0; t < N_QTYPES; t++) {
        int32_t group;
        bool quantised = t >= QT_Q4_0 && t <= QT_Q6_K;
        assert_int_equal(qtype_code(t, &group) != 0, quantised);
        if (!quantised)
            continue;
        check(&t, 1, 512);
        if (qtype_block_elems(t) == 32)
            check(&t, 1, 352); /* the last block of the product is short */
    }
}

/* Parts of several types share one matrix: the most bits, the smallest group. */
static void test_mixtures(void **state)
{
    (void)state;
    check((const int[]){QT_Q4_K, QT_Q4_K, QT_Q6_K}, 3, 512);
    check((const int[]){QT_Q4_0, QT_Q8_0}, 2, 96);
    check((const int[]){QT_Q4_1, QT_Q4_0, QT_Q4_1}, 3, 64);
}

static int fail_late(void *arg, int64_t row0, int64_t n, int32_t group, uint8_t *q, float *scale,
                     float *offset)
{
    return row0 >= 32 ? ST_IO : fill_codes(arg, row0, n, group, q, scale, offset);
}

static void test_failures(void **state)
{
    (void)state;
    uint64_t seed = 3;
    struct rows r = {random_rows(QT_Q8_0, 64, &seed), QT_Q8_0, 64};
    struct be *be;
    struct err e = {0};
    struct be_config c = {.kind = BE_CPU, .threads = 2};
    struct matrix w;
    assert_int_equal(be_open(&be, &c, &e), 0);
    struct be_weight_part p = {.n_rows = N_PART,
                               .arg = &r,
                               .fill = fill,
                               .fill_codes = fail_late,
                               .code = WC_U8,
                               .group_in = 32,
                               .group_out = 1};
    const struct be_matrix_spec spec = {
        .what = "test", .parts = &p, .n_parts = 1, .dt = DT_F32, .n_in = 64, .gemm_operand = true};
    assert_int_equal(be_load_matrix(be, &spec, &w, &e), ST_IO);
    assert_non_null(strstr(e.msg, "reading the weights failed"));
    assert_null(w.data);
    /* codes that this backend has no panels for: their values are asked for instead */
    p.code = WC_E4M3;
    assert_int_equal(be_load_matrix(be, &spec, &w, &e), 0);
    assert_int_equal(w.code, WC_PLAIN);
    be_close(be);
    free((void *)(uintptr_t)r.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_type),
                                       cmocka_unit_test(test_mixtures),
                                       cmocka_unit_test(test_failures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
