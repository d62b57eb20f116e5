/* SPDX-License-Identifier: Apache-2.0 */
/* msg.h - the messages between the loop thread and the engine thread. Flat bytes, no pointers.
 *
 * loop -> engine: SUBMIT, CANCEL, DUMP, STOP. engine -> loop: one OUTBOX per step (or per turn that
 * ended something), holding records and a copy of the engine's statistics.
 */
#ifndef QUIRE_MSG_H
#define QUIRE_MSG_H

#include "ids.h"
#include "step.h"

#include <stdint.h>

enum msg_kind { MSG_SUBMIT = 1, MSG_CANCEL, MSG_STOP, MSG_OUTBOX, MSG_DUMP };

enum { MAX_STOP_IDS = 128 };

struct msg_head {
    uint32_t kind;
    uint32_t bytes; /* whole message */
};

/* Followed by token_id tok[n_prompt], then token_id stop_ids[n_stop_ids]. */
struct msg_submit {
    struct msg_head h;
    req_id id;
    int64_t arrival_us;
    int64_t priority;  /* lower runs earlier */
    uint64_t tenant;   /* hash of the API key (fair share); 0 = anonymous */
    uint64_t cache_ns; /* namespace of the prefix cache: hash of cache_salt; 0 = shared */
    int32_t n_prompt, max_new;
    int32_t n_stop_ids;
    int32_t min_new; /* EOS and stop ids do not end before that many */
    uint32_t ignore_eos;
    uint32_t pad;
    struct sample_params params;
};

struct msg_cancel {
    struct msg_head h;
    req_id id;
    int32_t reason; /* ST_CANCELLED (client gone), ST_OK (stop string), ST_DRAINING, ... */
    int32_t pad;
};

enum finish_reason { FINISH_NONE, FINISH_STOP, FINISH_LENGTH, FINISH_CANCEL, FINISH_ERROR };

/* One generated token, or the end of a request (an end without a token: token == -1).
 * `finish` != FINISH_NONE on the last record of an id; nothing follows it. */
struct out_rec {
    req_id id;
    token_id token;   /* -1: none */
    int32_t finish;   /* enum finish_reason */
    int32_t status;   /* ST_* when finish == FINISH_ERROR or FINISH_CANCEL */
    int32_t n_cached; /* prompt tokens that came from the prefix cache (first admission) */
    int32_t stop_id;  /* the stop token id that ended it; -1 for EOS and others */
    float logprob;
    int32_t n_top;    /* how many struct token_logprob of the trailing array belong to this one */
    int32_t top0;     /* index of the first */
    int64_t queue_us; /* arrival to first admission */
};

/* A copied snapshot; counters count from process start. */
struct engine_stats {
    int32_t n_waiting, n_running, n_pages, n_pages_free, n_pages_cached;
    int32_t healthy;                     /* 0: FAILED; live requests got an error */
    int64_t prefix_queries, prefix_hits; /* in tokens */
    int64_t preemptions, prompt_tokens, prompt_tokens_computed, generated_tokens;
    int64_t steps_prefill, steps_decode, evicted_pages;
    int64_t audit_failures, audits, max_decode_gap_us;
    int64_t step_host_us, step_wait_us; /* summed over steps: own work; waiting for the device */
};

/* Followed by struct out_rec rec[n_rec], then struct token_logprob top[n_top]. */
struct msg_outbox {
    struct msg_head h;
    int32_t n_rec, n_top;
    struct engine_stats stats;
};

#endif
