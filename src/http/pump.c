/* SPDX-License-Identifier: Apache-2.0 */
/* pump.c - microhttpd's turns inside libuv's loop. Loop thread. */
#include "pump.h"

#include "mhd.h"

enum { PUMP_ROUNDS = 4 };

static void on_timer(uv_timer_t *t)
{
    pump(t->data);
}

static void on_more(uv_idle_t *i)
{
    pump(i->data);
}

void pump(struct http *h)
{
    if (!h->wire.mhd)
        return;
    for (int i = 0; i < PUMP_ROUNDS; i++) {
        int64_t ms = mhd_turn(h);
        if (ms < 0) {
            uv_timer_stop(&h->loop.timer);
            uv_idle_stop(&h->loop.more);
            return;
        }
        if (ms > 0) {
            uv_idle_stop(&h->loop.more);
            uv_timer_start(&h->loop.timer, on_timer, (uint64_t)ms, 0);
            return;
        }
    }
    /* Not a timer of 0 ms: libuv runs one that its own callback starts again in the same phase, and
     * never comes to the sockets while microhttpd has work. */
    uv_idle_start(&h->loop.more, on_more);
}
