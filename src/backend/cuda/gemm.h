/* SPDX-License-Identifier: Apache-2.0 */
/* gemm.h - op_gemm: cuBLASLt, and the kernels for what it does badly or not at all.
 *
 * Read by C and by CUDA C++ (kernels/gemv.cu). Engine thread. */
#ifndef QUIRE_CUDA_GEMM_H
#define QUIRE_CUDA_GEMM_H

#include "cuda_be.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Opens the library. On an error cuda_gemm_close releases what there is. */
int cuda_gemm_open(struct cuda_be *c, struct err *e);
void cuda_gemm_close(struct cuda_be *c);

/* kernels/gemv.cu: a few rows of activations; ST_UNSUPPORTED where cuBLASLt shall do it. */
int cuda_gemv(struct cuda_be *c, const struct op_gemm *o);
/* Any shape and type of op_gemm, slowly: what cuBLASLt has no algorithm for. */
int cuda_gemm_any(struct cuda_be *c, const struct op_gemm *o);

#ifdef __cplusplus
}
#endif

#endif
