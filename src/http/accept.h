/* SPDX-License-Identifier: Apache-2.0 */
/* accept.h - the listener. Loop thread, in this order. */
#ifndef QUIRE_HTTP_ACCEPT_H
#define QUIRE_HTTP_ACCEPT_H

#include "state.h"

/* Bind and listen where http.listen says. ST_IO with the address in the text. */
int accept_open(struct http *h, struct err *e);
void accept_init(struct http *h); /* the loop exists: the handle */
void accept_start(struct http *h);
void accept_sweep(struct http *h); /* every 100 ms */
/* No new sockets. */
void accept_stop(struct http *h);
void accept_close(struct http *h); /* the loop still runs once more after this */
void accept_fini(struct http *h);

#endif
