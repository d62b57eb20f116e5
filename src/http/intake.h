/* SPDX-License-Identifier: Apache-2.0 */
/* intake.h - what microhttpd reads. Loop thread. */
#ifndef QUIRE_HTTP_INTAKE_H
#define QUIRE_HTTP_INTAKE_H

#include "state.h"

/* A head that is not whole after so many looks, or that long after it began, is slow: sweeps look
 * at it, not every byte of it. */
bool intake_slow(const struct conn *c, int64_t now);

int intake_open(struct http *h, struct err *e);
void intake_fini(struct http *h);
/* Does microhttpd read through us at all? ST_IO with a text for the operator when not. The loop
 * and the daemon exist. */
int intake_check(struct http *h, struct err *e);

void intake_begin(struct http *h, struct conn *c); /* a new connection */
void intake_end(struct http *h, struct conn *c);
/* The request in hand was answered: the next head may come. True when bytes of it wait already. */
bool intake_next(struct conn *c);

/* Around a turn of microhttpd: reads inside it are those of this server's connections. */
void intake_turn(struct http *h);
void intake_turned(void);

#endif
