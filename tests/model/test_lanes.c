/* SPDX-License-Identifier: Apache-2.0 */
/* Two lanes of one model: a prompt computed in one and continued in the other gives the tokens that
 * one lane gives, penalties included; steps of the lanes run at the same time, on two threads. */
#include "testing.h"

#include "tiny_run.h"

#include <pthread.h>
#include <stdio.h>

enum { VOCAB = 211, ROWS = 4, MAX_LEN = 128, PROMPT = 40, N_NEW = 24, PAGE = 16 };
enum { STRIDE = MAX_LEN / PAGE, ROUNDS = 6 };

static int make_config(void **state)
{
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
    (void)state;
    return tiny_begin("lanes", &tiny);
}

struct house {
    struct be *be;
    struct model *m;
    struct executor ex[2];
};

static void house_open(struct house *h, int32_t lanes)
{
    struct model_source_opts so = {.path = tiny_dir, .dummy = true, .seed = 11};
    struct be_config bc = {.kind = BE_CPU, .threads = 2};
    struct model_opts mo = {.kv_dt = -1,
                            .act_dt = -1,
                            .weight_dt = -1,
                            .page_tokens = PAGE,
                            .pool_bytes = 4 << 20,
                            .max_seqs = ROWS,
                            .max_step_tokens = PROMPT * ROWS,
                            .max_model_len = MAX_LEN,
                            .lanes = lanes};
    struct model_source *src;
    struct err e = {0};
    assert_int_equal(model_source_open(&src, &so, &e), 0);
    assert_int_equal(be_open(&h->be, &bc, &e), 0);
    if (model_load(&h->m, src, h->be, &mo, &e) != 0)
        fail_msg("%s", e.msg);
    model_source_close(src);
    assert_int_equal(model_lanes(h->m), lanes);
    assert_true(model_n_pages(h->m) >= ROWS * STRIDE);
    model_executor(h->m, 0, &h->ex[0]);
    model_executor(h->m, lanes - 1, &h->ex[1]);
}

static void house_close(struct house *h)
{
    model_free(h->m);
    be_close(h->be);
}

/* The row's life in a thread's own steps: its prompt in lane 0, its answer in lane 1. */
struct life {
    struct house *h;
    row_id row;
    uint32_t seed;
    struct step *s;
    struct step_result *r;
    token_id out[N_NEW];
};

static struct sample_params params_of(const struct life *l)
{
    return (struct sample_params){.temperature = l->seed % 2 ? 0.8f : 0.0f,
                                  .top_p = 1.0f,
                                  .seed = l->seed,
                                  .n_logprobs = -1,
                                  .repetition_penalty = 1.3f,
                                  .frequency_penalty = 0.4f};
}

static token_id prompt_token(const struct life *l, int32_t i)
{
    return (token_id)((l->seed * 31 + (uint32_t)i * 17) % VOCAB);
}

/* What the row's penalties have to know at its first draw: every token of the prompt, once. */
static void add_counts(struct life *l)
{
    struct step *s = l->s;
    bool seen[VOCAB] = {false};
    int32_t at = ++s->n_area;
    for (int32_t i = 0; i < PROMPT; i++) {
        token_id t = prompt_token(l, i);
        if (!seen[t]) {
            s->area[s->n_area++] = (uint32_t)t;
            s->area[s->n_area++] = STEP_COUNT_PROMPT;
        }
        seen[t] = true;
    }
    s->area[at - 1] = STEP_AREA_COUNTS | (uint32_t)(s->n_area - at) << 8;
    s->rows[0].area0 = at - 1;
    s->rows[0].n_area = s->n_area - at + 1;
}

static void begin(struct life *l, int kind, int32_t first, int32_t n, bool draws)
{
    struct step *s = l->s;
    step_begin(s, kind, s->seq_no + 1);
    s->n_rows = 1;
    s->n_tokens = n;
    s->rows[0] = (struct step_row){
        .row = l->row, .first = first, .n = n, .want = draws ? STEP_WANT_SAMPLE : STEP_WANT_NONE};
    s->sample[0] = params_of(l);
    for (int32_t p = first / PAGE; p <= (first + n - 1) / PAGE; p++)
        s->edits[s->n_edits++] = (struct page_edit){
            .row = l->row, .index = p, .page = l->row * STRIDE + p};
}

static token_id go(const struct life *l, int lane)
{
    const struct executor *ex = &l->h->ex[lane];
    int st = ex->submit(ex->self, 0, l->s);
    if (st == 0)
        st = ex->wait(ex->self, 0, l->r);
    if (st != 0)
        fail_msg("lane %d: %s", lane, st_text(st));
    return l->r->n > 0 ? l->r->token[0] : -1;
}

static void prefill(struct life *l)
{
    for (int32_t at = 0; at < PROMPT; at += PROMPT / 2) {
        begin(l, STEP_PREFILL, at, PROMPT / 2, at > 0);
        for (int32_t i = 0; i < PROMPT / 2; i++)
            l->s->tokens[i] = prompt_token(l, at + i);
        if (at > 0)
            add_counts(l);
        l->out[0] = go(l, 0);
    }
}

static void decode(struct life *l)
{
    for (int32_t i = 1; i < N_NEW; i++) {
        begin(l, STEP_DECODE, PROMPT + i - 1, 1, true);
        l->s->tokens[0] = i == 1 ? l->out[0] : TOKEN_FROM_ROW;
        l->out[i] = go(l, 1);
    }
}

static void life_begin(struct life *l, struct house *h, row_id row, uint32_t seed)
{
    *l = (struct life){.h = h, .row = row, .seed = seed};
    l->s = calloc(1, sizeof *l->s);
    l->r = calloc(1, sizeof *l->r);
}

static void life_end(struct life *l)
{
    free(l->s);
    free(l->r);
}

static void *prefill_thread(void *arg)
{
    prefill(arg);
    return NULL;
}

static void *decode_thread(void *arg)
{
    decode(arg);
    return NULL;
}

/* One row decodes while the prompt of the next is computed, round after round. */
static void test_side_by_side(void **state)
{
    struct house one, two;
    token_id want[ROUNDS][N_NEW];
    (void)state;
    house_open(&one, 1);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct life l;
        life_begin(&l, &one, 0, i + 1);
        prefill(&l);
        decode(&l);
        memcpy(want[i], l.out, sizeof l.out);
        life_end(&l);
    }
    house_close(&one);
    house_open(&two, 2);
    struct life l[ROUNDS];
    for (uint32_t i = 0; i < ROUNDS; i++)
        life_begin(&l[i], &two, (row_id)(i % ROWS), i + 1);
    for (int i = 0; i <= ROUNDS; i++) {
        pthread_t p, d;
        if (i < ROUNDS)
            assert_int_equal(pthread_create(&p, NULL, prefill_thread, &l[i]), 0);
        if (i > 0)
            assert_int_equal(pthread_create(&d, NULL, decode_thread, &l[i - 1]), 0);
        if (i < ROUNDS)
            pthread_join(p, NULL);
        if (i > 0)
            pthread_join(d, NULL);
    }
    for (int i = 0; i < ROUNDS; i++) {
        for (int k = 0; k < N_NEW; k++)
            if (l[i].out[k] != want[i][k])
                fail_msg("row %d: token %d is %d, one lane gave %d", i, k, l[i].out[k], want[i][k]);
        life_end(&l[i]);
    }
    house_close(&two);
}

static void test_refusals(void **state)
{
    struct house h;
    struct be *lane, *second;
    struct err e = {0};
    (void)state;
    house_open(&h, 2);
    assert_int_equal(h.ex[0].n_shares, 0); /* a CPU is not split */
    struct life l;
    life_begin(&l, &h, 0, 1);
    begin(&l, STEP_PREFILL, 0, 1, false);
    l.s->share = 1;
    assert_int_equal(h.ex[0].submit(h.ex[0].self, 0, l.s), ST_INVALID_VALUE);
    life_end(&l);
    house_close(&h);
    struct be_config bc = {.kind = BE_CPU, .threads = 1};
    assert_int_equal(be_open(&h.be, &bc, &e), 0);
    assert_int_equal(be_open_lane(&lane, h.be, &e), 0);
    assert_int_equal(be_open_lane(&second, lane, &e), ST_INVALID_VALUE);
    assert_int_equal(be_set_share(lane, 1), ST_INVALID_VALUE);
    assert_int_equal(be_set_share(lane, 0), 0);
    be_close(lane);
    be_close(h.be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_side_by_side),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, make_config, tiny_end);
}
