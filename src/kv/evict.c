/* evict.c - which cached page goes first.
 *
 * Owns heap[]: exactly the leaves on no live path, as a binary heap of their worth at the moment
 * they became evictable (a node is never touched while in the heap: a match pins it, which takes it
 * out). Inner nodes become leaves as their children go, so a prefix outlives its continuations.
 *
 * lru: last use; a node used again counts as if that use were half a pool later, so that a scan of
 * new prompts does not flush the prefixes that are really shared, while they still age out.
 * lfu: number of uses, then last use. fifo: age. Engine thread.
 */
#include "plant.h"
#include "tree.h"

static int64_t worth(const struct kv *kv, const struct node *nd)
{
    switch (kv->c.eviction) {
    case KV_LFU:
        return ((int64_t)nd->uses << 42) + nd->last_use;
    case KV_FIFO:
        return nd->created;
    default:
        return nd->last_use + (nd->uses > 1 ? kv->c.n_pages / 2 : 0);
    }
}

static void heap_set(struct kv *kv, int32_t i, node_id n, int64_t key)
{
    kv->heap[i] = n;
    kv->heap_key[i] = key;
    kv->node[n].heap_at = i;
}

static int before(const struct kv *kv, int64_t key, node_id n, int32_t i)
{
    return key != kv->heap_key[i] ? key < kv->heap_key[i] : n < kv->heap[i];
}

static void sift(struct kv *kv, int32_t i, node_id n, int64_t key)
{
    while (i > 0 && before(kv, key, n, (i - 1) / 2)) {
        heap_set(kv, i, kv->heap[(i - 1) / 2], kv->heap_key[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    for (;;) {
        int32_t k = 2 * i + 1;
        if (k >= kv->n_heap)
            break;
        if (k + 1 < kv->n_heap && before(kv, kv->heap_key[k + 1], kv->heap[k + 1], k))
            k++;
        if (before(kv, key, n, k))
            break;
        heap_set(kv, i, kv->heap[k], kv->heap_key[k]);
        i = k;
    }
    heap_set(kv, i, n, key);
}

static void heap_remove(struct kv *kv, node_id n)
{
    int32_t i = kv->node[n].heap_at;
    kv->node[n].heap_at = -1;
    kv->n_heap--;
    if (i != kv->n_heap)
        sift(kv, i, kv->heap[kv->n_heap], kv->heap_key[kv->n_heap]);
}

void evict_update(struct kv *kv, node_id n)
{
    struct node *nd = &kv->node[n];
    int want = n != KV_ROOT && nd->kids == 0 && (nd->lock == 0 || PLANT(PLANT_EVICT_PINNED));
    if (want == (nd->heap_at >= 0))
        return;
    if (!want) {
        heap_remove(kv, n);
        return;
    }
    kv->n_heap++;
    sift(kv, kv->n_heap - 1, n, worth(kv, nd));
}

int evict_one(struct kv *kv)
{
    if (kv->n_heap == 0)
        return 0;
    node_id n = kv->heap[0];
    node_id parent = kv->node[n].parent;
    heap_remove(kv, n);
    radix_unlink(kv, n);
    kv->node[n].parent = -1;
    kv->n_nodes--;
    kv->evicted++;
    evict_update(kv, parent);
    kv_unref(kv, kv_node_page(n));
    return 1;
}
