/* audit.c - recounts the pool and the tree from scratch and compares. Engine thread; read only,
 * but for the recursion-free walk it needs no memory of its own. */
#include "tree.h"

#define FAIL(...) return err_set(e, ST_INTERNAL, __VA_ARGS__)

static int audit_pages(const struct kv *kv, const int32_t *held, struct err *e)
{
    int32_t n_zero = 0;
    for (page_id p = 0; p < kv->c.n_pages; p++) {
        int32_t want = held[p] + (kv->node[p + 1].parent >= 0);
        if (kv->refs[p] != want)
            FAIL("K1 page %d: %d references, %d table entries, %d nodes", p, kv->refs[p], held[p],
                 want - held[p]);
        n_zero += kv->refs[p] == 0;
    }
    if (n_zero != kv->n_free)
        FAIL("K2 %d pages free, %d without references", kv->n_free, n_zero);
    for (int32_t i = 0; i < kv->n_free; i++) {
        page_id p = kv->freed[i];
        if (p < 0 || p >= kv->c.n_pages || kv->refs[p] != 0)
            FAIL("K2 page %d is on the free list and in use", p);
        if (i > 0 && p == kv->freed[i - 1])
            FAIL("K2 page %d is on the free list twice", p);
    }
    return 0;
}

/* Smallest node of a treap; the walk below goes in order without a stack by key search. */
static int audit_order(const struct kv *kv, node_id n, struct err *e)
{
    const node_id kid[2] = {kv->node[n].left, kv->node[n].right};
    for (int i = 0; i < 2; i++) {
        int32_t common;
        if (!kid[i])
            continue;
        int d = radix_compare(kv, kv->node[n].ns, node_tok(kv, n), kv->c.page_tokens, kid[i],
                              &common);
        if (kv->node[kid[i]].parent != kv->node[n].parent || (i == 0) != (d > 0) || d == 0 ||
            kv->node[kid[i]].prio > kv->node[n].prio)
            FAIL("K9 node %d is out of order beside node %d", kid[i], n);
    }
    return 0;
}

static int audit_node(const struct kv *kv, node_id n, const int32_t *pins, struct err *e)
{
    const struct node *nd = &kv->node[n];
    if (nd->parent > kv->c.n_pages || kv->node[nd->parent].parent < 0)
        FAIL("K3 node %d has no parent", n);
    if (nd->pins != pins[n])
        FAIL("K4 node %d: %d pins, %d users", n, nd->pins, pins[n]);
    if (nd->lock < nd->pins || nd->lock < 0)
        FAIL("K4 node %d: lock %d, %d pins", n, nd->lock, nd->pins);
    if (nd->lock > 0 && nd->parent != KV_ROOT && kv->node[nd->parent].lock <= 0)
        FAIL("K4 node %d is in use, its parent %d is not", n, nd->parent);
    int want = nd->kids == 0 && nd->lock == 0;
    if (want != (nd->heap_at >= 0) || (want && kv->heap[nd->heap_at] != n))
        FAIL("K4 node %d: evictable %d, in the heap %d", n, want, nd->heap_at >= 0);
    return audit_order(kv, n, e);
}

int kv_audit(const struct kv *kv, const int32_t *held, const int32_t *pins, struct err *e)
{
    int st = audit_pages(kv, held, e);
    int32_t n_nodes = 0, n_locked = 0;
    int64_t locks = 0, want_locks = 0;
    for (node_id n = 1; n <= kv->c.n_pages && st == 0; n++) {
        const struct node *nd = &kv->node[n];
        if (nd->parent < 0) {
            if (pins[n] != 0 || nd->heap_at >= 0)
                FAIL("K4 node %d does not exist and has %d users", n, pins[n]);
            continue;
        }
        st = audit_node(kv, n, pins, e);
        n_nodes++;
        n_locked += nd->lock > 0;
        locks += nd->lock;
        want_locks += nd->pins + (nd->lock > 0 && nd->parent != KV_ROOT);
    }
    if (st == 0 && (n_nodes != kv->n_nodes || n_locked != kv->n_locked))
        FAIL("K4 %d nodes, %d in use; counted %d, %d", kv->n_nodes, kv->n_locked, n_nodes,
             n_locked);
    if (st == 0 && locks != want_locks)
        FAIL("K4 locks sum to %ld, counted %ld", (long)locks, (long)want_locks);
    return st;
}
