/* SPDX-License-Identifier: Apache-2.0 */
/* test_keys.c - where API keys and tenants come from, and what makes a server that was meant to be
 * closed refuse to start. */
#include "tenants.h"
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char VARIABLE[] = "QUIRE_TEST_KEY";
/* printf %s other | sha256sum */
#define OTHER_HASH "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa"

static char dir[64], keys_path[128], tenants_path[128];
static struct tenants t;
static struct err e;

static int make_dir(void **s)
{
    (void)s;
    snprintf(dir, sizeof dir, "/tmp/quire-keys-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(keys_path, sizeof keys_path, "%s/keys", dir);
    snprintf(tenants_path, sizeof tenants_path, "%s/tenants.yaml", dir);
    return 0;
}

static int remove_dir(void **s)
{
    (void)s;
    unlink(keys_path);
    unlink(tenants_path);
    return rmdir(dir);
}

static void write_file(const char *path, const char *text, size_t n, mode_t mode)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    assert_int_equal(fchmod(fileno(f), mode), 0);
    fclose(f);
}

/* Sources that are NULL are not named. */
static int load(const char *tenants, const char *keys, const char *variable)
{
    struct config c;
    config_defaults(&c);
    if (tenants)
        assert_int_equal(config_set(&c, "auth.tenants_file", tenants, NULL), 0);
    if (keys)
        assert_int_equal(config_set(&c, "auth.api_keys_file", keys, NULL), 0);
    if (variable)
        assert_int_equal(config_set(&c, "auth.api_key_env", variable, NULL), 0);
    tenants_free(&t);
    e = (struct err){0};
    int st = tenants_load(&t, &c, &e);
    config_free(&c);
    return st;
}

static int load_keys(const char *text, size_t n, mode_t mode)
{
    write_file(keys_path, text, n, mode);
    return load(NULL, keys_path, NULL);
}

static int load_tenants(const char *text)
{
    write_file(tenants_path, text, strlen(text), 0600);
    return load(tenants_path, NULL, NULL);
}

static const struct tenant *whose(const char *key)
{
    return tenants_find(&t, key, strlen(key));
}

static void test_modes(void **s)
{
    static const mode_t good[] = {0600, 0400, 0640, 0440},
                        bad[] = {0604, 0644, 0660, 0602, 0666, 0777, 0601};
    (void)s;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(load_keys("k\n", 2, good[i]), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(load_keys("k\n", 2, bad[i]), ST_INVALID_VALUE);
        assert_non_null(strstr(e.msg, "mode"));
    }
    assert_int_equal(load(NULL, "/nonexistent/keys", NULL), ST_INVALID_VALUE);
    assert_non_null(strstr(e.msg, "/nonexistent/keys"));
}

static void test_lines(void **s)
{
    static const struct {
        const char *text;
        size_t n;
        const char *line; /* of the message; NULL: fine */
    } c[] = {{"# keys\n\n a-key \r\nother\n", 23, NULL},
             {"a-key\nother", 11, NULL},
             {"a-key\nother\na-key\n", 18, NULL}, /* twice, and it stands for itself: once */
             {"a-key\nsha256:" OTHER_HASH, 77, NULL},
             {"a-key\nsha256:12\n", 16, "keys:2:0: API key: sha256:"},
             {"a-key\nother two\n", 16, ":2:"},
             {"a-key\nother\ttwo\n", 16, ":2:"},
             {"a-key\nother\0two\n", 16, ":2:"},
             {"a-key\n\n\nother\x01\n", 15, ":4:"},
             {"a-key\nother\x7f\n", 13, ":2:"},
             {"a-key\nother\0\n", 13, ":2:"}};
    (void)s;
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        int st = load_keys(c[i].text, c[i].n, 0600);
        if (st != (c[i].line ? ST_INVALID_VALUE : 0) || (c[i].line && !strstr(e.msg, c[i].line)))
            fail_msg("%zu: %d %s", i, st, e.msg);
        assert_null(strstr(e.msg, "other")); /* no part of a key is told */
        if (c[i].line)
            continue;
        assert_true(whose("a-key") && whose("other") && !whose("oth") && !whose("other2"));
        assert_null(whose(""));
        assert_ptr_not_equal(whose("a-key"), whose("other"));
        assert_true(whose("a-key")->id != whose("other")->id && whose("a-key")->id != 0);
        assert_true(whose("a-key")->cache != whose("other")->cache);
        assert_string_equal(tenant_label(whose("other")), "key");
        assert_int_equal(t.n, 2);
    }
    assert_int_equal(load_keys("# none\n", 7, 0600), ST_INVALID_VALUE);
}

static void test_variable(void **s)
{
    static const char *const bad[] = {"", " ", "\n", " \t\r\n", "two words", "a\nb"};
    (void)s;
    unsetenv(VARIABLE);
    assert_int_equal(load(NULL, NULL, VARIABLE), ST_INVALID_VALUE);
    assert_non_null(strstr(e.msg, VARIABLE));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        setenv(VARIABLE, bad[i], 1);
        assert_int_equal(load(NULL, NULL, VARIABLE), ST_INVALID_VALUE);
        assert_non_null(strstr(e.msg, VARIABLE));
    }
    setenv(VARIABLE, "#key\n", 1);
    assert_int_equal(load(NULL, NULL, VARIABLE), 0);
    assert_non_null(whose("#key"));
    unsetenv(VARIABLE);
    assert_int_equal(load(NULL, NULL, NULL), 0); /* nothing is named: an open server */
    assert_int_equal(t.n_keys, 0);
}

static void test_fields(void **s)
{
    (void)s;
    write_file(keys_path, "from-file\n", 10, 0600);
    setenv(VARIABLE, "from-env", 1);
    char text[1000];
    snprintf(text, sizeof text,
             "tenants:\n"
             "  alice:\n"
             "    keys: [a-key, sha256:" OTHER_HASH "]\n"
             "    weight: 4\n"
             "    min_priority: -10\n"
             "    max_requests: 32\n"
             "    tokens_per_minute: 600000\n"
             "    max_seqs: 16\n"
             "    cache_share: 0.25\n"
             "    cache_group: research\n"
             "  bob_2: {keys: b-key, keys_file: %s, cache_group: research}\n"
             "  Carol-3: {key_env: %s, operator: true, cache_share: 0}\n",
             keys_path, VARIABLE);
    assert_int_equal(load_tenants(text), 0);
    unsetenv(VARIABLE);
    assert_int_equal(t.n, 3);
    assert_int_equal(t.n_named, 3);
    assert_int_equal(t.n_keys, 5);
    const struct tenant *a = whose("a-key"), *b = whose("from-file"), *c = whose("from-env");
    assert_true(a && b && c && whose("other") == a && whose("b-key") == b);
    assert_string_equal(a->name, "alice");
    assert_true(a->weight == 4 && a->min_priority == -10 && a->max_requests == 32);
    assert_true(a->tokens_per_minute == 600000 && a->max_seqs == 16 && !a->operator);
    assert_float_equal(a->cache_share, 0.25, 0);
    assert_true(a->account == 1 && b->account == 0 && c->account == 2);
    assert_true(a->cache == b->cache && a->shares_cache && b->shares_cache);
    assert_true(c->cache != a->cache && !c->shares_cache && c->operator);
    assert_true(b->weight == 1 && b->min_priority == 0 && b->max_requests == 0);
    assert_float_equal(b->cache_share, 1, 0);
    assert_string_equal(tenant_label(c), "Carol-3");
    /* a group of one shares with nobody */
    assert_int_equal(load_tenants("tenants: {a: {keys: k1, cache_group: g}, b: {keys: k2}}\n"), 0);
    assert_false(whose("k1")->shares_cache);
}

/* What is wrong, and where it is told; "SECRET" is a part of every key. */
static void test_faults(void **s)
{
#define A "tenants:\n  a: {keys: [SECRET-1]}\n"
    static const struct {
        const char *text, *told;
    } c[] = {
        {"", "tenants.yaml: the file holds no tenant"},
        {"tenants:\n", "holds no tenant"},
        {"tenants: 5\n", ":1:10: unknown key"},
        {"a: {keys: [SECRET-1]}\n", ":1:"},
        {A "  b: {keys: [SECRET-2], wieght: 2}\n", ":3:33: unknown key wieght"},
        {A "  b: {keys: [SECRET-2], weight: {SECRET: 2}}\n", ":3:25: weight: a tenant's fields"},
        {A "  b: {keys: [SECRET-2], weight: {}}\n", ":3:25: weight: a tenant's fields"},
        {A "  b: {keys: [SECRET-2], wieght: }\n", ":3:25: unknown key wieght"},
        {A "  b: {keys: {SECRET: 2}}\n", ":3:7: keys: a tenant's fields"},
        {A "  b: SECRET-2\n", ":3:6: expected the fields"},
        {A "  b: {}\n", ":3:3: the tenant has no key"},
        {A "  b:\n", ":3:3: the tenant has no key"},
        {A "  b: {keys: []}\n", ":3:3: the tenant has no key"},
        {A "  b: {weight: 2}\n", ":3:3: the tenant has no key"},
        {A "  b: {keys: ['']}\n", ":3:13: keys: list items have 1"},
        {A "  b: {keys: ''}\n", ":3:13: keys: list items have 1"},
        {A "  b: {keys: [SECRET 2]}\n", ":3:13: keys[0]: a blank"},
        {A "  b: {keys: [SECRET-2, \"SECRET\\t\"]}\n", ":3:13: keys[1]: a blank"},
        {A "  b: {keys: [sha256:5ec2e7]}\n", ":3:13: keys[0]: sha256:"},
        {A "  b: {keys: [SECRET-2, SECRET-1]}\n", ":3:13: this API key is given twice"},
        {A "  b: {keys: [SECRET-2, SECRET-2]}\n", ":3:13: this API key is given twice"},
        {"tenants:\n  a: {keys: other}\n  b:\n    keys:\n      - SECRET-1\n      - "
         "sha256:" OTHER_HASH,
         ":5:7: this API key is given twice"},
        {A "  a: {keys: [SECRET-2]}\n", ":3:3: the key is given twice"},
        {A "  b.c: {keys: [SECRET-2]}\n", ":3:3: a tenant's name has"},
        {A "  a.c: {keys: [SECRET-2]}\n", ":3:3: unknown key c"},
        {A "  'b c': {keys: [SECRET-2]}\n", ":3:3: a tenant's name has"},
        {A "  '': {keys: [SECRET-2]}\n", ":3:3: a tenant's name has"},
        {A "  key: {keys: [SECRET-2]}\n", ":3:3: no tenant may be named key"},
        {A "  b: {keys: SECRET-2, weight: 0}\n", ":3:31: weight: expected an integer in 1..1000"},
        {A "  b: {keys: SECRET-2, weight: 1001}\n", ":3:31: weight"},
        {A "  b: {keys: SECRET-2, weight: 1.5}\n", ":3:31: weight"},
        {A "  b: {keys: SECRET-2, weight: [1]}\n", ":3:31: weight: expected one value"},
        {A "  b: {keys: SECRET-2, min_priority: 1}\n", "min_priority"},
        {A "  b: {keys: SECRET-2, max_requests: -1}\n", "max_requests"},
        {A "  b: {keys: SECRET-2, tokens_per_minute: 1e6}\n", "tokens_per_minute"},
        {A "  b: {keys: SECRET-2, max_seqs: many}\n", "max_seqs"},
        {A "  b: {keys: SECRET-2, cache_share: 1.1}\n", "cache_share"},
        {A "  b: {keys: SECRET-2, cache_share: -0.1}\n", "cache_share"},
        {A "  b: {keys: SECRET-2, operator: 1}\n", "operator"},
        {A "  b: {keys: SECRET-2, cache_group: ''}\n", "cache_group"},
        {A "  b: {keys_file: /nonexistent/keys}\n", ":3:18: cannot read /nonexistent/keys"},
        {A "  b: {key_env: QUIRE_TEST_NOT_SET}\n", ":3:16: the variable QUIRE_TEST_NOT_SET"},
        {A "  b: {keys: [SECRET-2\n", "tenants.yaml:"},
        {A "---\n" A, "a second document"},
    };
    (void)s;
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        int st = load_tenants(c[i].text);
        if (st != ST_INVALID_VALUE || !strstr(e.msg, c[i].told) || strstr(e.msg, "SECRET"))
            fail_msg("%zu: %d %s\nwanted %s\n%s", i, st, e.msg, c[i].told, c[i].text);
    }
    assert_int_equal(load_tenants(A), 0);
}

/* Secrets want a file that others cannot read; hashes only one that they cannot write. A key of one
 * source is no key of another. */
static void test_sources_together(void **s)
{
    static const char hashed[] = "tenants: {a: {keys: ['sha256:" OTHER_HASH "']}}\n";
    (void)s;
    write_file(tenants_path, A, sizeof A - 1, 0644);
    assert_int_equal(load(tenants_path, NULL, NULL), ST_INVALID_VALUE);
    assert_non_null(strstr(e.msg, "mode 0644"));
    write_file(tenants_path, hashed, sizeof hashed - 1, 0666);
    assert_int_equal(load(tenants_path, NULL, NULL), ST_INVALID_VALUE);
    write_file(tenants_path, hashed, sizeof hashed - 1, 0644);
    assert_int_equal(load(tenants_path, NULL, NULL), 0);
    write_file(keys_path, "one\nother\n", 10, 0600);
    assert_int_equal(load(tenants_path, keys_path, NULL), ST_INVALID_VALUE);
    assert_non_null(strstr(e.msg, "keys:2:0: this API key is given twice"));
    write_file(keys_path, "one\ntwo\n", 8, 0600);
    assert_int_equal(load(tenants_path, keys_path, NULL), 0);
    assert_int_equal(t.n, 3);
    assert_int_equal(t.n_named, 1);
    assert_string_equal(whose("other")->name, "a");
    assert_string_equal(whose("two")->name, "");
    assert_true(whose("one")->id != whose("other")->id);
    assert_int_equal(load("/nonexistent/tenants.yaml", NULL, NULL), ST_INVALID_VALUE);
}

static int forget(void **s)
{
    (void)s;
    tenants_free(&t);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_modes, forget),
        cmocka_unit_test_teardown(test_lines, forget),
        cmocka_unit_test_teardown(test_variable, forget),
        cmocka_unit_test_teardown(test_fields, forget),
        cmocka_unit_test_teardown(test_faults, forget),
        cmocka_unit_test_teardown(test_sources_together, forget),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
