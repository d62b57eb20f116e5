/* SPDX-License-Identifier: Apache-2.0 */
/* test_engine.c - the real engine over a small random model on the GPU, with one lane and with two:
 * two steps in flight, a pool far too small for the rows, shared prefixes, duplicates, random
 * cancels, an audit every turn. Every request must give what it gives alone, as long as the two
 * best tokens are not so close that 16-bit sums of another batch may swap them.
 *
 *   cuda_test_engine [requests] [cpu]      skipped without a GPU
 */
#include "testing.h"

#include "engine/state.h"
#include "engine_fixture.h"
#include "kv.h"
#include "log.h"
#include "mem.h"
#include "model.h"
#include "tiny_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SKIPPED = 77, VOCAB = 1024, N_DISTINCT = 400, MAX_PROMPT = 150, MAX_NEW = 40, ROWS = 24 };
enum { PAGES = 48, PAGE_TOKENS = 16, WAITING = 40, STEMS = 4, MAX_OPEN = ROWS + WAITING };
static const double MARGIN = 0.05; /* between the logits of the two best */
static const double LOGPROB_TOLERANCE = 0.05;

/* One distinct request, and what it gives alone. */
struct request {
    struct msg_submit m;
    token_id prompt[MAX_PROMPT], want[MAX_NEW];
    float logprob[MAX_NEW], margin[MAX_NEW];
};
/* One of those under way. */
struct open_req {
    const struct request *r; /* NULL: free */
    int32_t n_got, cancel_after, differs;
};
struct counts {
    int64_t sent, ended, cancelled, tokens, compared, differ, wrong;
    double worst_margin, worst_logprob;
};

static int n_requests = 10000, kind = BE_CUDA, lanes = 1;
static char dir[TINY_DIR_BYTES];
static const struct tiny_model tiny = {.family = "llama",
                                       .dim = 256,
                                       .ffn = 512,
                                       .layers = 2,
                                       .heads = 8,
                                       .kv_heads = 2,
                                       .head_dim = 64,
                                       .vocab = VOCAB,
                                       .max_position = 512,
                                       .norm_eps = 1e-5};
static struct be *be;
static struct model *model;
static struct request req[N_DISTINCT];
static uint64_t rng_state = 7;

static int rnd(int n)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (int)((rng_state >> 33) % (uint64_t)n);
}

static int64_t free_memory(void)
{
    struct be_config bc = {.kind = kind, .memory_utilization = 0.9};
    struct be *b;
    struct err e = {0};
    assert_int_equal(be_open(&b, &bc, &e), 0);
    int64_t n = b->info.memory_free;
    be_close(b);
    return n;
}

static void open_model(void)
{
    struct model_source_opts so = {.path = dir, .dummy = true, .seed = 3};
    struct be_config bc = {.kind = kind, .threads = 2, .memory_utilization = 0.9, .graphs = 1};
    struct model_source *src;
    struct err e = {0};
    tiny_model_write(dir, &tiny);
    assert_int_equal(model_source_open(&src, &so, &e), 0);
    assert_int_equal(be_open(&be, &bc, &e), 0);
    int64_t el = (int64_t)dtype_size(be->info.kv_dt);
    struct model_opts mo = {.kv_dt = -1,
                            .act_dt = -1,
                            .weight_dt = -1,
                            .page_tokens = PAGE_TOKENS,
                            .pool_bytes = (int64_t)PAGES * 2 * 2 * 2 * PAGE_TOKENS * 64 * el,
                            .max_seqs = ROWS,
                            .max_step_tokens = 256,
                            .lanes = lanes};
    if (model_load(&model, src, be, &mo, &e) != 0)
        fail_msg("%s", e.msg);
    assert_int_equal(model_n_pages(model), PAGES);
    model_source_close(src);
}

static struct engine *open_engine(int alone, struct mbox *out)
{
    struct engine_fixture x = engine_fixture();
    struct executor ex[MAX_LANES];
    x.f.n_pages = PAGES;
    x.f.max_model_len = MAX_PROMPT + MAX_NEW;
    x.f.vocab = VOCAB;
    x.f.cache_seed = 5;
    x.c.kv.page_tokens = PAGE_TOKENS;
    x.c.kv.prefix_cache.enabled = !alone;
    x.c.scheduler.max_seqs = alone ? 1 : ROWS;
    x.c.scheduler.max_step_tokens = 256;
    x.c.scheduler.steps_in_flight = alone ? 1 : 2;
    x.c.scheduler.max_decode_gap = 2000;
    x.c.limits.queue_size = alone ? 1 : WAITING;
    x.f.n_lanes = lanes;
    for (int i = 0; i < lanes; i++)
        model_executor(model, i, &ex[i]);
    return engine_fixture_new(&x, ex, out);
}

/* Prompts share stems, are a stem alone, or are an earlier prompt again with a longer tail. */
static void make_requests(void)
{
    static token_id stem[STEMS][MAX_PROMPT];
    for (int i = 0; i < STEMS; i++)
        for (int k = 0; k < MAX_PROMPT; k++)
            stem[i][k] = rnd(VOCAB);
    for (int i = 0; i < N_DISTINCT; i++) {
        struct request *r = &req[i];
        int32_t n = rnd(MAX_PROMPT - 20);
        memcpy(r->prompt, stem[rnd(STEMS)], sizeof r->prompt);
        if (i > 0 && rnd(3) == 0) {
            const struct request *q = &req[rnd(i)];
            memcpy(r->prompt, q->prompt, sizeof r->prompt);
            n = q->m.n_prompt < MAX_PROMPT - 20 ? q->m.n_prompt : MAX_PROMPT - 20;
        }
        for (int tail = rnd(4) ? rnd(20) : 0; tail > 0 || n == 0; tail--)
            r->prompt[n++] = rnd(VOCAB);
        r->m = (struct msg_submit){.h = {.kind = MSG_SUBMIT},
                                   .n_prompt = n,
                                   .max_new = 1 + rnd(MAX_NEW),
                                   .tenant = (uint64_t)rnd(3),
                                   .ignore_eos = 1,
                                   .params = {.top_p = 1.0f, .n_logprobs = 2}};
        if (rnd(3) == 0) { /* the sampler's long way to the best token */
            r->m.params.temperature = 0.7f;
            r->m.params.top_k = 1;
            r->m.params.seed = (uint64_t)i;
        }
    }
}

static void submit(struct engine *en, const struct request *r, req_id id)
{
    struct {
        struct msg_submit m;
        token_id tok[MAX_PROMPT];
    } s;
    s.m = r->m;
    s.m.id = id;
    memcpy(s.tok, r->prompt, sizeof s.tok);
    assert_int_equal(engine_submit(en, &s.m), 0);
}

/* Each alone: one row, one step in flight, nothing cached. */
static void run_alone(void)
{
    struct mbox *out = mbox_new(1 << 16, 1 << 20, NULL, NULL);
    struct engine *en = open_engine(1, out);
    for (int i = 0; i < N_DISTINCT; i++) {
        int32_t n = 0, ended = 0;
        submit(en, &req[i], (req_id)i + 1);
        while (!ended) {
            const struct msg_outbox *m;
            engine_turn(en);
            mbox_take(out);
            while ((m = mbox_next(out, NULL)) != NULL) {
                const struct out_rec *rec = (const struct out_rec *)(m + 1);
                const struct token_logprob *top = (const struct token_logprob *)(rec + m->n_rec);
                for (int32_t k = 0; k < m->n_rec; k++) {
                    assert_true(rec[k].finish != FINISH_ERROR && rec[k].n_top == 2);
                    top += rec[k].top0;
                    assert_int_equal(top[0].token, rec[k].token);
                    req[i].want[n] = rec[k].token;
                    req[i].logprob[n] = rec[k].logprob;
                    req[i].margin[n++] = top[0].logprob - top[1].logprob;
                    ended |= rec[k].finish != FINISH_NONE;
                }
            }
        }
        assert_int_equal(n, req[i].m.max_new);
    }
    engine_stop(en, ST_DRAINING);
    engine_free(en);
    mbox_free(out);
}

static void take_record(struct open_req *o, const struct out_rec *rec, struct counts *n)
{
    const struct request *r = o->r;
    assert_non_null(r);
    if (rec->token >= 0) {
        int32_t k = o->n_got++;
        assert_true(k < r->m.max_new);
        n->tokens++;
        if (!o->differs) {
            n->compared++;
            n->worst_logprob = fmax(n->worst_logprob,
                                    fabs((double)rec->logprob - (double)r->logprob[k]));
        }
        if (!o->differs && rec->token != r->want[k]) {
            o->differs = 1; /* from here on another text */
            n->differ++;
            n->worst_margin = fmax(n->worst_margin, (double)r->margin[k]);
            n->wrong += (double)r->margin[k] > MARGIN;
        }
    }
    if (rec->finish == FINISH_NONE)
        return;
    assert_int_not_equal(rec->finish, FINISH_ERROR);
    if (rec->finish == FINISH_LENGTH)
        assert_int_equal(o->n_got, r->m.max_new);
    else
        n->cancelled++;
    n->ended++;
    o->r = NULL;
}

static void take_all(struct mbox *out, struct open_req *open, struct counts *n)
{
    const struct msg_outbox *m;
    mbox_take(out);
    while ((m = mbox_next(out, NULL)) != NULL) {
        const struct out_rec *rec = (const struct out_rec *)(m + 1);
        for (int32_t i = 0; i < m->n_rec; i++)
            take_record(&open[rec[i].id % MAX_OPEN], &rec[i], n);
    }
}

/* New requests into free places, now and then; cancels after a random number of tokens. */
static void clients(struct engine *en, struct open_req *open, int64_t total, struct counts *n)
{
    for (int i = 0; i < MAX_OPEN; i++) {
        struct open_req *o = &open[i];
        if (!o->r && n->sent < total && rnd(4) == 0) {
            *o = (struct open_req){.r = &req[rnd(N_DISTINCT)],
                                   .cancel_after = rnd(8) ? INT32_MAX : rnd(20)};
            submit(en, o->r, (req_id)MAX_OPEN * (req_id)(1 + n->sent) + (req_id)i);
            n->sent++;
        }
    }
    for (int i = 0; i < MAX_OPEN; i++)
        if (open[i].r && open[i].n_got >= open[i].cancel_after) {
            open[i].cancel_after = INT32_MAX;
            for (int32_t k = 0; k < en->seqs.n_slots; k++)
                if (en->seqs.seq[k].state != SEQ_FREE && en->seqs.seq[k].id % MAX_OPEN == (req_id)i)
                    engine_cancel(en, en->seqs.seq[k].id, ST_CANCELLED);
        }
}

static void serve(int64_t total)
{
    struct open_req open[MAX_OPEN] = {0};
    struct counts n = {0};
    struct kv_stats k;
    open_model();
    run_alone();
    struct mbox *out = mbox_new(1 << 16, 1 << 20, NULL, NULL);
    struct engine *en = open_engine(0, out);
    while (n.ended < total) {
        clients(en, open, total, &n);
        engine_turn(en);
        take_all(out, open, &n);
    }
    for (int i = 0; i < 4; i++)
        engine_turn(en);
    const struct engine_stats s = en->stats;
    kv_get_stats(en->kv, &k);
    printf("%lld requests, %lld cancelled, %lld tokens, %lld steps; %lld preemptions, %lld of %lld "
           "prompt tokens from the cache, %lld pages evicted; %lld audits, %lld failures\n",
           (long long)n.ended, (long long)n.cancelled, (long long)n.tokens,
           (long long)(s.steps_decode + s.steps_prefill), (long long)s.preemptions,
           (long long)s.prefix_hits, (long long)s.prefix_queries, (long long)s.evicted_pages,
           (long long)s.audits, (long long)s.audit_failures);
    printf("%lld tokens compared with the request alone, %lld requests left it at a margin of at "
           "most %.4f, logprobs within %.4f\n",
           (long long)n.compared, (long long)n.differ, n.worst_margin, n.worst_logprob);
    assert_int_equal(n.wrong, 0);
    assert_true(n.worst_logprob <= LOGPROB_TOLERANCE);
    assert_int_equal(s.audit_failures, 0);
    assert_int_equal(en->n_stalls, 0);
    assert_int_equal(k.n_free + k.n_evictable, k.n_pages);
    assert_true(s.audits > 0 && s.preemptions > 0 && s.prefix_hits > 0 && s.evicted_pages > 0);
    assert_true(n.cancelled > 0 && n.compared > n.tokens / 2);
    engine_stop(en, ST_DRAINING);
    engine_free(en);
    mbox_free(out);
    model_free(model);
    be_close(be);
}

enum { GREEN_BYTES = 6 * (4 << 20) };

/* The context keeps what it loads for kernels once, so memory is compared after a first round. The
 * driver (580) also keeps 4 MiB of each of the six green contexts of a lane that was closed: a
 * server opens one in its life. */
static void test_served(void **state)
{
    (void)state;
    make_requests();
    for (lanes = 1; lanes <= MAX_LANES; lanes++) {
        serve(n_requests < 400 ? n_requests : 400);
        int64_t before = free_memory();
        serve(n_requests);
        int64_t after = free_memory();
        printf("lanes %d: device memory free before %lld, after %lld\n", lanes, (long long)before,
               (long long)after);
        if (kind == BE_CUDA)
            assert_in_range(before - after, 0, lanes > 1 ? GREEN_BYTES : 0);
    }
}

int main(int argc, char **argv)
{
    struct be_config bc = {.kind = BE_CUDA, .memory_utilization = 0.9};
    struct be *b;
    struct err e = {0};
    n_requests = argc > 1 ? atoi(argv[1]) : n_requests;
    kind = argc > 2 && strcmp(argv[2], "cpu") == 0 ? BE_CPU : BE_CUDA;
    log_set(LOG_WARN, LOG_TEXT);
    if (kind == BE_CUDA && be_open(&b, &bc, &e) != 0) {
        printf("skipped: %s\n", e.msg);
        return SKIPPED;
    }
    if (kind == BE_CUDA)
        be_close(b);
    tiny_model_dir(dir, "cuda");
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_served)};
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    tiny_model_remove(dir);
    return r;
}
