/* plan.c - build one step: which rows, which tokens, which table entries and copies.
 *
 * Two kinds of pass. Prefill: chunks of running seqs first, then new ones from the queue, within a
 * token budget; only the first of the order preempts for its chunk. Decode: every seq that waits
 * for one token; rows that lack a page preempt from the end of the order. Engine thread; no
 * allocation.
 */
#include "state.h"

#include <string.h>

/* Tokens of a chunk, at most `budget`, that the step's arrays and the seq's pages allow. */
static int fits_step(const struct step *st, const struct seq *s, const struct engine *en)
{
    return st->n_edits + s->n_pages - s->n_sent <= MAX_EDITS &&
           (s->copy_node == KV_ROOT || (st->n_copy < MAX_COPIES && en->n_limbo < MAX_LIMBO));
}

static void pack_tables(struct engine *en, struct step *st, struct seq *s)
{
    for (int32_t i = s->n_sent; i < s->n_pages; i++)
        st->edits[st->n_edits++] = (struct page_edit){
            .row = s->row, .index = i, .page = s->pages[i]};
    s->n_sent = s->n_pages > s->n_sent ? s->n_pages : s->n_sent;
    if (s->copy_node == KV_ROOT)
        return;
    st->copy[st->n_copy++] = (struct page_copy){.src = kv_node_page(en->kv, s->copy_node),
                                                .dst = s->pages[s->copy_index]};
    if (PLANT(PLANT_COPY_UNPINNED)) {
        kv_unpin(en->kv, s->copy_node);
    } else {
        en->step_no++; /* the source is needed until the step being built is done */
        limbo_put(en, -1, s->copy_node);
        en->step_no--;
    }
    s->copy_node = KV_ROOT;
}

static void pack_row(struct engine *en, int slot, struct seq *s, int32_t n)
{
    struct step *st = en->step[slot];
    int32_t i = st->n_rows++;
    int32_t first = s->n_cached;
    struct step_row *r = &st->rows[i];
    *r = (struct step_row){.row = s->row, .first = first, .n = n, .token0 = st->n_tokens};
    if (PLANT(PLANT_CHUNK_SHIFT) && first > 0 && n > 1)
        r->first++;
    if (first < s->n_known)
        memcpy(st->tokens + st->n_tokens, s->tok + first, (size_t)n * sizeof *s->tok);
    else
        st->tokens[st->n_tokens] = PLANT(PLANT_STALE_TOKEN) ? s->tok[s->n_known - 1]
                                                            : TOKEN_FROM_ROW;
    st->n_tokens += n;
    r->sample = first + n == s->n_tok;
    st->sample[i] = s->params;
    pack_tables(en, st, s);
    if (first < s->n_prompt)
        en->stats.prompt_tokens_computed += (first + n < s->n_prompt ? first + n : s->n_prompt) -
                                            first;
    en->tenant[s->tenant].served += n;
    en->flight[slot]->who[i].seq = (int32_t)(s - en->seq);
    en->flight[slot]->who[i].gen = s->gen;
    s->in_step = en->step_no + 1;
    s->n_inflight++;
    s->n_cached += n;
    s->n_tok += r->sample; /* a placeholder for what this step will draw */
}

/* Pages for n_tokens of s, pushing others out. 0: not now; a victim in flight gives its pages back
 * when its step is done, and until then nobody else is pushed out. */
static int make_room(struct engine *en, struct seq *s, int32_t n_tokens)
{
    while (!seq_grow(en, s, n_tokens)) {
        struct seq *v = en->n_marked > 0 ? NULL : sched_victim(en, s);
        if (!v)
            return 0;
        seq_preempt(en, v);
    }
    return 1;
}

static void plan_decode(struct engine *en, int slot)
{
    struct step *st = en->step[slot];
    st->kind = STEP_DECODE;
    for (int32_t i = 0; i < en->n_run; i++) {
        struct seq *s = &en->seq[en->run[i]];
        if (seq_need(s) != 1 || s->n_tok >= s->n_max)
            continue;
        if (s->n_cached >= s->n_pages * en->c.page_tokens && !make_room(en, s, s->n_cached + 1))
            continue;
        if (fits_step(st, s, en))
            pack_row(en, slot, s, 1);
    }
}

/* Plan a chunk of s; tokens planned. */
static int32_t plan_chunk(struct engine *en, int slot, struct seq *s, int32_t budget, int head)
{
    int32_t n = seq_need(s) < budget ? seq_need(s) : budget;
    if (!(head ? make_room(en, s, s->n_cached + n) : seq_grow(en, s, s->n_cached + n))) {
        int32_t room = s->n_pages * en->c.page_tokens - s->n_cached;
        n = n < room ? n : room;
    }
    if (n <= 0 || !fits_step(en->step[slot], s, en))
        return 0;
    pack_row(en, slot, s, n);
    return n;
}

/* Start s, pushing out whom it may. */
static int start_waiting(struct engine *en, struct seq *s)
{
    while (!seq_start(en, s, sched_reserve(en))) {
        struct seq *v = en->n_marked > 0 ? NULL : sched_victim(en, s);
        if (!v)
            return 0;
        seq_preempt(en, v);
    }
    return 1;
}

static void plan_prefill(struct engine *en, int slot, int32_t budget)
{
    en->step[slot]->kind = STEP_PREFILL;
    for (int32_t i = 0; i < en->n_run && budget > 0; i++) {
        struct seq *s = &en->seq[en->run[i]];
        if (seq_need(s) <= 1)
            continue;
        int32_t n = plan_chunk(en, slot, s, budget, i == 0);
        if (n == 0)
            return; /* short of pages: newcomers must not take what it waits for */
        budget -= n;
    }
    while (budget > 0 && en->n_wait > 0) {
        struct seq *s = &en->seq[sched_pick(en)];
        if (!start_waiting(en, s))
            return;
        int32_t n = plan_chunk(en, slot, s, budget, 0);
        if (n == 0)
            return;
        budget -= n;
    }
}

int32_t plan_step(struct engine *en, int slot)
{
    struct step *st = en->step[slot];
    st->version = STEP_VERSION;
    st->seq_no = en->step_no + 1;
    st->n_rows = st->n_tokens = st->n_edits = st->n_out = st->n_in = st->n_copy = 0;
    int32_t n_decoders = 0, n_chunked = 0;
    for (int32_t i = 0; i < en->n_run; i++) {
        const struct seq *s = &en->seq[en->run[i]];
        n_chunked += seq_need(s) > 1;
        n_decoders += seq_need(s) == 1 && s->n_tok < s->n_max;
    }
    int want = n_chunked > 0 || en->n_wait > 0;
    int32_t budget = want ? sched_prefill_budget(en, n_decoders) : 0;
    if (budget > 0)
        plan_prefill(en, slot, budget);
    if (st->n_rows == 0 && n_decoders > 0)
        plan_decode(en, slot);
    if (st->n_rows == 0 && want && budget == 0)
        plan_prefill(en, slot, en->c.max_step_tokens);
    return st->n_rows;
}
