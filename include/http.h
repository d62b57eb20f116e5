/* SPDX-License-Identifier: Apache-2.0 */
/* http.h - the transport: one loop thread that owns libuv, libmicrohttpd, sockets and requests. It
 * knows neither tokens nor the engine; who answers comes as a table of handlers (handler.h).
 *
 * Order: http_new (binds, port known) -> http_run on the loop thread -> http_free.
 */
#ifndef QUIRE_HTTP_H
#define QUIRE_HTTP_H

#include "config.h"
#include "handler.h"
#include "status.h"
#include "tenants.h"

#include <stdbool.h>

struct http;

/* Forward only. */
enum http_stage {
    HTTP_SERVE,
    HTTP_DELAY, /* asked to end; serves as before for drain.delay */
    HTTP_DRAIN, /* refuses new requests; running ones may end within drain.timeout */
    HTTP_KILL,  /* running ones are given up */
    HTTP_STOP
};

/* Bind, listen, create the loop. *c and table[n] outlive it, *k is copied. ST_IO with the address
 * in the text; as tenants_load for bad keys. */
int http_new(struct http **out, const struct config *c, const struct handler *table, int n,
             const struct http_hooks *k, struct err *e);
int http_port(const struct http *h);
const char *http_address(const struct http *h);           /* without the port */
const struct tenants *http_tenants(const struct http *h); /* without keys: anybody may ask */
int http_connections(const struct http *h);               /* loop thread */
enum http_stage http_stage_now(const struct http *h);     /* loop thread */

/* Any thread: hooks->wake is called on the loop thread, once for any number of calls. */
void http_wake(struct http *h);
/* Any thread: what SIGTERM does; a second call, or now == true, cancels what runs at once. */
void http_drain(struct http *h, bool now);

/* Serve on the calling thread until drained. Handled inside: SIGTERM and SIGINT (drain; the second
 * one ends at once), SIGUSR2 (hooks->dump). 0 after a drain; the signal's number when a second one
 * cut it short; ST_ENGINE_DOWN when the service had failed by then. */
int http_run(struct http *h);
/* After http_run returned (or was never called) and the service was stopped; NULL is fine. */
void http_free(struct http *h);

#endif
