/* SPDX-License-Identifier: Apache-2.0 */
/* maps.c: a file that is cut or written to under the reader is a message, not a signal. */
#include "testing.h"

#include "checkpoint/maps.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGES = 64 };
static char path[64];
static size_t page;

static void put_pages(void)
{
    FILE *f = fopen(path, "wb");
    char *b = malloc(page);
    assert_non_null(f);
    memset(b, 7, page);
    for (int i = 0; i < PAGES; i++)
        assert_int_equal(fwrite(b, 1, page, f), page);
    fclose(f);
    free(b);
}

static int set_up(void **state)
{
    (void)state;
    page = (size_t)sysconf(_SC_PAGESIZE);
    snprintf(path, sizeof path, "/tmp/quire-test-map-XXXXXX");
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(path);
}

static void *sum_all(void *arg)
{
    const struct file_map *m = arg;
    uint64_t sum = 0;
    for (size_t i = 0; i < m->n; i += 512)
        sum += m->p[i];
    return (void *)(uintptr_t)sum;
}

static void test_cut(void **state)
{
    (void)state;
    struct file_map m, other;
    struct err e = {0};
    put_pages();
    assert_int_equal(file_map_open(&m, path, &e), 0);
    assert_int_equal(file_map_check(&m, &e), 0);
    assert_int_equal(truncate(path, (off_t)(5 * page)), 0);
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, sum_all, &m), 0);
    for (int i = 0; i < 4; i++) {
        void *sum;
        pthread_join(t[i], &sum);
        assert_int_equal((uintptr_t)sum, 5 * page / 512 * 7); /* and zeros */
    }
    assert_true(file_map_failed(&m));
    assert_int_equal(file_map_check(&m, &e), ST_IO);
    assert_non_null(strstr(e.msg, path));
    assert_non_null(strstr(e.msg, "became shorter"));
    file_map_close(&m);
    /* The next map is a fresh one. */
    put_pages();
    assert_int_equal(file_map_open(&other, path, &e), 0);
    assert_false(file_map_failed(&other));
    assert_int_equal((uintptr_t)sum_all(&other), PAGES * page / 512 * 7);
    assert_int_equal(file_map_check(&other, &e), 0);
    file_map_close(&other);
}

/* Cut within a page: the rest of it reads as zeros without any signal. Copied over: it was cut for
 * a moment, and has its size again. */
static void test_quiet_changes(void **state)
{
    (void)state;
    struct file_map m;
    struct err e = {0};
    put_pages();
    assert_int_equal(file_map_open(&m, path, &e), 0);
    assert_int_equal(truncate(path, (off_t)(PAGES * page - 1)), 0);
    sum_all(&m);
    assert_false(file_map_failed(&m));
    assert_int_equal(file_map_check(&m, &e), ST_IO);
    assert_non_null(strstr(e.msg, "became shorter"));
    file_map_close(&m);
    put_pages();
    assert_int_equal(file_map_open(&m, path, &e), 0);
    usleep(20000); /* past the file system's time step */
    put_pages();
    assert_int_equal(file_map_check(&m, &e), ST_IO);
    assert_non_null(strstr(e.msg, "was changed"));
    file_map_close(&m);
}

/* A new file under the old name leaves the mapped one alone. */
static void test_replaced(void **state)
{
    (void)state;
    struct file_map m;
    struct err e = {0};
    put_pages();
    assert_int_equal(file_map_open(&m, path, &e), 0);
    unlink(path);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fclose(f);
    assert_int_equal((uintptr_t)sum_all(&m), PAGES * page / 512 * 7);
    assert_int_equal(file_map_check(&m, &e), 0);
    file_map_close(&m);
}

/* A bus error elsewhere still ends the process. */
static void test_not_ours(void **state)
{
    (void)state;
    struct file_map m;
    struct err e = {0};
    put_pages();
    pid_t child = fork();
    if (child == 0) {
        signal(SIGBUS, SIG_DFL);
        if (file_map_open(&m, path, &e) != 0)
            _exit(1);
        for (int i = 0; i < 2; i++) /* the first one puts the old handler back */
            kill(getpid(), SIGBUS);
        _exit(0);
    }
    int how = 0;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGBUS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_quiet_changes),
        cmocka_unit_test(test_replaced),
        cmocka_unit_test(test_not_ours),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
