/* SPDX-License-Identifier: Apache-2.0 */
/* life.h - is there a model, and does its engine work? (api_set_progress, api_set_ready, api_fail
 * of api.h.)
 */
#ifndef QUIRE_API_LIFE_H
#define QUIRE_API_LIFE_H

#include "state.h"

bool life_ready(const struct api *a);  /* loaded; any thread */
bool life_failed(const struct api *a); /* the engine gave up, for good. Loop thread, as the rest. */
/* Loaded, not failed, and no turn of the engine takes longer than the watchdog waits beyond what
 * its steps may cost. */
bool life_serves(const struct api *a);
/* 0, or why a request that needs the engine is refused. */
int life_check(const struct api *a, struct err *e);
/* Seconds after which a client that is told status st (429, 503) may come back: retry.h's rule on
 * what was measured. */
int life_retry(const struct api *a, int st);
/* The admission slots exist once the model is loaded: the first request may come before the wake-up
 * of api_set_ready does. */
void life_slots(struct api *a);

#endif
