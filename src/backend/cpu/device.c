/* SPDX-License-Identifier: Apache-2.0 */
/* device.c - the CPU as a device: opening, memory, the calls of backend.h, the op table.
 *
 * Ops run synchronously on the caller and the pool's workers, so copies, marks and waits are
 * trivial. Large blocks are mapped directly with huge pages advised: they start out zero and cost
 * nothing until touched.
 */
#include "backend/open.h"
#include "cpu.h"
#include "mem.h"
#include "status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BIG_BLOCK = 4 << 20, BIG_ALIGN = 2 << 20, SMALL_ALIGN = 256 };

struct cpu_block {
    struct cpu_block *next;
    void *p;
    size_t mapped; /* 0 = from malloc */
};

static void *map_big(size_t bytes, struct cpu_block *b)
{
    size_t len;
    if (!add_size(bytes, 2 * (size_t)BIG_ALIGN, &len))
        return NULL;
    char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    size_t lead = (size_t)(-(uintptr_t)p & (BIG_ALIGN - 1));
    size_t keep = (bytes + BIG_ALIGN - 1) & ~((size_t)BIG_ALIGN - 1);
    if (lead > 0)
        munmap(p, lead);
    if (len > lead + keep)
        munmap(p + lead + keep, len - lead - keep);
    madvise(p + lead, keep, MADV_HUGEPAGE); /* a hint; refusal only costs speed */
    b->p = p + lead;
    b->mapped = keep;
    return b->p;
}

static void *cpu_alloc(struct be *be, size_t bytes)
{
    struct cpu_be *c = cpu_of(be);
    struct cpu_block *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    if (bytes >= BIG_BLOCK) {
        map_big(bytes, b);
    } else if (posix_memalign(&b->p, SMALL_ALIGN, bytes ? bytes : 1) == 0) {
        memset(b->p, 0, bytes ? bytes : 1);
    } else {
        b->p = NULL;
    }
    if (!b->p) {
        free(b);
        return NULL;
    }
    b->next = c->blocks;
    c->blocks = b;
    return b->p;
}

static void cpu_close(struct be *be)
{
    struct cpu_be *c = cpu_of(be);
    cpu_pool_free(c->pool);
    for (struct cpu_block *b = c->blocks, *next; b; b = next) {
        next = b->next;
        if (b->mapped)
            munmap(b->p, b->mapped);
        else
            free(b->p);
        free(b);
    }
    free(c->scratch);
    free(c);
}

static int copy_bytes(struct be *be, void *dst, const void *src, size_t bytes)
{
    (void)be;
    if (bytes > 0)
        memcpy(dst, src, bytes);
    return 0;
}

static int cpu_sync(struct be *be)
{
    (void)be;
    return 0;
}

static int cpu_slot(struct be *be, int slot)
{
    (void)be;
    return slot >= 0 && slot < MAX_INFLIGHT ? 0 : ST_INVALID_VALUE;
}

static int cpu_ready(struct be *be, int slot)
{
    (void)be;
    (void)slot;
    return 1;
}

/* Attention keeps its tiles in the workers' own scratch. */
static size_t attn_work_bytes(struct be *be, int32_t max_rows, int32_t n_heads, int32_t head_dim)
{
    (void)be;
    (void)max_rows;
    (void)n_heads;
    (void)head_dim;
    return 0;
}

/* The rows' adjusted logits, then per worker a weight and an id for every token of the vocabulary,
 * twice. */
static size_t sample_work_bytes(struct be *be, int32_t max_rows, int32_t vocab)
{
    return cpu_adjusted_bytes(max_rows, vocab) +
           (size_t)cpu_pool_threads(cpu_of(be)->pool) * (size_t)vocab * 16;
}

static int open_queue(struct be *be, int threads, struct err *e);

/* The lane's ops run on whoever calls them and on workers of its own. */
static int cpu_open_lane(struct be *lane, struct err *e)
{
    return open_queue(lane, cpu_pool_threads(cpu_of(lane->root)->pool), e);
}

static const struct be_calls cpu_calls = {
    .close = cpu_close,
    .alloc = cpu_alloc,
    .alloc_host = cpu_alloc,
    .load_matrix = cpu_load_matrix,
    .upload = copy_bytes,
    .download = copy_bytes,
    .sync = cpu_sync,
    .attn_work_bytes = attn_work_bytes,
    .sample_work_bytes = sample_work_bytes,
    .mark = cpu_slot,
    .wait = cpu_slot,
    .ready = cpu_ready,
    .open_lane = cpu_open_lane,
};

#define X(n) .n = cpu_##n,
static const struct op_table cpu_ops = {OP_LIST(X)};
#undef X

static int open_queue(struct be *be, int threads, struct err *e)
{
    struct cpu_be *c = xalloc(sizeof *c);
    c->pool = cpu_pool_new(threads);
    if (!c->pool) {
        free(c);
        return err_set(e, ST_NOMEM, "cannot start %d CPU threads", threads);
    }
    c->vec = vec_pick();
    c->scratch_stride = (cpu_attn_scratch() + 1023) & ~(size_t)1023;
    c->scratch = xalloc_aligned(64, (size_t)cpu_pool_threads(c->pool) * c->scratch_stride *
                                        sizeof *c->scratch);
    be->op = &cpu_ops;
    be->call = &cpu_calls;
    be->priv = c;
    int64_t page = sysconf(_SC_PAGESIZE);
    be->info = (struct be_info){
        .kind = BE_CPU,
        .memory_free = page * sysconf(_SC_AVPHYS_PAGES),
        .act_dt = DT_F32,
        .weight_dt = DT_F32,
        .kv_dt = DT_F32,
    };
    snprintf(be->info.name, sizeof be->info.name, "CPU %s, %d threads", c->vec->name,
             cpu_pool_threads(c->pool));
    return 0;
}

int cpu_open(struct be *be, const struct be_config *conf, struct err *e)
{
    return open_queue(be, (int)conf->threads, e);
}
