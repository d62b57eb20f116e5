/* SPDX-License-Identifier: Apache-2.0 */
/* retry.h - rates that were measured, and when a client that is refused may come back. Pure: the
 * caller brings the time.
 */
#ifndef QUIRE_API_RETRY_H
#define QUIRE_API_RETRY_H

#include <stdbool.h>
#include <stdint.h>

/* Events a second over the last METER_S seconds or so: both sums fade with time. {0} to begin. */
enum { METER_S = 10 };
struct meter {
    double n, seconds;
    int64_t last_us;
};
/* n events happened since the last call. counts: the time since then counts, too; without (nothing
 * could have happened: idle) it leaves the rate as it was. Calls in the order of time. */
void meter_note(struct meter *m, int64_t now_us, double n, bool counts);
/* As of now; 0 when nothing was noted yet. */
double meter_rate(const struct meter *m, int64_t now_us, bool counts);

/* What the rule looks at. */
struct retry_facts {
    bool serves;      /* the engine is well */
    int64_t waiting;  /* sequences in the queue */
    double ends;      /* sequences that ended, a second; 0 = not known */
    double loading_s; /* the load has lasted this long, or took it ... */
    double loaded;    /* ... for this part of it, 0 to 1 */
};
/* Seconds for the header Retry-After of an answer with status st (429 and 503), at least 1. The
 * rule stands at its body. The transport adds up to half as much, at random, and stays within a
 * minute. */
int retry_seconds(int st, const struct retry_facts *f);

#endif
