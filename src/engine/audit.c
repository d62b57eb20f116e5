/* SPDX-License-Identifier: Apache-2.0 */
/* audit.c - counts what the engine believes to hold, and lets kv_audit compare; checks its own
 * lists and rows. Engine thread; scratch is allocated at start. */
#include "inspect.h"

#include "kv_audit.h"
#include "kv_prefix.h"

#include <string.h>

static void count_seq(const struct engine *en, const struct seq *s)
{
    for (int32_t i = 0; i < s->n_pages; i++)
        en->held[s->pages[i]]++;
    if (s->node != KV_ROOT)
        en->pins[s->node]++;
    if (s->copy_node != KV_ROOT)
        en->pins[s->copy_node]++;
}

static int audit_seq(const struct seq *s, struct err *e)
{
    if (s->embed != EMBED_NONE && (s->n_max != s->n_prompt || s->n_tok != s->n_prompt))
        return err_set(e, ST_INTERNAL, "seq %llu gives a vector, prompt %d tok %d max %d",
                       (unsigned long long)s->id, s->n_prompt, s->n_tok, s->n_max);
    if (s->embed == EMBED_MEAN && s->n_hit > 0)
        return err_set(e, ST_INTERNAL, "seq %llu gives a mean and skips %d tokens",
                       (unsigned long long)s->id, s->n_hit);
    if (s->n_known > s->n_tok || s->n_planned > s->n_tok || s->n_done > s->n_planned ||
        s->n_sent > s->n_pages || s->n_pub > s->n_pages || s->n_tok > s->n_max)
        return err_set(e, ST_INTERNAL,
                       "seq %llu: tok %d known %d cached %d done %d pages %d sent %d pub %d",
                       (unsigned long long)s->id, s->n_tok, s->n_known, s->n_planned, s->n_done,
                       s->n_pages, s->n_sent, s->n_pub);
    bool all_scored = s->scores == 0 || s->n_scored == s->n_prompt - 1;
    if (s->n_scored < 0 || s->n_scored >= s->n_prompt || (s->n_known > s->n_prompt && !all_scored))
        return err_set(e, ST_INTERNAL, "seq %llu: prompt %d scored %d known %d",
                       (unsigned long long)s->id, s->n_prompt, s->n_scored, s->n_known);
    if (s->state == SEQ_WAITING && (s->n_pages || s->row >= 0 || s->n_inflight))
        return err_set(e, ST_INTERNAL, "seq %llu waits and holds something",
                       (unsigned long long)s->id);
    return 0;
}

static void count_limbo(const struct engine *en, const struct lane *ln)
{
    for (int32_t i = 0; i < ln->n_limbo; i++) {
        const struct limbo *l = &ln->limbo[(ln->limbo_head + i) % MAX_LIMBO];
        if (l->page >= 0)
            en->held[l->page]++;
        else
            en->pins[l->node]++;
    }
}

/* The seqs that the lane's steps in flight name are this lane's. */
static int audit_flights(const struct engine *en, const struct lane *ln, struct err *e)
{
    for (int32_t k = 0; k < ln->n_flight; k++) {
        int slot = (lane_oldest(ln) + k) % MAX_INFLIGHT;
        for (int32_t i = 0; i < ln->step[slot]->n_rows; i++) {
            const struct seq *s = &en->seqs.seq[ln->flight[slot]->who[i].seq];
            if (s->gen != ln->flight[slot]->who[i].gen || s->n_inflight < 1 || s->lane != ln->index)
                return err_set(e, ST_INTERNAL, "seq %llu of lane %d is in a step of lane %d",
                               (unsigned long long)s->id, s->lane, ln->index);
        }
    }
    return 0;
}

int engine_audit(struct engine *en, struct err *e)
{
    const struct seqs *q = &en->seqs;
    memset(en->held, 0, (size_t)en->lim.n_pages * sizeof *en->held);
    memset(en->pins, 0, (size_t)kv_node_slots(en->kv) * sizeof *en->pins);
    int32_t n_wait = 0, n_run = 0, n_off = 0, n_rows = 0, n_embeds = 0;
    for (int32_t i = 0; i < q->n_slots; i++) {
        const struct seq *s = &q->seq[i];
        if (s->state == SEQ_FREE)
            continue;
        count_seq(en, s);
        int st = audit_seq(s, e);
        if (st != 0)
            return st;
        n_wait += s->state == SEQ_WAITING;
        n_run += s->state == SEQ_RUNNING && !s->preempting;
        n_off += s->state == SEQ_DRAINING || s->preempting;
        n_rows += s->row >= 0;
        n_embeds += s->embed != EMBED_NONE;
    }
    for (int32_t i = 0; i < en->n_lanes; i++) {
        count_limbo(en, &en->lane[i]);
        int st = audit_flights(en, &en->lane[i], e);
        if (st != 0)
            return st;
    }
    if (n_wait != q->n_wait || n_run != q->n_run || n_off != q->n_draining ||
        n_rows + q->n_free_rows != en->lim.max_seqs ||
        n_wait + n_run + n_off + q->n_free != q->n_slots)
        return err_set(e, ST_INTERNAL,
                       "lists: waiting %d/%d running %d/%d draining %d/%d rows %d+%d", n_wait,
                       q->n_wait, n_run, q->n_run, n_off, q->n_draining, n_rows, q->n_free_rows);
    if (n_embeds != q->n_embeds)
        return err_set(e, ST_INTERNAL, "prompts for vectors: %d/%d", n_embeds, q->n_embeds);
    return kv_audit(en->kv, en->held, en->pins, e);
}
