/* pool.c - pages and their references.
 *
 * Owns the free stack and refs[]. Invariants: K1 refs[p] = table entries + (1 if a node holds p);
 * K2 the free stack is exactly the pages with zero references. Engine thread. Knows nothing of
 * device memory.
 */
#include "check.h"
#include "mem.h"
#include "plant.h"
#include "tree.h"

#include <stdlib.h>

#ifdef QUIRE_PLANT
int quire_plant;
#endif

int kv_new(struct kv **out, const struct kv_config *c, struct err *e)
{
    *out = NULL;
    size_t n_tok;
    if (c->n_pages < 1 || c->n_pages >= INT32_MAX || c->page_tokens < 1 ||
        !mul_size((size_t)c->n_pages, (size_t)c->page_tokens, &n_tok) ||
        n_tok > INT64_MAX / sizeof(token_id))
        return err_set(e, ST_INVALID_VALUE, "a pool of %d pages of %d tokens is not possible",
                       c->n_pages, c->page_tokens);
    if (c->eviction < KV_LRU || c->eviction > KV_FIFO)
        return err_set(e, ST_INVALID_VALUE, "unknown eviction policy %d", c->eviction);
    struct kv *kv = xalloc(sizeof *kv);
    size_t n = (size_t)c->n_pages;
    kv->c = *c;
    kv->refs = xcalloc2(n, sizeof *kv->refs);
    kv->freed = xcalloc2(n, sizeof *kv->freed);
    kv->node = xcalloc2(n + 1, sizeof *kv->node);
    kv->tok = xcalloc2(n_tok, sizeof *kv->tok);
    kv->heap = xcalloc2(n, sizeof *kv->heap);
    kv->heap_key = xcalloc2(n, sizeof *kv->heap_key);
    kv->rng = c->seed;
    for (int32_t p = c->n_pages - 1; p >= 0; p--)
        kv->freed[kv->n_free++] = p;
    for (int32_t i = 0; i <= c->n_pages; i++) {
        kv->node[i].parent = -1;
        kv->node[i].heap_at = -1;
    }
    kv->node[KV_ROOT].parent = KV_ROOT;
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
    free(kv->heap);
    free(kv->heap_key);
    free(kv);
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

void kv_ref(struct kv *kv, page_id p)
{
    kv->refs[p]++;
}

void kv_unref(struct kv *kv, page_id p)
{
    CHECK(kv->refs[p] > 0);
    if (--kv->refs[p] == 0)
        kv->freed[kv->n_free++] = p;
}

int32_t kv_avail(const struct kv *kv)
{
    return kv->n_free + kv->n_nodes - kv->n_locked;
}

void kv_get_stats(const struct kv *kv, struct kv_stats *s)
{
    s->n_pages = kv->c.n_pages;
    s->n_free = kv->n_free;
    s->n_nodes = kv->n_nodes;
    s->n_evictable = kv->n_nodes - kv->n_locked;
    s->evicted = kv->evicted;
}
