/* SPDX-License-Identifier: Apache-2.0 */
/* threads.c - a persistent pool: workers spin a bounded time for the next job, then sleep.
 *
 * One caller at a time (the engine thread, or the loader); any number of workers. No lock: a job is
 * announced by one 64-bit ticket (generation | chunks | next chunk). Whoever draws a chunk number
 * below the chunk count owns that chunk, and the job's fields cannot change before that chunk is
 * reported done; a late worker that draws past the end touches nothing. Sleepers wait on a futex,
 * so an idle process uses no processor time. Which thread runs which chunk is left to chance: no
 * result may depend on it.
 */
#include "threads.h"

#include "mem.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    MAX_WORKERS = 256,
    MAX_CHUNKS = 4096,        /* chunk numbers have 20 bits: room for late draws */
    CHUNKS_PER_THREAD = 8,    /* how finely a job is cut to even out slow threads */
    SPINS_BEFORE_SLEEP = 4000 /* pauses, some 50 to 150 us: longer than any gap inside a step */
};

struct cpu_pool {
    _Alignas(64) _Atomic uint64_t ticket; /* generation << 40 | chunks << 20 | next chunk */
    _Alignas(64) _Atomic int64_t n_done;  /* chunks of the current job reported done */
    _Alignas(64) _Atomic uint32_t epoch;  /* futex word: counts jobs */
    _Atomic int32_t n_asleep;
    _Atomic int32_t stop;
    /* the job; written before the ticket, read only by owners of a chunk */
    cpu_job *fn;
    void *arg;
    int64_t n, chunk;
    int n_threads;
    struct worker {
        struct cpu_pool *pool;
        pthread_t id;
        int index;
    } worker[MAX_WORKERS];
};

static inline void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

static void futex(_Atomic uint32_t *word, int op, uint32_t value)
{
    syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

/* Draw and run chunks until the current job has none left. */
static void work(struct cpu_pool *p, int index)
{
    for (;;) {
        uint64_t t = atomic_fetch_add_explicit(&p->ticket, 1, memory_order_acq_rel);
        int64_t next = (int64_t)(t & 0xfffff), chunks = (int64_t)(t >> 20 & 0xfffff);
        if (next >= chunks)
            return;
        int64_t begin = next * p->chunk, end = begin + p->chunk;
        p->fn(p->arg, begin, end < p->n ? end : p->n, index);
        atomic_fetch_add_explicit(&p->n_done, 1, memory_order_acq_rel);
    }
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct cpu_pool *p = w->pool;
    uint32_t seen = 0;
    while (!atomic_load(&p->stop)) {
        uint32_t now = atomic_load(&p->epoch);
        for (int i = 0; now == seen && i < SPINS_BEFORE_SLEEP; i++) {
            pause_cpu();
            now = atomic_load_explicit(&p->epoch, memory_order_acquire);
        }
        if (now == seen) {
            atomic_fetch_add(&p->n_asleep, 1);
            if (atomic_load(&p->epoch) == seen && !atomic_load(&p->stop))
                futex(&p->epoch, FUTEX_WAIT, seen);
            atomic_fetch_sub(&p->n_asleep, 1);
            continue;
        }
        seen = now;
        work(p, w->index);
    }
    return NULL;
}

static void announce(struct cpu_pool *p)
{
    atomic_fetch_add(&p->epoch, 1);
    if (atomic_load(&p->n_asleep) > 0)
        futex(&p->epoch, FUTEX_WAKE, MAX_WORKERS);
}

void cpu_pool_run(struct cpu_pool *p, int64_t n, int64_t grain, cpu_job *fn, void *arg)
{
    if (n <= 0)
        return;
    int64_t max_chunks = (int64_t)p->n_threads * CHUNKS_PER_THREAD;
    if (max_chunks > MAX_CHUNKS)
        max_chunks = MAX_CHUNKS;
    int64_t chunk = (n + max_chunks - 1) / max_chunks;
    if (chunk < grain)
        chunk = grain;
    int64_t chunks = (n + chunk - 1) / chunk;
    if (chunks == 1 || p->n_threads == 1) {
        fn(arg, 0, n, 0);
        return;
    }
    p->fn = fn;
    p->arg = arg;
    p->n = n;
    p->chunk = chunk;
    atomic_store_explicit(&p->n_done, 0, memory_order_relaxed);
    uint64_t generation = (atomic_load_explicit(&p->ticket, memory_order_relaxed) >> 40) + 1;
    atomic_store_explicit(&p->ticket, generation << 40 | (uint64_t)chunks << 20,
                          memory_order_release);
    announce(p);
    work(p, 0);
    for (int i = 0; atomic_load_explicit(&p->n_done, memory_order_acquire) < chunks; i++) {
        if (i < SPINS_BEFORE_SLEEP)
            pause_cpu();
        else
            sched_yield(); /* the worker that holds the last chunk was descheduled */
    }
}

/* The cgroup v2 quota in whole cores, rounded up; 0 = none. */
static int quota_cores(void)
{
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    char line[64] = "", *end;
    if (!f)
        return 0;
    if (!fgets(line, sizeof line, f))
        line[0] = '\0';
    fclose(f);
    long long quota = strtoll(line, &end, 10), period = strtoll(end, NULL, 10);
    if (quota <= 0 || period <= 0) /* also "max 100000" */
        return 0;
    long long cores = quota / period + (quota % period != 0);
    return cores < MAX_WORKERS ? (int)cores : MAX_WORKERS;
}

int cpu_cores(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    int quota = quota_cores();
    if (quota > 0 && quota < n)
        n = quota;
    return n < 1 ? 1 : n;
}

struct cpu_pool *cpu_pool_new(int threads)
{
    struct cpu_pool *p = xalloc_aligned(64, sizeof *p);
    if (threads <= 0)
        threads = cpu_cores();
    p->n_threads = threads < MAX_WORKERS ? threads : MAX_WORKERS;
    for (int i = 1; i < p->n_threads; i++) {
        struct worker *w = &p->worker[i];
        w->pool = p;
        w->index = i;
        if (pthread_create(&w->id, NULL, worker_main, w) != 0) {
            p->n_threads = i;
            cpu_pool_free(p);
            return NULL;
        }
    }
    return p;
}

void cpu_pool_free(struct cpu_pool *p)
{
    if (!p)
        return;
    atomic_store(&p->stop, 1);
    announce(p);
    for (int i = 1; i < p->n_threads; i++)
        pthread_join(p->worker[i].id, NULL);
    free(p);
}

int cpu_pool_threads(const struct cpu_pool *p)
{
    return p->n_threads;
}
