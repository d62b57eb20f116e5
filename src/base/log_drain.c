/* SPDX-License-Identifier: Apache-2.0 */
/* log_drain.c - lines to stderr. While the thread runs, callers copy into a ring and go on: a
 * terminal, a pipe or a disk that takes nothing stops the thread only. A line is one write(2), so
 * that lines of several processes on one pipe do not mix; a closed stderr costs the lines, never
 * the process (SIGPIPE is ignored by whoever serves).
 */
#include "log_drain.h"

#include "log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { RING = 64 << 10, LINE_MAX_BYTES = 4096, NOTICE = 256 };

static struct {
    pthread_mutex_t lock;
    pthread_cond_t filled, emptied;
    char bytes[RING];
    size_t head, n; /* the oldest byte; how many */
    uint64_t dropped;
    bool running, stop, writing;
    pthread_t thread;
} drain = {.lock = PTHREAD_MUTEX_INITIALIZER,
           .filled = PTHREAD_COND_INITIALIZER,
           .emptied = PTHREAD_COND_INITIALIZER};

/* `patient`: wait for as long as a stderr that does not block takes nothing. */
static void write_all(const char *s, size_t n, bool patient)
{
    for (size_t off = 0; off < n;) {
        ssize_t k = write(STDERR_FILENO, s + off, n - off);
        if (k > 0) {
            off += (size_t)k;
        } else if (k < 0 && errno == EAGAIN && patient) {
            struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
            poll(&p, 1, -1);
        } else if (k == 0 || errno != EINTR) {
            return; /* nowhere left to complain */
        }
    }
}

static void ring_put(const char *s, size_t n)
{
    size_t at = (drain.head + drain.n) % RING, first = n < RING - at ? n : RING - at;
    memcpy(drain.bytes + at, s, first);
    memcpy(drain.bytes, s + first, n - first);
    drain.n += n;
}

/* The oldest line, out of the ring. */
static size_t ring_take(char out[LINE_MAX_BYTES])
{
    size_t n = 0;
    do {
        out[n] = drain.bytes[drain.head];
        drain.head = (drain.head + 1) % RING;
        drain.n--;
    } while (out[n++] != '\n' && drain.n > 0 && n < LINE_MAX_BYTES);
    return n;
}

/* What is to be written next; with the lock. 0 = nothing. */
static size_t next_line(char out[LINE_MAX_BYTES])
{
    if (drain.n > 0)
        return ring_take(out);
    uint64_t lost = drain.dropped;
    drain.dropped = 0;
    return lost > 0 ? log_lost(out, NOTICE, lost) : 0;
}

static void *drain_main(void *arg)
{
    char line[LINE_MAX_BYTES];
    (void)arg;
    pthread_mutex_lock(&drain.lock);
    for (;;) {
        size_t n = next_line(line);
        if (n == 0 && drain.stop)
            break;
        if (n == 0) {
            pthread_cond_broadcast(&drain.emptied);
            pthread_cond_wait(&drain.filled, &drain.lock);
            continue;
        }
        drain.writing = true;
        pthread_mutex_unlock(&drain.lock);
        write_all(line, n, true);
        pthread_mutex_lock(&drain.lock);
        drain.writing = false;
    }
    drain.running = false;
    pthread_cond_broadcast(&drain.emptied);
    pthread_mutex_unlock(&drain.lock);
    return NULL;
}

void log_line(const char *s, size_t n)
{
    pthread_mutex_lock(&drain.lock);
    bool running = drain.running; /* also one that was told to stop and hangs in a write */
    /* once lines are lost, those after them wait for the notice that says so */
    if (running && (n > RING - drain.n || drain.dropped > 0)) {
        drain.dropped++;
    } else if (running) {
        if (drain.n == 0)
            pthread_cond_signal(&drain.filled);
        ring_put(s, n);
    }
    pthread_mutex_unlock(&drain.lock);
    if (!running)
        write_all(s, n, false);
}

void log_start(void)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the loop's */
    pthread_mutex_lock(&drain.lock);
    if (!drain.running) {
        drain.stop = false;
        drain.running = pthread_create(&drain.thread, NULL, drain_main, NULL) == 0;
        if (drain.running)
            pthread_detach(drain.thread);
    }
    pthread_mutex_unlock(&drain.lock);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void wait_empty(int ms, bool stop)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    drain.stop |= stop;
    pthread_cond_signal(&drain.filled);
    int st = 0;
    while (st == 0 && drain.running && (stop || drain.n > 0 || drain.writing))
        st = pthread_cond_timedwait(&drain.emptied, &drain.lock, &until);
}

void log_stop(int ms)
{
    pthread_mutex_lock(&drain.lock);
    wait_empty(ms, true);
    pthread_mutex_unlock(&drain.lock);
}

void log_flush(int ms)
{
    if (pthread_mutex_trylock(&drain.lock) != 0)
        return; /* the thread that ends the process may hold it */
    wait_empty(ms, false);
    pthread_mutex_unlock(&drain.lock);
}
