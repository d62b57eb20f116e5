/* engine.c - the turn: drain the inbox, commit the oldest step, plan the next, submit, post.
 *
 * Owns the steps in flight and the decision when to block. It waits for the device when the
 * pipeline is full or nothing else can be planned; it sleeps on the inbox when there is no work at
 * all. Everything is allocated by setup.c; the turn never calls malloc. Errors of the device end
 * the engine (live requests get an error, healthy = 0); errors of a request end that request.
 */
#include "check.h"
#include "log.h"
#include "mem.h"
#include "state.h"

enum { MAX_RETRIES = 3, STALL_TURNS = 3 };

static void cancel(struct engine *en, req_id id, int reason)
{
    int32_t i = idmap_get(&en->ids, id);
    if (i < 0)
        return; /* gone already */
    struct seq *s = &en->seq[i];
    if (reason == ST_QUEUE_TIMEOUT && s->n_hit >= 0)
        return; /* it has got its turn meanwhile */
    if (PLANT(PLANT_CANCEL_LEAK) && s->n_pages > 0)
        kv_ref(en->kv, s->pages[0]);
    en->stats.cancels++;
    outbox_end(en, s, reason == ST_OK ? FINISH_STOP : FINISH_CANCEL, reason);
    seq_end(en, s);
}

static int drain(struct engine *en)
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
            en->stopping = 1;
            en->stop_status = c->reason;
            break;
        }
    }
    return n > 0;
}

/* End every live request. With `lost`, no step in flight will ever be committed. */
static void end_all(struct engine *en, int status, int lost)
{
    if (lost) {
        en->n_flight = 0;
        en->done_no = en->step_no;
        limbo_drain(en);
    }
    for (int32_t i = 0; i < en->n_slots; i++) {
        struct seq *s = &en->seq[i];
        if (s->state == SEQ_FREE)
            continue;
        if (s->state != SEQ_DRAINING) {
            outbox_end(en, s, FINISH_ERROR, status);
            s->n_inflight++; /* settle below, once */
            seq_end(en, s);
            s->n_inflight--;
        }
        if (lost)
            s->n_inflight = 0;
        if (s->n_inflight == 0)
            seq_settle(en, s);
    }
}

void engine_fail(struct engine *en, int status)
{
    log_error("engine.failed", "status=\"%s\" live=%d", st_text(status),
              en->n_wait + en->n_run + en->n_draining);
    en->failed = 1;
    atomic_store(&en->down, ST_ENGINE_DOWN);
    end_all(en, ST_ENGINE_DOWN, 1);
    en->o.dirty = 1;
}

/* The step just planned was refused and the device lives on: the requests in it end, the others go
 * on. What it would have freed at its commit is free once nothing is in flight before it. */
static void refuse_step(struct engine *en, int slot, int status)
{
    const struct step *st = en->step[slot];
    const struct flight *f = en->flight[slot];
    log_error("engine.step_refused", "step=%llu rows=%d status=\"%s\"", (unsigned long long)f->no,
              (int)st->n_rows, st_text(status));
    for (int32_t i = 0; i < st->n_rows; i++) {
        struct seq *s = &en->seq[f->who[i].seq];
        CHECK(s->gen == f->who[i].gen && s->n_inflight > 0);
        if (s->state == SEQ_RUNNING) {
            outbox_end(en, s, FINISH_ERROR, status);
            seq_end(en, s);
        }
        s->n_inflight--;
        if (s->n_inflight == 0 && (s->state == SEQ_DRAINING || s->preempting))
            seq_settle(en, s);
    }
    if (en->n_flight == 0) {
        en->done_no = f->no;
        limbo_drain(en);
    }
    en->o.dirty = 1;
}

/* Wait for the oldest step and commit it. */
static void finish_step(struct engine *en)
{
    int slot = (en->next_slot + MAX_INFLIGHT - en->n_flight) % MAX_INFLIGHT;
    int64_t t0 = engine_now(en);
    int st = 0;
    for (int i = 0; i < MAX_RETRIES; i++) {
        st = en->ex.wait(en->ex.self, slot, en->result);
        if (st != ST_DEVICE_RETRY)
            break;
    }
    en->stats.step_wait_us += engine_now(en) - t0;
    if (st != 0) {
        engine_fail(en, st);
        return;
    }
    commit_step(en, slot);
    if (en->n_flight == 0 && en->done_no != en->step_no) { /* a refused step came after it */
        en->done_no = en->step_no;
        limbo_drain(en);
    }
}

/* Plan and submit one step. 1: done. */
static int start_step(struct engine *en)
{
    int slot = en->next_slot;
    if (plan_step(en, slot) == 0)
        return 0;
    struct flight *f = en->flight[slot];
    f->no = ++en->step_no;
    f->submit_us = engine_now(en);
    sched_note_submit(en, en->step[slot]);
    int st = 0;
    for (int i = 0; i < MAX_RETRIES; i++) {
        st = en->ex.submit(en->ex.self, slot, en->step[slot]);
        if (st != ST_DEVICE_RETRY)
            break;
    }
    en->stats.step_wait_us += engine_now(en) - f->submit_us;
    if (st != 0) {
        if (st == ST_INTERNAL)
            refuse_step(en, slot, st);
        else
            engine_fail(en, st);
        return 1;
    }
    en->n_flight++;
    en->next_slot = (slot + 1) % MAX_INFLIGHT;
    return 1;
}

/* Work, no step possible, nothing in flight: cannot happen by construction (engine_fits). Should it
 * happen after all, one request pays instead of all. */
static void break_stall(struct engine *en)
{
    if (++en->n_stalled < STALL_TURNS)
        return;
    en->n_stalled = 0;
    struct seq *s = en->n_run > 0 ? &en->seq[en->run[0]] : &en->seq[sched_pick(en)];
    log_error("engine.stall", "id=%llu tokens=%d pages_available=%d waiting=%d running=%d",
              (unsigned long long)s->id, s->n_tok, kv_avail(en->kv), en->n_wait, en->n_run);
    en->n_stalls++;
    outbox_end(en, s, FINISH_ERROR, ST_INTERNAL);
    seq_end(en, s);
}

static void audit(struct engine *en)
{
    struct err e;
    if (en->c.audit_every <= 0 || en->n_turns % (uint64_t)en->c.audit_every != 0)
        return;
    en->stats.audits++;
    if (engine_audit(en, &e) == 0)
        return;
    if (en->stats.audit_failures++ < 10)
        log_error("engine.audit", "step=%llu %s", (unsigned long long)en->step_no, e.msg);
}

static void work(struct engine *en)
{
    int committed = 0;
    int depth = en->c.steps_in_flight;
    int oldest = (en->next_slot + MAX_INFLIGHT - en->n_flight) % MAX_INFLIGHT;
    if (en->n_flight == depth || (en->n_flight > 0 && en->ex.ready(en->ex.self, oldest))) {
        finish_step(en);
        committed = 1;
        if (!outbox_send(en)) /* before the next submit: an executor may run the step right there */
            return;
    }
    if (en->failed || start_step(en)) {
        en->n_stalled = 0;
        return;
    }
    if (committed)
        return;
    if (en->n_flight > 0)
        finish_step(en);
    else if (en->n_wait + en->n_run > 0)
        break_stall(en);
}

int engine_turn(struct engine *en)
{
    check_thread(THREAD_ENGINE);
    int64_t t0 = engine_now(en), waited = en->stats.step_wait_us;
    atomic_store_explicit(&en->beat_us, t0, memory_order_relaxed);
    en->n_turns++;
    int did = drain(en);
    if (en->stopping) {
        while (en->n_flight > 0)
            finish_step(en);
        end_all(en, en->stop_status, 0);
    }
    if (en->o.blocked && !outbox_send(en))
        return did;
    if (en->n_wait + en->n_run + en->n_flight > 0) {
        work(en);
        did = 1;
    }
    outbox_send(en);
    audit(en);
    if (did)
        en->stats.step_host_us += engine_now(en) - t0 - (en->stats.step_wait_us - waited);
    return did;
}
