/* SPDX-License-Identifier: Apache-2.0 */
/* Every op of the list on the CPU against the naive reference: many random cases, every storage
 * type, every instruction set this processor has. */
#include "backend/cpu/cpu.h"
#include "op_cases.h"
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const builds[] = {"base", "avx2", "avx512"};
enum { N_BUILDS = sizeof builds / sizeof *builds };

static void check_case(struct op_rig *rig, const struct op_case *c, const char *build)
{
    struct op_result got, want;
    char where[200];
    op_case_reference(c, &want);
    assert_int_equal(op_rig_run(rig, c, c->id, &got), 0);
    double e = op_result_compare(c, &got, &want, where), tol = op_case_tolerance(c);
    if (!(e <= tol))
        fail_msg("%s on %s, seed %llu (%s): %s; tolerance %.3g", op_name(c->id), build,
                 (unsigned long long)c->seed, c->text, where, tol);
    if (c->id == OP_step_inputs) {
        assert_int_equal(got.bv.n_rows, want.bv.n_rows);
        assert_int_equal(got.bv.n_tokens, want.bv.n_tokens);
        assert_int_equal(got.bv.max_new, want.bv.max_new);
        assert_int_equal(got.bv.max_kv, want.bv.max_kv);
    }
    op_result_free(&got);
    op_result_free(&want);
}

static void check_op(enum op_id id, int n_cases)
{
    struct op_rig rig;
    assert_int_equal(op_rig_open(&rig, BE_CPU, 3), 0);
    for (int b = 0; b < N_BUILDS; b++) {
        const struct vec_fns *v = vec_named(builds[b]);
        if (!v) {
            printf("%s: skipped, not on this processor\n", builds[b]);
            continue;
        }
        cpu_of(rig.be)->vec = v;
        for (int i = 0; i < n_cases; i++) {
            struct op_case c;
            op_case_make(&c, id, (uint64_t)(b * n_cases + i), CASE_ANY);
            check_case(&rig, &c, builds[b]);
            op_case_free(&c);
        }
    }
    op_rig_close(&rig);
}

#define X(n)                                                                                       \
    static void test_##n(void **state)                                                             \
    {                                                                                              \
        (void)state;                                                                               \
        check_op(OP_##n, 40);                                                                      \
    }
OP_LIST(X)
#undef X

int main(void)
{
    const struct CMUnitTest tests[] = {
#define X(n) cmocka_unit_test(test_##n),
        OP_LIST(X)
#undef X
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
