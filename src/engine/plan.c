/* SPDX-License-Identifier: Apache-2.0 */
/* plan.c - build one step: which rows, which tokens, which table entries and copies.
 *
 * Two kinds of pass. Prefill: chunks of running seqs first, then new ones from the queue, within a
 * token budget; only the first of the order preempts for its chunk. Decode: every seq that waits
 * for one token; rows that lack a page preempt from the end of the order. One lane alternates
 * between the two; of two lanes each plans its own, and a seq goes from one to the other when no
 * step names it. Engine thread; no allocation.
 */
#include "steps.h"

#include "area.h"
#include "fair.h"
#include "kv.h"
#include "kv_prefix.h"
#include "plant.h"
#include "sched.h"
#include "seq.h"
#include "split.h"

#include <string.h>

/* Has the step room for the table entries and the copy that a row of s brings? */
static bool fits_step(const struct lane *ln, const struct step *step, const struct seq *s)
{
    return step->n_edits + s->n_pages - s->n_sent <= MAX_EDITS &&
           (s->copy_node == KV_ROOT || (step->n_copy < MAX_COPIES && ln->n_limbo < MAX_LIMBO));
}

/* Has the area room for what the next draw of s brings? Any request fits into an empty one. */
static bool fits_area(const struct engine *en, const struct step *step, const struct seq *s)
{
    return !s->has_area || step->n_area + area_words(en, s) <= MAX_AREA;
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

/* May a step of this lane name s? Not while one of the other lane does. */
static bool is_free_for(const struct lane *ln, const struct seq *s)
{
    return s->lane == ln->index || s->n_inflight == 0 || PLANT(PLANT_HANDED_EARLY);
}

/* Has the outbox room for one vector more when this step is done? */
static bool fits_vector(const struct engine *en, const struct seq *s)
{
    return s->embed == EMBED_NONE || en->seqs.n_vectors < en->staging.cap_vec;
}

/* What a chunk of n tokens of s asks for; a vector is counted. */
static int32_t want_of(struct engine *en, const struct seq *s, int32_t n)
{
    bool last = n == seq_need(s);
    if (s->embed == EMBED_NONE)
        return last ? STEP_WANT_SAMPLE : STEP_WANT_NONE;
    en->seqs.n_vectors += last;
    if (s->embed == EMBED_LAST)
        return last ? STEP_WANT_HIDDEN : STEP_WANT_NONE;
    return last ? STEP_WANT_MEAN : PLANT(PLANT_SUM_MISSED) ? STEP_WANT_NONE : STEP_WANT_SUM;
}

/* Put the next n tokens of s into the step as a row. Inlined on purpose: a decode row, n known to
 * be 1, is a tenth of a turn's cost otherwise. */
static inline __attribute__((always_inline)) void
pack_row(struct engine *en, struct lane *ln, int slot, struct seq *s, int32_t n, int32_t want)
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
    r->want = want;
    step->sample[i] = s->params;
    if (want == STEP_WANT_SAMPLE)
        area_pack(en, step, r, s);
    if (s->n_sent < s->n_pages || s->copy_node != KV_ROOT)
        pack_tables(en, ln, step, s);
    if (first < s->n_prompt)
        en->stats.prompt_tokens_computed += (first + n < s->n_prompt ? first + n : s->n_prompt) -
                                            first;
    if (step->kind == STEP_DECODE)
        fair_count_decode(&en->seqs, s->tenant);
    else
        fair_charge(&en->seqs, &en->sched, s->tenant, n);
    f->who[i].seq = seq_index(&en->seqs, s);
    f->who[i].gen = s->gen;
    s->in_plan = en->seqs.plan_no;
    s->lane = (uint8_t)ln->index;
    s->n_inflight++;
    s->n_planned += n;
    s->n_tok += want == STEP_WANT_SAMPLE; /* a placeholder for what this step will draw */
}

/* Push somebody out in favour of s, which lacks n_pages pages or a row. false: nobody may be now; a
 * victim in flight gives its pages back when its step is done, and until then nobody else is pushed
 * out. */
static bool push_out(struct engine *en, const struct seq *s, int32_t n_pages)
{
    struct seq *v = en->seqs.n_marked > 0 ? NULL : sched_victim(&en->sched, &en->seqs, s, n_pages);
    if (!v)
        return false;
    if (v->tenant != s->tenant) {
        en->sched.last_pushed = v->id;
        en->stats.fair_preemptions++;
    }
    seq_preempt(en, v);
    seq_settle_if_idle(en, v);
    return true;
}

/* Pages for n_tokens of s, pushing others out. */
static bool make_room(struct engine *en, struct seq *s, int32_t n_tokens)
{
    while (!seq_grow(en, s, n_tokens))
        if (!push_out(en, s, 1))
            return false;
    return true;
}

/* The place in run[] of the row that the area of the last decode step was too full for; 0: none. */
static int32_t decode_from(struct engine *en)
{
    int32_t first = en->sched.area_full;
    en->sched.area_full = -1;
    for (int32_t i = 0; i < en->seqs.n_run && first >= 0; i++)
        if (en->seqs.run[i] == first)
            return i;
    return 0;
}

/* A row for each seq that waits for one token. When the area cannot take them all, the next step
 * begins with the first that was left out, so that all advance alike. */
static void plan_decode(struct engine *en, struct lane *ln, int slot)
{
    struct step *step = ln->step[slot];
    int32_t from = decode_from(en), n = en->seqs.n_run;
    step->kind = STEP_DECODE;
    for (int32_t k = 0; k < n; k++) {
        int32_t i = from + k < n ? from + k : from + k - n;
        if (i >= en->seqs.n_run) /* preemption shortens the list */
            continue;
        struct seq *s = &en->seqs.seq[en->seqs.run[i]];
        if (seq_need(s) != 1 || s->n_tok >= s->n_max || s->in_plan == en->seqs.plan_no ||
            !is_free_for(ln, s))
            continue;
        if (!fits_area(en, step, s)) {
            if (en->sched.area_full < 0)
                en->sched.area_full = seq_index(&en->seqs, s);
            continue;
        }
        if (s->n_planned >= s->n_pages * en->lim.page_tokens && !make_room(en, s, s->n_planned + 1))
            continue;
        if (fits_step(ln, step, s))
            pack_row(en, ln, slot, s, 1, STEP_WANT_SAMPLE);
    }
    fair_charge_decode(&en->seqs, &en->sched);
}

/* How long a chunk of s may be beside the scores that the step asks for already. */
static int32_t score_room(const struct engine *en, const struct seq *s)
{
    return seq_to_score(s) ? MAX_SCORES - en->seqs.n_asked : INT32_MAX;
}

/* The chunk of s that was packed last tells the log probabilities of the prompt's tokens behind its
 * own, unless all were reported before a preemption. */
static void ask_scores(struct engine *en, struct step *step, const struct seq *s)
{
    struct step_row *r = &step->rows[step->n_rows - 1];
    int32_t left = s->n_prompt - 1 - r->first, n = r->n < left ? r->n : left;
    if (n <= 0 || r->first + n <= s->n_scored)
        return;
    r->n_score = n;
    r->n_score_top = s->scores - 1;
    if (n == r->n)
        r->next = s->tok[r->first + n - PLANT(PLANT_SCORE_NEXT)];
    en->seqs.n_asked += n;
}

/* Plan a chunk of s of at most `budget` tokens; tokens planned. The head of the order preempts for
 * it, others take what pages there are. */
static int32_t plan_chunk(struct engine *en, struct lane *ln, int slot, struct seq *s,
                          int32_t budget, bool head)
{
    int32_t room = score_room(en, s), most = room < budget ? room : budget;
    int32_t n = seq_need(s) - seq_scores_only(s); /* the last one is not needed then */
    n = n < most ? n : most;
    if (!(head ? make_room(en, s, s->n_planned + n) : seq_grow(en, s, s->n_planned + n))) {
        room = s->n_pages * en->lim.page_tokens - s->n_planned;
        n = n < room ? n : room;
    }
    if (n == seq_need(s) && (!fits_area(en, ln->step[slot], s) || !fits_vector(en, s)))
        n--; /* the last one draws or gives its vector: in a step of its own */
    if (n <= 0 || !fits_step(ln, ln->step[slot], s))
        return 0;
    pack_row(en, ln, slot, s, n, want_of(en, s, n));
    if (s->scores > 0)
        ask_scores(en, ln->step[slot], s);
    return n;
}

/* Start s, pushing out whom it may. */
static bool start_waiting(struct engine *en, struct seq *s)
{
    int32_t n_pages = (s->n_tok + en->lim.page_tokens - 1) / en->lim.page_tokens;
    while (!seq_start(en, s, sched_reserve(&en->seqs, en->lim.n_pages)))
        if (!push_out(en, s, n_pages))
            return false;
    return true;
}

/* Chunks of the running seqs with prompts to compute, short ones (at most max_tokens left) or the
 * others, until the step has `most` tokens. false: one lacks pages, and newcomers must not take
 * what it waits for. Of the long ones those come first whose tenants were served least. */
static bool plan_running(struct engine *en, struct lane *ln, int slot, int32_t most,
                         int32_t max_tokens, bool is_short)
{
    const struct step *step = ln->step[slot];
    const struct seqs *q = &en->seqs;
    bool lacks = false;
    for (int32_t at = 0; step->n_tokens < most;) {
        int32_t pick = -1;
        for (int32_t i = at; i < q->n_run && (pick < 0 || !is_short); i++) {
            const struct seq *s = &q->seq[q->run[i]];
            int32_t need = seq_need(s);
            if (!seq_wants_chunk(s) || (need <= max_tokens) != is_short || s->tried == q->plan_no ||
                s->in_plan == q->plan_no || /* it may just have started */
                score_room(en, s) == 0 || !is_free_for(ln, s))
                continue;
            if (pick < 0 ||
                q->tenant[s->tenant].served < q->tenant[q->seq[q->run[pick]].tenant].served)
                pick = i;
        }
        if (pick < 0)
            break;
        at = is_short ? pick + 1 : 0;
        struct seq *s = &q->seq[q->run[pick]];
        s->tried = q->plan_no;
        lacks |= plan_chunk(en, ln, slot, s, most - step->n_tokens, pick == 0) == 0;
    }
    return !lacks;
}

/* Waiting seqs of at most max_tokens start, each with a chunk, until the step has `most` tokens.
 * false: the next in line lacks pages. */
static bool plan_waiting(struct engine *en, struct lane *ln, int slot, int32_t most,
                         int32_t max_tokens)
{
    const struct step *step = ln->step[slot];
    while (step->n_tokens < most) {
        int32_t pick = sched_pick(&en->sched, &en->seqs, max_tokens);
        if (pick < 0)
            return true;
        struct seq *s = &en->seqs.seq[pick];
        if (score_room(en, s) == 0) /* it is the next step's */
            return true;
        if (!start_waiting(en, s) || plan_chunk(en, ln, slot, s, most - step->n_tokens, false) == 0)
            return false;
    }
    return true;
}

/* Has the pages for its next n tokens, or can have them now. */
static bool has_pages(const struct engine *en, const struct seq *s, int32_t n)
{
    int32_t pt = en->lim.page_tokens;
    return (s->n_planned + n + pt - 1) / pt - s->n_pages <= kv_avail(en->kv);
}

/* Short prompts, then long ones, then newcomers of any length. A long prompt in progress keeps a
 * part of the budget, and when it has not the pages for that, or the next in line waits for pages,
 * no newcomer passes. */
static void plan_prefill(struct engine *en, struct lane *ln, int slot, int32_t budget)
{
    const struct seqs *q = &en->seqs;
    int32_t is_short, kept;
    bool pass = true, is_long = false;
    ln->step[slot]->kind = STEP_PREFILL;
    sched_split(budget, &is_short, &kept);
    for (int32_t i = 0; i < q->n_run && !is_long; i++) {
        const struct seq *s = &q->seq[q->run[i]];
        if (seq_need(s) <= is_short)
            continue;
        is_long = true;
        kept = kept < seq_need(s) ? kept : seq_need(s);
        pass = !sched_gated(&en->sched, kv_avail(en->kv)) && has_pages(en, s, kept);
    }
    if (!is_long)
        kept = 0;
    pass &= plan_running(en, ln, slot, budget - kept, is_short, true);
    if (pass && is_long)
        pass = plan_waiting(en, ln, slot, budget - kept, is_short);
    pass &= plan_running(en, ln, slot, budget, is_short, false);
    if (pass)
        plan_waiting(en, ln, slot, budget, INT32_MAX);
}

/* What there is to plan. */
struct demand {
    int32_t n_decoders; /* running seqs that wait for one token, or will after their step */
    int32_t n_chunked;  /* running seqs with more of a prompt to compute */
};

static struct demand look(const struct engine *en)
{
    struct demand d = {0};
    for (int32_t i = 0; i < en->seqs.n_run; i++) {
        const struct seq *s = &en->seqs.seq[en->seqs.run[i]];
        d.n_chunked += seq_need(s) > 1 || (en->seqs.n_embeds > 0 && seq_wants_chunk(s));
        d.n_decoders += seq_need(s) == 1 && s->n_tok < s->n_max;
    }
    return d;
}

/* How long should the prompts there are wait for more, us? The first that has waited long enough
 * ends the count. */
static int64_t hold_us(const struct engine *en)
{
    const struct seqs *q = &en->seqs;
    int64_t n_tokens = 0, least = INT64_MAX;
    for (int32_t i = 0; i < q->n_run + q->n_wait; i++) {
        const struct seq *s = &q->seq[i < q->n_run ? q->run[i] : q->wait[i - q->n_run]];
        if (i < q->n_run && !seq_wants_chunk(s))
            continue;
        n_tokens += seq_need(s);
        int64_t us = sched_hold_us(&en->sched, n_tokens, en->now_us - s->arrival_us);
        if (us == 0)
            return 0;
        least = us < least ? us : least;
    }
    return n_tokens > 0 ? least : 0;
}

/* One lane takes turns, by the bound on the decode gap. */
static void plan_alone(struct engine *en, struct lane *ln, int slot)
{
    const struct step *step = ln->step[slot];
    const struct demand d = look(en);
    bool want = d.n_chunked > 0 || en->seqs.n_wait > 0;
    int32_t budget = want ? sched_prefill_budget(&en->sched, d.n_decoders) : 0;
    if (budget > 0 && d.n_decoders > 0 && hold_us(en) > 0)
        budget = 0;
    if (budget > 0)
        plan_prefill(en, ln, slot, budget);
    if (step->n_rows == 0 && d.n_decoders > 0)
        plan_decode(en, ln, slot);
    if (step->n_rows == 0 && want && budget == 0)
        plan_prefill(en, ln, slot, sched_prefill_budget(&en->sched, 0));
}

/* Of two lanes the one for prompts. What it plans runs beside the decode steps, if there are any or
 * will be when its own step before has ended. */
static void plan_prompts(struct engine *en, struct lane *ln, int slot)
{
    const struct lane *other = &en->lane[LANE_DECODE];
    const struct demand d = look(en);
    bool beside = other->n_flight > 0 || d.n_decoders > 0;
    en->wake_us = INT64_MAX;
    if (d.n_chunked == 0 && en->seqs.n_wait == 0)
        return;
    if (d.n_decoders > 0 && ln->n_flight + other->n_flight > 0) {
        int64_t us = hold_us(en);
        if (us > 0) {
            en->wake_us = en->now_us + us;
            return;
        }
    }
    ln->step[slot]->share = beside ? split_pick(&en->sched) : 0;
    bool alone = !beside && en->seqs.n_run + en->seqs.n_wait == 1;
    plan_prefill(en, ln, slot,
                 alone ? sched_prefill_budget(&en->sched, 0)
                       : sched_lane_budget(&en->sched, ln->step[slot]->share));
}

/* And the one that decodes. The last prompts there are need no part of the device when their step
 * will have ended before this one begins. */
static void plan_tokens(struct engine *en, struct lane *ln, int slot)
{
    const struct lane *other = &en->lane[LANE_PREFILL];
    const struct demand d = look(en);
    if (d.n_decoders == 0)
        return;
    bool beside = other->n_flight > 0;
    if (beside && d.n_chunked == 0 && en->seqs.n_wait == 0)
        beside = lane_end_us(other, other->n_flight, en->now_us) >
                 lane_end_us(ln, ln->n_flight, en->now_us);
    ln->step[slot]->share = beside ? split_pick(&en->sched) : 0;
    plan_decode(en, ln, slot);
}

int32_t plan_step(struct engine *en, struct lane *ln, int slot)
{
    struct step *step = ln->step[slot];
    en->seqs.plan_no++;
    en->seqs.n_asked = 0;
    en->seqs.n_vectors = 0;
    fair_expire(&en->seqs, &en->sched);
    step->version = STEP_VERSION;
    step->seq_no = ln->step_no + 1;
    step->share = 0;
    step->n_rows = step->n_tokens = step->n_edits = step->n_out = step->n_in = step->n_copy =
        step->n_area = 0;
    if (en->n_lanes == 1)
        plan_alone(en, ln, slot);
    else if (ln->index == LANE_PREFILL)
        plan_prompts(en, ln, slot);
    else
        plan_tokens(en, ln, slot);
    return step->n_rows;
}
