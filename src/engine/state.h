/* state.h - the engine's own state: seqs, queues, the steps in flight. Private to src/engine (and
 * its tests). Everything is allocated in engine_new; index -1 means none.
 *
 *   WAITING --seq_start--> RUNNING --finish, cancel--> DRAINING --seq_release--> gone
 *      ^                      |
 *      +----- seq_preempt ----+   (a seq in flight is only marked; it leaves at n_inflight == 0)
 */
#ifndef QUIRE_ENGINE_STATE_H
#define QUIRE_ENGINE_STATE_H

#include "engine.h"
#include "kv.h"
#include "plant.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

enum seq_state { SEQ_FREE, SEQ_WAITING, SEQ_RUNNING, SEQ_DRAINING };

/* One generation. n_known <= n_tok: tokens from n_known on are placeholders for samples that a step
 * in flight will bring. n_done <= n_cached: the step that computes the difference is in flight. */
struct seq {
    req_id id;
    enum seq_state state;
    uint32_t gen; /* counts reuse of this slot */
    row_id row;
    int32_t n_tok, n_known, n_prompt, n_max; /* n_max = n_prompt + max_new */
    int32_t n_cached;                        /* leading tokens whose KV is planned or present */
    int32_t n_done;                          /* ... present: their step was committed */
    int32_t n_inflight;                      /* submitted steps that name this seq */
    int32_t n_pages;
    int32_t n_sent; /* leading page-table entries the device knows */
    int32_t n_pub;  /* leading pages on the tree path that ends in node */
    node_id node;
    int preempting;   /* off run[], waits for n_inflight == 0 to give everything back */
    uint64_t in_step; /* the step it was packed into last */
    int64_t priority;
    int64_t boost;  /* 1: preempted so often that nobody may preempt it again */
    uint64_t order; /* arrival number */
    token_id *tok;  /* [max_model_len] */
    page_id *pages; /* [max_pages] */
    struct sample_params params;
    node_id copy_node; /* pinned source of the head of page copy_index, KV_ROOT = none pending */
    int32_t copy_index;
    int32_t n_preempted;
    int32_t wait_at; /* index in wait[] */
    int32_t tenant;
    int32_t min_new, ignore_eos, no_cache_read, n_stop;
    int32_t n_hit; /* prompt tokens from the cache at first admission; -1 before */
    int64_t arrival_us, queue_us;
    uint64_t ns;
    token_id stop[MAX_STOP_IDS];
};

/* uint64 -> int32, open addressing, never more than half full. */
struct idmap {
    uint64_t *key;
    int32_t *val; /* -1 = empty */
    uint32_t mask;
};

struct tenant {
    uint64_t key;
    int64_t served; /* virtual time: tokens computed for it */
    int32_t n_live;
};

/* What a commit needs to know about a submitted step. */
struct flight {
    struct {
        int32_t seq;
        uint32_t gen;
    } who[MAX_ROWS];
    uint64_t no;
    int64_t submit_us;
};

/* A page or a pin that a step in flight still needs, released when step `no` is committed. */
struct limbo {
    uint64_t no;
    page_id page; /* -1: node */
    node_id node;
};
enum { MAX_LIMBO = (MAX_INFLIGHT + 1) * MAX_COPIES };

/* Measured costs; see sched.c. */
struct cost {
    double prefill_us, prefill_tokens; /* decayed sums: their ratio is the cost of a token */
    double decode_us;                  /* moving average of a decode step */
};

struct staging {
    struct out_rec *rec;
    struct token_logprob *top;
    int32_t n_rec, n_top, cap_rec, cap_top;
    char *buf; /* the packed message */
    int dirty; /* statistics changed since the last message */
    int blocked;
};

struct engine {
    struct engine_config c;
    struct executor ex;
    struct mbox *in, *out;
    struct kv *kv;
    int32_t max_live; /* admission bound: max_seqs + max_waiting */
    int32_t n_slots;  /* max_live, and max_seqs more for those whose end was sent while in a step */
    int32_t max_pages;
    struct seq *seq; /* [n_slots] */
    int32_t *slot;   /* free slots, stack */
    int32_t n_slot;
    row_id *rows; /* free rows, stack */
    int32_t n_rows;
    int32_t *wait; /* WAITING, any order */
    int32_t n_wait;
    int32_t *run;              /* RUNNING, in sched_before order */
    int32_t n_run, n_draining; /* draining: ended or preempted, a step in flight names them */
    int32_t n_marked;          /* of these: preempted, will wait again */
    struct idmap ids, tenants;
    struct tenant *tenant; /* [n_slots] */
    int32_t *tenant_free;
    int32_t n_tenant_free;
    int64_t vclock; /* served of the tenant admitted last */
    uint64_t n_orders, n_admitted;
    int32_t gate_seq, gate_avail; /* the seq that did not fit, and the pages there were then */

    struct step *step[MAX_INFLIGHT];
    struct flight *flight[MAX_INFLIGHT];
    struct step_result *result;
    int32_t n_flight, next_slot;
    uint64_t step_no, done_no; /* submitted; committed */
    struct limbo *limbo;       /* [MAX_LIMBO], in order of no */
    int32_t n_limbo, limbo_head;

    struct cost cost;
    double since_decode_us; /* estimated prefill work submitted since the last decode step */
    int64_t done_us;        /* when the last step was committed */
    int64_t last_decode_us; /* when the last decode step was committed; 0 = nobody waits */
    struct staging o;
    struct engine_stats stats;
    uint64_t n_turns;
    int32_t *held, *pins; /* scratch of the audit */
    int64_t n_stalls;
    int32_t n_stalled; /* turns in a row with work and without a step */
    int failed, stopping, stop_status;
    int64_t (*now)(void *); /* clock_us, or a test's clock */
    void *now_arg;

    pthread_t thread;
    int started;
    atomic_int live; /* accepted by engine_submit, end not yet sent */
    atomic_int down; /* 0, or the status engine_submit answers */
    atomic_llong beat_us;
};

static inline int32_t seq_need(const struct seq *s)
{
    return s->n_tok - s->n_cached;
}
static inline int64_t engine_now(const struct engine *en)
{
    return en->now(en->now_arg);
}

/* idmap.c */
void idmap_init(struct idmap *m, int32_t max);
void idmap_fini(struct idmap *m);
int32_t idmap_get(const struct idmap *m, uint64_t key);
void idmap_put(struct idmap *m, uint64_t key, int32_t val);
void idmap_del(struct idmap *m, uint64_t key);

/* seq.c: mechanism of the life cycle. */
void seq_admit(struct engine *en, const struct msg_submit *m);
int seq_start(struct engine *en, struct seq *s, int32_t reserve); /* 1 started, 0 no room now */
int seq_grow(struct engine *en, struct seq *s, int32_t n_tokens); /* pages for that many; 0 short */
void seq_preempt(struct engine *en, struct seq *s);
void seq_end(struct engine *en, struct seq *s); /* no further work; release when possible */
void seq_settle(struct engine *en,
                struct seq *s); /* at n_inflight == 0: carry out what is marked */
void seq_publish(struct engine *en, struct seq *s);
void limbo_put(struct engine *en, page_id page, node_id node);
void limbo_drain(struct engine *en);

/* sched.c: decisions only. */
int sched_before(const struct seq *a, const struct seq *b);
int32_t sched_pick(const struct engine *en); /* index in seq[] of the waiting one to admit; -1 */
/* Tokens of prefill to plan now beside n_decoders waiting rows; 0: a decode step is due. */
int32_t sched_prefill_budget(const struct engine *en, int32_t n_decoders);
struct seq *sched_victim(const struct engine *en, const struct seq *for_seq);
int32_t sched_reserve(const struct engine *en); /* pages to leave for running decodes */
void sched_note_step(struct engine *en, const struct step *st, int64_t us);
void sched_note_submit(struct engine *en, const struct step *st);

/* plan.c: fill en->step[slot]; rows planned. */
int32_t plan_step(struct engine *en, int slot);

/* commit.c */
void commit_step(struct engine *en, int slot);

/* outbox.c */
int outbox_init(struct engine *en, struct err *e);
void outbox_fini(struct engine *en);
void outbox_token(struct engine *en, const struct seq *s, token_id t, int finish, int32_t stop_id,
                  int32_t i, const struct step_result *r);
void outbox_end(struct engine *en, const struct seq *s, int finish, int status);
void outbox_refuse(struct engine *en, req_id id, int status);
int outbox_send(struct engine *en); /* 1 sent or nothing to send, 0 still held */

/* engine.c */
void engine_fail(struct engine *en, int status); /* end every live request; healthy = 0 */

/* audit.c, dump.c */
int engine_audit(struct engine *en, struct err *e);
void engine_explain(struct engine *en);

#endif
