/* SPDX-License-Identifier: Apache-2.0 */
/* exchange.h - the life of a request and its answer: made with the request line, put to sleep and
 * woken, dropped, finished, released (req_drop and req_release of handler.h). Loop thread.
 */
#ifndef QUIRE_HTTP_EXCHANGE_H
#define QUIRE_HTTP_EXCHANGE_H

#include "state.h"

/* NULL: no memory. */
struct exchange *exchange_new(struct http *h, const char *uri, void *mc, int fd, struct conn *conn);
/* Inside the handler: no answer yet. Until then its socket is watched for a hang-up. */
void exchange_sleep(struct exchange *x);
void exchange_suspend(struct exchange *x);
void exchange_resume(struct exchange *x); /* nothing to do when it is not suspended */
/* microhttpd is through with it; `whole`: all of the answer was taken. Frees x, now or later. */
void exchange_complete(struct exchange *x, bool whole);

#endif
