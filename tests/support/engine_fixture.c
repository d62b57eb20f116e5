/* SPDX-License-Identifier: Apache-2.0 */
#include "engine_fixture.h"

struct engine_fixture engine_fixture(void)
{
    struct engine_fixture x = {0};
    struct config all;
    config_defaults(&all);
    x.c.kv = all.kv;
    x.c.scheduler = all.scheduler;
    x.c.limits = all.limits;
    config_free(&all);
    x.c.scheduler.max_decode_gap = 0;
    x.c.scheduler.max_seqs = 256; /* auto is for who knows the device */
    x.c.limits.queue_size = 512;
    x.f = (struct engine_facts){.n_pages = 256,
                                .max_model_len = 256 * (int32_t)x.c.kv.page_tokens,
                                .vocab = 1000,
                                .steps_in_flight = MAX_INFLIGHT,
                                .n_lanes = 1,
                                .audit_every = 1};
    return x;
}
