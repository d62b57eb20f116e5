/* SPDX-License-Identifier: Apache-2.0 */
/* lane.h - a lane: one executor, its steps in flight, and limbo, what they still need.
 *
 * An engine has one lane that does everything, or two: one for prefill steps and one for decode
 * steps, whose steps end in any order. A seq is in the steps of one lane only until those are
 * committed, so what its steps need waits in that lane's limbo, and what is written by one lane
 * while it is read by the other does not exist. */
#ifndef QUIRE_ENGINE_LANE_H
#define QUIRE_ENGINE_LANE_H

#include "ids.h"
#include "step.h"

#include <stdbool.h>
#include <stdint.h>

struct kv;

/* What a commit needs to know about a submitted step. */
struct flight {
    struct {
        int32_t seq;
        uint32_t gen;
    } who[MAX_ROWS];
    uint64_t no;
    int64_t submit_us;
    int64_t limit_us; /* longer than that it should not take */
    int64_t cost_us;  /* what it is expected to take; 0 = nobody knows yet */
};

/* A page or a pin that a step in flight still needs, released when step `no` is committed. */
struct limbo {
    uint64_t no;
    page_id page; /* -1: node */
    node_id node;
};
enum { MAX_LIMBO = (MAX_INFLIGHT + 1) * MAX_COPIES };

/* With two lanes; with one, it is the first. */
enum { LANE_PREFILL, LANE_DECODE };

/* Knows no seqs: an engine may hold several. Steps are numbered and committed in order. */
struct lane {
    int32_t index; /* LANE_* */
    struct executor ex;
    int32_t depth; /* steps in flight it may have, <= MAX_INFLIGHT */
    struct step *step[MAX_INFLIGHT];
    struct flight *flight[MAX_INFLIGHT];
    struct step_result *result;
    int32_t n_flight, next_slot;
    uint64_t step_no, done_no; /* the last one submitted; committed */
    int64_t done_us;           /* when the last step was committed */
    struct limbo *limbo;       /* ring [MAX_LIMBO], in order of no */
    int32_t n_limbo, limbo_head;
};

void lane_init(struct lane *ln, int32_t index, const struct executor *ex, int32_t depth);
void lane_fini(struct lane *ln);
int lane_oldest(const struct lane *ln); /* slot of the oldest step in flight */
/* The oldest step in flight is done. */
bool lane_ready(const struct lane *ln);
/* When the first n steps in flight are expected to be done, not before now_us; n <= n_flight. */
int64_t lane_end_us(const struct lane *ln, int32_t n, int64_t now_us);
/* The oldest step in flight takes longer than it should. */
bool lane_overdue(const struct lane *ln, int64_t now_us);
/* Keep a page (or, with page == -1, a pin on node) until step `no` is committed. */
void limbo_put(struct lane *ln, uint64_t no, page_id page, node_id node);
/* Release what only steps up to `no` needed. */
void limbo_drain(struct lane *ln, uint64_t no, struct kv *kv);

#endif
