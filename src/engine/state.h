/* SPDX-License-Identifier: Apache-2.0 */
/* state.h - the engine's own state: seqs and their lists, the scheduler's memory, records on their
 * way. What is done with it stands in the headers beside this one. Private to src/engine (and its
 * tests). Everything is allocated in engine_new; index -1 means none.
 *
 *   WAITING --seq_start--> RUNNING --seq_end--> DRAINING --seq_settle_if_idle--> FREE
 *      ^                      |
 *      +---- seq_preempt -----+   (one in flight is only marked; it waits again once settled)
 *
 * A seq starts in the prefill lane; with two, the decode lane takes it over when it lacks one token
 * and no step names it.
 *
 * Invariants, beside those of kv.h and step.h:
 *   K4  A seq pins the deepest node of its path, not only the pages.
 *   K6  When a page turns out to be a duplicate, its table entry is replaced in the same breath;
 * the old page is released once no step in flight can name it (limbo). K8  Pages, pins and the row
 * of a seq are released at n_inflight == 0 only, and the device's table of the row is written anew
 * for whoever gets it next.
 */
#ifndef QUIRE_ENGINE_STATE_H
#define QUIRE_ENGINE_STATE_H

#include "engine.h"
#include "idmap.h"
#include "lane.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* ---- seqs ---- */

/* Scores that are reported of one step, so that their records have room. */
enum { MAX_SCORES = 2048 };

enum seq_state { SEQ_FREE, SEQ_WAITING, SEQ_RUNNING, SEQ_DRAINING };

/* One generation. How far it is, in tokens (upper three) and in pages (lower two):
 *
 *           0                                                            n_max
 *   tok[]   |-- prompt --|-- sampled --|-- placeholders --|   to come      |
 *                    n_prompt       n_known             n_tok
 *   KV      |-- present ----------|-- in a step in flight --|-- to plan --|
 *                              n_done                   n_planned       n_tok
 *   pages[] |-- on the tree path that ends in `node` --|-- its own --|
 *                                                    n_pub        n_pages
 *   device  |-- entries of the row's page table --|-- edits to send --|
 *                                               n_sent             n_pages
 *
 * A placeholder is a token that a step in flight will sample; the host learns it at the commit. */
/* Three cache lines hold what every turn reads and writes of a row; the rest follows. */
struct seq {
    _Alignas(64) req_id id;
    enum seq_state state;
    uint32_t gen; /* counts reuse of this slot */
    row_id row;
    int32_t n_prompt, n_known, n_tok, n_max; /* n_max = n_prompt + max_new */
    int32_t n_done, n_planned;
    int32_t n_pub, n_sent, n_pages;
    int32_t n_inflight; /* submitted steps that name this seq */
    node_id node;

    token_id *tok;      /* [max_model_len] */
    page_id *pages;     /* [max_pages] */
    uint64_t in_plan;   /* the plan it was packed into last, see seqs.plan_no */
    node_id copy_node;  /* pinned source of the head of page copy_index, KV_ROOT = none pending */
    int32_t copy_index; /* in pages[] */
    int32_t tenant;
    int32_t min_new, n_stop;
    int32_t n_hit; /* prompt tokens from the cache at first admission; -1 before */
    int64_t queue_us;
    bool ignore_eos;
    bool preempting; /* off run[], waits for n_inflight == 0 to give everything back */
    bool boost;      /* preempted so often that nobody may preempt it again */
    bool has_area;   /* its draws need the step's area, see area.h */
    uint8_t embed; /* enum embed_kind; n_max is n_prompt then, and the last chunk brings the end */
    bool broken;   /* its logits were no numbers: nothing it computed is published */
    uint8_t lane;  /* LANE_* whose steps may name it; changes at n_inflight == 0 only */

    struct sample_params params;

    int64_t priority;
    uint64_t order; /* arrival number */
    uint64_t tried; /* the plan that looked at its prompt last */
    int32_t n_preempted;
    int32_t wait_at; /* index in wait[] */
    int64_t arrival_us;
    uint64_t ns;
    int32_t n_bias, n_ban; /* pairs; ids that must not be drawn before min_new tokens are */
    bool has_mask, has_counts;
    bool counted; /* the device has its counts since it got its row */
    bool whole_pages;
    int32_t account;  /* both as in struct msg_submit */
    int32_t scores;   /* as in msg_submit */
    int32_t n_scored; /* tok[1 .. n_scored] are reported; each once, whatever is computed anew */
    token_id stop[MAX_STOP_IDS];
    char odd[64]; /* an odd number of cache lines, so that the rows use all sets of a cache */
};

/* Inputs of the seqs by slot, and scratch; see area.c. */
struct area {
    struct token_bias *bias; /* [n_slots][MAX_BIAS] */
    token_id *ban;
    uint32_t *mask; /* [n_slots][n_mask] */
    int32_t n_mask;
    uint32_t *count; /* [vocab] scratch, zero between uses */
};

/* See fair.h. */
struct tenant {
    uint64_t key;
    double served; /* virtual time: work done for it, by its weight */
    double weight;
    int32_t n_live, n_rows; /* seqs that have not ended; rows held, also by ended ones in a step */
    int32_t max_rows;       /* 0 = no bound */
    int32_t n_decoding;     /* its rows in the decode step being planned, not charged yet */
    uint64_t n_admitted;
    /* scratch of one choice, valid when its number is that of the choice */
    uint64_t choice;
    int32_t best;    /* of its waiting seqs, index in seq[]; -1 = none */
    int32_t n_pages; /* that its running seqs hold */
    int64_t least;   /* least priority (largest number) among its running seqs */
};

/* Every seq and the lists they are on. */
struct seqs {
    int32_t n_slots;  /* max_live, and max_seqs more for those whose end was sent while in a step */
    struct seq *seq;  /* [n_slots] */
    int32_t *free;    /* free slots, stack */
    row_id *free_row; /* stack */
    int32_t *wait;    /* WAITING, any order */
    int32_t *run;     /* RUNNING, in sched_before order */
    int32_t n_free, n_free_rows, n_wait, n_run;
    int32_t n_draining; /* ended or preempted, a step in flight names them */
    int32_t n_marked;   /* of these: preempted, will wait again */
    struct idmap ids, tenants;
    struct tenant *tenant;              /* [n_slots] */
    int32_t *tenant_free, *tenant_seen; /* stack; scratch of a choice */
    int32_t *tenant_decoding;           /* those with n_decoding > 0 */
    int32_t n_tenant_free, n_tenant_seen, n_tenant_decoding;
    uint64_t n_orders;
    uint64_t n_choices; /* counts passes over the tenants' scratch */
    uint64_t plan_no;   /* counts plans: seqs with in_plan == plan_no are in the one being built */
    int32_t n_asked;    /* scores that it asks for */
    int32_t n_vectors;  /* that the plan being built brings */
    int32_t n_embeds;   /* live seqs that are to give one */
};

/* ---- what the scheduler knows ---- */

/* Ways to split a device between two lanes that the engine can keep apart. */
enum { MAX_SHARES = 31 };

/* Measured, by step.share: [0] is the whole device; see budget.c and split.c. */
struct cost {
    /* Decayed sums: their ratio is the cost of a token. */
    double prefill_us[MAX_SHARES + 1], prefill_tokens[MAX_SHARES + 1];
    double decode[MAX_SHARES + 1]; /* moving average: us of a decode step, per load */
    double best_token_us;          /* the least that a token of a prefill step cost lately */
};

struct sched {
    int32_t max_step_tokens;   /* settings */
    int64_t max_decode_gap_us; /* 0 = no bound */
    struct cost cost;
    double weight_tokens; /* as in engine_facts */
    double load;          /* of the last decode step that was committed, see split.c */
    int32_t n_shares;     /* of the executors; 0: the device cannot be split, or one lane */
    int32_t share;        /* the split that steps planned now run on, see split.c */
    int32_t share_age;    /* decode steps that were committed on it */
    uint64_t n_beside;    /* decode steps on any split */
    uint64_t share_used[MAX_SHARES + 1]; /* n_beside at the last on this one */
    double since_decode_us; /* estimated prefill work submitted since the last decode step */
    double vclock;          /* what a tenant would have been served, had each got its share */
    double weights;         /* of all tenants that have live seqs */
    int32_t n_kept;         /* rows kept for tenants below their share, see fair.c */
    uint64_t kept_until;    /* plan number */
    req_id last_pushed;     /* the seq that made room for another tenant last */
    int32_t
        area_full; /* the first row that the last decode step had no area for, index in seq[]; -1 */
    int32_t gate_seq, gate_avail; /* the seq that did not fit, and the pages there were then */
    int64_t last_decode_us;       /* when the last decode step was committed; 0 = nobody waits */
};

/* ---- the engine ---- */

/* Records on their way to the outbox; see outbox.c. */
struct staging {
    struct out_rec *rec;
    struct token_logprob *top;
    float *vec; /* [cap_vec][hidden_dim] */
    int32_t n_rec, n_top, n_vec, cap_rec, cap_top;
    int32_t cap_vec; /* vectors: as many as one step may bring, see plan.c */
    char *buf;       /* the packed message */
    bool dirty;      /* statistics changed since the last message */
    bool blocked;    /* the outbox was full */
};

struct engine {
    struct engine_limits lim;
    struct engine_facts facts;
    struct mbox *in, *out;
    struct kv *kv;
    struct seqs seqs;
    struct area area;
    struct lane lane[MAX_LANES];
    int32_t n_lanes;
    struct sched sched;
    struct staging staging;
    struct engine_stats stats;
    uint64_t n_turns;
    int32_t *held, *pins; /* scratch of the audit */
    int64_t n_stalls;
    int32_t n_stalled; /* turns in a row with work and without a step */
    bool failed, stopping;
    int stop_status;
    int64_t (*now)(void *); /* clock_us, or a test's clock */
    int64_t now_us;         /* as of the last wait or the begin of the turn */
    int64_t wake_us;        /* two lanes: when prompts have waited long enough */
    /* Let time pass while steps are in flight; NULL: wait for a message. For tests, with `now`. */
    void (*pause)(void *now_arg, int64_t us);
    void *now_arg;

    pthread_t thread;
    bool started;
    atomic_int live; /* accepted by engine_submit, end not yet sent */
    atomic_int down; /* 0, or the status engine_submit answers */
    atomic_llong beat_us, allowance_us;
};

static inline int32_t seq_need(const struct seq *s)
{
    return s->n_tok - s->n_planned;
}
/* Are there scores that no planned chunk brings? */
static inline bool seq_to_score(const struct seq *s)
{
    int32_t last = s->n_prompt - 1;
    return s->scores > 0 && s->n_scored < last && s->n_planned < last;
}
/* Is nothing drawn behind them? */
static inline bool seq_scores_only(const struct seq *s)
{
    return s->scores > 0 && s->n_max == s->n_prompt;
}
/* It waits for a prefill step; with one token left, and that not for a vector, for a decode step.
 */
static inline bool seq_wants_chunk(const struct seq *s)
{
    int32_t need = seq_need(s);
    return need > 1 || (need == 1 && s->embed != EMBED_NONE);
}
static inline int32_t seq_index(const struct seqs *q, const struct seq *s)
{
    return (int32_t)(s - q->seq);
}
static inline int64_t engine_now(const struct engine *en)
{
    return en->now(en->now_arg);
}

#endif
