/* SPDX-License-Identifier: Apache-2.0 */
/* Requests with penalties, biases and scores of their prompts through the engine and the CPU's
 * executor: chunks, prefix hits, rows and pages that are taken away and given back. Each token,
 * each log probability and each score is what the definitions make of raw logits taken one position
 * after the other. */
#include "testing.h"

#include "engine/state.h"
#include "engine_fixture.h"
#include "mem.h"
#include "penalty.h"
#include "tiny_run.h"

#include <math.h>
#include <stdio.h>

enum { VOCAB = 211, N = 6, PROMPT = 70, NEW = 50, LEN = PROMPT + NEW, TOP = 3 };

static int make_config(void **state)
{
    static const struct tiny_model tiny = {.family = "qwen3",
                                           .dim = 64,
                                           .ffn = 96,
                                           .layers = 2,
                                           .heads = 4,
                                           .kv_heads = 2,
                                           .head_dim = 16,
                                           .vocab = VOCAB,
                                           .max_position = 512,
                                           .norm_eps = 1e-6};
    (void)state;
    return tiny_begin("requests", &tiny);
}

static void open_run(struct model_run *x)
{
    tiny_open(x, 11, N, LEN, 512);
}

static const struct token_bias bias[] = {{3, -INFINITY}, {5, 2.5f}, {17, -4.0f}, {100, 0.75f}};
enum { N_BIAS = sizeof bias / sizeof *bias };

/* Request i: penalties of several sorts; with `scores` as in msg_submit; biases for some. */
static const struct {
    struct sample_params p;
    int32_t scores, n_bias, max_new;
} want[N] = {
    {{.top_p = 1, .n_logprobs = 2}, 1, 0, NEW},
    {{.top_p = 1, .n_logprobs = -1, .repetition_penalty = 1.3f}, 1 + TOP, N_BIAS, NEW},
    {{.top_p = 1, .n_logprobs = 0, .presence_penalty = 0.9f}, 0, N_BIAS, NEW},
    {{.top_p = 1, .n_logprobs = 0, .repetition_penalty = 0.8f, .frequency_penalty = 0.4f},
     1 + TOP,
     0,
     NEW},
    {{.top_p = 1, .n_logprobs = 1, .frequency_penalty = 0.3f, .presence_penalty = -0.5f},
     2,
     N_BIAS,
     NEW / 2},
    {{.top_p = 1, .n_logprobs = -1, .repetition_penalty = 1.2f}, 1 + TOP, 0, 0},
};

struct got {
    token_id tok[LEN]; /* prompt, then what was drawn */
    float logprob[LEN];
    int32_t rank[LEN];
    struct token_logprob top[LEN][TOP];
    int32_t n, n_scored, finish;
};

static void ask(struct engine *en, struct got *g, int i)
{
    struct msg_submit h = {.h = {.kind = MSG_SUBMIT},
                           .id = (req_id)i + 1,
                           .n_prompt = PROMPT,
                           .max_new = want[i].max_new,
                           .ignore_eos = 1,
                           .n_bias = want[i].n_bias,
                           .scores = want[i].scores,
                           .priority = i % 3,
                           .params = want[i].p};
    struct msg_submit *m = xalloc(msg_submit_bytes(&h));
    *m = h;
    for (int k = 0; k < PROMPT; k++) /* half of it is the same for all */
        g->tok[k] = k < PROMPT / 2 ? (k * k + 3) % VOCAB : (k * 7 + i * 31) % VOCAB;
    g->n = PROMPT;
    memcpy(m + 1, g->tok, PROMPT * sizeof *g->tok);
    memcpy((token_id *)(m + 1) + PROMPT, bias, (size_t)h.n_bias * sizeof *bias);
    assert_int_equal(engine_submit(en, m), 0);
    free(m);
}

static void take(struct mbox *out, struct got *got)
{
    const struct msg_outbox *m;
    mbox_take(out);
    while ((m = mbox_next(out, NULL)) != NULL) {
        const struct out_rec *rec = (const struct out_rec *)(m + 1);
        const struct token_logprob *top = (const struct token_logprob *)(rec + m->n_rec);
        for (int32_t k = 0; k < m->n_rec; k++) {
            const struct out_rec *r = &rec[k];
            struct got *g = &got[r->id - 1];
            int32_t at = r->scored_at;
            if (r->finish != FINISH_NONE)
                g->finish = r->finish;
            if (r->token < 0)
                continue;
            if (at > 0)
                assert_int_equal(at, ++g->n_scored);
            else
                g->tok[at = g->n++] = r->token;
            g->logprob[at] = r->logprob;
            g->rank[at] = r->rank;
            memcpy(g->top[at], top + r->top0, (size_t)r->n_top * sizeof *top);
        }
    }
}

/* The raw logits after tok[0, at], given one token a step; x has seen those before. */
static void next_logits(struct model_run *x, const struct got *g, int32_t at, float *raw)
{
    const struct sample_params sp = greedy_params();
    model_run_begin(x, STEP_PREFILL);
    model_run_add(x, 0, at, &g->tok[at], 1, &sp);
    assert_int_equal(model_run_go(x), 0);
    assert_int_equal(model_logits(x->m, 0, raw), 0);
}

static double log_norm(const float *raw)
{
    double sum = 0;
    for (int t = 0; t < VOCAB; t++)
        sum += exp((double)raw[t]);
    return log(sum);
}

/* What was said of the prompt's token at `at`, by the logits before it. */
static void check_score(const struct got *g, int i, int32_t at, const float *raw)
{
    token_id t = g->tok[at];
    double norm = log_norm(raw);
    int32_t place = 1;
    for (int v = 0; v < VOCAB; v++)
        place += raw[v] > raw[t] || (v < t && raw[v] == raw[t]);
    assert_int_equal(g->rank[at], place);
    assert_true(fabs((double)raw[t] - norm - (double)g->logprob[at]) < 2e-6);
    for (int j = 0; j < want[i].scores - 1; j++) {
        const struct token_logprob *b = &g->top[at][j];
        assert_true(fabs((double)raw[b->token] - norm - (double)b->logprob) < 2e-6);
        assert_true(j == 0 || b[-1].logprob >= b->logprob);
        if (b->token == t) {
            assert_int_equal(place, j + 1);
            assert_memory_equal(&b->logprob, &g->logprob[at], sizeof b->logprob);
        }
    }
}

static void check(struct model_run *x, const struct got *g, int i)
{
    float raw[VOCAB], adjusted[VOCAB], values[N_BIAS];
    token_id tokens[N_BIAS];
    for (int k = 0; k < N_BIAS; k++) {
        tokens[k] = bias[k].token;
        values[k] = bias[k].bias;
    }
    assert_int_equal(g->finish, FINISH_LENGTH);
    assert_int_equal(g->n, PROMPT + want[i].max_new);
    assert_int_equal(g->n_scored, want[i].scores > 0 ? PROMPT - 1 : 0);
    for (int32_t at = 1; at < g->n; at++) {
        next_logits(x, g, at - 1, raw);
        if (at < PROMPT) {
            if (want[i].scores > 0)
                check_score(g, i, at, raw);
            continue;
        }
        const struct penalty_row row = {.tok = g->tok,
                                        .n_prompt = PROMPT,
                                        .n_tok = at,
                                        .bias_tok = tokens,
                                        .bias = values,
                                        .n_bias = want[i].n_bias};
        penalty_logits(&row, &want[i].p, raw, VOCAB, adjusted);
        assert_int_equal(g->tok[at], penalty_best(adjusted, VOCAB));
        if (want[i].p.n_logprobs >= 0)
            assert_true(fabs((double)raw[g->tok[at]] - log_norm(raw) - (double)g->logprob[at]) <
                        2e-6);
    }
}

/* Pages for all (kind 0), for two and a half (1), without a prefix cache (2). */
static void test_requests(void **state)
{
    (void)state;
    static struct got got[N];
    struct model_run x, y;
    open_run(&y);
    for (int kind = 0; kind < 3; kind++) {
        open_run(&x);
        struct engine_fixture f = engine_fixture();
        f.f.n_pages = kind == 0 ? model_n_pages(x.m) : 20;
        f.f.max_model_len = LEN;
        f.f.vocab = VOCAB;
        f.c.kv.page_tokens = 16;
        f.c.kv.prefix_cache.enabled = kind < 2;
        f.c.scheduler.max_seqs = kind == 0 ? N : 4;
        f.c.scheduler.max_step_tokens = 24;
        struct mbox *out = mbox_new(1 << 16, 1 << 20, NULL, NULL);
        struct engine *en = engine_fixture_new(&f, &x.ex, out);
        memset(got, 0, sizeof got);
        for (int i = 0; i < N; i++) {
            ask(en, &got[i], i);
            for (int k = 0; k < 3; k++) {
                engine_turn(en);
                take(out, got);
            }
        }
        while (engine_turn(en))
            take(out, got);
        take(out, got);
        printf("kind %d: %lld preemptions, %lld tokens from the cache\n", kind,
               (long long)en->stats.preemptions, (long long)en->stats.prefix_hits);
        assert_true(kind == 0 || en->stats.preemptions > 0);
        assert_int_equal(en->stats.audit_failures, 0);
        for (int i = 0; i < N; i++)
            check(&y, &got[i], i);
        engine_free(en);
        mbox_free(out);
        model_run_close(&x);
    }
    model_run_close(&y);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_requests)};
    return cmocka_run_group_tests(tests, make_config, tiny_end);
}
