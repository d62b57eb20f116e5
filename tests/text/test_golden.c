/* SPDX-License-Identifier: Apache-2.0 */
/* test_golden.c - every tokenizer against the reference's ids and texts. */
#include "golden.h"

#include "detok.h"
#include "text/tok.h"

#include <unistd.h>

/* checks that failed, checks, cases, cases that are not held against us */
static int n_bad, n_all, n_lines, n_old;

/* Under a sanitizer the full set takes minutes: a part of its lines there. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { EVERY = 8 };
#else
enum { EVERY = 1 };
#endif

static void show_ids(const char *what, const struct ids *v)
{
    printf("    %s:", what);
    for (size_t i = 0; i < v->n && i < 40; i++)
        printf(" %d", v->p[i]);
    printf("%s (%zu)\n", v->n > 40 ? " ..." : "", v->n);
}

static bool same_ids(const struct ids *a, const struct ids *b)
{
    return a->n == b->n && (a->n == 0 || memcmp(a->p, b->p, a->n * sizeof *a->p) == 0);
}

static bool same(struct golden_str want, const struct buf *got)
{
    return want.n == got->n && (want.n == 0 || memcmp(want.p, got->p, want.n) == 0);
}

static void complain(const cJSON *o, const char *what)
{
    const cJSON *id = cJSON_GetObjectItemCaseSensitive(o, "id");
    const cJSON *cat = cJSON_GetObjectItemCaseSensitive(o, "cat");
    if (n_bad++ < 10)
        printf("  %s %s: %s differs\n", cJSON_IsString(id) ? id->valuestring : "?",
               cJSON_IsString(cat) ? cat->valuestring : "", what);
}

static void check_encode(const struct tok *t, const cJSON *o, struct golden_str text,
                         unsigned flags, const struct ids *want, const char *what)
{
    struct ids got = {0};
    struct err e = {0};
    int st = tok_encode(t, text.p, text.n, flags, &got, &e);
    n_all++;
    if (st || !same_ids(&got, want)) {
        complain(o, what);
        if (st)
            printf("    %s\n", e.msg);
        if (n_bad <= 10) {
            show_ids("want", want);
            show_ids("got ", &got);
        }
    }
    ids_free(&got);
}

static void check_decode(const struct tok *t, const cJSON *o, const struct ids *ids, bool skip,
                         struct golden_str want, const char *what)
{
    struct buf got = {0};
    n_all++;
    if (tok_decode(t, ids->p, ids->n, skip, &got) || !same(want, &got)) {
        complain(o, what);
        if (n_bad <= 10)
            printf("    want \"%.*s\"\n    got  \"%.*s\"\n", (int)want.n, want.p, (int)got.n,
                   got.p);
    }
    buf_free(&got);
}

/* Fed one at a time, the joined text is the decoded text. */
static void check_joined(const struct tok *t, const cJSON *o, const struct ids *ids, bool skip)
{
    struct buf got = {0}, want = {0};
    struct detok d;
    tok_decode(t, ids->p, ids->n, skip, &want);
    detok_init(&d, t, skip);
    for (size_t i = 0; i < ids->n; i++)
        detok_push(&d, ids->p[i], &got);
    detok_flush(&d, &got);
    n_all++;
    if (!same((struct golden_str){want.p, want.n}, &got))
        complain(o, "joined stream");
    buf_free(&got);
    buf_free(&want);
}

/* The reference ran without the special tokens, so it numbered the other added tokens anew, from
 * the size of the model's vocabulary on: back to their ids. */
static void renumber(const struct tok *t, struct ids *v)
{
    struct ids left = {0};
    token_id base = 0;
    for (token_id id = 0; id < t->v.n; id++) {
        uint8_t f = t->v.flags[id];
        base += (f & VOCAB_MODEL) != 0;
        if ((f & VOCAB_ADDED) && !(f & (VOCAB_MODEL | VOCAB_SPECIAL)))
            ids_add(&left, id);
    }
    if (golden_n_model >= 0)
        base = golden_n_model;
    for (size_t i = 0; i < v->n; i++)
        if (v->p[i] >= base && (size_t)(v->p[i] - base) < left.n)
            v->p[i] = left.p[v->p[i] - base];
    ids_free(&left);
}

static void encode_goldens(const struct tok *t, char *text)
{
    struct ids ids = {0}, special = {0}, plain = {0}, none = {0};
    cJSON *o;
    for (char *at = text; (o = golden_line(&at)); cJSON_Delete(o)) {
        struct golden_str s = golden_str(o, "text"), back = golden_str(o, "decoded");
        const cJSON *cat = cJSON_GetObjectItemCaseSensitive(o, "cat");
        n_lines++;
        if (strcmp(cat->valuestring, "nfc_unicode9") == 0) {
            n_old++; /* the reference's normaliser has old tables there */
            continue;
        }
        golden_ids(&ids, o, "ids");
        if (!golden_ids(&special, o, "ids_with_special"))
            golden_ids(&special, o, "ids");
        if (golden_ids(&plain, o, "ids_specials_as_text"))
            renumber(t, &plain);
        else
            golden_ids(&plain, o, "ids");
        if (!golden_ids(&none, o, "ids_added_as_text")) {
            none.n = 0;
            for (size_t i = 0; i < plain.n; i++)
                ids_add(&none, plain.p[i]);
        }
        check_encode(t, o, s, TOK_PARSE_SPECIAL, &ids, "ids");
        check_encode(t, o, s, TOK_PARSE_SPECIAL | TOK_SPECIAL, &special, "ids_with_special");
        check_encode(t, o, s, 0, &plain, "ids_specials_as_text");
        check_encode(t, o, s, TOK_ADDED_AS_TEXT, &none, "ids_added_as_text");
        check_decode(t, o, &ids, false, back.p ? back : s, "decoded");
        check_joined(t, o, &ids, false);
        check_joined(t, o, &special, true);
    }
    ids_free(&ids);
    ids_free(&special);
    ids_free(&plain);
    ids_free(&none);
}

static void hex_to(struct buf *b, const char *hex)
{
    for (unsigned v; sscanf(hex, "%2x", &v) == 1; hex += 2) {
        char c = (char)v;
        buf_add(b, &c, 1);
    }
}

static void single_goldens(const struct tok *t, char *text)
{
    cJSON *o;
    token_id last = -1;
    for (char *at = text; (o = golden_line(&at)); cJSON_Delete(o)) {
        token_id id = (token_id)cJSON_GetObjectItemCaseSensitive(o, "start")->valueint;
        const cJSON *c;
        cJSON_ArrayForEach(c, cJSON_GetObjectItemCaseSensitive(o, "texts"))
        {
            struct ids one = {&id, 1, 1};
            size_t n;
            if (cJSON_IsNull(c)) {
                n_all++;
                if (tok_string(t, id, &n))
                    complain(o, "id that should not be there");
            } else if (cJSON_IsString(c)) {
                check_decode(t, o, &one, false, golden_str(c, NULL), "single id");
            } else {
                const cJSON *hex = cJSON_GetObjectItemCaseSensitive(c, "hex");
                struct buf want = {0}, got = {0};
                hex_to(&want, hex->valuestring);
                tok_bytes(t, id, &got);
                n_all++;
                if (!same((struct golden_str){want.p, want.n}, &got))
                    complain(o, "bytes of an id");
                buf_free(&want);
                buf_free(&got);
            }
            n_lines++;
            last = id++;
        }
    }
    if (last >= 0)
        assert_true(last < tok_vocab(t));
}

static void seq_goldens(const struct tok *t, char *text)
{
    struct ids ids = {0};
    cJSON *o;
    for (char *at = text; (o = golden_line(&at)); cJSON_Delete(o)) {
        struct golden_str s = golden_str(o, "text"), skip = golden_str(o, "text_skip_special");
        n_lines++;
        golden_ids(&ids, o, "ids");
        check_decode(t, o, &ids, false, s, "text");
        check_decode(t, o, &ids, true, skip.p ? skip : s, "text_skip_special");
        if (!cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, "invalid_utf8")))
            check_joined(t, o, &ids, false);
    }
    ids_free(&ids);
}

static void stream_goldens(const struct tok *t, char *text)
{
    struct ids ids = {0};
    cJSON *o;
    for (char *at = text; (o = golden_line(&at)); cJSON_Delete(o)) {
        bool skip = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, "skip_special"));
        const cJSON *c = cJSON_GetObjectItemCaseSensitive(o, "emit")->child;
        struct golden_str flush = golden_str(o, "flush");
        struct buf got = {0};
        struct detok d;
        n_lines++;
        assert_true(golden_ids(&ids, o, "ids") && ids.n > 0);
        detok_init(&d, t, skip);
        for (size_t i = 0; i < ids.n; i++, c = c->next) {
            assert_non_null(c);
            got.n = 0;
            detok_push(&d, ids.p[i], &got);
            n_all++;
            if (!same(golden_str(c, NULL), &got))
                complain(o, "emit");
        }
        assert_null(c);
        got.n = 0;
        detok_flush(&d, &got);
        n_all++;
        if (!same(flush, &got))
            complain(o, "flush");
        buf_free(&got);
    }
    ids_free(&ids);
}

enum { ENCODE, SINGLE, SEQ, STREAM, N_KINDS };
static const struct {
    const char *name, *fmt;
    void (*check)(const struct tok *, char *);
} kinds[N_KINDS] = {{"encode", "goldens/encode.%s.jsonl.xz", encode_goldens},
                    {"decode_single", "goldens/decode_single.%s.jsonl.xz", single_goldens},
                    {"decode_seq", "goldens/decode_seq.%s.jsonl.xz", seq_goldens},
                    {"stream", "goldens/stream.%s.jsonl.xz", stream_goldens}};

/* How many cases the full set has, as its README counts them; the fixtures have fewer. */
static const struct set {
    const char *name;
    int cases[N_KINDS];
} sets[] = {
    {"gpt2", {3397, 50257, 701, 459}},          {"mistral-7b-v0.1", {3435, 32000, 701, 318}},
    {"phi-2", {3438, 50295, 701, 458}},         {"phi-3-mini", {3466, 32011, 701, 316}},
    {"qwen2.5", {3480, 151665, 701, 463}},      {"qwen3", {3502, 151669, 701, 459}},
    {"mistral-nemo", {3549, 131072, 701, 457}}, {"deepseek-v3", {3537, 128815, 701, 459}},
    {"gpt-oss", {3487, 200019, 701, 466}},
};
enum { N_SETS = sizeof sets / sizeof *sets };

/* full: the set it is from, whose cases must all be there; NULL: a fixture, which has some kinds.
 */
static void run(const struct tok *t, const struct set *full, const char *name, int kind)
{
    size_t n;
    char *text = golden_read(full, kinds[kind].fmt, name, &n);
    if (full)
        assert_non_null(text);
    if (!text)
        return;
    n_bad = n_all = n_lines = n_old = 0;
    golden_every = full ? EVERY : 1;
    kinds[kind].check(t, text);
    printf("%s, %s %s: %d of %d right in %d cases", full ? "all" : "subset", name, kinds[kind].name,
           n_all - n_bad, n_all, n_lines);
    if (n_old)
        printf(" (%d of them only for information)", n_old);
    printf(golden_every > 1 ? ", one line of %d\n" : "\n", golden_every);
    free(text);
    assert_true(n_all > 0);
    if (full && golden_every == 1)
        assert_int_equal(n_lines, full->cases[kind]);
    assert_int_equal(n_bad, 0);
}

static void all_kinds(const struct set *full, struct tok *t, const char *name)
{
    for (int kind = 0; kind < N_KINDS; kind++)
        run(t, full, name, kind);
    tok_close(t);
}

/* The full set is a folder that may be missing, but then as a whole. */
static bool have_full(void)
{
    const char *path = data_path("goldens");
    bool have = path && access(path, R_OK) == 0;
    if (!have)
        printf("no full data here, skipped\n");
    return have;
}

static void test_subset(void **state)
{
    (void)state;
    all_kinds(NULL, golden_tok(false, "smollm2"), "smollm2");
    all_kinds(NULL, golden_tok(false, "mistral-7b-v0.1"), "mistral-7b-v0.1");
}

static void test_subset_gguf(void **state)
{
    (void)state;
    all_kinds(NULL, golden_tok_gguf(false, "smollm2", "smollm", -1), "smollm2");
    all_kinds(NULL, golden_tok_gguf(false, "mistral-7b-v0.1", NULL, 1), "mistral-7b-v0.1");
}

static void test_full(void **state)
{
    const struct set *full = *state;
    struct tok *t;
    if (!have_full())
        return;
    t = golden_tok(true, full->name);
    assert_non_null(t);
    all_kinds(full, t, full->name);
}

/* phi-3-mini and deepseek-v3's decode differ: the metadata has no rstrip and no hole in the ids. */
static void test_full_gguf(void **state)
{
    static const struct {
        const char *name, *pre;
        token_id bos;
    } gguf[] = {{"gpt2", "gpt-2", -1},
                {"phi-2", "phi-2", -1},
                {"qwen2.5", "qwen2", -1},
                {"qwen3", "qwen2", -1},
                {"mistral-nemo", "tekken", 1},
                {"mistral-7b-v0.1", NULL, 1},
                {"deepseek-v3", "deepseek-v3", 0},
                {"gpt-oss", "gpt-4o", -1}};
    (void)state;
    if (!have_full())
        return;
    for (size_t i = 0; i < sizeof gguf / sizeof *gguf; i++) {
        struct tok *t = golden_tok_gguf(true, gguf[i].name, gguf[i].pre, gguf[i].bos);
        const struct set *full = sets;
        while (strcmp(full->name, gguf[i].name) != 0)
            full++;
        assert_non_null(t);
        run(t, full, gguf[i].name, ENCODE);
        tok_close(t);
    }
}

/* The rules that no tokenizer above has: their published pipeline around one vocabulary. */
static void test_pre_rules(void **state)
{
    size_t n;
    char *text = golden_read(false, "pre.jsonl.xz%s", "", &n);
    struct ids want = {0};
    cJSON *row;
    int rules = 0;
    (void)state;
    assert_non_null(text);
    n_bad = n_all = 0;
    golden_every = 1;
    for (char *at = text; (row = golden_line(&at)); cJSON_Delete(row), rules++) {
        const char *pre = cJSON_GetObjectItem(row, "pre")->valuestring;
        struct tok *t = golden_tok_gguf(false, "smollm2", pre, -1);
        int bad = n_bad;
        const cJSON *c;
        cJSON_ArrayForEach(c, cJSON_GetObjectItem(row, "cases"))
        {
            golden_ids(&want, c, "ids");
            check_encode(t, c, golden_str(c, "text"), TOK_PARSE_SPECIAL, &want, "ids");
        }
        if (n_bad > bad)
            printf("  pre-tokenizer %s: %d wrong\n", pre, n_bad - bad);
        tok_close(t);
    }
    printf("%d GGUF pre-tokenizers: %d of %d right\n", rules, n_all - n_bad, n_all);
    ids_free(&want);
    free(text);
    assert_true(rules >= 13 && n_all > 2000);
    assert_int_equal(n_bad, 0);
}

static void test_pre_refused(void **state)
{
    static const char *const bad[] = {"", "gpt", "gpt-2 ", "gpt-2 phi-2", "default", "falcon"};
    struct view token = {"a", 1};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct text_source src = {.gguf_model = {"gpt2", 4},
                                  .gguf_pre = {bad[i], strlen(bad[i])},
                                  .gguf_tokens = &token,
                                  .n_gguf_tokens = 1};
        struct tok *t;
        struct err e = {0};
        assert_int_equal(tok_open(&t, &src, &e), ST_UNSUPPORTED);
        assert_null(t);
        assert_non_null(strstr(e.msg, bad[i]));
    }
}

int main(void)
{
    struct CMUnitTest tests[5 + N_SETS] = {
        cmocka_unit_test(test_subset), cmocka_unit_test(test_subset_gguf),
        cmocka_unit_test(test_pre_rules), cmocka_unit_test(test_pre_refused),
        cmocka_unit_test(test_full_gguf)};
    for (int i = 0; i < N_SETS; i++) {
        tests[i + 5] = (struct CMUnitTest)cmocka_unit_test_prestate(test_full, (void *)&sets[i]);
        tests[i + 5].name = sets[i].name;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
