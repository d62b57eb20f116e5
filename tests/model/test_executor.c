/* SPDX-License-Identifier: Apache-2.0 */
/* The executor on a random model: what a row computes must not depend, to the bit, on how its
 * prompt was cut, on who shares the batch, on which pass computed it, on two steps in flight or on
 * copied pages; a plan that breaks a bound is refused whole. */
#include "testing.h"

#include "backend/cpu/vec.h"
#include "model/state.h"
#include "model/warm.h"
#include "model_run.h"
#include "tiny_model.h"

#include <math.h>
#include <stdio.h>

enum { VOCAB = 211, ROWS = 6, MANY = 17, MAX_LEN = 160, CHUNK = 96 };

static char dir[TINY_DIR_BYTES];

static int make_config(void **state)
{
    static const struct tiny_model tiny = {.family = "qwen2",
                                           .dim = 96,
                                           .ffn = 160,
                                           .layers = 3,
                                           .heads = 6,
                                           .kv_heads = 2,
                                           .head_dim = 16,
                                           .vocab = VOCAB,
                                           .max_position = 512,
                                           .norm_eps = 1e-6,
                                           .has_ends = true};
    (void)state;
    tiny_model_dir(dir, "executor");
    tiny_model_write(dir, &tiny);
    return 0;
}

static int remove_config(void **state)
{
    (void)state;
    tiny_model_remove(dir);
    return 0;
}

static void open_rows_warm(struct model_run *x, int32_t rows, int graphs)
{
    struct model_source_opts so = {.path = dir, .dummy = true, .seed = 7};
    struct be_config bc = {.kind = BE_CPU, .threads = 2, .graphs = graphs};
    struct err e = {0};
    if (model_run_open(x, &so, &bc, rows, MAX_LEN, CHUNK * 4, &e) != 0)
        fail_msg("%s", e.msg);
}

static void open_rows(struct model_run *x, int32_t rows)
{
    open_rows_warm(x, rows, 0);
}

static void open_run(struct model_run *x)
{
    open_rows(x, ROWS);
}

static uint64_t rng_state = 1;
static uint32_t rnd(uint32_t n)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 33) % n;
}

static void random_ids(token_id *ids, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        ids[i] = (token_id)rnd(VOCAB);
}

/* Prefill row with ids[0..n) cut in pieces of `piece`; logits of the last position. */
static void prefill(struct model_run *x, row_id row, const token_id *ids, int32_t n, int32_t piece,
                    float *logits)
{
    struct sample_params sp = greedy_params();
    for (int32_t at = 0; at < n; at += piece) {
        int32_t len = n - at < piece ? n - at : piece;
        model_run_begin(x, STEP_PREFILL);
        model_run_add(x, row, at, ids + at, len, at + len == n ? &sp : NULL);
        assert_int_equal(model_run_go(x), 0);
    }
    assert_int_equal(model_logits(x->m, 0, logits), 0);
}

static void test_chunks_and_decode(void **state)
{
    (void)state;
    struct model_run x;
    open_run(&x);
    token_id ids[CHUNK];
    float whole[VOCAB], other[VOCAB];
    for (int round = 0; round < 6; round++) {
        int32_t n = 2 + (int32_t)rnd(CHUNK - 2);
        random_ids(ids, n);
        prefill(&x, 0, ids, n, n, whole);
        prefill(&x, 1, ids, n, 1 + (int32_t)rnd((uint32_t)n), other);
        assert_memory_equal(whole, other, sizeof whole);
        prefill(&x, 2, ids, n, 1, other); /* prefill steps of one token */
        assert_memory_equal(whole, other, sizeof whole);
        struct sample_params sp = greedy_params();
        for (int32_t i = 0; i < n; i++) { /* the decode pass over the prompt */
            model_run_begin(&x, STEP_DECODE);
            model_run_add(&x, 3, i, ids + i, 1, &sp);
            assert_int_equal(model_run_go(&x), 0);
        }
        assert_int_equal(model_logits(x.m, 0, other), 0);
        assert_memory_equal(whole, other, sizeof whole);
    }
    model_run_close(&x);
}

static void test_batch_independence(void **state)
{
    (void)state;
    struct model_run x;
    open_run(&x);
    token_id ids[ROWS][CHUNK];
    int32_t n[ROWS];
    float alone[ROWS][VOCAB], got[VOCAB];
    for (int i = 0; i < ROWS; i++) {
        n[i] = 1 + (int32_t)rnd(CHUNK / 2);
        random_ids(ids[i], n[i]);
        prefill(&x, i, ids[i], n[i], n[i], alone[i]);
    }
    struct sample_params sp = greedy_params();
    model_run_begin(&x, STEP_PREFILL);
    for (int i = ROWS - 1; i >= 0; i--)
        model_run_add(&x, i, 0, ids[i], n[i], &sp);
    assert_int_equal(model_run_go(&x), 0);
    for (int i = 0; i < ROWS; i++) {
        assert_int_equal(model_logits(x.m, ROWS - 1 - i, got), 0);
        assert_memory_equal(alone[i], got, sizeof got);
    }
    model_run_close(&x);
}

/* A row's logits alone and among 1..16 others, decoding and prefilling a chunk: every register tile
 * of op_gemm (12, 8, 6, 4, 2, 1 rows) meets every remainder. */
static void test_batches_of_every_size(void **state)
{
    (void)state;
    struct model_run x;
    open_rows(&x, MANY);
    static token_id ids[MANY][CHUNK];
    static float decoded[MANY][VOCAB], chunked[MANY][VOCAB], got[VOCAB];
    int32_t n[MANY], head[MANY]; /* the first head[i] of n[i] tokens come before the chunk */
    struct sample_params sp = greedy_params();
    for (int i = 0; i < MANY; i++) {
        n[i] = 3 + (int32_t)rnd(60);
        head[i] = 1 + (int32_t)rnd((uint32_t)n[i] - 2);
        random_ids(ids[i], n[i] + 1);
        prefill(&x, i, ids[i], n[i], n[i], chunked[i]);
        model_run_begin(&x, STEP_DECODE);
        model_run_add(&x, i, n[i], &ids[i][n[i]], 1, &sp);
        assert_int_equal(model_run_go(&x), 0);
        assert_int_equal(model_logits(x.m, 0, decoded[i]), 0);
    }
    int compared = 0;
    for (int b = 2; b <= MANY; b++) {
        for (int kind = 0; kind < 2; kind++) {
            model_run_begin(&x, kind ? STEP_DECODE : STEP_PREFILL);
            for (int k = 0; k < b; k++) {
                int i = (b * 5 + k) % MANY;
                if (kind)
                    model_run_add(&x, i, n[i], &ids[i][n[i]], 1, &sp);
                else if (x.s->n_tokens + n[i] - head[i] + (b - k) <= CHUNK * 4)
                    model_run_add(&x, i, head[i], ids[i] + head[i], n[i] - head[i], &sp);
                else /* the step is nearly full: its last token only */
                    model_run_add(&x, i, n[i] - 1, ids[i] + n[i] - 1, 1, &sp);
            }
            assert_int_equal(model_run_go(&x), 0);
            for (int k = 0; k < b; k++, compared++) {
                int i = (b * 5 + k) % MANY;
                assert_int_equal(model_logits(x.m, k, got), 0);
                assert_memory_equal(kind ? decoded[i] : chunked[i], got, sizeof got);
            }
        }
    }
    printf("%d rows equal to the bit in batches of 2 to %d\n", compared, MANY);
    assert_int_equal(compared, 2 * (MANY * (MANY + 1) / 2 - 1));
    model_run_close(&x);
}

/* Sixteen tokens each for all rows: one step after the other, and two in flight with feedback. */
static void test_two_in_flight(void **state)
{
    (void)state;
    struct model_run x;
    open_run(&x);
    enum { N = 16 };
    token_id first[ROWS], want[N][ROWS], ids[CHUNK];
    float logits[VOCAB];
    struct sample_params sp[ROWS];
    for (int i = 0; i < ROWS; i++)
        sp[i] = (struct sample_params){.temperature = i % 2 ? 0.9f : 0.0f,
                                       .top_p = 0.95f,
                                       .seed = 5u + (uint64_t)i,
                                       .n_logprobs = i == 3 ? 4 : -1};
    for (int mode = 0; mode < 2; mode++) {
        rng_state = 99;
        for (int i = 0; i < ROWS; i++) {
            random_ids(ids, 20 + i);
            prefill(&x, i, ids, 20 + i, 20 + i, logits);
            first[i] = x.r->token[0];
        }
        struct step *two[2] = {calloc(1, sizeof **two), calloc(1, sizeof **two)};
        for (int t = 0; t <= N; t++) {
            if (t < N) {
                struct step *s = two[t % 2];
                step_begin(s, STEP_DECODE, ++x.n_steps);
                for (int i = 0; i < ROWS; i++) {
                    token_id in = t == 0 ? first[i] : mode == 0 ? want[t - 1][i] : TOKEN_FROM_ROW;
                    step_add(s, &x, i, 20 + i + t, &in, 1, &sp[i]);
                }
                assert_int_equal(x.ex.submit(x.ex.self, t % 2, s), 0);
            }
            int done = mode == 0 ? t : t - 1; /* mode 1 waits one step late */
            if (done < 0 || done >= N)
                continue;
            assert_int_equal(x.ex.wait(x.ex.self, done % 2, x.r), 0);
            for (int i = 0; i < ROWS; i++) {
                if (mode == 0)
                    want[done][i] = x.r->token[i];
                else
                    assert_int_equal(want[done][i], x.r->token[i]);
            }
            assert_int_equal(x.r->n_top[3], 4);
            assert_int_equal(x.r->n_top[0], 0);
            assert_true(x.r->logprob[3] <= 0.0f &&
                        x.r->top[3][0].logprob >= x.r->top[3][3].logprob);
        }
        free(two[0]);
        free(two[1]);
    }
    model_run_close(&x);
}

/* A page copied and read up to any token inside it is as good as the page computed. */
static void test_copied_pages(void **state)
{
    (void)state;
    struct model_run x;
    open_run(&x);
    token_id ids[CHUNK];
    float want[VOCAB], got[VOCAB];
    struct sample_params sp = greedy_params();
    for (int round = 0; round < 8; round++) {
        int32_t n = 40 + (int32_t)rnd(40), shared = 17 + (int32_t)rnd(16); /* inside page 1 */
        random_ids(ids, n);
        prefill(&x, 0, ids, n, n, want);
        token_id other[CHUNK];
        memcpy(other, ids, sizeof ids);
        for (int32_t i = shared; i < n; i++)
            other[i] = (token_id)rnd(VOCAB);
        prefill(&x, 1, other, n, n, got); /* row 1 holds the same head, another tail */
        model_run_begin(&x, STEP_PREFILL);
        for (int32_t p = 0; p < 2; p++) { /* pages 0, 1 of row 2 come from row 1 */
            x.s->copy[x.s->n_copy++] = (struct page_copy){.src = x.stride + p,
                                                          .dst = 2 * x.stride + p};
            x.s->edits[x.s->n_edits++] = (struct page_edit){
                .row = 2, .index = p, .page = 2 * x.stride + p};
        }
        model_run_add(&x, 2, shared, ids + shared, n - shared, &sp);
        assert_int_equal(model_run_go(&x), 0);
        assert_int_equal(model_logits(x.m, 0, got), 0);
        assert_memory_equal(want, got, sizeof got);
    }
    model_run_close(&x);
}

/* First passes at load leave nothing behind that a result could see. */
static void test_warm(void **state)
{
    (void)state;
    token_id ids[CHUNK];
    float want[VOCAB], got[VOCAB];
    random_ids(ids, CHUNK);
    for (int32_t rows = 1; rows <= MANY; rows += MANY - 1)
        for (int graphs = 0; graphs <= 2; graphs += 2) {
            struct model_run x;
            open_rows_warm(&x, rows, graphs);
            prefill(&x, rows - 1, ids, 90, 37, graphs ? got : want);
            if (graphs)
                assert_memory_equal(want, got, sizeof got);
            model_run_close(&x);
        }
}

/* Element (row, col) of a matrix in the CPU's memory. */
static float *at_matrix(const struct matrix *w, int64_t row, int64_t col)
{
    float *v = (float *)(uintptr_t)w->data;
    assert_int_equal(w->dt, DT_F32);
    if (!w->packed)
        return v + row * w->n_in + col;
    return v + (row / VEC_PANEL * w->n_in + col) * VEC_PANEL + row % VEC_PANEL;
}

/* One token that only row 1 has is infinite, then a weight that all rows meet is a NaN: who meets
 * it gets a status and no token, also from the step that was fed before anybody looked; the others
 * get what they always got. A model like the second is refused at start. */
static void test_numeric(void **state)
{
    (void)state;
    enum { BAD = 200 };
    struct model_run x;
    struct err e = {0};
    token_id ids[ROWS][20], want[ROWS], again = TOKEN_FROM_ROW;
    open_run(&x);
    struct sample_params sp[2] = {greedy_params(), {.temperature = 1, .top_p = 1, .n_logprobs = 3}};
    for (int with = 0; with < 2; with++) {
        model_run_begin(&x, STEP_PREFILL);
        for (int i = 0; i < ROWS; i++) {
            if (with == 0)
                for (int k = 0; k < 20; k++)
                    ids[i][k] = (token_id)rnd(BAD);
            else if (i == 1)
                ids[i][7] = BAD;
            model_run_add(&x, i, 0, ids[i], 20, &sp[i % 2]);
        }
        *at_matrix(&x.m->w.embed, BAD, 3) = INFINITY;
        assert_int_equal(model_run_go(&x), 0);
        for (int i = 0; i < ROWS; i++) {
            bool bad = with == 1 && i == 1;
            assert_int_equal(x.r->row[i].status, bad ? ST_NUMERIC : 0);
            assert_int_equal(x.r->row[i].n, !bad);
            if (with == 0)
                want[i] = x.r->token[x.r->row[i].first];
            else if (!bad)
                assert_int_equal(x.r->token[x.r->row[i].first], want[i]);
        }
    }
    model_run_begin(&x, STEP_DECODE);
    for (int i = 0; i < 2; i++)
        model_run_add(&x, i, 20, &again, 1, &sp[i]);
    assert_int_equal(model_run_go(&x), 0);
    assert_int_equal(x.r->row[0].status, 0);
    assert_int_equal(x.r->row[1].status, ST_NUMERIC);
    assert_int_equal(model_warm(x.m, WARM_ANSWER, NULL, &e), 0);
    assert_int_equal(model_warm(x.m, WARM_PASSES, NULL, &e),
                     ST_FORMAT); /* its prompts have BAD in them */
    *at_matrix(&x.m->w.embed, BAD, 3) = 0.1f;
    assert_int_equal(model_warm(x.m, WARM_PASSES, NULL, &e), 0);
    *(float *)(uintptr_t)x.m->w.final_norm = NAN;
    for (int how = WARM_ANSWER; how <= WARM_GRAPHS; how++) {
        assert_int_equal(model_warm(x.m, how, NULL, &e), ST_FORMAT);
        assert_non_null(strstr(e.msg, "no number"));
    }
    model_run_close(&x);
}

/* Each refused, and the state as before: the same prefill still gives the same logits. */
static void test_refusals(void **state)
{
    (void)state;
    struct model_run x;
    open_run(&x);
    token_id ids[32];
    float want[VOCAB], got[VOCAB];
    random_ids(ids, 32);
    prefill(&x, 0, ids, 32, 32, want);
    struct sample_params sp = greedy_params();
    for (int k = 0; k < 17; k++) {
        model_run_begin(&x, k == 16 ? STEP_DECODE : STEP_PREFILL);
        model_run_add(&x, 0, 0, ids, 32, &sp);
        struct step *s = x.s;
        int32_t n_pages = model_n_pages(x.m);
        switch (k) {
        case 0:
            s->rows[0].row = ROWS;
            break;
        case 1:
            s->rows[0].row = -1;
            break;
        case 2:
            s->rows[0].first = model_max_len(x.m) - 31;
            break;
        case 3:
            s->rows[0].first = -1;
            break;
        case 4:
            s->tokens[3] = VOCAB;
            break;
        case 5:
            s->tokens[3] = -2;
            break;
        case 6:
            s->edits[0].page = n_pages;
            break;
        case 7:
            s->edits[0].index = 1 << 20;
            break;
        case 8:
            s->n_tokens++;
            break;
        case 9:
            s->version++;
            break;
        case 10:
            s->n_in = 1;
            break;
        case 11:
            s->rows[0].want = STEP_WANT_VERIFY;
            s->rows[0].n_verify = 2;
            break;
        case 12:
            s->rows[0].want = -1;
            break;
        case 13:
            s->rows[0].want = N_STEP_WANTS;
            break;
        case 14:
            s->n_area = MAX_AREA + 1;
            break;
        case 15:
            s->rows[0].n_area = 1;
            break;
        default:
            break; /* decode with 32 new tokens */
        }
        assert_int_equal(x.ex.submit(x.ex.self, 0, s), ST_INVALID_VALUE);
    }
    model_run_begin(&x, STEP_PREFILL);
    model_run_add(&x, 0, 0, ids, 32, &sp);
    x.s->copy[x.s->n_copy++] = (struct page_copy){.src = 0, .dst = model_n_pages(x.m)};
    assert_int_equal(x.ex.submit(x.ex.self, 0, x.s), ST_INVALID_VALUE);
    assert_int_equal(x.ex.submit(x.ex.self, 2, x.s), ST_INVALID_VALUE);
    prefill(&x, 0, ids, 32, 32, got);
    assert_memory_equal(want, got, sizeof got);
    model_run_close(&x);
}

static void test_limits_at_load(void **state)
{
    (void)state;
    struct model_source *src;
    struct model_source_opts so = {.path = dir, .dummy = true, .seed = 7};
    struct err e = {0};
    assert_int_equal(model_source_open(&src, &so, &e), 0);
    struct model_opts ok = {.kv_dt = -1,
                            .act_dt = -1,
                            .weight_dt = -1,
                            .page_tokens = 16,
                            .pool_bytes = 1 << 20,
                            .max_seqs = 4,
                            .max_step_tokens = 64};
    for (int k = 0; k < 5; k++) {
        struct model_opts o = ok;
        if (k == 0)
            o.page_tokens = 24;
        else if (k == 1)
            o.pool_bytes = 1000;
        else if (k == 2)
            o.max_model_len = 513;
        else if (k == 3)
            o.max_seqs = MAX_ROWS + 1;
        struct be *be;
        struct be_config bc = {.kind = BE_CPU, .threads = 1};
        assert_int_equal(be_open(&be, &bc, &e), 0);
        struct model *m;
        e = (struct err){0};
        int st = model_load(&m, src, be, &o, &e);
        if (k == 4) {
            assert_int_equal(st, 0);
            assert_true((int64_t)model_n_pages(m) * model_page_bytes(m) <= o.pool_bytes);
            assert_int_equal(model_max_len(m), 512);
            model_free(m);
        } else {
            assert_true(st < 0 && e.msg[0] != '\0' && m == NULL);
            printf("refused: %s\n", e.msg);
        }
        be_close(be);
    }
    model_source_close(src);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunks_and_decode),
        cmocka_unit_test(test_batch_independence),
        cmocka_unit_test(test_batches_of_every_size),
        cmocka_unit_test(test_two_in_flight),
        cmocka_unit_test(test_copied_pages),
        cmocka_unit_test(test_warm),
        cmocka_unit_test(test_numeric),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_limits_at_load),
    };
    return cmocka_run_group_tests(tests, make_config, remove_config);
}
