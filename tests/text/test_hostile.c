/* SPDX-License-Identifier: Apache-2.0 */
/* test_hostile.c - texts that break naive tokenizers, damaged files, and threads that share one. */
#include "golden.h"

#include "detok.h"
#include "text/tok.h"

#include <pthread.h>
#include <time.h>

enum { MIB = 1 << 20 };

/* Sanitizers slow everything down; the bound is for the plain build. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const double bound_s = 15;
#else
static const double bound_s = 1;
#endif

static double cpu_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static const struct {
    const char *name, *unit;
} hostile[] = {
    {"spaces", " "},
    {"one letter", "a"},
    {"two letters", "ab"},
    {"newlines", "\n"},
    {"spaces and newlines", " \n"},
    {"digits", "7"},
    {"dots", "."},
    {"combining marks", "\xCC\x81"},
    {"marks of two classes", "\xCC\x81\xCC\xA7"},
    {"letter and marks", "e\xCC\x81\xCC\xA7"},
    {"CJK", "\xE4\xBD\xA0"},
    {"Hangul jamo", "\xE1\x84\x80\xE1\x85\xA1"},
    {"emoji", "\xF0\x9F\x98\x80"},
    {"no-break spaces", "\xC2\xA0"},
    {"apostrophes", "'"},
    {"half a special token", "<|im_"},
    {"special tokens", "<|im_start|>"},
    {"U+2581", "\xE2\x96\x81"},
    {"control characters", "\1"},
    {"new code points", "\xE0\xA2\x97"},
};

static void one_hostile(const struct tok *t, const char *name, size_t k, double *worst)
{
    struct buf text = {0};
    struct ids ids = {0};
    struct err e = {0};
    size_t unit = strlen(hostile[k].unit);
    double at;
    while (text.n + unit <= MIB)
        buf_add(&text, hostile[k].unit, unit);
    at = cpu_s();
    assert_int_equal(tok_encode(t, text.p, text.n, TOK_PARSE_SPECIAL, &ids, &e), 0);
    at = cpu_s() - at;
    if (at > *worst)
        *worst = at;
    if (at > 0.25)
        printf("  %s: 1 MiB of %s: %.3f s, %zu ids\n", name, hostile[k].name, at, ids.n);
    assert_true(at < bound_s);
    buf_free(&text);
    ids_free(&ids);
}

static void test_time(void **state)
{
    static const char *const names[] = {"smollm2", "mistral-7b-v0.1", "qwen3", "gpt-oss",
                                        "deepseek-v3"};
    (void)state;
    for (int i = 0; i < 5; i++) {
        struct tok *t = golden_tok(i >= 2, names[i]);
        double worst = 0;
        if (!t) {
            printf("%s: not here, skipped\n", names[i]);
            continue;
        }
        for (size_t k = 0; k < sizeof hostile / sizeof *hostile; k++)
            one_hostile(t, names[i], k, &worst);
        printf("%s: worst of %zu hostile texts of 1 MiB: %.3f s\n", names[i],
               sizeof hostile / sizeof *hostile, worst);
        tok_close(t);
    }
}

/* ---- long pieces ---- */

/* All symbols of the piece merged at once. */
static void merge_whole(const struct tok *t, const struct buf *piece, struct ids *out)
{
    struct bpe_work w = {0};
    bpe_reserve(&w, piece->n);
    for (size_t i = 0; i < piece->n; i++)
        w.sym[i] = (struct bpe_sym){t->byte_id[(unsigned char)piece->p[i]], 1};
    bpe_merge(&t->merges, &w, piece->n, out);
    bpe_work_fini(&w);
}

static void test_windows_equal_whole(void **state)
{
    static const char *const units[] = {"etaoinshr", "a", "ab", "aab", "the", "xq"};
    struct tok *t = golden_tok(false, "smollm2");
    unsigned seed = 5;
    (void)state;
    for (int round = 0; round < 48; round++) {
        const char *unit = units[round % 6];
        size_t kinds = strlen(unit), n = 2000 + (size_t)round * round * 60; /* to 134,000 */
        struct buf text = {0};
        struct ids got = {0}, want = {0};
        for (size_t i = 0; i < n; i++) { /* one piece: letters only, few kinds, so many merges */
            seed = seed * 1103515245u + 12345u;
            buf_add(&text, unit + (round % 4 ? (seed >> 16) % kinds : i % kinds), 1);
        }
        assert_int_equal(tok_encode(t, text.p, text.n, 0, &got, NULL), 0);
        merge_whole(t, &text, &want);
        assert_int_equal(got.n, want.n);
        assert_memory_equal(got.p, want.p, want.n * sizeof *want.p);
        buf_free(&text);
        ids_free(&got);
        ids_free(&want);
    }
    tok_close(t);
}

/* SentencePiece style, without spaces: characters that are tokens, and others that become bytes. A
 * cut where nothing merges changes nothing. */
static void test_long_pieces(void **state)
{
    static const char *const units[] = {"\xE4\xBD\xA0", "\xF0\x9F\xA6\x84", "\n", "a",
                                        "\xCC\x81",     "\xE2\x80\x8B"};
    struct tok *t = golden_tok(false, "mistral-7b-v0.1");
    unsigned seed = 8;
    (void)state;
    for (int round = 0; round < 12; round++) {
        struct buf text = {0}, back = {0};
        struct ids got = {0}, want = {0};
        for (int part = 0; part < 40; part++) {
            size_t at = text.n;
            buf_add(&text, "\x01", 1); /* no merge has it, also none with the space in front */
            for (int i = 0; i < 700; i++) {
                const char *u = units[(seed >> 16) % 6];
                seed = seed * 1103515245u + 12345u;
                buf_add(&text, u, strlen(u));
            }
            assert_int_equal(tok_encode(t, text.p + at, text.n - at, 0, &got, NULL), 0);
            for (size_t i = part ? 1 : 0; i < got.n; i++) /* without the space in front */
                ids_add(&want, got.p[i]);
            got.n = 0;
        }
        assert_int_equal(tok_encode(t, text.p, text.n, 0, &got, NULL), 0);
        tok_decode(t, got.p, got.n, false, &back);
        assert_int_equal(back.n, text.n);
        assert_memory_equal(back.p, text.p, text.n);
        assert_int_equal(got.n, want.n);
        assert_memory_equal(got.p, want.p, want.n * sizeof *want.p);
        buf_free(&text);
        buf_free(&back);
        ids_free(&got);
        ids_free(&want);
    }
    tok_close(t);
}

/* ---- bad input ---- */

static void test_bad_utf8(void **state)
{
    static const char *const bad[] = {"\x80",       "a\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80",
                                      "ok\xE4\xBD", "\xFF"};
    struct tok *t = golden_tok(false, "smollm2");
    struct ids ids = {0};
    struct err e = {0};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(tok_encode(t, bad[i], strlen(bad[i]), 0, &ids, &e), ST_INVALID_VALUE);
    assert_int_equal(ids.n, 0);
    assert_int_equal(tok_encode(t, NULL, 0, 0, &ids, &e), 0);
    tok_close(t);
}

static int open_json(const char *json, struct err *e)
{
    struct text_source src = {.tokenizer_json = {json, strlen(json)}};
    struct tok *t = NULL;
    int st = tok_open(&t, &src, e);
    tok_close(t);
    return st;
}

#define MODEL                                                                                      \
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}"

static void test_bad_files(void **state)
{
    static const struct {
        const char *json;
        int st;
        const char *says;
    } bad[] = {
        {"", ST_FORMAT, ""},
        {"[]", ST_FORMAT, "object"},
        {"{" MODEL "} x", ST_FORMAT, "goes on"},
        {"{" MODEL ",\"x\":\"\\u0000\"}", ST_UNSUPPORTED, "zero"},
        {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{}}}", ST_UNSUPPORTED, "WordPiece"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", ST_UNSUPPORTED, "Unigram"},
        {"{" MODEL ",\"normalizer\":{\"type\":\"Precompiled\"}}", ST_UNSUPPORTED, "Precompiled"},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Magic\"}}", ST_UNSUPPORTED, "Magic"},
        {"{" MODEL ",\"decoder\":{\"type\":\"CTC\"}}", ST_UNSUPPORTED, "CTC"},
        {"{" MODEL ",\"post_processor\":{\"type\":\"Odd\"}}", ST_UNSUPPORTED, "Odd"},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?R)\"},"
         "\"behavior\":\"Isolated\"}}",
         ST_UNSUPPORTED, "group"},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},"
         "\"behavior\":\"Isolated\"}}",
         ST_FORMAT, "regex"},
        {"{\"model\":{\"type\":\"BPE\",\"dropout\":0.1,\"vocab\":{\"a\":0},\"merges\":[]}}",
         ST_UNSUPPORTED, "dropout"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]}}", ST_FORMAT,
         "repeat"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}", ST_FORMAT,
         "twice"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}", ST_FORMAT, "range"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1.5},\"merges\":[]}}", ST_FORMAT, "range"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1e99},\"merges\":[]}}", ST_FORMAT, "range"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a c\"]}}", ST_FORMAT,
         "merge"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a\"]}}", ST_FORMAT,
         "pair"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]}}", ST_FORMAT, "empty"},
    };
    struct err e = {0};
    (void)state;
    assert_int_equal(open_json("{" MODEL "}", &e), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int st = open_json(bad[i].json, &e);
        if (st != bad[i].st || !strstr(e.msg, bad[i].says))
            fail_msg("%s gives %d: %s", bad[i].json, st, e.msg);
    }
}

/* Every prefix of a good file, and every byte changed: refused or taken, never worse. */
static void test_mangled_file(void **state)
{
    static const char good[] =
        "{\"added_tokens\":[{\"id\":3,\"content\":\"<s>\",\"special\":true,\"lstrip\":true}],"
        "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":"
        "\"Replace\","
        "\"pattern\":{\"String\":\" \"},\"content\":\"_\"}]},\"pre_tokenizer\":{\"type\":\"Split\","
        "\"pattern\":{\"Regex\":\"\\\\w+|[^\\\\s]\"},\"behavior\":\"Isolated\",\"invert\":false},"
        "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":"
        "\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[3]}}},"
        "\"decoder\":{\"type\":\"Strip\",\"content\":\"a\",\"start\":1,\"stop\":0}," MODEL "}";
    char copy[sizeof good];
    unsigned seed = 9;
    (void)state;
    assert_int_equal(open_json(good, NULL), 0);
    for (size_t n = 0; n < sizeof good - 1; n++) {
        memcpy(copy, good, n);
        copy[n] = 0;
        assert_true(open_json(copy, NULL) < 0);
    }
    for (int i = 0; i < 4000; i++) {
        memcpy(copy, good, sizeof good);
        for (int k = 0; k < 1 + i % 3; k++) {
            seed = seed * 1103515245u + 12345u;
            copy[(seed >> 8) % (sizeof good - 1)] = "\"{}[]:,0129aA\\<"[(seed >> 24) % 15];
        }
        open_json(copy, NULL);
    }
}

/* ---- threads ---- */

struct job {
    const struct tok *t;
    const char *text;
    size_t n;
    const struct ids *want;
    int bad;
};

static void *encode_often(void *arg)
{
    struct job *j = arg;
    for (int i = 0; i < 20; i++) {
        struct ids got = {0};
        if (tok_encode(j->t, j->text, j->n, 0, &got, NULL) || got.n != j->want->n ||
            memcmp(got.p, j->want->p, got.n * sizeof *got.p) != 0)
            j->bad++;
        ids_free(&got);
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct tok *t = golden_tok(false, "smollm2"), *u = golden_tok(false, "smollm2");
    struct ids want = {0};
    struct buf text = {0};
    struct job job[4];
    pthread_t th[4];
    (void)state;
    for (int i = 0; i < 3000; i++) {
        char word[32];
        int n = snprintf(word, sizeof word, " word%d of \xC3\xA9t\xC3\xA9, %c;", i, 'a' + i % 26);
        buf_add(&text, word, (size_t)n);
    }
    assert_int_equal(tok_encode(u, text.p, text.n, 0, &want, NULL), 0);
    for (int i = 0; i < 4; i++) {
        job[i] = (struct job){t, text.p, text.n, &want, 0};
        assert_int_equal(pthread_create(&th[i], NULL, encode_often, &job[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(th[i], NULL);
        assert_int_equal(job[i].bad, 0);
    }
    ids_free(&want);
    buf_free(&text);
    tok_close(t);
    tok_close(u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_time),        cmocka_unit_test(test_windows_equal_whole),
        cmocka_unit_test(test_long_pieces), cmocka_unit_test(test_bad_utf8),
        cmocka_unit_test(test_bad_files),   cmocka_unit_test(test_mangled_file),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
