/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of src/base/log.c: the text line as the caller wrote it, the JSON line with its fields. */
#include "log.h"
#include "testing.h"
#include "utf8.h"

#include <cjson/cJSON.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char line[8192];

/* What log_info(event, "%s", tail) writes to stderr, newline included. */
static const char *logged(enum log_format format, const char *event, const char *tail)
{
    int ends[2], saved = dup(STDERR_FILENO);
    assert_true(saved >= 0);
    assert_int_equal(pipe(ends), 0);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    log_set(LOG_INFO, format);
    log_debug("base.hidden", "n=%d", 1); /* below the level: nothing */
    log_info(event, "%s", tail);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    close(ends[1]);
    ssize_t n = read(ends[0], line, sizeof line - 1);
    assert_true(n > 0);
    line[n] = '\0';
    close(ends[0]);
    return line;
}

/* The object of a JSON line of `tail`; cJSON_Delete it. */
static cJSON *fields(const char *tail)
{
    const char *s = logged(LOG_JSON, "base.test", tail), *end = NULL;
    assert_int_equal(s[strlen(s) - 1], '\n');
    cJSON *o = cJSON_ParseWithOpts(s, &end, 0);
    assert_non_null(o);
    assert_string_equal(end, "\n");
    assert_int_equal(utf8_valid_prefix(s, strlen(s)), strlen(s));
    assert_string_equal(cJSON_GetObjectItem(o, "level")->valuestring, "info");
    assert_string_equal(cJSON_GetObjectItem(o, "event")->valuestring, "base.test");
    assert_int_equal(strlen(cJSON_GetObjectItem(o, "time")->valuestring), 24);
    return o;
}

/* The member `key` of a JSON line of `tail` is the string `want` (NULL: there is none). */
static void string_is(const char *tail, const char *key, const char *want)
{
    cJSON *o = fields(tail);
    const char *got = cJSON_GetStringValue(cJSON_GetObjectItem(o, key));
    if (want)
        assert_string_equal(got ? got : "(none)", want);
    else
        assert_null(cJSON_GetObjectItem(o, key));
    cJSON_Delete(o);
}

static void number_is(const char *tail, const char *key, double want)
{
    cJSON *o = fields(tail), *m = cJSON_GetObjectItem(o, key);
    assert_true(cJSON_IsNumber(m));
    assert_true(m->valuedouble == want);
    cJSON_Delete(o);
}

static void test_text(void **state)
{
    (void)state;
    const char *tail = "id=req_1 n=3 why=\"a \\ b\" and \"words\"";
    const char *s = logged(LOG_TEXT, "base.test", tail);
    assert_int_equal(s[23], 'Z');
    assert_memory_equal(s + 24, " info  base.test ", 17);
    assert_memory_equal(s + 41, tail, strlen(tail));
    assert_string_equal(s + 41 + strlen(tail), "\n");
    assert_string_equal(logged(LOG_TEXT, "e", "a\nb\x01") + 24, " info  e a b \n");
}

static void test_members(void **state)
{
    (void)state;
    const char *tail = "id=req_1 status=200 total_ms=812.4 model=\"a b\" on=yes empty= neg=-3";
    string_is(tail, "id", "req_1");
    number_is(tail, "status", 200);
    number_is(tail, "total_ms", 812.4);
    string_is(tail, "model", "a b");
    string_is(tail, "on", "yes");
    string_is(tail, "empty", "");
    number_is(tail, "neg", -3);
    string_is(tail, "message", NULL);
    string_is(tail, "detail", NULL);
    assert_non_null(strstr(logged(LOG_JSON, "e.e", "a=1 b=\"2\""),
                           ",\"level\":\"info\",\"event\":\"e.e\",\"a\":1,\"b\":\"2\"}\n"));
}

static void test_numbers(void **state)
{
    (void)state;
    number_is("v=0", "v", 0);
    number_is("v=-0.5", "v", -0.5);
    number_is("v=1e+06", "v", 1e6);
    number_is("v=2.5e-07", "v", 2.5e-7);
    number_is("v=999999999999999", "v", 999999999999999.0);
    const char *const texts[] = {"007", "1.", ".5",  "-",   "1e5", "12e4567890123456", "9.0.1",
                                 "nan", "+1", "inf", "0x1", "1e+", "1234567890123456"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char tail[40];
        snprintf(tail, sizeof tail, "v=%s", texts[i]);
        string_is(tail, "v", texts[i]);
    }
    string_is("v=\"12\"", "v", "12"); /* quoted: a string */
}

static void test_quotes(void **state)
{
    (void)state;
    string_is("reason=\"no file \"x y\" here\" n=1", "reason", "no file \"x y\" here");
    number_is("reason=\"no file \"x y\" here\" n=1", "n", 1);
    string_is("path=\"C:\\a\"", "path", "C:\\a");
    string_is("a=\"\" tail", "a", "");
    string_is("a=\"\" tail", "message", "tail");
    string_is("a=\"cut off", "a", "cut off");
    string_is("a=\"tab\there\"", "a", "tab here");
}

static void test_message(void **state)
{
    (void)state;
    string_is("id=7 dropped:  no slot", "message", "dropped: no slot");
    number_is("id=7 dropped: no slot", "id", 7);
    string_is("paused: Too many \"open\" files", "message", "paused: Too many \"open\" files");
    string_is("", "message", NULL);
    string_is("=x A=1", "message", "=x A=1");
}

/* cJSON takes any bytes; JSON does not. */
static void test_not_utf8(void **state)
{
    (void)state;
    string_is("path=\"a\xFF z\xC3\xA9\" n=1", "path", "a\xEF\xBF\xBD z\xC3\xA9");
    number_is("path=\"a\xFF z\xC3\xA9\" n=1", "n", 1);
    string_is("v=\xF0\x9F\x98x \xED\xA0\x80", "v", "\xEF\xBF\xBDx"); /* one maximal part */
    string_is("cut \xE2\x82", "message", "cut \xEF\xBF\xBD");
}

/* A tail at the cap, of what grows most in JSON, still gives one whole object. */
static void test_longest(void **state)
{
    (void)state;
    static const char *const units[] = {"a= ", "a=\\ ",   "\\",   "\"",       "x ",
                                        "=",   "a=\"\" ", "\xFF", "\xC3\xA9", "a=\xFF "};
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        char tail[1700] = "";
        size_t n = strlen(units[u]);
        for (size_t i = 0; i + n < sizeof tail; i += n)
            memcpy(tail + i, units[u], n + 1);
        cJSON_Delete(fields(tail));
    }
}

/* Nobody reads stderr: logging goes on without waiting. When somebody reads again, the lines are
 * whole, in order, and those that are missing are counted. */
static void test_unread(void **state)
{
    (void)state;
    enum { LINES = 6000 };
    int ends[2], saved = dup(STDERR_FILENO), seen = 0, lost = 0;
    assert_int_equal(pipe(ends), 0);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    close(ends[1]);
    log_set(LOG_INFO, LOG_TEXT);
    log_start();
    for (int i = 0; i < LINES; i++)
        log_info("base.test", "n=%d text=\"%0100d\"", i, 0);
    FILE *f = fdopen(ends[0], "r");
    bool good = f != NULL;
    while (good && lost == 0 && fgets(line, sizeof line, f)) {
        const char *n = strstr(line, " log.dropped lines="), *k = strstr(line, " n=");
        good = line[23] == 'Z' && line[strlen(line) - 1] == '\n' &&
               (n || (k && atoi(k + 3) == seen));
        if (n)
            lost = atoi(n + 19);
        else
            seen++;
    }
    log_info("base.test", "n=%d", -1);
    good = good && fgets(line, sizeof line, f) && strstr(line, " n=-1");
    fclose(f); /* nobody ever reads again */
    for (int i = 0; i < 100; i++)
        log_info("base.test", "n=%d", i);
    log_stop(10000);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    assert_true(good);
    assert_int_equal(seen + lost, LINES);
    assert_true(seen > 300);
    assert_int_equal(logged(LOG_TEXT, "e", "again")[23], 'Z'); /* by the caller again */
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unread),   cmocka_unit_test(test_text),
        cmocka_unit_test(test_members),  cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_quotes),   cmocka_unit_test(test_message),
        cmocka_unit_test(test_not_utf8), cmocka_unit_test(test_longest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
