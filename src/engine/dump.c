/* SPDX-License-Identifier: Apache-2.0 */
/* dump.c - one answer to "why is nothing happening": the state of the engine as log lines, on
 * request (MSG_DUMP, from SIGUSR2). Ids, counts and reasons only, never tokens. Engine thread. */
#include "inspect.h"

#include "kv.h"
#include "log.h"
#include "sched.h"

enum { MAX_LINES = 64 };

static const char *why_waiting(struct engine *en, const struct seq *s)
{
    int32_t pick = sched_pick(&en->sched, &en->seqs, INT32_MAX);
    if (pick < 0)
        return en->seqs.n_free_rows == 0 ? "all rows are in use"
                                         : "no row for its tenant: its bound, or kept for others";
    if (pick != seq_index(&en->seqs, s))
        return "others are ahead";
    if (en->sched.gate_seq == pick && kv_avail(en->kv) <= en->sched.gate_avail)
        return "its pages are not available";
    if (en->seqs.n_marked > 0)
        return "a preempted sequence is still in a step";
    return "next";
}

static const char *why_running(const struct engine *en, const struct seq *s)
{
    if (s->state == SEQ_DRAINING)
        return "ended; a step still names it";
    if (s->preempting)
        return "preempted; a step still names it";
    if (s->n_tok >= s->n_max)
        return "its last token is being computed";
    if (s->n_inflight > 0)
        return "in a step";
    if (seq_need(s) > 1)
        return "prompt not complete";
    return s->n_planned >= s->n_pages * en->lim.page_tokens ? "needs a page" : "ready";
}

static void explain_seq(struct engine *en, const struct seq *s)
{
    const char *state = s->state == SEQ_WAITING ? "waiting" : "running";
    log_info("engine.seq",
             "id=%llu tenant=%llu state=%s why=\"%s\" row=%d prompt=%d tokens=%d known=%d "
             "cached=%d done=%d "
             "pages=%d inflight=%d priority=%lld boost=%d preempted=%d waited_us=%lld",
             (unsigned long long)s->id, (unsigned long long)en->seqs.tenant[s->tenant].key, state,
             s->state == SEQ_WAITING ? why_waiting(en, s) : why_running(en, s), s->row, s->n_prompt,
             s->n_tok, s->n_known, s->n_planned, s->n_done, s->n_pages, s->n_inflight,
             (long long)s->priority, (int)s->boost, s->n_preempted,
             (long long)(s->n_hit < 0 ? engine_now(en) - s->arrival_us : s->queue_us));
}

static void explain_lane(const struct engine *en, const struct lane *ln)
{
    const char *name = ln->index == LANE_DECODE ? "decode" : en->n_lanes > 1 ? "prefill" : "all";
    log_info("engine.lane", "lane=%s step=%llu done=%llu in_flight=%d limbo=%d", name,
             (unsigned long long)ln->step_no, (unsigned long long)ln->done_no, ln->n_flight,
             ln->n_limbo);
}

/* What was measured on one split, if it was ever used. */
static void explain_share(const struct sched *sc, int32_t i)
{
    double tokens = sc->cost.prefill_tokens[i], decode_us = sc->cost.decode[i] * sc->load;
    if (i == 0 || tokens > 0 || decode_us > 0)
        log_info("engine.share", "share=%d prefill_us_per_token=%.2f decode_step_us=%.0f", i,
                 tokens > 0 ? sc->cost.prefill_us[i] / tokens : 0.0, decode_us);
}

void engine_explain(struct engine *en)
{
    const struct seqs *q = &en->seqs;
    const struct sched *sc = &en->sched;
    struct kv_stats k;
    kv_get_stats(en->kv, &k);
    log_info("engine.state",
             "healthy=%d turn=%llu waiting=%d running=%d draining=%d rows_free=%d pages=%d free=%d "
             "cached=%d in_tree=%d held_records=%d outbox_full=%d",
             !en->failed, (unsigned long long)en->n_turns, q->n_wait, q->n_run, q->n_draining,
             q->n_free_rows, k.n_pages, k.n_free, k.n_evictable, k.n_nodes, en->staging.n_rec,
             en->staging.blocked);
    for (int32_t i = 0; i < en->n_lanes; i++)
        explain_lane(en, &en->lane[i]);
    log_info("engine.cost",
             "since_decode_us=%.0f max_gap_us=%lld share=%d shares=%d preemptions=%lld "
             "evicted=%lld",
             sc->since_decode_us, (long long)en->stats.max_decode_gap_us, sc->share, sc->n_shares,
             (long long)en->stats.preemptions, (long long)k.evicted);
    for (int32_t i = 0; i <= sc->n_shares; i++)
        explain_share(sc, i);
    int lines = 0, live = 0;
    for (int32_t i = 0; i < q->n_slots; i++) {
        if (q->seq[i].state == SEQ_FREE)
            continue;
        live++;
        if (lines++ < MAX_LINES)
            explain_seq(en, &q->seq[i]);
    }
    if (live > MAX_LINES)
        log_info("engine.seq", "and %d more", live - MAX_LINES);
}
