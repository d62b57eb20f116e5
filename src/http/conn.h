/* SPDX-License-Identifier: Apache-2.0 */
/* conn.h - the connections that microhttpd has: phases, deadlines, room. Loop thread. */
#ifndef QUIRE_HTTP_CONN_H
#define QUIRE_HTTP_CONN_H

#include "state.h"

enum { SURPLUS_MAX = 32 };

void conn_init(struct http *h);
/* NULL: no memory; then nothing is read from the socket. */
struct conn *conn_open(struct http *h, void *mc, int fd);
void conn_close(struct http *h, struct conn *c);

/* It enters `phase` now. */
void conn_phase(struct http *h, struct conn *c, int phase);
/* Bytes of a head are here, but not all. */
void conn_head_began(struct http *h, struct conn *c);
/* The answer is out: wait for the next request. */
void conn_again(struct http *h, struct conn *c);

/* Answer by hand and end the connection; one that was answered just ends. Nothing is read from it
 * any more. Outside of a turn a nudge must follow. */
void conn_refuse(struct http *h, struct conn *c, const struct err *e, const char *id,
                 bool head_only);
/* microhttpd reads from it in its next turn, whatever it believes. Not while it sleeps. */
void conn_nudge(struct http *h, struct conn *c);

/* Is there a place for one more? The connection that waits longest for nothing goes for it. */
bool conn_room(struct http *h);
/* The one error that says there is none. */
int conn_full(struct err *e);

/* Every 100 ms, sooner while some of them are left (wire.late): what is late goes. True while some
 * connection has a deadline soon; else *next_us is when the next one is idle for too long, 0 =
 * none. */
bool conn_sweep(struct http *h, int64_t now, int64_t *next_us);

#endif
