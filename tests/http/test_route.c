/* SPDX-License-Identifier: Apache-2.0 */
/* test_route.c - the path that an unknown one most likely meant, and how it is shown. */
#include "http/route.h"
#include "testing.h"

#include <stdlib.h>
#include <string.h>

static const struct handler table[] = {
    {.path = "/v1/completions"}, {.path = "/v1/chat/completions"},
    {.path = "/v1/models"},      {.path = "/v1/models/"},
    {.path = "/completions"},    {.path = "/chat/completions"},
    {.path = "/tokenize"},       {.path = "/health"},
    {.path = "/live"},           {.path = "/ping"}};
enum { N = sizeof table / sizeof *table };

static void test_nearest(void **state)
{
    static const struct {
        const char *asked, *near;
    } t[] = {{"/v1/chat/completion", "/v1/chat/completions"},
             {"/v1/chat/competions", "/v1/chat/completions"},
             {"/v1/chat/ocmpletions", "/v1/chat/completions"},
             {"/V1/Chat/Completions", "/v1/chat/completions"},
             {"/v1/chat/completions/", "/v1/chat/completions"},
             {"//v1/chat/completions", "/v1/chat/completions"},
             {"/v1/v1/chat/completions", "/v1/chat/completions"},
             {"/openai/v1/completions?x=/v1/models", "/v1/completions"},
             {"/api/chat/completions", "/chat/completions"},
             {"/v1/chat", "/v1/chat/completions"},
             {"/v1/model", "/v1/models"},
             {"/v1/models/", "/v1/models"},
             {"/v1/model/abc", "/v1/models"},
             {"http://x/v1/completion", "/v1/completions"},
             {"/tokenise", "/tokenize"},
             {"/healthy", "/health"},
             {"/lvie", "/live"},
             {"/pong", "/ping"},
             {"/foo", NULL},
             {"/v1", NULL},
             {"/", NULL},
             {"", NULL},
             {"*", NULL},
             {"/v1/audio/speech", NULL},
             {"/?/v1/completions", NULL}};
    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        const char *got = route_nearest(table, N, t[i].asked);
        if (!got != !t[i].near || (got && strcmp(got, t[i].near) != 0))
            fail_msg("%s: %s, not %s", t[i].asked, got ? got : "none",
                     t[i].near ? t[i].near : "none");
    }
}

/* Any bytes in exactly as much memory as they need: for the sanitizers. */
static void test_any_path(void **state)
{
    uint64_t rng = 7;
    (void)state;
    for (int i = 0; i < 20000; i++) {
        char shown[ROUTE_SHOWN];
        size_t n = (size_t)i % 200;
        char *p = malloc(n + 1);
        for (size_t k = 0; k < n; k++) {
            rng = rng * 6364136223846793005u + 1442695040888963407u;
            p[k] = (char)(rng >> 33);
            if (i % 2)
                p[k] = "/v1comptines"[(unsigned char)p[k] % 12];
            if (!p[k])
                p[k] = '/';
        }
        p[n] = '\0';
        const char *near = route_nearest(table, N, p);
        assert_true(!near || near[strlen(near) - 1] != '/');
        route_show(p, shown);
        assert_true(strlen(shown) < ROUTE_SHOWN);
        for (const char *c = shown; *c; c++)
            assert_true(*c > ' ' && *c < 0x7f && *c != '"' && *c != '\'' && *c != '\\' &&
                        *c != '<' && *c != '=');
        free(p);
    }
}

static void test_shown(void **state)
{
    char out[ROUTE_SHOWN], longest[9000];
    (void)state;
    route_show("/a%22b\"c'd<e>\xc3\xa9\t?key=secret", out);
    assert_string_equal(out, "/a%22b%22c%27d%3Ce%3E%C3%A9%09");
    route_show("http://host/v1/x#y", out);
    assert_string_equal(out, "/v1/x");
    memset(longest, '<', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    route_show(longest, out);
    assert_true(strlen(out) > ROUTE_SHOWN - 8 && strcmp(out + strlen(out) - 2, "..") == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nearest),
                                       cmocka_unit_test(test_any_path),
                                       cmocka_unit_test(test_shown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
