/* SPDX-License-Identifier: Apache-2.0 */
/* drain.h - how the server ends. Loop thread. */
#ifndef QUIRE_HTTP_DRAIN_H
#define QUIRE_HTTP_DRAIN_H

#include "state.h"

void drain_begin(struct http *h, bool now);
/* Forward only: serve -> delay -> drain -> kill -> stop, as far as time and requests allow. */
void drain_advance(struct http *h, int64_t now);
/* Close every connection, answered or not. */
void drop_everything(struct http *h);

#endif
