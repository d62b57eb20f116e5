/* SPDX-License-Identifier: Apache-2.0 */
/* Every op of the list on the GPU against the naive reference in double: random cases in both
 * storage types, then the shapes that attention and sampling turn on. Skipped without a GPU.
 * QUIRE_GPU_SMALL=1: fewer and smaller cases, for compute-sanitizer.
 *
 *   cuda_test_ops [cases] [test, such as test_attn*] */
#include "op_cases.h"
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SKIPPED = 77 };
static struct op_rig rig;
static int n_cases = 60, small;

static void fail_case(const struct op_case *c, enum op_id id, const char *where, double tol)
{
    fail_msg("%s, seed %llu (%s): %s; tolerance %.3g", op_name(id), (unsigned long long)c->seed,
             c->text, where, tol);
}

/* Attention rounds its weights to 16 bits before the product with V, and a split product is summed
 * in 16 bits by some library algorithms: element by element that is a few units in the last place,
 * where the CPU bodies, which work in f32, have one. */
static double tolerance(const struct op_case *c)
{
    double tol = op_case_tolerance(c);
    int rounds = c->id == OP_attn_prefill || c->id == OP_attn_decode || c->id == OP_gemm;
    return rounds && tol > 1e-4 ? 3 * tol : rounds ? 3e-5 : tol;
}

/* The bound of ||got - want|| / ||want|| in 16-bit types. */
static double norm_limit(const struct op_case *c)
{
    return c->id == OP_attn_prefill || c->id == OP_attn_decode ? 5e-3 : 1e-2;
}

/* Runs one case; the worst normalised error over all of them is kept in *worst. */
static void check_case(const struct op_case *c, enum op_id id, double *worst)
{
    struct op_result got, want;
    char where[200] = "";
    int st = op_rig_run(&rig, c, id, &got);
    if (st != 0)
        fail_msg("%s, seed %llu (%s): status %d", op_name(id), (unsigned long long)c->seed, c->text,
                 st);
    op_case_reference(c, &want);
    double e = op_result_compare(c, &got, &want, where), tol = tolerance(c);
    if (!(e <= tol))
        fail_case(c, id, where, tol);
    if (c->id == OP_step_inputs) {
        assert_int_equal(got.bv.n_rows, want.bv.n_rows);
        assert_int_equal(got.bv.n_tokens, want.bv.n_tokens);
        assert_int_equal(got.bv.max_new, want.bv.max_new);
        assert_int_equal(got.bv.max_kv, want.bv.max_kv);
    }
    double n = op_result_norm_error(c, &got, &want);
    if (!(n <= norm_limit(c)))
        fail_msg("%s, seed %llu (%s): normalised error %.3g", op_name(id),
                 (unsigned long long)c->seed, c->text, n);
    *worst = fmax(*worst, n);
    op_result_free(&got);
    op_result_free(&want);
}

static void check_op(enum op_id id)
{
    double worst = 0;
    for (int i = 0; i < n_cases; i++) {
        struct op_case c;
        struct case_opts o = CASE_ANY;
        o.dt = i % 3 == 2 ? DT_F16 : DT_BF16;
        o.kv_dt = i % 5 == 4 ? DT_F16 : o.dt;
        op_case_make(&c, id, (uint64_t)i + 1000, o);
        check_case(&c, id, &worst);
        op_case_free(&c);
    }
    printf("%s: %d cases, worst normalised error %.3g\n", op_name(id), n_cases, worst);
}

#define X(n)                                                                                       \
    static void test_##n(void **state)                                                             \
    {                                                                                              \
        (void)state;                                                                               \
        check_op(OP_##n);                                                                          \
    }
OP_LIST(X)
#undef X

static const int32_t head_dims[] = {64, 80, 96, 128, 256};
static const int32_t page_sizes[] = {16, 32, 64};
enum { N_HEAD_DIMS = 5, N_PAGE_SIZES = 3 };

/* One attention case; a decode case through both bodies, and RoPE of the same shape. */
static void check_attention(uint64_t seed, struct case_opts o, int decode, double *worst)
{
    struct op_case c;
    o.dt = o.kv_dt = seed & 1 ? DT_F16 : DT_BF16;
    o.decode = decode;
    op_case_make(&c, decode ? OP_attn_decode : OP_attn_prefill, seed, o);
    check_case(&c, c.id, worst);
    if (decode)
        check_case(&c, OP_attn_prefill, worst);
    op_case_free(&c);
}

/* Every head size and page size, prefill and decode. */
static void test_attention_shapes(void **state)
{
    double worst = 0, worst_rope = 0;
    uint64_t seed = 1;
    (void)state;
    for (int h = 0; h < N_HEAD_DIMS; h++)
        for (int p = 0; p < N_PAGE_SIZES; p++)
            for (int i = 0; i < (small ? 2 : 8); i++, seed++) {
                struct case_opts o = {.head_dim = head_dims[h], .page_tokens = page_sizes[p]};
                struct op_case c;
                check_attention(seed, o, i & 1, &worst);
                o.dt = o.kv_dt = i & 2 ? DT_F16 : DT_BF16;
                o.decode = -1;
                op_case_make(&c, OP_rope_kv_write, seed, o);
                check_case(&c, c.id, &worst_rope);
                op_case_free(&c);
            }
    printf("attention, %d shapes: worst normalised error %.3g, RoPE %.3g\n", (int)seed - 1, worst,
           worst_rope);
}

/* Every number of query heads to a KV head, at every head size. */
static void test_groups(void **state)
{
    double worst = 0;
    uint64_t seed = 5000;
    (void)state;
    for (int h = 0; h < N_HEAD_DIMS; h++)
        for (int32_t g = 1; g <= 16; g += small ? 5 : 1)
            for (int decode = 0; decode < 2; decode++, seed++) {
                struct case_opts o = {.head_dim = head_dims[h],
                                      .group = g,
                                      .page_tokens = page_sizes[seed % N_PAGE_SIZES]};
                check_attention(seed, o, decode, &worst);
            }
    printf("groups of 1 to 16, %d cases: worst normalised error %.3g\n", (int)seed - 5000, worst);
}

/* Cached prefixes round the edges of a page and of a tile, and a long one. */
static void test_prefixes(void **state)
{
    static const int32_t prefix[] = {0, 1, 15, 16, 17, 4095};
    double worst = 0;
    uint64_t seed = 8000;
    (void)state;
    for (int k = 0; k < (small ? 5 : 6); k++)
        for (int h = 0; h < N_HEAD_DIMS; h++)
            for (int p = 0; p < N_PAGE_SIZES; p++)
                for (int decode = 0; decode < 2; decode++, seed++) {
                    struct case_opts o = {.head_dim = head_dims[h],
                                          .page_tokens = page_sizes[p],
                                          .group = 1 + (int32_t)seed % 4,
                                          .fixed_prefix = 1,
                                          .prefix = prefix[k]};
                    if (!small || seed % 3 == 0)
                        check_attention(seed, o, decode, &worst);
                }
    printf("prefixes of 0 to 4,095, %d cases: worst normalised error %.3g\n", (int)seed - 8000,
           worst);
}

/* Shapes of real models: long rows, splits, wide vocabularies. */
static void test_big(void **state)
{
    static const enum op_id ops[] = {OP_attn_decode, OP_attn_prefill, OP_gemm,
                                     OP_add_rmsnorm, OP_sample,       OP_silu_mul,
                                     OP_embed,       OP_adjust,       OP_score};
    (void)state;
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) {
        double worst = 0;
        for (int i = 0; i < 8; i++) {
            struct op_case c;
            struct case_opts o = CASE_ANY;
            o.dt = o.kv_dt = i & 1 ? DT_F16 : DT_BF16;
            o.big = 1;
            op_case_make(&c, ops[k], (uint64_t)i + 7000, o);
            check_case(&c, ops[k], &worst);
            op_case_free(&c);
        }
        printf("%s, big: worst error %.3g\n", op_name(ops[k]), worst);
    }
}

/* The same launch twice gives the same bits: sums do not depend on the order of arrival. */
static void test_repeatable(void **state)
{
    static const enum op_id ops[] = {OP_attn_decode, OP_attn_prefill, OP_gemm,
                                     OP_sample,      OP_adjust,       OP_score};
    (void)state;
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++)
        for (int i = 0; i < (small ? 2 : 10); i++) {
            struct op_case c;
            struct op_result a, b;
            struct case_opts o = CASE_ANY;
            o.dt = o.kv_dt = DT_BF16;
            op_case_make(&c, ops[k], (uint64_t)i + 9000, o);
            assert_int_equal(op_rig_run(&rig, &c, ops[k], &a), 0);
            assert_int_equal(op_rig_run(&rig, &c, ops[k], &b), 0);
            assert_true(op_result_same(&c, &a, &b));
            op_result_free(&a);
            op_result_free(&b);
            op_case_free(&c);
        }
}

int main(int argc, char **argv)
{
    const char *env = getenv("QUIRE_GPU_SMALL");
    small = env && atoi(env) > 0;
    if (small)
        n_cases = 6;
    if (argc > 1)
        n_cases = atoi(argv[1]);
    if (argc > 2)
        cmocka_set_test_filter(argv[2]);
    if (op_rig_open(&rig, BE_CUDA, 0) != 0) {
        printf("skipped: no GPU here\n");
        return SKIPPED;
    }
    const struct CMUnitTest all[] = {
#define X(n) cmocka_unit_test(test_##n),
        OP_LIST(X)
#undef X
            cmocka_unit_test(test_attention_shapes),
        cmocka_unit_test(test_groups), cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_repeatable), cmocka_unit_test(test_big)};
    size_t n = sizeof all / sizeof *all - (small ? 1 : 0);
    int r = _cmocka_run_group_tests("ops", all, n, NULL, NULL);
    op_rig_close(&rig);
    return r;
}
