/* SPDX-License-Identifier: Apache-2.0 */
/* attn.h - what the attention kernels want of the host beside their launches.
 *
 * Read by C and by CUDA C++ (kernels). */
#ifndef QUIRE_CUDA_ATTN_H
#define QUIRE_CUDA_ATTN_H

#include "cuda_be.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One-time function attributes (shared memory above 48 KiB) of all attention kernels: 0 or a
 * cudaError_t. */
int cuda_attn_setup(void);
/* be_attn_work_bytes. */
size_t cuda_attn_work_bytes(int32_t max_rows, int32_t n_heads, int32_t head_dim);

#ifdef __cplusplus
}
#endif

#endif
