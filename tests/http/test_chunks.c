/* SPDX-License-Identifier: Apache-2.0 */
/* test_chunks.c - the byte machine of chunked bodies: what it takes, what it refuses and where, and
 * that neither depends on how the bytes arrive. */
#include "http/chunks.h"
#include "testing.h"

#include <stdio.h>
#include <string.h>

#define B(s) (s), sizeof(s) - 1

/* Reads s in two pieces; gives the status of the last piece and how far it came. */
static int read_cut(const char *s, size_t n, size_t cut, size_t *used)
{
    struct chunks c;
    struct err e;
    size_t k;
    chunks_begin(&c);
    int st = chunks_read(&c, s, cut, 1000, used, &e);
    if (st != CHUNKS_MORE)
        return st;
    assert_int_equal(*used, cut);
    st = chunks_read(&c, s + cut, n - cut, 1000, &k, &e);
    *used += k;
    return st;
}

static void test_bodies(void **state)
{
    static const struct {
        const char *s;
        size_t n;
        int st;
        size_t used;
    } t[] = {
        {B("0\r\n\r\n"), 0, 5},
        {B("0\r\n\r\nGET"), 0, 5},
        {B("3\r\nabc\r\n0\r\n\r\n"), 0, 13},
        {B("3;a=b\r\nabc\r\n00A;q=\"x\\\";y\"\r\n0123456789\r\n0\r\nX: y\r\nZ:\r\n\r\n"), 0, 54},
        {B("3\r\nabc\r\n"), CHUNKS_MORE, 8},
        {B("3"), CHUNKS_MORE, 1},
        {B("3\n"), ST_BAD_REQUEST, 1},
        {B("3 \r\n"), ST_BAD_REQUEST, 1},
        {B("\r\n"), ST_BAD_REQUEST, 0},
        {B(";a\r\n"), ST_BAD_REQUEST, 0},
        {B("0x3\r\n"), ST_BAD_REQUEST, 1},
        {B("-3\r\n"), ST_BAD_REQUEST, 0},
        {B("3;\r\n"), ST_BAD_REQUEST, 2},
        {B("3;a\rb"), ST_BAD_REQUEST, 4},
        {B("3;a=\"\n\""), ST_BAD_REQUEST, 5},
        {B("3\r\nabcd"), ST_BAD_REQUEST, 6},
        {B("3\r\nabc\n"), ST_BAD_REQUEST, 6},
        {B("0\r\n\n"), ST_BAD_REQUEST, 3},
        {B("0\r\nX y\r\n"), ST_BAD_REQUEST, 4},
        {B("0\r\nX: a\0b"), ST_BAD_REQUEST, 7},
        {B("0\r\nX: a\n"), ST_BAD_REQUEST, 7},
        {B("0\r\n X: a\r\n"), ST_BAD_REQUEST, 3},
        {B("3e8\r\n"), CHUNKS_MORE, 5},
        {B("3e9\r\n"), ST_BODY_TOO_LARGE, 4},
        {B("ffffffffffffffff\r\n"), ST_BODY_TOO_LARGE, 17},
        {B("00000000000000003\r\n"), ST_BAD_REQUEST, 16},
    };
    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++)
        for (size_t cut = 0; cut <= t[i].n; cut++) {
            size_t used;
            int st = read_cut(t[i].s, t[i].n, cut, &used);
            if (st != t[i].st || used != t[i].used)
                fail_msg("%s cut at %zu: %d at %zu", t[i].s, cut, st, used);
        }
}

static int read_many(const char *unit, int times, const char *before)
{
    struct chunks c;
    struct err e;
    size_t used;
    chunks_begin(&c);
    int st = chunks_read(&c, before, strlen(before), 1 << 20, &used, &e);
    for (int i = 0; i < times && st == CHUNKS_MORE; i++)
        st = chunks_read(&c, unit, strlen(unit), 1 << 20, &used, &e);
    return st;
}

/* Whatever could go on for ever is bounded. */
static void test_bounds(void **state)
{
    (void)state;
    assert_int_equal(read_many("a", CHUNK_LINE_MAX - 10, "1;"), CHUNKS_MORE);
    assert_int_equal(read_many("a", CHUNK_LINE_MAX, "1;"), ST_BAD_REQUEST);
    assert_int_equal(read_many("X: y\r\n", 100, "0\r\n"), CHUNKS_MORE);
    assert_int_equal(read_many("X: y\r\n", 1000, "0\r\n"), ST_BAD_REQUEST);
    assert_int_equal(read_many("1\r\nx\r\n", 200000, ""), CHUNKS_MORE);
    assert_int_equal(read_many("1\r\nx\r\n", 300000, ""), ST_BODY_TOO_LARGE); /* their lines */
    assert_int_equal(read_many("400\r\n", 1, ""), CHUNKS_MORE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bodies),
                                       cmocka_unit_test(test_bounds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
