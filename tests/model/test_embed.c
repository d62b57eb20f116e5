/* SPDX-License-Identifier: Apache-2.0 */
/* Prompts for vectors through the engine and the real executor of the CPU: chunked, preempted, next
 * to answers, found in the cache - to the bit what one pass over the whole prompt gives. */
#include "testing.h"

#include "engine_fixture.h"
#include "mem.h"
#include "model_run.h"
#include "tiny_model.h"

enum { VOCAB = 97, MAX_LEN = 96, DIM = 48, N = 24, ROWS = 4 };

static char dir[TINY_DIR_BYTES];
static token_id ids[N][MAX_LEN];
static int32_t len[N];
static float got[N][DIM];
static int32_t n_ended, n_vec[N], n_cached[N];
static int64_t n_preempted;

static int how(int i)
{
    return i % 3 == 0 ? EMBED_LAST : i % 3 == 1 ? EMBED_MEAN : EMBED_NONE;
}

/* Stems that many share, so that the cache has something to give. */
static int make_model(void **state)
{
    static const struct tiny_model tiny = {.family = "qwen3",
                                           .dim = DIM,
                                           .ffn = 96,
                                           .layers = 2,
                                           .heads = 3,
                                           .kv_heads = 1,
                                           .head_dim = 16,
                                           .vocab = VOCAB,
                                           .max_position = 512,
                                           .norm_eps = 1e-6};
    (void)state;
    tiny_model_dir(dir, "embed");
    tiny_model_write(dir, &tiny);
    for (int i = 0; i < N; i++) {
        len[i] = i == 0 ? 1 : 20 + i * 29 % 60;
        for (int k = 0; k < MAX_LEN; k++)
            ids[i][k] = (token_id)((k < 40 ? k * k * (i % 2 + 3) + k : k * 5 + 17 * i) % VOCAB);
    }
    return 0;
}

static int remove_model(void **state)
{
    (void)state;
    tiny_model_remove(dir);
    return 0;
}

static void open_run(struct model_run *x, int32_t rows)
{
    struct model_source_opts so = {.path = dir, .dummy = true, .seed = 9};
    struct be_config bc = {.kind = BE_CPU, .threads = 2};
    struct err e = {0};
    if (model_run_open(x, &so, &bc, rows, MAX_LEN, MAX_LEN, &e) != 0)
        fail_msg("%s", e.msg);
}

/* One pass, no engine. */
static void alone(struct model_run *x, int i, float *v)
{
    model_run_begin(x, STEP_PREFILL);
    model_run_add(x, 0, 0, ids[i], len[i], NULL);
    x->s->rows[0].want = how(i) == EMBED_LAST ? STEP_WANT_HIDDEN : STEP_WANT_MEAN;
    assert_int_equal(model_run_go(x), 0);
    assert_int_equal(x->ex.hidden(x->ex.self, 0, 0, v), 0);
}

static void submit(struct engine *en, int i)
{
    struct msg_submit *m = xalloc(sizeof *m + sizeof ids[i]);
    *m = (struct msg_submit){.h = {.kind = MSG_SUBMIT},
                             .id = (req_id)i + 1,
                             .n_prompt = len[i],
                             .max_new = how(i) == EMBED_NONE ? 8 : 0,
                             .embed = how(i),
                             .priority = -i,
                             .ignore_eos = 1,
                             .params = {.top_p = 1, .n_logprobs = -1}};
    memcpy(m + 1, ids[i], (size_t)len[i] * sizeof **ids);
    assert_int_equal(engine_submit(en, m), 0);
    free(m);
}

static void take(struct mbox *out)
{
    const struct msg_outbox *m;
    mbox_take(out);
    while ((m = mbox_next(out, NULL)) != NULL) {
        const struct out_rec *rec = (const struct out_rec *)(m + 1);
        const float *vec = (const float *)((const struct token_logprob *)(rec + m->n_rec) +
                                           m->n_top);
        assert_int_equal(m->stats.audit_failures, 0);
        n_preempted = m->stats.preemptions;
        for (int32_t k = 0; k < m->n_rec; k++) {
            int i = (int)rec[k].id - 1;
            assert_true(rec[k].finish != FINISH_ERROR && rec[k].finish != FINISH_CANCEL);
            n_ended += rec[k].finish != FINISH_NONE;
            if (rec[k].finish != FINISH_VECTOR)
                continue;
            assert_int_equal(rec[k].n_vec, DIM);
            n_vec[i]++;
            n_cached[i] = rec[k].n_cached;
            memcpy(got[i], vec + rec[k].vec0, sizeof got[i]);
        }
    }
}

/* Pages for a few of them; later ones are more urgent and push earlier ones out. */
static void test_engine(void **state)
{
    (void)state;
    struct model_run x, y;
    open_run(&x, ROWS);
    open_run(&y, 1);
    struct engine_fixture f = engine_fixture();
    f.f.n_pages = 14;
    f.f.max_model_len = MAX_LEN;
    f.f.vocab = VOCAB;
    f.f.hidden_dim = DIM;
    f.f.steps_in_flight = 1;
    f.c.kv.page_tokens = 16;
    f.c.scheduler.max_seqs = ROWS;
    f.c.scheduler.max_step_tokens = 11;
    struct mbox *out = mbox_new(1 << 16, 1 << 20, NULL, NULL);
    struct engine *en = engine_fixture_new(&f, &x.ex, out);
    for (int i = 0; i < N; i++) {
        submit(en, i);
        for (int k = 0; k < 3; k++)
            engine_turn(en);
    }
    for (int k = 0; n_ended < N; k++) {
        assert_true(k < 10000);
        engine_turn(en);
        take(out);
    }
    int hits = 0;
    for (int i = 0; i < N; i++) {
        float want[DIM];
        assert_int_equal(n_vec[i], how(i) != EMBED_NONE);
        if (n_vec[i] == 0)
            continue;
        alone(&y, i, want);
        assert_memory_equal(got[i], want, sizeof want);
        assert_true(how(i) == EMBED_LAST || n_cached[i] == 0);
        hits += n_cached[i] > 0;
    }
    assert_true(hits > 0 && n_preempted > 0);
    engine_free(en);
    mbox_free(out);
    model_run_close(&x);
    model_run_close(&y);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_engine)};
    return cmocka_run_group_tests(tests, make_model, remove_model);
}
