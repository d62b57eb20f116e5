/* SPDX-License-Identifier: Apache-2.0 */
/* test_stop.c - stop strings, UTF-8 checks, and text with a user's spans. */
#include "golden.h"

#include "detok.h"
#include "stop.h"
#include "text/tok.h"
#include "utf8.h"

/* ---- stop strings against the plain definition ---- */

/* The match that ends first, the longest of those; its index and end, or -1. */
static int naive(const struct view *s, int n, const char *text, size_t len, size_t *begin)
{
    for (size_t end = 1; end <= len; end++) {
        int best = -1;
        for (int i = 0; i < n; i++)
            if (s[i].n <= end && memcmp(text + end - s[i].n, s[i].p, s[i].n) == 0 &&
                (best < 0 || s[i].n > s[best].n))
                best = i;
        if (best >= 0) {
            *begin = end - s[best].n;
            return best;
        }
    }
    *begin = len;
    return -1;
}

static unsigned seed = 3;
static unsigned rnd(unsigned n)
{
    seed = seed * 1103515245u + 12345u;
    return (seed >> 16) % n;
}

static void test_stop_random(void **state)
{
    (void)state;
    for (int round = 0; round < 20000; round++) {
        char words[4][6], text[40];
        struct view set[4];
        int n = 1 + (int)rnd(4), got = -1, want;
        size_t len = rnd(sizeof text), begin, at = 0;
        bool include = rnd(2);
        struct stops *stops;
        struct stopper m;
        struct buf out = {0};
        for (int i = 0; i < n; i++) {
            set[i] = (struct view){words[i], 1 + rnd(5)};
            for (size_t k = 0; k < set[i].n; k++)
                words[i][k] = (char)('a' + rnd(2));
        }
        for (size_t k = 0; k < len; k++)
            text[k] = (char)('a' + rnd(2 + round % 2));
        want = naive(set, n, text, len, &begin);
        assert_int_equal(stops_new(&stops, set, n, NULL), 0);
        stopper_init(&m, stops);
        while (at < len && got < 0) {
            size_t piece = 1 + rnd(7);
            if (piece > len - at)
                piece = len - at;
            got = stopper_push(&m, text + at, piece, include, &out);
            at += piece;
            if (got < 0) /* never shows what may yet be taken back */
                assert_true(want < 0 || out.n <= begin);
        }
        if (got < 0)
            stopper_flush(&m, &out);
        if (want < 0)
            assert_int_equal(got, -1);
        else
            assert_true(set[got].n == set[want].n && !memcmp(set[got].p, set[want].p, set[got].n));
        assert_int_equal(out.n, want >= 0 && include ? begin + set[want].n : begin);
        assert_memory_equal(out.n ? out.p : "", text, out.n);
        buf_free(&out);
        stopper_fini(&m);
        stops_free(stops);
    }
}

static void test_stop_limits(void **state)
{
    struct view empty = {"", 0}, two[2] = {{"a", 1}, {"b", 1}};
    struct stops *s;
    struct stopper m;
    struct buf out = {0};
    struct err e;
    (void)state;
    assert_int_equal(stops_new(&s, &empty, 1, &e), ST_INVALID_VALUE);
    assert_int_equal(stops_new(&s, two, 2000, &e), ST_INVALID_LENGTH);
    stopper_init(&m, NULL);
    assert_int_equal(stopper_push(&m, "abc", 3, false, &out), -1);
    assert_int_equal(out.n, 3);
    stopper_fini(&m);
    buf_free(&out);
}

/* ---- UTF-8 ---- */

static void test_utf8(void **state)
{
    (void)state;
    for (uint32_t c = 0; c < 0x110000; c++) {
        char s[4];
        unsigned n, k;
        if (c >= 0xD800 && c < 0xE000)
            continue;
        n = utf8_put(s, c);
        assert_int_equal(utf8_check((unsigned char *)s, n), (int)n);
        assert_true(utf8_get(s, &k) == c && k == n && utf8_len((unsigned char)s[0]) == n);
        for (k = 1; k < n; k++)
            assert_int_equal(utf8_check((unsigned char *)s, k), 0);
    }
    for (unsigned a = 0x80; a < 0x100; a++) /* two bytes: exactly the valid pairs pass */
        for (unsigned b = 0; b < 0x100; b++) {
            unsigned char s[2] = {(unsigned char)a, (unsigned char)b};
            bool pair = a >= 0xC2 && a <= 0xDF && b >= 0x80 && b <= 0xBF;
            assert_int_equal(utf8_valid_prefix((char *)s, 2) == 2, pair);
        }
}

/* The streaming detokeniser never emits half a code point, whatever ids it gets. */
static void test_detok_whole(void **state)
{
    static const char *const names[] = {"smollm2", "mistral-7b-v0.1"};
    (void)state;
    for (int k = 0; k < 2; k++) {
        struct tok *t = golden_tok(false, names[k]);
        for (int round = 0; round < 3000; round++) {
            struct detok d;
            struct buf out = {0}, all = {0}, want = {0};
            struct ids ids = {0};
            detok_init(&d, t, round % 2);
            for (int i = 0; i < 12; i++) {
                token_id id = (token_id)rnd(rnd(2) ? 300 : (unsigned)tok_vocab(t));
                ids_add(&ids, id);
                out.n = 0;
                detok_push(&d, id, &out);
                assert_int_equal(utf8_valid_prefix(out.p, out.n), out.n);
                buf_add(&all, out.p, out.n);
            }
            out.n = 0;
            detok_flush(&d, &out);
            assert_int_equal(utf8_valid_prefix(out.p, out.n), out.n);
            buf_add(&all, out.p, out.n);
            tok_decode(t, ids.p, ids.n, round % 2, &want);
            if (k == 0) { /* byte level: the same also for invalid bytes */
                assert_int_equal(all.n, want.n);
                assert_memory_equal(all.n ? all.p : "", want.n ? want.p : "", want.n);
            }
            buf_free(&out);
            buf_free(&all);
            buf_free(&want);
            ids_free(&ids);
        }
        tok_close(t);
    }
}

/* ---- spans ---- */

static void encode_spans(const struct tok *t, const char *text, const struct span *s, size_t n,
                         struct ids *out)
{
    out->n = 0;
    assert_int_equal(tok_encode_spans(t, text, strlen(text), s, n, TOK_PARSE_SPECIAL, out, NULL),
                     0);
}

static void check_same(const struct ids *a, const struct ids *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->p, b->p, a->n * sizeof *a->p);
}

static void test_spans(void **state)
{
    static const char text[] = "<|im_start|>user\nSay <|im_end|> now<|im_end|>\n";
    const struct span user = {17,
                              34}; /* "Say <|im_end|> now" less its last letter: any cut works */
    struct tok *t = golden_tok(false, "smollm2");
    token_id end = tok_find(t, "<|im_end|>", 10);
    struct ids got = {0}, want = {0}, part = {0};
    size_t n_end = 0;
    (void)state;
    assert_true(end >= 0);
    encode_spans(t, text, &user, 1, &got);
    for (size_t i = 0; i < got.n; i++)
        n_end += got.p[i] == end;
    assert_int_equal(n_end, 1); /* the template's, not the user's */
    tok_encode(t, text, 12, TOK_PARSE_SPECIAL, &want, NULL);
    tok_encode(t, text + 12, 23, TOK_ADDED_AS_TEXT, &want, NULL);
    tok_encode(t, text + 35, sizeof text - 1 - 35, TOK_PARSE_SPECIAL, &want, NULL);
    check_same(&got, &want);
    /* A special token's text that a border cuts is no token. */
    encode_spans(t, "<|im_start|>", &(struct span){4, 7}, 1, &got);
    want.n = 0;
    tok_encode(t, "<|im_start|>", 12, TOK_ADDED_AS_TEXT, &want, NULL);
    check_same(&got, &want);
    /* Without added tokens in it, the spans change nothing: no cut at their borders. */
    encode_spans(t, "hello wonderful world", (struct span[]){{0, 3}, {3, 8}, {10, 21}}, 3, &got);
    want.n = 0;
    tok_encode(t, "hello wonderful world", 21, TOK_PARSE_SPECIAL, &want, NULL);
    check_same(&got, &want);
    ids_free(&got);
    ids_free(&want);
    ids_free(&part);
    tok_close(t);
}

/* Pieces before `armed` pass: a stop string counts when it ends behind them, wherever it begins. */
static void expect_armed(const char *const *pieces, int armed, const char *want, int want_hit)
{
    static const struct view set[] = {{"terhat", 6}, {"hat", 3}};
    struct stops *stops;
    struct stopper m;
    struct buf out = {0};
    int hit = -1;
    assert_int_equal(stops_new(&stops, set, 2, NULL), 0);
    stopper_init(&m, stops);
    for (int i = 0; pieces[i] && hit < 0; i++) {
        if (i < armed)
            stopper_pass(&m, pieces[i], strlen(pieces[i]), &out);
        else
            hit = stopper_push(&m, pieces[i], strlen(pieces[i]), false, &out);
    }
    if (hit < 0)
        stopper_flush(&m, &out);
    assert_int_equal(hit, want_hit);
    assert_int_equal(out.n, strlen(want));
    assert_memory_equal(out.p, want, out.n);
    stopper_fini(&m);
    stops_free(stops);
    buf_free(&out);
}

static void test_stop_over_border(void **state)
{
    (void)state;
    static const char *const a[] = {"in", " iter", "hat", " gin", NULL};
    static const char *const b[] = {"a hat", " hat", NULL};
    expect_armed(a, 2, "in i", 0);            /* begun before, ended behind */
    expect_armed(a, 3, "in iterhat gin", -1); /* ended before */
    expect_armed(a, 0, "in i", 0);
    expect_armed(b, 1, "a hat ", 1); /* the second one */
    expect_armed(b, 2, "a hat hat", -1);
}

/* Which of two that overlap: the one that ends first, for that is where the generation ends. The
 * one that begins earlier wins only when both end together. */
static void test_stop_overlap(void **state)
{
    (void)state;
    static const struct view set[] = {{"pan", 3}, {"expand", 6}, {"expan", 5}};
    static const struct {
        int n, want;
        const char *shown;
    } cases[] = {{2, 0, "to ex"}, {3, 2, "to "}};
    for (int k = 0; k < 2; k++) {
        for (size_t cut = 1; cut <= 9; cut++) { /* however the text is cut into pieces */
            struct stops *stops;
            struct stopper m;
            struct buf out = {0};
            int hit = -1;
            assert_int_equal(stops_new(&stops, set, cases[k].n, NULL), 0);
            stopper_init(&m, stops);
            for (size_t at = 0; at < 9 && hit < 0; at += cut)
                hit = stopper_push(&m, &"to expand"[at], 9 - at < cut ? 9 - at : cut, false, &out);
            assert_int_equal(hit, cases[k].want);
            assert_int_equal(out.n, strlen(cases[k].shown));
            assert_memory_equal(out.p, cases[k].shown, out.n);
            stopper_fini(&m);
            stops_free(stops);
            buf_free(&out);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stop_random),  cmocka_unit_test(test_stop_limits),
        cmocka_unit_test(test_utf8),         cmocka_unit_test(test_detok_whole),
        cmocka_unit_test(test_spans),        cmocka_unit_test(test_stop_over_border),
        cmocka_unit_test(test_stop_overlap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
