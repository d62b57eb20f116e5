/* SPDX-License-Identifier: Apache-2.0 */
/* Settings: every way to say one wrongly, precedence, positions, and that the shipped files are
 * true. */
#include "testing.h"

#include "config.h"
#include "config/fields.h"
#include "config/peers.h"
#include "status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];
static char errors[16384];
static char *no_env[] = {NULL};

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/quire-test-config-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static const char *in_dir(const char *name)
{
    static char path[200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static int remove_dir(void **state)
{
    (void)state;
    unlink(in_dir("a.yaml"));
    unlink(in_dir("conf.d/10-x.yaml"));
    unlink(in_dir("conf.d/20-y.yaml"));
    rmdir(in_dir("conf.d"));
    rmdir(dir);
    return 0;
}

static void write_file(const char *path, const char *text, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    fclose(f);
}

/* Load with up to four further arguments; errors land in `errors`. */
static int load(struct config *c, const char *file, char **env, const char *a, const char *b)
{
    char *argv[8] = {(char *)(uintptr_t) "quired"};
    int n = 1;
    enum config_action action;
    if (file) {
        argv[n++] = (char *)(uintptr_t) "--config";
        argv[n++] = (char *)(uintptr_t)file;
    }
    if (a)
        argv[n++] = (char *)(uintptr_t)a;
    if (b)
        argv[n++] = (char *)(uintptr_t)b;
    FILE *f = fmemopen(errors, sizeof errors, "w");
    int st = config_load(c, n, argv, env ? env : no_env, &action, f);
    fclose(f);
    return st;
}

static int load_text(struct config *c, const char *text)
{
    char path[200];
    snprintf(path, sizeof path, "%s", in_dir("a.yaml"));
    write_file(path, text, strlen(text));
    return load(c, path, NULL, NULL, NULL);
}

static void test_defaults(void **state)
{
    (void)state;
    struct config c;
    assert_int_equal(load(&c, "/dev/null", NULL, NULL, NULL), 0);
    assert_int_equal(c.kv.page_tokens, 16);
    assert_int_equal(c.kv.pool_bytes, 0);
    assert_int_equal(c.scheduler.max_decode_gap, 50000);
    assert_int_equal(c.http.max_body_bytes, 32 << 20);
    assert_int_equal(c.drain.delay, 5000000);
    assert_int_equal(c.limits.request_timeout, 0);
    assert_string_equal(c.http.listen, "127.0.0.1:8000");
    assert_true(c.kv.prefix_cache.enabled && c.sampling.defaults_from_model &&
                !c.stream.force_usage);
    assert_true(c.cuda.gpu_memory_utilization > 0.919 && c.cuda.gpu_memory_utilization < 0.921);
    config_free(&c);
}

static void test_wrong_values(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want; /* want: a piece of the error line */
    } t[] = {
        {"kv:\n  pool_bytes: 512\n", "a.yaml:2:15: error: kv.pool_bytes: expected a size"},
        {"kv:\n  pool_bytes: 512 MiB\n", "a.yaml:2:15: error: kv.pool_bytes: expected a size"},
        {"kv:\n  pool_bytes: 1KiB\n", "in 64KiB..4TiB, or auto"},
        {"kv:\n  page_tokens: 17\n", "kv.page_tokens must be 16, 32 or 64"},
        {"kv:\n  page_tokens: 0x20\n", "a.yaml:2:16: error: kv.page_tokens: expected an integer"},
        {"kv:\n  page_tokens: 16.5\n", "expected an integer"},
        {"kv:\n  page_tokens: [16]\n", "expected one value, got a list"},
        {"kv:\n  dtype: fp8\n", "expected one of auto|f32|bf16|f16, got \"fp8\""},
        {"kv:\n  pagetokens: 16\n",
         "a.yaml:2:15: error: unknown key kv.pagetokens; did you mean kv.page_tokens?"},
        {"scheduler:\n  page_tokens: 16\n", "did you mean kv.page_tokens?"},
        {"models:\n  unknown: accept\n",
         "a.yaml:2:12: error: unknown key models.unknown; did you mean http.unknown_model?"},
        {"kv:\n  prefix_cache:\n    enabled: yes\n", "write true instead of yes"},
        {"kv:\n  prefix_cache:\n    enabled: off\n", "write false instead of off"},
        {"kv:\n  prefix_cache: true\n", "unknown key kv.prefix_cache"},
        {"http:\n  listen: nowhere\n", "http.listen must be ADDRESS:PORT"},
        {"http:\n  listen: 1.2.3.4:99999\n", "http.listen must be ADDRESS:PORT"},
        {"http:\n  listen: \"[]:80\"\n", "http.listen must be ADDRESS:PORT"},
        {"http:\n  listen: 192.0.2.1:80\n", "is no address of this machine"},
        {"drain:\n  delay: 5\n", "expected a duration such as 250ms or 30s in 0..1h, got \"5\""},
        {"drain:\n  delay: -1s\n", "expected a duration"},
        {"scheduler:\n  max_seqs: 4097\n", "in 1..4096"},
        {"scheduler:\n  max_seqs: 512\n  max_step_tokens: 256\n",
         "scheduler.max_step_tokens (256) must be at least scheduler.max_seqs (512)"},
        {"kv: {dtype: f32}\nkv: {dtype: f16}\n", "a.yaml:2:1: error: the key is given twice"},
        {"a: &a {x: 1}\nkv:\n  <<: *a\n", "merge keys are not supported"},
        {"- 1\n", "a.yaml:1:1: error: expected settings as key: value"},
        {"kv: {dtype: f32}\n---\nkv: {}\n", "a second document"},
        {"kv:\n\tdtype: f32\n", "a.yaml:2:1: error:"},
        {"kv: {dtype: f32\n", "error:"},
        {"a: {b: {c: {d: {e: {f: {g: {h: {i: 1}}}}}}}}\n", "nested too deep"},
        {"http:\n  cors:\n    allow_origins: [[a]]\n", "a list may hold plain values only"},
        {"\xff\xfe", "error:"},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        struct config c;
        int st = load_text(&c, t[i].text);
        if (st != ST_INVALID_VALUE || !strstr(errors, t[i].want))
            fail_msg("case %zu: %d, wanted \"%s\", got:\n%s", i, st, t[i].want, errors);
        config_free(&c);
    }
}

/* However deep: refused before anything grows with the depth. */
static void test_deep(void **state)
{
    (void)state;
    static const char *const unit[] = {"[", "{b: ", "- "};
    enum { DEPTH = 100000 };
    char *text = malloc(4 * DEPTH + 16);
    for (size_t i = 0; i < sizeof unit / sizeof *unit; i++) {
        struct config c;
        char *o = text + sprintf(text, i == 1 ? "a: " : "");
        for (int k = 0; k < DEPTH; k++, o += strlen(unit[i]))
            memcpy(o, unit[i], strlen(unit[i]) + 1);
        assert_int_equal(load_text(&c, text), ST_INVALID_VALUE);
        assert_non_null(strstr(errors, "nested too deep"));
        config_free(&c);
    }
    free(text);
}

static void test_all_errors_at_once(void **state)
{
    (void)state;
    struct config c;
    char text[4000] = "", line[64];
    for (int i = 0; i < 30; i++) {
        snprintf(line, sizeof line, "nonsense_%d: 1\n", i);
        strcat(text, line);
    }
    assert_int_equal(load_text(&c, text), ST_INVALID_VALUE);
    int lines = 0;
    for (const char *p = errors; *p; p++)
        lines += *p == '\n';
    assert_int_equal(lines, 21);
    assert_non_null(strstr(errors, "a.yaml:20:14:"));
    assert_non_null(strstr(errors, "and 10 more"));
    config_free(&c);
}

static void test_precedence(void **state)
{
    (void)state;
    struct config c;
    char path[200];
    snprintf(path, sizeof path, "%s", in_dir("a.yaml"));
    const char *text = "scheduler: {max_seqs: 1, steps_in_flight: 1, max_step_tokens: 4096}\n"
                       "cpu: {threads: 7}\nlog: {level: debug}\n"
                       "model:\n  served_names: [a, b]\n";
    write_file(path, text, strlen(text));
    mkdir(in_dir("conf.d"), 0700);
    const char *ten = "scheduler: {max_seqs: 2, max_step_tokens: 5000}\n";
    const char *twenty = "scheduler: {max_seqs: 3}\nmodel: {served_names: [z]}\n";
    write_file(in_dir("conf.d/10-x.yaml"), ten, strlen(ten));
    write_file(in_dir("conf.d/20-y.yaml"), twenty, strlen(twenty));
    char e1[] = "QUIRED_SCHEDULER__MAX_SEQS=4", e2[] = "QUIRED_CPU__THREADS=8",
         e3[] = "QUIRED_CONFIG=/nowhere", e4[] = "QUIRED_KV__PREFIX_CACHE__ENABLED=false";
    char *env[] = {e1, e2, e3, e4, NULL};
    assert_int_equal(load(&c, path, env, "--set", "scheduler.max_seqs=5"), 0);
    assert_int_equal(c.scheduler.max_seqs, 5);
    assert_int_equal(c.scheduler.max_step_tokens, 5000);
    assert_int_equal(c.scheduler.steps_in_flight, 1);
    assert_int_equal(c.cpu.threads, 8);
    assert_int_equal(c.log.level, 3);
    assert_int_equal(c.model.served_names.n, 1);
    assert_string_equal(c.model.served_names.v[0], "z");
    assert_false(c.kv.prefix_cache.enabled);
    config_free(&c);
    unlink(in_dir("conf.d/10-x.yaml"));
    unlink(in_dir("conf.d/20-y.yaml"));
    rmdir(in_dir("conf.d"));
}

static void test_environment_and_flags(void **state)
{
    (void)state;
    struct config c;
    char e1[] = "QUIRED_KV__DTYPO=f32";
    char *env[] = {e1, NULL};
    assert_int_equal(load(&c, "/dev/null", env, NULL, NULL), 0); /* a warning */
    assert_non_null(strstr(errors,
                           "QUIRED_KV__DTYPO: warning: no setting has this name; did you mean "
                           "kv.dtype?"));
    config_free(&c);
    assert_int_equal(load(&c, "/dev/null", env, "--check-config", NULL), ST_INVALID_VALUE);
    assert_non_null(strstr(errors, "QUIRED_KV__DTYPO: error: unknown key kv.dtypo; did you mean "
                                   "kv.dtype?"));
    config_free(&c);
    assert_int_equal(load(&c, "/no/such/file.yaml", NULL, NULL, NULL), ST_INVALID_VALUE);
    assert_non_null(strstr(errors, "cannot read the file"));
    config_free(&c);
    assert_int_equal(load(&c, NULL, NULL, "--nonsense", NULL), ST_BAD_REQUEST);
    config_free(&c);
    assert_int_equal(load(&c, NULL, NULL, "--set", NULL), ST_BAD_REQUEST);
    config_free(&c);
    assert_int_equal(load(&c, "/dev/null", NULL, "--set", "kv.dtype"), ST_INVALID_VALUE);
    assert_non_null(strstr(errors, "--set: error: expected path=value"));
    config_free(&c);
    assert_int_equal(load(&c, "/dev/null", NULL, "--set=kv.dtype=f16", NULL), 0);
    assert_int_equal(c.kv.dtype, CONF_DTYPE_F16);
    config_free(&c);
}

/* The defaults without any source are those of an empty file, in value and origin. */
static void test_defaults_alone(void **state)
{
    (void)state;
    static char alone[32768], loaded[32768];
    struct config a, b;
    memset(&a, 0xA5, sizeof a); /* whatever was there is overwritten */
    config_defaults(&a);
    assert_int_equal(load(&b, "/dev/null", NULL, NULL, NULL), 0);
    FILE *f = fmemopen(alone, sizeof alone, "w");
    config_print(&a, f);
    fclose(f);
    f = fmemopen(loaded, sizeof loaded, "w");
    config_print(&b, f);
    fclose(f);
    assert_string_equal(alone, loaded);
    assert_true(config_digest(&a) == config_digest(&b));
    assert_string_equal(a.model.path, ""); /* never NULL */
    assert_int_equal(a.model.served_names.n, 0);
    config_free(&a);
    config_free(&b);
}

/* One value of each type; a later one replaces what the former owned. */
static void test_set(void **state)
{
    (void)state;
    static const char *const twice[][2] = {
        {"kv.pool_bytes", "1GiB"},
        {"kv.pool_bytes", "auto"},
        {"drain.delay", "1500ms"},
        {"cuda.gpu_memory_utilization", "0.5"},
        {"kv.prefix_cache.enabled", "false"},
        {"kv.dtype", "bf16"},
        {"model.path", "/a"},
        {"model.path", "/b"},
        {"model.served_names", "x,y"},
        {"model.served_names", "z"},
        {"device", "cpu"},
        {"scheduler.max_seqs", "7"},
    };
    struct config c;
    struct err e = {0};
    config_defaults(&c);
    for (size_t i = 0; i < sizeof twice / sizeof *twice; i++)
        if (config_set(&c, twice[i][0], twice[i][1], &e) != 0)
            fail_msg("%s: %s", twice[i][0], e.msg);
    assert_int_equal(c.kv.pool_bytes, 0);
    assert_int_equal(c.drain.delay, 1500000);
    assert_true(c.cuda.gpu_memory_utilization == 0.5);
    assert_false(c.kv.prefix_cache.enabled);
    assert_int_equal(c.kv.dtype, CONF_DTYPE_BF16);
    assert_string_equal(c.model.path, "/b");
    assert_int_equal(c.model.served_names.n, 1);
    assert_string_equal(c.model.served_names.v[0], "z");
    assert_int_equal(c.device, CONF_DEVICE_CPU);
    assert_int_equal(c.scheduler.max_seqs, 7);
    config_free(&c);
}

/* What config_set refuses leaves the old value, and says why. */
static void test_set_refused(void **state)
{
    (void)state;
    static const struct {
        const char *path, *text, *want;
    } t[] = {
        {"kv.nothing", "1", "there is no setting kv.nothing"},
        {"kv", "1", "there is no setting kv"},
        {"", "1", "there is no setting"},
        {"models.unknown", "accept",
         "there is no setting models.unknown; did you mean http.unknown_model?"},
        {"kv.pool_bytes", "1", "kv.pool_bytes: expected a size such as 512MiB in 64KiB..4TiB"},
        {"scheduler.max_seqs", "4097", "scheduler.max_seqs: expected an integer in 1..4096"},
        {"scheduler.max_seqs", "", "scheduler.max_seqs: expected an integer"},
        {"kv.prefix_cache.enabled", "1", "write true instead of 1"},
        {"kv.dtype", "fp8", "kv.dtype: expected one of auto|f32|bf16|f16, got \"fp8\""},
        {"http.listen", "", "http.listen: the text is too short"},
        {"model.path", "a\tb", "model.path: control characters are not allowed"},
    };
    struct config c, d;
    config_defaults(&c);
    config_defaults(&d);
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        struct err e = {0};
        int st = config_set(&c, t[i].path, t[i].text, &e);
        if (st != ST_INVALID_VALUE || e.st != st || !strstr(e.msg, t[i].want))
            fail_msg("case %zu: %d, wanted \"%s\", got \"%s\"", i, st, t[i].want, e.msg);
    }
    assert_int_equal(config_set(&c, "kv.dtype", "fp8", NULL), ST_INVALID_VALUE);
    assert_true(config_digest(&c) == config_digest(&d));
    config_free(&c);
    config_free(&d);
}

/* What --print-config writes loads again and prints the same values. */
static void test_round_trip(void **state)
{
    (void)state;
    static char first[32768], second[32768];
    struct config c;
    assert_int_equal(load_text(&c,
                               "model:\n  path: \"/a b/\\\"q\\\\\"\n  served_names: [x, \"y, z\"]\n"
                               "kv: {pool_bytes: 1536MiB}\ndrain: {delay: 1500ms}\n"),
                     0);
    FILE *f = fmemopen(first, sizeof first, "w");
    config_print(&c, f);
    fclose(f);
    assert_non_null(strstr(first, "pool_bytes: 1536MiB"));
    assert_non_null(strstr(first, "a.yaml:4:18"));
    config_free(&c);
    if (load_text(&c, first) != 0)
        fail_msg("%s\n%s", errors, first);
    f = fmemopen(second, sizeof second, "w");
    config_print(&c, f);
    fclose(f);
    /* equal but for the origins */
    char *a, *b, *p = first, *q = second;
    while ((a = strsep(&p, "\n")) && (b = strsep(&q, "\n"))) {
        a[strcspn(a, "#")] = '\0';
        b[strcspn(b, "#")] = '\0';
        for (char *s[] = {a, b}, **i = s; i < s + 2; i++)
            for (size_t n = strlen(*i); n > 0 && (*i)[n - 1] == ' '; n--)
                (*i)[n - 1] = '\0';
        assert_string_equal(a, b);
    }
    config_free(&c);
}

/* Lists of --set, of the environment and of a test: the short way and YAML's. */
static void test_lists(void **state)
{
    static const struct {
        const char *text;
        int n;
        const char *v[3];
    } t[] = {{"a,b", 2, {"a", "b"}},
             {"a, b", 2, {"a", "b"}},
             {"[a,b]", 2, {"a", "b"}},
             {" [ a , b ] ", 2, {"a", "b"}},
             {"[\"a, b\", 'c']", 2, {"a, b", "c"}},
             {"'a','b', c d ", 3, {"a", "b", "c d"}},
             {"[]", 0, {NULL}},
             {"", 0, {NULL}},
             {"a'b", 1, {"a'b"}},
             {"[a", -1, {NULL}},
             {"[", -1, {NULL}}};
    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        struct config c;
        struct err e = {0};
        config_defaults(&c);
        int st = config_set(&c, "model.served_names", t[i].text, &e);
        assert_int_equal(st, t[i].n < 0 ? ST_INVALID_VALUE : 0);
        if (st == 0)
            assert_int_equal(c.model.served_names.n, t[i].n);
        for (int k = 0; k < t[i].n; k++)
            assert_string_equal(c.model.served_names.v[k], t[i].v[k]);
        config_free(&c);
    }
    /* some lists take certain words only */
    struct config c;
    struct err e = {0};
    config_defaults(&c);
    assert_int_equal(config_set(&c, "metrics.compat", "[vllm, sglang]", &e), 0);
    assert_int_equal(c.metrics.compat.n, 2);
    assert_int_equal(config_set(&c, "metrics.compat", "vllm,tgi", &e), ST_INVALID_VALUE);
    assert_non_null(strstr(e.msg, "none|vllm|sglang"));
    assert_int_equal(c.metrics.compat.n, 2);
    config_free(&c);
}

/* A name to listen on becomes the address that it means; options of other servers are answered. */
static void test_command_line(void **state)
{
    (void)state;
    char said[2000] = "";
    struct config c;
    enum config_action action;
    char *none[] = {NULL};
    char *name[] = {"quired", "--config", "/dev/null", "--set", "http.listen=localhost:8000", NULL};
    FILE *f = fmemopen(said, sizeof said, "w");
    assert_int_equal(config_load(&c, 5, name, none, &action, f), 0);
    assert_true(strcmp(c.http.listen, "127.0.0.1:8000") == 0 ||
                strcmp(c.http.listen, "[::1]:8000") == 0);
    config_free(&c);
    char *theirs[] = {"quired", "--port=8000", NULL};
    assert_int_equal(config_load(&c, 2, theirs, none, &action, f), ST_BAD_REQUEST);
    config_free(&c);
    char *nobodys[] = {"quired", "--nobodys", NULL};
    assert_int_equal(config_load(&c, 2, nobodys, none, &action, f), ST_BAD_REQUEST);
    config_free(&c);
    fclose(f);
    assert_non_null(strstr(said, "--port; here it is --set http.listen=ADDRESS:PORT"));
    assert_non_null(strstr(said, "--nobodys; see --help"));
}

/* What is said to the options of other servers names settings that exist. */
static void test_peers(void **state)
{
    static const char *const theirs[] = {"--model",
                                         "-m",
                                         "serve",
                                         "/models/x.gguf",
                                         "--host",
                                         "--port=80",
                                         "--api-key",
                                         "--ctx-size",
                                         "--max-model-len",
                                         "-c",
                                         "--dtype",
                                         "--device",
                                         "--threads",
                                         "--kv-cache-dtype",
                                         "--block-size",
                                         "--alias",
                                         "--parallel",
                                         "--batch-size",
                                         "--max-logprobs",
                                         "--n-predict",
                                         "--max-num-seqs",
                                         "--timeout",
                                         "--log-disable",
                                         "--verbose",
                                         "--enforce-eager",
                                         "--load-format",
                                         "-ngl",
                                         "--allowed-origins",
                                         "--generation-config",
                                         "--no-enable-prefix-caching",
                                         "--gpu-memory-utilization",
                                         "--max-num-batched-tokens",
                                         "--mem-fraction-static=0.8",
                                         "--served-model-name",
                                         "--disable-log-requests"};
    static const char *const plain[] = {
        "--tensor-parallel-size", "--tp",      "--ssl-keyfile", "--seed",
        "--trust-remote-code",    "--metrics", "--mlock"};
    (void)state;
    for (size_t i = 0; i < sizeof theirs / sizeof *theirs; i++) {
        const char *said = peer_answer(theirs[i]), *at = said;
        int n = 0;
        assert_non_null(said);
        for (; (at = strstr(at, "--set ")) != NULL; n++) {
            char key[100];
            at += 6;
            snprintf(key, sizeof key, "%.*s", (int)strcspn(at, "="), at);
            if (field_find(key) < 0)
                fail_msg("%s: there is no setting %s", theirs[i], key);
        }
        assert_true(n > 0);
    }
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        assert_true(peer_answer(plain[i]) && !strstr(peer_answer(plain[i]), "--set"));
    assert_null(peer_answer("--nobodys"));
    assert_null(peer_answer(""));
    assert_null(peer_answer("--mode"));
}

/* The longest text and the longest list, every character escaped, come back whole. */
static void test_longest_values(void **state)
{
    (void)state;
    static char text[80000], printed[80000], path[4001];
    struct config c;
    struct err e = {0};
    memset(path, '"', 4000);
    config_defaults(&c);
    assert_int_equal(config_set(&c, "model.path", path, &e), 0);
    for (size_t i = 0, n = 0; i < 64; i++, text[n++] = ',') {
        memset(text + n, '\\', 256);
        n += 256;
    }
    assert_int_equal(config_set(&c, "http.cors.allow_origins", text, &e), 0);
    assert_int_equal(c.http.cors.allow_origins.n, 64);
    FILE *f = fmemopen(printed, sizeof printed, "w");
    config_print(&c, f);
    fclose(f);
    uint64_t want = config_digest(&c);
    config_free(&c);
    if (load_text(&c, printed) != 0)
        fail_msg("%s", errors);
    assert_true(config_digest(&c) == want);
    assert_string_equal(c.model.path, path);
    config_free(&c);
}

static void test_shipped_files(void **state)
{
    (void)state;
    static const char *const names[] = {"quired.yaml", "demo.yaml", "one-gpu.yaml"};
    char path[500], set[550], *want = NULL;
    size_t n_want, n_got;
    for (size_t i = 0; i < 3; i++) {
        struct config c;
        snprintf(path, sizeof path, QUIRE_SOURCE_DIR "/configs/%s", names[i]);
        if (load(&c, path, NULL, "--check-config", "--set=auth.api_keys_file=") != 0)
            fail_msg("%s", errors);
        config_free(&c);
    }
    snprintf(set, sizeof set, "--set=auth.tenants_file=" QUIRE_SOURCE_DIR "/configs/tenants.yaml");
    struct config c;
    if (load(&c, path, NULL, "--check-config", set) != ST_INVALID_VALUE ||
        strcmp(errors,
               "auth.api_keys_file: error: cannot read /etc/quired/api-keys: No such file or "
               "directory\n") != 0)
        fail_msg("%s", errors);
    config_free(&c);
    want = NULL;
    FILE *f = open_memstream(&want, &n_want);
    config_print_defaults(f);
    fclose(f);
    char *got = read_file(QUIRE_SOURCE_DIR "/configs/quired.yaml", &n_got);
    assert_non_null(got);
    if (strcmp(want, got) != 0)
        fail_msg("configs/quired.yaml is not what quired --print-config=defaults prints");
    free(want);
    free(got);
}

/* Damaged files end in an error or in settings, never in anything else. */
static void test_mutations(void **state)
{
    (void)state;
    size_t n;
    char *base = read_file(QUIRE_SOURCE_DIR "/configs/quired.yaml", &n);
    assert_non_null(base);
    char path[200];
    snprintf(path, sizeof path, "%s", in_dir("a.yaml"));
    char *text = malloc(n);
    unsigned seed = 1;
    int good = 0, refused = 0;
    for (int i = 0; i < 400; i++) {
        memcpy(text, base, n);
        size_t len = n;
        for (int k = 0; k < 1 + i % 8; k++) {
            size_t at = (size_t)rand_r(&seed) % len;
            text[at] = "\0\t\n:-[]{}&*!|>'\"%@`#,?aZ09\xff\xc3 "[(size_t)rand_r(&seed) % 30];
        }
        if (i % 5 == 0)
            len = 1 + (size_t)rand_r(&seed) % len;
        write_file(path, text, len);
        struct config c;
        int st = load(&c, path, NULL, NULL, NULL);
        assert_true(st == 0 || st == ST_INVALID_VALUE);
        assert_true(st == 0 || strstr(errors, "error:"));
        good += st == 0;
        refused += st != 0;
        config_free(&c);
    }
    printf("mutations: %d loaded, %d refused\n", good, refused);
    assert_true(good > 10 && refused > 10);
    free(text);
    free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_wrong_values),
        cmocka_unit_test(test_all_errors_at_once),
        cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_environment_and_flags),
        cmocka_unit_test(test_defaults_alone),
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_set_refused),
        cmocka_unit_test(test_longest_values),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_command_line),
        cmocka_unit_test(test_peers),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_shipped_files),
        cmocka_unit_test(test_deep),
        cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
