/* SPDX-License-Identifier: Apache-2.0 */
/* accept.h - the listener and the sockets that microhttpd does not have yet. Loop thread, in this
 * order.
 */
#ifndef QUIRE_HTTP_ACCEPT_H
#define QUIRE_HTTP_ACCEPT_H

#include "state.h"

/* Bind and listen where http.listen says. ST_IO with the address in the text. */
int accept_open(struct http *h, struct err *e);
void accept_init(struct http *h); /* the loop exists: the two handles */
void accept_start(struct http *h);
/* Every 100 ms. True while somebody is here. */
bool accept_sweep(struct http *h, int64_t now);
/* No new sockets, and those that have not asked for anything go. */
void accept_stop(struct http *h);
void accept_close(struct http *h); /* the loop still runs once more after this */
void accept_fini(struct http *h);

#endif
