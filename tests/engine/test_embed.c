/* SPDX-License-Identifier: Apache-2.0 */
/* test_embed.c - prompts that give a vector: the right one however the prompt is cut, preempted or
 * found in the cache, next to requests that generate; what cannot be is refused. */
#include "testing.h"

#include "bed.h"
#include "kv.h"
#include "naive.h"

enum { N_TOK = 50 };

static const struct extra embeds[] = {{.embed = EMBED_LAST}, {.embed = EMBED_MEAN}};

static int embed(struct bed *b, int i, const token_id *tok, int n, int how)
{
    return try_ask(b, i, tok, n, 0, 0, (uint64_t)i % 2, &embeds[how - EMBED_LAST]);
}

/* What request i must have given for these tokens. */
static void check_vector(const struct bed *b, int i, const token_id *tok, int n, int how)
{
    struct msg_submit *m = xalloc(sizeof *m + (size_t)n * sizeof *tok);
    float want[HM_DIM];
    m->n_prompt = n;
    m->embed = how;
    memcpy(m + 1, tok, (size_t)n * sizeof *tok);
    naive_vector(m, want);
    free(m);
    assert_int_equal(b->ended[i], 1);
    assert_int_equal(b->finish[i], FINISH_VECTOR);
    assert_int_equal(b->n_got[i], 0);
    assert_int_equal(b->n_vec[i], HM_DIM);
    assert_memory_equal(b->vec[i], want, sizeof want);
}

static void prompt(token_id *tok, int n, int first)
{
    for (int k = 0; k < n; k++)
        tok[k] = (first + k * k) % (VOCAB - 1);
}

static void check_clean(struct bed *b)
{
    struct kv_stats k;
    for (int i = 0; i < 6; i++)
        turn(b);
    kv_get_stats(b->en->kv, &k);
    assert_int_equal(k.n_free + k.n_evictable, k.n_pages);
    assert_int_equal(b->en->lane[0].n_limbo, 0);
    assert_int_equal(atomic_load(&b->en->live), 0);
    bed_free(b);
}

/* Prompts of every length up to N_TOK in chunks of at most 7, one step in flight and two. */
static void test_chunks(void **state)
{
    (void)state;
    for (int depth = 1; depth <= 2; depth++)
        for (int how = EMBED_LAST; how <= EMBED_MEAN; how++) {
            struct engine_fixture x = small();
            token_id tok[N_TOK][N_TOK];
            x.c.scheduler.steps_in_flight = depth;
            x.c.scheduler.max_step_tokens = 7;
            struct bed *b = bed_new(&x);
            for (int i = 0; i < N_TOK; i++) {
                prompt(tok[i], i + 1, 3 * i);
                assert_int_equal(embed(b, i, tok[i], i + 1, how), 0);
            }
            until_idle(b);
            for (int i = 0; i < N_TOK; i++)
                check_vector(b, i, tok[i], i + 1, how);
            check_clean(b);
        }
}

/* The last token's state needs the last token only; a mean needs all of them, whatever is cached.
 * Both leave their pages to whoever comes. */
static void test_cache(void **state)
{
    (void)state;
    for (int first = EMBED_LAST; first <= EMBED_MEAN; first++) {
        struct engine_fixture x = small();
        struct bed *b = bed_new(&x);
        token_id tok[N_TOK];
        prompt(tok, N_TOK, 5);
        for (int i = 0; i < 3; i++) {
            int how = i == 0 ? first : i == 1 ? EMBED_MEAN : EMBED_LAST;
            assert_int_equal(embed(b, i, tok, N_TOK, how), 0);
            until_idle(b);
            check_vector(b, i, tok, N_TOK, how);
            /* 48 tokens in whole pages, and what of the last page was computed is not published */
            assert_int_equal(b->hit[i], how == EMBED_MEAN || i == 0 ? 0 : 48);
        }
        ask(b, 3, tok, N_TOK, 4, 0, 0);
        until_idle(b);
        assert_int_equal(b->hit[3], 48);
        struct bed *alone = bed_new(&x);
        ask(alone, 3, tok, N_TOK, 4, 0, 0);
        until_idle(alone);
        assert_memory_equal(b->got[3], alone->got[3], 4 * sizeof(token_id));
        bed_free(alone);
        check_clean(b);
    }
}

/* A pool for a seventh of them, answers that grow beside, urgent ones that push out: each vector
 * comes once and is right. */
static void test_preemption(void **state)
{
    (void)state;
    enum { N = 24, LEN = 120 };
    for (int depth = 1; depth <= 2; depth++) {
        struct engine_fixture x = small();
        static token_id tok[N][LEN];
        x.c.scheduler.steps_in_flight = depth;
        x.c.scheduler.max_step_tokens = 16;
        x.f.n_pages = 80;
        x.f.max_model_len = 300;
        struct bed *b = bed_new(&x);
        for (int i = 0; i < N; i++) {
            struct extra how = embeds[i % 2];
            prompt(tok[i], LEN, 11 * i);
            if (i % 4 == 3)
                ask(b, i, tok[i], LEN, 40, -i, 0);
            else
                assert_int_equal(try_ask(b, i, tok[i], LEN, 0, -i, 0, &how), 0);
            for (int k = 0; k < 5; k++)
                turn(b);
        }
        until_idle(b);
        assert_true(b->en->stats.preemptions > 5);
        for (int i = 0; i < N; i++)
            if (i % 4 != 3)
                check_vector(b, i, tok[i], LEN, i % 2 ? EMBED_MEAN : EMBED_LAST);
            else
                assert_int_equal(b->n_got[i], 40);
        check_clean(b);
    }
}

/* More vectors than one message has room for: they come in several steps, prompts of one token,
 * too, and a prompt for an answer is not held up by that. */
static void test_room(void **state)
{
    (void)state;
    struct engine_fixture x = small();
    struct bed *b = bed_new(&x);
    token_id tok[12][3];
    b->en->staging.cap_vec = 1;
    for (int i = 0; i < 12; i++) {
        prompt(tok[i], 3, i);
        assert_int_equal(embed(b, i, tok[i], 1 + i % 3, i % 2 ? EMBED_MEAN : EMBED_LAST), 0);
    }
    ask(b, 12, NULL, 30, 3, 0, 2);
    int last = 0;
    for (int n = 0; b->n_ended < 13; n++) {
        turn(b);
        int vectors = 0;
        for (int i = 0; i < 12; i++)
            vectors += b->ended[i];
        assert_true(vectors - last <= 1 && n < 1000);
        last = vectors;
    }
    for (int i = 0; i < 12; i++)
        check_vector(b, i, tok[i], 1 + i % 3, i % 2 ? EMBED_MEAN : EMBED_LAST);
    assert_int_equal(b->n_got[12], 3);
    check_clean(b);
}

static void test_refusals(void **state)
{
    (void)state;
    struct engine_fixture x = small();
    struct bed *b = bed_new(&x);
    const token_id stop = 5;
    const struct token_bias bias = {5, 1};
    const uint32_t mask[MSG_MASK_WORDS(VOCAB)] = {~0u};
    const struct extra bad[] = {
        {.embed = EMBED_LAST, .stop = &stop, .n_stop = 1},
        {.embed = EMBED_LAST, .bias = &bias, .n_bias = 1},
        {.embed = EMBED_MEAN, .mask = mask, .n_mask = MSG_MASK_WORDS(VOCAB)},
        {.embed = EMBED_MEAN, .min_new = 1},
        {.embed = EMBED_LAST, .params = {.n_logprobs = 2}},
        {.embed = EMBED_LAST, .params = {.presence_penalty = 1}},
        {.embed = N_EMBEDS},
        {.embed = -1},
        {.embed = EMBED_NONE},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(try_ask(b, 0, NULL, 8, 0, 0, 0, &bad[i]), ST_INVALID_VALUE);
    assert_int_equal(try_ask(b, 0, NULL, 8, 1, 0, 0, &embeds[0]), ST_INVALID_VALUE);
    /* all of the context, and not a token more; the pool alike */
    struct engine_misfit why;
    assert_int_equal(embed(b, 0, NULL, 1201, EMBED_LAST), ST_CONTEXT_LENGTH);
    assert_int_equal(embed(b, 0, NULL, 1200, EMBED_MEAN), 0);
    until_idle(b);
    assert_int_equal(b->n_vec[0], HM_DIM);
    struct engine_limits l = b->en->lim;
    l.n_pages = 10;
    assert_int_equal(engine_fits(&l, 40, 0, &why), 0);
    assert_int_equal(engine_fits(&l, 40, 1, &why), 0);
    assert_int_equal(engine_fits(&l, 41, 0, &why), ST_CONTEXT_LENGTH);
    assert_true(why.bound == ENGINE_BOUND_POOL && why.tokens == 40);
    check_clean(b);
    /* an executor without, and one of another size */
    x.f.hidden_dim = 0;
    b = bed_new(&x);
    assert_int_equal(embed(b, 0, NULL, 8, EMBED_LAST), ST_UNSUPPORTED);
    struct executor ex;
    struct engine *en;
    struct err e;
    hm_executor(b->hm, &ex);
    x.f.hidden_dim = HM_DIM + 1;
    assert_int_equal(engine_new(&en, &x.c, &x.f, &ex, b->out, &e), ST_INVALID_VALUE);
    assert_string_equal(e.param, "hidden_dim");
    check_clean(b);
}

/* No numbers: that request ends alone, and what it computed is found by nobody. */
static void test_numeric(void **state)
{
    (void)state;
    for (int how = EMBED_LAST; how <= EMBED_MEAN; how++) {
        struct engine_fixture x = small();
        struct bed *b = bed_new(&x);
        token_id good[N_TOK], bad[N_TOK];
        prompt(good, N_TOK, 5);
        memcpy(bad, good, sizeof bad);
        bad[17] = BAD_TOKEN;
        assert_int_equal(embed(b, 0, bad, N_TOK, how), 0);
        assert_int_equal(embed(b, 1, good, N_TOK, how), 0);
        until_idle(b);
        assert_true(b->finish[0] == FINISH_ERROR && b->status[0] == ST_NUMERIC);
        assert_int_equal(b->n_vec[0], 0);
        assert_int_equal(b->en->stats.numeric_errors, 1);
        check_vector(b, 1, good, N_TOK, how);
        assert_int_equal(embed(b, 2, bad, N_TOK, EMBED_LAST), 0);
        until_idle(b);
        assert_int_equal(b->status[2], ST_NUMERIC);
        assert_true(b->hit[2] <= 17);
        check_clean(b);
    }
}

/* Cancelled at every turn of its life: one end, no page lost, the others' vectors right. */
static void test_cancel(void **state)
{
    (void)state;
    for (int at = 0; at < 12; at++) {
        struct engine_fixture x = small();
        struct bed *b = bed_new(&x);
        token_id tok[N_TOK];
        x.c.scheduler.max_step_tokens = 7;
        prompt(tok, N_TOK, 5);
        for (int i = 0; i < 3; i++)
            assert_int_equal(embed(b, i, tok + i, N_TOK - i, EMBED_MEAN), 0);
        for (int k = 0; k < at; k++)
            turn(b);
        assert_int_equal(engine_cancel(b->en, 2, ST_CANCELLED), 0);
        until_idle(b);
        assert_true(b->n_vec[1] == HM_DIM || b->status[1] == ST_CANCELLED);
        assert_int_equal(b->n_ended, 3);
        check_vector(b, 0, tok, N_TOK, EMBED_MEAN);
        check_vector(b, 2, tok + 2, N_TOK - 2, EMBED_MEAN);
        check_clean(b);
    }
}

/* Long prompts for vectors stop a running answer no longer than the settings allow, and among
 * tenants they count as what they cost. */
static void test_neighbours(void **state)
{
    (void)state;
    struct engine_fixture x = small();
    x.f.n_pages = 2000;
    x.c.scheduler.max_decode_gap = 5000; /* a chunk costs 1,000 + 10 a token, a decode step 1,000 */
    x.c.scheduler.max_step_tokens = 1024;
    struct bed *b = bed_new(&x);
    assert_int_equal(embed(b, 30, NULL, 800, EMBED_MEAN), 0); /* measures the cost of a token */
    until_idle(b);
    ask(b, 0, NULL, 8, 400, 0, 0);
    while (b->n_got[0] < 5)
        turn(b);
    for (int i = 1; i < 20; i++)
        assert_int_equal(try_ask(b, i, NULL, 1000, 0, 0, 1, &embeds[i % 2]), 0);
    until_idle(b);
    assert_int_equal(b->n_got[0], 400);
    assert_true(b->en->stats.max_decode_gap_us > 0);
    assert_true(b->en->stats.max_decode_gap_us <= 5000 * 12 / 10);
    assert_true(place(b->order, b->n_ended, 0) >= 5); /* some of them ended beside it */
    check_clean(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunks),     cmocka_unit_test(test_cache),
        cmocka_unit_test(test_preemption), cmocka_unit_test(test_room),
        cmocka_unit_test(test_refusals),   cmocka_unit_test(test_numeric),
        cmocka_unit_test(test_cancel),     cmocka_unit_test(test_neighbours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
