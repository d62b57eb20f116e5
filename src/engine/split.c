/* SPDX-License-Identifier: Apache-2.0 */
/* split.c - policy: how the device is split while prompts and answers are computed side by side.
 *
 * Splits are ordered by the part of the decode lane. Decode gets the smallest part on which its
 * step is expected within the latency target (max_decode_gap_us), with a margin: the target says
 * how fast answers have to be, what is left is for prompts, and the sooner those are done the more
 * rows share a decode step.
 *
 * A decode step's time follows what it reads, the weights and the KV of its rows: its load, counted
 * in tokens of KV. What is remembered of a split is therefore its time per load. Decode steps wait
 * for memory more than for processors, so of a split never tried it is expected that time grows
 * with the square root of the missing part; what was not tried for long is forgotten. The first
 * steps of a shape on a split record their graph and take many times as long, so one step changes
 * what is expected by an eighth at most.
 *
 * Up at once, as far as it takes; down when there was time to see what this one costs, and with
 * more margin, so that it does not go back and forth. Without a target: the middle. Decisions only;
 * steps in flight keep their split. Engine thread.
 */
#include "split.h"

#include <math.h>

enum { SMOOTH = 8, LOOK_AFTER = 32, FORGET_AFTER = 4096 }; /* decode steps beside the other lane */
static const double most_of_target = 0.9, down_to = 0.75;  /* of the target */

/* Parts are taken to grow evenly; n_shares + 1 is the whole device. */
static double part(const struct sched *sc, int32_t share)
{
    return share > 0 ? share : sc->n_shares + 1;
}

static double slower(const struct sched *sc, int32_t from, int32_t to)
{
    return sqrt(part(sc, from) / part(sc, to));
}

/* Per load. */
static double decode_cost(const struct sched *sc, int32_t share)
{
    const double *c = sc->cost.decode;
    if (c[share] > 0)
        return c[share];
    for (int32_t d = 1; d <= sc->n_shares; d++) { /* the nearest that was tried */
        if (share + d <= sc->n_shares && c[share + d] > 0)
            return c[share + d] * slower(sc, share + d, share);
        if (share - d > 0 && c[share - d] > 0)
            return c[share - d] * slower(sc, share - d, share);
    }
    return c[0] * slower(sc, 0, share);
}

double split_decode_us(const struct sched *sc, int32_t share)
{
    return decode_cost(sc, share) * sc->load;
}

void split_note_decode(struct sched *sc, int32_t share, double us, double load)
{
    double expected = decode_cost(sc, share), one = us / load;
    sc->cost.decode[share] = expected > 0 ? expected + (fmin(one, 2 * expected) - expected) / SMOOTH
                                          : one;
    sc->load = load;
    if (share == 0)
        return;
    sc->n_beside++;
    sc->share_age += share == sc->share;
    sc->share_used[share] = sc->n_beside;
    for (int32_t i = 1; i <= sc->n_shares; i++)
        if (sc->n_beside - sc->share_used[i] > FORGET_AFTER)
            sc->cost.decode[i] = 0;
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
    if (k == sc->share && sc->share_age >= LOOK_AFTER)
        for (int32_t i = 1; i < k; i++)
            if (split_decode_us(sc, i) <= target * down_to)
                k = i;
    if (k != sc->share)
        move(sc, k);
    return sc->share;
}
