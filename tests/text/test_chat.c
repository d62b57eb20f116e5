/* SPDX-License-Identifier: Apache-2.0 */
/* test_chat.c - every chat template and language snippet against the reference's output. */
#include "golden.h"

#include "chat_text.h"
#include "jinja.h"

#include <time.h>

static int n_bad, n_all;

struct tally {
    int rendered, raised, runtime, lenient, ids;
};

static void complain(const cJSON *o, const char *what, struct golden_str want, const char *got,
                     size_t n)
{
    size_t k = 0;
    if (n_bad++ >= 10)
        return;
    while (k < n && k < want.n && got[k] == want.p[k])
        k++;
    k = k > 40 ? k - 40 : 0;
    printf("  %s: %s\n    want ...%.120s\n    got  ...%.*s\n", golden_str(o, "id").p, what,
           want.p ? want.p + (k < want.n ? k : want.n) : "",
           (int)(n - (k < n ? k : n) > 120 ? 120 : n - (k < n ? k : n)), got + (k < n ? k : n));
}

static bool same(struct golden_str want, const struct buf *got)
{
    return want.n == got->n && (want.n == 0 || memcmp(want.p, got->p, want.n) == 0);
}

static bool same_ids(const struct ids *a, const struct ids *b)
{
    return a->n == b->n && (a->n == 0 || memcmp(a->p, b->p, a->n * sizeof *a->p) == 0);
}

static int64_t when(const cJSON *o)
{
    struct tm tm = {0};
    assert_non_null(strptime(golden_str(o, "now").p, "%Y-%m-%dT%H:%M:%S", &tm));
    return (int64_t)timegm(&tm);
}

/* The text of a member of the object at s, its numbers spelled as they were. */
static struct view raw_member(const char *s, const char *name)
{
    struct view v = {0};
    int depth = 0;
    bool str = false, key = false;
    for (const char *p = s, *from = s; *p; p++) {
        if (str) {
            if (*p == '\\') {
                p++;
                continue;
            }
            str = *p != '"';
            if (!str && depth == 1 && p[1] == ':' && !v.p)
                key = (size_t)(p - from - 1) == strlen(name) &&
                      memcmp(from + 1, name, strlen(name)) == 0;
            continue;
        }
        if (v.p && depth == 1 && (*p == ',' || *p == '}')) {
            v.n = (size_t)(p - v.p);
            return v;
        }
        if (key && *p == ':' && !v.p)
            v.p = p + 1;
        if (*p == '"')
            from = p;
        str = *p == '"';
        depth += (*p == '{' || *p == '[') - (*p == '}' || *p == ']');
    }
    return (struct view){0};
}

/* The variables a golden line stands for, as one JSON object. */
static void variables(struct buf *out, const char *line)
{
    static const char *const names[] = {"messages", "tools", "add_generation_prompt"};
    struct view kw = raw_member(line, "kwargs");
    out->n = 0;
    for (int i = 0; i < 3; i++) {
        struct view v = raw_member(line, names[i]);
        if (!v.p)
            continue;
        buf_add(out, out->n ? ",\"" : "{\"", 2);
        buf_add(out, names[i], strlen(names[i]));
        buf_add(out, "\":", 2);
        buf_add(out, v.p, v.n);
    }
    while (kw.n && *kw.p != '{')
        kw.p++, kw.n--;
    if (kw.n > 2) {
        buf_add(out, ",", 1);
        buf_add(out, kw.p + 1, strlen(kw.p) < kw.n ? strlen(kw.p) - 1 : kw.n - 1);
    }
    while (out->p[out->n - 1] == ' ')
        out->n--;
    if (kw.n <= 2)
        buf_add(out, "}", 1);
}

static void check_ids(const struct tok *t, const cJSON *o, const struct buf *text,
                      const struct spans *spans, struct tally *k)
{
    struct ids want = {0}, got = {0};
    struct err e;
    if (golden_ids(&want, o, "ids")) {
        bool markup = false;
        assert_int_equal(chat_encode(t, text, spans, TOK_PARSE_SPECIAL, &got, &e), 0);
        n_all++;
        k->ids++;
        if (!same_ids(&want, &got))
            complain(o, "ids", golden_str(o, "rendered"), text->p, text->n);
        for (size_t i = 0; i < spans->n; i++)
            for (size_t p = spans->p[i].begin; p < spans->p[i].end; p++)
                markup |= text->p[p] == '<' || text->p[p] == '[';
        got.n = 0;
        assert_int_equal(chat_encode(t, text, spans, 0, &got, &e), 0);
        if (!markup && !same_ids(&want, &got))
            complain(o, "ids with spans kept plain", golden_str(o, "rendered"), text->p, text->n);
    }
    ids_free(&want);
    ids_free(&got);
}

static void check_line(const struct chat *c, const struct tok *t, const cJSON *o,
                       const struct buf *vars, struct tally *k)
{
    struct golden_str want = golden_str(o, "rendered"), error = golden_str(o, "error");
    struct buf out = {0};
    struct spans spans = {0};
    struct err e = {0};
    int st = chat_render_text(c, (struct view){vars->p, vars->n},
                              (struct chat_args){.now_unix_s = when(o), .max_out = 1 << 20}, &out,
                              &spans, &e);
    n_all++;
    if (want.p) {
        k->rendered++;
        if (st || !same(want, &out))
            complain(o, "rendered", want, st ? e.msg : out.p, st ? strlen(e.msg) : out.n);
        else if (t)
            check_ids(t, o, &out, &spans, k);
    } else if (strcmp(error.p, "raise_exception") == 0) {
        struct golden_str msg = golden_str(o, "message");
        k->raised++;
        if (st != ST_TEMPLATE || msg.n != strlen(e.msg) || memcmp(msg.p, e.msg, msg.n) != 0)
            complain(o, "raise_exception", msg, st ? e.msg : out.p, st ? strlen(e.msg) : out.n);
    } else {
        k->runtime++;
        k->lenient += st == 0;
        if (st && st != ST_TEMPLATE)
            complain(o, "runtime error's status", golden_str(o, "message"), e.msg, strlen(e.msg));
    }
    buf_free(&out);
    free(spans.p);
}

static struct chat *open_chat(bool full, const char *name)
{
    struct text_source src = {.bos_id = -1, .eos_id = -1, .unk_id = -1, .pad_id = -1};
    static const char *const dirs[] = {
        "templates/%s/tokenizer_config.json", "templates/%s/chat_template.jinja",
        "tokenizers/%s/tokenizer_config.json", "tokenizers/%s/chat_template.jinja"};
    char *text[4];
    size_t n[4] = {0};
    struct chat *c = NULL;
    struct err e = {0};
    for (int i = 0; i < 4; i++)
        text[i] = golden_read(full, dirs[i], name, &n[i]);
    int at = text[0] || text[1] ? 0 : 2;
    src.tokenizer_config_json = (struct view){text[at], n[at]};
    src.chat_template_jinja = (struct view){text[at + 1], n[at + 1]};
    if ((text[at] || text[at + 1]) && chat_open(&c, &src, &e))
        fail_msg("%s: %s", name, e.msg);
    for (int i = 0; i < 4; i++)
        free(text[i]);
    return c;
}

static void run(bool full, const char *name)
{
    struct chat *c = open_chat(full, name);
    struct tok *t = golden_tok(full, name);
    struct tally k = {0};
    struct buf vars = {0};
    size_t n;
    char *text = c ? golden_read(full, "goldens/chat.%s.jsonl.xz", name, &n) : NULL;
    if (!text) {
        printf("%s: no %s goldens here, skipped\n", name, full ? "full" : "subset");
        assert_true(full);
    } else {
        cJSON *o;
        n_bad = n_all = 0;
        for (char *at = text; at && *at;) {
            char *end = strchr(at, '\n'),
                 *line = end ? strndup(at, (size_t)(end - at)) : strdup(at);
            variables(&vars, line);
            free(line);
            o = golden_line(&at);
            check_line(c, t, o, &vars, &k);
            cJSON_Delete(o);
        }
        printf("%s, %s: %d of %d right; %d rendered, %d raised, %d runtime errors (%d of them "
               "rendered), %d ids\n",
               full ? "all" : "subset", name, n_all - n_bad, n_all, k.rendered, k.raised, k.runtime,
               k.lenient, k.ids);
        assert_true(k.rendered > 0);
        assert_int_equal(n_bad, 0);
    }
    free(text);
    buf_free(&vars);
    chat_close(c);
    tok_close(t);
}

static void test_subset(void **state)
{
    run(false, *state);
}

static void test_full(void **state)
{
    run(true, *state);
}

/* ---- the language ---- */

static void check_snippet(const cJSON *o, const struct jinja_input *in)
{
    struct golden_str src = golden_str(o, "template"), want = golden_str(o, "rendered");
    struct golden_str error = golden_str(o, "error");
    struct jinja *j = NULL;
    struct buf out = {0};
    struct err e = {0};
    int st = jinja_compile(&j, src.p, src.n, &e);
    bool syntax = st != 0;
    if (st == 0)
        st = jinja_render(j, in, &out, NULL, &e);
    n_all++;
    if (want.p ? st || !same(want, &out) : st == 0)
        complain(o, src.p, want, st ? e.msg : out.p ? out.p : "", st ? strlen(e.msg) : out.n);
    if (error.p && st && syntax != (strcmp(error.p, "syntax") == 0))
        complain(o, "another kind of error", golden_str(o, "message"), e.msg, strlen(e.msg));
    jinja_free(j);
    buf_free(&out);
}

static void snippets(bool full)
{
    size_t n;
    char *text = golden_read(full, "goldens/%s.jsonl", "jinja_snippets", &n), *at = text, *first;
    struct jinja_input in = {.max_out = 1 << 20, .max_mem = 64 << 20, .max_steps = 1 << 22};
    struct view v;
    struct json_doc vars;
    cJSON *o;
    if (!text) {
        printf("jinja_snippets: not here, skipped\n");
        assert_true(full);
        return;
    }
    first = strndup(text, strcspn(text, "\n"));
    v = raw_member(first, "context");
    assert_int_equal(json_parse(&vars, v.p, v.n, NULL), 0);
    in.doc = &vars;
    o = golden_line(&at);
    in.now_unix_s = when(o);
    cJSON_Delete(o);
    n_bad = n_all = 0;
    for (; (o = golden_line(&at)); cJSON_Delete(o))
        check_snippet(o, &in);
    printf("%s, jinja_snippets: %d of %d right\n", full ? "all" : "subset", n_all - n_bad, n_all);
    json_free(&vars);
    free(first);
    free(text);
    assert_true(n_all > 0);
    assert_int_equal(n_bad, 0);
}

static void test_snippets(void **state)
{
    (void)state;
    snippets(false);
    snippets(true);
}

int main(void)
{
    static char *names[] = {
        "smollm2",
        "chatml",
        "qwen2.5",
        "qwen3",
        "mistral-7b-instruct-v0.2",
        "mistral-nemo",
        "phi-3-mini",
        "phi-4-mini-reasoning",
        "phi-4-mini",
        "phi-4",
        "smollm3",
        "zephyr",
        "gpt-oss",
        "deepseek-v3",
    };
    enum { N = sizeof names / sizeof *names };
    struct CMUnitTest tests[2 * N + 1] = {cmocka_unit_test(test_snippets)};
    for (int i = 0; i < N; i++) {
        tests[2 * i + 1] = (struct CMUnitTest)cmocka_unit_test_prestate(test_subset, names[i]);
        tests[2 * i + 2] = (struct CMUnitTest)cmocka_unit_test_prestate(test_full, names[i]);
        tests[2 * i + 1].name = tests[2 * i + 2].name = names[i];
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
