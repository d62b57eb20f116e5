/* SPDX-License-Identifier: Apache-2.0 */
/* test_torture.c - memory runs out at the first, second, third ... allocation of the loop and the
 * pool of a server, until a scenario needs no more of them: the request or its connection ends, or
 * the answer is right; the next request is answered, and the process lives.
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

static int once(const char *text)
{
    int fd = dial(&rig);
    put_all(fd, text, strlen(text));
    struct answer a = get_answer(fd, false);
    free(a.body);
    close(fd);
    return a.status;
}

static void test_every_allocation(void **state)
{
    (void)state;
    spared = true;
    rig_defaults(&rig);
    rig_set(&rig, "http.cors.allow_origins", "*");
    rig.c.http.header_timeout = rig.c.http.body_timeout = 200000;
    rig_start(&rig);
    for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++) {
        assert_int_equal(once(scenarios[i].text), scenarios[i].good);
        int n = 0;
        do {
            atomic_store(&fired, false);
            atomic_store(&left, ++n);
            int status = once(scenarios[i].text);
            atomic_store(&left, 0);
            if (status != 0 && status != 503 && status != scenarios[i].good)
                fail_msg("%s, allocation %d: %d", scenarios[i].name, n, status);
            assert_true(status_becomes(&rig, "/health", 200));
        } while (atomic_load(&fired));
        print_message("%s: %d allocations\n", scenarios[i].name, n - 1);
    }
    rig_stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_allocation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#endif
