/* SPDX-License-Identifier: Apache-2.0 */
/* pump.h - the only caller of microhttpd's turn. */
#ifndef QUIRE_HTTP_PUMP_H
#define QUIRE_HTTP_PUMP_H

#include "state.h"

/* Let microhttpd work until it has nothing to do now. Loop thread, never from inside one of its
 * callbacks. */
void pump(struct http *h);

#endif
