/* SPDX-License-Identifier: Apache-2.0 */
/* life.c - loading, ready, failed; the engine's health. See life.h.
 *
 * Loop thread; api_set_progress, api_set_ready and api_fail on any: they set atomics, the last one
 * of which makes the rest visible, and wake the loop.
 */
#include "life.h"

#include "clock.h"
#include "hash.h"
#include "mem.h"

#include <stdio.h>
#include <string.h>

bool life_ready(const struct api *a)
{
    return atomic_load(&a->life.load) == LOAD_READY;
}

bool life_failed(const struct api *a)
{
    return a->has_stats && !a->stats.healthy;
}

bool life_serves(const struct api *a)
{
    bool busy = false;
    if (!life_ready(a) || life_failed(a))
        return false;
    int64_t beat = engine_heartbeat_us(a->s.engine, &busy);
    return !busy || clock_us() - beat < a->limits.watchdog_us + engine_allowance_us(a->s.engine);
}

int life_check(const struct api *a, struct err *e)
{
    int load = atomic_load(&a->life.load);
    if (load == LOAD_FAILED)
        return err_set(e, ST_ENGINE_DOWN, "The model could not be loaded.");
    if (load != LOAD_READY)
        return err_set(e, ST_LOADING, "The model is still loading.");
    if (http_stage_now(a->http) >= HTTP_DRAIN)
        return err_set(e, ST_DRAINING, "The server is shutting down.");
    if (!life_serves(a))
        return err_set(e, ST_ENGINE_DOWN, "The engine is not available.");
    if (!mem_refill())
        return err_set(e, ST_NOMEM, "This server has no memory left for this request.");
    return 0;
}

int life_retry(const struct api *a, int st)
{
    int64_t now = clock_us(), ready = atomic_load(&a->life.ready_us);
    const struct retry_facts f = {.serves = life_serves(a),
                                  .waiting = a->slots.n_live - a->stats.n_running,
                                  .ends = meter_rate(&a->ends, now, a->slots.n_live > 0),
                                  .loading_s = (double)((ready ? ready : now) - a->start_us) * 1e-6,
                                  .loaded = ready ? 1 : atomic_load(&a->life.progress_ppm) * 1e-6};
    return retry_seconds(st, &f);
}

void life_slots(struct api *a)
{
    if (a->slots.v == NULL && life_ready(a))
        slots_open(&a->slots, (int64_t)a->s.limits.max_seqs + a->c->limits.queue_size);
}

/* ---- other threads ---- */

void api_set_progress(struct api *a, const char *phase, double fraction)
{
    int ppm = (int)(fraction < 0 ? 0 : fraction > 1 ? 1e6 : fraction * 1e6);
    atomic_store(&a->life.phase, phase);
    atomic_store(&a->life.progress_ppm, ppm);
}

static void fingerprint_of(struct api *a)
{
    const char *name = a->names.v[0];
    uint64_t x = fnv1a(FNV1A_BASIS, name, strlen(name));
    x = fnv1a(x, QUIRE_VERSION, strlen(QUIRE_VERSION));
    snprintf(a->fingerprint, sizeof a->fingerprint, "fp_%012llx", (unsigned long long)(x >> 16));
}

void api_set_ready(struct api *a, const struct api_service *s)
{
    a->s = *s;
    if (s->fingerprint)
        snprintf(a->fingerprint, sizeof a->fingerprint, "%s", s->fingerprint);
    else
        fingerprint_of(a);
    a->s.fingerprint = a->fingerprint;
    atomic_store(&a->life.ready_us, clock_us());
    atomic_store(&a->life.load, LOAD_READY);
    http_wake(a->http);
}

void api_fail(struct api *a, const char *why)
{
    atomic_store(&a->life.phase, why);
    atomic_store(&a->life.ready_us, clock_us());
    atomic_store(&a->life.load, LOAD_FAILED);
    http_wake(a->http);
}
