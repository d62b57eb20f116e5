/* SPDX-License-Identifier: Apache-2.0 */
/* lane.c - memory of a lane, and limbo: what a step in flight may still read is released at its
 * commit and not before.
 *
 * A step names pages by number. When the host lets one go (a duplicate of a page in the tree, the
 * source of a copy), a step already submitted may still read it, so the reference or the pin goes
 * on here until the number of the last such step is committed. Engine thread.
 */
#include "lane.h"

#include "check.h"
#include "kv.h"
#include "kv_prefix.h"
#include "mem.h"

#include <stdlib.h>

void lane_init(struct lane *ln, int32_t index, const struct executor *ex, int32_t depth)
{
    *ln = (struct lane){.index = index, .ex = *ex, .depth = depth};
    for (int i = 0; i < MAX_INFLIGHT; i++) {
        ln->step[i] = xalloc_aligned(64, sizeof *ln->step[i]);
        ln->flight[i] = xalloc(sizeof *ln->flight[i]);
    }
    ln->result = xalloc_aligned(64, sizeof *ln->result);
    ln->limbo = xcalloc2(MAX_LIMBO, sizeof *ln->limbo);
}

void lane_fini(struct lane *ln)
{
    for (int i = 0; i < MAX_INFLIGHT; i++) {
        free(ln->step[i]);
        free(ln->flight[i]);
    }
    free(ln->result);
    free(ln->limbo);
}

int lane_oldest(const struct lane *ln)
{
    return (ln->next_slot + MAX_INFLIGHT - ln->n_flight) % MAX_INFLIGHT;
}

bool lane_ready(const struct lane *ln)
{
    return ln->n_flight > 0 && ln->ex.ready(ln->ex.self, lane_oldest(ln));
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

int64_t lane_end_us(const struct lane *ln, int32_t n, int64_t now_us)
{
    int64_t end = now_us;
    for (int32_t i = 0; i < n; i++) {
        const struct flight *f = ln->flight[(lane_oldest(ln) + i) % MAX_INFLIGHT];
        int64_t begin = i == 0 ? later(f->submit_us, ln->done_us) : end;
        end = later(end, begin + f->cost_us);
    }
    return end;
}

bool lane_overdue(const struct lane *ln, int64_t now_us)
{
    if (ln->n_flight == 0)
        return false;
    const struct flight *f = ln->flight[lane_oldest(ln)];
    return now_us - later(f->submit_us, ln->done_us) > f->limit_us;
}

void limbo_put(struct lane *ln, uint64_t no, page_id page, node_id node)
{
    CHECK(ln->n_limbo < MAX_LIMBO);
    int32_t i = (ln->limbo_head + ln->n_limbo++) % MAX_LIMBO;
    ln->limbo[i] = (struct limbo){.no = no, .page = page, .node = node};
}

void limbo_drain(struct lane *ln, uint64_t no, struct kv *kv)
{
    while (ln->n_limbo > 0 && ln->limbo[ln->limbo_head].no <= no) {
        const struct limbo *l = &ln->limbo[ln->limbo_head];
        if (l->page >= 0)
            kv_unref(kv, l->page);
        else
            kv_unpin(kv, l->node);
        ln->limbo_head = (ln->limbo_head + 1) % MAX_LIMBO;
        ln->n_limbo--;
    }
}
