/* SPDX-License-Identifier: Apache-2.0 */
/* evict.c - which cached page goes first.
 *
 * Owns the statistics of nodes and the heap of candidates: exactly the leaves on no live path, by
 * their worth at the moment they became evictable (a node is never touched while in the heap: a
 * match pins it, which takes it out). Inner nodes become leaves as their children go, so a prefix
 * outlives its continuations. Equal worth: the lower page goes first. Engine thread.
 *
 * A policy is a row of a table over struct node_stat. One that must be told of new nodes, of hits
 * or of what went (segments, ghosts) gets a member in struct evict_ops, called from evict_insert,
 * evict_hit and evict_pop.
 */
#include "plant.h"
#include "share.h"

enum { MAX_USES = 1 << 20, USES_SHIFT = 42 }; /* together below 2^63 */

/* Last use; a node used again counts as if that use were half a pool later, so that a scan of new
 * prompts does not flush the prefixes that are really shared, while they still age out. */
static int64_t lru_worth(const struct evict_state *ev, const struct node_stat *stat)
{
    return stat->last_use + (stat->uses > 1 ? ev->capacity / 2 : 0);
}

/* Number of uses, then last use. */
static int64_t lfu_worth(const struct evict_state *ev, const struct node_stat *stat)
{
    (void)ev;
    return ((int64_t)stat->uses << USES_SHIFT) + stat->last_use;
}

/* Age. */
static int64_t fifo_worth(const struct evict_state *ev, const struct node_stat *stat)
{
    (void)ev;
    return stat->created;
}

#define X(name, word) [name] = {word##_worth},
static const struct evict_ops policies[N_EVICT] = {EVICT_LIST(X)};
#undef X

const struct evict_ops *evict_ops_of(int32_t policy)
{
    return policy >= 0 && policy < N_EVICT ? &policies[policy] : NULL;
}

void evict_insert(struct kv *kv, node_id n)
{
    struct node *nd = &kv->node[n];
    nd->stat = (struct node_stat){.created = kv->ev.tick + 1,
                                  .depth = kv->node[nd->parent].stat.depth + 1};
}

void evict_hit(struct kv *kv, node_id n)
{
    struct node_stat *stat = &kv->node[n].stat;
    stat->last_use = ++kv->ev.tick;
    if (stat->uses < MAX_USES)
        stat->uses++;
}

static void heap_set(struct kv *kv, int32_t i, node_id n, int64_t key)
{
    kv->ev.heap[i] = n;
    kv->ev.key[i] = key;
    kv->node[n].heap_at = i;
}

/* Must n with this key go before the one at place i? */
static bool before(const struct kv *kv, int64_t key, node_id n, int32_t i)
{
    if (key != kv->ev.key[i])
        return key < kv->ev.key[i];
    return kv->node[n].page < kv->node[kv->ev.heap[i]].page;
}

static void sift(struct kv *kv, int32_t i, node_id n, int64_t key)
{
    const struct evict_state *ev = &kv->ev;
    while (i > 0 && before(kv, key, n, (i - 1) / 2)) {
        heap_set(kv, i, ev->heap[(i - 1) / 2], ev->key[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    for (;;) {
        int32_t k = 2 * i + 1;
        if (k >= ev->n)
            break;
        if (k + 1 < ev->n && before(kv, ev->key[k + 1], ev->heap[k + 1], k))
            k++;
        if (before(kv, key, n, k))
            break;
        heap_set(kv, i, ev->heap[k], ev->key[k]);
        i = k;
    }
    heap_set(kv, i, n, key);
}

static void heap_remove(struct kv *kv, node_id n)
{
    int32_t i = kv->node[n].heap_at;
    share_remove(kv, n);
    int32_t last = --kv->ev.n;
    kv->node[n].heap_at = -1;
    if (i != last)
        sift(kv, i, kv->ev.heap[last], kv->ev.key[last]);
}

void evict_update(struct kv *kv, node_id n)
{
    struct node *nd = &kv->node[n];
    bool want = n != KV_ROOT && nd->kids == 0 && (nd->lock == 0 || PLANT(PLANT_EVICT_PINNED));
    if (want == (nd->heap_at >= 0))
        return;
    if (!want) {
        heap_remove(kv, n);
        return;
    }
    kv->ev.n++;
    sift(kv, kv->ev.n - 1, n, nd->forgotten ? INT64_MIN : kv->ev.ops->worth(&kv->ev, &nd->stat));
    share_insert(kv, n);
}

node_id evict_pop(struct kv *kv)
{
    if (kv->ev.n == 0)
        return KV_ROOT;
    node_id n = share_pick(kv);
    if (n == KV_ROOT)
        n = kv->ev.heap[0];
    heap_remove(kv, n);
    return n;
}
