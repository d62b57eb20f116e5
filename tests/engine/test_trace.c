/* SPDX-License-Identifier: Apache-2.0 */
/* test_trace.c - random scenarios against the hash model and the naive generator; replay; faults;
 * device errors. */
#include "testing.h"

#include "trace.h"

#ifdef __SANITIZE_ADDRESS__
enum { SEEDS = 200, LANE_SEEDS = 100, FAULT_SEEDS = 2 };
#elif defined(__SANITIZE_THREAD__)
enum { SEEDS = 50, LANE_SEEDS = 50, FAULT_SEEDS = 1 };
#else
enum { SEEDS = 1000, LANE_SEEDS = 500, FAULT_SEEDS = 4 };
#endif

static void seeds(int depth, int lanes)
{
    struct tr_result sum = {0};
    int first = getenv("QUIRE_SEED") ? atoi(getenv("QUIRE_SEED")) : 1;
    int last = getenv("QUIRE_SEED") ? first : lanes > 1 ? LANE_SEEDS : SEEDS;
    for (int seed = first; seed <= last; seed++) {
        tr_run((uint64_t)seed, depth, lanes, 0, &sum);
        if (tr_bad(&sum))
            fail_msg("seed %d depth %d lanes %d: %s", seed, depth, lanes, sum.why);
    }
    printf(
        "depth %d, lanes %d: %d traces, %lld requests, %lld tokens, %lld steps (%lld overlapped, "
        "%lld beside the other lane, %lld on a part, %lld rows handed over), "
        "%lld preemptions, %lld cancels, %lld tokens hit, %lld partial copies, %lld evictions, "
        "%lld vectors: "
        "0 mismatches, 0 audit failures, 0 stalls, 0 leaks\n",
        depth, lanes, last - first + 1, (long long)sum.requests, (long long)sum.tokens,
        (long long)sum.hm.steps, (long long)sum.hm.overlapped, (long long)sum.hm.beside,
        (long long)sum.hm.shared, (long long)sum.hm.handed, (long long)sum.preemptions,
        (long long)sum.cancels, (long long)sum.hits, (long long)sum.hm.copies,
        (long long)sum.evicted, (long long)sum.vectors);
    if (last > first) { /* the traces must reach what they claim to test */
        assert_true(sum.preemptions > 10 && sum.cancels > 10 && sum.hits > 100);
        assert_true(sum.numeric > 10 && sum.vectors > 100 && sum.scores > 1000);
        assert_true(sum.hm.copies > 10 && sum.evicted > 100);
        assert_true(depth == 1 ? sum.hm.overlapped == 0 : sum.hm.overlapped > 1000);
        assert_true(lanes == 1 ? sum.hm.beside == 0 : sum.hm.beside > 5 * (last - first));
        assert_true(lanes == 1 ? sum.hm.shared == 0 : sum.hm.shared > 5 * (last - first));
        assert_true(lanes == 1 ? sum.hm.handed == 0 : sum.hm.handed > 5 * (last - first));
    }
}

static void test_depth_1(void **state)
{
    (void)state;
    seeds(1, 1);
}

static void test_depth_2(void **state)
{
    (void)state;
    seeds(2, 1);
}

static void test_lanes(void **state)
{
    (void)state;
    seeds(1, 2);
    seeds(2, 2);
}

static void test_replay(void **state)
{
    (void)state;
    for (uint64_t seed = 5; seed < 15; seed++) {
        struct tr_result a = {0}, b = {0};
        tr_run(seed, 2, seed % 2 ? 1 : 2, 0, &a);
        tr_run(seed, 2, seed % 2 ? 1 : 2, 0, &b);
        assert_true(a.hm.trace == b.hm.trace && a.hm.steps == b.hm.steps && a.turns == b.turns);
    }
}

/* Every place that may be refused (a page, room in the outbox) is refused once: nothing shows. */
static void test_faults(void **state)
{
    (void)state;
#ifdef QUIRE_FAULTS
    int64_t n = 0;
    for (uint64_t seed = 1; seed <= FAULT_SEEDS; seed++)
        for (int64_t point = 1;; point++) {
            struct tr_result r = {0};
            tr_run(seed, 2, seed % 2 ? 1 : 2, point, &r);
            if (tr_bad(&r))
                fail_msg("seed %d fault %d: %s", (int)seed, (int)point, r.why);
            n += r.dropped;
            if (r.dropped == 0)
                break;
        }
    printf("faults: %lld points failed one by one\n", (long long)n);
    assert_true(n > 100);
#else
    printf("faults: not compiled in, skipped (QUIRE_FAULTS)\n");
#endif
}

/* That many steps of as many lanes. */
static int run_long(int64_t n_steps, int lanes)
{
    struct tr_result sum = {0};
    uint64_t seed = SEEDS;
    for (; sum.hm.steps < n_steps && !tr_bad(&sum); seed++)
        tr_run(seed, 1 + (int)(seed % 2), lanes, 0, &sum);
    printf(
        "lanes %d: %lld steps, %lld of them beside the other lane's, %lld requests, %lld tokens, "
        "%lld preemptions, %lld evictions: %s\n",
        lanes, (long long)sum.hm.steps, (long long)sum.hm.beside, (long long)sum.requests,
        (long long)sum.tokens, (long long)sum.preemptions, (long long)sum.evicted,
        tr_bad(&sum) ? sum.why : "no page lost, no failed audit, no wrong token");
    if (tr_bad(&sum))
        printf("seed %llu\n", (unsigned long long)seed - 1);
    return tr_bad(&sum);
}

/* test_trace [steps [lanes, 2 by default]] */
int main(int argc, char **argv)
{
    if (argc > 1)
        return run_long(atoll(argv[1]), argc > 2 ? atoi(argv[2]) : 2);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_depth_1), cmocka_unit_test(test_depth_2),
        cmocka_unit_test(test_lanes),   cmocka_unit_test(test_replay),
        cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
