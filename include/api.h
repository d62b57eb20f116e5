/* SPDX-License-Identifier: Apache-2.0 */
/* api.h - OpenAI's and Anthropic's endpoints over a transport of their own: requests become
 * sequences of the engine and its tokens become text.
 *
 * Order in main: api_new (binds, port known) -> http_run(api_http()) on the loop thread, while
 * another thread loads the model, calls api_set_progress and at last api_set_ready or api_fail.
 * After http_run returned: engine_stop, then api_free (it still reads what the engine posted).
 */
#ifndef QUIRE_API_H
#define QUIRE_API_H

#include "config.h"
#include "engine.h"
#include "http.h"
#include "mailbox.h"
#include "status.h"

#include <stdint.h>

struct chat;
struct text_info;
struct tok;

/* What the loaded model brings. Everything pointed to outlives http_run. */
struct api_service {
    const struct tok *tok;
    const struct chat *chat; /* NULL: no template; chat answers 400 */
    struct engine *engine;
    struct engine_limits limits;
    int64_t created_unix_s;
    const char *fingerprint; /* "fp_..." or NULL: made from the names and the version */
    /* sampling defaults of the model (generation_config); negative (repetition: 0 too) = not said
     */
    double temperature, top_p, min_p, repetition;
    int32_t top_k;
    const char *kv_dtype;         /* for cache_config_info; may be NULL */
    const struct text_info *info; /* for /props and /tokenizer_info; may be NULL */
};

/* Times that are no settings; tests make them short. */
struct api_limits {
    int64_t watchdog_us;    /* an engine that is busy without a turn for that long is down */
    int64_t failed_exit_us; /* after the engine failed, http_run returns this much later; negative:
                               it stays and answers 503 */
};

struct api;

/* *c outlives it. `l` NULL: 10 s and 0.5 s. As http_new. */
int api_new(struct api **out, const struct config *c, const struct api_limits *l, struct err *e);
void api_free(struct api *a); /* the transport too; NULL is fine */
struct http *api_http(struct api *a);
/* The default name of the model: the first served one, or made from model.path. */
const char *api_model_name(const struct api *a);
/* Where the engine puts MSG_OUTBOX; wakes the loop. Lives until api_free. */
struct mbox *api_outbox(struct api *a);

/* Any thread. `phase` is one of a few constant strings ("weights", "cache", "graphs", "warmup") and
 * is kept by pointer. */
void api_set_progress(struct api *a, const char *phase, double fraction);
void api_set_ready(struct api *a, const struct api_service *s); /* once; copied */
void api_fail(struct api *a, const char *why); /* constant text; /ready and /health say 503 */

#endif
