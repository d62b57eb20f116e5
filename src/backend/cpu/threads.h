/* SPDX-License-Identifier: Apache-2.0 */
/* threads.h - the CPU backend's worker pool: one job at a time, split into chunks. */
#ifndef QUIRE_CPU_THREADS_H
#define QUIRE_CPU_THREADS_H

#include <stdint.h>

struct cpu_pool;

/* Items [begin, end) of the job; `worker` < cpu_pool_threads selects per-thread scratch. */
typedef void cpu_job(void *arg, int64_t begin, int64_t end, int worker);

/* threads counts the caller too; 0 = the cores this process may use. NULL when threads cannot be
 * started. */
struct cpu_pool *cpu_pool_new(int threads);
void cpu_pool_free(struct cpu_pool *p);
int cpu_pool_threads(const struct cpu_pool *p);

/* Run fn over n items in chunks of at least `grain` items and return when all are done. The caller
 * works too; with one chunk nobody else is woken. One caller at a time. */
void cpu_pool_run(struct cpu_pool *p, int64_t n, int64_t grain, cpu_job *fn, void *arg);

/* Cores by affinity and cgroup quota, at least 1. */
int cpu_cores(void);

#endif
