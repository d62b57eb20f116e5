/* SPDX-License-Identifier: Apache-2.0 */
/* sched.c - policy: order, choice, budgets. Decisions only: no mechanism and no clock of its own,
 * and nothing but the seqs' lists and struct sched in sight, so that it can be tried alone.
 *
 * Order: seqs preempted too often, then priority, then arrival. The first running seq is never
 * preempted and may preempt anybody behind it, so the oldest always advances. Waiting seqs of equal
 * priority are admitted by what their tenants were served so far (virtual time: a tenant that was
 * away starts at the present), then by arrival; every OLDEST_EVERY-th admission goes to the oldest
 * whatever its priority, so nobody starves. The one that was picked blocks the line until it fits.
 *
 * Prefill chunks: the cost of a token is measured. Between two decode steps at most as many prefill
 * tokens are planned as fit into max_decode_gap_us, but at least MIN_CHUNK, so that prefill
 * advances even when the configured gap cannot be held. Engine thread.
 */
#include "sched.h"

enum { OLDEST_EVERY = 8, MIN_CHUNK = 64, FIRST_CHUNK = 512, RESERVE_MAX_SHARE = 16 };

bool sched_before(const struct seq *a, const struct seq *b)
{
    if (a->boost != b->boost)
        return a->boost;
    if (a->priority != b->priority)
        return a->priority < b->priority;
    return a->order < b->order;
}

static bool picked_before(const struct seqs *q, const struct seq *a, const struct seq *b)
{
    if (a->boost != b->boost)
        return a->boost;
    if (a->priority != b->priority)
        return a->priority < b->priority;
    int64_t sa = q->tenant[a->tenant].served, sb = q->tenant[b->tenant].served;
    if (a->tenant != b->tenant && sa != sb)
        return sa < sb;
    return a->order < b->order;
}

int32_t sched_pick(const struct sched *sc, const struct seqs *q)
{
    bool oldest = sc->n_admitted % OLDEST_EVERY == OLDEST_EVERY - 1;
    int32_t best = -1;
    for (int32_t i = 0; i < q->n_wait; i++) {
        const struct seq *s = &q->seq[q->wait[i]];
        if (best < 0 ||
            (oldest ? s->order < q->seq[best].order : picked_before(q, s, &q->seq[best])))
            best = q->wait[i];
    }
    return best;
}

/* Whom for_seq may push out: from the end of the order, never one of the step being built. A
 * waiting seq pushes out only strictly lower priorities, unless it precedes everybody running. */
struct seq *sched_victim(const struct seqs *q, const struct seq *for_seq)
{
    if (q->n_run == 0)
        return NULL;
    const struct seq *first = &q->seq[q->run[0]];
    bool head = for_seq == first || sched_before(for_seq, first);
    for (int32_t i = q->n_run - 1; i >= 0; i--) {
        struct seq *v = &q->seq[q->run[i]];
        if (v == for_seq || !sched_before(for_seq, v))
            return NULL;
        if (v->in_plan == q->plan_no || (v->boost && !head))
            continue;
        if (for_seq->state == SEQ_WAITING && !head && !for_seq->boost &&
            v->priority <= for_seq->priority)
            continue;
        return v;
    }
    return NULL;
}

/* A start should leave a page for each running seq to grow into, within reason. */
int32_t sched_reserve(const struct seqs *q, int32_t n_pages)
{
    int32_t most = n_pages / RESERVE_MAX_SHARE;
    return q->n_run < most ? q->n_run : most;
}

int32_t sched_prefill_budget(const struct sched *sc, int32_t n_decoders)
{
    const int32_t max = sc->max_step_tokens;
    if (n_decoders == 0 || sc->max_decode_gap_us <= 0)
        return max;
    int32_t least = MIN_CHUNK < max ? MIN_CHUNK : max;
    bool first = sc->since_decode_us <= 0;
    if (sc->cost.prefill_tokens <= 0) /* nothing measured yet: one modest chunk at a time */
        return !first ? 0 : FIRST_CHUNK < max ? FIRST_CHUNK : max;
    double per_token = sc->cost.prefill_us / sc->cost.prefill_tokens;
    double room = (double)sc->max_decode_gap_us - sc->cost.decode_us - sc->since_decode_us;
    double n = per_token > 0 ? room / per_token : max;
    if (n < least)
        return first ? least : 0;
    return n < max ? (int32_t)n : max;
}

void sched_note_submit(struct sched *sc, const struct step *s)
{
    if (s->kind == STEP_DECODE) {
        sc->since_decode_us = 0;
        return;
    }
    double per_token = sc->cost.prefill_tokens > 0 ? sc->cost.prefill_us / sc->cost.prefill_tokens
                                                   : 0;
    sc->since_decode_us += 1 + per_token * s->n_tokens;
}

/* The ratio of decayed sums weighs chunks by their tokens: short last chunks do not spoil it. */
void sched_note_step(struct sched *sc, const struct step *s, int64_t us)
{
    struct cost *c = &sc->cost;
    if (us < 1)
        us = 1;
    if (s->kind == STEP_DECODE) {
        double d = c->decode_us;
        c->decode_us = d > 0 ? d + ((double)us - d) / 8 : (double)us;
        return;
    }
    c->prefill_us = c->prefill_us * 0.75 + (double)us;
    c->prefill_tokens = c->prefill_tokens * 0.75 + s->n_tokens;
}
