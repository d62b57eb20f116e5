/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_mock.h - a CUDA runtime and a cuBLASLt that exist in host memory only, and fail on demand.
 *
 * Linked in place of src/backend/cuda/table.c and of kernels/, so that the rest of the CUDA backend
 * runs on a machine without a GPU. Kernels do nothing, except that sampling answers MOCK_TOKEN.
 * Copies and recordings take effect at once or at launch. One thread.
 */
#ifndef QUIRE_CUDA_MOCK_H
#define QUIRE_CUDA_MOCK_H

#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>

enum { MOCK_TOKEN = 5 };

struct mock {
    /* what the machine is */
    int n_devices, cc, has_lt; /* cc: 10 * major + minor */
    int no_driver;             /* a cudaError_t of the first call; 0 = there is one */
    size_t memory;             /* of the device */
    /* what goes wrong: call number fail_at of those whose name contains fail_name ("" = any)
     * answers fail_error, fail_times times in a row */
    const char *fail_name;
    int64_t fail_at;
    int fail_times, fail_error;
    int for_ever; /* like a lost context: every later call answers the same */
    /* what was seen */
    int64_t n_calls, n_matching, n_after_loss, n_failed; /* after_loss: but for releases */
    int64_t n_graph_launches, n_graphs, n_eager, n_heuristics;
    int algo;      /* of the last product: 1 to 3 by the library's order */
    int fast_algo; /* the one that takes half the time of the others */
    size_t device_used, host_used;
    char failed[64], after_loss[64]; /* the call that failed first; the first one after a loss */
};
extern struct mock mock;

/* A healthy machine with one large GPU, nothing seen yet. Nothing may be allocated. */
void mock_reset(void);

/* A call of that name that makes something of the driver: what it gives, to be given back by
 * mock_give, or NULL where the call fails. */
void *mock_take(const char *name);
void mock_give(void *p);
__typeof__(cudaGetDriverEntryPointByVersion) mock_entry_point;

#endif
