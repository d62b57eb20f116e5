/* SPDX-License-Identifier: Apache-2.0 */
/* The CPU worker pool: every item exactly once, many small jobs, sleep when idle. */
#include "backend/cpu/threads.h"
#include "testing.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct count {
    _Atomic uint8_t *seen;
    int n_threads;
    _Atomic int bad;
};

static void count_items(void *arg, int64_t begin, int64_t end, int worker)
{
    struct count *c = arg;
    if (worker < 0 || worker >= c->n_threads || begin >= end)
        atomic_store(&c->bad, 1);
    for (int64_t i = begin; i < end; i++)
        atomic_fetch_add(&c->seen[i], 1);
}

static void check_run(struct cpu_pool *p, int64_t n, int64_t grain)
{
    struct count c = {calloc((size_t)n + 1, 1), cpu_pool_threads(p), 0};
    assert_non_null(c.seen);
    cpu_pool_run(p, n, grain, count_items, &c);
    assert_int_equal(c.bad, 0);
    for (int64_t i = 0; i < n; i++)
        assert_int_equal(c.seen[i], 1);
    assert_int_equal(c.seen[n], 0);
    free((void *)c.seen);
}

static void test_every_item_once(void **state)
{
    static const int threads[] = {1, 2, 3, 7, 16};
    static const int64_t sizes[] = {0, 1, 2, 3, 15, 16, 17, 100, 1000, 70001};
    (void)state;
    for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
        struct cpu_pool *p = cpu_pool_new(threads[t]);
        assert_non_null(p);
        assert_int_equal(cpu_pool_threads(p), threads[t]);
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
            for (int64_t grain = 1; grain < 3000; grain *= 9)
                check_run(p, sizes[s], grain);
        cpu_pool_free(p);
    }
}

static void add_one(void *arg, int64_t begin, int64_t end, int worker)
{
    int64_t *v = arg;
    (void)worker;
    for (int64_t i = begin; i < end; i++)
        v[i]++;
}

/* Jobs follow each other without a pause: a late worker must never run an old job's chunk or miss
 * that the memory of the previous one is complete. */
static void test_job_after_job(void **state)
{
    (void)state;
    enum { N = 64, JOBS = 3000 };
    int64_t v[N] = {0};
    struct cpu_pool *p = cpu_pool_new(4);
    for (int j = 0; j < JOBS; j++) {
        cpu_pool_run(p, N - j % 3, 1, add_one, v);
        if (j % 100 == 99)
            nanosleep(&(struct timespec){0, 1000000}, NULL); /* let them fall asleep */
        assert_int_equal(v[0], j + 1);
        assert_int_equal(v[N - 3], j + 1);
    }
    cpu_pool_free(p);
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void test_idle_costs_nothing(void **state)
{
    (void)state;
    struct cpu_pool *p = cpu_pool_new(4);
    int64_t v[64] = {0};
    cpu_pool_run(p, 64, 1, add_one, v);
    nanosleep(&(struct timespec){0, 100000000}, NULL); /* beyond the spin */
    double t0 = cpu_seconds();
    nanosleep(&(struct timespec){0, 300000000}, NULL);
    assert_true(cpu_seconds() - t0 < 0.01);
    cpu_pool_free(p);
}

static void test_cores(void **state)
{
    (void)state;
    assert_true(cpu_cores() >= 1);
    struct cpu_pool *p = cpu_pool_new(0);
    assert_int_equal(cpu_pool_threads(p), cpu_cores());
    cpu_pool_free(p);
    cpu_pool_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_item_once),
        cmocka_unit_test(test_job_after_job),
        cmocka_unit_test(test_idle_costs_nothing),
        cmocka_unit_test(test_cores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
