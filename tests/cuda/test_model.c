/* SPDX-License-Identifier: Apache-2.0 */
/* A whole model on the GPU: logits against the CPU backend, recorded decode steps against eager
 * ones, two steps in flight, penalties, verdicts, scores and hidden states, memory given back.
 * Random weights. Skipped without a GPU. */
#include "testing.h"

#include "model/state.h"
#include "model/warm.h"
#include "model_run.h"
#include "penalty.h"
#include "tiny_model.h"

#include <math.h>
#include <stdio.h>

enum { SKIPPED = 77, VOCAB = 2048, ROWS = 6, MAX_LEN = 700, CHUNK = 200 };

/* family, dim, ffn, layers, heads, KV heads, head_dim */
static const struct tiny_model shapes[] = {
    {"llama", 512, 1408, 3, 8, 2, 64, VOCAB, 4096, 1e-6, true},
    {"qwen2", 896, 1600, 2, 14, 2, 64, VOCAB, 4096, 1e-6, true},
    {"qwen3", 512, 1024, 3, 8, 4, 128, VOCAB, 4096, 1e-6, true},
    {"mistral", 400, 808, 2, 5, 1, 80, VOCAB, 4096, 1e-6, true},
    {"llama", 576, 1536, 3, 9, 3, 64, VOCAB, 4096, 1e-6, true},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static char dir[TINY_DIR_BYTES];

static void open_run(struct model_run *x, int kind, int graphs)
{
    struct model_source_opts so = {.path = dir, .dummy = true, .seed = 7};
    struct be_config bc = {.kind = kind, .memory_utilization = 0.9, .graphs = graphs};
    struct err e = {0};
    if (model_run_open(x, &so, &bc, ROWS, MAX_LEN, CHUNK * 4, &e) != 0)
        fail_msg("%s", e.msg);
}

static token_id id_at(int32_t i)
{
    return (token_id)((uint32_t)(i + 17) * 2654435761u >> 7) % VOCAB;
}

static double cosine(const float *a, const float *b)
{
    double ab = 0, aa = 0, bb = 0;
    for (int i = 0; i < VOCAB; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return ab / sqrt(aa * bb);
}

static void feed(struct model_run *x, int kind, int32_t row, int32_t at, int32_t n, float *logits)
{
    struct sample_params sp = greedy_params();
    token_id ids[CHUNK];
    for (int32_t i = 0; i < n; i++)
        ids[i] = id_at(at + i);
    model_run_begin(x, kind);
    model_run_add(x, row, at, ids, n, &sp);
    assert_int_equal(model_run_go(x), 0);
    assert_int_equal(model_logits(x->m, 0, logits), 0);
}

static void check_shape(const struct tiny_model *s)
{
    struct model_run gpu, cpu;
    static float a[VOCAB], b[VOCAB];
    double worst = 1;
    tiny_model_write(dir, s);
    open_run(&cpu, BE_CPU, 0);
    open_run(&gpu, BE_CUDA, 1);
    int32_t at = 0;
    for (int i = 0; i < 3; i++) { /* chunks of a prompt, then decode steps over known tokens */
        int32_t n = i == 1 ? 61 : 150;
        feed(&cpu, STEP_PREFILL, 2, at, n, a);
        feed(&gpu, STEP_PREFILL, 2, at, n, b);
        worst = fmin(worst, cosine(a, b));
        at += n;
    }
    for (int i = 0; i < 200; i++, at++) {
        feed(&cpu, STEP_DECODE, 2, at, 1, a);
        feed(&gpu, STEP_DECODE, 2, at, 1, b);
        worst = fmin(worst, cosine(a, b));
    }
    printf("%s, dim %d, head_dim %d: lowest cosine to the CPU %.6f\n", s->family, s->dim,
           s->head_dim, worst);
    assert_true(worst >= 0.9995);
    model_run_close(&cpu);
    model_run_close(&gpu);
}

static void test_logits(void **state)
{
    (void)state;
    for (int i = 0; i < N_SHAPES; i++)
        check_shape(&shapes[i]);
}

/* ROWS rows of different lengths decode N tokens with feedback; `depth` steps in flight. */
enum { N = 120 };
static void generate(struct model_run *x, int depth, token_id out[N][ROWS])
{
    struct sample_params sp = {.temperature = 0.8f, .top_p = 0.9f, .top_k = 40, .n_logprobs = -1};
    static struct step s[2];
    static struct step_result r;
    token_id ids[CHUNK], again = TOKEN_FROM_ROW;
    int32_t len[ROWS];
    model_run_begin(x, STEP_PREFILL);
    for (int i = 0; i < ROWS; i++) {
        len[i] = 30 + 20 * i;
        sp.seed = (uint64_t)i;
        for (int32_t k = 0; k < len[i]; k++)
            ids[k] = id_at(k * (i + 1));
        model_run_add(x, i, 0, ids, len[i], &sp);
    }
    assert_int_equal(model_run_go(x), 0);
    memcpy(out[0], x->r->token, sizeof out[0]);
    for (int n = 1; n < N + depth - 1; n++) {
        if (n < N) {
            struct step *t = &s[n % 2];
            step_begin(t, STEP_DECODE, (uint64_t)n);
            for (int i = 0; i < ROWS; i++) {
                sp.seed = (uint64_t)i;
                step_add(t, x, i, len[i] + n - 1, &again, 1, &sp);
            }
            assert_int_equal(x->ex.submit(x->ex.self, n % 2, t), 0);
        }
        int done = n - depth + 1;
        if (done < 1)
            continue;
        assert_int_equal(x->ex.wait(x->ex.self, done % 2, &r), 0);
        memcpy(out[done], r.token, sizeof out[0]);
    }
}

static void test_graphs(void **state)
{
    static token_id want[N][ROWS], got[N][ROWS];
    (void)state;
    tiny_model_write(dir, &shapes[0]);
    for (int graphs = 0; graphs < 3; graphs++) /* never, when needed, at start */
        for (int depth = 1; depth <= 2; depth++) {
            struct model_run x;
            open_run(&x, BE_CUDA, graphs);
            for (int again = 0; again < 2; again++) {
                generate(&x, depth, got);
                if (graphs == 0 && depth == 1 && again == 0)
                    memcpy(want, got, sizeof got);
                assert_memory_equal(want, got, sizeof got);
            }
            model_run_close(&x);
        }
}

/* Greedy rows with penalties, a bias, and one without; every token is the best of what the
 * definitions make of the raw logits, where these can still be read (depth 1). */
enum { P_PROMPT = 40, P_ROWS = 4, P_N = 60 };
static void generate_penal(struct model_run *x, int depth, token_id tok[P_ROWS][P_PROMPT + P_N])
{
    static const token_id bias_tok[] = {7, 900, 2000, 0};
    static const float bias[] = {3, -2.5f, 1.25f, -INFINITY};
    static const struct sample_params sp[P_ROWS] = {
        {.top_p = 1, .n_logprobs = -1},
        {.top_p = 1, .n_logprobs = 3, .repetition_penalty = 1.2f},
        {.top_p = 1, .n_logprobs = -1, .presence_penalty = 0.8f, .frequency_penalty = 0.3f},
        {.top_p = 1, .n_logprobs = -1, .repetition_penalty = 0.9f, .frequency_penalty = 1}};
    static struct step s[2];
    static struct step_result r;
    static float raw[VOCAB], want[VOCAB];
    struct penalty_row row[P_ROWS];
    token_id again = TOKEN_FROM_ROW;
    for (int n = 0; n < P_N + depth - 1; n++) {
        struct step *t = &s[n % 2];
        step_begin(t, n == 0 ? STEP_PREFILL : STEP_DECODE, (uint64_t)n + 1);
        for (int i = 0; n < P_N && i < P_ROWS; i++) {
            if (n == 0) {
                for (int k = 0; k < P_PROMPT; k++)
                    tok[i][k] = id_at(k * (i + 3) % 29);
                row[i] = (struct penalty_row){tok[i], P_PROMPT,       P_PROMPT, bias_tok,
                                              bias,   i == 3 ? 4 : 0, NULL};
            }
            step_add(t, x, i, n == 0 ? 0 : P_PROMPT + n - 1, n == 0 ? tok[i] : &again,
                     n == 0 ? P_PROMPT : 1, &sp[i]);
            penalty_area(&row[i], VOCAB, n == 0 && has_penalty(&sp[i]), t, i);
        }
        if (n < P_N)
            assert_int_equal(x->ex.submit(x->ex.self, n % 2, t), 0);
        int done = n - depth + 1;
        if (done < 0)
            continue;
        assert_int_equal(x->ex.wait(x->ex.self, done % 2, &r), 0);
        for (int i = 0; i < P_ROWS; i++) {
            assert_int_equal(r.row[i].status, 0);
            if (depth == 1) {
                assert_int_equal(model_logits(x->m, i, raw), 0);
                penalty_logits(&row[i], &sp[i], raw, VOCAB, want);
                assert_int_equal(r.token[i], penalty_best(want, VOCAB));
            }
            tok[i][row[i].n_tok++] = r.token[i];
        }
    }
}

static void test_penalties(void **state)
{
    static token_id want[P_ROWS][P_PROMPT + P_N], got[P_ROWS][P_PROMPT + P_N];
    (void)state;
    tiny_model_write(dir, &shapes[0]);
    for (int graphs = 0; graphs < 2; graphs++)
        for (int depth = 1; depth <= 2; depth++) {
            struct model_run x;
            open_run(&x, BE_CUDA, graphs);
            for (int again = 0; again < 2; again++) {
                bool first = graphs == 0 && depth == 1 && again == 0;
                generate_penal(&x, depth, first ? want : got);
                if (!first)
                    assert_memory_equal(want, got, sizeof got);
            }
            model_run_close(&x);
        }
}

/* A weight that is a NaN: a status in place of tokens, on the GPU as well. */
static void test_numeric(void **state)
{
    static const float nan = NAN;
    struct model_run x;
    struct sample_params sp = greedy_params();
    token_id ids[4] = {1, 2, 3, 4};
    struct err e = {0};
    (void)state;
    tiny_model_write(dir, &shapes[0]);
    open_run(&x, BE_CUDA, 1);
    for (int with = 0; with < 2; with++) {
        for (int n = 0; n < 4; n++) { /* eager, recorded, replayed */
            model_run_begin(&x, STEP_DECODE);
            model_run_add(&x, 0, n, &ids[n], 1, &sp);
            assert_int_equal(model_run_go(&x), 0);
            assert_int_equal(x.r->row[0].status, with ? ST_NUMERIC : 0);
        }
        assert_int_equal(model_warm(x.m, WARM_PASSES, NULL, &e), with ? ST_FORMAT : 0);
        void *norm = (void *)(uintptr_t)x.m->w.final_norm;
        assert_int_equal(be_upload(x.be, norm, &nan, sizeof nan), 0);
        assert_int_equal(be_sync(x.be), 0);
    }
    model_run_close(&x);
}

/* Scores of a prompt in two chunks against logits taken position by position (other products, so
 * not to the bit); in the best list a token has the float of its score. */
static void test_scores(void **state)
{
    enum { LEN = 150, CUT = 83 };
    static float raw[VOCAB], score[LEN];
    struct model_run x;
    struct sample_params sp = greedy_params();
    token_id ids[LEN];
    double worst = 0;
    (void)state;
    tiny_model_write(dir, &shapes[0]);
    open_run(&x, BE_CUDA, 1);
    for (int i = 0; i < LEN; i++)
        ids[i] = id_at(i);
    for (int32_t k = 0; k + 1 < LEN; k++) { /* every third token a greedy one */
        model_run_begin(&x, STEP_DECODE);
        model_run_add(&x, 0, k, &ids[k], 1, &sp);
        assert_int_equal(model_run_go(&x), 0);
        if (k % 3 == 0)
            ids[k + 1] = x.r->token[0];
    }
    for (int part = 0; part < 2; part++) {
        int32_t at = part ? CUT : 0, n = part ? LEN - CUT : CUT;
        model_run_begin(&x, STEP_PREFILL);
        model_run_add(&x, 1, at, ids + at, n, NULL);
        x.s->rows[0].n_score = part ? n - 1 : n;
        x.s->rows[0].n_score_top = 5;
        x.s->rows[0].next = part ? -1 : ids[CUT];
        assert_int_equal(model_run_go(&x), 0);
        assert_int_equal(x.r->row[0].n_score, x.s->rows[0].n_score);
        for (int32_t j = 0; j < x.r->n_score; j++) {
            score[at + j] = x.r->score[j];
            for (int t = 0; t < 5; t++)
                if (x.r->score_top[j][t].token == ids[at + j + 1])
                    assert_memory_equal(&x.r->score_top[j][t].logprob, &x.r->score[j], 4);
        }
    }
    for (int32_t k = 0; k + 1 < LEN; k++) {
        model_run_begin(&x, STEP_DECODE);
        model_run_add(&x, 2, k, &ids[k], 1, &sp);
        assert_int_equal(model_run_go(&x), 0);
        assert_int_equal(model_logits(x.m, 0, raw), 0);
        double sum = 0;
        for (int t = 0; t < VOCAB; t++)
            sum += exp((double)raw[t]);
        worst = fmax(worst, fabs((double)raw[ids[k + 1]] - log(sum) - (double)score[k]));
    }
    printf("scores of %d positions: largest difference to decoding %.4f\n", LEN - 1, worst);
    assert_true(worst < 0.1);
    model_run_close(&x);
}

/* Vectors of a prompt in two chunks near those of the CPU. */
static void test_hidden(void **state)
{
    enum { LEN = 180, CUT = 77, DIM = 512 };
    static float v[4][DIM]; /* CPU last, mean; GPU last, mean */
    struct model_run x;
    token_id ids[LEN];
    (void)state;
    tiny_model_write(dir, &shapes[0]);
    for (int i = 0; i < LEN; i++)
        ids[i] = id_at(i);
    for (int gpu = 0; gpu < 2; gpu++) {
        open_run(&x, gpu ? BE_CUDA : BE_CPU, 1);
        for (int part = 0; part < 2; part++) {
            int32_t at = part ? CUT : 0, n = part ? LEN - CUT : CUT;
            model_run_begin(&x, STEP_PREFILL);
            model_run_add(&x, 0, at, ids + at, n, NULL);
            model_run_add(&x, 1, at, ids + at, n, NULL);
            x.s->rows[0].want = part ? STEP_WANT_HIDDEN : STEP_WANT_NONE;
            x.s->rows[1].want = part ? STEP_WANT_MEAN : STEP_WANT_SUM;
            assert_int_equal(model_run_go(&x), 0);
        }
        for (int k = 0; k < 2; k++) {
            assert_int_equal(x.r->row[k].status, 0);
            assert_int_equal(x.ex.hidden(x.ex.self, 0, k, v[2 * gpu + k]), 0);
        }
        model_run_close(&x);
    }
    for (int k = 0; k < 2; k++) {
        double ab = 0, aa = 0, bb = 0;
        for (int j = 0; j < DIM; j++) {
            ab += (double)v[k][j] * (double)v[2 + k][j];
            aa += (double)v[k][j] * (double)v[k][j];
            bb += (double)v[2 + k][j] * (double)v[2 + k][j];
        }
        printf("%s: cosine to the CPU %.6f\n", k ? "mean" : "last token", ab / sqrt(aa * bb));
        assert_true(ab / sqrt(aa * bb) >= 0.9995 && fabs(aa / bb - 1) < 0.02);
    }
}

static void test_memory_comes_back(void **state)
{
    int64_t first = 0;
    (void)state;
    tiny_model_write(dir, &shapes[2]);
    for (int i = 0; i < 4; i++) {
        struct be_config bc = {.kind = BE_CUDA, .memory_utilization = 0.9, .graphs = 1};
        struct be *be;
        struct err e = {0};
        assert_int_equal(be_open(&be, &bc, &e), 0);
        if (i == 1)
            first = be->info.memory_free;
        if (i > 1)
            assert_int_equal(be->info.memory_free, first);
        assert_non_null(be_alloc(be, "block", (size_t)1 << 30));
        be_close(be);
        struct model_run x;
        static float logits[VOCAB];
        open_run(&x, BE_CUDA, 1);
        for (int32_t at = 0; at < 20; at++)
            feed(&x, STEP_DECODE, 0, at, 1, logits);
        model_run_close(&x);
    }
}

int main(void)
{
    struct be_config bc = {.kind = BE_CUDA, .memory_utilization = 0.9};
    struct be *be;
    struct err e = {0};
    if (be_open(&be, &bc, &e) != 0) {
        printf("skipped: %s\n", e.msg);
        return SKIPPED;
    }
    be_close(be);
    tiny_model_dir(dir, "cuda");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits),           cmocka_unit_test(test_graphs),
        cmocka_unit_test(test_penalties),        cmocka_unit_test(test_numeric),
        cmocka_unit_test(test_scores),           cmocka_unit_test(test_hidden),
        cmocka_unit_test(test_memory_comes_back)};
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    tiny_model_remove(dir);
    return r;
}
