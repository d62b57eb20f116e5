/* SPDX-License-Identifier: Apache-2.0 */
/* test_auth.c - where keys come from, and what makes a server that was meant to be closed refuse to
 * start. */
#include "http/auth.h"
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char VARIABLE[] = "QUIRE_TEST_KEY";

static int load(const char *text, size_t n, mode_t mode, struct keys *k, struct err *e)
{
    char path[] = "/tmp/quire-auth-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, text, n), n);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
    *e = (struct err){0};
    int st = keys_load(k, path, NULL, e);
    unlink(path);
    return st;
}

static bool knows(const struct keys *k, const char *key)
{
    uint64_t tenant;
    return keys_check(k, key, strlen(key), &tenant);
}

static void test_modes(void **s)
{
    static const mode_t good[] = {0600, 0400, 0640, 0440},
                        bad[] = {0604, 0644, 0660, 0602, 0666, 0777, 0601};
    struct keys k;
    struct err e;
    (void)s;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(load("k\n", 2, good[i], &k, &e), 0);
        keys_free(&k);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(load("k\n", 2, bad[i], &k, &e), ST_INVALID_VALUE);
        assert_non_null(strstr(e.msg, "mode"));
        keys_free(&k);
    }
}

static void test_lines(void **s)
{
    static const struct {
        const char *text;
        size_t n;
        const char *line; /* of the message; NULL: fine */
    } t[] = {{"# keys\n\n a-key \r\nother\n", 23, NULL}, {"a-key\nother", 11, NULL},
             {"a-key\nother two\n", 16, "line 2"},       {"a-key\nother\ttwo\n", 16, "line 2"},
             {"a-key\nother\0two\n", 16, "line 2"},      {"a-key\n\n\nother\x01\n", 15, "line 4"},
             {"a-key\nother\x7f\n", 13, "line 2"},       {"a-key\nother\0\n", 13, "line 2"}};
    struct keys k;
    struct err e;
    (void)s;
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        int st = load(t[i].text, t[i].n, 0600, &k, &e);
        if (st != (t[i].line ? ST_INVALID_VALUE : 0) || (t[i].line && !strstr(e.msg, t[i].line)))
            fail_msg("%zu: %d %s", i, st, e.msg);
        if (!t[i].line)
            assert_true(knows(&k, "a-key") && knows(&k, "other") && !knows(&k, "oth"));
        keys_free(&k);
    }
    assert_int_equal(load("# none\n", 7, 0600, &k, &e), ST_INVALID_VALUE);
    keys_free(&k);
}

static void test_variable(void **s)
{
    static const char *const bad[] = {"", " ", "\n", " \t\r\n", "two words", "a\nb"};
    struct keys k;
    struct err e;
    (void)s;
    unsetenv(VARIABLE);
    assert_int_equal(keys_load(&k, NULL, VARIABLE, &e), ST_INVALID_VALUE);
    assert_non_null(strstr(e.msg, VARIABLE));
    keys_free(&k);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        setenv(VARIABLE, bad[i], 1);
        assert_int_equal(keys_load(&k, "", VARIABLE, &e), ST_INVALID_VALUE);
        assert_non_null(strstr(e.msg, VARIABLE));
        keys_free(&k);
    }
    setenv(VARIABLE, "#key\n", 1);
    assert_int_equal(keys_load(&k, "", VARIABLE, &e), 0);
    assert_true(knows(&k, "#key"));
    keys_free(&k);
    unsetenv(VARIABLE);
    assert_int_equal(keys_load(&k, "", "", &e), 0); /* nothing is named: an open server */
    assert_int_equal(k.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_modes), cmocka_unit_test(test_lines),
                                       cmocka_unit_test(test_variable)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
