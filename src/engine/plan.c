/* SPDX-License-Identifier: Apache-2.0 */
/* plan.c - build one step: which rows, which tokens, which table entries and copies.
 *
 * Two kinds of pass. Prefill: chunks of running seqs first, then new ones from the queue, within a
 * token budget; only the first of the order preempts for its chunk. Decode: every seq that waits
 * for one token; rows that lack a page preempt from the end of the order. Engine thread; no
 * allocation.
 */
#include "steps.h"

#include "kv_prefix.h"
#include "plant.h"
#include "sched.h"
#include "seq.h"

#include <string.h>

/* Has the step room for the table entries and the copy that a row of s brings? */
static bool fits_step(const struct lane *ln, const struct step *step, const struct seq *s)
{
    return step->n_edits + s->n_pages - s->n_sent <= MAX_EDITS &&
           (s->copy_node == KV_ROOT || (step->n_copy < MAX_COPIES && ln->n_limbo < MAX_LIMBO));
}

static void pack_tables(struct engine *en, struct lane *ln, struct step *step, struct seq *s)
{
    for (int32_t i = s->n_sent; i < s->n_pages; i++)
        step->edits[step->n_edits++] = (struct page_edit){
            .row = s->row, .index = i, .page = s->pages[i]};
    s->n_sent = s->n_pages > s->n_sent ? s->n_pages : s->n_sent;
    if (s->copy_node == KV_ROOT)
        return;
    step->copy[step->n_copy++] = (struct page_copy){.src = kv_node_page(en->kv, s->copy_node),
                                                    .dst = s->pages[s->copy_index]};
    if (PLANT(PLANT_COPY_UNPINNED))
        kv_unpin(en->kv, s->copy_node);
    else /* the source is needed until the step being built is done */
        limbo_put(ln, step->seq_no, -1, s->copy_node);
    s->copy_node = KV_ROOT;
}

/* Put the next n tokens of s into the step as a row. Inlined on purpose: a decode row, n known to
 * be 1, is a tenth of a turn's cost otherwise. */
static inline __attribute__((always_inline)) void pack_row(struct engine *en, struct lane *ln,
                                                           int slot, struct seq *s, int32_t n)
{
    struct step *step = ln->step[slot];
    struct flight *f = ln->flight[slot];
    int32_t i = step->n_rows++;
    int32_t first = s->n_planned;
    struct step_row *r = &step->rows[i];
    *r = (struct step_row){.row = s->row, .first = first, .n = n, .token0 = step->n_tokens};
    if (PLANT(PLANT_CHUNK_SHIFT) && first > 0 && n > 1)
        r->first++;
    if (first < s->n_known)
        memcpy(step->tokens + step->n_tokens, s->tok + first, (size_t)n * sizeof *s->tok);
    else
        step->tokens[step->n_tokens] = PLANT(PLANT_STALE_TOKEN) ? s->tok[s->n_known - 1]
                                                                : TOKEN_FROM_ROW;
    step->n_tokens += n;
    r->want = first + n == s->n_tok ? STEP_WANT_SAMPLE : STEP_WANT_NONE;
    step->sample[i] = s->params;
    pack_tables(en, ln, step, s);
    if (first < s->n_prompt)
        en->stats.prompt_tokens_computed += (first + n < s->n_prompt ? first + n : s->n_prompt) -
                                            first;
    en->seqs.tenant[s->tenant].served += n;
    f->who[i].seq = seq_index(&en->seqs, s);
    f->who[i].gen = s->gen;
    s->in_plan = en->seqs.plan_no;
    s->n_inflight++;
    s->n_planned += n;
    s->n_tok += r->want == STEP_WANT_SAMPLE; /* a placeholder for what this step will draw */
}

/* Push somebody out in favour of s. false: nobody may be now; a victim in flight gives its pages
 * back when its step is done, and until then nobody else is pushed out. */
static bool push_out(struct engine *en, const struct seq *s)
{
    struct seq *v = en->seqs.n_marked > 0 ? NULL : sched_victim(&en->seqs, s);
    if (!v)
        return false;
    seq_preempt(en, v);
    seq_settle_if_idle(en, v);
    return true;
}

/* Pages for n_tokens of s, pushing others out. */
static bool make_room(struct engine *en, struct seq *s, int32_t n_tokens)
{
    while (!seq_grow(en, s, n_tokens))
        if (!push_out(en, s))
            return false;
    return true;
}

static void plan_decode(struct engine *en, struct lane *ln, int slot)
{
    struct step *step = ln->step[slot];
    step->kind = STEP_DECODE;
    for (int32_t i = 0; i < en->seqs.n_run; i++) {
        struct seq *s = &en->seqs.seq[en->seqs.run[i]];
        if (seq_need(s) != 1 || s->n_tok >= s->n_max)
            continue;
        if (s->n_planned >= s->n_pages * en->lim.page_tokens && !make_room(en, s, s->n_planned + 1))
            continue;
        if (fits_step(ln, step, s))
            pack_row(en, ln, slot, s, 1);
    }
}

/* Plan a chunk of s of at most `budget` tokens; tokens planned. The head of the order preempts for
 * it, others take what pages there are. */
static int32_t plan_chunk(struct engine *en, struct lane *ln, int slot, struct seq *s,
                          int32_t budget, bool head)
{
    int32_t n = seq_need(s) < budget ? seq_need(s) : budget;
    if (!(head ? make_room(en, s, s->n_planned + n) : seq_grow(en, s, s->n_planned + n))) {
        int32_t room = s->n_pages * en->lim.page_tokens - s->n_planned;
        n = n < room ? n : room;
    }
    if (n <= 0 || !fits_step(ln, ln->step[slot], s))
        return 0;
    pack_row(en, ln, slot, s, n);
    return n;
}

/* Start s, pushing out whom it may. */
static bool start_waiting(struct engine *en, struct seq *s)
{
    while (!seq_start(en, s, sched_reserve(&en->seqs, en->lim.n_pages)))
        if (!push_out(en, s))
            return false;
    return true;
}

static void plan_prefill(struct engine *en, struct lane *ln, int slot, int32_t budget)
{
    ln->step[slot]->kind = STEP_PREFILL;
    for (int32_t i = 0; i < en->seqs.n_run && budget > 0; i++) {
        struct seq *s = &en->seqs.seq[en->seqs.run[i]];
        if (seq_need(s) <= 1)
            continue;
        int32_t n = plan_chunk(en, ln, slot, s, budget, i == 0);
        if (n == 0)
            return; /* short of pages: newcomers must not take what it waits for */
        budget -= n;
    }
    while (budget > 0 && en->seqs.n_wait > 0) {
        struct seq *s = &en->seqs.seq[sched_pick(&en->sched, &en->seqs)];
        if (!start_waiting(en, s))
            return;
        int32_t n = plan_chunk(en, ln, slot, s, budget, false);
        if (n == 0)
            return;
        budget -= n;
    }
}

int32_t plan_step(struct engine *en, struct lane *ln, int slot)
{
    struct step *step = ln->step[slot];
    en->seqs.plan_no++;
    step->version = STEP_VERSION;
    step->seq_no = ln->step_no + 1;
    step->n_rows = step->n_tokens = step->n_edits = step->n_out = step->n_in = step->n_copy =
        step->n_area = 0;
    int32_t n_decoders = 0, n_chunked = 0;
    for (int32_t i = 0; i < en->seqs.n_run; i++) {
        const struct seq *s = &en->seqs.seq[en->seqs.run[i]];
        n_chunked += seq_need(s) > 1;
        n_decoders += seq_need(s) == 1 && s->n_tok < s->n_max;
    }
    bool want = n_chunked > 0 || en->seqs.n_wait > 0;
    int32_t budget = want ? sched_prefill_budget(&en->sched, n_decoders) : 0;
    if (budget > 0)
        plan_prefill(en, ln, slot, budget);
    if (step->n_rows == 0 && n_decoders > 0)
        plan_decode(en, ln, slot);
    if (step->n_rows == 0 && want && budget == 0)
        plan_prefill(en, ln, slot, en->sched.max_step_tokens);
    return step->n_rows;
}
