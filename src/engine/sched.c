/* SPDX-License-Identifier: Apache-2.0 */
/* sched.c - policy: order and choice. Decisions only: no mechanism and no clock of its own, and
 * nothing but the seqs' lists and struct sched in sight, so that it can be tried alone.
 *
 * Between tenants: whoever was served least by its weight comes first (fair.c). A waiting seq of a
 * tenant below its share takes a row, or pages, from a tenant beyond its own: from the seq that
 * came last there, never the same one twice in a row, and from none that was preempted so often
 * that it is boosted. Priority says nothing here.
 *
 * Inside a tenant: seqs preempted too often, then priority, then arrival. A waiting seq pushes out
 * only strictly lower priorities. Every OLDEST_EVERY-th start of a tenant goes to its oldest
 * whatever its priority and its length, so nobody starves. The one that was picked blocks the line
 * until its pages are there.
 *
 * Running seqs are in one order, by which they get pages. The first is never preempted and may
 * preempt anybody, so it always advances. Engine thread.
 */
#include "sched.h"

#include "fair.h"

enum { OLDEST_EVERY = 8, RESERVE_MAX_SHARE = 16 };

bool sched_before(const struct seq *a, const struct seq *b)
{
    if (a->boost != b->boost)
        return a->boost;
    if (a->priority != b->priority)
        return a->priority < b->priority;
    return a->order < b->order;
}

static struct tenant *look_at(struct seqs *q, int32_t t)
{
    struct tenant *x = &q->tenant[t];
    if (x->choice != q->n_choices) {
        x->choice = q->n_choices;
        x->best = -1;
        x->least = INT64_MIN;
        q->tenant_seen[q->n_tenant_seen++] = t;
    }
    return x;
}

static bool oldest_due(const struct tenant *t)
{
    return t->n_admitted % OLDEST_EVERY == OLDEST_EVERY - 1;
}

/* The best waiting seq of each tenant, whether it can get a row or not. */
static void look_at_waiting(struct seqs *q, int32_t max_tokens)
{
    for (int32_t i = 0; i < q->n_wait; i++) {
        const struct seq *s = &q->seq[q->wait[i]];
        struct tenant *t = look_at(q, s->tenant);
        bool oldest = oldest_due(t);
        if (s->n_tok > max_tokens && !oldest)
            continue;
        const struct seq *best = t->best < 0 ? NULL : &q->seq[t->best];
        if (!best || (oldest ? s->order < best->order : sched_before(s, best)))
            t->best = q->wait[i];
    }
}

/* Could s start: in a free row, or in one that it takes from another tenant or from a lower
 * priority of its own? `most` holds the most rows. */
static bool may_start(const struct sched *sc, const struct seqs *q, const struct seq *s,
                      int32_t most)
{
    const struct tenant *t = &q->tenant[s->tenant];
    bool full = t->max_rows > 0 && t->n_rows >= t->max_rows;
    if (!full && fair_may_start(q, sc, s->tenant, most))
        return true;
    if (!full && q->n_free_rows == 0 && most >= 0 && fair_may_take_row(q, s->tenant, most))
        return true;
    return t->least > s->priority;
}

/* Tenants come in order of what they were served, then of the rows they hold, then of arrival. */
static bool tenant_before(const struct seqs *q, const struct seq *a, const struct seq *b)
{
    const struct tenant *x = &q->tenant[a->tenant], *y = &q->tenant[b->tenant];
    if (x->served != y->served)
        return x->served < y->served;
    double rows_x = x->n_rows * y->weight, rows_y = y->n_rows * x->weight;
    return rows_x != rows_y ? rows_x < rows_y : a->order < b->order;
}

int32_t sched_pick(const struct sched *sc, struct seqs *q, int32_t max_tokens)
{
    int32_t pick = -1;
    if (q->n_wait == 0)
        return -1;
    q->n_choices++;
    q->n_tenant_seen = 0;
    look_at_waiting(q, max_tokens);
    for (int32_t i = 0; i < q->n_run; i++) { /* how unimportant are a tenant's running seqs? */
        const struct seq *s = &q->seq[q->run[i]];
        struct tenant *t = look_at(q, s->tenant);
        if (!s->boost && s->priority > t->least)
            t->least = s->priority;
    }
    int32_t most = fair_most_rows(q);
    for (int32_t i = 0; i < q->n_tenant_seen; i++) {
        int32_t best = q->tenant[q->tenant_seen[i]].best;
        if (best >= 0 && may_start(sc, q, &q->seq[best], most) &&
            (pick < 0 || tenant_before(q, &q->seq[best], &q->seq[pick])))
            pick = best;
    }
    return pick;
}

bool sched_gated(const struct sched *sc, int32_t n_avail)
{
    return sc->gate_seq >= 0 && n_avail <= sc->gate_avail;
}

/* May s have the place of v, a running seq of the same tenant? */
static bool own_victim(const struct seq *s, const struct seq *v, bool head)
{
    if (!sched_before(s, v) || (v->boost && !head))
        return false;
    return s->state != SEQ_WAITING || head || s->boost || v->priority > s->priority;
}

struct seq *sched_victim(const struct sched *sc, struct seqs *q, const struct seq *s,
                         int32_t n_pages)
{
    if (q->n_run == 0)
        return NULL;
    const struct seq *first = &q->seq[q->run[0]];
    const struct tenant *t = &q->tenant[s->tenant];
    bool waits = s->state == SEQ_WAITING, head = s == first || (waits && sched_before(s, first));
    bool full = waits && t->max_rows > 0 && t->n_rows >= t->max_rows;
    bool for_row = waits && q->n_free_rows == 0;
    int32_t most = for_row ? fair_most_rows(q) : -1;
    struct seq *own = NULL;
    if (!for_row)
        fair_count_pages(q);
    for (int32_t i = q->n_run - 1; i >= 0; i--) {
        struct seq *v = &q->seq[q->run[i]];
        if (v == s || v->in_plan == q->plan_no)
            continue;
        if (v->tenant == s->tenant) {
            if (!own && own_victim(s, v, head))
                own = v;
            continue;
        }
        if (v == first || v->boost || v->id == sc->last_pushed || full)
            continue;
        if (for_row ? v->tenant == most && fair_may_take_row(q, s->tenant, most)
                    : fair_may_take_pages(q, s->tenant, n_pages, v))
            return v;
    }
    if (own || s != first)
        return own;
    for (int32_t i = q->n_run - 1; i > 0; i--) /* the first has a right to everything */
        if (q->seq[q->run[i]].in_plan != q->plan_no)
            return &q->seq[q->run[i]];
    return NULL;
}

/* A start should leave a page for each running seq to grow into, within reason. */
int32_t sched_reserve(const struct seqs *q, int32_t n_pages)
{
    int32_t most = n_pages / RESERVE_MAX_SHARE;
    return q->n_run < most ? q->n_run : most;
}
