/* SPDX-License-Identifier: Apache-2.0 */
/* test_torture.c - memory runs out at the first, second, third ... allocation of the loop and the
 * pool of a server, in every endpoint, until a scenario needs no more of them: the request or its
 * connection ends, or the answer is right (small pieces come from a reserve); the next request is
 * answered, nothing stays in the engine, and the process lives.
 *
 * The program's own malloc family stands before libc's and fails one call. The test's thread is
 * spared. Sanitizers bring an allocator of their own: skipped there. */
#include "rig.h"

#include <errno.h>

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__ || !defined __GLIBC__
int main(void)
{
    return 77;
}
#else

static _Atomic long left; /* calls until one fails; 0 = none does */
static _Atomic bool fired;
static _Thread_local bool spared;

void *real_malloc(size_t n) __asm__("__libc_malloc");
void *real_calloc(size_t n, size_t size) __asm__("__libc_calloc");
void *real_realloc(void *p, size_t n) __asm__("__libc_realloc");

static bool fails(void)
{
    if (spared || atomic_load(&left) <= 0 || atomic_fetch_sub(&left, 1) != 1)
        return false;
    atomic_store(&fired, true);
    errno = ENOMEM;
    return true;
}

void *malloc(size_t n)
{
    return fails() ? NULL : real_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    return fails() ? NULL : real_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    return fails() ? NULL : real_realloc(p, n);
}

#define CT "Content-Type: application/json\r\n"
#define TEXT "/v1/completions"
#define CHAT "/v1/chat/completions"

/* Heads and bodies that are odd. */
static const struct {
    const char *name, *text;
    int good; /* the status without a failure */
} scenarios[] = {
    {"probe", "GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 200},
    {"two requests",
     "GET /live HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\r\n\r\n"
     "GET /live HTTP/1.1\r\nHost: x\r\nOrigin: o\r\nConnection: close\r\n\r\n",
     200},
    {"no path", "GET /nope HTTP/1.1\r\nHost: x\r\n\r\n", 404},
    {"bad head", "GET /health HTTP/1.1\nHost: x\r\n\r\n", 400},
    {"bad chunk",
     "POST /v1/completions HTTP/1.1\r\nHost: x\r\n" CT "Transfer-Encoding: chunked\r\n\r\n1\n",
     400},
    {"options", "OPTIONS /v1/completions HTTP/1.1\r\nHost: x\r\nOrigin: o\r\n\r\n", 200},
    {"too large",
     "POST /v1/completions HTTP/1.1\r\nHost: x\r\n" CT "Content-Length: 99999999\r\n\r\n{", 413},
    {"late head", "GET /health HT", 408},
    {"late body", "POST /v1/completions HTTP/1.1\r\nHost: x\r\n" CT "Content-Length: 9999\r\n\r\n{",
     408},
};

/* Good requests of every endpoint, and those features of a request that allocate. "@": the prompt
 * of 20 KB, which a thread of the pool works on. */
static const struct {
    const char *path, *body; /* NULL: a GET */
    int good;
} requests[] = {
    {"/metrics", NULL, 200},
    {"/version", NULL, 200},
    {"/ready", NULL, 200},
    {"/v1/models", NULL, 200},
    {"/v1/models/tiny", NULL, 200},
    {"/v1/models/none", NULL, 404},
    {TEXT, "{\"prompt\":\"hello\",\"max_tokens\":6}", 200},
    {TEXT, "{\"prompt\":[104,105],\"max_tokens\":6,\"stream\":true}", 200},
    {TEXT,
     "{\"prompt\":\"hello\",\"max_tokens\":5,\"n\":3,\"best_of\":5,\"seed\":1,\"logprobs\":5,"
     "\"return_token_ids\":true,\"stop\":[\"zz\",\"yy\"]}",
     200},
    {TEXT,
     "{\"prompt\":[\"hello\",\"world\"],\"max_tokens\":3,\"n\":2,\"logprobs\":4,\"stream\":true,"
     "\"stream_options\":{\"include_usage\":true},\"stop\":\"6\"}",
     200},
    {TEXT, "{\"prompt\":[\"hello\",\"world\"],\"max_tokens\":0,\"echo\":true,\"stream\":true}",
     200},
    {TEXT,
     "{\"prompt\":\"hello\",\"max_tokens\":4,\"echo\":true,\"logit_bias\":{\"97\":1,\"98\":-1},"
     "\"allowed_token_ids\":[97,98,99],\"stop_token_ids\":[100],\"cache_salt\":\"s\"}",
     200},
    {TEXT, "{\"prompt\":\"hello\",\"max_tokens\":\"x\"}", 400},
    {TEXT, "{\"prompt\":\"@\",\"max_tokens\":2,\"truncate_prompt_tokens\":50}", 200},
    {TEXT, "{\"prompt\":\"@\",\"max_tokens\":2}", 400}, /* longer than the context */
    {CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}],\"max_tokens\":5}", 200},
    {CHAT,
     "{\"messages\":[{\"role\":\"system\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}]},"
     "{\"role\":\"user\",\"content\":\"hello\"}],\"max_tokens\":5,\"stream\":true,\"n\":2,"
     "\"logprobs\":true,\"top_logprobs\":3,\"return_token_ids\":true}",
     200},
    {CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"@\"}],\"max_tokens\":5}", 400},
    {"/tokenize", "{\"prompt\":\"hello\",\"return_token_strs\":true}", 200},
    {"/tokenize", "{\"content\":\"h\u00e9llo\",\"with_pieces\":true}", 200},
    {"/tokenize", "{\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}", 200},
    {"/tokenize", "{\"prompt\":\"@\"}", 200},
    {"/detokenize", "{\"tokens\":[104,105,300,106]}", 400},
    {"/detokenize", "{\"tokens\":[104,105,106]}", 200},
    {"/v1/embeddings", "{\"input\":[\"hello\",\"world\"]}", 200},
    {"/v1/embeddings", "{\"input\":\"hello\",\"encoding_format\":\"base64\",\"dimensions\":2}",
     200},
};

static int once(const char *text)
{
    int fd = dial(&rig);
    put_all(fd, text, strlen(text));
    struct answer a = get_answer(fd, false);
    free(a.body);
    close(fd);
    return a.status;
}

/* The bytes of requests[i]. */
static void write_request(size_t i, char *out, size_t cap)
{
    static char body[24 << 10];
    const char *b = requests[i].body, *at = b ? strchr(b, '@') : NULL;
    if (!b) {
        snprintf(out, cap, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", requests[i].path);
        return;
    }
    size_t n = (size_t)snprintf(body, sizeof body, "%.*s", at ? (int)(at - b) : (int)strlen(b), b);
    for (size_t k = 0; at && k < 20000; k++)
        body[n++] = (char)(k % 7 == 6 ? ' ' : 'a' + k % 26);
    snprintf(body + n, sizeof body - n, "%s", at ? at + 1 : "");
    snprintf(out, cap, "POST %s HTTP/1.1\r\nHost: x\r\n" CT "Content-Length: %zu\r\n\r\n%s",
             requests[i].path, strlen(body), body);
}

/* Fails the first, second, third ... allocation until one run of `text` needs no more of them. */
static void torture(const char *name, const char *text, int good)
{
    int n = 0;
    assert_int_equal(once(text), good);
    do {
        atomic_store(&fired, false);
        atomic_store(&left, ++n);
        int status = once(text);
        atomic_store(&left, 0);
        if (status != 0 && status != 503 && status != good)
            fail_msg("%s, allocation %d: %d", name, n, status);
        assert_true(status_becomes(&rig, "/health", 200));
        assert_true(metric_becomes(&rig, "quire_http_sequences_live", 0));
    } while (atomic_load(&fired));
    assert_int_equal(once(text), good);
    print_message("%s: %d allocations\n", name, n - 1);
}

static void test_every_allocation(void **state)
{
    (void)state;
    spared = true;
    rig_defaults(&rig);
    rig_set(&rig, "http.cors.allow_origins", "*");
    rig.c.http.header_timeout = rig.c.http.body_timeout = 200000;
    rig_start(&rig);
    for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++)
        torture(scenarios[i].name, scenarios[i].text, scenarios[i].good);
    rig_stop(&rig);
}

static void test_every_endpoint(void **state)
{
    static char text[64 << 10];
    (void)state;
    spared = true;
    rig_defaults(&rig);
    rig_start(&rig);
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        char name[128];
        write_request(i, text, sizeof text);
        snprintf(name, sizeof name, "%s %.90s", requests[i].path,
                 requests[i].body ? requests[i].body : "");
        torture(name, text, requests[i].good);
    }
    rig_stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_allocation),
                                       cmocka_unit_test(test_every_endpoint)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#endif
