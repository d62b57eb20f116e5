/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of src/base: status table, UTF-8 safe error text, arena cap, mailbox order and bound. */
#include "buf.h"
#include "clock.h"
#include "mailbox.h"
#include "mem.h"
#include "status.h"
#include "testing.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static void test_status_table(void **state)
{
    (void)state;
    assert_int_equal(ST_OK, 0);
    assert_int_equal(st_http(ST_QUEUE_FULL), 429);
    assert_string_equal(st_code(ST_CONTEXT_LENGTH), "context_length_exceeded");
    assert_int_equal(st_http(12345), 500);
    assert_int_equal(st_http(-12345), 500);
    for (int i = 0; i < N_STATUS; i++)
        assert_true(st_http(-i) >= 200 && st_http(-i) < 600);
}

static void test_err_cut(void **state)
{
    (void)state;
    struct err e;
    char s[700];
    for (size_t pad = 0; pad < 4; pad++) {
        memset(s, 'x', pad);
        for (size_t i = pad; i + 3 < sizeof s; i += 3)
            memcpy(s + i, "\xe2\x82\xac", 4);
        assert_int_equal(err_param(&e, ST_INVALID_VALUE, "a.b", "%s", s), ST_INVALID_VALUE);
        size_t n = strlen(e.msg);
        assert_true(n >= sizeof e.msg - 4);
        assert_int_equal((n - pad) % 3, 0);
        assert_string_equal(e.param, "a.b");
    }
}

static void test_sizes(void **state)
{
    (void)state;
    size_t r = 7;
    assert_false(mul_size(SIZE_MAX, 2, &r));
    assert_false(add_size(SIZE_MAX, 1, &r));
    assert_int_equal(r, 7);
    assert_true(mul_size(3, 5, &r));
    assert_int_equal(r, 15);
}

static void test_arena_cap(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 100000);
    size_t got = 0;
    for (int i = 0; i < 1000; i++) {
        char *p = arena_alloc(&a, 1000);
        if (!p)
            break;
        assert_int_equal((uintptr_t)p % 16, 0);
        assert_int_equal(p[0] | p[999], 0);
        memset(p, 0xff, 1000);
        got += 1000;
    }
    assert_in_range(got, 90000, 100000);
    assert_null(arena_alloc(&a, SIZE_MAX));
    arena_reset(&a);
    char *p = arena_strndup(&a, "hello", 5);
    assert_string_equal(p, "hello");
    arena_free(&a);
}

static void count_wake(void *arg)
{
    ++*(int *)arg;
}

static void test_mailbox_bound_and_wake(void **state)
{
    (void)state;
    int wakes = 0;
    struct mbox *m = mbox_new(64, 1000, count_wake, &wakes);
    char msg[100] = {0};
    int sent = 0;
    while (mbox_send(m, msg, 1 + (size_t)sent) == 0)
        msg[0] = (char)++sent;
    assert_int_equal(wakes, 1);
    assert_int_equal(mbox_send(m, msg, 2000), ST_FULL);
    assert_int_equal(mbox_wait(m, 0), 1);
    assert_int_equal(mbox_take(m), sent);
    size_t n;
    for (int i = 0; i < sent; i++) {
        const char *p = mbox_next(m, &n);
        assert_int_equal(n, i + 1);
        assert_int_equal(p[0], i);
    }
    assert_null(mbox_next(m, &n));
    assert_int_equal(mbox_take(m), 0);
    int64_t t = clock_us();
    assert_int_equal(mbox_wait(m, 20000), 0);
    assert_true(clock_us() - t >= 19000);
    mbox_send(m, msg, 8);
    assert_int_equal(wakes, 2);
    mbox_free(m);
}

enum { SENDERS = 4, PER_SENDER = 5000 };

struct sender {
    struct mbox *m;
    int id;
};

static void *sender_main(void *arg)
{
    struct sender *s = arg;
    for (int i = 0; i < PER_SENDER; i++) {
        int msg[2] = {s->id, i};
        while (mbox_send(s->m, msg, sizeof msg) != 0)
            ;
    }
    return NULL;
}

static void test_mailbox_threads(void **state)
{
    (void)state;
    struct mbox *m = mbox_new(256, 4096, NULL, NULL);
    struct sender s[SENDERS];
    pthread_t th[SENDERS];
    int next[SENDERS] = {0}, total = 0;
    for (int i = 0; i < SENDERS; i++) {
        s[i] = (struct sender){m, i};
        pthread_create(&th[i], NULL, sender_main, &s[i]);
    }
    while (total < SENDERS * PER_SENDER) {
        mbox_wait(m, -1);
        mbox_take(m);
        const int *p;
        while ((p = mbox_next(m, NULL)) != NULL) {
            assert_int_equal(next[p[0]]++, p[1]); /* per sender in order, none lost */
            total++;
        }
    }
    for (int i = 0; i < SENDERS; i++)
        pthread_join(th[i], NULL);
    mbox_free(m);
}

/* Room that is not there leaves the buffer as it was. */
static void test_buf_room(void **s)
{
    struct buf b = {0};
    (void)s;
    assert_true(buf_room(&b, 0));
    assert_true(buf_room(&b, 100000));
    const char *p = b.p;
    for (int i = 0; i < 100000; i++)
        buf_add(&b, "x", 1);
    assert_ptr_equal(b.p, p);
    assert_false(buf_room(&b, SIZE_MAX));
    assert_false(buf_room(&b, SIZE_MAX / 4));
    assert_int_equal(b.n, 100000);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_table),    cmocka_unit_test(test_err_cut),
        cmocka_unit_test(test_sizes),           cmocka_unit_test(test_buf_room),
        cmocka_unit_test(test_arena_cap),       cmocka_unit_test(test_mailbox_bound_and_wake),
        cmocka_unit_test(test_mailbox_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
