/* SPDX-License-Identifier: Apache-2.0 */
/* wake.h - the sweep timer. */
#ifndef QUIRE_HTTP_WAKE_H
#define QUIRE_HTTP_WAKE_H

#include "state.h"

/* Something is open that has a deadline: the sweep runs from now on, until it finds nothing. Its
 * callback and its period were set when the loop was made. Loop thread. */
static inline void need_sweep(struct http *h)
{
    if (!uv_is_active((uv_handle_t *)&h->loop.sweep))
        uv_timer_again(&h->loop.sweep);
}

#endif
