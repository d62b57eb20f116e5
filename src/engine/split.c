/* SPDX-License-Identifier: Apache-2.0 */
/* split.c - policy: how the device is split while prompts and answers are computed side by side.
 *
 * Splits are ordered by the part of the decode lane. A small part is good for throughput: decode
 * steps wait for memory, prefill does not. So decode gets the smallest part on which its step is
 * expected within the latency target (max_decode_gap_us), with a margin.
 *
 * Every step tells what a decode step costs on its split. The load changes all the time, so one
 * that became dearer by a factor makes the other splits' figures dearer by the same: what is
 * remembered is how the splits compare. Of a split never tried the worst is expected, that time
 * grows as the part shrinks.
 *
 * Up at once, as far as it takes; down by one, when there was time to see what this one costs, and
 * with more margin, so that it does not go back and forth. Without a target: the middle. Decisions
 * only; steps in flight keep their split. Engine thread.
 */
#include "split.h"

enum { SMOOTH = 8, DOWN_AFTER = 16 }; /* decode steps */
static const double most_of_target = 0.9, down_to = 0.75;

/* Parts are taken to grow evenly; n_shares + 1 is the whole device. */
static double part(const struct sched *sc, int32_t share)
{
    return share > 0 ? share : sc->n_shares + 1;
}

double split_decode_us(const struct sched *sc, int32_t share)
{
    const double *us = sc->cost.decode_us;
    if (us[share] > 0)
        return us[share];
    for (int32_t d = 1; d <= sc->n_shares; d++) { /* the nearest that was tried */
        if (share + d <= sc->n_shares && us[share + d] > 0)
            return us[share + d] * part(sc, share + d) / part(sc, share);
        if (share - d > 0 && us[share - d] > 0)
            return us[share - d] * part(sc, share - d) / part(sc, share);
    }
    return us[0] * part(sc, 0) / part(sc, share);
}

void split_note_decode(struct sched *sc, int32_t share, double us)
{
    double *all = sc->cost.decode_us, old = all[share];
    double now = old > 0 ? old + (us - old) / SMOOTH : us;
    for (int32_t i = 0; i <= sc->n_shares && old > 0; i++)
        if (i != share)
            all[i] *= now / old;
    all[share] = now;
    sc->share_age += share > 0 && share == sc->share;
}

static void move(struct sched *sc, int32_t share)
{
    sc->share = share;
    sc->share_age = 0;
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
    if (k > sc->share)
        move(sc, k);
    else if (k > 1 && sc->share_age >= DOWN_AFTER && split_decode_us(sc, k - 1) <= target * down_to)
        move(sc, k - 1);
    return sc->share;
}
