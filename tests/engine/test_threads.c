/* SPDX-License-Identifier: Apache-2.0 */
/* test_threads.c - the engine on its own thread: clients submit and cancel from several threads at
 * once; every accepted request ends exactly once, with the right tokens; then stop, device errors,
 * refusals. Built with -DQUIRE_SANITIZE=thread this is the race test. */
#include "testing.h"

#include "clock.h"
#include "engine/state.h"
#include "engine_fixture.h"
#include "hash_model.h"
#include "kv.h"
#include "lane_thread.h"
#include "log.h"
#include "mem.h"
#include "naive.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N_CLIENTS = 4, PER_CLIENT = 60, N_REQ = N_CLIENTS * PER_CLIENT, VOCAB = 50, MAX_NEW = 20 };

struct request {
    struct msg_submit m;
    token_id tok[32];
};
struct house {
    struct engine *en;
    struct hash_model *hm;
    struct mbox *out;
    struct engine_fixture x;
    struct request req[N_REQ];
    token_id want[N_REQ][MAX_NEW];
    int32_t n_want[N_REQ], n_got[N_REQ], ended[N_REQ], finish[N_REQ], status[N_REQ];
    int64_t healthy;
    struct lane_thread thread[MAX_LANES];
    int n_threads;
};

/* `threads`: each lane's steps run on a thread of its own. */
static struct house *house_new(int32_t max_waiting, int lanes, int threads)
{
    struct house *h = xalloc(sizeof *h);
    h->x = engine_fixture();
    h->x.f.n_pages = 60;
    h->x.f.max_model_len = 60;
    h->x.f.vocab = VOCAB;
    h->x.f.n_eos = 1;
    h->x.f.eos[0] = 7;
    h->x.c.kv.page_tokens = 4;
    h->x.c.scheduler.max_seqs = 6;
    h->x.c.scheduler.max_step_tokens = 24;
    h->x.c.scheduler.max_decode_gap = 1000;
    h->x.c.limits.queue_size = max_waiting;
    const struct hm_config m = {.n_pages = 60,
                                .page_tokens = 4,
                                .max_rows = 6,
                                .max_pages = 15,
                                .vocab = VOCAB,
                                .depth = 2,
                                .lanes = lanes,
                                .n_shares = lanes > 1 ? 3 : 0,
                                .by_hand = threads,
                                .seed = 11};
    struct executor ex[MAX_LANES];
    h->x.f.n_lanes = lanes;
    h->hm = hm_new(&m);
    hm_executor(h->hm, ex);
    for (; threads && h->n_threads < lanes; h->n_threads++)
        lane_thread_open(&h->thread[h->n_threads], &ex[h->n_threads], 300);
    h->out = mbox_new(1 << 14, 1 << 14, NULL, NULL);
    h->en = engine_fixture_new(&h->x, ex, h->out);
    uint64_t rng = 1;
    for (int i = 0; i < N_REQ; i++) {
        struct request *q = &h->req[i];
        rng = hm_mix(rng, (uint64_t)i);
        q->m = (struct msg_submit){.h = {.kind = MSG_SUBMIT},
                                   .id = (req_id)i + 1,
                                   .n_prompt = 1 + (int32_t)(rng % 30),
                                   .max_new = 1 + (int32_t)(rng / 64 % MAX_NEW),
                                   .tenant = rng / 7 % 3,
                                   .params = {.n_logprobs = -1}};
        for (int k = 0; k < q->m.n_prompt; k++)
            q->tok[k] = k < 12 ? k : (token_id)(hm_mix(rng, (uint64_t)k) % VOCAB);
        float lp[MAX_NEW] = {0};
        struct naive_out o = {.tok = h->want[i], .logprob = lp};
        naive_generate(&q->m, VOCAB, h->x.f.eos, 1, &o);
        h->n_want[i] = o.n;
    }
    return h;
}

static void house_free(struct house *h)
{
    for (int i = 0; i < h->n_threads; i++)
        lane_thread_close(&h->thread[i]);
    engine_free(h->en);
    hm_free(h->hm);
    mbox_free(h->out);
    free(h);
}

/* Read the outbox until `n` requests ended or `limit_us` passed. Returns how many. */
static int read_ends(struct house *h, int n, int64_t limit_us)
{
    int64_t end = clock_us() + limit_us;
    int ends = 0;
    while (ends < n && clock_us() < end) {
        const struct msg_outbox *m;
        mbox_wait(h->out, 10000);
        mbox_take(h->out);
        while ((m = mbox_next(h->out, NULL)) != NULL) {
            const struct out_rec *r = (const struct out_rec *)(m + 1);
            h->healthy = m->stats.healthy;
            for (int32_t k = 0; k < m->n_rec; k++, r++) {
                int i = (int)r->id - 1;
                assert_false(h->ended[i]);
                if (r->token >= 0) {
                    assert_true(h->n_got[i] < h->n_want[i]);
                    assert_int_equal(r->token, h->want[i][h->n_got[i]++]);
                }
                h->ended[i] = r->finish != FINISH_NONE;
                h->finish[i] = r->finish;
                h->status[i] = r->status;
                ends += h->ended[i];
            }
        }
    }
    return ends;
}

struct client {
    struct house *h;
    int first;
};

static void *client_main(void *arg)
{
    const struct client *c = arg;
    for (int i = c->first; i < c->first + PER_CLIENT; i++) {
        int st;
        while ((st = engine_submit(c->h->en, &c->h->req[i].m)) == ST_QUEUE_FULL)
            usleep(50);
        if (st != 0)
            return arg;
        if (i % 5 == 0)
            engine_cancel(c->h->en, (req_id)i + 1, ST_CANCELLED);
        if (i % 16 == 0)
            engine_heartbeat_us(c->h->en, NULL);
    }
    return NULL;
}

static void clients(int lanes, int threads)
{
    struct house *h = house_new(20, lanes, threads);
    pthread_t th[N_CLIENTS];
    struct client c[N_CLIENTS];
    assert_int_equal(engine_start(h->en, NULL), 0);
    for (int i = 0; i < N_CLIENTS; i++) {
        c[i] = (struct client){h, i * PER_CLIENT};
        pthread_create(&th[i], NULL, client_main, &c[i]);
    }
    assert_int_equal(read_ends(h, N_REQ, 60000000), N_REQ);
    for (int i = 0; i < N_CLIENTS; i++) {
        void *bad;
        pthread_join(th[i], &bad);
        assert_null(bad);
    }
    engine_stop(h->en, ST_DRAINING);
    for (int i = 0; i < N_REQ; i++)
        assert_true(h->finish[i] == FINISH_CANCEL ? i % 5 == 0 : h->n_got[i] == h->n_want[i]);
    struct kv_stats k;
    kv_get_stats(h->en->kv, &k);
    assert_int_equal(k.n_free + k.n_evictable, k.n_pages);
    assert_int_equal(h->en->stats.audit_failures, 0);
    assert_true(h->en->stats.audits > 0);
    assert_int_equal(hm_counts(h->hm)->violations, 0);
    assert_int_equal(engine_submit(h->en, &h->req[0].m), ST_DRAINING);
    house_free(h);
}

static void test_clients(void **state)
{
    (void)state;
    clients(1, 0);
    clients(2, 0);
}

/* The engine's thread and one for each lane. */
static void test_lane_threads(void **state)
{
    (void)state;
    clients(1, 1);
    clients(2, 1);
}

/* No work: the thread sleeps. Stopping it ends what is live, with the status given. */
static void idle_and_stop(int lanes)
{
    struct house *h = house_new(N_REQ, lanes, lanes > 1);
    assert_int_equal(engine_start(h->en, NULL), 0);
    /* It comes to rest: some window without one turn. A thread that spins has none. */
    bool busy = true;
    int64_t beat = 0, again = 1;
    for (int i = 0; i < 600 && (busy || beat == 0 || again != beat); i++) {
        beat = engine_heartbeat_us(h->en, &busy);
        usleep(100000);
        again = engine_heartbeat_us(h->en, &busy);
    }
    assert_true(beat > 0 && again == beat);
    assert_int_equal(busy, 0);
    for (int i = 0; i < N_REQ; i++)
        assert_int_equal(engine_submit(h->en, &h->req[i].m), 0);
    log_set(LOG_ERROR, LOG_TEXT);
    assert_int_equal(engine_dump(h->en), 0);
    /* the outbox is smaller than what is coming and nobody reads: stop must still return */
    engine_stop(h->en, ST_DRAINING);
    read_ends(h, N_REQ, 100000);
    house_free(h);
}

static void test_idle_and_stop(void **state)
{
    (void)state;
    idle_and_stop(1);
    idle_and_stop(2);
}

/* A thread that was not scheduled yet is not a hanging one: the clock starts with the work. */
static void test_heartbeat(void **state)
{
    (void)state;
    struct house *h = house_new(N_REQ, 1, 0);
    bool busy = true;
    engine_heartbeat_us(h->en, &busy);
    assert_int_equal(busy, 0);
    int64_t before = clock_us();
    assert_int_equal(engine_submit(h->en, &h->req[0].m), 0);
    assert_true(engine_heartbeat_us(h->en, &busy) >= before);
    assert_int_equal(busy, 1);
    int64_t first = engine_heartbeat_us(h->en, &busy);
    assert_int_equal(engine_submit(h->en, &h->req[1].m), 0);
    assert_true(engine_heartbeat_us(h->en, &busy) == first); /* more work is no sign of life */
    for (int i = 0; i < 400; i++) {
        engine_turn(h->en);
        if (mbox_wait(h->out, 0))
            read_ends(h, 1, 1);
    }
    engine_heartbeat_us(h->en, &busy);
    assert_int_equal(busy, 0);
    house_free(h);
}

static void turns(struct house *h, int n)
{
    for (int i = 0; i < n; i++) {
        engine_turn(h->en);
        read_ends(h, 1, 0);
    }
}

/* A step that was refused costs its own requests; the others go on as if nothing had been. */
static void test_refused_step(void **state)
{
    (void)state;
    for (uint64_t at = 0; at < 22; at++) {
        uint64_t no = 1 + at / 2;
        struct house *h = house_new(N_REQ, 1 + (int)(at % 2), 0);
        int n_failed = 0;
        hm_fail(h->hm, no, ST_INTERNAL, 1, 0);
        for (int i = 0; i < 40; i++)
            assert_int_equal(engine_submit(h->en, &h->req[i].m), 0);
        for (int i = 0; i < 4000; i++) {
            engine_turn(h->en);
            if (mbox_wait(h->out, 0))
                read_ends(h, 1, 1);
        }
        for (int i = 0; i < 40; i++) {
            assert_true(h->ended[i]);
            if (h->finish[i] == FINISH_ERROR)
                assert_int_equal(h->status[i], ST_INTERNAL);
            else
                assert_int_equal(h->n_got[i], h->n_want[i]);
            n_failed += h->finish[i] == FINISH_ERROR;
        }
        assert_true(n_failed >= 1 && n_failed <= h->x.c.scheduler.max_seqs);
        assert_int_equal(h->healthy, 1);
        struct kv_stats k;
        kv_get_stats(h->en->kv, &k);
        assert_int_equal(k.n_free + k.n_evictable, k.n_pages);
        assert_int_equal(h->en->stats.audit_failures, 0);
        assert_int_equal(h->en->lane[0].n_limbo + h->en->lane[1].n_limbo, 0);
        assert_int_equal(engine_submit(h->en, &h->req[50].m), 0);
        house_free(h);
    }
}

/* A device error ends what is live; a transient one is retried; for ever transient is an error. */
static void device(int lanes)
{
    for (int on_wait = 0; on_wait <= 1; on_wait++)
        for (int kind = 0; kind < 3; kind++) {
            struct house *h = house_new(N_REQ, lanes, 0);
            int ok = kind == 0;
            hm_fail(h->hm, 5, kind == 2 ? ST_DEVICE : ST_DEVICE_RETRY, ok ? 2 : 1000, on_wait);
            for (int i = 0; i < 20; i++)
                assert_int_equal(engine_submit(h->en, &h->req[i].m), 0);
            for (int i = 0; i < 4000; i++) {
                engine_turn(h->en);
                if (mbox_wait(h->out, 0))
                    read_ends(h, 1, 1);
            }
            for (int i = 0; i < 20; i++) {
                assert_true(h->ended[i]);
                assert_int_equal(h->finish[i] == FINISH_ERROR && ok, 0);
                if (h->finish[i] == FINISH_ERROR)
                    assert_int_equal(h->status[i], ST_ENGINE_DOWN);
            }
            assert_int_equal(h->healthy, ok);
            assert_int_equal(engine_submit(h->en, &h->req[30].m), ok ? 0 : ST_ENGINE_DOWN);
            struct kv_stats k;
            kv_get_stats(h->en->kv, &k);
            if (!ok)
                assert_int_equal(k.n_free + k.n_evictable, k.n_pages);
            house_free(h);
        }
}

static void test_device(void **state)
{
    (void)state;
    device(1);
    device(2);
}

static void test_refusals(void **state)
{
    (void)state;
    struct house *h = house_new(2, 1, 0);
    struct err e;
    struct engine_limits l;
    struct engine_misfit why;
    engine_limits_of(&l, &h->x.c, &h->x.f);
    assert_int_equal(l.max_live, l.max_seqs + l.max_waiting);
    assert_int_equal(engine_fits(&l, 50, 10, &why), 0);
    assert_int_equal(engine_fits(&l, 50, 11, &why), ST_CONTEXT_LENGTH);
    assert_true(why.bound == ENGINE_BOUND_MODEL && why.tokens == 60);
    assert_int_equal(engine_fits(&l, INT64_MAX, INT64_MAX, NULL), ST_CONTEXT_LENGTH);
    l.n_pages = 5;
    assert_int_equal(engine_fits(&l, 15, 6, &why), 0);
    assert_int_equal(engine_fits(&l, 15, 7, &why), ST_CONTEXT_LENGTH);
    assert_true(why.bound == ENGINE_BOUND_POOL && why.tokens == 20);
    struct request bad = h->req[0];
    bad.m.id = 0;
    assert_int_equal(engine_submit(h->en, &bad.m), ST_INVALID_VALUE);
    bad = h->req[0];
    bad.tok[0] = VOCAB;
    assert_int_equal(engine_submit(h->en, &bad.m), ST_INVALID_VALUE);
    bad = h->req[0];
    bad.m.n_stop_ids = MAX_STOP_IDS + 1;
    assert_int_equal(engine_submit(h->en, &bad.m), ST_INVALID_VALUE);
    bad = h->req[0];
    bad.m.h.bytes = 1;
    assert_int_equal(engine_submit(h->en, &bad.m), ST_INVALID_LENGTH);
    for (int i = 0; i < 8; i++)
        assert_int_equal(engine_submit(h->en, &h->req[i].m), 0);
    assert_int_equal(engine_submit(h->en, &h->req[8].m), ST_QUEUE_FULL);
    turns(h, 1);
    struct engine_fixture none = h->x;
    none.c.kv.page_tokens = 0;
    struct engine *en;
    assert_int_equal(engine_new(&en, &none.c, &none.f, &h->en->lane[0].ex, h->out, &e),
                     ST_INVALID_VALUE);
    none = h->x;
    none.f.n_lanes = 2;
    const struct executor uneven[] = {{.n_shares = 3}, {.n_shares = 4}};
    const struct executor many[] = {{.n_shares = MAX_SHARES + 1}, {.n_shares = MAX_SHARES + 1}};
    assert_int_equal(engine_new(&en, &none.c, &none.f, uneven, h->out, &e), ST_INVALID_VALUE);
    assert_string_equal(e.param, "n_shares");
    assert_int_equal(engine_new(&en, &none.c, &none.f, many, h->out, &e), ST_INVALID_VALUE);
    none.f.n_lanes = 3;
    assert_int_equal(engine_new(&en, &none.c, &none.f, uneven, h->out, &e), ST_INVALID_VALUE);
    assert_string_equal(e.param, "n_lanes");
    house_free(h);
}

int main(void)
{
    log_set(LOG_ERROR, LOG_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clients),       cmocka_unit_test(test_lane_threads),
        cmocka_unit_test(test_idle_and_stop), cmocka_unit_test(test_heartbeat),
        cmocka_unit_test(test_device),        cmocka_unit_test(test_refused_step),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
