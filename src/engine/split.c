/* SPDX-License-Identifier: Apache-2.0 */
/* split.c - policy: how the device is split while prompts and answers are computed side by side.
 *
 * Splits are ordered by the part of the decode lane. Of those on which a decode step is expected
 * within the latency target (max_decode_gap_us), with a margin, the best is the one on which both
 * lanes together get the most done: the sum of both speeds, each over the best that it has on any
 * split. Which one that is depends on the batch, so it is measured: a split of which nothing is
 * known is tried when it seems safe, and what was not tried for long is forgotten.
 *
 * Every step tells what a decode step costs on its split. The load changes all the time, so one
 * that became dearer by a factor makes the other splits' figures dearer by the same: what is
 * remembered is how the splits compare. Decode steps wait for memory more than for processors, so
 * of a split never tried it is expected that time grows with the square root of the missing part.
 *
 * A step beyond the target ends a split at once; a better one is gone to when there was time to see
 * what this one costs, by a clear difference. Without a target: the middle. Decisions only; steps
 * in flight keep their split. Engine thread.
 */
#include "split.h"

#include <math.h>

enum { SMOOTH = 8, LOOK_AFTER = 32, FORGET_AFTER = 4096 }; /* decode steps beside the other lane */
static const double most_of_target = 0.9, down_to = 0.75, clearly = 1.02;

/* Parts are taken to grow evenly; n_shares + 1 is the whole device. */
static double part(const struct sched *sc, int32_t share)
{
    return share > 0 ? share : sc->n_shares + 1;
}

static double slower(const struct sched *sc, int32_t from, int32_t to)
{
    return sqrt(part(sc, from) / part(sc, to));
}

double split_decode_us(const struct sched *sc, int32_t share)
{
    const double *us = sc->cost.decode_us;
    if (us[share] > 0)
        return us[share];
    for (int32_t d = 1; d <= sc->n_shares; d++) { /* the nearest that was tried */
        if (share + d <= sc->n_shares && us[share + d] > 0)
            return us[share + d] * slower(sc, share + d, share);
        if (share - d > 0 && us[share - d] > 0)
            return us[share - d] * slower(sc, share - d, share);
    }
    return us[0] * slower(sc, 0, share);
}

void split_note_decode(struct sched *sc, int32_t share, double us)
{
    double *all = sc->cost.decode_us, old = all[share];
    double now = old > 0 ? old + (us - old) / SMOOTH : us;
    for (int32_t i = 0; i <= sc->n_shares && old > 0; i++)
        if (i != share)
            all[i] *= now / old;
    all[share] = now;
    if (share == 0)
        return;
    sc->n_beside++;
    sc->share_age += share == sc->share;
    sc->share_used[share] = sc->n_beside;
    for (int32_t i = 1; i <= sc->n_shares; i++)
        if (sc->n_beside - sc->share_used[i] > FORGET_AFTER)
            all[i] = sc->cost.prefill_us[i] = sc->cost.prefill_tokens[i] = 0;
}

static void move(struct sched *sc, int32_t share)
{
    sc->share = share;
    sc->share_age = 0;
}

static double token_us(const struct cost *c, int32_t i)
{
    return c->prefill_tokens[i] > 0 ? c->prefill_us[i] / c->prefill_tokens[i] : 0;
}

/* What both lanes get done on that split; infinite: nobody knows. */
static double work(const struct sched *sc, int32_t share)
{
    const struct cost *c = &sc->cost;
    double decode = INFINITY, prefill = INFINITY;
    if (c->decode_us[share] <= 0 || c->prefill_tokens[share] <= 0)
        return INFINITY;
    for (int32_t i = 1; i <= sc->n_shares; i++) {
        if (c->decode_us[i] > 0)
            decode = fmin(decode, c->decode_us[i]);
        if (c->prefill_tokens[i] > 0)
            prefill = fmin(prefill, token_us(c, i));
    }
    return decode / c->decode_us[share] + prefill / token_us(c, share);
}

/* The best split whose decode steps are expected in time; a smaller part than today's needs more
 * margin. -1: none is clearly better. */
static int32_t better(const struct sched *sc, double target)
{
    double most = work(sc, sc->share) * clearly;
    int32_t best = -1;
    for (int32_t k = 1; k <= sc->n_shares; k++) {
        double margin = k < sc->share ? down_to : most_of_target, w = work(sc, k);
        if (k == sc->share || split_decode_us(sc, k) > target * margin || w <= most)
            continue;
        best = k;
        most = w;
    }
    return best;
}

int32_t split_pick(struct sched *sc)
{
    const double target = (double)sc->max_decode_gap_us;
    if (sc->n_shares == 0)
        return 0;
    if (sc->share == 0)
        move(sc, (sc->n_shares + 1) / 2);
    if (target <= 0)
        return sc->share;
    int32_t k = sc->share;
    while (k < sc->n_shares && split_decode_us(sc, k) > target * most_of_target)
        k++;
    if (k == sc->share && sc->share_age >= LOOK_AFTER)
        k = better(sc, target);
    if (k > 0 && k != sc->share)
        move(sc, k);
    return sc->share;
}
