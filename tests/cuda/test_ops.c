/* Every op of the list on the GPU against the naive reference in double: random cases in both
 * storage types, then the shapes that attention and sampling turn on. Skipped without a GPU. */
#include "op_cases.h"
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SKIPPED = 77 };
static struct op_rig rig;
static int n_cases = 60;

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

/* Runs one case; the worst error over all of them is kept in *worst. */
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
    if (e > *worst)
        *worst = e;
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
    printf("%s: %d cases, worst error %.3g\n", op_name(id), n_cases, worst);
}

#define X(n)                                                                                       \
    static void test_##n(void **state)                                                             \
    {                                                                                              \
        (void)state;                                                                               \
        check_op(OP_##n);                                                                          \
    }
OP_LIST(X)
#undef X

/* Every head size and page size, prefill and decode; one decode case through both bodies. */
static void test_attention_shapes(void **state)
{
    static const int32_t heads[] = {64, 80, 96, 128, 256}, pages[] = {16, 32, 64};
    double worst = 0;
    uint64_t seed = 1;
    (void)state;
    for (size_t h = 0; h < sizeof heads / sizeof *heads; h++)
        for (size_t p = 0; p < sizeof pages / sizeof *pages; p++)
            for (int32_t decode = 0; decode < 2; decode++)
                for (int i = 0; i < 4; i++, seed++) {
                    struct op_case c;
                    struct case_opts o = {.dt = i & 1 ? DT_F16 : DT_BF16,
                                          .kv_dt = i & 1 ? DT_F16 : DT_BF16,
                                          .head_dim = heads[h],
                                          .decode = decode,
                                          .page_tokens = pages[p]};
                    op_case_make(&c, decode ? OP_attn_decode : OP_attn_prefill, seed, o);
                    check_case(&c, c.id, &worst);
                    if (decode)
                        check_case(&c, OP_attn_prefill, &worst);
                    op_case_free(&c);
                    o.decode = -1;
                    op_case_make(&c, OP_rope_kv_write, seed, o);
                    check_case(&c, c.id, &worst);
                    op_case_free(&c);
                }
    printf("attention shapes: worst error %.3g\n", worst);
}

/* Shapes of real models: long rows, splits, wide vocabularies. */
static void test_big(void **state)
{
    static const enum op_id ops[] = {OP_attn_decode, OP_attn_prefill, OP_gemm, OP_add_rmsnorm,
                                     OP_sample,      OP_silu_mul,     OP_embed};
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
    static const enum op_id ops[] = {OP_attn_decode, OP_attn_prefill, OP_gemm, OP_sample};
    (void)state;
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++)
        for (int i = 0; i < 10; i++) {
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
    if (argc > 1)
        n_cases = atoi(argv[1]); /* fewer under compute-sanitizer */
    if (op_rig_open(&rig, BE_CUDA, 0) != 0) {
        printf("skipped: no GPU here\n");
        return SKIPPED;
    }
    const struct CMUnitTest all[] = {
#define X(n) cmocka_unit_test(test_##n),
        OP_LIST(X)
#undef X
            cmocka_unit_test(test_attention_shapes),
        cmocka_unit_test(test_repeatable), cmocka_unit_test(test_big)};
    int r = n_cases < 10 ? _cmocka_run_group_tests("ops", all, N_OPS, NULL, NULL)
                         : cmocka_run_group_tests(all, NULL, NULL);
    op_rig_close(&rig);
    return r;
}
