/* SPDX-License-Identifier: Apache-2.0 */
/* daemon.h - from settings to something that serves: files, text, device, model, engine.
 *
 * Loader thread, once. Everything is released by daemon_unload in the reverse order.
 */
#ifndef QUIRE_DAEMON_H
#define QUIRE_DAEMON_H

#include "api.h"
#include "config.h"
#include "ends.h"
#include "model.h"
#include "text_info.h"

/* sysexits(3), as the service unit sees them. */
enum {
    EXIT_USAGE = 64,
    EXIT_NO_MODEL = 66,
    EXIT_NO_GPU = 69,
    EXIT_INTERNAL = 70,
    EXIT_OS = 71,
    EXIT_CONFIG = 78
};

struct daemon {
    struct model_source *source; /* closed once the model is loaded */
    struct tok *tok;
    struct chat *chat; /* NULL: the model has no template */
    struct ends ends;  /* what ends a generation */
    struct text_info info;
    struct be *be;
    struct model *model;
    struct engine *engine;
    struct api_service service; /* filled by daemon_load */
    int32_t dt, kv_dt;          /* enum dtype: activations, pages */
    char fingerprint[32];
};

/* Map and check the model's files, its tokenizer and its template; no device. 0, or an exit code
 * with the reason in *e. */
int daemon_open_files(struct daemon *d, const struct config *c, struct err *e);
/* The rest, after daemon_open_files: device, weights, engine (started; it posts to the outbox of
 * a). Progress goes to a. 0, or an exit code with the reason in *e. */
int daemon_load(struct daemon *d, const struct config *c, struct api *a, struct err *e);
/* What was opened, in reverse; the engine was stopped before. A zeroed *d is fine. */
void daemon_unload(struct daemon *d);

#endif
