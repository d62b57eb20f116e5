/* SPDX-License-Identifier: Apache-2.0 */
/* gemm.c - op_gemm on cuBLASLt, which is opened at run time: descriptors and algorithms per shape.
 *
 * Row-major out[m, n_out] = in[m, n_in] w[n_out, n_in]^T is, column-major, D = W^T X with W as the
 * transposed left operand. The number of rows is no leading dimension, so one algorithm serves a
 * whole bucket of m: it is chosen at the top of the bucket, on the first call, from the library's
 * heuristics, deterministically, and kept. Engine thread, or the loader thread before the seal.
 */
#include "gemm.h"

#include "gemm_plan.h"
#include "mem.h"

#include <stdlib.h>
#include <string.h>

static int start_library(struct cuda_be *c, struct cuda_gemm *g, struct err *e)
{
    size_t most = GEMM_WORKSPACE;
    int st = cuda_lt_load(&g->lt, e);
    if (st != 0)
        return st;
    if (cuda_result(c, c->rt->alloc(&g->workspace, GEMM_WORKSPACE), "cudaMalloc") != 0)
        return err_set(e, ST_NOMEM, "no room for %d MiB of cuBLASLt workspace",
                       GEMM_WORKSPACE >> 20);
    cublasStatus_t r = g->lt.cublasLtCreate(&g->handle);
    if (r == CUBLAS_STATUS_SUCCESS)
        r = g->lt.cublasLtMatmulPreferenceCreate(&g->pref);
    if (r == CUBLAS_STATUS_SUCCESS)
        r = g->lt.cublasLtMatmulPreferenceSetAttribute(
            g->pref, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most, sizeof most);
    if (r != CUBLAS_STATUS_SUCCESS)
        return err_set(e, ST_DEVICE, "cuBLASLt %zu does not start: status %d",
                       g->lt.cublasLtGetVersion(), (int)r);
    return 0;
}

int cuda_gemm_open(struct cuda_be *c, struct err *e)
{
    struct cuda_gemm *g = xalloc(sizeof *g);
    c->gemm = g;
    g->plans = c->root ? c->root->gemm->plans : xalloc(sizeof *g->plans);
    return start_library(c, g, e);
}

void cuda_gemm_close(struct cuda_be *c)
{
    struct cuda_gemm *g = c->gemm;
    if (!g)
        return;
    if (g->pref)
        g->lt.cublasLtMatmulPreferenceDestroy(g->pref);
    if (g->handle)
        g->lt.cublasLtDestroy(g->handle);
    if (g->workspace)
        c->rt->release(g->workspace);
    if (!c->root)
        free(g->plans);
    free(g);
    c->gemm = NULL;
}

static cudaDataType_t lt_type(int32_t dt)
{
    return dt == DT_BF16 ? CUDA_R_16BF : dt == DT_F16 ? CUDA_R_16F : CUDA_R_32F;
}

static void call_fini(struct cuda_gemm *g, struct gemm_call *k)
{
    if (k->d)
        g->lt.cublasLtMatrixLayoutDestroy(k->d);
    if (k->b)
        g->lt.cublasLtMatrixLayoutDestroy(k->b);
    if (k->a)
        g->lt.cublasLtMatrixLayoutDestroy(k->a);
    if (k->op)
        g->lt.cublasLtMatmulDescDestroy(k->op);
}

static cublasStatus_t set_bias(struct cuda_gemm *g, struct gemm_call *k, const struct op_gemm *o)
{
    cublasLtEpilogue_t ep = CUBLASLT_EPILOGUE_BIAS;
    cudaDataType_t type = lt_type(o->dt);
    cublasStatus_t r = g->lt.cublasLtMatmulDescSetAttribute(k->op, CUBLASLT_MATMUL_DESC_EPILOGUE,
                                                            &ep, sizeof ep);
    if (r == CUBLAS_STATUS_SUCCESS)
        r = g->lt.cublasLtMatmulDescSetAttribute(k->op, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &type,
                                                 sizeof type);
    if (r == CUBLAS_STATUS_SUCCESS)
        r = g->lt.cublasLtMatmulDescSetAttribute(k->op, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &o->bias,
                                                 sizeof o->bias);
    return r;
}

/* On a part of the card, tell the library how many processors there are. */
static cublasStatus_t set_sms(const struct cuda_be *c, struct gemm_call *k)
{
    int32_t n = c->n_sms;
    return c->share == 0 ? CUBLAS_STATUS_SUCCESS
                         : c->gemm->lt.cublasLtMatmulDescSetAttribute(
                               k->op, CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET, &n, sizeof n);
}

static cublasStatus_t call_init(struct cuda_be *c, struct gemm_call *k, const struct op_gemm *o,
                                int32_t m)
{
    struct cuda_gemm *g = c->gemm;
    cublasOperation_t t = CUBLAS_OP_T;
    cudaDataType_t in = lt_type(o->dt), out = lt_type(o->out_dt);
    uint64_t n_in = (uint64_t)o->n_in, n_out = (uint64_t)o->n_out;
    *k = (struct gemm_call){0};
    cublasStatus_t r = g->lt.cublasLtMatmulDescCreate(&k->op, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (r == CUBLAS_STATUS_SUCCESS)
        r = g->lt.cublasLtMatmulDescSetAttribute(k->op, CUBLASLT_MATMUL_DESC_TRANSA, &t, sizeof t);
    if (r == CUBLAS_STATUS_SUCCESS)
        r = set_sms(c, k);
    if (r == CUBLAS_STATUS_SUCCESS && o->bias)
        r = set_bias(g, k, o);
    if (r == CUBLAS_STATUS_SUCCESS)
        r = g->lt.cublasLtMatrixLayoutCreate(&k->a, in, n_in, n_out, o->n_in);
    if (r == CUBLAS_STATUS_SUCCESS)
        r = g->lt.cublasLtMatrixLayoutCreate(&k->b, in, n_in, (uint64_t)m, o->n_in);
    if (r == CUBLAS_STATUS_SUCCESS)
        r = g->lt.cublasLtMatrixLayoutCreate(&k->d, out, n_out, (uint64_t)m, o->n_out);
    return r;
}

struct gemm_plan *cuda_gemm_find(struct gemm_plans *t, const struct gemm_plan *want)
{
    uint32_t h = (uint32_t)want->n_in * 2654435761u ^ (uint32_t)want->n_out * 40503u ^
                 (uint32_t)want->bucket * 97u ^
                 (uint32_t)(want->n_sms * 27 + want->dt * 9 + want->out_dt * 3 + want->has_bias);
    for (int i = 0; i < MAX_GEMM_PLANS; i++) {
        struct gemm_plan *p = &t->plan[(h + (uint32_t)i) % MAX_GEMM_PLANS];
        if (p->bucket == 0 ||
            (p->bucket == want->bucket && p->n_in == want->n_in && p->n_out == want->n_out &&
             p->dt == want->dt && p->out_dt == want->out_dt && p->has_bias == want->has_bias &&
             p->n_sms == want->n_sms))
            return p;
    }
    return NULL;
}

/* The library's first choice for the top of the bucket; while tuning, the fastest. */
static int choose(struct cuda_be *c, const struct op_gemm *o, struct gemm_plan *p)
{
    struct cuda_gemm *g = c->gemm;
    struct gemm_call k;
    cublasLtMatmulHeuristicResult_t found[MAX_GEMM_CHOICES];
    int n = 0, best = 0, most = g->tune ? MAX_GEMM_CHOICES : 1;
    cublasStatus_t r = call_init(c, &k, o, p->bucket);
    if (r == CUBLAS_STATUS_SUCCESS)
        r = g->lt.cublasLtMatmulAlgoGetHeuristic(g->handle, k.op, k.a, k.b, k.d, k.d, g->pref, most,
                                                 found, &n);
    if (r == CUBLAS_STATUS_SUCCESS && n > 1 && o->m == p->bucket)
        best = cuda_tune_pick(c, &k, o, found, n);
    call_fini(g, &k);
    if (r == CUBLAS_STATUS_NOT_SUPPORTED || r == CUBLAS_STATUS_INVALID_VALUE ||
        (r == CUBLAS_STATUS_SUCCESS && n < 1)) {
        p->workspace = NO_ALGORITHM;
        return 0;
    }
    if (r == CUBLAS_STATUS_SUCCESS) {
        p->algo = found[best].algo;
        p->workspace = found[best].workspaceSize;
    }
    return cuda_lt_result(c, r, "cublasLtMatmulAlgoGetHeuristic");
}

/* Can the library do what the file says? */
static bool still_good(struct cuda_be *c, const struct op_gemm *o, struct gemm_plan *p)
{
    struct cuda_gemm *g = c->gemm;
    struct gemm_call k;
    cublasLtMatmulHeuristicResult_t r;
    bool ok = call_init(c, &k, o, p->bucket) == CUBLAS_STATUS_SUCCESS &&
              g->lt.cublasLtMatmulAlgoCheck(g->handle, k.op, k.a, k.b, k.d, k.d, &p->algo, &r) ==
                  CUBLAS_STATUS_SUCCESS &&
              r.workspaceSize <= GEMM_WORKSPACE;
    call_fini(g, &k);
    p->workspace = ok ? r.workspaceSize : 0;
    p->unchecked = false;
    return ok;
}

static int get_plan(struct cuda_be *c, const struct op_gemm *o, struct gemm_plan *out)
{
    struct gemm_plans *t = c->gemm->plans;
    struct gemm_plan want = {.bucket = gemm_bucket(o->m),
                             .n_in = o->n_in,
                             .n_out = o->n_out,
                             .dt = o->dt,
                             .out_dt = o->out_dt,
                             .has_bias = o->bias != NULL,
                             .n_sms = c->n_sms};
    struct gemm_plan *p = cuda_gemm_find(t, &want);
    if (p && p->bucket != 0 && (!p->unchecked || still_good(c, o, p))) {
        *out = *p;
        return 0;
    }
    int st = choose(c, o, &want);
    if (st == 0 && p && (p->bucket != 0 || t->n < MAX_GEMM_PLANS - 1)) {
        t->n += p->bucket == 0;
        *p = want;
    }
    *out = want;
    return st;
}

cublasStatus_t cuda_gemm_run(struct cuda_be *c, const struct gemm_call *k, const struct op_gemm *o,
                             const cublasLtMatmulAlgo_t *algo)
{
    const struct cuda_gemm *g = c->gemm;
    float one = 1.0f, zero = 0.0f;
    return g->lt.cublasLtMatmul(g->handle, k->op, &one, o->w->data, k->a, o->in, k->b, &zero,
                                o->out, k->d, o->out, k->d, algo, g->workspace, GEMM_WORKSPACE,
                                c->stream);
}

static int gemm_lt(struct cuda_be *c, const struct op_gemm *o)
{
    struct gemm_plan p;
    struct gemm_call k;
    int st = get_plan(c, o, &p);
    if (st != 0)
        return st;
    if (p.workspace == NO_ALGORITHM)
        return ST_UNSUPPORTED;
    if (c->gemm->tune) /* it is chosen, and nobody wants the product */
        return 0;
    cublasStatus_t r = call_init(c, &k, o, o->m);
    if (r == CUBLAS_STATUS_SUCCESS)
        r = cuda_gemm_run(c, &k, o, &p.algo);
    call_fini(c->gemm, &k);
    return cuda_lt_result(c, r, "cublasLtMatmul");
}

int cuda_gemm(struct be *be, const struct op_gemm *o)
{
    struct cuda_be *c = cuda_of(be);
    int st = opcheck_gemm(o);
    if (st != 0 || o->m == 0)
        return st;
    if (c->sticky != 0)
        return ST_DEVICE;
    st = cuda_gemv(c, o);
    if (st == ST_UNSUPPORTED)
        st = gemm_lt(c, o);
    return st == ST_UNSUPPORTED ? cuda_gemm_any(c, o) : st;
}
