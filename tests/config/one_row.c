/* SPDX-License-Identifier: Apache-2.0 */
/* one_row.c - a new setting is one row. The settings' library is built once more with the row of
 * one_row.def added, and nothing else; the setting must then be everywhere a setting can be: in
 * struct config, --help, the reference file, YAML, the environment, --set and --print-config, with
 * its default and its range.
 */
#include "testing.h"

#include "config.h"
#include "status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB (INT64_C(1) << 20)

static char file[] = "/tmp/quire-test-one-row-XXXXXX";
static char errors[4096];
static char *no_env[] = {NULL};

static int make_file(void **state)
{
    (void)state;
    int fd = mkstemp(file);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(file);
}

/* Load `yaml` as the file, one variable and one --set (NULL: none). */
static int load(struct config *c, const char *yaml, const char *var, const char *set)
{
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fputs(yaml, f);
    fclose(f);
    char variable[100], *env[] = {variable, NULL};
    snprintf(variable, sizeof variable, "%s", var ? var : "");
    char *argv[] = {(char *)(uintptr_t) "quired", (char *)(uintptr_t) "--config", file,
                    (char *)(uintptr_t) "--set", (char *)(uintptr_t)set};
    enum config_action action;
    f = fmemopen(errors, sizeof errors, "w");
    int st = config_load(c, set ? 5 : 3, argv, var ? env : no_env, &action, f);
    fclose(f);
    return st;
}

static void test_default(void **state)
{
    (void)state;
    struct config c;
    config_defaults(&c);
    assert_int_equal(c.log.spare_bytes, 3 * MIB);
    config_free(&c);
    assert_int_equal(load(&c, "", NULL, NULL), 0);
    assert_int_equal(c.log.spare_bytes, 3 * MIB);
    config_free(&c);
}

/* Each source sets it, and the later one wins. */
static void test_sources(void **state)
{
    (void)state;
    static const char yaml[] = "log: {spare_bytes: 4MiB}\n", var[] = "QUIRED_LOG__SPARE_BYTES=5MiB";
    struct config c;
    struct err e = {0};
    assert_int_equal(load(&c, yaml, NULL, NULL), 0);
    assert_int_equal(c.log.spare_bytes, 4 * MIB);
    config_free(&c);
    assert_int_equal(load(&c, yaml, var, NULL), 0);
    assert_int_equal(c.log.spare_bytes, 5 * MIB);
    config_free(&c);
    assert_int_equal(load(&c, yaml, var, "log.spare_bytes=6MiB"), 0);
    assert_int_equal(c.log.spare_bytes, 6 * MIB);
    assert_int_equal(config_set(&c, "log.spare_bytes", "7MiB", &e), 0);
    assert_int_equal(c.log.spare_bytes, 7 * MIB);
    config_free(&c);
}

static void refused(const char *yaml, const char *var, const char *set, const char *where)
{
    struct config c;
    char want[200];
    snprintf(
        want, sizeof want,
        "%s: error: log.spare_bytes: expected a size such as 512MiB in 1MiB..8MiB, got \"9MiB\"",
        where);
    int st = load(&c, yaml, var, set);
    if (st != ST_INVALID_VALUE || !strstr(errors, want))
        fail_msg("%d, wanted \"%s\", got:\n%s", st, want, errors);
    assert_int_equal(c.log.spare_bytes, 3 * MIB);
    config_free(&c);
}

static void test_range(void **state)
{
    (void)state;
    refused("log:\n  spare_bytes: 9MiB\n", NULL, NULL, ":2:16");
    refused("", "QUIRED_LOG__SPARE_BYTES=9MiB", NULL, "QUIRED_LOG__SPARE_BYTES");
    refused("", NULL, "log.spare_bytes=9MiB", "--set");
}

static void printed_has(void (*print)(FILE *out), const char *want)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    print(f);
    fclose(f);
    if (!strstr(text, want))
        fail_msg("wanted \"%s\" in:\n%s", want, text);
    free(text);
}

static void print_loaded(FILE *out)
{
    struct config c;
    assert_int_equal(load(&c, "", NULL, "log.spare_bytes=6MiB"), 0);
    config_print(&c, out);
    config_free(&c);
}

static void test_printed(void **state)
{
    (void)state;
    printed_has(config_help, "\n  log.spare_bytes (3MiB)\n      A size that only a test knows.\n");
    printed_has(config_print_defaults,
                "\n  # A size that only a test knows.\n  spare_bytes: 3MiB\n");
    printed_has(print_loaded, "\n  spare_bytes: 6MiB                         # --set\n");
}

/* It counts for the digest, and a misspelt key is led to it. */
static void test_known(void **state)
{
    (void)state;
    struct config a, b;
    assert_int_equal(load(&a, "", NULL, NULL), 0);
    assert_int_equal(load(&b, "", NULL, "log.spare_bytes=6MiB"), 0);
    assert_true(config_digest(&a) != config_digest(&b));
    config_free(&a);
    config_free(&b);
    assert_int_equal(load(&a, "log: {spare_byte: 6MiB}\n", NULL, NULL), ST_INVALID_VALUE);
    assert_non_null(strstr(errors, "did you mean log.spare_bytes?"));
    config_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default), cmocka_unit_test(test_sources),
        cmocka_unit_test(test_range),   cmocka_unit_test(test_printed),
        cmocka_unit_test(test_known),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
