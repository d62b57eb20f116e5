/* SPDX-License-Identifier: Apache-2.0 */
/* engine.c - the turn: drain the inbox, commit what is done, plan the next, submit, post.
 *
 * Owns the steps in flight and the decision when to block. It waits for the device when the
 * pipeline is full or nothing else can be planned; it sleeps on the inbox when there is no work at
 * all. With two lanes it waits for either, and for a newcomer that could begin at once. Everything
 * is allocated by setup.c; the turn never calls malloc. Errors of the device end the engine (live
 * requests get an error, healthy = 0); errors of a request end that request.
 */
#include "check.h"
#include "inspect.h"
#include "kv.h"
#include "log.h"
#include "mem.h"
#include "outbox.h"
#include "plant.h"
#include "sched.h"
#include "seq.h"
#include "steps.h"

enum { MAX_RETRIES = 3, STALL_TURNS = 3 };
enum { MIN_NAP_US = 20, MAX_NAP_US = 2000 };

static void cancel(struct engine *en, req_id id, int reason)
{
    int32_t i = idmap_get(&en->seqs.ids, id);
    if (i < 0)
        return; /* gone already */
    struct seq *s = &en->seqs.seq[i];
    if (reason == ST_QUEUE_TIMEOUT && s->n_hit >= 0)
        return; /* it has got its turn meanwhile */
    if (PLANT(PLANT_CANCEL_LEAK) && s->n_pages > 0)
        kv_ref(en->kv, s->pages[0]);
    outbox_end(en, s, reason == ST_OK ? FINISH_STOP : FINISH_CANCEL, reason);
    seq_end(en, s);
    seq_settle_if_idle(en, s);
}

static bool drain(struct engine *en)
{
    int n = mbox_take(en->in);
    const struct msg_head *h;
    while ((h = mbox_next(en->in, NULL)) != NULL) {
        const struct msg_cancel *c = (const struct msg_cancel *)h;
        switch (h->kind) {
        case MSG_SUBMIT:
            seq_admit(en, (const struct msg_submit *)h);
            break;
        case MSG_CANCEL:
            cancel(en, c->id, c->reason);
            break;
        case MSG_DUMP:
            engine_explain(en);
            break;
        case MSG_STOP:
            en->stopping = true;
            en->stop_status = c->reason;
            break;
        }
    }
    return n > 0;
}

/* End every live request. With `lost`, no step in flight will ever be committed. */
static void end_all(struct engine *en, int status, bool lost)
{
    for (int32_t i = 0; i < en->n_lanes && lost; i++) {
        struct lane *ln = &en->lane[i];
        ln->n_flight = 0;
        ln->done_no = ln->step_no;
        limbo_drain(ln, ln->done_no, en->kv);
    }
    for (int32_t i = 0; i < en->seqs.n_slots; i++) {
        struct seq *s = &en->seqs.seq[i];
        if (s->state == SEQ_FREE)
            continue;
        if (s->state != SEQ_DRAINING) {
            outbox_end(en, s, FINISH_ERROR, status);
            seq_end(en, s);
        }
        if (lost)
            s->n_inflight = 0;
        seq_settle_if_idle(en, s);
    }
}

/* The device is lost: end every live request; healthy = 0. */
static void fail(struct engine *en, int status)
{
    log_error("engine.failed", "status=\"%s\" live=%d", st_text(status),
              en->seqs.n_wait + en->seqs.n_run + en->seqs.n_draining);
    en->failed = true;
    atomic_store(&en->down, ST_ENGINE_DOWN);
    end_all(en, ST_ENGINE_DOWN, true);
    en->staging.dirty = true;
}

/* The step just planned was refused and the device lives on: the requests in it end, the others go
 * on. What it would have freed at its commit is free once nothing is in flight before it. */
static void refuse_step(struct engine *en, struct lane *ln, int slot, int status)
{
    const struct step *step = ln->step[slot];
    const struct flight *f = ln->flight[slot];
    log_error("engine.step_refused", "step=%llu rows=%d status=\"%s\"", (unsigned long long)f->no,
              (int)step->n_rows, st_text(status));
    for (int32_t i = 0; i < step->n_rows; i++) {
        struct seq *s = &en->seqs.seq[f->who[i].seq];
        CHECK(s->gen == f->who[i].gen && s->n_inflight > 0);
        s->n_inflight--;
        if (s->state == SEQ_RUNNING) {
            outbox_end(en, s, FINISH_ERROR, status);
            seq_end(en, s);
        }
        seq_settle_if_idle(en, s);
    }
    if (ln->n_flight == 0) {
        ln->done_no = f->no;
        limbo_drain(ln, ln->done_no, en->kv);
    }
    en->staging.dirty = true;
}

/* A sign of life, and how long it may be until the next: the steps in flight take their time. None
 * while a lane hangs, whatever the other one does. */
static void beat(struct engine *en, int64_t now_us, int64_t more_us)
{
    for (int32_t l = 0; l < en->n_lanes; l++) {
        const struct lane *ln = &en->lane[l];
        if (en->n_lanes > 1 && lane_overdue(ln, now_us))
            return;
        for (int32_t i = 0; i < ln->n_flight; i++)
            more_us += ln->flight[(lane_oldest(ln) + i) % MAX_INFLIGHT]->limit_us;
    }
    atomic_store_explicit(&en->allowance_us, more_us, memory_order_relaxed);
    atomic_store_explicit(&en->beat_us, now_us, memory_order_relaxed);
}

/* Wait for the oldest step and commit it. */
static void finish_step(struct engine *en, struct lane *ln)
{
    int slot = lane_oldest(ln);
    int64_t t0 = engine_now(en);
    int st = 0;
    for (int i = 0; i < MAX_RETRIES; i++) {
        st = ln->ex.wait(ln->ex.self, slot, ln->result);
        if (st != ST_DEVICE_RETRY)
            break;
    }
    int64_t now = engine_now(en);
    en->stats.step_wait_us += now - t0;
    if (st != 0) {
        fail(en, st);
        return;
    }
    en->now_us = now;
    commit_step(en, ln, slot, now);
    beat(en, now, 0);
    if (ln->n_flight == 0 && ln->done_no != ln->step_no) { /* a refused step came after it */
        ln->done_no = ln->step_no;
        limbo_drain(ln, ln->done_no, en->kv);
    }
}

/* Plan and submit one step. false: there is none to plan. */
static bool start_step(struct engine *en, struct lane *ln)
{
    int slot = ln->next_slot;
    if (plan_step(en, ln, slot) == 0)
        return false;
    struct flight *f = ln->flight[slot];
    f->no = ++ln->step_no;
    f->submit_us = engine_now(en);
    f->limit_us = sched_step_limit_us(&en->sched, ln->step[slot]);
    f->cost_us = sched_step_cost_us(&en->sched, ln->step[slot]);
    beat(en, f->submit_us, f->limit_us); /* it may run inside submit */
    sched_note_submit(&en->sched, ln->step[slot]);
    int st = 0;
    for (int i = 0; i < MAX_RETRIES; i++) {
        st = ln->ex.submit(ln->ex.self, slot, ln->step[slot]);
        if (st != ST_DEVICE_RETRY)
            break;
    }
    int64_t now = engine_now(en);
    en->stats.step_wait_us += now - f->submit_us;
    if (st != 0) {
        if (st == ST_INTERNAL)
            refuse_step(en, ln, slot, st);
        else
            fail(en, st);
        return true;
    }
    ln->n_flight++;
    ln->next_slot = (slot + 1) % MAX_INFLIGHT;
    beat(en, now, 0);
    return true;
}

/* Work, no step possible, nothing in flight: cannot happen by construction (engine_fits). Should it
 * happen after all, one request pays instead of all. */
static void break_stall(struct engine *en)
{
    const struct seqs *q = &en->seqs;
    if (++en->n_stalled < STALL_TURNS)
        return;
    en->n_stalled = 0;
    struct seq *s = &q->seq[q->n_run > 0 ? q->run[0] : q->wait[0]];
    log_error("engine.stall", "id=%llu tokens=%d pages_available=%d waiting=%d running=%d",
              (unsigned long long)s->id, s->n_tok, kv_avail(en->kv), q->n_wait, q->n_run);
    en->n_stalls++;
    outbox_end(en, s, FINISH_ERROR, ST_INTERNAL);
    seq_end(en, s);
    seq_settle_if_idle(en, s);
}

static void audit(struct engine *en)
{
    struct err e;
    if (en->facts.audit_every <= 0 || en->n_turns % (uint64_t)en->facts.audit_every != 0)
        return;
    en->stats.audits++;
    if (engine_audit(en, &e) == 0)
        return;
    if (en->stats.audit_failures++ < 10)
        log_error("engine.audit", "step=%llu %s", (unsigned long long)en->lane[0].step_no, e.msg);
}

/* Commit the oldest step if the pipeline is full or the step is done. */
static bool commit_due(struct engine *en, struct lane *ln)
{
    if (ln->n_flight != ln->depth &&
        (ln->n_flight == 0 || !ln->ex.ready(ln->ex.self, lane_oldest(ln))))
        return false;
    finish_step(en, ln);
    return true;
}

/* Plan the next step; with nothing to plan, commit one, unless this turn did. */
static void work(struct engine *en, struct lane *ln, bool committed)
{
    if (en->failed || start_step(en, ln)) {
        en->n_stalled = 0;
        return;
    }
    if (committed)
        return;
    if (ln->n_flight > 0)
        finish_step(en, ln);
    else if (en->seqs.n_wait + en->seqs.n_run > 0)
        break_stall(en);
}

/* Everything ends. The ends go out first: what steps in flight still bring belongs to nobody then,
 * so that a full outbox holds one record for each request at most, whatever was in flight. */
static void stop(struct engine *en)
{
    end_all(en, en->stop_status, false);
    for (int32_t l = 0; l < en->n_lanes; l++)
        while (en->lane[l].n_flight > 0)
            finish_step(en, &en->lane[l]);
}

static bool take_inbox(struct engine *en)
{
    bool any = drain(en);
    if (en->stopping)
        stop(en);
    return any;
}

static int32_t n_flight(const struct engine *en)
{
    int32_t n = 0;
    for (int32_t l = 0; l < en->n_lanes; l++)
        n += en->lane[l].n_flight;
    return n;
}

static bool has_work(const struct engine *en)
{
    return en->seqs.n_wait + en->seqs.n_run + n_flight(en) > 0;
}

/* ---- one lane ---- */

/* The inbox is read after the wait for the device and before the plan, so that whoever came
 * meanwhile is in the very next step; and after what was committed is on its way, because an
 * executor may run the next step inside submit. */
static bool turn_alone(struct engine *en, bool sent)
{
    struct lane *ln = &en->lane[0];
    bool committed = sent && commit_due(en, ln);
    if (committed)
        sent = outbox_send(en);
    bool did = take_inbox(en) || committed;
    if (!sent || !has_work(en))
        return did;
    work(en, ln, committed);
    return true;
}

/* ---- two lanes ---- */

/* Commit every step that is done, as long as there is room for what they bring. */
static bool commit_done(struct engine *en, bool *sent)
{
    bool any = false;
    for (int32_t l = 0; l < en->n_lanes; l++)
        while (*sent && lane_ready(&en->lane[l])) {
            finish_step(en, &en->lane[l]);
            *sent = outbox_send(en);
            any = true;
        }
    return any;
}

/* A step into every lane that has room. Prompts first: the decode step must know what runs beside
 * it. An executor may run a step inside submit, so the inbox is read before each. */
static bool start_steps(struct engine *en)
{
    bool any = false;
    for (int32_t l = 0; l < en->n_lanes; l++) {
        any |= take_inbox(en);
        if (!en->failed && en->lane[l].n_flight < en->lane[l].depth)
            any |= start_step(en, &en->lane[l]);
    }
    return any;
}

/* Until a step of either lane is done, a message is there, or prompts have waited enough. Sleeps
 * shorter and shorter as the first step that should end comes to its end. */
static void wait_any(struct engine *en)
{
    const struct lane *p = &en->lane[LANE_PREFILL], *d = &en->lane[LANE_DECODE];
    int64_t t0 = engine_now(en), now = t0;
    while (!lane_ready(p) && !lane_ready(d) && now < en->wake_us) {
        int64_t nap = en->wake_us - now < MAX_NAP_US ? en->wake_us - now : MAX_NAP_US;
        for (int32_t l = 0; l < en->n_lanes; l++) {
            if (en->lane[l].n_flight == 0)
                continue;
            int64_t half = (lane_end_us(&en->lane[l], 1, now) - now) / 2;
            nap = half < nap ? half : nap;
        }
        nap = nap > MIN_NAP_US ? nap : MIN_NAP_US;
        if (en->pause)
            en->pause(en->now_arg, nap);
        if (mbox_wait(en->in, en->pause ? 0 : nap))
            break;
        now = engine_now(en);
    }
    en->now_us = engine_now(en);
    en->stats.step_wait_us += en->now_us - t0;
}

/* With nothing else to do: a newcomer can begin at once, beside the decode steps, so the engine
 * blocks for the device only where there are none. */
static bool turn_lanes(struct engine *en, bool sent)
{
    bool did = commit_done(en, &sent);
    for (int pass = 0; pass < 2; pass++) {
        if (!sent || !has_work(en))
            return take_inbox(en) || did;
        did |= start_steps(en);
        if (did || !has_work(en) || pass > 0)
            break;
        if (n_flight(en) == 0) {
            break_stall(en);
            return true;
        }
        if (en->lane[LANE_DECODE].n_flight > 0)
            wait_any(en);
        else
            finish_step(en, &en->lane[LANE_PREFILL]);
        sent = outbox_send(en);
        commit_done(en, &sent);
    }
    en->n_stalled = 0;
    return true;
}

bool engine_turn(struct engine *en)
{
    check_thread(THREAD_ENGINE);
    int64_t t0 = engine_now(en), waited = en->stats.step_wait_us;
    en->now_us = t0;
    beat(en, t0, 0);
    en->n_turns++;
    bool sent = !en->staging.blocked || outbox_send(en);
    bool did = en->n_lanes > 1 ? turn_lanes(en, sent) : turn_alone(en, sent);
    outbox_send(en);
    audit(en);
    if (did)
        en->stats.step_host_us += engine_now(en) - t0 - (en->stats.step_wait_us - waited);
    return did;
}
