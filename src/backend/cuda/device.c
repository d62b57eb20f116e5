/* SPDX-License-Identifier: Apache-2.0 */
/* device.c - an NVIDIA GPU as a device: opening, memory, copies, marks, the op table.
 *
 * One ordered queue carries everything: uploads, kernels, recorded graphs, downloads. Two steps in
 * flight are two events on it. A lane is a second such queue over the same memory. Engine thread,
 * or the loader thread before the seal. Invariants: all device memory is taken before the seal;
 * after a fatal error no call reaches the device again.
 */
#include "attn.h"
#include "backend/open.h"
#include "cuda_be.h"
#include "gemm.h"
#include "gemm_plan.h"
#include "graph.h"
#include "log.h"
#include "matrix.h"
#include "mem.h"
#include "sample.h"
#include "share.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RESERVE_MIB = 256 }; /* kept from the automatic pool: page table, graphs, rounding */

struct cuda_block {
    struct cuda_block *next;
    char *p;
    size_t bytes;
};

void cuda_enter(const struct cuda_be *c)
{
    static _Thread_local int current = -1;
    if (current != c->device && c->rt->set_device(c->device) == cudaSuccess)
        current = c->device;
}

static int find_block(const struct cuda_block *b, const void *p, size_t bytes)
{
    uintptr_t at = (uintptr_t)p;
    for (; b; b = b->next)
        if (at >= (uintptr_t)b->p && at - (uintptr_t)b->p <= b->bytes &&
            bytes <= b->bytes - (at - (uintptr_t)b->p))
            return 1;
    return 0;
}

int cuda_is_pinned(const struct cuda_be *c, const void *p, size_t bytes)
{
    return find_block(c->root ? c->root->host_blocks : c->host_blocks, p, bytes);
}

static void push_block(struct cuda_block **list, void *p, size_t bytes)
{
    struct cuda_block *b = xalloc(sizeof *b);
    *b = (struct cuda_block){*list, p, bytes};
    *list = b;
}

static void *cuda_alloc(struct be *be, size_t bytes)
{
    struct cuda_be *c = cuda_of(be);
    void *p = NULL;
    cuda_enter(c);
    if (c->sticky != 0 || cuda_result(c, c->rt->alloc(&p, bytes ? bytes : 1), "cudaMalloc") != 0)
        return NULL;
    push_block(&c->device_blocks, p, bytes);
    int st = cuda_result(c, c->rt->memset_async(p, 0, bytes ? bytes : 1, c->stream), "memset");
    return st == 0 ? p : NULL;
}

static void *cuda_alloc_host(struct be *be, size_t bytes)
{
    struct cuda_be *c = cuda_of(be);
    void *p = NULL;
    unsigned flags = cudaHostAllocPortable | cudaHostAllocMapped;
    cuda_enter(c);
    if (c->sticky != 0 ||
        cuda_result(c, c->rt->host_alloc(&p, bytes ? bytes : 1, flags), "cudaHostAlloc") != 0)
        return NULL;
    memset(p, 0, bytes);
    push_block(&c->host_blocks, p, bytes);
    return p;
}

static void free_blocks(struct cuda_block *b, cudaError_t (*release)(void *))
{
    for (struct cuda_block *next; b; b = next) {
        next = b->next;
        release(b->p);
        free(b);
    }
}

/* The wait keeps the copy from being overwritten under an earlier kernel. */
int cuda_readable_step(struct cuda_be *c, const struct step **s)
{
    if (cuda_is_pinned(c, *s, sizeof **s))
        return 0;
    if (!c->step_copy) {
        int st = cuda_result(
            c, c->rt->host_alloc((void **)&c->step_copy, sizeof **s, cudaHostAllocMapped),
            "cudaHostAlloc");
        if (st != 0)
            return st;
    }
    int st = cuda_result(c, c->rt->stream_sync(c->stream), "stream synchronize");
    memcpy(c->step_copy, *s, sizeof **s);
    *s = c->step_copy;
    return st;
}

static void cuda_close(struct be *be)
{
    struct cuda_be *c = cuda_of(be);
    cuda_enter(c);
    if (c->stream)
        c->rt->stream_sync(c->stream);
    cuda_graphs_close(c);
    cuda_shares_close(c);
    cuda_gemm_close(c);
    cuda_stage_close(c);
    if (c->arrived)
        c->rt->release(c->arrived);
    if (c->step_copy)
        c->rt->host_free(c->step_copy);
    for (int i = 0; i < MAX_INFLIGHT; i++)
        if (c->mark[i])
            c->rt->event_destroy(c->mark[i]);
    if (c->moved)
        c->rt->event_destroy(c->moved);
    free_blocks(c->device_blocks, c->rt->release);
    free_blocks(c->host_blocks, c->rt->host_free);
    if (c->stream)
        c->rt->stream_destroy(c->stream);
    free(c);
    be->priv = NULL;
}

static void cuda_seal(struct be *be)
{
    cuda_stage_close(cuda_of(be));
}

static int copy(struct be *be, void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind)
{
    struct cuda_be *c = cuda_of(be);
    if (c->sticky != 0)
        return ST_DEVICE;
    if (bytes == 0)
        return 0;
    cuda_enter(c);
    return cuda_result(c, c->rt->memcpy_async(dst, src, bytes, kind, c->stream), "memcpy");
}

static int cuda_upload(struct be *be, void *dst, const void *src, size_t bytes)
{
    return copy(be, dst, src, bytes, cudaMemcpyHostToDevice);
}

static int cuda_download(struct be *be, void *dst, const void *src, size_t bytes)
{
    return copy(be, dst, src, bytes, cudaMemcpyDeviceToHost);
}

static int cuda_sync(struct be *be)
{
    struct cuda_be *c = cuda_of(be);
    if (c->sticky != 0)
        return ST_DEVICE;
    cuda_enter(c);
    return cuda_result(c, c->rt->stream_sync(c->stream), "stream synchronize");
}

static size_t attn_work_bytes(struct be *be, int32_t max_rows, int32_t n_heads, int32_t head_dim)
{
    (void)be;
    return cuda_attn_work_bytes(max_rows, n_heads, head_dim);
}

static size_t sample_work_bytes(struct be *be, int32_t max_rows, int32_t vocab)
{
    (void)be;
    return cuda_sample_work_bytes(max_rows, vocab);
}

static int is_slot(int slot)
{
    return slot >= 0 && slot < MAX_INFLIGHT;
}

static int cuda_mark(struct be *be, int slot)
{
    struct cuda_be *c = cuda_of(be);
    if (!is_slot(slot))
        return ST_INVALID_VALUE;
    if (c->sticky != 0)
        return ST_DEVICE;
    return cuda_result(c, c->rt->event_record(c->mark[slot], c->stream), "event record");
}

static int cuda_wait(struct be *be, int slot)
{
    struct cuda_be *c = cuda_of(be);
    if (!is_slot(slot))
        return ST_INVALID_VALUE;
    if (c->sticky != 0)
        return ST_DEVICE;
    cuda_enter(c);
    return cuda_result(c, c->rt->event_sync(c->mark[slot]), "event synchronize");
}

/* A failed device is "ready": the wait that follows reports it. */
static int cuda_ready(struct be *be, int slot)
{
    struct cuda_be *c = cuda_of(be);
    if (!is_slot(slot) || c->sticky != 0)
        return 1;
    return cuda_result(c, c->rt->event_query(c->mark[slot]), "event query") != ST_DEVICE_RETRY;
}

static int cuda_open_lane(struct be *lane, struct err *e);

static const struct be_calls cuda_calls = {
    .close = cuda_close,
    .alloc = cuda_alloc,
    .alloc_host = cuda_alloc_host,
    .seal = cuda_seal,
    .load_matrix = cuda_load_matrix,
    .upload = cuda_upload,
    .download = cuda_download,
    .sync = cuda_sync,
    .attn_work_bytes = attn_work_bytes,
    .sample_work_bytes = sample_work_bytes,
    .mark = cuda_mark,
    .wait = cuda_wait,
    .ready = cuda_ready,
    .graph_begin = cuda_graph_begin,
    .graph_end = cuda_graph_end,
    .graph_only_record = cuda_graph_only_record,
    .open_lane = cuda_open_lane,
    .set_share = cuda_set_share,
    .tune_begin = cuda_tune_begin,
    .tune_end = cuda_tune_end,
};

#define X(n) .n = cuda_##n,
static const struct op_table cuda_ops = {OP_LIST(X)};
#undef X

static int open_device(struct cuda_be *c, int index, struct cudaDeviceProp *prop, struct err *e)
{
    int n = 0;
    cudaError_t r = c->rt->device_count(&n);
    if (r != cudaSuccess || n == 0) {
        c->rt->last_error();
        return err_set(e, ST_DEVICE, "no usable NVIDIA GPU: %s",
                       r != cudaSuccess ? c->rt->error_text(r) : "the driver lists none");
    }
    if (index < 0 || index >= n)
        return err_set(e, ST_DEVICE, "GPU %d was asked for, but the driver lists %d", index, n);
    c->device = index;
    r = c->rt->set_device(index);
    if (r == cudaSuccess)
        r = c->rt->properties(prop, index);
    if (r != cudaSuccess)
        return err_set(e, ST_DEVICE, "GPU %d cannot be opened: %s (%s)", index,
                       c->rt->error_text(r), c->rt->error_name(r));
    c->cc = prop->major * 10 + prop->minor;
    c->n_sms = prop->multiProcessorCount;
    c->smem_optin = (int)prop->sharedMemPerBlockOptin;
    if (c->cc < 80)
        return err_set(e, ST_DEVICE, "GPU %d (%s) has compute capability %d.%d; 8.0 is needed",
                       index, prop->name, prop->major, prop->minor);
    return 0;
}

static int open_queues(struct cuda_be *c, struct err *e)
{
    cudaError_t r = c->rt->stream_create(&c->stream, cudaStreamNonBlocking);
    for (int i = 0; r == cudaSuccess && i < MAX_INFLIGHT; i++)
        r = c->rt->event_create(&c->mark[i], cudaEventDisableTiming);
    c->part[0] = (struct cuda_part){.stream = c->stream, .n_sms = c->n_sms};
    if (r == cudaSuccess)
        r = c->rt->event_create(&c->moved, cudaEventDisableTiming);
    if (r == cudaSuccess)
        r = (cudaError_t)cuda_attn_setup();
    if (r == cudaSuccess)
        r = (cudaError_t)cuda_sample_setup();
    c->hopper = c->cc >= 90 && cuda_kernels_arch() >= 90;
    if (r == cudaSuccess)
        r = c->rt->alloc((void **)&c->arrived, (ARRIVED + QUEUE) * sizeof *c->arrived);
    if (r == cudaSuccess)
        r = c->rt->memset_async(c->arrived, 0, (ARRIVED + QUEUE) * sizeof *c->arrived, c->stream);
    if (r != cudaSuccess)
        return err_set(e, ST_DEVICE, "GPU %d cannot be used: %s (%s)", c->device,
                       c->rt->error_text(r), c->rt->error_name(r));
    int st = cuda_gemm_open(c, e);
    return st != 0 ? st : cuda_graphs_open(c);
}

/* The loader's thread, which opened the root. Closing a lane needs its root. */
static int cuda_open_lane(struct be *lane, struct err *e)
{
    struct be *root = lane->root;
    struct cuda_be *c = xalloc(sizeof *c), *r = cuda_of(root);
    size_t before = 0, after = 0, total;
    *c = (struct cuda_be){.root = r,
                          .rt = r->rt,
                          .device = r->device,
                          .n_sms = r->part[0].n_sms,
                          .cc = r->cc,
                          .smem_optin = r->smem_optin};
    lane->priv = c;
    cuda_enter(c);
    int st = cuda_result(c, c->rt->mem_info(&before, &total), "cudaMemGetInfo");
    if (st == 0)
        st = open_queues(c, e);
    if (st == 0) {
        root->info.n_shares = cuda_shares_open(c);
        st = cuda_result(c, c->rt->mem_info(&after, &total), "cudaMemGetInfo");
    }
    if (st != 0) {
        root->info.n_shares = 0;
        cuda_close(lane);
        return e->msg[0] ? st : err_set(e, st, "GPU %d has no room for a second lane", r->device);
    }
    root->info.memory_free -= before > after ? (int64_t)(before - after) : 0;
    lane->op = root->op;
    lane->call = root->call;
    lane->info = root->info;
    return 0;
}

/* What the configured share of the card leaves beside what is in use already, ourselves included.
 */
static int64_t usable(const struct be_config *conf, size_t free_bytes, size_t total)
{
    double share = conf->memory_utilization > 0 ? conf->memory_utilization : 0.92;
    double limit = share * (double)total - (double)(total - free_bytes);
    int64_t left = (int64_t)limit - ((int64_t)RESERVE_MIB << 20);
    return left > 0 ? left : 0;
}

int cuda_open(struct be *be, const struct be_config *conf, struct err *e)
{
    struct cuda_be *c = xalloc(sizeof *c);
    struct cudaDeviceProp prop = {0};
    size_t free_bytes = 0, total = 0;
    c->rt = &cuda_rt_real;
    be->priv = c;
    int st = open_device(c, conf->index, &prop, e);
    if (st == 0)
        st = open_queues(c, e);
    if (st == 0 && cuda_result(c, c->rt->mem_info(&free_bytes, &total), "cudaMemGetInfo") != 0)
        st = err_set(e, ST_DEVICE, "GPU %d does not say how much memory it has", conf->index);
    if (st != 0) {
        cuda_close(be);
        return st;
    }
    be->op = &cuda_ops;
    be->call = &cuda_calls;
    be->info = (struct be_info){
        .kind = BE_CUDA,
        .memory_free = usable(conf, free_bytes, total),
        .act_dt = DT_BF16,
        .weight_dt = DT_BF16,
        .kv_dt = DT_BF16,
        .graphs = conf->graphs != 0,
    };
    snprintf(be->info.name, sizeof be->info.name, "%.40s (GPU %d)", prop.name, conf->index);
    log_info("backend.cuda_open", "gpu=\"%s\" cc=%d.%d sms=%d free_mib=%zu total_mib=%zu",
             prop.name, prop.major, prop.minor, c->n_sms, free_bytes >> 20, total >> 20);
    return 0;
}
