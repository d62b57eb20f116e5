/* SPDX-License-Identifier: Apache-2.0 */
/* fair.c - shares of tenants, the arithmetic of sched.c.
 *
 * Work. A tenant's virtual time is the work done for it divided by its weight; a decoded token
 * counts as DECODE_WORK prompt tokens. The present (vclock) is what every tenant would have had if
 * all work had been divided by weights. Who was away, or asked for less than its share, starts at
 * the present: nobody saves up. Who had much more than its share is at most MAX_DEBT ahead.
 *
 * Rows and pages. A tenant may take a row from the one that holds the most by weight, if it holds
 * no more than that one afterwards. So shares only become more even, and nothing goes back and
 * forth between two tenants. The same for pages.
 *
 * Kept rows. A tenant with one short request after the other would push out a seq of a busy tenant
 * for each. So when a tenant below its share gives a row back, one row in KEEP_SHARE at most is
 * kept for such tenants for the next KEEP_PLANS steps. Engine thread.
 */
#include "fair.h"

enum { DECODE_WORK = 4, MAX_DEBT = 16384, KEEP_PLANS = 512, KEEP_SHARE = 8 };

int32_t fair_join(struct seqs *q, struct sched *sc, const struct msg_submit *m)
{
    int32_t i = idmap_get(&q->tenants, m->tenant);
    if (i < 0) {
        i = q->tenant_free[--q->n_tenant_free];
        q->tenant[i] = (struct tenant){.key = m->tenant, .served = sc->vclock};
        idmap_put(&q->tenants, m->tenant, i);
    }
    struct tenant *t = &q->tenant[i];
    double weight = m->weight > 0 ? m->weight : 1;
    sc->weights += weight - t->weight;
    t->weight = weight;
    t->max_rows = m->max_rows;
    if (t->served < sc->vclock)
        t->served = sc->vclock;
    t->n_live++;
    return i;
}

void fair_leave(struct seqs *q, struct sched *sc, int32_t t)
{
    if (--q->tenant[t].n_live > 0)
        return;
    sc->weights -= q->tenant[t].weight;
    idmap_del(&q->tenants, q->tenant[t].key);
    q->tenant_free[q->n_tenant_free++] = t;
}

static void charge(const struct seqs *q, struct sched *sc, int32_t t, double work)
{
    struct tenant *x = &q->tenant[t];
    sc->vclock += work / sc->weights;
    x->served += work / x->weight;
    if (x->served > sc->vclock + MAX_DEBT)
        x->served = sc->vclock + MAX_DEBT;
}

void fair_charge(const struct seqs *q, struct sched *sc, int32_t t, int32_t n)
{
    charge(q, sc, t, n);
}

void fair_charge_decode(struct seqs *q, struct sched *sc)
{
    for (int32_t i = 0; i < q->n_tenant_decoding; i++) {
        int32_t t = q->tenant_decoding[i];
        charge(q, sc, t, (double)q->tenant[t].n_decoding * DECODE_WORK);
        q->tenant[t].n_decoding = 0;
    }
    q->n_tenant_decoding = 0;
}

int32_t fair_most_rows(const struct seqs *q)
{
    int32_t most = -1;
    for (int32_t i = 0; i < q->n_run; i++) {
        int32_t t = q->seq[q->run[i]].tenant;
        if (most < 0 || q->tenant[t].n_rows * q->tenant[most].weight >
                            q->tenant[most].n_rows * q->tenant[t].weight)
            most = t;
    }
    return most;
}

bool fair_may_take_row(const struct seqs *q, int32_t poor, int32_t rich)
{
    const struct tenant *p = &q->tenant[poor], *r = &q->tenant[rich];
    return poor != rich && (p->n_rows + 1) * r->weight <= (r->n_rows - 1) * p->weight;
}

bool fair_may_start(const struct seqs *q, const struct sched *sc, int32_t t, int32_t most)
{
    const struct tenant *x = &q->tenant[t];
    if (q->n_free_rows == 0 || (x->max_rows > 0 && x->n_rows >= x->max_rows))
        return false;
    return q->n_free_rows > sc->n_kept || most < 0 || fair_may_take_row(q, t, most);
}

void fair_expire(const struct seqs *q, struct sched *sc)
{
    if (sc->n_kept > 0 && q->plan_no > sc->kept_until)
        sc->n_kept = 0;
}

void fair_row_taken(const struct seqs *q, struct sched *sc, int32_t t)
{
    q->tenant[t].n_rows++;
    if (sc->n_kept > q->n_free_rows)
        sc->n_kept = q->n_free_rows;
}

void fair_row_given(struct seqs *q, struct sched *sc, int32_t t)
{
    q->tenant[t].n_rows--;
    if (q->n_slots - q->n_tenant_free == 1)
        return; /* there is one tenant */
    int32_t most = fair_most_rows(q), rows = q->n_free_rows + q->n_run;
    if (most < 0 || !fair_may_take_row(q, t, most))
        return;
    if (sc->n_kept < rows / KEEP_SHARE && sc->n_kept < q->n_free_rows)
        sc->n_kept++;
    sc->kept_until = q->plan_no + KEEP_PLANS;
}

void fair_count_pages(struct seqs *q)
{
    q->n_choices++;
    for (int32_t i = 0; i < q->n_run; i++) {
        const struct seq *s = &q->seq[q->run[i]];
        struct tenant *t = &q->tenant[s->tenant];
        t->n_pages = s->n_pages + (t->choice == q->n_choices ? t->n_pages : 0);
        t->choice = q->n_choices;
    }
}

bool fair_may_take_pages(const struct seqs *q, int32_t poor, int32_t n, const struct seq *v)
{
    const struct tenant *p = &q->tenant[poor], *r = &q->tenant[v->tenant];
    double has = p->choice == q->n_choices ? p->n_pages : 0;
    return p != r && (has + n) * r->weight <= (double)(r->n_pages - v->n_pages) * p->weight;
}
