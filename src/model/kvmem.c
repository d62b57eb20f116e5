/* SPDX-License-Identifier: Apache-2.0 */
/* kvmem.c - the KV pool: how large a page is, how many fit, how long a sequence may be.
 *
 * Loader thread. The pool is one block; who owns which page is the engine's business.
 */
#include "kvmem.h"

#include "mem.h"

#include <inttypes.h>
#include <stdio.h>

enum { AUTO_CPU_POOL_MIB = 1024, MAX_PAGES = 1 << 26 };

/* One shape of heads for all layers with KV: what the pool can be addressed with. */
static struct kv_pool_view page_shape(const struct model_dims *d, int32_t page_tokens)
{
    return (struct kv_pool_view){.n_layers = d->n_kv_layers,
                                 .n_kv_heads = d->kind[0].n_kv_heads,
                                 .page_tokens = page_tokens,
                                 .head_dim = d->kind[0].head_dim};
}

int64_t kv_page_bytes(const struct model_dims *d, int32_t kv_dt, int32_t page_tokens)
{
    struct kv_pool_view v = page_shape(d, page_tokens);
    return (int64_t)(kv_page_elems(&v) * dtype_size(kv_dt));
}

/* The longest sequence: the model's own length unless the pool or the operator says less. Asking
 * for more than either is refused with the numbers. */
static int pick_max_len(struct model *m, int32_t want, struct err *e)
{
    int64_t room = (int64_t)m->kv.n_pages * m->kv.page_tokens;
    if (want > m->cfg.max_position)
        return err_set(e, ST_INVALID_VALUE,
                       "model.max_model_len is %d, but the model was made for %d positions",
                       (int)want, (int)m->cfg.max_position);
    if (want > room)
        return err_set(e, ST_INVALID_VALUE,
                       "model.max_model_len is %d tokens, but the KV pool of %d pages holds "
                       "%" PRId64 "; raise kv.pool_bytes or lower model.max_model_len",
                       (int)want, (int)m->kv.n_pages, room);
    int64_t len = want > 0 ? want : m->cfg.max_position;
    m->max_len = (int32_t)(len < room ? len : room);
    return 0;
}

int kv_pool_alloc(struct model *m, const struct model_opts *o, struct err *e)
{
    struct be *be = m->be;
    int32_t dt = o->kv_dt >= 0 ? o->kv_dt : be->info.kv_dt;
    m->page_bytes = kv_page_bytes(&m->d, dt, o->page_tokens);
    int64_t want = o->pool_bytes;
    if (want <= 0)
        want = be->info.kind == BE_CPU ? (int64_t)AUTO_CPU_POOL_MIB << 20 : be->info.memory_free;
    int64_t n = want / m->page_bytes;
    if (n > MAX_PAGES)
        n = MAX_PAGES;
    if (n < 2)
        return err_set(e, ST_NOMEM,
                       "out of memory: %" PRId64
                       " MiB for the KV pool are less than two pages of %" PRId64 " KiB; %" PRId64
                       " MiB are left on %s. A larger kv.pool_bytes or "
                       "cuda.gpu_memory_utilization, a smaller scheduler.max_step_tokens or a "
                       "smaller model would do",
                       want >> 20, m->page_bytes >> 10, be->info.memory_free >> 20, be->info.name);
    m->kv = page_shape(&m->d, o->page_tokens);
    m->kv.dt = dt;
    m->kv.n_pages = (int32_t)n;
    m->kv.base = be_alloc(be, "KV pool", (size_t)n * (size_t)m->page_bytes);
    if (!m->kv.base) {
        char would[120];
        int64_t fit = be->info.memory_free / m->page_bytes;
        snprintf(would, sizeof would,
                 "kv.pool_bytes of %" PRId64 " (%" PRId64 " pages, not %" PRId64 ") would fit",
                 fit * m->page_bytes, fit, n);
        return be_no_room(be, "KV pool", (size_t)n * (size_t)m->page_bytes,
                          fit >= 2 ? would : "not even two pages would", e);
    }
    return pick_max_len(m, o->max_model_len, e);
}
