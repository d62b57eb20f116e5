/* SPDX-License-Identifier: Apache-2.0 */
/* commit.c - a finished step becomes tokens: append, decide the end, publish pages, settle.
 *
 * A row that ended at the commit of step n may be in step n+1 already; what that one sampled is
 * dropped here, its pages and its row are released after it. Engine thread; no allocation.
 */
#include "steps.h"

#include "check.h"
#include "log.h"
#include "outbox.h"
#include "plant.h"
#include "sched.h"
#include "seq.h"

/* The end that token t, the latest of s, brings; *stop_id as in struct out_rec. */
static int finish_of(const struct engine *en, const struct seq *s, token_id t, int32_t *stop_id)
{
    int32_t n_new = s->n_known - s->n_prompt;
    *stop_id = -1;
    if (n_new > s->min_new) {
        for (int32_t i = 0; i < en->facts.n_eos && !s->ignore_eos; i++)
            if (en->facts.eos[i] == t)
                return FINISH_STOP;
        for (int32_t i = 0; i < s->n_stop; i++)
            if (s->stop[i] == t) {
                *stop_id = t;
                return FINISH_STOP;
            }
    }
    return s->n_known >= s->n_max ? FINISH_LENGTH : FINISH_NONE;
}

/* Row i of *r brought the next token of s, one. */
static void take_token(struct engine *en, struct seq *s, const struct step_result *r, int32_t i)
{
    int32_t k = r->row[i].first;
    token_id t = r->row[i].n == 1 ? r->token[k] : -1;
    if (t < 0 || t >= en->lim.vocab) {
        log_error("engine.token", "id=%llu token %d is outside the vocabulary of %d",
                  (unsigned long long)s->id, t, en->lim.vocab);
        outbox_end(en, s, FINISH_ERROR, ST_INTERNAL);
        seq_end(en, s);
        return;
    }
    s->tok[s->n_known++] = t;
    en->stats.generated_tokens++;
    int32_t stop_id;
    int finish = finish_of(en, s, t, &stop_id);
    outbox_token(en, s, t, finish, stop_id, r, k);
    if (finish != FINISH_NONE)
        seq_end(en, s);
}

/* Row i of *r brought scores of the prompt of s: what is new of them goes out. Whoever wants
 * nothing else is done with the last. Not inlined on purpose, as below. */
static __attribute__((noinline)) void take_scores(struct engine *en, struct seq *s,
                                                  const struct step_row *row,
                                                  const struct step_result *r, int32_t i)
{
    if (r->row[i].n_score != row->n_score) {
        log_error("engine.scores", "id=%llu asked=%d got=%d", (unsigned long long)s->id,
                  row->n_score, r->row[i].n_score);
        outbox_end(en, s, FINISH_ERROR, ST_INTERNAL);
        seq_end(en, s);
        return;
    }
    CHECK(row->first <= s->n_scored);
    for (int32_t k = s->n_scored - row->first; k < row->n_score; k++)
        outbox_score(en, s, row->first + k + 1, r, r->row[i].score0 + k);
    s->n_scored = row->first + row->n_score;
    if (!seq_scores_only(s) || s->n_scored < s->n_prompt - 1)
        return;
    outbox_end(en, s, FINISH_LENGTH, 0);
    seq_end(en, s);
}

/* Row i of the step in `slot` brought the vector of s: its end. Not inlined on purpose: rows that
 * draw do not pay for it. */
static __attribute__((noinline)) void take_vector(struct engine *en, const struct lane *ln,
                                                  int slot, struct seq *s, int32_t i)
{
    if (PLANT(PLANT_VECTOR_SLOT) && i > 0)
        i--;
    int st = ln->ex.hidden(ln->ex.self, slot, i, outbox_vector(en, s));
    if (st != 0) {
        log_error("engine.vector", "id=%llu row=%d status=\"%s\"", (unsigned long long)s->id, i,
                  st_text(st));
        outbox_undo_vector(en);
        outbox_end(en, s, FINISH_ERROR, ST_INTERNAL);
    }
    seq_end(en, s);
}

/* Row i of *r has no numbers. The request ends; one that had ended leaves nothing behind either. */
static void numeric_error(struct engine *en, struct seq *s, const struct step_result *r, int32_t i)
{
    seq_break(en, s);
    if (s->state != SEQ_RUNNING)
        return;
    log_error("engine.numeric", "id=%llu token %d of it has no finite %s",
              (unsigned long long)s->id, s->n_known,
              s->embed == EMBED_NONE ? "logits" : "hidden state");
    en->stats.numeric_errors++;
    outbox_end(en, s, FINISH_ERROR, r->row[i].status);
    seq_end(en, s);
}

/* Row i of the step. true while its seq goes on decoding. */
static bool commit_row(struct engine *en, struct lane *ln, int slot, struct seq *s, int32_t i)
{
    const struct step *step = ln->step[slot];
    const struct step_result *r = ln->result;
    s->n_inflight--;
    s->n_done = step->rows[i].first + step->rows[i].n;
    bool live = s->state == SEQ_RUNNING; /* also when marked for preemption: the token counts */
    int32_t want = step->rows[i].want;
    bool sampled = want == STEP_WANT_SAMPLE;
    if (PLANT(PLANT_LATE_TOKEN) && !live && sampled)
        outbox_token(en, s, r->token[r->row[i].first], FINISH_NONE, -1, r, r->row[i].first);
    if (r->row[i].status != 0) {
        numeric_error(en, s, r, i);
    } else if (live) {
        if (step->rows[i].n_score > 0)
            take_scores(en, s, &step->rows[i], r, i);
        if (sampled && s->state == SEQ_RUNNING)
            take_token(en, s, r, i);
        else if (want == STEP_WANT_HIDDEN || want == STEP_WANT_MEAN)
            take_vector(en, ln, slot, s, i);
    }
    if (seq_filled(en, s)) /* also what an ended one has computed */
        seq_publish(en, ln, s);
    seq_settle_if_idle(en, s);
    return s->state == SEQ_RUNNING;
}

/* The longest wait between two decode steps while somebody was waiting for the second. */
static void note_decode(struct engine *en, int64_t now, bool going_on)
{
    int64_t last = en->sched.last_decode_us;
    if (last > 0 && now - last > en->stats.max_decode_gap_us)
        en->stats.max_decode_gap_us = now - last;
    en->sched.last_decode_us = going_on ? now : 0;
}

static void note_tokens(struct engine *en, int32_t n)
{
    int bits = n > 1 ? 32 - __builtin_clz((unsigned)n - 1) : 0; /* n <= 1 << bits */
    int i = n <= 1 ? 0 : bits <= 3 ? 1 : bits - 2;
    en->stats.step_tokens[i < N_STEP_BUCKETS ? i : N_STEP_BUCKETS - 1]++;
    en->stats.step_tokens_sum += n;
}

void commit_step(struct engine *en, struct lane *ln, int slot, int64_t now_us)
{
    const struct step *step = ln->step[slot];
    const struct flight *f = ln->flight[slot];
    int64_t begin = f->submit_us > ln->done_us ? f->submit_us : ln->done_us;
    sched_note_step(&en->sched, step, now_us - begin);
    ln->done_us = now_us;
    ln->done_no = f->no;
    ln->n_flight--;
    limbo_drain(ln, PLANT(PLANT_LIMBO_LANE) ? en->lane[!ln->index].done_no : ln->done_no, en->kv);
    note_tokens(en, step->n_tokens);
    bool going_on = false;
    for (int32_t i = 0; i < step->n_rows; i++) {
        struct seq *s = &en->seqs.seq[f->who[i].seq];
        CHECK(s->gen == f->who[i].gen && s->n_inflight > 0);
        going_on |= commit_row(en, ln, slot, s, i);
    }
    if (step->kind == STEP_DECODE) {
        en->stats.steps_decode++;
        note_decode(en, now_us, going_on);
    } else {
        en->stats.steps_prefill++;
    }
    en->staging.dirty = true;
}
