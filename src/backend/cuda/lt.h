/* SPDX-License-Identifier: Apache-2.0 */
/* lt.h - the part of cuBLASLt that gemm.c uses, as a table: opened at run time, replaceable by
 * tests. Private to src/backend/cuda (and its tests). */
#ifndef QUIRE_CUDA_LT_H
#define QUIRE_CUDA_LT_H

#include "cuda_be.h"

#include <cublasLt.h>

#define LT_LIST(X)                                                                                 \
    X(cublasLtCreate)                                                                              \
    X(cublasLtDestroy)                                                                             \
    X(cublasLtGetVersion)                                                                          \
    X(cublasLtMatmul)                                                                              \
    X(cublasLtMatmulDescCreate)                                                                    \
    X(cublasLtMatmulDescDestroy)                                                                   \
    X(cublasLtMatmulDescSetAttribute)                                                              \
    X(cublasLtMatrixLayoutCreate)                                                                  \
    X(cublasLtMatrixLayoutDestroy)                                                                 \
    X(cublasLtMatmulPreferenceCreate)                                                              \
    X(cublasLtMatmulPreferenceDestroy)                                                             \
    X(cublasLtMatmulPreferenceSetAttribute)                                                        \
    X(cublasLtMatmulAlgoCheck)                                                                     \
    X(cublasLtMatmulAlgoGetHeuristic)

struct cuda_lt {
    void *lib;
#define X(fn) __typeof__(fn) *fn;
    LT_LIST(X)
#undef X
};

/* Find the library and fill the table; ST_DEVICE with a text that says what is missing. It stays
 * mapped: unloading it while the driver lives is asking for trouble. */
int cuda_lt_load(struct cuda_lt *lt, struct err *e);

/* As cuda_result; ST_UNSUPPORTED where the library has nothing for a shape. */
int cuda_lt_result(struct cuda_be *c, cublasStatus_t r, const char *what);

#endif
