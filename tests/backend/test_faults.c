/* SPDX-License-Identifier: Apache-2.0 */
/* test_faults.c - the CUDA backend's host code on a mock of the CUDA runtime and of cuBLASLt, with
 * the real model loader, executor and engine on top: machines without a usable GPU, every call of
 * the start failing in turn, memory that does not suffice, and errors while requests are served. */
#include "testing.h"

#include "cuda_mock.h"
#include "engine/state.h"
#include "engine_fixture.h"
#include "log.h"
#include "mem.h"
#include "model.h"
#include "model/warm.h"
#include "tiny_model.h"

#include <driver_types.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VOCAB = 128, PAGES = 40, PAGE_TOKENS = 16, ROWS = 4, N_REQ = 16, MAX_NEW = 12, PROMPT = 20 };

static char dir[TINY_DIR_BYTES];
static const struct tiny_model tiny = {.family = "llama",
                                       .dim = 64,
                                       .ffn = 128,
                                       .layers = 2,
                                       .heads = 4,
                                       .kv_heads = 2,
                                       .head_dim = 16,
                                       .vocab = VOCAB,
                                       .max_position = 512,
                                       .norm_eps = 1e-5};

struct house {
    struct be *be;
    struct model *model;
    struct engine *en;
    struct mbox *out;
    int ended[N_REQ], finish[N_REQ], status[N_REQ], n_got[N_REQ];
};

static int open_gpu(struct be **be, int index, struct err *e)
{
    struct be_config bc = {.kind = BE_CUDA, .index = index, .memory_utilization = 1, .graphs = 1};
    memset(e, 0, sizeof *e);
    return be_open(be, &bc, e);
}

static int32_t lanes = 1; /* of the models that load() makes */

static int load(struct be *be, struct model **m, int64_t pool_bytes, int32_t step_tokens,
                struct err *e)
{
    struct model_source_opts so = {.path = dir, .dummy = true, .seed = 3};
    struct model_source *src;
    struct model_opts mo = {.kv_dt = -1,
                            .act_dt = -1,
                            .weight_dt = -1,
                            .page_tokens = PAGE_TOKENS,
                            .pool_bytes = pool_bytes,
                            .max_seqs = ROWS,
                            .max_step_tokens = step_tokens,
                            .lanes = lanes};
    assert_int_equal(model_source_open(&src, &so, e), 0);
    memset(e, 0, sizeof *e);
    int st = model_load(m, src, be, &mo, e);
    model_source_close(src);
    return st;
}

static int64_t pool_bytes(void)
{
    return (int64_t)PAGES * 2 * 2 * 2 * PAGE_TOKENS * 16 * 2;
}

static void nothing_left(void)
{
    assert_int_equal(mock.device_used, 0);
    assert_int_equal(mock.host_used, 0);
}

/* be_open says why, leaves nothing behind, and the CPU is still to be had. */
static void expect_no_gpu(int index, const char *text)
{
    struct be *be;
    struct err e;
    assert_int_equal(be_has_cuda(), 1);
    assert_int_equal(open_gpu(&be, index, &e), ST_DEVICE);
    assert_null(be);
    if (!strstr(e.msg, text))
        fail_msg("\"%s\" does not say \"%s\"", e.msg, text);
    nothing_left();
    struct be_config cpu = {.kind = BE_CPU, .threads = 1};
    assert_int_equal(be_open(&be, &cpu, &e), 0);
    be_close(be);
}

static void test_no_usable_gpu(void **state)
{
    (void)state;
    mock_reset();
    mock.no_driver = cudaErrorInsufficientDriver;
    expect_no_gpu(0, "no usable NVIDIA GPU: driver too old");
    mock_reset();
    mock.n_devices = 0;
    expect_no_gpu(0, "the driver lists none");
    mock_reset();
    expect_no_gpu(3, "GPU 3 was asked for, but the driver lists 1");
    mock.cc = 75;
    expect_no_gpu(0, "compute capability 7.5; 8.0 is needed");
    mock_reset();
    mock.has_lt = 0;
    expect_no_gpu(0, "libcublasLt");
}

/* Calls of the start that may fail: which GPU is current is asked again later, the seal waits for
 * copies that a synchronisation before it has waited for, a card need not be divisible. */
static bool may_fail(const char *call)
{
    return strcmp(call, "set_device") == 0 || strcmp(call, "event_sync") == 0 ||
           strncmp(call, "green_", 6) == 0;
}

/* Fail the k-th call of the start, for every k until none fails, once and for ever: an error with a
 * text, and nothing is left. */
static void every_call_of_the_start(void)
{
    static const int error[] = {cudaErrorUnknown, cudaErrorMemoryAllocation, cudaErrorInvalidValue};
    int64_t n_calls = 0;
    for (size_t k = 0; k < sizeof error / sizeof *error; k++)
        for (int for_ever = 0; for_ever < 2; for_ever++)
            for (int64_t at = 0;; at++) {
                struct be *be;
                struct model *m = NULL;
                struct err e;
                mock_reset();
                mock.fail_at = at;
                mock.fail_error = error[k];
                mock.for_ever = for_ever;
                int st = open_gpu(&be, 0, &e);
                int64_t n_start = mock.n_matching;
                if (st == 0) {
                    st = load(be, &m, pool_bytes(), 64, &e);
                    n_start = mock.n_matching;
                    model_free(m);
                    be_close(be);
                }
                nothing_left();
                if (mock.n_failed == 0 || at >= n_start) { /* behind the start */
                    assert_int_equal(st, 0);
                    n_calls = at;
                    break;
                }
                if (st == 0 && !may_fail(mock.failed))
                    fail_msg("call %d (%s) of %d failed and nobody noticed", (int)at, mock.failed,
                             (int)n_start);
                if (st != 0 && !e.msg[0])
                    fail_msg("call %d (%s): no text", (int)at, mock.failed);
            }
    printf("%d calls of the start\n", (int)n_calls);
    assert_true(n_calls > 40);
}

static void test_every_call_of_the_start(void **state)
{
    (void)state;
    every_call_of_the_start();
    lanes = 2;
    every_call_of_the_start();
    lanes = 1;
}

/* A card that can be split, one that cannot; steps on every share, and the way back. */
static void test_shares(void **state)
{
    (void)state;
    lanes = 2;
    for (int split = 0; split < 2; split++) {
        struct be *be;
        struct model *m;
        struct err e;
        mock_reset();
        mock.fail_name = split ? "" : "green_ctx";
        mock.fail_at = split ? -1 : 0;
        mock.fail_error = cudaErrorNotSupported;
        assert_int_equal(open_gpu(&be, 0, &e), 0);
        assert_int_equal(load(be, &m, pool_bytes(), 64, &e), 0);
        assert_int_equal(model_lanes(m), 2);
        for (int32_t lane = 0; lane < 2; lane++) {
            struct executor ex;
            struct step *s = xalloc(sizeof *s);
            struct step_result *r = xalloc(sizeof *r);
            model_executor(m, lane, &ex);
            assert_int_equal(ex.n_shares, split ? 4 : 0);
            *s = (struct step){.version = STEP_VERSION,
                               .kind = lane == 0 ? STEP_PREFILL : STEP_DECODE,
                               .n_rows = 1,
                               .n_tokens = 1,
                               .n_edits = 1};
            s->rows[0] = (struct step_row){.row = lane, .n = 1, .want = STEP_WANT_SAMPLE};
            s->sample[0] = (struct sample_params){.top_p = 1, .n_logprobs = -1};
            s->edits[0] = (struct page_edit){.row = lane, .page = lane};
            for (s->share = -1; s->share <= ex.n_shares + 1; s->share++) {
                bool ok = s->share >= 0 && s->share <= ex.n_shares;
                assert_int_equal(ex.submit(ex.self, 0, s), ok ? 0 : ST_INVALID_VALUE);
                if (ok)
                    assert_int_equal(ex.wait(ex.self, 0, r), 0);
            }
            free(s);
            free(r);
        }
        model_free(m);
        be_close(be);
        nothing_left();
    }
    lanes = 1;
}

/* Memory from nothing to plenty: what did not fit is named, with what would. */
static void test_out_of_memory(void **state)
{
    static const char *const line[] = {"workspace.", "weights.", "KV pool"};
    int seen[3] = {0}, fits = 0;
    (void)state;
    for (size_t k = 0; k < 200; k++) {
        struct be *be;
        struct model *m = NULL;
        struct err e;
        mock_reset();
        assert_int_equal(open_gpu(&be, 0, &e), 0);
        mock.memory = mock.device_used + (k << 17);
        be->info.memory_free = (int64_t)(k << 17);
        int st = load(be, &m, 8 << 20, 4096, &e);
        if (st == 0)
            fits++;
        for (int i = 0; st != 0 && i < 3; i++)
            if (strstr(e.msg, line[i])) {
                if (!seen[i]++)
                    printf("%s\n", e.msg);
                assert_non_null(strstr(e.msg, "MiB"));
                assert_non_null(strstr(e.msg, i == 1 ? "would do" : "would"));
            }
        assert_true(st == 0 || st == ST_NOMEM);
        model_free(m);
        be_close(be);
        nothing_left();
    }
    assert_true(fits > 0 && seen[0] > 0 && seen[1] > 0 && seen[2] > 0);
}

static struct house *house_new(void)
{
    struct house *h = xalloc(sizeof *h);
    struct err e;
    mock_reset();
    assert_int_equal(open_gpu(&h->be, 0, &e), 0);
    assert_int_equal(load(h->be, &h->model, pool_bytes(), 64, &e), 0);
    struct engine_fixture x = engine_fixture();
    x.f.n_pages = model_n_pages(h->model);
    x.f.max_model_len = 128;
    x.f.vocab = VOCAB;
    x.c.kv.page_tokens = PAGE_TOKENS;
    x.c.scheduler.max_seqs = ROWS;
    x.c.scheduler.max_step_tokens = 64;
    x.c.scheduler.max_decode_gap = 1000;
    x.c.limits.queue_size = N_REQ;
    struct executor ex;
    model_executor(h->model, 0, &ex);
    h->out = mbox_new(1 << 14, 1 << 20, NULL, NULL);
    h->en = engine_fixture_new(&x, &ex, h->out);
    return h;
}

static void house_free(struct house *h)
{
    engine_stop(h->en, ST_DRAINING);
    engine_free(h->en);
    mbox_free(h->out);
    model_free(h->model);
    be_close(h->be);
    free(h);
    nothing_left();
}

static int submit(struct house *h, int i)
{
    struct {
        struct msg_submit m;
        token_id tok[PROMPT];
    } s = {.m = {.h = {.kind = MSG_SUBMIT},
                 .id = (req_id)i + 1,
                 .n_prompt = PROMPT,
                 .max_new = MAX_NEW,
                 .ignore_eos = 1,
                 .params = {.top_p = 1, .n_logprobs = -1}}};
    for (int k = 0; k < PROMPT; k++)
        s.tok[k] = (i * 7 + k) % VOCAB;
    return engine_submit(h->en, &s.m);
}

static void serve(struct house *h)
{
    int ends = 0;
    for (int turn = 0; turn < 2000 && ends < N_REQ; turn++) {
        const struct msg_outbox *m;
        engine_turn(h->en);
        mbox_take(h->out);
        while ((m = mbox_next(h->out, NULL)) != NULL) {
            const struct out_rec *r = (const struct out_rec *)(m + 1);
            for (int32_t k = 0; k < m->n_rec; k++) {
                int i = (int)r[k].id - 1;
                assert_true(i >= 0 && i < N_REQ && !h->ended[i]);
                if (r[k].token >= 0) {
                    assert_int_equal(r[k].token, MOCK_TOKEN);
                    h->n_got[i]++;
                }
                h->ended[i] = r[k].finish != FINISH_NONE;
                h->finish[i] = r[k].finish;
                h->status[i] = r[k].status;
                ends += h->ended[i];
            }
        }
    }
    assert_int_equal(ends, N_REQ);
}

static int run(struct house *h)
{
    int n_failed = 0;
    for (int i = 0; i < N_REQ; i++)
        assert_int_equal(submit(h, i), 0);
    serve(h);
    for (int i = 0; i < N_REQ; i++) {
        if (h->finish[i] == FINISH_LENGTH)
            assert_int_equal(h->n_got[i], MAX_NEW);
        n_failed += h->finish[i] != FINISH_LENGTH;
    }
    assert_int_equal(h->en->stats.audit_failures, 0);
    return n_failed;
}

static void test_healthy(void **state)
{
    (void)state;
    struct house *h = house_new();
    assert_int_equal(run(h), 0);
    assert_true(mock.n_graphs > 0 && mock.n_graph_launches > 10 && mock.n_eager > 10);
    assert_int_equal(h->en->stats.healthy, 1);
    house_free(h);
}

static struct house *house_that_fails(const char *name, int64_t at, int times, int error, int loss)
{
    struct house *h = house_new();
    mock.n_matching = 0; /* of the start */
    mock.fail_name = name;
    mock.fail_at = at;
    mock.fail_times = times;
    mock.fail_error = error;
    mock.for_ever = loss;
    return h;
}

/* The context is lost at any call of serving: every live request ends with an error, the engine
 * says so, and nobody calls the device again. */
static void test_lost_context(void **state)
{
    (void)state;
    log_set(LOG_ERROR, LOG_TEXT);
    for (int64_t at = 0; at < 600; at += at < 120 ? 1 : 37) {
        struct house *h = house_that_fails("", at, 1, cudaErrorIllegalAddress, 1);
        int n_failed = run(h);
        assert_true(mock.n_failed > 0 && n_failed > 0);
        for (int i = 0; i < N_REQ; i++)
            if (h->finish[i] != FINISH_LENGTH) {
                assert_int_equal(h->finish[i], FINISH_ERROR);
                assert_int_equal(h->status[i], ST_ENGINE_DOWN);
            }
        assert_int_equal(h->en->stats.healthy, 0);
        assert_int_equal(submit(h, 0), ST_ENGINE_DOWN);
        assert_int_equal(be_sync(h->be), ST_DEVICE);
        assert_null(be_alloc_host(h->be, "late", 1));
        if (mock.n_after_loss > 0)
            fail_msg("call %d: %s after the loss", (int)at, mock.after_loss);
        house_free(h);
    }
    log_set(LOG_ERROR, LOG_TEXT);
}

/* What passes is tried again, and a step that cannot be recorded runs eagerly: nobody notices. */
static void test_retry(void **state)
{
    static const struct {
        const char *call;
        int error;
    } c[] = {{"graph_launch", cudaErrorNotReady},
             {"event_sync", cudaErrorNotReady},
             {"capture_begin", cudaErrorStreamCaptureUnsupported},
             {"capture_end", cudaErrorStreamCaptureInvalidated},
             {"graph_instantiate", cudaErrorMemoryAllocation}};
    (void)state;
    log_set(LOG_ERROR, LOG_TEXT);
    for (size_t k = 0; k < sizeof c / sizeof *c; k++)
        for (int64_t at = 0; at < 3; at++) {
            struct house *h = house_that_fails(c[k].call, at, 1, c[k].error, 0);
            int n_failed = run(h);
            if (n_failed > 0)
                fail_msg("%s %d: %d requests failed", c[k].call, (int)at, n_failed);
            assert_int_equal(h->en->stats.healthy, 1);
            house_free(h);
        }
    /* for ever transient is an error */
    struct house *h = house_that_fails("event_sync", 3, 1000, cudaErrorNotReady, 0);
    assert_true(run(h) > 0);
    assert_int_equal(h->en->stats.healthy, 0);
    house_free(h);
    /* never recorded at all */
    h = house_that_fails("graph_instantiate", 0, 1000, cudaErrorMemoryAllocation, 0);
    assert_int_equal(run(h), 0);
    assert_int_equal(mock.n_graph_launches, 0);
    house_free(h);
    log_set(LOG_ERROR, LOG_TEXT);
}

/* A launch that is refused costs the requests of its step, and only those. */
static void test_refused(void **state)
{
    static const char *const call[] = {"launch embed", "launch attn_prefill",
                                       "launch rope_kv_write", "launch sample", "lt matmul"};
    (void)state;
    log_set(LOG_ERROR, LOG_TEXT);
    for (size_t k = 0; k < sizeof call / sizeof *call; k++) {
        struct house *h = house_that_fails(call[k], 1, 1, cudaErrorInvalidValue, 0);
        int n_failed = run(h);
        if (n_failed < 1 || n_failed > ROWS)
            fail_msg("%s: %d requests failed", call[k], n_failed);
        for (int i = 0; i < N_REQ; i++)
            if (h->finish[i] != FINISH_LENGTH)
                assert_int_equal(h->status[i], ST_INTERNAL);
        assert_int_equal(h->en->stats.healthy, 1);
        h->ended[0] = 0;
        assert_int_equal(submit(h, 0), 0);
        house_free(h);
    }
    log_set(LOG_ERROR, LOG_TEXT);
}

/* The second of three candidates is twice as fast: it is taken, kept in the file, and the next
 * start asks for nothing. Another card's file and a broken line are not believed. */
static void test_tune(void **state)
{
    (void)state;
    char path[TINY_DIR_BYTES + 8], line[512];
    snprintf(path, sizeof path, "%s/gemm", dir);
    for (int start = 0; start < 4; start++) {
        struct be *be;
        struct model *m;
        struct err e;
        mock_reset();
        mock.fast_algo = 2;
        mock.cc = start == 3 ? 80 : 90;
        assert_int_equal(open_gpu(&be, 0, &e), 0);
        assert_int_equal(load(be, &m, pool_bytes(), 64, &e), 0);
        assert_int_equal(model_warm(m, WARM_PASSES, path, &e), 0);
        assert_int_equal(mock.algo, 2);
        if (start == 0 || start == 3)
            assert_true(mock.n_heuristics > 10);
        else
            assert_int_equal(mock.n_heuristics, start == 1 ? 0 : 1);
        model_free(m);
        be_close(be);
        nothing_left();
        if (start == 1) { /* an algorithm that the library does not have */
            FILE *f = fopen(path, "r+");
            assert_non_null(fgets(line, sizeof line, f));
            long at = ftell(f);
            assert_non_null(fgets(line, sizeof line, f));
            char *algo = strstr(line, " 0000000000000002");
            assert_non_null(algo);
            algo[16] = '7';
            fseek(f, at, SEEK_SET);
            fputs(line, f);
            fclose(f);
        }
    }
    remove(path);
}

/* A card without room for measuring starts all the same. */
static void test_tune_no_room(void **state)
{
    (void)state;
    struct be *be;
    struct model *m;
    struct err e;
    char path[TINY_DIR_BYTES + 8];
    snprintf(path, sizeof path, "%s/gemm", dir);
    mock_reset();
    assert_int_equal(open_gpu(&be, 0, &e), 0);
    assert_int_equal(load(be, &m, pool_bytes(), 64, &e), 0);
    mock.memory = mock.device_used + 4096;
    assert_int_equal(model_warm(m, WARM_PASSES, path, &e), 0);
    assert_int_equal(mock.algo, 1); /* the library's first */
    model_free(m);
    be_close(be);
    nothing_left();
}

int main(void)
{
    log_set(LOG_ERROR, LOG_TEXT);
    tiny_model_dir(dir, "faults");
    tiny_model_write(dir, &tiny);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_usable_gpu), cmocka_unit_test(test_every_call_of_the_start),
        cmocka_unit_test(test_shares),        cmocka_unit_test(test_tune),
        cmocka_unit_test(test_tune_no_room),  cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_healthy),       cmocka_unit_test(test_lost_context),
        cmocka_unit_test(test_retry),         cmocka_unit_test(test_refused),
    };
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    tiny_model_remove(dir);
    return r;
}
