/* SPDX-License-Identifier: Apache-2.0 */
/* test_retry.c - measured rates and Retry-After, with a clock of the test's own; then what a server
 * says that has a rate. */
#include "api/retry.h"

#include "rig.h"

enum { SEC = 1000000 };

/* Ten a second for a minute: the rate is ten, whatever the size of the steps it came in. */
static void test_rate(void **state)
{
    (void)state;
    for (int per_step = 1; per_step <= 100; per_step *= 10) {
        struct meter m = {0};
        int64_t now = 5 * SEC, step = (int64_t)per_step * SEC / 10;
        assert_true(meter_rate(&m, now, true) == 0);
        meter_note(&m, now, 0, true);
        for (int i = 0; i * step < 60 * SEC; i++)
            meter_note(&m, now += step, per_step, true);
        double r = meter_rate(&m, now, true);
        if (r < 9.9 || r > (per_step == 100 ? 16 : 10.6))
            fail_msg("%d a step: %g", per_step, r);
    }
}

/* Idle time is no time in which something could have ended; busy time without an end is. */
static void test_rate_idle(void **state)
{
    struct meter m = {0};
    int64_t now = SEC;
    (void)state;
    meter_note(&m, now, 0, true);
    for (int i = 0; i < 300; i++)
        meter_note(&m, now += SEC / 10, 1, true);
    double r = meter_rate(&m, now, true);
    assert_true(r > 9.9 && r < 10.6);
    assert_true(meter_rate(&m, now + 3600 * (int64_t)SEC, false) == r);
    meter_note(&m, now += 3600 * (int64_t)SEC, 0, false);
    assert_true(meter_rate(&m, now, true) == r);
    double later = meter_rate(&m, now + 10 * SEC, true);
    assert_true(later < r * 0.45 && later > r * 0.2);
    assert_true(meter_rate(&m, now - SEC, true) == r); /* a clock that stands still */
}

/* A change is followed within some ten seconds. */
static void test_rate_follows(void **state)
{
    struct meter m = {0};
    int64_t now = SEC;
    (void)state;
    meter_note(&m, now, 0, true);
    for (int i = 0; i < 600; i++)
        meter_note(&m, now += SEC / 10, 1, true);
    for (int i = 0; i < 20; i++)
        meter_note(&m, now += SEC, 1, true);
    double r = meter_rate(&m, now, true);
    assert_true(r > 1 && r < 2.6);
}

static void test_rule(void **state)
{
    static const struct {
        int st;
        struct retry_facts f;
        int want;
    } t[] = {
        /* half the queue at the measured rate, rounded up */
        {ST_QUEUE_FULL, {true, 512, 64, 3, 1}, 4},
        {ST_QUEUE_FULL, {true, 513, 64, 3, 1}, 5},
        {ST_QUEUE_FULL, {true, 512, 1000, 3, 1}, 1},
        {ST_QUEUE_FULL, {true, 512, 1, 3, 1}, 60},
        {ST_QUEUE_FULL, {true, 0, 0.25, 3, 1}, 2},
        {ST_QUEUE_FULL, {true, -3, 0.25, 3, 1}, 2},
        {ST_QUEUE_FULL, {true, 512, 0, 3, 1}, 1},
        {ST_QUEUE_TIMEOUT, {true, 100, 5, 3, 1}, 10},
        /* what is left of loading */
        {ST_LOADING, {false, 0, 0, 30, 0.75}, 10},
        {ST_LOADING, {false, 0, 0, 3, 0}, 3},
        {ST_LOADING, {false, 0, 0, 0.2, 0}, 1},
        {ST_LOADING, {false, 0, 0, 500, 0.1}, 60},
        {ST_LOADING, {false, 0, 0, 5, 1.5}, 1},
        /* a restart: the load once more */
        {ST_ENGINE_DOWN, {false, 9, 5, 12.5, 1}, 14},
        {ST_DEVICE, {false, 9, 5, 12.5, 1}, 14},
        /* another replica; what passes in a moment */
        {ST_DRAINING, {false, 100, 5, 12, 1}, 1},
        {ST_DRAINING, {true, 100, 5, 12, 1}, 1},
        {ST_ENGINE_DOWN, {true, 9, 5, 12.5, 1}, 1},
        {ST_FULL, {true, 9, 5, 12.5, 1}, 1},
        {ST_NOMEM, {true, 9, 5, 12.5, 1}, 1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        int got = retry_seconds(t[i].st, &t[i].f);
        if (got != t[i].want)
            fail_msg("row %zu (%s): %d, not %d", i, st_text(t[i].st), got, t[i].want);
    }
}

static int told(const struct answer *a)
{
    const char *p = strstr(a->head, "Retry-After: ");
    return p ? atoi(p + 13) : 0;
}

/* Sequences of 10 tokens at 20 ms each, one after the other: 5 a second or fewer. Half of a queue
 * of 60 takes 6 seconds or more. Not all are told the same. */
static void test_full_queue(void **state)
{
    enum { N = 64 };
    static int fd[N];
    int least = 1000, most = 0;
    (void)state;
    rig_defaults(&rig);
    rig.c.scheduler.max_seqs = 4;
    rig.c.limits.queue_size = N - 4;
    rig_start(&rig);
    atomic_store(&rig.ex.step_us, 20000);
    for (int i = 0; i < 8; i++) { /* so that a rate is known */
        struct answer a = post(&rig, "/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":10}");
        assert_int_equal(a.status, 200);
        free(a.body);
    }
    rig_hold(&rig);
    for (int i = 0; i < N; i++)
        put_post(fd[i] = dial(&rig), "/v1/completions",
                 "{\"prompt\":\"x\",\"max_tokens\":10,\"ignore_eos\":true}");
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", N));
    for (int i = 0; i < 30; i++) {
        struct answer a = post(&rig, "/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":1}");
        assert_int_equal(a.status, 429);
        int s = told(&a);
        free(a.body);
        assert_true(s >= 1 && s <= 60);
        least = s < least ? s : least;
        most = s > most ? s : most;
    }
    print_message("told %d to %d s\n", least, most);
    assert_true(least >= 6 && most > least);
    for (int i = 0; i < N; i++)
        close(fd[i]);
    rig_stop(&rig);
}

/* Loading: by its progress; failed: as long as it took and a little. */
static void test_loading(void **state)
{
    (void)state;
    rig_defaults(&rig);
    rig.limits.failed_exit_us = -1;
    rig_listen(&rig);
    api_set_progress(rig.a, "weights", 0.5);
    static const char *const paths[] = {"/health", "/ready"};
    for (int i = 0; i < 4; i++) {
        struct answer a = i < 2 ? get(&rig, paths[i])
                                : post(&rig, "/v1/completions", "{\"prompt\":\"x\"}");
        assert_int_equal(a.status, 503);
        assert_true(told(&a) >= 1 && told(&a) <= 60);
        free(a.body);
    }
    rig_load(&rig);
    assert_true(status_becomes(&rig, "/ready", 200));
    rig_stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rate),         cmocka_unit_test(test_rate_idle),
        cmocka_unit_test(test_rate_follows), cmocka_unit_test(test_rule),
        cmocka_unit_test(test_full_queue),   cmocka_unit_test(test_loading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
