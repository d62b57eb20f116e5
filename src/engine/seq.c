/* SPDX-License-Identifier: Apache-2.0 */
/* seq.c - the life of one generation: admit, start (prefix hit), grow, publish, preempt, end.
 *
 * Owns every seq and the lists they are on; keeps K4, K6 and K8 of state.h. Mechanism only: who
 * runs is sched.c's business. Engine thread; no allocation.
 */
#include "seq.h"

#include "area.h"
#include "check.h"
#include "fair.h"
#include "kv.h"
#include "kv_prefix.h"
#include "log.h"
#include "outbox.h"
#include "plant.h"
#include "sched.h"

#include <string.h>

enum { BOOST_AFTER = 4 }; /* preemptions until a seq may not be preempted any more */

static void wait_add(struct seqs *q, struct seq *s)
{
    s->state = SEQ_WAITING;
    s->wait_at = q->n_wait;
    q->wait[q->n_wait++] = seq_index(q, s);
}

static void wait_remove(struct engine *en, struct seq *s)
{
    struct seqs *q = &en->seqs;
    int32_t last = q->wait[--q->n_wait];
    q->wait[s->wait_at] = last;
    q->seq[last].wait_at = s->wait_at;
    s->wait_at = -1;
    en->sched.gate_seq = -1;
}

static void run_add(struct seqs *q, struct seq *s)
{
    int32_t i = q->n_run++;
    for (; i > 0 && sched_before(s, &q->seq[q->run[i - 1]]); i--)
        q->run[i] = q->run[i - 1];
    q->run[i] = seq_index(q, s);
}

static void run_remove(struct seqs *q, const struct seq *s)
{
    int32_t i = 0, me = seq_index(q, s);
    while (q->run[i] != me)
        i++;
    q->n_run--;
    memmove(q->run + i, q->run + i + 1, (size_t)(q->n_run - i) * sizeof *q->run);
}

/* A message that engine_submit checked becomes a WAITING seq. */
void seq_admit(struct engine *en, const struct msg_submit *m)
{
    struct seqs *q = &en->seqs;
    if (en->failed || en->stopping) {
        outbox_refuse(en, m->id, en->failed ? ST_ENGINE_DOWN : en->stop_status);
        return;
    }
    if (q->n_free == 0 || idmap_get(&q->ids, m->id) >= 0) {
        log_error("engine.submit", "id=%llu dropped: %s", (unsigned long long)m->id,
                  q->n_free ? "this id is live already" : "no slot");
        atomic_fetch_sub(&en->live, 1);
        return;
    }
    struct seq *s = &q->seq[q->free[--q->n_free]];
    const token_id *tok = (const token_id *)(m + 1);
    *s = (struct seq){.id = m->id, .gen = s->gen, .tok = s->tok, .pages = s->pages, .row = -1};
    s->n_prompt = s->n_tok = s->n_known = m->n_prompt;
    s->n_max = m->n_prompt + m->max_new;
    memcpy(s->tok, tok, (size_t)m->n_prompt * sizeof *tok);
    s->n_stop = m->n_stop_ids;
    memcpy(s->stop, tok + m->n_prompt, (size_t)m->n_stop_ids * sizeof *tok);
    s->params = m->params;
    s->embed = (uint8_t)m->embed;
    q->n_embeds += s->embed != EMBED_NONE;
    s->priority = m->priority;
    s->order = q->n_orders++;
    s->min_new = m->min_new;
    s->ignore_eos = m->ignore_eos != 0;
    s->arrival_us = m->arrival_us;
    s->ns = m->cache_ns;
    s->n_hit = -1;
    s->scores = m->scores;
    s->whole_pages = m->whole_pages != 0;
    s->account = m->account;
    if (s->account > 0)
        kv_bound(en->kv, s->account, (int32_t)(m->cache_share * en->lim.n_pages));
    area_admit(en, s, m);
    s->tenant = fair_join(q, &en->sched, m);
    idmap_put(&q->ids, s->id, seq_index(q, s));
    wait_add(q, s);
}

static int32_t pages_for(const struct engine *en, int32_t n_tokens)
{
    return (n_tokens + en->lim.page_tokens - 1) / en->lim.page_tokens;
}

/* Does it ask the prefix cache? A mean needs every token's hidden state, and no page has those. */
static bool may_hit(const struct engine *en, const struct seq *s)
{
    return en->lim.prefix_cache && (s->embed != EMBED_MEAN || PLANT(PLANT_MEAN_HIT));
}

static void first_admission(struct engine *en, struct seq *s)
{
    if (s->n_hit >= 0)
        return;
    s->n_hit = s->n_planned;
    s->queue_us = engine_now(en) - s->arrival_us;
    if (s->queue_us < 0)
        s->queue_us = 0;
    en->stats.prompt_tokens += s->n_prompt;
    if (may_hit(en, s) && s->scores == 0) {
        en->stats.prefix_queries += s->n_prompt;
        en->stats.prefix_hits += s->n_hit;
    }
}

/* How many tokens of s, which starts, may come from the cache: the last is always computed, and so
 * is what is still to be scored. */
static int32_t hit_most(const struct seq *s)
{
    if (seq_to_score(s) && !PLANT(PLANT_SCORE_CACHED))
        return s->n_scored;
    return s->n_tok - !PLANT(PLANT_HIT_LONG);
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
    s->n_planned += hit->n_part;
}

/* WAITING -> RUNNING when the pages for all its tokens could be had with `reserve` left over. They
 * are not taken yet (chunks take them), but starting without them would only lead to preemption. */
bool seq_start(struct engine *en, struct seq *s, int32_t reserve)
{
    struct seqs *q = &en->seqs;
    struct sched *sc = &en->sched;
    struct kv_hit hit = {0};
    if (!fair_may_start(q, sc, s->tenant, fair_most_rows(q)) ||
        (sc->gate_seq == seq_index(q, s) && sched_gated(sc, kv_avail(en->kv))))
        return false;
    int32_t avail = kv_avail(en->kv);
    if (may_hit(en, s))
        kv_match(en->kv, s->ns, s->tok, hit_most(s), s->pages, &hit);
    if (s->whole_pages &&
        hit.part != KV_ROOT) { /* it would tell a neighbour's text token by token */
        kv_unpin(en->kv, hit.part);
        hit.part = KV_ROOT;
    }
    int32_t want = pages_for(en, s->n_tok) - hit.n_pages + reserve;
    if (hit.part != KV_ROOT && kv_avail(en->kv) < want) { /* its source may be the page we lack */
        kv_unpin(en->kv, hit.part);
        hit.part = KV_ROOT;
    }
    if (kv_avail(en->kv) < want) {
        for (int32_t i = 0; i < hit.n_pages; i++)
            kv_unref(en->kv, s->pages[i]);
        kv_unpin(en->kv, hit.node);
        sc->gate_seq = seq_index(q, s);
        sc->gate_avail = avail;
        return false;
    }
    wait_remove(en, s);
    s->state = SEQ_RUNNING;
    s->lane = LANE_PREFILL;
    s->row = q->free_row[--q->n_free_rows];
    s->counted = PLANT(PLANT_COUNTS_MISSED) && s->n_preempted > 0;
    s->node = hit.node;
    s->n_pages = s->n_pub = hit.n_pages;
    s->n_planned = hit.n_pages * en->lim.page_tokens;
    start_copy(en, s, &hit);
    s->n_done = s->n_planned;
    run_add(q, s);
    q->tenant[s->tenant].n_admitted++;
    fair_row_taken(q, sc, s->tenant);
    first_admission(en, s);
    return true;
}

bool seq_grow(struct engine *en, struct seq *s, int32_t n_tokens)
{
    int32_t want = pages_for(en, n_tokens);
    while (s->n_pages < want) {
        page_id p = kv_take(en->kv);
        if (p < 0)
            return false;
        s->pages[s->n_pages++] = p;
    }
    return true;
}

/* The next page of s goes into the tree. When an equal page is there already, use that one and let
 * ours go: requests that arrived together share their pages from here on. false: a forgotten page
 * is in use in its place, so it can go there later or never. */
static bool publish_page(struct engine *en, struct lane *ln, struct seq *s)
{
    int32_t i = s->n_pub;
    page_id mine = s->pages[i];
    node_id node = kv_publish(en->kv, s->node, s->ns, s->tok + (int64_t)i * en->lim.page_tokens,
                              mine);
    if (node == KV_ROOT)
        return false;
    s->node = node;
    s->n_pub++;
    page_id theirs = kv_node_page(en->kv, node);
    if (theirs == mine)
        kv_charge(en->kv, node, s->account);
    if (theirs == mine || s->state != SEQ_RUNNING || s->preempting || ln->n_limbo > MAX_COPIES)
        return true;
    kv_ref(en->kv, theirs);
    s->pages[i] = theirs;
    if (s->n_sent > i)
        s->n_sent = i;
    if (s->n_inflight > 0)
        limbo_put(ln, ln->step_no, mine, KV_ROOT);
    else
        kv_unref(en->kv, mine);
    return true;
}

void seq_publish(struct engine *en, struct lane *ln, struct seq *s)
{
    if (!en->lim.prefix_cache || s->broken)
        return;
    for (bool went = true; went && seq_filled(en, s);)
        went = publish_page(en, ln, s);
}

/* Its logits were no numbers. The fault may lie in any page of its path, those that it found in the
 * cache included, so all of them are forgotten: the next request computes them anew. */
void seq_break(struct engine *en, struct seq *s)
{
    s->broken = true;
    kv_forget(en->kv, s->node);
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

/* Carry out what was marked. */
static void settle(struct engine *en, struct seq *s)
{
    struct seqs *q = &en->seqs;
    give_pages(en, s);
    if (s->row >= 0) {
        q->free_row[q->n_free_rows++] = s->row;
        fair_row_given(q, &en->sched, s->tenant);
    }
    s->row = -1;
    q->n_draining--;
    if (s->preempting) {
        q->n_marked--;
        s->preempting = false;
        s->n_tok = s->n_known;
        s->n_planned = s->n_done = 0;
        if (PLANT(PLANT_SCORE_AGAIN))
            s->n_scored = 0;
        wait_add(q, s);
        return;
    }
    fair_leave(q, &en->sched, s->tenant);
    q->n_embeds -= s->embed != EMBED_NONE;
    s->state = SEQ_FREE;
    s->gen++;
    q->free[q->n_free++] = seq_index(q, s);
}

/* A marked seq that no step names any more gives everything back. */
void seq_settle_if_idle(struct engine *en, struct seq *s)
{
    if (s->n_inflight == 0 && (s->state == SEQ_DRAINING || s->preempting))
        settle(en, s);
}

void seq_preempt(struct engine *en, struct seq *s)
{
    run_remove(&en->seqs, s);
    s->preempting = true;
    en->seqs.n_draining++;
    en->seqs.n_marked++;
    en->stats.preemptions++;
    if (++s->n_preempted >= BOOST_AFTER)
        s->boost = true;
    if (PLANT(PLANT_OTHER_LANE) && s->n_inflight > 0 && s->lane == LANE_PREFILL)
        give_pages(en, s);
}

void seq_end(struct engine *en, struct seq *s)
{
    struct seqs *q = &en->seqs;
    CHECK(s->state == SEQ_WAITING || s->state == SEQ_RUNNING);
    if (s->preempting) {
        q->n_marked--;
        s->preempting = false;
    } else {
        if (s->state == SEQ_WAITING)
            wait_remove(en, s);
        else
            run_remove(q, s);
        q->n_draining++;
    }
    s->state = SEQ_DRAINING;
    idmap_del(&q->ids, s->id);
    if (s->n_inflight > 0 && PLANT(PLANT_EARLY_FREE))
        give_pages(en, s);
}
