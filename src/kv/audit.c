/* SPDX-License-Identifier: Apache-2.0 */
/* audit.c - recounts the pool and the tree from scratch and compares (kv.h lists what). Engine
 * thread; read only, but for tally[], its scratch. */
#include "kv_audit.h"
#include "tree.h"

#include <string.h>

#define FAIL(...) return err_set(e, ST_INTERNAL, __VA_ARGS__)

/* K1: tally[p] counts the nodes that hold p. */
static int audit_refs(const struct kv *kv, const int32_t *held, struct err *e)
{
    int32_t *holders = kv->tally;
    memset(holders, 0, (size_t)kv->c.n_pages * sizeof *holders);
    for (node_id n = 1; n < kv->n_slots; n++) {
        const struct node *nd = &kv->node[n];
        if (nd->parent < 0)
            continue;
        if (nd->page < 0 || nd->page >= kv->c.n_pages)
            FAIL("K1 node %d holds page %d of %d", n, nd->page, kv->c.n_pages);
        if (holders[nd->page]++ > 0)
            FAIL("K1 node %d holds page %d, as another node does", n, nd->page);
    }
    for (page_id p = 0; p < kv->c.n_pages; p++)
        if (kv->refs[p] != held[p] + holders[p])
            FAIL("K1 page %d: %d references, %d table entries, %d nodes", p, kv->refs[p], held[p],
                 holders[p]);
    return 0;
}

/* K2: tally[p] marks what the free list names. */
static int audit_free(const struct kv *kv, struct err *e)
{
    int32_t *listed = kv->tally, n_zero = 0;
    memset(listed, 0, (size_t)kv->c.n_pages * sizeof *listed);
    for (page_id p = 0; p < kv->c.n_pages; p++)
        n_zero += kv->refs[p] == 0;
    if (n_zero != kv->n_free)
        FAIL("K2 %d pages free, %d without references", kv->n_free, n_zero);
    for (int32_t i = 0; i < kv->n_free; i++) {
        page_id p = kv->freed[i];
        if (p < 0 || p >= kv->c.n_pages || kv->refs[p] != 0)
            FAIL("K2 page %d is on the free list and in use", p);
        if (listed[p]++ > 0)
            FAIL("K2 page %d is on the free list twice", p);
    }
    return 0;
}

static int audit_node(const struct kv *kv, node_id n, const int32_t *pins, struct err *e)
{
    const struct node *nd = &kv->node[n];
    if (nd->parent >= kv->n_slots || kv->node[nd->parent].parent < 0)
        FAIL("K3 node %d has no parent", n);
    if (nd->stat.depth != kv->node[nd->parent].stat.depth + 1)
        FAIL("K3 node %d: depth %d below depth %d", n, nd->stat.depth,
             kv->node[nd->parent].stat.depth);
    if (nd->pins != pins[n])
        FAIL("K4 node %d: %d pins, %d users", n, nd->pins, pins[n]);
    if (nd->lock < nd->pins || nd->lock < 0)
        FAIL("K4 node %d: lock %d, %d pins", n, nd->lock, nd->pins);
    if (nd->lock > 0 && nd->parent != KV_ROOT && kv->node[nd->parent].lock <= 0)
        FAIL("K4 node %d is in use, its parent %d is not", n, nd->parent);
    bool want = nd->kids == 0 && nd->lock == 0;
    if (want != (nd->heap_at >= 0) || (want && kv->ev.heap[nd->heap_at] != n))
        FAIL("K4 node %d: evictable %d, in the heap %d", n, want, nd->heap_at >= 0);
    return 0;
}

/* K3, K4 and the counts of K5. */
static int audit_nodes(const struct kv *kv, const int32_t *pins, struct err *e)
{
    int32_t n_nodes = 0, n_locked = 0;
    int64_t locks = 0, want_locks = 0;
    for (node_id n = 1; n < kv->n_slots; n++) {
        const struct node *nd = &kv->node[n];
        if (nd->parent < 0) {
            if (pins[n] != 0 || nd->heap_at >= 0)
                FAIL("K4 node %d does not exist and has %d users", n, pins[n]);
            continue;
        }
        int st = audit_node(kv, n, pins, e);
        if (st != 0)
            return st;
        n_nodes++;
        n_locked += nd->lock > 0;
        locks += nd->lock;
        want_locks += nd->pins + (nd->lock > 0 && nd->parent != KV_ROOT);
    }
    if (n_nodes != kv->n_nodes || n_locked != kv->n_locked)
        FAIL("K4 %d nodes, %d in use; counted %d, %d", kv->n_nodes, kv->n_locked, n_nodes,
             n_locked);
    if (locks != want_locks)
        FAIL("K4 locks sum to %ld, counted %ld", (long)locks, (long)want_locks);
    if (n_nodes + kv->n_unused != kv->n_slots - 1)
        FAIL("K5 %d nodes and %d unused ids of %d", n_nodes, kv->n_unused, kv->n_slots - 1);
    return 0;
}

/* The children of `parent` in order, by a walk of their whole treap: each is above the one before
 * it, however far apart the two hang. tally[] is the stack, so depth costs no recursion; a link
 * that leads back in a circle overflows it or breaks the order. *seen counts the nodes. */
static int audit_children(const struct kv *kv, node_id parent, int32_t *seen, struct err *e)
{
    node_id *stack = kv->tally, last = KV_ROOT, at = kv->node[parent].kids;
    int32_t depth = 0;
    while (at != 0 || depth > 0) {
        for (; at != 0; at = kv->node[at].left) {
            if (at < 0 || at >= kv->n_slots || depth == kv->n_slots ||
                kv->node[at].parent != parent)
                FAIL("K5 node %d hangs below %d and is not its child", at, parent);
            if (depth > 0 && kv->node[at].prio > kv->node[stack[depth - 1]].prio)
                FAIL("K9 node %d has a higher priority than node %d above it", at,
                     stack[depth - 1]);
            stack[depth++] = at;
        }
        node_id n = stack[--depth];
        int32_t common;
        if (last != KV_ROOT && radix_compare(kv, kv->node[last].ns, node_tok(kv, last),
                                             kv->c.page_tokens, n, &common) >= 0)
            FAIL("K9 node %d comes after node %d and is not above it", n, last);
        last = n;
        ++*seen;
        at = kv->node[n].right;
        if (at > 0 && at < kv->n_slots && kv->node[at].prio > kv->node[n].prio)
            FAIL("K9 node %d has a higher priority than node %d above it", at, n);
    }
    return 0;
}

/* K10, one account: its order holds `want` candidates, in order, and all of them are its own. */
static int audit_order(const struct kv *kv, int32_t account, int32_t want, struct err *e)
{
    node_id *stack = kv->tally, last = KV_ROOT, at = kv->account[account].root;
    int32_t depth = 0, n = 0;
    while (at != 0 || depth > 0) {
        for (; at != 0; at = kv->node[at].sooner) {
            if (depth == kv->n_slots || kv->node[at].account != account || kv->node[at].heap_at < 0)
                FAIL("K10 node %d is in the order of account %d and no candidate of it", at,
                     account);
            stack[depth++] = at;
        }
        at = stack[--depth];
        int64_t key = kv->ev.key[kv->node[at].heap_at];
        if (last != KV_ROOT && kv->ev.key[kv->node[last].heap_at] > key)
            FAIL("K10 node %d comes after node %d and is worth less", at, last);
        last = at;
        n++;
        at = kv->node[at].later;
    }
    if (n != want)
        FAIL("K10 account %d has %d candidates in its order, counted %d", account, n, want);
    return 0;
}

static int audit_accounts(const struct kv *kv, struct err *e)
{
    int32_t idle[KV_ACCOUNTS] = {0}, candidates[KV_ACCOUNTS] = {0}, n_over = 0;
    for (node_id n = 1; n < kv->n_slots; n++) {
        const struct node *nd = &kv->node[n];
        if (nd->parent < 0)
            continue;
        idle[nd->account] += nd->lock == 0;
        candidates[nd->account] += nd->heap_at >= 0;
    }
    for (int32_t i = 1; i < KV_ACCOUNTS; i++) {
        const struct account *a = &kv->account[i];
        n_over += a->idle > a->most;
        if (a->idle != idle[i])
            FAIL("K10 account %d keeps %d pages, counted %d", i, a->idle, idle[i]);
        int st = audit_order(kv, i, candidates[i], e);
        if (st != 0)
            return st;
    }
    if (n_over != kv->n_over)
        FAIL("K10 %d accounts are beyond their bounds, counted %d", kv->n_over, n_over);
    return 0;
}

int kv_audit(const struct kv *kv, const int32_t *held, const int32_t *pins, struct err *e)
{
    int32_t seen = 0;
    int st = audit_refs(kv, held, e);
    if (st == 0)
        st = audit_free(kv, e);
    if (st == 0)
        st = audit_nodes(kv, pins, e);
    if (st == 0)
        st = audit_accounts(kv, e);
    for (node_id n = 0; n < kv->n_slots && st == 0; n++)
        if (kv->node[n].parent >= 0)
            st = audit_children(kv, n, &seen, e);
    if (st == 0 && seen != kv->n_nodes)
        FAIL("K5 %d nodes hang in the tree, %d exist", seen, kv->n_nodes);
    return st;
}
