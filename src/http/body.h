/* SPDX-License-Identifier: Apache-2.0 */
/* body.h - request bodies in memory, each and all together bounded. Loop thread. */
#ifndef QUIRE_HTTP_BODY_H
#define QUIRE_HTTP_BODY_H

#include "state.h"

/* Would a body of n bytes find room now? ST_ENGINE_DOWN with *e filled when not. */
int body_room(const struct http *h, int64_t n, struct err *e);
/* n bytes more of x's body. ST_BODY_TOO_LARGE, or ST_ENGINE_DOWN when all bodies are too many or
 * memory is short. */
int body_take(struct exchange *x, const char *data, size_t n, struct err *e);
/* The handler may have freed the body: it no longer counts. */
void body_settle(struct exchange *x);

#endif
