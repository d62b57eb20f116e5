/* sched.c - policy: order, choice, budgets. Decisions only; no mechanism and no clock of its own.
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
#include "state.h"

enum { OLDEST_EVERY = 8, MIN_CHUNK = 64, FIRST_CHUNK = 512, RESERVE_MAX_SHARE = 16 };

int sched_before(const struct seq *a, const struct seq *b)
{
    if (a->boost != b->boost)
        return a->boost > b->boost;
    if (a->priority != b->priority)
        return a->priority < b->priority;
    return a->order < b->order;
}

static int picked_before(const struct engine *en, const struct seq *a, const struct seq *b)
{
    if (a->boost != b->boost)
        return a->boost > b->boost;
    if (a->priority != b->priority)
        return a->priority < b->priority;
    int64_t sa = en->tenant[a->tenant].served, sb = en->tenant[b->tenant].served;
    if (a->tenant != b->tenant && sa != sb)
        return sa < sb;
    return a->order < b->order;
}

int32_t sched_pick(const struct engine *en)
{
    int oldest = en->n_admitted % OLDEST_EVERY == OLDEST_EVERY - 1;
    int32_t best = -1;
    for (int32_t i = 0; i < en->n_wait; i++) {
        const struct seq *s = &en->seq[en->wait[i]];
        if (best < 0 ||
            (oldest ? s->order < en->seq[best].order : picked_before(en, s, &en->seq[best])))
            best = en->wait[i];
    }
    return best;
}

/* Whom for_seq may push out: from the end of the order, never one of the step being built. A
 * waiting seq pushes out only strictly lower priorities, unless it precedes everybody running. */
struct seq *sched_victim(const struct engine *en, const struct seq *for_seq)
{
    if (en->n_run == 0)
        return NULL;
    const struct seq *first = &en->seq[en->run[0]];
    int head = for_seq == first || sched_before(for_seq, first);
    for (int32_t i = en->n_run - 1; i >= 0; i--) {
        struct seq *v = &en->seq[en->run[i]];
        if (v == for_seq || !sched_before(for_seq, v))
            return NULL;
        if (v->in_step == en->step_no + 1 || (v->boost && !head))
            continue;
        if (for_seq->state == SEQ_WAITING && !head && !for_seq->boost &&
            v->priority <= for_seq->priority)
            continue;
        return v;
    }
    return NULL;
}

/* A start should leave a page for each running seq to grow into, within reason. */
int32_t sched_reserve(const struct engine *en)
{
    int32_t most = en->c.n_pages / RESERVE_MAX_SHARE;
    return en->n_run < most ? en->n_run : most;
}

int32_t sched_prefill_budget(const struct engine *en, int32_t n_decoders)
{
    const int32_t max = en->c.max_step_tokens;
    if (n_decoders == 0 || en->c.max_decode_gap_us <= 0)
        return max;
    int32_t least = MIN_CHUNK < max ? MIN_CHUNK : max;
    int first = en->since_decode_us <= 0;
    if (en->cost.prefill_tokens <= 0) /* nothing measured yet: one modest chunk at a time */
        return !first ? 0 : FIRST_CHUNK < max ? FIRST_CHUNK : max;
    double per_token = en->cost.prefill_us / en->cost.prefill_tokens;
    double room = (double)en->c.max_decode_gap_us - en->cost.decode_us - en->since_decode_us;
    double n = per_token > 0 ? room / per_token : max;
    if (n < least)
        return first ? least : 0;
    return n < max ? (int32_t)n : max;
}

void sched_note_submit(struct engine *en, const struct step *st)
{
    if (st->kind == STEP_DECODE) {
        en->since_decode_us = 0;
        return;
    }
    double per_token = en->cost.prefill_tokens > 0 ? en->cost.prefill_us / en->cost.prefill_tokens
                                                   : 0;
    en->since_decode_us += 1 + per_token * st->n_tokens;
}

/* The ratio of decayed sums weighs chunks by their tokens: short last chunks do not spoil it. */
void sched_note_step(struct engine *en, const struct step *st, int64_t us)
{
    if (us < 1)
        us = 1;
    if (st->kind == STEP_DECODE) {
        double d = en->cost.decode_us;
        en->cost.decode_us = d > 0 ? d + ((double)us - d) / 8 : (double)us;
        return;
    }
    en->cost.prefill_us = en->cost.prefill_us * 0.75 + (double)us;
    en->cost.prefill_tokens = en->cost.prefill_tokens * 0.75 + st->n_tokens;
}
