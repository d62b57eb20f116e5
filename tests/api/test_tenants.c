/* SPDX-License-Identifier: Apache-2.0 */
/* test_tenants.c - limits, charges and numbers of tenants with names, over real sockets. */
#include "rig.h"

#include <sys/stat.h>

/* alice: two in flight and priorities from -3 on; bob: 60 tokens a minute, one running; carol and
 * dan share a cache; root sees all. The second key of the keys file stands for itself. */
static const char tenants[] =
    "tenants:\n"
    "  alice: {keys: key-alice, max_requests: 2, min_priority: -3, weight: 4}\n"
    "  bob: {keys: key-bob, tokens_per_minute: 60, max_seqs: 1}\n"
    "  carol: {keys: key-carol, cache_group: both}\n"
    "  dan: {keys: key-dan, cache_group: both}\n"
    "  root: {keys: key-root, operator: true}\n";

static char tenants_path[64], keys_path[64];

static void write_temp(char *path, const char *name, const char *text)
{
    snprintf(path, 64, "/tmp/quire-%s-XXXXXX", name);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static int up(void **s)
{
    (void)s;
    write_temp(tenants_path, "tenants", tenants);
    write_temp(keys_path, "keys", "key-eve\nkey-mallory\n");
    rig_defaults(&rig);
    rig_set(&rig, "auth.tenants_file", tenants_path);
    rig_set(&rig, "auth.api_keys_file", keys_path);
    return 0;
}

static int down(void **s)
{
    unlink(tenants_path);
    unlink(keys_path);
    return rig_down(s);
}

static int begin(const char *key, const char *body)
{
    char head[500], extra[100];
    snprintf(extra, sizeof extra, "Authorization: Bearer %s\r\n", key);
    post_head(head, sizeof head, "/v1/completions", strlen(body), extra);
    int fd = dial(&rig);
    put_all(fd, head, strlen(head));
    put_all(fd, body, strlen(body));
    return fd;
}

static struct answer ask(const char *key, const char *body)
{
    int fd = begin(key, body);
    struct answer a = get_answer(fd, false);
    close(fd);
    return a;
}

static void expect(const char *key, const char *body, int status, const char *part)
{
    struct answer a = ask(key, body);
    if (a.status != status || !strstr(a.body, part))
        fail_msg("%s %s\nwanted %d %s\ngot %d %s", key, body, status, part, a.status, a.body);
    for (const char *other = "alice\0bob\0carol\0dan\0root\0"; *other; other += strlen(other) + 1)
        if (strstr(a.body, other))
            fail_msg("a tenant is named: %s", a.body);
    free(a.body);
}

/* The metrics as `key` sees them ("" = nobody). */
static char *metrics_of(const char *key)
{
    char text[300];
    snprintf(text, sizeof text, "GET /metrics HTTP/1.1\r\nHost: x\r\n%s%s%s\r\n",
             *key ? "Authorization: Bearer " : "", key, *key ? "\r\n" : "");
    struct answer a = raw(&rig, text, strlen(text));
    assert_int_equal(a.status, 200);
    return a.body;
}

/* The value of a series of that tenant as root sees it; -1: there is none. */
static double series(const char *name, const char *tenant)
{
    char want[200];
    char *text = metrics_of("key-root");
    snprintf(want, sizeof want, "\nquire_tenant_%s{tenant=\"%s\"} ", name, tenant);
    const char *at = strstr(text, want);
    double v = at ? strtod(at + strlen(want), NULL) : -1;
    free(text);
    return v;
}

static bool becomes(const char *name, const char *tenant, double v)
{
    for (int i = 0; i < RIG_LIMIT_S * 100; i++) {
        if (series(name, tenant) == v)
            return true;
        usleep(10000);
    }
    return false;
}

static void test_in_flight(void **s)
{
    (void)s;
    rig_hold(&rig);
    rig_start(&rig);
    int fd[2];
    for (int i = 0; i < 2; i++)
        fd[i] = begin("key-alice", "{\"prompt\":\"x\",\"max_tokens\":20}");
    assert_true(becomes("requests_running", "alice", 2));
    struct answer a = ask("key-alice", "{\"prompt\":\"x\",\"max_tokens\":1}");
    assert_int_equal(a.status, 429);
    assert_true(has(&a,
                    "{\"error\":{\"message\":\"Rate limit reached for this API key: 2 requests at "
                    "the same time.\",\"type\":\"rate_limit_error\",\"param\":null,"
                    "\"code\":\"rate_limit_exceeded\"}}"));
    assert_non_null(strstr(a.head, "\r\nRetry-After: "));
    free(a.body);
    close(fd[1]); /* it is gone: there is room for one */
    assert_true(becomes("requests_running", "alice", 1));
    rig_go(&rig);
    a = get_answer(fd[0], false);
    assert_int_equal(a.status, 200);
    free(a.body);
    close(fd[0]);
    for (int i = 0; i < 50; i++) /* an answer that is here whole is not in flight any more */
        expect("key-alice", "{\"prompt\":\"x\",\"max_tokens\":1}", 200, "\"text\":\"b\"");
    assert_true(series("requests_total", "alice") == 53 && series("refusals_total", "alice") == 1);
}

static void test_tokens(void **s)
{
    (void)s;
    rig_start(&rig);
    /* 60 in the bucket: 2 prompts of 5 each once, 4 sequences of 3 */
    expect("key-bob", "{\"prompt\":[\"abcde\",\"abcde\"],\"max_tokens\":3,\"n\":2}", 200, "text");
    assert_true(series("prompt_tokens_total", "bob") == 10);
    assert_true(series("generation_tokens_total", "bob") == 12);
    expect("key-bob", "{\"prompt\":\"abcde\",\"max_tokens\":-5}", 400, "max_tokens");
    assert_true(series("prompt_tokens_total", "bob") == 10); /* what is refused costs nothing */
    expect("key-bob", "{\"prompt\":\"abcde\",\"max_tokens\":45}", 200, "text"); /* into debt */
    struct answer a = ask("key-bob", "{\"prompt\":\"abcde\",\"max_tokens\":1}");
    assert_int_equal(a.status, 429);
    assert_true(has(&a, "60 tokens per minute; try again in ") &&
                has(&a, "\"code\":\"rate_limit_exceeded\""));
    const char *after = strstr(a.head, "\r\nRetry-After: ");
    assert_non_null(after);
    long seconds = strtol(after + 15, NULL, 10); /* 72 of 60 were used; a token comes each second */
    if (seconds < 10 || seconds > 22)            /* 13 less what passed, and up to half more */
        fail_msg("Retry-After: %ld", seconds);
    free(a.body);
    assert_true(series("refusals_total", "bob") == 1);
    expect("key-alice", "{\"prompt\":\"abcde\",\"max_tokens\":1}", 200, "text");
}

/* One whose client leaves is charged its prompt and what was generated until then; one that the
 * server gives up is charged nothing. */
static void test_charge_at_the_end(void **s)
{
    (void)s;
    rig_set(&rig, "limits.queue_timeout", "200ms");
    atomic_store(&rig.ex.step_us, 20000);
    rig_start(&rig);
    int running = begin("key-bob", "{\"prompt\":\"abcdefg\",\"max_tokens\":2000,\"stream\":true}");
    struct answer a;
    assert_true(read_head(running, &a)); /* its first token is here */
    /* bob may run one sequence: this one waits, and is not refused before its time */
    expect("key-bob", "{\"prompt\":\"abcdefg\",\"max_tokens\":3}", 503, "queue_timeout");
    assert_true(becomes("requests_running", "bob", 1));
    assert_true(series("prompt_tokens_total", "bob") == 0);
    assert_true(series("generation_tokens_total", "bob") == 0);
    close(running);
    assert_true(becomes("requests_running", "bob", 0));
    double made = series("generation_tokens_total", "bob");
    assert_true(made >= 10 && made < 2000); /* of 200 ms at least */
    assert_true(series("prompt_tokens_total", "bob") == 7);
}

static void test_priority(void **s)
{
    (void)s;
    rig_start(&rig);
    static const struct {
        const char *key;
        int least;
    } t[] = {{"key-alice", -3}, {"key-bob", 0}, {"key-eve", 0}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        char body[100], told[100];
        for (int by = -1; by <= 1; by++) {
            snprintf(body, sizeof body, "{\"prompt\":\"x\",\"max_tokens\":1,\"priority\":%d}",
                     t[i].least + by);
            snprintf(told, sizeof told, "'priority' must be at least %d.", t[i].least);
            expect(t[i].key, body, by < 0 ? 400 : 200, by < 0 ? told : "text");
        }
    }
}

/* Inside a group by whole pages, outside not at all; a salt divides a group, too. */
static void test_groups(void **s)
{
    (void)s;
    char body[500], tokens[300] = "";
    rig_start(&rig);
    for (int i = 0; i < 40; i++)
        snprintf(tokens + strlen(tokens), sizeof tokens - strlen(tokens), "%s%d", i ? "," : "",
                 200 + i);
    for (int salted = 0; salted <= 1; salted++) {
        const char *salt = salted ? ",\"cache_salt\":\"s\"" : "";
        snprintf(body, sizeof body, "{\"prompt\":[%s],\"max_tokens\":1%s}", tokens, salt);
        expect("key-carol", body, 200, "\"cached_tokens\":0");
        expect("key-dan", body, 200, "\"cached_tokens\":32");
        expect("key-alice", body, 200, "\"cached_tokens\":0");
        expect("key-eve", body, 200, "\"cached_tokens\":0");
        expect("key-mallory", body, 200, "\"cached_tokens\":0");
        /* the last page that differs in its 10th token: told to its owner, not inside a group */
        snprintf(body, sizeof body, "{\"prompt\":[%.*s,1,1,1,1,1,1],\"max_tokens\":1%s}",
                 25 * 4 - 1, tokens, salt);
        expect("key-dan", body, 200, "\"cached_tokens\":16");
        expect("key-alice", body, 200, "\"cached_tokens\":25");
    }
}

/* One tenant cannot fill the queue for the others. */
static void test_places(void **s)
{
    (void)s;
    rig.c.scheduler.max_seqs = 2;
    rig.c.limits.queue_size = 14; /* 16 places, of which 2 are kept */
    rig_hold(&rig);
    rig_start(&rig);
    int a = begin("key-carol", "{\"prompt\":\"x\",\"max_tokens\":9,\"n\":14}");
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 14));
    expect("key-carol", "{\"prompt\":\"x\",\"max_tokens\":1}", 429, "queue_full");
    int b = begin("key-eve", "{\"prompt\":\"x\",\"max_tokens\":1}");
    assert_true(metric_becomes(&rig, "quire_http_sequences_live", 15));
    expect("key-eve", "{\"prompt\":\"x\",\"max_tokens\":1,\"n\":2}", 429, "queue_full");
    rig_go(&rig);
    struct answer got = get_answer(b, false);
    assert_int_equal(got.status, 200);
    free(got.body);
    close(a);
    close(b);
}

/* A tenant sees its own numbers, whoever has no key none, an operator all. */
static void test_who_sees_metrics(void **s)
{
    (void)s;
    rig_start(&rig);
    expect("key-alice", "{\"prompt\":\"abc\",\"max_tokens\":2}", 200, "text");
    expect("key-eve", "{\"prompt\":\"abc\",\"max_tokens\":2}", 200, "text");
    static const struct {
        const char *key, *sees, *not_these[4];
    } t[] = {{"", NULL, {"tenant="}},
             {"unknown", NULL, {"tenant="}},
             {"key-alice", "tenant=\"alice\"} 2\n", {"bob", "carol", "root", "tenant=\"key\""}},
             {"key-bob", "tenant=\"bob\"} 0\n", {"alice", "carol", "root", "tenant=\"key\""}},
             {"key-eve", "tenant=\"key\"} 2\n", {"alice", "bob", "root"}},
             {"key-mallory", "tenant=\"key\"} 0\n", {"alice", "bob", "tenant=\"key\"} 2"}}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        char *text = metrics_of(t[i].key);
        const char *at = strstr(text, "# HELP quire_tenant_");
        if ((t[i].sees != NULL) != (at != NULL) || (at && !strstr(at, t[i].sees)))
            fail_msg("%s\n%s", t[i].key, text);
        for (int k = 0; k < 4 && t[i].not_these[k]; k++)
            if (at && strstr(at, t[i].not_these[k]))
                fail_msg("%s sees %s\n%s", t[i].key, t[i].not_these[k], at);
        free(text);
    }
    assert_true(series("generation_tokens_total", "alice") == 2);
    assert_true(series("generation_tokens_total", "key") == 2);
    assert_true(series("generation_tokens_total", "root") == 0);
    assert_true(series("generation_tokens_total", "mallory") == -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_in_flight, up, down),
        cmocka_unit_test_setup_teardown(test_tokens, up, down),
        cmocka_unit_test_setup_teardown(test_charge_at_the_end, up, down),
        cmocka_unit_test_setup_teardown(test_priority, up, down),
        cmocka_unit_test_setup_teardown(test_groups, up, down),
        cmocka_unit_test_setup_teardown(test_places, up, down),
        cmocka_unit_test_setup_teardown(test_who_sees_metrics, up, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
