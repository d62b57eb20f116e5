/* SPDX-License-Identifier: Apache-2.0 */
/* test_namespace.c - the keyed hash against its published values; who shares a namespace. */
#include "api/namespace.h"
#include "testing.h"

#include <string.h>

/* The vectors of the SipHash paper and its reference: key 00 .. 0f, message 00 .. n-1. */
static void test_vectors(void **s)
{
    static const struct {
        size_t n;
        uint64_t hash;
    } t[] = {{0, 0x726fdb47dd0e0e31u},
             {1, 0x74f839c593dc67fdu},
             {8, 0x93f5f5799a932462u},
             {15, 0xa129ca6149be45e5u}};
    const struct ns_key key = {{0x0706050403020100u, 0x0f0e0d0c0b0a0908u}};
    unsigned char m[16];
    (void)s;
    for (size_t i = 0; i < sizeof m; i++)
        m[i] = (unsigned char)i;
    for (size_t i = 0; i < sizeof t / sizeof *t; i++)
        assert_true(ns_hash(&key, m, t[i].n) == t[i].hash);
}

static void test_who_shares(void **s)
{
    const struct ns_key key = ns_key_new(), other = ns_key_new();
    char longest[NS_MAX_SALT];
    (void)s;
    memset(longest, 'x', sizeof longest);
    assert_true(ns_of(&key, 0, "", 0) == 0);
    assert_true(ns_of(&key, 5, "", 0) == ns_of(&key, 5, "", 0));
    assert_true(ns_of(&key, 5, "a", 1) == ns_of(&key, 5, "a", 1));
    assert_true(ns_of(&key, 5, "", 0) != ns_of(&key, 7, "", 0));
    assert_true(ns_of(&key, 5, "a", 1) != ns_of(&key, 7, "a", 1));
    assert_true(ns_of(&key, 5, "a", 1) != ns_of(&key, 5, "", 0));
    assert_true(ns_of(&key, 0, "a", 1) != ns_of(&key, 0, "", 0));
    assert_true(ns_of(&key, 5, "a", 1) != ns_of(&other, 5, "a", 1));
    /* a salt with another tenant's number in it is not that tenant */
    assert_true(ns_of(&key, 0, "\5\0\0\0\0\0\0\0", 8) != ns_of(&key, 5, "", 0));
    assert_true(ns_of(&key, 5, longest, sizeof longest) !=
                ns_of(&key, 5, longest, sizeof longest - 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_vectors),
                                       cmocka_unit_test(test_who_shares)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
