/* SPDX-License-Identifier: Apache-2.0 */
/* budget.c - how much goes into one step, by measured cost.
 *
 * The cost of a prompt token is measured, step by step. Between two decode steps at most as many
 * are planned as fit into max_decode_gap_us, but at least MIN_CHUNK, so that prefill advances even
 * when the configured gap cannot be held. When nobody waits for a decode step, a step may last
 * MAX_STEP_US: cancels, newcomers and questions after the engine's health wait no longer than that.
 * Before anything was measured the chunks are modest.
 *
 * The prefill lane of two runs beside the decode steps, so the gap bounds nothing there. Its steps
 * last NEWCOMER_US at most: a newcomer waits for the one or two that are in flight. Above
 * GEMM_TOKENS they are multiples of it, a size that large products like.
 *
 * A prefill step reads all weights, as a decode step does; with few tokens that is most of its
 * cost. While rows decode, prompts therefore wait until their tokens are worth it, but no longer
 * than a decode step takes, nor than HOLD_US.
 *
 * From the same costs comes how long a step may be silent before something is wrong. Engine thread.
 */
#include "sched.h"

#include "split.h"

enum { MIN_CHUNK = 64, MIN_LONE_CHUNK = 16, FIRST_CHUNK = 64, MAX_STEP_US = 1000000 };
enum { SHORT_SHARE = 4, SHORT_LEAST = 64, LONG_SHARE = 4 };
enum { NEWCOMER_US = 100000, GEMM_TOKENS = 2048, HOLD_US = 5000 };
enum { LIMIT_FACTOR = 16, UNKNOWN_TOKEN_US = 500000 };

static const double best_fades = 1.01; /* a prefill step */

/* What a prompt token costs on that split, or on the nearest that was tried. */
static double token_us(const struct sched *sc, int32_t share)
{
    const struct cost *c = &sc->cost;
    for (int32_t d = 0; d <= sc->n_shares; d++) {
        int32_t i = share - d >= 0 && c->prefill_tokens[share - d] > 0 ? share - d : share + d;
        if (i <= sc->n_shares && c->prefill_tokens[i] > 0)
            return c->prefill_us[i] / c->prefill_tokens[i];
    }
    return 0;
}

static int32_t at_most(double n, int32_t max)
{
    return n < max ? (int32_t)n : max;
}

int32_t sched_prefill_budget(const struct sched *sc, int32_t n_decoders)
{
    const int32_t max = sc->max_step_tokens;
    const double per_token = token_us(sc, 0);
    if (per_token <= 0 && n_decoders == 0) /* nothing measured yet: one modest chunk at a time */
        return at_most(FIRST_CHUNK, max);
    if (n_decoders == 0 || sc->max_decode_gap_us <= 0) {
        double n = per_token > 0 ? MAX_STEP_US / per_token : FIRST_CHUNK;
        return at_most(n < MIN_LONE_CHUNK ? MIN_LONE_CHUNK : n, max);
    }
    bool first = sc->since_decode_us <= 0;
    if (per_token <= 0)
        return first ? at_most(FIRST_CHUNK, max) : 0;
    int32_t least = at_most(MIN_CHUNK, max);
    double room = (double)sc->max_decode_gap_us - split_decode_us(sc, 0) - sc->since_decode_us;
    double n = room / per_token;
    if (n < least)
        return first ? least : 0;
    return at_most(n, max);
}

int32_t sched_lane_budget(const struct sched *sc, int32_t share)
{
    const int32_t max = sc->max_step_tokens;
    const double per_token = token_us(sc, share);
    if (per_token <= 0)
        return at_most(FIRST_CHUNK, max);
    int32_t n = at_most(NEWCOMER_US / per_token, max);
    if (n > GEMM_TOKENS)
        return n - n % GEMM_TOKENS;
    return n < MIN_CHUNK ? at_most(MIN_CHUNK, max) : n;
}

int64_t sched_hold_us(const struct sched *sc, int64_t n_tokens, int64_t wait_us)
{
    double weights_us = split_decode_us(sc, 0), best = sc->cost.best_token_us;
    int64_t most = weights_us < HOLD_US ? (int64_t)weights_us : HOLD_US;
    bool worth_it = best <= 0 || (double)n_tokens * best >= weights_us;
    return worth_it || wait_us >= most ? 0 : most - wait_us;
}

/* Short prompts pass long ones, so that they do not wait for every longer prompt before them; the
 * share that is kept for long ones bounds how long these are held up. */
void sched_split(int32_t budget, int32_t *is_short, int32_t *kept)
{
    *is_short = budget / SHORT_SHARE > SHORT_LEAST ? budget / SHORT_SHARE : SHORT_LEAST;
    *kept = budget / LONG_SHARE > 0 ? budget / LONG_SHARE : 1;
}

void sched_note_submit(struct sched *sc, const struct step *s)
{
    if (s->kind == STEP_DECODE)
        sc->since_decode_us = 0;
    else
        sc->since_decode_us += 1 + token_us(sc, s->share) * s->n_tokens;
}

/* What a decode step reads, in tokens of KV; 1 where nobody says what the weights are worth. */
static double load_of(const struct sched *sc, const struct step *s)
{
    double load = sc->weight_tokens;
    if (load <= 0)
        return 1;
    for (int32_t i = 0; i < s->n_rows; i++)
        load += s->rows[i].first + 1;
    return load;
}

/* The ratio of decayed sums weighs chunks by their tokens: short last chunks do not spoil it. */
void sched_note_step(struct sched *sc, const struct step *s, int64_t us)
{
    struct cost *c = &sc->cost;
    if (us < 1)
        us = 1;
    if (s->kind == STEP_DECODE) {
        split_note_decode(sc, s->share, (double)us, load_of(sc, s));
        return;
    }
    c->prefill_us[s->share] = c->prefill_us[s->share] * 0.75 + (double)us;
    c->prefill_tokens[s->share] = c->prefill_tokens[s->share] * 0.75 + s->n_tokens;
    double best = c->best_token_us * best_fades, one = (double)us / s->n_tokens;
    c->best_token_us = best > 0 && best < one ? best : one;
}

int64_t sched_step_cost_us(const struct sched *sc, const struct step *s)
{
    if (s->kind == STEP_DECODE && split_decode_us(sc, s->share) > 0)
        return (int64_t)split_decode_us(sc, s->share);
    return (int64_t)(token_us(sc, s->share) * s->n_tokens);
}

int64_t sched_step_limit_us(const struct sched *sc, const struct step *s)
{
    double per_token = token_us(sc, s->share), decode = split_decode_us(sc, s->share);
    if (s->kind == STEP_DECODE && decode > 0)
        return (int64_t)(decode * LIMIT_FACTOR);
    if (per_token > 0)
        return (int64_t)(per_token * s->n_tokens * LIMIT_FACTOR);
    return (int64_t)s->n_tokens * UNKNOWN_TOKEN_US;
}
