/* SPDX-License-Identifier: Apache-2.0 */
/* preflight.h - the one answer of reply.c that is the transport's own. */
#ifndef QUIRE_HTTP_PREFLIGHT_H
#define QUIRE_HTTP_PREFLIGHT_H

#include "state.h"

/* OPTIONS: the methods, and to an allowed origin what it may send. */
void reply_options(struct exchange *x);

#endif
