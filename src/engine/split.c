/* SPDX-License-Identifier: Apache-2.0 */
/* split.c - policy: how the device is split while prompts and answers are computed side by side.
 *
 * Splits are ordered by the part of the decode lane. Of those on which a decode step is expected
 * within the latency target (max_decode_gap_us), with a margin, the smallest is taken on which both
 * lanes together get about as much done as on any: the target says how fast answers have to be,
 * what is left is for prompts. What is done is the sum of both speeds, each over the best that it
 * has on any split. It depends on the batch, so it is measured: a split of which nothing is known
 * is tried when it seems safe, and what was not tried for long is forgotten.
 *
 * A decode step's time follows what it reads, the weights and the KV of its rows: its load, counted
 * in tokens of KV. What is remembered of a split is therefore its time per load. Decode steps wait
 * for memory more than for processors, so of a split never tried it is expected that time grows
 * with the square root of the missing part.
 *
 * A step beyond the target ends a split at once; a better one is gone to when there was time to see
 * what this one costs. Without a target: the middle. Decisions only; steps in flight keep their
 * split. Engine thread.
 */
#include "split.h"

#include <math.h>

enum { SMOOTH = 8, LOOK_AFTER = 32, FORGET_AFTER = 4096 }; /* decode steps beside the other lane */
static const double most_of_target = 0.9, down_to = 0.75;  /* of the target */
static const double about_as_much = 0.95, clearly = 1.02;

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
    double *c = &sc->cost.decode[share];
    *c = *c > 0 ? *c + (us / load - *c) / SMOOTH : us / load;
    sc->load = load;
    if (share == 0)
        return;
    sc->n_beside++;
    sc->share_age += share == sc->share;
    sc->share_used[share] = sc->n_beside;
    for (int32_t i = 1; i <= sc->n_shares; i++)
        if (sc->n_beside - sc->share_used[i] > FORGET_AFTER)
            sc->cost.decode[i] = sc->cost.prefill_us[i] = sc->cost.prefill_tokens[i] = 0;
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
    if (c->decode[share] <= 0 || c->prefill_tokens[share] <= 0)
        return INFINITY;
    for (int32_t i = 1; i <= sc->n_shares; i++) {
        if (c->decode[i] > 0)
            decode = fmin(decode, c->decode[i]);
        if (c->prefill_tokens[i] > 0)
            prefill = fmin(prefill, token_us(c, i));
    }
    return decode / c->decode[share] + prefill / token_us(c, share);
}

/* Decode steps are expected in time on split k; a smaller part than today's needs more margin. */
static bool in_time(const struct sched *sc, int32_t k, double target)
{
    return split_decode_us(sc, k) <= target * (k < sc->share ? down_to : most_of_target);
}

/* A split that nobody knows, or the smallest that does about as much as any. The one of today is
 * kept while there is no clear reason against it. */
static int32_t best(const struct sched *sc, double target)
{
    double most = 0;
    for (int32_t k = 1; k <= sc->n_shares; k++)
        if (in_time(sc, k, target))
            most = fmax(most, work(sc, k));
    for (int32_t k = 1; k <= sc->n_shares; k++) {
        double enough = most * about_as_much * (k == sc->share ? 1 : clearly);
        if (in_time(sc, k, target) && work(sc, k) >= fmin(enough, most))
            return k;
    }
    return sc->share;
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
        k = best(sc, target);
    if (k != sc->share)
        move(sc, k);
    return sc->share;
}
