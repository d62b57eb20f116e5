/* SPDX-License-Identifier: Apache-2.0 */
/* sched.h - what the scheduler decides; it decides only. */
#ifndef QUIRE_ENGINE_SCHED_H
#define QUIRE_ENGINE_SCHED_H

#include "state.h"

bool sched_before(const struct seq *a, const struct seq *b);
/* Index in seq[] of the waiting one to admit; -1: nobody waits. */
int32_t sched_pick(const struct sched *sc, const struct seqs *q);
/* Tokens of prefill to plan now beside n_decoders waiting rows; 0: a decode step is due. */
int32_t sched_prefill_budget(const struct sched *sc, int32_t n_decoders);
struct seq *sched_victim(const struct seqs *q, const struct seq *for_seq);
/* Pages of n_pages to leave for running decodes. */
int32_t sched_reserve(const struct seqs *q, int32_t n_pages);
void sched_note_step(struct sched *sc, const struct step *s, int64_t us);
void sched_note_submit(struct sched *sc, const struct step *s);

#endif
