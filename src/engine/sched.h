/* SPDX-License-Identifier: Apache-2.0 */
/* sched.h - what the scheduler decides; it decides only. Whose turn it is: sched.c; how much of it
 * goes into one step: budget.c. */
#ifndef QUIRE_ENGINE_SCHED_H
#define QUIRE_ENGINE_SCHED_H

#include "state.h"

bool sched_before(const struct seq *a, const struct seq *b);
/* Index in seq[] of the waiting one to start next, of those with at most max_tokens to compute (a
 * tenant's oldest may be longer when its turn has come); -1: there is none that could get a row. */
int32_t sched_pick(const struct sched *sc, struct seqs *q, int32_t max_tokens);
/* The seq that was picked last lacked pages, and with n_avail it lacks them still. */
bool sched_gated(const struct sched *sc, int32_t n_avail);
/* Whom for_seq, which lacks n_pages pages or, waiting, perhaps a row, may push out. NULL: nobody.
 */
struct seq *sched_victim(const struct sched *sc, struct seqs *q, const struct seq *for_seq,
                         int32_t n_pages);
/* Pages of n_pages to leave for running decodes. */
int32_t sched_reserve(const struct seqs *q, int32_t n_pages);

/* Tokens of prefill to plan now beside n_decoders waiting rows; 0: a decode step is due. */
int32_t sched_prefill_budget(const struct sched *sc, int32_t n_decoders);
/* Of a budget: prompts with no more to compute than *is_short go first, but `*kept` tokens are for
 * the others. */
void sched_split(int32_t budget, int32_t *is_short, int32_t *kept);
/* What the step should not take longer than. */
int64_t sched_step_limit_us(const struct sched *sc, const struct step *s);
/* The same for the prefill lane of two, whose step is no part of any decode gap. */
int32_t sched_lane_budget(const struct sched *sc, int32_t share);
/* With rows that decode: how much longer prompts of n_tokens, the oldest of which came wait_us ago,
 * should wait for more, us; 0: not at all. */
int64_t sched_hold_us(const struct sched *sc, int64_t n_tokens, int64_t wait_us);
/* What the step is expected to take; 0 = nobody knows. */
int64_t sched_step_cost_us(const struct sched *sc, const struct step *s);
void sched_note_step(struct sched *sc, const struct step *s, int64_t us);
void sched_note_submit(struct sched *sc, const struct step *s);

#endif
