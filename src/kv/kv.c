/* SPDX-License-Identifier: Apache-2.0 */
/* kv.c - the pool and the tree as one: their memory, and taking a page, which may evict one.
 *
 * Stands above pool.c, evict.c and radix.c. Engine thread; memory is allocated in kv_new only.
 */
#include "check.h"
#include "kv_audit.h"
#include "mem.h"
#include "plant.h"
#include "tree.h"

#include <stdlib.h>

#ifdef QUIRE_PLANT
int quire_plant;
#endif

/* As many nodes as pages: today each node holds one. */
static int32_t node_slots(const struct kv_config *c)
{
    return c->n_pages + 1;
}

int kv_new(struct kv **out, const struct kv_config *c, struct err *e)
{
    *out = NULL;
    size_t n_tok;
    if (c->n_pages < 1 || c->n_pages >= INT32_MAX || c->page_tokens < 1 ||
        !mul_size((size_t)node_slots(c), (size_t)c->page_tokens, &n_tok) ||
        n_tok > INT64_MAX / sizeof(token_id))
        return err_set(e, ST_INVALID_VALUE, "a pool of %d pages of %d tokens is not possible",
                       c->n_pages, c->page_tokens);
    const struct evict_ops *ops = evict_ops_of(c->eviction);
    if (!ops)
        return err_set(e, ST_INVALID_VALUE, "unknown eviction policy %d", c->eviction);
    struct kv *kv = xalloc(sizeof *kv);
    size_t n_pages = (size_t)c->n_pages, n_slots = (size_t)node_slots(c);
    kv->c = *c;
    kv->n_slots = node_slots(c);
    kv->rng = c->seed;
    kv->refs = xcalloc2(n_pages, sizeof *kv->refs);
    kv->freed = xcalloc2(n_pages, sizeof *kv->freed);
    kv->node = xcalloc2(n_slots, sizeof *kv->node);
    kv->tok = xcalloc2(n_tok, sizeof *kv->tok);
    kv->unused = xcalloc2(n_slots, sizeof *kv->unused);
    kv->tally = xcalloc2(n_slots, sizeof *kv->tally);
    kv->ev = (struct evict_state){.ops = ops, .capacity = c->n_pages};
    kv->ev.heap = xcalloc2(n_slots, sizeof *kv->ev.heap);
    kv->ev.key = xcalloc2(n_slots, sizeof *kv->ev.key);
    for (page_id p = c->n_pages - 1; p >= 0; p--)
        kv->freed[kv->n_free++] = p;
    for (node_id n = kv->n_slots - 1; n > KV_ROOT; n--) {
        kv->unused[kv->n_unused++] = n;
        kv->node[n] = (struct node){.parent = -1, .page = -1, .heap_at = -1};
    }
    kv->node[KV_ROOT] = (struct node){.parent = KV_ROOT, .page = -1, .heap_at = -1};
    *out = kv;
    return 0;
}

void kv_free(struct kv *kv)
{
    if (!kv)
        return;
    free(kv->refs);
    free(kv->freed);
    free(kv->node);
    free(kv->tok);
    free(kv->unused);
    free(kv->tally);
    free(kv->ev.heap);
    free(kv->ev.key);
    free(kv);
}

/* Give the page of the least valuable leaf back. false: there is none. */
static bool evict_one(struct kv *kv)
{
    node_id n = evict_pop(kv);
    if (n == KV_ROOT)
        return false;
    page_id p = kv->node[n].page;
    radix_remove(kv, n);
    kv->ev.evicted++;
    kv_unref(kv, p);
    return true;
}

page_id kv_take(struct kv *kv)
{
    if (fault_point("kv.take"))
        return -1;
    while (kv->n_free == 0)
        if (!evict_one(kv))
            return -1;
    page_id p = kv->freed[--kv->n_free];
    CHECK(kv->refs[p] == 0);
    kv->refs[p] = 1;
    return p;
}

int32_t kv_avail(const struct kv *kv)
{
    return kv->n_free + kv->n_nodes - kv->n_locked;
}

int32_t kv_node_slots(const struct kv *kv)
{
    return kv->n_slots;
}

void kv_get_stats(const struct kv *kv, struct kv_stats *s)
{
    s->n_pages = kv->c.n_pages;
    s->n_free = kv->n_free;
    s->n_nodes = kv->n_nodes;
    s->n_evictable = kv->n_nodes - kv->n_locked;
    s->evicted = kv->ev.evicted;
}
