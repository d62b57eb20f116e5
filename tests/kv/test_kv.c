/* SPDX-License-Identifier: Apache-2.0 */
/* test_kv.c - pool and tree against a naive model: every operation is repeated on flat lists, and
 * hits, partial hits, evictions and free counts must agree; the audit runs all along. */
#include "testing.h"

#include "kv/tree.h"
#include "kv_audit.h"
#include "mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_ACCOUNTS = 4, MAX_PAGES = 40, MAX_PT = 5, MAX_CURSORS = 6, MAX_PATH = 12, ALPHABET = 3 };

struct flat { /* one cached page, in the naive model */
    int used, parent, uses, account;
    uint64_t ns;
    token_id tok[MAX_PT];
    int64_t last, created;
};
struct cursor { /* what a live seq holds */
    int used, n_pages, n_tok;
    uint64_t ns;
    node_id node;
    page_id pages[MAX_PATH];
    token_id tok[MAX_PATH * MAX_PT];
};
struct world {
    struct kv *kv;
    struct kv_config c;
    struct flat flat[MAX_PAGES + 1]; /* by page + 1; 0 = the root */
    struct cursor cur[MAX_CURSORS];
    int most[N_ACCOUNTS]; /* idle pages; [0]: no bound */
    int64_t tick;
    uint64_t rng;
};

static int rnd(struct world *w, int n)
{
    w->rng = w->rng * 6364136223846793005u + 1442695040888963407u;
    return (int)((w->rng >> 33) % (uint64_t)n);
}

/* The naive model's name of a node. */
static int flat_of(const struct world *w, node_id n)
{
    return n == KV_ROOT ? 0 : kv_node_page(w->kv, n) + 1;
}

static void audit(const struct world *w)
{
    int32_t held[MAX_PAGES] = {0}, pins[MAX_PAGES + 1] = {0};
    for (int i = 0; i < MAX_CURSORS; i++) {
        const struct cursor *c = &w->cur[i];
        if (!c->used)
            continue;
        for (int k = 0; k < c->n_pages; k++)
            held[c->pages[k]]++;
        pins[c->node] += c->node != KV_ROOT;
    }
    struct err e;
    if (kv_audit(w->kv, held, pins, &e) != 0)
        fail_msg("%s", e.msg);
    struct kv_stats s;
    int n = 0;
    kv_get_stats(w->kv, &s);
    for (int i = 1; i <= w->c.n_pages; i++)
        n += w->flat[i].used;
    assert_int_equal(s.n_nodes, n);
    assert_int_equal(kv_avail(w->kv), s.n_free + s.n_evictable);
}

static int common(const token_id *a, const token_id *b, int n)
{
    int i = 0;
    while (i < n && a[i] == b[i])
        i++;
    return i;
}

/* Is node n on (or above) the path of a live cursor? */
static int on_path(const struct world *w, int n)
{
    for (int i = 0; i < MAX_CURSORS; i++)
        for (int k = w->cur[i].used ? flat_of(w, w->cur[i].node) : 0; k > 0; k = w->flat[k].parent)
            if (k == n)
                return 1;
    return 0;
}

static int64_t worth(const struct world *w, const struct flat *f)
{
    if (w->c.eviction == EVICT_LFU)
        return f->uses * 1000000000LL + f->last;
    if (w->c.eviction == EVICT_FIFO)
        return f->created;
    return f->last + (f->uses > 1 ? w->c.n_pages / 2 : 0);
}

static int n_children(const struct world *w, int n)
{
    int c = 0;
    for (int i = 1; i <= w->c.n_pages; i++)
        c += w->flat[i].used && w->flat[i].parent == n;
    return c;
}

/* The leaf that must go: least worth, not in use, of that account (-1: of any). 0: none. */
static int least_of(const struct world *w, int account)
{
    int best = 0;
    for (int i = 1; i <= w->c.n_pages; i++)
        if (w->flat[i].used && (account < 0 || w->flat[i].account == account) &&
            n_children(w, i) == 0 && !on_path(w, i) &&
            (!best || worth(w, &w->flat[i]) < worth(w, &w->flat[best])))
            best = i;
    return best;
}

static int idle_of(const struct world *w, int account)
{
    int n = 0;
    for (int i = 1; i <= w->c.n_pages; i++)
        n += w->flat[i].used && w->flat[i].account == account && !on_path(w, i);
    return n;
}

/* The account that is furthest beyond its bound and has a leaf to give goes first. */
static int naive_victim(const struct world *w)
{
    int best = 0, most = 0;
    for (int i = 1; i < N_ACCOUNTS; i++) {
        int beyond = idle_of(w, i) - w->most[i];
        if (beyond > most && least_of(w, i)) {
            most = beyond;
            best = least_of(w, i);
        }
    }
    return best ? best : least_of(w, -1);
}

static page_id take(struct world *w)
{
    struct kv_stats before, after;
    kv_get_stats(w->kv, &before);
    int victim = before.n_free == 0 ? naive_victim(w) : 0;
    page_id p = kv_take(w->kv);
    kv_get_stats(w->kv, &after);
    if (before.n_free > 0) {
        assert_true(p >= 0);
        assert_int_equal(after.evicted, before.evicted);
        return p;
    }
    assert_int_equal(p, victim - 1); /* -1 when there is no victim */
    assert_int_equal(after.evicted, before.evicted + (victim > 0));
    w->flat[victim].used = 0;
    return p;
}

/* Match in both, open a cursor on it. */
static void op_match(struct world *w, struct cursor *c)
{
    const int pt = w->c.page_tokens;
    *c = (struct cursor){.used = 1, .ns = (uint64_t)rnd(w, 2)};
    c->n_tok = rnd(w, MAX_PATH * pt);
    for (int i = 0; i < c->n_tok; i++)
        c->tok[i] = rnd(w, 4) ? 0 : rnd(w, ALPHABET);
    struct kv_hit hit;
    kv_match(w->kv, c->ns, c->tok, c->n_tok, c->pages, &hit);
    int at = 0, n = 0, part = 0;
    for (;; n++) {
        int next = 0;
        part = 0;
        int left = c->n_tok - n * pt < pt ? c->n_tok - n * pt : pt;
        for (int i = 1; i <= w->c.n_pages; i++) {
            const struct flat *f = &w->flat[i];
            if (!f->used || f->parent != at || f->ns != c->ns)
                continue;
            int same = common(f->tok, c->tok + n * pt, left);
            next = same == pt ? i : next;
            part = same > part ? same : part;
        }
        if (!next)
            break;
        w->flat[next].last = ++w->tick;
        w->flat[next].uses++;
        assert_int_equal(c->pages[n], next - 1);
        at = next;
    }
    assert_int_equal(hit.n_pages, n);
    assert_int_equal(flat_of(w, hit.node), at);
    assert_int_equal(hit.n_part, part);
    c->n_pages = n;
    c->node = hit.node;
    c->n_tok = n * pt;
    if (part == 0) {
        assert_int_equal(hit.part, KV_ROOT);
        return;
    }
    struct flat *f = &w->flat[flat_of(w, hit.part)];
    assert_true(f->used && f->parent == at && common(f->tok, c->tok + n * pt, part) == part);
    f->last = ++w->tick;
    f->uses++;
    kv_unpin(w->kv, hit.part);
}

/* Fill one more page and publish it. */
static void op_publish(struct world *w, struct cursor *c)
{
    const int pt = w->c.page_tokens;
    if (c->n_pages == MAX_PATH)
        return;
    page_id p = take(w);
    if (p < 0)
        return;
    token_id *tok = c->tok + c->n_tok;
    for (int i = 0; i < pt; i++)
        tok[i] = rnd(w, 4) ? 0 : rnd(w, ALPHABET);
    c->n_tok += pt;
    c->pages[c->n_pages++] = p;
    int want = 0;
    for (int i = 1; i <= w->c.n_pages; i++)
        if (w->flat[i].used && w->flat[i].parent == flat_of(w, c->node) && w->flat[i].ns == c->ns &&
            common(w->flat[i].tok, tok, pt) == pt)
            want = i;
    int parent = flat_of(w, c->node);
    node_id n = kv_publish(w->kv, c->node, c->ns, tok, p);
    assert_int_equal(flat_of(w, n), want ? want : p + 1);
    struct flat *f = &w->flat[flat_of(w, n)];
    if (!want) {
        *f = (struct flat){.used = 1, .parent = parent, .ns = c->ns, .created = w->tick + 1};
        memcpy(f->tok, tok, (size_t)pt * sizeof *tok);
        f->account = (int)(c->ns * 2) + rnd(w, 2);
        kv_charge(w->kv, n, f->account);
    } else if (rnd(w, 2)) { /* use the one that was there */
        kv_ref(w->kv, kv_node_page(w->kv, n));
        kv_unref(w->kv, p);
        c->pages[c->n_pages - 1] = kv_node_page(w->kv, n);
    }
    f->last = ++w->tick;
    f->uses++;
    c->node = n;
}

static void op_close(struct world *w, struct cursor *c)
{
    for (int i = 0; i < c->n_pages; i++)
        kv_unref(w->kv, c->pages[i]);
    kv_unpin(w->kv, c->node);
    c->used = 0;
}

static void run(uint64_t seed, int n_ops)
{
    struct world *w = xalloc(sizeof *w);
    w->rng = seed * 77 + 1;
    w->c = (struct kv_config){.n_pages = 1 + rnd(w, MAX_PAGES),
                              .page_tokens = 1 + rnd(w, MAX_PT),
                              .eviction = rnd(w, 3),
                              .seed = seed};
    assert_int_equal(kv_new(&w->kv, &w->c, NULL), 0);
    for (int i = 0; i < n_ops; i++) {
        struct cursor *c = &w->cur[rnd(w, MAX_CURSORS)];
        if (i % 50 == 0) { /* bounds may change at any time */
            int account = 1 + rnd(w, N_ACCOUNTS - 1);
            w->most[account] = rnd(w, w->c.n_pages + 1);
            kv_bound(w->kv, account, w->most[account]);
        }
        if (!c->used)
            op_match(w, c);
        else if (rnd(w, 5) == 0)
            op_close(w, c);
        else
            op_publish(w, c);
        audit(w);
    }
    for (int i = 0; i < MAX_CURSORS; i++)
        if (w->cur[i].used)
            op_close(w, &w->cur[i]);
    audit(w);
    assert_int_equal(kv_avail(w->kv), w->c.n_pages);
    int n = 0;
    while (kv_take(w->kv) >= 0) /* everything can be had back */
        n++;
    assert_int_equal(n, w->c.n_pages);
    kv_free(w->kv);
    free(w);
}

static void test_differential(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++)
        run(seed, 600);
    printf("kv: 300 seeds, 180,000 operations agree with the naive model\n");
}

static void test_sizes(void **state)
{
    (void)state;
    struct kv *kv;
    struct err e;
    const struct kv_config bad[] = {{0, 1, 0, 0}, {1, 0, 0, 0}, {-5, 3, 0, 0}, {1, 1, N_EVICT, 0}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(kv_new(&kv, &bad[i], &e), ST_INVALID_VALUE);
    kv_free(NULL);
}

/* The audit must be able to fail. */
static void test_audit_sees(void **state)
{
    (void)state;
    struct kv *kv;
    const struct kv_config c = {.n_pages = 3, .page_tokens = 2};
    const token_id tok[2] = {1, 2};
    int32_t held[3] = {0}, pins[4] = {0};
    assert_int_equal(kv_new(&kv, &c, NULL), 0);
    page_id p = kv_take(kv);
    assert_int_not_equal(kv_audit(kv, held, pins, NULL), 0);
    held[p] = 1;
    assert_int_equal(kv_audit(kv, held, pins, NULL), 0);
    node_id n = kv_publish(kv, KV_ROOT, 0, tok, p);
    assert_int_not_equal(kv_audit(kv, held, pins, NULL), 0);
    pins[n] = 1;
    assert_int_equal(kv_audit(kv, held, pins, NULL), 0);
    held[p] = 2;
    assert_int_not_equal(kv_audit(kv, held, pins, NULL), 0);
    kv_free(kv);
}

/* A node whose tokens are right beside its neighbour in the treap and wrong beside the node above
 * that one: only a walk of the whole order sees it. */
static void test_audit_sees_grandchild(void **state)
{
    (void)state;
    enum { N = 40 };
    struct kv *kv;
    const struct kv_config c = {.n_pages = N, .page_tokens = 1, .seed = 3};
    int32_t held[N] = {0}, pins[N + 1] = {0};
    struct err e;
    assert_int_equal(kv_new(&kv, &c, NULL), 0);
    assert_int_equal(kv_node_slots(kv), N + 1);
    for (token_id t = 0; t < N; t++) {
        node_id n = kv_publish(kv, KV_ROOT, 0, &(token_id){10 * t}, kv_take(kv));
        kv_unref(kv, kv_node_page(kv, n));
        kv_unpin(kv, n);
    }
    assert_int_equal(kv_audit(kv, held, pins, &e), 0);
    node_id top = 0, mid = 0, low = 0;
    for (node_id n = 1; n <= N && !low; n++) { /* top > low > mid, low below mid below top */
        top = n;
        mid = kv->node[n].left;
        low = mid ? kv->node[mid].right : 0;
        if (low && (kv->node[low].left || kv->node[low].right))
            low = 0;
    }
    assert_true(low > 0);
    token_id *tok = kv->tok + (int64_t)low * c.page_tokens;
    int32_t n_common;
    *tok = *node_tok(kv, top) + 1;
    assert_true(radix_compare(kv, 0, tok, 1, mid, &n_common) > 0); /* no fault beside its parent */
    assert_int_equal(kv_audit(kv, held, pins, &e), ST_INTERNAL);
    assert_non_null(strstr(e.msg, "K9"));
    *tok = *node_tok(kv, top) - 1;
    assert_int_equal(kv_audit(kv, held, pins, &e), 0);
    kv->node[mid].right = 0; /* lost: it exists and hangs nowhere */
    assert_int_equal(kv_audit(kv, held, pins, &e), ST_INTERNAL);
    assert_non_null(strstr(e.msg, "K5"));
    kv->node[mid].right = top; /* a circle */
    assert_int_equal(kv_audit(kv, held, pins, &e), ST_INTERNAL);
    kv_free(kv);
}

/* An account within its bound keeps its pages while others beyond theirs lose their oldest. */
static void test_accounts(void **state)
{
    (void)state;
    struct kv *kv;
    const struct kv_config c = {.n_pages = 8, .page_tokens = 1, .seed = 5};
    assert_int_equal(kv_new(&kv, &c, NULL), 0);
    kv_bound(kv, 1, 2);
    kv_bound(kv, 2, 7);
    page_id page[8];
    for (token_id t = 0; t < 8; t++) { /* 0 to 2 are the second account's and the oldest */
        page[t] = kv_take(kv);
        node_id n = kv_publish(kv, KV_ROOT, 0, &t, page[t]);
        kv_charge(kv, n, t < 3 ? 2 : 1);
        kv_unref(kv, page[t]);
        kv_unpin(kv, n);
    }
    for (token_id t = 3; t < 6; t++) /* the first has five pages and may keep two */
        assert_int_equal(kv_take(kv), page[t]);
    assert_int_equal(kv_take(kv), page[0]); /* now the oldest of all */
    kv_bound(kv, 2, 0);
    assert_int_equal(kv_take(kv), page[1]);
    int32_t held[8] = {0}, pins[9] = {0};
    struct err e;
    for (int t = 0; t < 6; t++)
        held[page[t]] = t != 2;
    assert_int_equal(kv_audit(kv, held, pins, &e), 0);
    kv->account[2].idle++; /* the audit counts for itself */
    assert_int_equal(kv_audit(kv, held, pins, &e), ST_INTERNAL);
    assert_non_null(strstr(e.msg, "K10"));
    kv->account[2].idle--;
    node_id root = kv->account[1].root;
    kv->account[1].root = 0;
    assert_int_equal(kv_audit(kv, held, pins, &e), ST_INTERNAL);
    assert_non_null(strstr(e.msg, "K10"));
    kv->account[1].root = root;
    assert_int_equal(kv_audit(kv, held, pins, &e), 0);
    kv_free(kv);
}

/* Two policies side by side: what was used often, and what is old. */
static void test_policies(void **state)
{
    (void)state;
    static const struct {
        int32_t eviction;
        page_id first;
    } want[] = {{EVICT_LRU, 1}, {EVICT_LFU, 1}, {EVICT_FIFO, 0}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        struct kv *kv;
        const struct kv_config c = {.n_pages = 2, .page_tokens = 1, .eviction = want[i].eviction};
        assert_int_equal(kv_new(&kv, &c, NULL), 0);
        for (token_id t = 0; t < 2; t++) {
            node_id n = kv_publish(kv, KV_ROOT, 0, &t, kv_take(kv));
            kv_unref(kv, kv_node_page(kv, n));
            kv_unpin(kv, n);
        }
        page_id page = -1;
        struct kv_hit hit = {0};
        kv_match(kv, 0, &(token_id){0}, 1, &page, &hit); /* page 0 is used once more */
        kv_unref(kv, page);
        kv_unpin(kv, hit.node);
        assert_int_equal(kv_take(kv), want[i].first);
        kv_free(kv);
    }
}

/* A forgotten path is not found, not even in part; while it is in use nothing takes its place,
 * afterwards the new page does, and what hung below is found again. */
static void test_forget(void **state)
{
    (void)state;
    struct kv *kv;
    const struct kv_config c = {.n_pages = 8, .page_tokens = 2, .eviction = EVICT_LRU, .seed = 1};
    const token_id tok[6] = {1, 2, 3, 4, 5, 6};
    page_id found[3];
    struct kv_hit hit;
    assert_int_equal(kv_new(&kv, &c, NULL), 0);
    node_id at = KV_ROOT, first = KV_ROOT;
    for (int i = 0; i < 3; i++) {
        page_id p = kv_take(kv);
        at = kv_publish(kv, at, 0, tok + 2 * i, p);
        first = i == 0 ? at : first;
        kv_unref(kv, p); /* the tree's alone */
    }
    node_id second = kv->node[at].parent;
    kv_pin(kv, second);
    kv_unpin(kv, at);
    kv_forget(kv, second);
    kv_match(kv, 0, tok, 6, found, &hit);
    assert_true(hit.n_pages == 0 && hit.node == KV_ROOT && hit.part == KV_ROOT);
    page_id mine = kv_take(kv);
    assert_int_equal(kv_publish(kv, KV_ROOT, 0, tok, mine), KV_ROOT); /* in use */
    kv_unpin(kv, second);
    assert_int_equal(kv_publish(kv, KV_ROOT, 0, tok, mine), first);
    assert_int_equal(kv_node_page(kv, first), mine);
    page_id other = kv_take(kv);
    node_id again = kv_publish(kv, first, 0, tok + 2, other);
    assert_int_equal(again, second);
    kv_match(kv, 0, tok, 6, found, &hit);
    assert_true(hit.n_pages == 3 && found[0] == mine && found[1] == other);
    for (int i = 0; i < 3; i++)
        kv_unref(kv, found[i]);
    kv_unpin(kv, hit.node);
    kv_unpin(kv, again);
    kv_unref(kv, mine);
    kv_unref(kv, other);
    int32_t held[8] = {0}, pins[9] = {0};
    struct err e;
    assert_int_equal(kv_audit(kv, held, pins, &e), 0);
    kv_pin(kv, at);
    kv_forget(kv, at);
    kv_unpin(kv, at);
    for (int i = 0; i < 5; i++) /* the free ones */
        assert_true(kv_take(kv) >= 0);
    page_id last = kv_node_page(kv, at);
    assert_int_equal(kv_take(kv), last);
    kv_free(kv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_differential), cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_audit_sees),   cmocka_unit_test(test_audit_sees_grandchild),
        cmocka_unit_test(test_policies),     cmocka_unit_test(test_accounts),
        cmocka_unit_test(test_forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
