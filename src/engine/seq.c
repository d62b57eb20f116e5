/* seq.c - the life of one generation: admit, start (prefix hit), grow, publish, preempt, end.
 *
 * Owns every seq and the lists they are on. Mechanism only: who runs is sched.c's business.
 * Invariants: K4 a seq pins its deepest node; K6 replacing a duplicate page keeps the old one until
 * the steps in flight are done; K8 pages, pins and the row are released at n_inflight == 0 only.
 * Engine thread; no allocation.
 */
#include "check.h"
#include "log.h"
#include "state.h"

#include <string.h>

enum { BOOST_AFTER = 4 }; /* preemptions until a seq may not be preempted any more */

static int32_t index_of(const struct engine *en, const struct seq *s)
{
    return (int32_t)(s - en->seq);
}

static void wait_add(struct engine *en, struct seq *s)
{
    s->state = SEQ_WAITING;
    s->wait_at = en->n_wait;
    en->wait[en->n_wait++] = index_of(en, s);
}

static void wait_remove(struct engine *en, struct seq *s)
{
    int32_t last = en->wait[--en->n_wait];
    en->wait[s->wait_at] = last;
    en->seq[last].wait_at = s->wait_at;
    s->wait_at = -1;
    en->gate_seq = -1;
}

static void run_add(struct engine *en, struct seq *s)
{
    int32_t i = en->n_run++;
    for (; i > 0 && sched_before(s, &en->seq[en->run[i - 1]]); i--)
        en->run[i] = en->run[i - 1];
    en->run[i] = index_of(en, s);
}

static void run_remove(struct engine *en, const struct seq *s)
{
    int32_t i = 0, me = index_of(en, s);
    while (en->run[i] != me)
        i++;
    en->n_run--;
    memmove(en->run + i, en->run + i + 1, (size_t)(en->n_run - i) * sizeof *en->run);
}

static int32_t tenant_join(struct engine *en, uint64_t key)
{
    int32_t t = idmap_get(&en->tenants, key);
    if (t < 0) {
        t = en->tenant_free[--en->n_tenant_free];
        en->tenant[t] = (struct tenant){.key = key, .served = en->vclock};
        idmap_put(&en->tenants, key, t);
    }
    en->tenant[t].n_live++;
    return t;
}

static void tenant_leave(struct engine *en, int32_t t)
{
    if (--en->tenant[t].n_live > 0)
        return;
    idmap_del(&en->tenants, en->tenant[t].key);
    en->tenant_free[en->n_tenant_free++] = t;
}

/* A message that engine_submit checked becomes a WAITING seq. */
void seq_admit(struct engine *en, const struct msg_submit *m)
{
    if (en->failed || en->stopping) {
        outbox_refuse(en, m->id, en->failed ? ST_ENGINE_DOWN : en->stop_status);
        return;
    }
    if (en->n_slot == 0 || idmap_get(&en->ids, m->id) >= 0) {
        log_error("engine.submit", "id=%llu dropped: %s", (unsigned long long)m->id,
                  en->n_slot ? "this id is live already" : "no slot");
        atomic_fetch_sub(&en->live, 1);
        return;
    }
    struct seq *s = &en->seq[en->slot[--en->n_slot]];
    const token_id *tok = (const token_id *)(m + 1);
    *s = (struct seq){.id = m->id, .gen = s->gen, .tok = s->tok, .pages = s->pages, .row = -1};
    s->n_prompt = s->n_tok = s->n_known = m->n_prompt;
    s->n_max = m->n_prompt + m->max_new;
    memcpy(s->tok, tok, (size_t)m->n_prompt * sizeof *tok);
    s->n_stop = m->n_stop_ids;
    memcpy(s->stop, tok + m->n_prompt, (size_t)m->n_stop_ids * sizeof *tok);
    s->params = m->params;
    s->priority = m->priority;
    s->order = en->n_orders++;
    s->min_new = m->min_new;
    s->ignore_eos = m->ignore_eos != 0;
    s->no_cache_read = m->no_cache_read != 0;
    s->arrival_us = m->arrival_us;
    s->ns = m->cache_ns;
    s->n_hit = -1;
    s->tenant = tenant_join(en, m->tenant);
    idmap_put(&en->ids, s->id, index_of(en, s));
    wait_add(en, s);
}

static int32_t pages_for(const struct engine *en, int32_t n_tokens)
{
    return (n_tokens + en->c.page_tokens - 1) / en->c.page_tokens;
}

static void first_admission(struct engine *en, struct seq *s)
{
    if (s->n_hit >= 0)
        return;
    s->n_hit = s->n_cached;
    s->queue_us = engine_now(en) - s->arrival_us;
    if (s->queue_us < 0)
        s->queue_us = 0;
    en->stats.prompt_tokens += s->n_prompt;
    if (en->c.prefix_cache && !s->no_cache_read) {
        en->stats.prefix_queries += s->n_prompt;
        en->stats.prefix_hits += s->n_hit;
    }
}

/* The head of a page that somebody else filled: take a page of our own, have the step copy the
 * whole page, and go on after the tokens that match. The source stays pinned until that step is
 * done. */
static void start_copy(struct engine *en, struct seq *s, const struct kv_hit *hit)
{
    page_id dst = hit->part == KV_ROOT ? -1 : kv_take(en->kv);
    if (dst < 0) {
        kv_unpin(en->kv, hit->part);
        return;
    }
    s->copy_node = hit->part;
    s->copy_index = s->n_pages;
    s->pages[s->n_pages++] = dst;
    s->n_cached += hit->n_part;
}

/* WAITING -> RUNNING when the pages for all its tokens could be had with `reserve` left over. They
 * are not taken yet (chunks take them), but starting without them would only lead to preemption.
 * The last token is always computed, so a hit covers n_tok - 1 tokens at most. */
int seq_start(struct engine *en, struct seq *s, int32_t reserve)
{
    struct kv_hit hit = {0};
    if (en->n_rows == 0 || (en->gate_seq == index_of(en, s) && kv_avail(en->kv) <= en->gate_avail))
        return 0;
    int32_t avail = kv_avail(en->kv);
    if (en->c.prefix_cache && !s->no_cache_read)
        kv_match(en->kv, s->ns, s->tok, s->n_tok - !PLANT(PLANT_HIT_LONG), s->pages, &hit);
    int32_t want = pages_for(en, s->n_tok) - hit.n_pages + reserve;
    if (hit.part != KV_ROOT && kv_avail(en->kv) < want) { /* its source may be the page we lack */
        kv_unpin(en->kv, hit.part);
        hit.part = KV_ROOT;
    }
    if (kv_avail(en->kv) < want) {
        for (int32_t i = 0; i < hit.n_pages; i++)
            kv_unref(en->kv, s->pages[i]);
        kv_unpin(en->kv, hit.node);
        en->gate_seq = index_of(en, s);
        en->gate_avail = avail;
        return 0;
    }
    wait_remove(en, s);
    s->state = SEQ_RUNNING;
    s->row = en->rows[--en->n_rows];
    s->node = hit.node;
    s->n_pages = s->n_pub = hit.n_pages;
    s->n_cached = hit.n_pages * en->c.page_tokens;
    start_copy(en, s, &hit);
    s->n_done = s->n_cached;
    run_add(en, s);
    en->n_admitted++;
    if (en->tenant[s->tenant].served > en->vclock)
        en->vclock = en->tenant[s->tenant].served;
    first_admission(en, s);
    return 1;
}

int seq_grow(struct engine *en, struct seq *s, int32_t n_tokens)
{
    int32_t want = pages_for(en, n_tokens);
    while (s->n_pages < want) {
        page_id p = kv_take(en->kv);
        if (p < 0)
            return 0;
        s->pages[s->n_pages++] = p;
    }
    return 1;
}

/* Enter what has been filled into the tree. When an equal page is there already, use that one and
 * let ours go: requests that arrived together share their pages from here on. */
void seq_publish(struct engine *en, struct seq *s)
{
    const int32_t pt = en->c.page_tokens;
    int32_t n = s->n_done < s->n_known ? s->n_done : s->n_known;
    if (!en->c.prefix_cache)
        return;
    while (s->n_pub < n / pt && s->n_pub < s->n_pages) {
        int32_t i = s->n_pub++;
        page_id mine = s->pages[i];
        s->node = kv_publish(en->kv, s->node, s->ns, s->tok + (int64_t)i * pt, mine);
        page_id theirs = kv_node_page(en->kv, s->node);
        if (theirs == mine || s->state != SEQ_RUNNING || s->preempting || en->n_limbo > MAX_COPIES)
            continue;
        kv_ref(en->kv, theirs);
        s->pages[i] = theirs;
        if (s->n_sent > i)
            s->n_sent = i;
        if (s->n_inflight > 0)
            limbo_put(en, mine, KV_ROOT);
        else
            kv_unref(en->kv, mine);
    }
}

static void give_pages(struct engine *en, struct seq *s)
{
    for (int32_t i = 0; i < s->n_pages; i++)
        kv_unref(en->kv, s->pages[i]);
    kv_unpin(en->kv, s->node);
    kv_unpin(en->kv, s->copy_node);
    s->n_pages = s->n_pub = 0;
    s->node = s->copy_node = KV_ROOT;
    if (!PLANT(PLANT_EDIT_MISSED))
        s->n_sent = 0;
}

/* Carry out what was marked, now that no step names the seq. */
void seq_settle(struct engine *en, struct seq *s)
{
    CHECK(s->n_inflight == 0);
    give_pages(en, s);
    if (s->row >= 0)
        en->rows[en->n_rows++] = s->row;
    s->row = -1;
    en->n_draining--;
    if (s->preempting) {
        en->n_marked--;
        s->preempting = 0;
        s->n_tok = s->n_known;
        s->n_cached = s->n_done = 0;
        wait_add(en, s);
        return;
    }
    tenant_leave(en, s->tenant);
    s->state = SEQ_FREE;
    s->gen++;
    en->slot[en->n_slot++] = index_of(en, s);
}

void seq_preempt(struct engine *en, struct seq *s)
{
    run_remove(en, s);
    s->preempting = 1;
    en->n_draining++;
    en->n_marked++;
    en->stats.preemptions++;
    if (++s->n_preempted >= BOOST_AFTER)
        s->boost = 1;
    if (s->n_inflight == 0)
        seq_settle(en, s);
}

void seq_end(struct engine *en, struct seq *s)
{
    CHECK(s->state == SEQ_WAITING || s->state == SEQ_RUNNING);
    if (s->preempting) {
        en->n_marked--;
        s->preempting = 0;
    } else {
        if (s->state == SEQ_WAITING)
            wait_remove(en, s);
        else
            run_remove(en, s);
        en->n_draining++;
    }
    s->state = SEQ_DRAINING;
    idmap_del(&en->ids, s->id);
    if (s->n_inflight == 0)
        seq_settle(en, s);
    else if (PLANT(PLANT_EARLY_FREE))
        give_pages(en, s);
}

void limbo_put(struct engine *en, page_id page, node_id node)
{
    CHECK(en->n_limbo < MAX_LIMBO);
    int32_t i = (en->limbo_head + en->n_limbo++) % MAX_LIMBO;
    en->limbo[i] = (struct limbo){.no = en->step_no, .page = page, .node = node};
}

/* Release what only steps up to done_no needed. */
void limbo_drain(struct engine *en)
{
    while (en->n_limbo > 0 && en->limbo[en->limbo_head].no <= en->done_no) {
        const struct limbo *l = &en->limbo[en->limbo_head];
        if (l->page >= 0)
            kv_unref(en->kv, l->page);
        else
            kv_unpin(en->kv, l->node);
        en->limbo_head = (en->limbo_head + 1) % MAX_LIMBO;
        en->n_limbo--;
    }
}
