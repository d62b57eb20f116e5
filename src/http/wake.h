/* SPDX-License-Identifier: Apache-2.0 */
/* wake.h - the sweep timer, and what else it is wanted for. */
#ifndef QUIRE_HTTP_WAKE_H
#define QUIRE_HTTP_WAKE_H

#include "state.h"

enum { SWEEP_MS = 100 };

/* Something is open that has a deadline: the sweep runs from now on, until it finds nothing that is
 * due soon. Its callback and its period were set when the loop was made. Loop thread. */
static inline void need_sweep(struct http *h)
{
    uv_timer_t *t = &h->loop.sweep;
    if (!uv_is_active((uv_handle_t *)t) || uv_timer_get_due_in(t) > SWEEP_MS)
        uv_timer_again(t);
}

/* Most of those who were here together have left. */
static inline bool crowd_left(const struct http *h)
{
    enum { CROWD = 16 };
    int n = h->wire.n_conns > h->wire.n_exchanges ? h->wire.n_conns : h->wire.n_exchanges;
    return h->wire.crowd >= CROWD && n <= h->wire.crowd / 4;
}

#endif
