/* SPDX-License-Identifier: Apache-2.0 */
/* fair.h - shares of tenants: who was served how much, who holds how many rows and pages. */
#ifndef QUIRE_ENGINE_FAIR_H
#define QUIRE_ENGINE_FAIR_H

#include "state.h"

/* A request of a tenant came (its index in tenant[]); one that fair_join counted is gone. */
int32_t fair_join(struct seqs *q, struct sched *sc, const struct msg_submit *m);
void fair_leave(struct seqs *q, struct sched *sc, int32_t t);

/* A prefill step was planned in which n tokens of the tenant are computed. */
void fair_charge(const struct seqs *q, struct sched *sc, int32_t t, int32_t n);
/* A row of the tenant is in the decode step being planned: counted now, charged with all others of
 * the step by fair_charge_decode, because two divisions a row are a tenth of a turn. */
static inline void fair_count_decode(struct seqs *q, int32_t t)
{
    if (q->tenant[t].n_decoding++ == 0)
        q->tenant_decoding[q->n_tenant_decoding++] = t;
}
void fair_charge_decode(struct seqs *q, struct sched *sc);

/* A new plan: rows kept too long are free for everybody. */
void fair_expire(const struct seqs *q, struct sched *sc);
/* A row of the tenant was taken; given back. */
void fair_row_taken(const struct seqs *q, struct sched *sc, int32_t t);
void fair_row_given(struct seqs *q, struct sched *sc, int32_t t);

/* The tenant that holds the most rows by its weight, of those with running seqs; -1: none runs. */
int32_t fair_most_rows(const struct seqs *q);
/* Would `poor` with one row more hold no more, by weights, than `rich` with one row less? */
bool fair_may_take_row(const struct seqs *q, int32_t poor, int32_t rich);
/* May the tenant start a seq in one of the free rows? Some are kept, some tenants are bounded. */
bool fair_may_start(const struct seqs *q, const struct sched *sc, int32_t t, int32_t most);
/* The same for pages: `poor` with n more, `rich` without those of v. Needs fair_count_pages. */
void fair_count_pages(struct seqs *q);
bool fair_may_take_pages(const struct seqs *q, int32_t poor, int32_t n, const struct seq *v);

#endif
