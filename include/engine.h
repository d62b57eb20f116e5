/* SPDX-License-Identifier: Apache-2.0 */
/* engine.h - the engine thread: scheduler, KV bookkeeping, steps. Knows token ids only. */
#ifndef QUIRE_ENGINE_H
#define QUIRE_ENGINE_H

#include "config.h"
#include "mailbox.h"
#include "msg.h"
#include "status.h"
#include "step.h"

#include <stdbool.h>
#include <stdint.h>

enum { MAX_LANES = 2 };

/* What the settings cannot know: the model, the device and the pool. */
struct engine_facts {
    int32_t n_pages;
    int32_t max_model_len; /* tokens of one sequence, prompt + output */
    int32_t vocab;
    int32_t steps_in_flight; /* most that the device gains from, 1 .. MAX_INFLIGHT */
    int32_t n_lanes;         /* executors: 1, or 2 = one for prefill and one for decode steps */
    int32_t audit_every;     /* turns between audits; 0 = never, 1 = every turn (tests) */
    int32_t n_eos;
    token_id eos[MAX_EOS];
    int64_t weight_tokens; /* as many bytes of KV as a decode step reads of weights; 0 = unknown */
    int32_t hidden_dim;    /* floats of a hidden state, as its executor says; 0: embed is refused */
    uint64_t cache_seed;   /* balances the prefix tree; any value, hits are exact */
};

/* What an engine of these settings and facts holds, for those who ask before they submit. */
struct engine_limits {
    int32_t n_pages, page_tokens;
    int32_t max_seqs;    /* rows, <= MAX_ROWS */
    int32_t max_waiting; /* admission bound; more is refused with ST_QUEUE_FULL */
    int32_t max_live;    /* of both together: a request of more sequences can never be served */
    int32_t max_model_len, vocab;
    int32_t hidden_dim; /* floats of a hidden state; 0: there are none to be had */
    bool prefix_cache;
};
void engine_limits_of(struct engine_limits *l, const struct config *c,
                      const struct engine_facts *f);

struct engine;

/* Allocates everything the engine will ever need. Of *c it reads kv.page_tokens, kv.prefix_cache.*,
 * scheduler.* and limits.queue_size, now. `ex` are f->n_lanes executors with equal
 * n_shares: one that does everything, or the one for prefill and the one for decode steps, see
 * step.h. `outbox` receives MSG_OUTBOX; it and what the executors point to outlive the engine. 0;
 * ST_INVALID_VALUE with the name of what the engine's arrays cannot hold; ST_NOMEM. */
int engine_new(struct engine **out, const struct config *c, const struct engine_facts *f,
               const struct executor *ex, struct mbox *outbox, struct err *e);
void engine_free(struct engine *en);

/* Start the thread / ask it to end (live requests get status) and join it. */
int engine_start(struct engine *en, struct err *e);
void engine_stop(struct engine *en, int status);

/* Any thread, until engine_stop returned. Submit copies the message (head + tokens + stop ids; the
 * head's bytes may be 0). 0; ST_QUEUE_FULL when max_seqs + max_waiting requests are live;
 * ST_CONTEXT_LENGTH (engine_fits has the numbers), ST_INVALID_VALUE, ST_INVALID_LENGTH for what the
 * caller should have refused; ST_UNSUPPORTED for embed without hidden states; ST_ENGINE_DOWN after
 * a device error; the status of engine_stop after that; ST_FULL when the inbox is full. A request
 * that was accepted gets exactly one ending record.
 */
int engine_submit(struct engine *en, const struct msg_submit *m);
/* An id that is gone is ignored. Reason ST_OK ends with FINISH_STOP, any other with FINISH_CANCEL
 * and status = reason; with ST_QUEUE_TIMEOUT one that had its turn already goes on. 0 or ST_FULL.
 */
int engine_cancel(struct engine *en, req_id id, int reason);
/* Any thread (not a signal handler): have the engine log its state once. 0 or ST_FULL. */
int engine_dump(struct engine *en);

enum engine_bound { ENGINE_BOUND_MODEL, ENGINE_BOUND_POOL };
struct engine_misfit {
    enum engine_bound bound;
    int64_t tokens; /* that the bound leaves room for, prompt and output */
};
/* Can a request of this size ever run (max_new 0: its prompt only)? 0, or ST_CONTEXT_LENGTH and in
 * *why (may be NULL) the bound that it breaks. Pure; any thread. */
int engine_fits(const struct engine_limits *l, int64_t n_prompt, int64_t max_new,
                struct engine_misfit *why);

/* One turn on the calling thread (tests and the simulator, instead of engine_start): true if
 * something was done, false when idle. */
bool engine_turn(struct engine *en);

/* clock_us of the last turn, submitted or finished step, or of the submission that ended an idle
 * time (a heartbeat), and whether work is pending. Any thread; atomics. */
int64_t engine_heartbeat_us(const struct engine *en, bool *busy);
/* How long the steps in flight may take beyond what a short one does, by measured cost and on the
 * safe side: a heartbeat older than the caller's patience and this is a device that hangs. 0 with
 * nothing in flight. Any thread; atomic. */
int64_t engine_allowance_us(const struct engine *en);

#endif
