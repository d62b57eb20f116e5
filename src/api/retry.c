/* SPDX-License-Identifier: Apache-2.0 */
/* retry.c - see retry.h. */
#include "retry.h"

#include "status.h"

#include <math.h>

enum { RETRY_MOST = 60, RESTART_S = 1 }; /* a minute: http/reply.c bounds the sum */

/* m as it would be at now_us. */
static struct meter faded(const struct meter *m, int64_t now_us, bool counts)
{
    double dt = m->last_us && now_us > m->last_us ? (double)(now_us - m->last_us) * 1e-6 : 0;
    struct meter f = {m->n, m->seconds, now_us};
    if (!counts)
        return f;
    double left = exp(-dt / METER_S);
    f.n = m->n * left;
    f.seconds = m->seconds * left + dt;
    return f;
}

void meter_note(struct meter *m, int64_t now_us, double n, bool counts)
{
    *m = faded(m, now_us, counts);
    m->n += n;
}

double meter_rate(const struct meter *m, int64_t now_us, bool counts)
{
    struct meter f = faded(m, now_us, counts);
    return f.seconds > 0 ? f.n / f.seconds : 0;
}

/* When half of the queue will have had its turn. Sooner, those who come back meet a full queue
 * again; when all of it has, the device may have run dry. The transport spreads them over the third
 * quarter. Nothing ended yet: then in the time that a client does not notice. */
static double queue_s(const struct retry_facts *f)
{
    double half = (double)(f->waiting > 1 ? f->waiting : 1) / 2;
    return f->ends > 0 ? half / f->ends : 1;
}

/* What is left of loading, at the speed so far; without a figure as long again as it took. */
static double load_s(const struct retry_facts *f)
{
    double done = f->loaded > 1 ? 1 : f->loaded;
    return done > 0 ? f->loading_s * (1 - done) / done : f->loading_s;
}

int retry_seconds(int st, const struct retry_facts *f)
{
    double s = 1;
    if (st == ST_QUEUE_FULL || st == ST_QUEUE_TIMEOUT)
        s = queue_s(f);
    else if (st == ST_LOADING)
        s = load_s(f);
    else if (!f->serves && st != ST_DRAINING) /* restarted by its supervisor, and loaded again */
        s = RESTART_S + f->loading_s;
    /* else another replica, or a moment: connections, bodies, memory and the inbox come and go */
    s = ceil(s);
    return s >= RETRY_MOST ? RETRY_MOST : s >= 1 ? (int)s : 1;
}
