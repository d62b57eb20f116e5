/* SPDX-License-Identifier: Apache-2.0 */
/* plant_bugs.c - the oracles' self-test: with each planted bug switched on, the traces must notice
 * (a wrong output, a failed audit, a stall, a leak, a violation, or a CHECK that aborts); with
 * none, they must not. Each bug runs in a child process, because a planted bug may end it.
 */
#include "testing.h"

#include "plant.h"
#include "trace.h"

#include <sys/wait.h>
#include <unistd.h>

/* Traces without a bug all run to their end: fewer where each takes ten times as long. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { NONE_SEEDS = 40 };
#else
enum { NONE_SEEDS = 400 };
#endif
enum { PLANT_SEEDS = 400, CAUGHT = 1, QUIET = 0, LIMIT_S = 60 };

static const char *const names[N_PLANTS] = {
    [PLANT_NONE] = "none",
    [PLANT_PART_LONG] = "partial hit one token too long",
    [PLANT_EARLY_FREE] = "pages freed while a step in flight names them",
    [PLANT_NO_REF] = "reference not raised on a hit",
    [PLANT_EVICT_PINNED] = "eviction of a pinned node",
    [PLANT_HIT_LONG] = "hit covers the last token",
    [PLANT_CHUNK_SHIFT] = "later chunk one position late",
    [PLANT_EDIT_MISSED] = "page table not sent after preemption",
    [PLANT_STALE_TOKEN] = "stale token fed back",
    [PLANT_NO_NAMESPACE] = "namespace ignored",
    [PLANT_CANCEL_LEAK] = "cancel loses a page",
    [PLANT_LATE_TOKEN] = "speculative token of a finished row emitted",
    [PLANT_COUNTS_MISSED] = "counts not sent after preemption",
    [PLANT_SCORE_CACHED] = "prompt to score taken from the cache",
    [PLANT_SCORE_AGAIN] = "scores reported again after preemption",
    [PLANT_SCORE_NEXT] = "score behind a chunk of another token",
    [PLANT_MEAN_HIT] = "mean over what the cache did not skip",
    [PLANT_SUM_MISSED] = "chunk of a mean not added",
    [PLANT_VECTOR_SLOT] = "vector of another row",
    [PLANT_COPY_UNPINNED] = "copy source released early",
    [PLANT_HANDED_EARLY] = "row handed over before its prefill committed",
    [PLANT_OTHER_LANE] = "page released while the other lane reads it",
    [PLANT_LIMBO_LANE] = "limbo drained by the wrong lane",
};

/* In the child: run seeds until something is noticed. */
static int hunt(int plant)
{
    quire_plant = plant;
    for (int i = 0; i < (plant == PLANT_NONE ? NONE_SEEDS : PLANT_SEEDS) * 4; i++) {
        int seed = i / 4 + 1, depth = i % 2 + 1,
            lanes = plant >= PLANT_HANDED_EARLY ? 2 : i / 2 % 2 + 1;
        struct tr_result r = {0};
        tr_run((uint64_t)seed, depth, lanes, 0, &r);
        if (!tr_bad(&r))
            continue;
        printf("  %-48s seed %3d depth %d lanes %d: %s\n", names[plant], seed, depth, lanes, r.why);
        fflush(stdout);
        return CAUGHT;
    }
    return QUIET;
}

/* 1: noticed. */
static int in_child(int plant)
{
    fflush(stdout);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(LIMIT_S); /* a planted bug may also loop */
        if (plant != PLANT_NONE && !freopen("/dev/null", "w", stderr))
            _exit(QUIET);
        _exit(hunt(plant));
    }
    int status;
    assert_true(waitpid(pid, &status, 0) == pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == QUIET)
        return 0;
    if (!WIFEXITED(status))
        printf("  %-48s ended by signal %d\n", names[plant], WTERMSIG(status));
    return 1;
}

static void test_none(void **state)
{
    (void)state;
    assert_int_equal(in_child(PLANT_NONE), 0);
}

static void test_planted(void **state)
{
    (void)state;
    int caught = 0;
    for (int plant = 1; plant < N_PLANTS; plant++) {
        int hit = in_child(plant);
        if (!hit)
            printf("  %-48s NOT NOTICED\n", names[plant]);
        caught += hit;
    }
    printf("planted bugs: %d of %d noticed\n", caught, N_PLANTS - 1);
    assert_int_equal(caught, N_PLANTS - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_planted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
