/* SPDX-License-Identifier: Apache-2.0 */
/* test_json.c - the strict parser: accept and refuse tables, limits, a differential test against
 * cJSON on random documents, random damage; documents made of parts of others.
 */
#include "json.h"
#include "json_make.h"
#include "json_out.h"
#include "testing.h"

#include <cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int parse(const char *s, size_t n)
{
    struct json_doc d;
    struct err e;
    char *copy = malloc(n ? n : 1); /* exact size: the sanitizer sees any step too far */
    memcpy(copy, s, n);
    int st = json_parse(&d, copy, n, &e);
    if (st == 0)
        json_free(&d);
    free(copy);
    return st;
}

static void test_tables(void **state)
{
    (void)state;
    static const char *const good[] = {"{}",
                                       " [ ] ",
                                       "0",
                                       "-0",
                                       "1e5",
                                       "1.5E-3",
                                       "\"\"",
                                       "null",
                                       "true",
                                       "{\"a\":{\"b\":[1,{}]}}",
                                       "\"\\u0000\\ud83d\\ude00\\n\"",
                                       "\"\xF0\x9F\x98\x80\"",
                                       "[1,2,[3,[4]]]",
                                       "1e999",
                                       "{\"a\":1,\"A\":2}",
                                       "9223372036854775807"};
    static const char *const bad[] = {
        "",
        " ",
        "{",
        "}",
        "[1,]",
        "{\"a\":1,}",
        "{a:1}",
        "{'a':1}",
        "01",
        "1.",
        ".5",
        "+1",
        "- 1",
        "1e",
        "NaN",
        "Infinity",
        "tru",
        "\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "\"\t\"",
        "\"\xff\"",
        "\"\xC0\x80\"",
        "\"\xED\xA0\x80\"",
        "\"\xF4\x90\x80\x80\"",
        "\xEF\xBB\xBF{}",
        "{} {}",
        "[1 2]",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":1,\"a\":2}",
        "/**/1",
        "[1}",
        "{\"a\":1]",
        "{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"f\":6,\"g\":7,\"h\":8,\"i\":9,\"a\":0}",
        "{\"a\":1,\"\\u0061\":2}"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        if (parse(good[i], strlen(good[i])) != 0)
            fail_msg("refused: %s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (parse(bad[i], strlen(bad[i])) != ST_INVALID_JSON)
            fail_msg("accepted: %s", bad[i]);
    assert_int_equal(parse("1\0", 2), ST_INVALID_JSON);
}

static void test_values(void **state)
{
    (void)state;
    struct json_doc d;
    struct err e;
    const char *s = "{\"i\":1.0,\"big\":-9223372036854775808,\"over\":9223372036854775808,"
                    "\"s\":\"a\\u0000b\\u00e9\",\"l\":[1,2,3]}";
    assert_int_equal(json_parse(&d, s, strlen(s), &e), 0);
    const struct json *v = json_get(&d, d.v, "i");
    assert_true(v->is_int && v->i == 1);
    v = json_get(&d, d.v, "big");
    assert_true(v->is_int && v->i == INT64_MIN);
    assert_false(json_get(&d, d.v, "over")->is_int);
    v = json_get(&d, d.v, "s");
    assert_int_equal(v->n, 5);
    assert_memory_equal(v->s, "a\0b\xC3\xA9", 5);
    v = json_get(&d, d.v, "l");
    assert_int_equal(v->n, 3);
    assert_int_equal(v->end - v->begin, 7);
    assert_null(json_get(&d, d.v, "I"));
    json_free(&d);
    const char *t = "{\n \"a\": tru}";
    assert_int_equal(json_parse(&d, t, strlen(t), &e), ST_INVALID_JSON);
    assert_non_null(strstr(e.msg, "line 2 column 7"));
}

static void test_limits(void **state)
{
    (void)state;
    char deep[600];
    memset(deep, '[', 128);
    memset(deep + 128, ']', 128);
    assert_int_equal(parse(deep, 256), 0);
    memset(deep, '[', 129);
    memset(deep + 129, ']', 129);
    assert_int_equal(parse(deep, 258), ST_INVALID_JSON);
    /* [0,0,...]: the array and JSON_MAX_VALUES - 1 numbers are the most */
    size_t n = (size_t)JSON_MAX_VALUES * 2;
    char *wide = malloc(n + 2);
    for (size_t i = 1; i < n; i += 2)
        memcpy(wide + i, "0,", 2);
    wide[0] = '[';
    wide[n - 2] = ']';
    assert_int_equal(parse(wide, n - 1), 0);
    wide[n - 2] = ',';
    wide[n - 1] = '0';
    wide[n] = ']';
    assert_int_equal(parse(wide, n + 1), ST_INVALID_JSON);
    assert_int_equal(parse("[", 1), ST_INVALID_JSON);
    free(wide);
}

/* What templates print back: whether a number was written whole, and its digits beyond 64 bits. */
static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *s;
        bool whole, is_int;
    } t[] = {{"0", true, true},       {"-0", true, true},
             {"1.0", false, true},    {"1e3", false, true},
             {"1.5", false, false},   {"9223372036854775807", true, true},
             {"1e400", false, false}, {"9223372036854775808", true, false}};
    struct json_doc d;
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        assert_int_equal(json_parse(&d, t[i].s, strlen(t[i].s), NULL), 0);
        assert_int_equal(d.v->whole, t[i].whole);
        assert_int_equal(d.v->is_int, t[i].is_int);
        assert_true(d.v->d == strtod(t[i].s, NULL) && !signbit(d.v->d) == (t[i].s[0] != '-'));
        if (t[i].whole && !t[i].is_int) {
            assert_int_equal(d.v->n, strlen(t[i].s));
            assert_memory_equal(d.v->s, t[i].s, d.v->n);
        }
        json_free(&d);
    }
}

static void print(struct buf *b, const struct json_doc *d, const struct json *v)
{
    if (v->key) {
        out_json(b, v->key, v->n_key);
        out_str(b, ":");
    }
    switch (v->type) {
    case JSON_NUM:
        out_fmt(b, "%g", v->d);
        break;
    case JSON_STR:
        out_json(b, v->s, v->n);
        break;
    case JSON_ARR:
    case JSON_OBJ:
        out_str(b, v->type == JSON_ARR ? "[" : "{");
        for (const struct json *k = json_child(d, v); k; k = json_next(d, k)) {
            print(b, d, k);
            out_str(b, k->next ? "," : "");
        }
        out_str(b, v->type == JSON_ARR ? "]" : "}");
        break;
    default:
        out_str(b, v->type == JSON_NULL ? "null" : v->boolean ? "true" : "false");
    }
}

/* A document made of parts prints as what its parts were; a kept one outlives its parsed form. */
static void test_make(void **state)
{
    (void)state;
    static const char src[] = "{\"a\":[1,{\"b\\n\":\"\\u00e9x\"},[]],\"c\":\"plain\",\"d\":null}";
    static const char inner[] = "{\"k\":\"\\\"q\\\"\",\"l\":[true,\"z\"]}";
    static const char want[] =
        "{\"a\":[1,{\"b\\n\":\"\xC3\xA9x\"},[]],\"list\":[\"s\",\"ab\",false],"
        "\"kept\":{\"k\":\"\\\"q\\\"\",\"l\":[true,\"z\"]},\"d\":null}";
    const struct view none = {NULL, 0};
    struct json_maker m;
    struct json_doc d, part, made;
    struct buf b = {0};
    assert_int_equal(json_parse(&d, src, sizeof src - 1, NULL), 0);
    assert_int_equal(json_parse(&part, inner, sizeof inner - 1, NULL), 0);
    json_make_begin(&m, &made, sizeof src + sizeof inner);
    json_make_open(&m, none, JSON_OBJ);
    json_make_copy(&m, &d, json_get(&d, d.v, "a"));
    json_make_open(&m, (struct view){"list", 4}, JSON_ARR);
    json_make_str(&m, none, (struct view){"s", 1});
    memcpy(json_make_text(&m, none, 2), "ab", 2);
    json_make_bool(&m, none, false);
    json_make_close(&m);
    json_make_keep(&m, (struct view){"kept", 4}, &part);
    json_free(&part);
    json_make_copy(&m, &d, json_get(&d, d.v, "d"));
    json_make_close(&m);
    assert_int_equal(json_make_end(&m), 0);
    print(&b, &made, made.v);
    assert_int_equal(b.n, sizeof want - 1);
    assert_memory_equal(b.p, want, b.n);
    buf_free(&b);
    json_free(&made);
    json_free(&d);
}

static uint64_t rng = 88172645463325252u;
static uint32_t rnd(uint32_t n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (uint32_t)(rng >> 33) % n;
}

static void random_value(struct buf *b, int depth)
{
    static const char *const strings[] = {"\"\"", "\"a\\nb\"", "\"\xC3\xA9\"", "\"\\u20ac\"",
                                          "\"\\\"\""};
    uint32_t k = rnd(depth < 5 ? 7 : 5);
    if (k == 0)
        out_fmt(b, "%d", (int)rnd(100000) - 50000);
    else if (k == 1)
        out_fmt(b, "%g", (double)rnd(100000) / 7);
    else if (k == 2)
        out_str(b, strings[rnd(5)]);
    else if (k == 3)
        out_str(b, rnd(2) ? "true" : "false");
    else if (k == 4)
        out_str(b, "null");
    else {
        uint32_t n = rnd(12);
        out_str(b, k == 5 ? "[" : "{");
        for (uint32_t i = 0; i < n; i++) {
            out_str(b, i ? " , " : "");
            if (k == 6)
                out_fmt(b, "\"k%u\":", i);
            random_value(b, depth + 1);
        }
        out_str(b, k == 5 ? "]" : "}");
    }
}

static void same(const struct json_doc *d, const struct json *v, const cJSON *c)
{
    assert_non_null(c);
    if (v->key)
        assert_string_equal(c->string, v->key ? strndupa(v->key, v->n_key) : "");
    switch (v->type) {
    case JSON_NUM:
        assert_true(cJSON_IsNumber(c) && c->valuedouble == v->d);
        break;
    case JSON_STR:
        assert_int_equal(strlen(c->valuestring), v->n);
        assert_memory_equal(c->valuestring, v->s, v->n);
        break;
    case JSON_ARR:
    case JSON_OBJ: {
        const cJSON *k = c->child;
        for (const struct json *x = json_child(d, v); x; x = json_next(d, x), k = k->next)
            same(d, x, k);
        assert_null(k);
        break;
    }
    default:
        assert_true(v->type == JSON_NULL ? cJSON_IsNull(c) : cJSON_IsTrue(c) == v->boolean);
    }
}

static void test_against_cjson(void **state)
{
    (void)state;
    for (int i = 0; i < 3000; i++) {
        struct buf b = {0};
        struct json_doc d;
        random_value(&b, 0);
        assert_int_equal(json_parse(&d, b.p, b.n, NULL), 0);
        cJSON *c = cJSON_ParseWithLength(b.p, b.n);
        same(&d, d.v, c);
        cJSON_Delete(c);
        json_free(&d);
        for (int k = 0; k < 8; k++) { /* damage: never a crash, never more than the strict rule */
            char *m = malloc(b.n + 1);
            memcpy(m, b.p, b.n);
            size_t n = b.n - (rnd(3) == 0 ? rnd((uint32_t)b.n) : 0);
            if (n)
                m[rnd((uint32_t)n)] = (char)rnd(256);
            if (parse(m, n) == 0) {
                m[n] = '\0';
                c = strlen(m) == n ? cJSON_ParseWithLength(m, n) : NULL;
                if (strlen(m) == n && !c)
                    fail_msg("accepted what cJSON refuses: %s", m);
                cJSON_Delete(c);
            }
            free(m);
        }
        buf_free(&b);
    }
}

static void test_output(void **state)
{
    (void)state;
    struct buf b = {0};
    out_json(&b, "a\"\\\n\x01\xff\xC3\xA9", 8);
    buf_add(&b, "", 1);
    assert_string_equal(b.p, "\"a\\\"\\\\\\n\\u0001\xEF\xBF\xBD\xC3\xA9\"");
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),  cmocka_unit_test(test_values),
        cmocka_unit_test(test_numbers), cmocka_unit_test(test_make),
        cmocka_unit_test(test_limits),  cmocka_unit_test(test_against_cjson),
        cmocka_unit_test(test_output)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
