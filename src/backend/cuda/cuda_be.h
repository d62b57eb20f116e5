/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_be.h - the CUDA instance behind `struct be`: what its host files and the launchers share.
 *
 * Read by C (src/backend/cuda) and by CUDA C++ (kernels). Every result of the CUDA runtime goes
 * through cuda_result, which judges it (result.c); every call of it from C goes through the table
 * `rt`, so that a test can bring a table of its own on a machine without a GPU (table.c). Kernels
 * launch themselves and ask for their shared memory; their errors come through cuda_launched.
 */
#ifndef QUIRE_CUDA_BE_H
#define QUIRE_CUDA_BE_H

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "backend.h"
#include "backend/calls.h"

/* X(member, function): the part of the runtime that the host files use. */
#define CUDA_RT_LIST(X)                                                                            \
    X(device_count, cudaGetDeviceCount)                                                            \
    X(set_device, cudaSetDevice)                                                                   \
    X(properties, cudaGetDeviceProperties)                                                         \
    X(runtime_version, cudaRuntimeGetVersion)                                                      \
    X(driver_version, cudaDriverGetVersion)                                                        \
    X(mem_info, cudaMemGetInfo)                                                                    \
    X(alloc, cudaMalloc)                                                                           \
    X(release, cudaFree)                                                                           \
    X(host_alloc, cudaHostAlloc)                                                                   \
    X(host_free, cudaFreeHost)                                                                     \
    X(memset_async, cudaMemsetAsync)                                                               \
    X(memcpy_async, cudaMemcpyAsync)                                                               \
    X(stream_create, cudaStreamCreateWithFlags)                                                    \
    X(stream_destroy, cudaStreamDestroy)                                                           \
    X(stream_sync, cudaStreamSynchronize)                                                          \
    X(stream_wait, cudaStreamWaitEvent)                                                            \
    X(entry_point, cudaGetDriverEntryPointByVersion)                                               \
    X(event_create, cudaEventCreateWithFlags)                                                      \
    X(event_destroy, cudaEventDestroy)                                                             \
    X(event_record, cudaEventRecord)                                                               \
    X(event_query, cudaEventQuery)                                                                 \
    X(event_sync, cudaEventSynchronize)                                                            \
    X(event_elapsed, cudaEventElapsedTime)                                                         \
    X(capture_begin, cudaStreamBeginCapture)                                                       \
    X(capture_end, cudaStreamEndCapture)                                                           \
    X(graph_instantiate, cudaGraphInstantiate)                                                     \
    X(graph_launch, cudaGraphLaunch)                                                               \
    X(graph_free, cudaGraphDestroy)                                                                \
    X(exec_free, cudaGraphExecDestroy)                                                             \
    X(last_error, cudaGetLastError)                                                                \
    X(error_name, cudaGetErrorName)                                                                \
    X(error_text, cudaGetErrorString)

#ifndef __cplusplus
struct cuda_rt {
#define X(member, fn) __typeof__(fn) *member;
    CUDA_RT_LIST(X)
#undef X
};
extern const struct cuda_rt cuda_rt_real;
#else
struct cuda_rt;
#endif

struct cuda_block;  /* one allocation: device.c */
struct cuda_gemm;   /* cuBLASLt and the choice of algorithms: gemm.c */
struct cuda_graphs; /* recorded decode steps: graph.c */
struct cuda_shares; /* how the processors can be split: share.c */

enum { ARRIVED = MAX_ROWS * 256, QUEUE = 2, MAX_CUDA_PARTS = 5 };

struct cuda_part {
    cudaStream_t stream;
    int n_sms;
};

struct cuda_be {
    cudaStream_t stream; /* everything is enqueued here, in order: that of part[share] */
    const struct cuda_rt *rt;
    struct cuda_be *root;                  /* of a lane; else NULL */
    struct cuda_part part[MAX_CUDA_PARTS]; /* 0: the whole card; k: this queue's of split k */
    int share;
    cudaEvent_t moved;          /* from one part to another */
    struct cuda_shares *shares; /* of a lane */
    int device, n_sms, cc;      /* n_sms: of part[share]; cc: 10 * major + minor */
    int smem_optin;             /* most bytes of shared memory a block can ask for */
    int sticky;                 /* first fatal cudaError_t; from then on every call fails */
    int capturing;
    int hopper; /* the kernels are code for compute capability 9: clusters, early launches */
    cudaEvent_t mark[MAX_INFLIGHT];
    struct cuda_block *device_blocks, *host_blocks;
    void *stage[2]; /* pinned, for loading; freed by the seal */
    cudaEvent_t stage_done[2];
    int32_t *arrived;       /* [ARRIVED + QUEUE] device counters, zero between launches: of
                               attn_decode, and behind them the queue of attn_prefill */
    struct step *step_copy; /* pinned: a step whose memory the device cannot read */
    struct cuda_gemm *gemm;
    struct cuda_graphs *graphs;
};

static inline struct cuda_be *cuda_of(struct be *be)
{
    return (struct cuda_be *)be->priv;
}

/* Make the device current in the calling thread: first thing on every path that a thread can enter.
 */
void cuda_enter(const struct cuda_be *c);
/* 0, or the ST_* of a CUDA result: ST_DEVICE_RETRY (nothing ran; worth trying again), ST_NOMEM,
 * ST_INTERNAL (this call was refused, the device works on), ST_DEVICE (nothing on this device works
 * any more; remembered and logged once). `what` names the call. */
int cuda_result(struct cuda_be *c, int cuda_error, const char *what);
/* The same for the launch just made. */
int cuda_launched(struct cuda_be *c, const char *what);
/* Is [p, p + bytes) pinned memory of be_alloc_host, readable by kernels at the same address? */
int cuda_is_pinned(const struct cuda_be *c, const void *p, size_t bytes);

/* *s, or where the device cannot read it (tests, never the executor) a copy that it can. */
int cuda_readable_step(struct cuda_be *c, const struct step **s);

#ifdef __cplusplus
}
#endif

#endif
