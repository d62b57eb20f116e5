/* SPDX-License-Identifier: Apache-2.0 */
/* mhd.h - microhttpd's daemon, which has no thread: pump.c runs it. Loop thread. */
#ifndef QUIRE_HTTP_MHD_H
#define QUIRE_HTTP_MHD_H

#include "state.h"

int mhd_start(struct http *h, struct err *e);
void mhd_stop(struct http *h); /* no request may be suspended */
int mhd_poll_fd(struct http *h);
/* Takes a socket; surplus: for probes only. */
void mhd_add(struct http *h, int fd, const void *addr, unsigned addr_len, bool surplus);
/* Runs it until it is idle; returns ms until it wants to run again, -1 = never, 0 = now. */
int64_t mhd_turn(struct http *h);
const char *mhd_version(void);

#endif
