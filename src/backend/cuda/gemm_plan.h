/* SPDX-License-Identifier: Apache-2.0 */
/* gemm_plan.h - which algorithm of cuBLASLt a shape of product gets: between gemm.c, which keeps
 * and uses the plans, and gemm_tune.c, which measures and stores them. */
#ifndef QUIRE_CUDA_GEMM_PLAN_H
#define QUIRE_CUDA_GEMM_PLAN_H

#include "cuda_be.h"
#include "lt.h"

enum { GEMM_WORKSPACE = 32 << 20, MAX_GEMM_PLANS = 4096, MAX_GEMM_CHOICES = 8 };
#define NO_ALGORITHM SIZE_MAX

struct gemm_plan {
    int32_t bucket, n_in, n_out, dt, out_dt, has_bias, n_sms; /* bucket 0: none here */
    bool unchecked; /* from a file: the library has not said yet that it can do it */
    cublasLtMatmulAlgo_t algo;
    size_t workspace; /* NO_ALGORITHM: the library has none for this shape */
};

/* A device and its lane have one. Engine thread. */
struct gemm_plans {
    struct gemm_plan plan[MAX_GEMM_PLANS]; /* open addressing by shape */
    int n;
};

struct cuda_gemm {
    struct cuda_lt lt;
    cublasLtHandle_t handle;
    cublasLtMatmulPreference_t pref;
    void *workspace;
    struct gemm_plans *plans;
    struct gemm_tune *tune; /* while products are measured */
};

/* The descriptors of one call; cheap to make, so nothing is shared between calls. */
struct gemm_call {
    cublasLtMatmulDesc_t op;
    cublasLtMatrixLayout_t a, b, d;
};

/* The plan of a shape, or the place where it belongs (its bucket is 0); NULL: the table is full. */
struct gemm_plan *cuda_gemm_find(struct gemm_plans *t, const struct gemm_plan *shape);
/* Enqueue product o as described by *k with this algorithm. */
cublasStatus_t cuda_gemm_run(struct cuda_be *c, const struct gemm_call *k, const struct op_gemm *o,
                             const cublasLtMatmulAlgo_t *algo);

/* be_tune_begin and be_tune_end. */
int cuda_tune_begin(struct be *be, const char *cache);
void cuda_tune_end(struct be *be);
/* While tuning: the fastest of n candidates for o, by time with cold caches; the first where none
 * is clearly faster. */
int cuda_tune_pick(struct cuda_be *c, const struct gemm_call *k, const struct op_gemm *o,
                   const cublasLtMatmulHeuristicResult_t *candidate, int n);

#endif
