/* SPDX-License-Identifier: Apache-2.0 */
/* share.c - splits of a GPU between a device and its lane, by green contexts of the driver.
 *
 * The first way to share is not to split: both lanes enqueue to the whole card, and its scheduler
 * gives them what is free. A large batch gets the most done so, at the price of slow decode steps.
 *
 * A green context is a set of streaming multiprocessors (SMs); what is enqueued to a stream of it
 * runs there and nowhere else. Each further split is two of them, one for the lane (decode) and
 * what is left for the root (prefill), each with a stream. A queue is on one of its streams at a
 * time; moving to another waits, on the device, for what the one before still has. Kernels are told
 * how many SMs they have (n_sms), and recordings belong to the share in which they were made.
 *
 * The driver's functions are asked for by name, so that nothing links against it; where one is
 * missing, or the card cannot be split, there are no shares. Loader thread, then engine thread.
 */
#include "share.h"

#include "log.h"
#include "mem.h"

#include <cuda.h>
#include <stdlib.h>

/* Parts of the lane, in eighths of the card; SMs come in groups of GROUP (compute capability 9). */
enum { GROUP = 8, UNSPLIT = 1, N_SPLITS = 3, N_SHARES = UNSPLIT + N_SPLITS, DRIVER_API = 12050 };
static const int eighths[N_SPLITS] = {2, 3, 4};
_Static_assert((int)N_SHARES < (int)MAX_CUDA_PARTS, "a queue has a stream for each split");

#define DRIVER_LIST(X)                                                                             \
    X(cuDeviceGet)                                                                                 \
    X(cuDeviceGetDevResource)                                                                      \
    X(cuDevSmResourceSplitByCount)                                                                 \
    X(cuDevResourceGenerateDesc)                                                                   \
    X(cuGreenCtxCreate)                                                                            \
    X(cuGreenCtxDestroy)                                                                           \
    X(cuGreenCtxStreamCreate)

struct cuda_shares {
#define X(fn) __typeof__(fn) *fn;
    DRIVER_LIST(X)
#undef X
    CUdevice device;
    CUgreenCtx ctx[2 * N_SPLITS];
    int n_ctx;
};

static bool load(struct cuda_shares *s, struct cuda_be *c)
{
    enum cudaDriverEntryPointQueryResult found;
    void *fn = NULL;
#define X(name)                                                                                    \
    if (c->rt->entry_point(#name, &fn, DRIVER_API, cudaEnableDefault, &found) != cudaSuccess ||    \
        found != cudaDriverEntryPointSuccess || !fn)                                               \
        return false;                                                                              \
    *(void **)&s->name = fn;
    DRIVER_LIST(X)
#undef X
    return s->cuDeviceGet(&s->device, c->device) == CUDA_SUCCESS;
}

/* A stream on the SMs of *r, for queue c as its part k. */
static bool add_part(struct cuda_shares *s, struct cuda_be *c, int k, CUdevResource *r)
{
    CUdevResourceDesc desc;
    CUgreenCtx *ctx = &s->ctx[s->n_ctx];
    if (s->cuDevResourceGenerateDesc(&desc, r, 1) != CUDA_SUCCESS ||
        s->cuGreenCtxCreate(ctx, desc, s->device, CU_GREEN_CTX_DEFAULT_STREAM) != CUDA_SUCCESS)
        return false;
    s->n_ctx++;
    CUstream stream;
    if (s->cuGreenCtxStreamCreate(&stream, *ctx, CU_STREAM_NON_BLOCKING, 0) != CUDA_SUCCESS)
        return false;
    c->part[k] = (struct cuda_part){.stream = (cudaStream_t)stream, .n_sms = (int)r->sm.smCount};
    return true;
}

static bool add_split(struct cuda_shares *s, struct cuda_be *lane, int k)
{
    struct cuda_be *root = lane->root;
    unsigned want = (unsigned)(root->part[0].n_sms * eighths[k - UNSPLIT - 1] / 8 / GROUP * GROUP),
             n = 1;
    CUdevResource all, mine, rest;
    if (want < GROUP ||
        s->cuDeviceGetDevResource(s->device, &all, CU_DEV_RESOURCE_TYPE_SM) != CUDA_SUCCESS ||
        s->cuDevSmResourceSplitByCount(&mine, &n, &all, &rest, 0, want) != CUDA_SUCCESS || n != 1 ||
        rest.sm.smCount == 0)
        return false;
    return add_part(s, lane, k, &mine) && add_part(s, root, k, &rest);
}

int cuda_shares_open(struct cuda_be *lane)
{
    struct cuda_shares *s = xalloc(sizeof *s);
    lane->shares = s;
    cuda_enter(lane);
    int n = UNSPLIT;
    if (load(s, lane))
        while (n < N_SHARES && add_split(s, lane, n + 1))
            n++;
    if (n < N_SHARES) {
        cuda_shares_close(lane);
        lane->rt->last_error();
        log_info("backend.cuda_shares", "the processors cannot be split between lanes");
        return 0;
    }
    lane->part[UNSPLIT] = lane->part[0];
    lane->root->part[UNSPLIT] = lane->root->part[0];
    for (int k = 1; k <= n; k++)
        log_info("backend.cuda_shares", "share=%d decode_sms=%d prefill_sms=%d", k,
                 lane->part[k].n_sms, lane->root->part[k].n_sms);
    return n;
}

/* Back to the whole card, and without the streams of the parts. */
static void drop_parts(struct cuda_be *c)
{
    c->stream = c->part[0].stream;
    c->n_sms = c->part[0].n_sms;
    c->share = 0;
    for (int k = 1; k < MAX_CUDA_PARTS; k++) {
        if (c->part[k].stream && c->part[k].stream != c->part[0].stream)
            c->rt->stream_destroy(c->part[k].stream);
        c->part[k] = (struct cuda_part){0};
    }
}

void cuda_shares_close(struct cuda_be *lane)
{
    struct cuda_shares *s = lane->shares;
    if (!s)
        return;
    drop_parts(lane);
    drop_parts(lane->root);
    for (int i = 0; i < s->n_ctx; i++)
        s->cuGreenCtxDestroy(s->ctx[i]);
    free(s);
    lane->shares = NULL;
}

int cuda_set_share(struct be *be, int32_t share)
{
    struct cuda_be *c = cuda_of(be);
    if (c->sticky != 0)
        return ST_DEVICE;
    if (share == UNSPLIT)
        share = 0;
    if (share == c->share)
        return 0;
    cuda_enter(c);
    const struct cuda_part *to = &c->part[share];
    int st = cuda_result(c, c->rt->event_record(c->moved, c->stream), "event record");
    if (st == 0)
        st = cuda_result(c, c->rt->stream_wait(to->stream, c->moved, 0), "stream wait");
    if (st != 0)
        return st;
    c->stream = to->stream;
    c->n_sms = to->n_sms;
    c->share = share;
    return 0;
}
