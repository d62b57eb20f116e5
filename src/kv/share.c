/* SPDX-License-Identifier: Apache-2.0 */
/* share.c - accounts: how many idle pages somebody keeps in the tree, and which of them go first
 * when they are more than its bound.
 *
 * A node is idle while nobody uses it or anything below it. The idle nodes of an account are
 * counted; its candidates for eviction (idle leaves) are in the heap of evict.c like all others and
 * besides in an order of the account's own, a treap by worth, so that the least of them is found
 * without a walk over the heap. Account 0 has neither a bound nor an order: whoever uses no account
 * pays nothing. Engine thread.
 */
#include "share.h"

#include "check.h"

/* Must a go before b? Both are in the heap, where their worth is; the rule is the same as there. */
static bool goes_before(const struct kv *kv, node_id a, node_id b)
{
    int64_t x = kv->ev.key[kv->node[a].heap_at], y = kv->ev.key[kv->node[b].heap_at];
    return x != y ? x < y : kv->node[a].page < kv->node[b].page;
}

static struct account *account_of(struct kv *kv, node_id n)
{
    return &kv->account[kv->node[n].account];
}

static void count(struct kv *kv, node_id n, int32_t by)
{
    struct account *a = account_of(kv, n);
    bool was = a->idle > a->most;
    a->idle += by;
    kv->n_over += (a->idle > a->most) - was;
}

void share_idle(struct kv *kv, node_id n, bool idle)
{
    if (kv->node[n].account != 0)
        count(kv, n, idle ? 1 : -1);
}

void share_insert(struct kv *kv, node_id n)
{
    struct node *nd = &kv->node[n];
    if (nd->account == 0)
        return;
    node_id *link = &account_of(kv, n)->root;
    while (*link != 0 && kv->node[*link].prio >= nd->prio)
        link = goes_before(kv, n, *link) ? &kv->node[*link].sooner : &kv->node[*link].later;
    node_id rest = *link, *sooner = &nd->sooner, *later = &nd->later;
    *link = n;
    while (rest != 0) { /* those below are divided by n */
        if (goes_before(kv, rest, n)) {
            *sooner = rest;
            sooner = &kv->node[rest].later;
            rest = *sooner;
        } else {
            *later = rest;
            later = &kv->node[rest].sooner;
            rest = *later;
        }
    }
    *sooner = *later = 0;
}

void share_remove(struct kv *kv, node_id n)
{
    const struct node *nd = &kv->node[n];
    if (nd->account == 0)
        return;
    node_id *link = &account_of(kv, n)->root;
    while (*link != n) {
        CHECK(*link != 0);
        link = goes_before(kv, n, *link) ? &kv->node[*link].sooner : &kv->node[*link].later;
    }
    node_id a = nd->sooner, b = nd->later;
    while (a != 0 && b != 0) {
        if (kv->node[a].prio >= kv->node[b].prio) {
            *link = a;
            link = &kv->node[a].later;
            a = *link;
        } else {
            *link = b;
            link = &kv->node[b].sooner;
            b = *link;
        }
    }
    *link = a ? a : b;
}

/* Idle nodes have an idle leaf at or below them, so an account that has too many has a candidate,
 * unless only other accounts' leaves hang below its nodes. */
node_id share_pick(const struct kv *kv)
{
    const struct account *worst = NULL;
    if (kv->n_over == 0)
        return KV_ROOT;
    for (int32_t i = 1; i < KV_ACCOUNTS; i++) {
        const struct account *a = &kv->account[i];
        if (a->idle > a->most && a->root != 0 &&
            (!worst || a->idle - a->most > worst->idle - worst->most))
            worst = a;
    }
    if (!worst)
        return KV_ROOT;
    node_id n = worst->root;
    while (kv->node[n].sooner != 0)
        n = kv->node[n].sooner;
    return n;
}

void kv_charge(struct kv *kv, node_id n, int32_t account)
{
    CHECK(account >= 0 && account < KV_ACCOUNTS);
    CHECK(n != KV_ROOT && kv->node[n].lock > 0); /* neither idle nor in an order */
    kv->node[n].account = account;
}

void kv_bound(struct kv *kv, int32_t account, int32_t most)
{
    CHECK(account > 0 && account < KV_ACCOUNTS);
    struct account *a = &kv->account[account];
    bool was = a->idle > a->most;
    a->most = most;
    kv->n_over += (a->idle > a->most) - was;
}
