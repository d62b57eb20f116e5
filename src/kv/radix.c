/* SPDX-License-Identifier: Apache-2.0 */
/* radix.c - the prefix tree: match, publish, pins.
 *
 * Children of a node are a treap ordered by (namespace, tokens), so that the child sharing the
 * longest head with a query is next to the query's place: partial hits are exact in O(log n)
 * comparisons however many siblings there are. Node 0 is the root and holds no page.
 *
 * Owns the nodes, their ids and their tokens; keeps K3, K4, K5 and K9 of kv.h. Engine thread.
 */
#include "check.h"
#include "plant.h"
#include "share.h"

#include <string.h>

int radix_compare(const struct kv *kv, uint64_t ns, const token_id *tok, int32_t n_tok, node_id n,
                  int32_t *common)
{
    const struct node *nd = &kv->node[n];
    *common = 0;
    if (ns != nd->ns)
        return ns < nd->ns ? -1 : 1;
    const token_id *t = node_tok(kv, n);
    int32_t m = n_tok < kv->c.page_tokens ? n_tok : kv->c.page_tokens;
    int32_t i = 0;
    while (i < m && tok[i] == t[i])
        i++;
    *common = i;
    if (i < m)
        return tok[i] < t[i] ? -1 : 1;
    return m < kv->c.page_tokens ? -1 : 0; /* a short query sorts before its extensions */
}

void kv_pin(struct kv *kv, node_id n)
{
    if (n == KV_ROOT)
        return;
    kv->node[n].pins++;
    for (; n != KV_ROOT; n = kv->node[n].parent) {
        if (kv->node[n].lock++ > 0)
            return;
        kv->n_locked++;
        share_idle(kv, n, false);
        evict_update(kv, n);
    }
}

void kv_unpin(struct kv *kv, node_id n)
{
    if (n == KV_ROOT)
        return;
    CHECK(kv->node[n].pins > 0);
    kv->node[n].pins--;
    for (; n != KV_ROOT; n = kv->node[n].parent) {
        if (--kv->node[n].lock > 0)
            return;
        kv->n_locked--;
        share_idle(kv, n, true);
        evict_update(kv, n);
    }
}

/* The child equal to tok[0, page_tokens), forgotten or not, or KV_ROOT. *best, *best_n: the child
 * with the longest common head seen on the way; it is the longest of all, because the search passes
 * the query's neighbours on both sides (but for forgotten ones, which are passed over). */
static node_id find_child(const struct kv *kv, node_id parent, uint64_t ns, const token_id *tok,
                          int32_t n_tok, node_id *best, int32_t *best_n)
{
    *best = KV_ROOT;
    *best_n = 0;
    for (node_id n = kv->node[parent].kids; n != 0;) {
        int32_t common;
        int d = radix_compare(kv, ns, tok, n_tok, n, &common);
        if (common > *best_n && !kv->node[n].forgotten) {
            *best = n;
            *best_n = common;
        }
        if (d == 0)
            return n;
        n = d < 0 ? kv->node[n].left : kv->node[n].right;
    }
    return KV_ROOT;
}

void kv_match(struct kv *kv, uint64_t ns, const token_id *tok, int32_t n, page_id *pages,
              struct kv_hit *hit)
{
    const int32_t pt = kv->c.page_tokens;
    *hit = (struct kv_hit){0};
    if (PLANT(PLANT_NO_NAMESPACE))
        ns = 0;
    for (int32_t at = 0; at < n; at += pt) {
        node_id best;
        int32_t best_n;
        node_id child = find_child(kv, hit->node, ns, tok + at, n - at, &best, &best_n);
        if (child == KV_ROOT || kv->node[child].forgotten) {
            hit->part = best;
            hit->n_part = best_n;
            break;
        }
        evict_hit(kv, child);
        page_id page = kv->node[child].page;
        pages[hit->n_pages++] = page;
        if (!PLANT(PLANT_NO_REF))
            kv_ref(kv, page);
        hit->node = child;
    }
    kv_pin(kv, hit->node);
    if (hit->part != KV_ROOT) {
        evict_hit(kv, hit->part);
        kv_pin(kv, hit->part);
        if (PLANT(PLANT_PART_LONG))
            hit->n_part++;
    }
}

static uint32_t next_prio(struct kv *kv)
{
    uint64_t z = kv->rng += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)(z >> 32);
}

static void treap_insert(struct kv *kv, node_id parent, node_id n)
{
    struct node *nd = &kv->node[n];
    const token_id *tok = node_tok(kv, n);
    const int32_t pt = kv->c.page_tokens;
    node_id *link = &kv->node[parent].kids;
    int32_t common;
    while (*link && kv->node[*link].prio >= nd->prio)
        link = radix_compare(kv, nd->ns, tok, pt, *link, &common) < 0 ? &kv->node[*link].left
                                                                      : &kv->node[*link].right;
    node_id rest = *link;
    *link = n;
    node_id *lp = &nd->left, *rp = &nd->right;
    while (rest) { /* split what was there by the new key */
        if (radix_compare(kv, nd->ns, tok, pt, rest, &common) > 0) {
            *lp = rest;
            lp = &kv->node[rest].right;
            rest = *lp;
        } else {
            *rp = rest;
            rp = &kv->node[rest].left;
            rest = *rp;
        }
    }
    *lp = *rp = 0;
}

static void treap_remove(struct kv *kv, node_id n)
{
    struct node *nd = &kv->node[n];
    node_id *link = &kv->node[nd->parent].kids;
    int32_t common;
    while (*link != n) {
        CHECK(*link != 0);
        int d = radix_compare(kv, nd->ns, node_tok(kv, n), kv->c.page_tokens, *link, &common);
        link = d < 0 ? &kv->node[*link].left : &kv->node[*link].right;
    }
    node_id a = nd->left, b = nd->right;
    while (a && b) {
        if (kv->node[a].prio >= kv->node[b].prio) {
            *link = a;
            link = &kv->node[a].right;
            a = *link;
        } else {
            *link = b;
            link = &kv->node[b].left;
            b = *link;
        }
    }
    *link = a ? a : b;
}

void radix_remove(struct kv *kv, node_id n)
{
    node_id parent = kv->node[n].parent;
    treap_remove(kv, n);
    share_idle(kv, n, false);
    kv->node[n].parent = kv->node[n].page = -1;
    kv->unused[kv->n_unused++] = n;
    kv->n_nodes--;
    evict_update(kv, parent);
}

/* A new leaf of parent, with a reference on page. There is an id for it: a node holds a page, and
 * there are as many ids as pages. */
static node_id add_leaf(struct kv *kv, node_id parent, uint64_t ns, const token_id *tok,
                        page_id page)
{
    const int32_t pt = kv->c.page_tokens;
    CHECK(kv->n_unused > 0);
    node_id n = kv->unused[--kv->n_unused];
    kv->node[n] = (struct node){
        .parent = parent, .prio = next_prio(kv), .page = page, .heap_at = -1, .ns = ns};
    memcpy(kv->tok + (int64_t)n * pt, tok, (size_t)pt * sizeof *tok);
    treap_insert(kv, parent, n);
    evict_insert(kv, n);
    kv_ref(kv, page);
    kv->n_nodes++;
    return n;
}

/* A forgotten node that nobody uses takes `page` in place of its own. While somebody does, that one
 * may be the source of a copy. */
static bool renew(struct kv *kv, node_id n, page_id page)
{
    struct node *nd = &kv->node[n];
    if (nd->lock > 0)
        return false;
    kv_pin(kv, n); /* candidates are in order of their pages, too */
    kv_ref(kv, page);
    kv_unref(kv, nd->page);
    nd->page = page;
    nd->forgotten = false;
    kv_unpin(kv, n);
    return true;
}

node_id kv_publish(struct kv *kv, node_id parent, uint64_t ns, const token_id *tok, page_id page)
{
    node_id best;
    int32_t best_n;
    if (PLANT(PLANT_NO_NAMESPACE))
        ns = 0;
    node_id n = find_child(kv, parent, ns, tok, kv->c.page_tokens, &best, &best_n);
    if (n == KV_ROOT)
        n = add_leaf(kv, parent, ns, tok, page);
    else if (kv->node[n].forgotten && !renew(kv, n, page))
        return KV_ROOT;
    evict_hit(kv, n);
    kv_pin(kv, n);
    kv_unpin(kv, parent);
    return n;
}

void kv_forget(struct kv *kv, node_id n)
{
    CHECK(n == KV_ROOT || kv->node[n].lock > 0); /* so none of them is in the heap */
    for (; n != KV_ROOT; n = kv->node[n].parent)
        kv->node[n].forgotten = true;
}

page_id kv_node_page(const struct kv *kv, node_id node)
{
    return kv->node[node].page;
}
