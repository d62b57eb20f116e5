/* SPDX-License-Identifier: Apache-2.0 */
/* split.h - what a decode step costs on each split of the device, and which split to run on. */
#ifndef QUIRE_ENGINE_SPLIT_H
#define QUIRE_ENGINE_SPLIT_H

#include "state.h"

/* The split for a step that runs beside steps of the other lane: 1 .. n_shares; 0: there are no
 * splits. May change from one call to the next. */
int32_t split_pick(struct sched *sc);
/* What a decode step like the last costs on that split, or on the whole device (0), us; 0 = nothing
 * is known. */
double split_decode_us(const struct sched *sc, int32_t share);
/* A decode step of that load on that split took us, at least 1. */
void split_note_decode(struct sched *sc, int32_t share, double us, double load);

#endif
