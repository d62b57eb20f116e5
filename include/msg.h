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

#include <stddef.h>
#include <stdint.h>

enum msg_kind { MSG_SUBMIT = 1, MSG_CANCEL, MSG_STOP, MSG_OUTBOX, MSG_DUMP };

enum { MAX_STOP_IDS = 128, MAX_BIAS = 1024, MAX_WEIGHT = 1000 };

struct msg_head {
    uint32_t kind;
    uint32_t bytes; /* whole message */
};

struct token_bias {
    token_id token;
    float bias; /* added to the logit; less than +infinity, -infinity forbids the token */
};

/* A prompt whose hidden state is asked for instead of an answer. */
enum embed_kind {
    EMBED_NONE,
    EMBED_LAST, /* after the last token */
    EMBED_MEAN, /* the mean over all tokens: all are computed, none comes from the prefix cache */
    N_EMBEDS
};

/* Followed by token_id tok[n_prompt], token_id stop_ids[n_stop_ids], struct token_bias
 * bias[n_bias] in strictly ascending order of tokens, uint32_t mask[n_mask] (one bit a token, token
 * 0 the lowest of the first word; 1 = may be drawn). msg_submit_bytes says how long that is.
 *
 * Until min_new tokens are drawn, EOS (unless ignore_eos, which makes it a token like others) and
 * the stop ids cannot be drawn: the engine forbids them as a bias of -infinity would. */
struct msg_submit {
    struct msg_head h;
    req_id id;
    int64_t arrival_us;
    int64_t priority;  /* lower runs earlier; orders the requests of one tenant and no others */
    uint64_t tenant;   /* whose fair share; 0 = anonymous */
    uint64_t cache_ns; /* namespace of the prefix cache: of tenant and cache_salt */
    int32_t n_prompt, max_new;
    int32_t n_stop_ids;
    int32_t min_new; /* tokens that must be drawn before EOS and stop ids can be */
    uint32_t ignore_eos;
    int32_t n_bias;     /* <= MAX_BIAS */
    int32_t n_mask;     /* words: 0, or MSG_MASK_WORDS(vocabulary) */
    int32_t weight;     /* of the tenant: its share beside others, 1 .. MAX_WEIGHT; 0 = 1 */
    int32_t max_rows;   /* seqs of the tenant that may run at once; 0 = as many as there are rows */
    int32_t embed;      /* enum embed_kind; with one max_new is 0 and n_logprobs -1, and there is
                           nothing that a draw would need */
    int32_t account;    /* on which its pages are kept in the cache; 0 = without a bound */
    double cache_share; /* of the pool: pages that the account may keep; above it they go first */
    uint32_t whole_pages; /* several tenants share cache_ns: what is cached is told by the page */
    int32_t scores; /* 0, or 1 + how many of the best tokens are told beside the log probability of
                       each token of the prompt but the first; a seq with scores may have max_new 0,
                       when its prompt has 2 tokens or more; not with embed */
    struct sample_params params;
};
#define MSG_MASK_WORDS(vocab) (((vocab) + 31) / 32)

static inline size_t msg_submit_bytes(const struct msg_submit *m)
{
    return sizeof *m + ((size_t)m->n_prompt + (size_t)m->n_stop_ids) * sizeof(token_id) +
           (size_t)m->n_bias * sizeof(struct token_bias) + (size_t)m->n_mask * sizeof(uint32_t);
}

struct msg_cancel {
    struct msg_head h;
    req_id id;
    int32_t reason; /* ST_CANCELLED (client gone), ST_OK (stop string), ST_DRAINING, ... */
    int32_t pad;
};

enum finish_reason {
    FINISH_NONE,
    FINISH_STOP,
    FINISH_LENGTH,
    FINISH_CANCEL,
    FINISH_ERROR,
    FINISH_VECTOR /* of a prompt with embed: here it is */
};

/* One generated token, or a score of a token of the prompt (scored_at > 0), or the end of a request
 * (an end without a token: token == -1). Scores come in order of positions, each once, all before
 * the first generated token. `finish` != FINISH_NONE on the last record of an id; nothing follows
 * it. */
struct out_rec {
    req_id id;
    token_id token; /* -1: none */
    int32_t finish; /* enum finish_reason */
    union {
        int32_t status; /* ST_*, not above 0, when finish == FINISH_ERROR or FINISH_CANCEL */
        int32_t
            scored_at; /* above 0: `token` is the prompt's at this position, `logprob` its own */
    };
    int32_t n_cached; /* prompt tokens that came from the prefix cache (first admission) */
    union {
        int32_t stop_id; /* the stop token id that ended it; -1 for EOS and others */
        int32_t rank;    /* of a score: the token's place among all, the best has 1 */
    };
    float logprob;
    union {
        struct {           /* any but FINISH_VECTOR */
            int32_t n_top; /* how many struct token_logprob of the trailing array belong to it */
            int32_t top0;  /* index of the first */
        };
        struct {           /* FINISH_VECTOR */
            int32_t n_vec; /* hidden_dim: how many floats of the trailing vec[] belong to it */
            int32_t vec0;  /* index of the first */
        };
    };
    int64_t queue_us; /* arrival to first admission */
};

/* Buckets of a step's tokens: up to 1, 8, 16, 32 ... 16384, and above. */
enum { N_STEP_BUCKETS = 14 };

/* A copied snapshot; counters count from process start. */
struct engine_stats {
    int32_t n_waiting, n_running, n_pages, n_pages_free, n_pages_cached;
    int32_t healthy;                     /* 0: FAILED; live requests got an error */
    int64_t prefix_queries, prefix_hits; /* in tokens */
    int64_t preemptions, prompt_tokens, prompt_tokens_computed, generated_tokens;
    int64_t steps_prefill, steps_decode, evicted_pages;
    int64_t audit_failures, audits, max_decode_gap_us;
    int64_t numeric_errors;   /* requests ended by ST_NUMERIC */
    int64_t fair_preemptions; /* of preemptions: a tenant beyond its share made room for another */
    int64_t step_host_us, step_wait_us; /* summed over steps: own work; waiting for the device */
    int64_t step_tokens[N_STEP_BUCKETS], step_tokens_sum; /* steps by their tokens; all tokens */
};

/* Followed by struct out_rec rec[n_rec], struct token_logprob top[n_top], float vec[n_vec]. */
struct msg_outbox {
    struct msg_head h;
    int32_t n_rec, n_top;
    int32_t n_vec, pad;
    struct engine_stats stats;
};

#endif
