/* SPDX-License-Identifier: Apache-2.0 */
/* state.h - inside of api: what is behind all requests. Types only. Loop thread, except what is
 * marked atomic.
 */
#ifndef QUIRE_API_STATE_H
#define QUIRE_API_STATE_H

#include "api.h"
#include "config.h"
#include "engine.h"
#include "ignored.h"
#include "metrics.h"
#include "namespace.h"
#include "retry.h"
#include "slot.h"

#include <stdatomic.h>

struct tenants;
struct tenant_use;

enum { LOAD_LOADING, LOAD_READY, LOAD_FAILED };
enum { N_ROUTES_MAX = N_HANDLERS_MAX - 1 };

struct api {
    const struct config *c;
    struct api_limits limits;
    struct http *http;
    struct handler table[N_ROUTES_MAX]; /* routes.c's, with what the settings change */
    int n_handlers;
    struct str_list names; /* that requests may use; the first is the default */
    char *own_name;        /* the one name when none is set */
    int64_t start_unix_s, start_us;
    struct mbox *outbox;
    struct { /* life.c; set by the loading thread */
        _Atomic int load;
        _Atomic(const char *) phase;
        _Atomic int progress_ppm;
        _Atomic int64_t ready_us; /* clock_us when loading ended, well or not; 0 = it has not */
    } life;
    struct api_service s; /* valid once life.load == LOAD_READY */
    char fingerprint[64];
    struct engine_stats stats; /* the engine's last */
    bool has_stats;
    struct meter ends, tokens; /* sequences ended, in time with any live; tokens sampled */
    struct slots slots;
    struct metrics m;
    struct ignored_names ignored;
    struct ns_key cache_key; /* of this process: it hides one tenant's prompts from others */
    const struct tenants *tenants;
    struct tenant_use *use; /* of each, see tenant.h */
    struct buf scratch;     /* one token's text */
    struct {                /* openapi.c and docs.c; [0] before the model is loaded */
        struct buf json, html;
    } described[2];
};

#endif
