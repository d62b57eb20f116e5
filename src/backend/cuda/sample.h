/* SPDX-License-Identifier: Apache-2.0 */
/* sample.h - what the sampler's kernels want of the host beside their launches.
 *
 * Read by C and by CUDA C++ (kernels/sample.cu). */
#ifndef QUIRE_CUDA_SAMPLE_H
#define QUIRE_CUDA_SAMPLE_H

#include "cuda_be.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One-time function attributes (shared memory above 48 KiB): 0 or a cudaError_t. */
int cuda_sample_setup(void);
/* be_sample_work_bytes. */
size_t cuda_sample_work_bytes(int32_t max_rows, int32_t vocab);
/* 10 * major + minor of the code the kernels were compiled to, not of the GPU. */
int cuda_kernels_arch(void);

#ifdef __cplusplus
}
#endif

#endif
