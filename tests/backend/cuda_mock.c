/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_mock.c - see cuda_mock.h. */
#include "cuda_mock.h"

#include "attn.h"
#include "gemm.h"
#include "lt.h"
#include "ops.h"
#include "sample.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mock mock;

/* One allocation, device or host: a header before the bytes. */
struct block {
    size_t bytes;
    size_t *counter;
    char pad[256 - sizeof(size_t) - sizeof(size_t *)];
};
struct recording {
    struct op_sample sample;
    int n_launches, has_sample;
};

static int lost;
static cudaError_t pending; /* of the last launch */
static struct recording *recording;

void mock_reset(void)
{
    mock = (struct mock){.n_devices = 1,
                         .cc = 90,
                         .has_lt = 1,
                         .memory = (size_t)1 << 40,
                         .fail_name = "",
                         .fail_at = -1,
                         .fail_times = 1};
    lost = 0;
    pending = cudaSuccess;
    recording = NULL;
}

/* Every call comes through here; what it must answer. */
static int step(const char *name, int releases)
{
    mock.n_calls++;
    if (lost) {
        if (!releases && mock.n_after_loss++ == 0)
            snprintf(mock.after_loss, sizeof mock.after_loss, "%s", name);
        return lost;
    }
    if (releases || !strstr(name, mock.fail_name))
        return 0;
    int64_t n = mock.n_matching++;
    if (mock.fail_at < 0 || n < mock.fail_at || n >= mock.fail_at + mock.fail_times)
        return 0;
    if (mock.n_failed++ == 0)
        snprintf(mock.failed, sizeof mock.failed, "%s", name);
    if (mock.for_ever)
        lost = mock.fail_error;
    return mock.fail_error;
}

#define CALL(name)                                                                                 \
    do {                                                                                           \
        int r_ = step(name, 0);                                                                    \
        if (r_ != 0)                                                                               \
            return (cudaError_t)r_;                                                                \
    } while (0)

static cudaError_t take(void **p, size_t bytes, size_t *counter)
{
    if (counter == &mock.device_used && bytes > mock.memory - mock.device_used)
        return cudaErrorMemoryAllocation;
    struct block *b = aligned_alloc(256, (sizeof *b + bytes + 255) / 256 * 256);
    if (!b)
        return cudaErrorMemoryAllocation;
    *b = (struct block){.bytes = bytes, .counter = counter};
    memset(b + 1, 0xA5, bytes < 4096 ? bytes : 4096); /* enough to show who relies on zeros */
    *counter += bytes;
    *p = b + 1;
    /* cppcheck-suppress memleak ; *p is its end, give() finds the beginning */
    return cudaSuccess;
}

static cudaError_t give(void *p)
{
    step("release", 1);
    if (p) {
        struct block *b = (struct block *)p - 1;
        *b->counter -= b->bytes;
        free(b);
    }
    return cudaSuccess;
}

void *mock_take(const char *name)
{
    void *p = NULL;
    return step(name, 0) == 0 && take(&p, 1, &mock.host_used) == cudaSuccess ? p : NULL;
}
void mock_give(void *p)
{
    give(p);
}

static cudaError_t m_device_count(int *n)
{
    if (mock.no_driver)
        return (cudaError_t)mock.no_driver;
    CALL("device_count");
    *n = mock.n_devices;
    return cudaSuccess;
}
static cudaError_t m_set_device(int i)
{
    (void)i;
    CALL("set_device");
    return cudaSuccess;
}
static cudaError_t m_properties(struct cudaDeviceProp *p, int i)
{
    (void)i;
    CALL("properties");
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "Mock GPU");
    p->major = mock.cc / 10;
    p->minor = mock.cc % 10;
    p->multiProcessorCount = 132;
    p->sharedMemPerBlockOptin = 232448;
    return cudaSuccess;
}
static cudaError_t m_version(int *v)
{
    CALL("version");
    *v = 13000;
    return cudaSuccess;
}
static cudaError_t m_mem_info(size_t *left, size_t *total)
{
    CALL("mem_info");
    *total = mock.memory;
    *left = mock.memory - mock.device_used;
    return cudaSuccess;
}
static cudaError_t m_alloc(void **p, size_t bytes)
{
    CALL("alloc");
    return take(p, bytes, &mock.device_used);
}
static cudaError_t m_host_alloc(void **p, size_t bytes, unsigned flags)
{
    (void)flags;
    CALL("host_alloc");
    return take(p, bytes, &mock.host_used);
}
static cudaError_t m_memset(void *p, int v, size_t bytes, cudaStream_t s)
{
    (void)s;
    CALL("memset_async");
    memset(p, v, bytes);
    return cudaSuccess;
}
static cudaError_t m_memcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t s)
{
    (void)kind;
    (void)s;
    CALL("memcpy_async");
    memcpy(to, from, bytes);
    return cudaSuccess;
}
static cudaError_t m_stream_create(cudaStream_t *s, unsigned flags)
{
    (void)flags;
    CALL("stream_create");
    void *p = NULL;
    cudaError_t r = take(&p, 1, &mock.host_used);
    *s = p;
    return r;
}
static cudaError_t m_stream_destroy(cudaStream_t s)
{
    return give(s);
}
static cudaError_t m_stream_sync(cudaStream_t s)
{
    (void)s;
    CALL("stream_sync");
    return cudaSuccess;
}
static cudaError_t m_stream_wait(cudaStream_t s, cudaEvent_t e, unsigned flags)
{
    (void)s;
    (void)e;
    (void)flags;
    CALL("stream_wait");
    return cudaSuccess;
}

static cudaError_t m_event_create(cudaEvent_t *e, unsigned flags)
{
    (void)flags;
    CALL("event_create");
    void *p = NULL;
    cudaError_t r = take(&p, 1, &mock.host_used);
    *e = p;
    return r;
}
static cudaError_t m_event_destroy(cudaEvent_t e)
{
    return give(e);
}
static cudaError_t m_event_record(cudaEvent_t e, cudaStream_t s)
{
    (void)e;
    (void)s;
    CALL("event_record");
    return cudaSuccess;
}
static cudaError_t m_event_query(cudaEvent_t e)
{
    (void)e;
    CALL("event_query");
    return cudaSuccess;
}
static cudaError_t m_event_sync(cudaEvent_t e)
{
    (void)e;
    CALL("event_sync");
    return cudaSuccess;
}
static cudaError_t m_event_elapsed(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    (void)from;
    (void)to;
    CALL("event_elapsed");
    *ms = mock.algo == mock.fast_algo ? 1.0f : 2.0f;
    return cudaSuccess;
}
static cudaError_t m_capture_begin(cudaStream_t s, enum cudaStreamCaptureMode mode)
{
    (void)s;
    (void)mode;
    CALL("capture_begin");
    void *p = NULL;
    cudaError_t r = take(&p, sizeof *recording, &mock.host_used);
    recording = p;
    if (r == cudaSuccess)
        memset(recording, 0, sizeof *recording);
    return r;
}
static cudaError_t m_capture_end(cudaStream_t s, cudaGraph_t *g)
{
    (void)s;
    struct recording *r = recording;
    recording = NULL;
    int st = step("capture_end", lost != 0); /* ends the recording even then */
    if (st != 0) {
        give(r);
        *g = NULL;
        return (cudaError_t)st;
    }
    *g = (cudaGraph_t)r;
    return cudaSuccess;
}
static cudaError_t m_graph_instantiate(cudaGraphExec_t *x, cudaGraph_t g, unsigned long long flags)
{
    (void)flags;
    CALL("graph_instantiate");
    void *p = NULL;
    cudaError_t r = take(&p, sizeof(struct recording), &mock.host_used);
    if (r == cudaSuccess) {
        memcpy(p, g, sizeof(struct recording));
        *x = p;
        mock.n_graphs++;
    }
    return r;
}
static void run_sample(const struct op_sample *o)
{
    for (int32_t i = 0; i < o->n_rows; i++) {
        o->token[i] = o->row_out[i] < 0 ? -1 : MOCK_TOKEN;
        o->n_top[i] = 0;
        if (o->row_out[i] >= 0)
            o->last_token[o->row_slot[i]] = MOCK_TOKEN;
    }
}
static cudaError_t m_graph_launch(cudaGraphExec_t x, cudaStream_t s)
{
    (void)s;
    CALL("graph_launch");
    const struct recording *r = (const struct recording *)x;
    if (r->has_sample)
        run_sample(&r->sample);
    mock.n_graph_launches++;
    return cudaSuccess;
}
static cudaError_t m_graph_free(cudaGraph_t g)
{
    return give(g);
}
static cudaError_t m_exec_free(cudaGraphExec_t x)
{
    return give(x);
}
static cudaError_t m_last_error(void)
{
    cudaError_t r = lost ? (cudaError_t)lost : pending;
    pending = cudaSuccess;
    return r;
}
static const char *m_name(cudaError_t r)
{
    (void)r;
    return "mockError";
}
static const char *m_text(cudaError_t r)
{
    return r == cudaErrorInsufficientDriver ? "driver too old" : "injected";
}

const struct cuda_rt cuda_rt_real = {.device_count = m_device_count,
                                     .set_device = m_set_device,
                                     .properties = m_properties,
                                     .runtime_version = m_version,
                                     .driver_version = m_version,
                                     .mem_info = m_mem_info,
                                     .alloc = m_alloc,
                                     .release = give,
                                     .host_alloc = m_host_alloc,
                                     .host_free = give,
                                     .memset_async = m_memset,
                                     .memcpy_async = m_memcpy,
                                     .stream_create = m_stream_create,
                                     .stream_destroy = m_stream_destroy,
                                     .stream_sync = m_stream_sync,
                                     .stream_wait = m_stream_wait,
                                     .entry_point = mock_entry_point,
                                     .event_create = m_event_create,
                                     .event_destroy = m_event_destroy,
                                     .event_record = m_event_record,
                                     .event_query = m_event_query,
                                     .event_sync = m_event_sync,
                                     .event_elapsed = m_event_elapsed,
                                     .capture_begin = m_capture_begin,
                                     .capture_end = m_capture_end,
                                     .graph_instantiate = m_graph_instantiate,
                                     .graph_launch = m_graph_launch,
                                     .graph_free = m_graph_free,
                                     .exec_free = m_exec_free,
                                     .last_error = m_last_error,
                                     .error_name = m_name,
                                     .error_text = m_text};

/* A kernel launch: errors show in the last error, as there. */
static int launch(struct be *be, const char *name)
{
    int r = step(name, 0);
    if (r != 0)
        pending = (cudaError_t)r;
    else if (recording)
        recording->n_launches++;
    else
        mock.n_eager++;
    return cuda_launched(cuda_of(be), name);
}

#define KERNEL(n)                                                                                  \
    int cuda_##n(struct be *be, const struct op_##n *o)                                            \
    {                                                                                              \
        int st = opcheck_##n(o);                                                                   \
        return st != 0 ? st : launch(be, "launch " #n);                                            \
    }
KERNEL(embed)
KERNEL(add_rmsnorm)
KERNEL(rope_kv_write)
KERNEL(attn_prefill)
KERNEL(attn_decode)
KERNEL(silu_mul)
KERNEL(gather)
KERNEL(adjust)
KERNEL(score)
KERNEL(hidden)
KERNEL(copy_pages)

int cuda_sample(struct be *be, const struct op_sample *o)
{
    int st = opcheck_sample(o);
    if (st == 0)
        st = launch(be, "launch sample");
    if (st != 0)
        return st;
    if (recording) {
        recording->sample = *o;
        recording->has_sample = 1;
    } else {
        run_sample(o);
    }
    return 0;
}

/* What sampling reads, and the counts. */
int cuda_step_inputs(struct be *be, const struct op_step_inputs *o)
{
    int st = opcheck_step_inputs(o);
    if (st == 0)
        st = launch(be, "launch step_inputs");
    if (st != 0)
        return st;
    const struct step *s = o->step;
    struct batch *bv = o->bv;
    int32_t pad = o->pad_rows > s->n_rows ? o->pad_rows - s->n_rows : 0;
    bv->n_rows = s->n_rows + pad;
    bv->n_tokens = s->n_tokens + pad;
    bv->max_new = bv->max_kv = 1;
    for (int32_t i = 0; i < bv->n_rows; i++) {
        bv->row_slot[i] = i < s->n_rows ? s->rows[i].row : 0;
        bv->row_out[i] = i < s->n_rows && s->rows[i].want == STEP_WANT_SAMPLE ? i : -1;
    }
    return 0;
}

int cuda_attn_setup(void)
{
    return step("attn_setup", 0);
}
int cuda_sample_setup(void)
{
    return step("sample_setup", 0);
}
int cuda_kernels_arch(void)
{
    return 80;
}
size_t cuda_attn_work_bytes(int32_t max_rows, int32_t n_heads, int32_t head_dim)
{
    return (size_t)max_rows * (size_t)n_heads * (size_t)head_dim;
}
size_t cuda_sample_work_bytes(int32_t max_rows, int32_t vocab)
{
    return (size_t)max_rows * (size_t)vocab * 4;
}
int cuda_gemv(struct cuda_be *c, const struct op_gemm *o)
{
    (void)c;
    (void)o;
    return ST_UNSUPPORTED;
}
int cuda_gemm_any(struct cuda_be *c, const struct op_gemm *o)
{
    (void)c;
    (void)o;
    return ST_UNSUPPORTED;
}

/* cuBLASLt: handles are small allocations, so that a leak shows. */
static cublasStatus_t lt_take(void **p, const char *name)
{
    if (step(name, 0) != 0)
        return CUBLAS_STATUS_EXECUTION_FAILED;
    return take(p, 1, &mock.host_used) == cudaSuccess ? CUBLAS_STATUS_SUCCESS
                                                      : CUBLAS_STATUS_ALLOC_FAILED;
}
static cublasStatus_t lt_give(void *p)
{
    give(p);
    return CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t l_create(cublasLtHandle_t *h)
{
    return lt_take((void **)h, "lt create");
}
static cublasStatus_t l_destroy(cublasLtHandle_t h)
{
    return lt_give(h);
}
static size_t l_version(void)
{
    return 130000;
}
static cublasStatus_t l_desc(cublasLtMatmulDesc_t *d, cublasComputeType_t c, cudaDataType_t t)
{
    (void)c;
    (void)t;
    return lt_take((void **)d, "lt desc");
}
static cublasStatus_t l_desc_free(cublasLtMatmulDesc_t d)
{
    return lt_give(d);
}
static cublasStatus_t l_desc_set(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t a,
                                 const void *v, size_t n)
{
    (void)d;
    (void)a;
    (void)v;
    (void)n;
    return CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t l_layout(cublasLtMatrixLayout_t *l, cudaDataType t, uint64_t rows,
                               uint64_t cols, int64_t ld)
{
    (void)t;
    (void)rows;
    (void)cols;
    (void)ld;
    return lt_take((void **)l, "lt layout");
}
static cublasStatus_t l_layout_free(cublasLtMatrixLayout_t l)
{
    return lt_give(l);
}
static cublasStatus_t l_pref(cublasLtMatmulPreference_t *p)
{
    return lt_take((void **)p, "lt pref");
}
static cublasStatus_t l_pref_free(cublasLtMatmulPreference_t p)
{
    return lt_give(p);
}
static cublasStatus_t l_pref_set(cublasLtMatmulPreference_t p,
                                 cublasLtMatmulPreferenceAttributes_t a, const void *v, size_t n)
{
    (void)p;
    (void)a;
    (void)v;
    (void)n;
    return CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t l_heuristic(cublasLtHandle_t h, cublasLtMatmulDesc_t d,
                                  cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                  cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t e,
                                  cublasLtMatmulPreference_t p, int want,
                                  cublasLtMatmulHeuristicResult_t *r, int *n)
{
    (void)h;
    (void)d;
    (void)a;
    (void)b;
    (void)c;
    (void)e;
    (void)p;
    if (step("lt heuristic", 0) != 0)
        return CUBLAS_STATUS_INTERNAL_ERROR;
    *n = want < 3 ? want : 3;
    for (int i = 0; i < *n; i++) {
        r[i] = (cublasLtMatmulHeuristicResult_t){0};
        r[i].algo.data[0] = (uint64_t)i + 1;
    }
    mock.n_heuristics++;
    return CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t l_check(cublasLtHandle_t h, cublasLtMatmulDesc_t d, cublasLtMatrixLayout_t a,
                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                              cublasLtMatrixLayout_t e, const cublasLtMatmulAlgo_t *algo,
                              cublasLtMatmulHeuristicResult_t *r)
{
    (void)h;
    (void)d;
    (void)a;
    (void)b;
    (void)c;
    (void)e;
    *r = (cublasLtMatmulHeuristicResult_t){0};
    return algo->data[0] >= 1 && algo->data[0] <= 3 ? CUBLAS_STATUS_SUCCESS
                                                    : CUBLAS_STATUS_NOT_SUPPORTED;
}
static cublasStatus_t l_matmul(cublasLtHandle_t h, cublasLtMatmulDesc_t d, const void *alpha,
                               const void *a, cublasLtMatrixLayout_t la, const void *b,
                               cublasLtMatrixLayout_t lb, const void *beta, const void *c,
                               cublasLtMatrixLayout_t lc, void *out, cublasLtMatrixLayout_t ld,
                               const cublasLtMatmulAlgo_t *algo, void *ws, size_t n, cudaStream_t s)
{
    (void)h;
    (void)d;
    (void)alpha;
    (void)a;
    (void)la;
    (void)b;
    (void)lb;
    (void)beta;
    (void)c;
    (void)lc;
    (void)out;
    (void)ld;
    (void)ws;
    (void)n;
    (void)s;
    int r = step("lt matmul", 0);
    mock.algo = (int)algo->data[0];
    return r == 0                       ? CUBLAS_STATUS_SUCCESS
           : r == cudaErrorInvalidValue ? CUBLAS_STATUS_INVALID_VALUE
                                        : CUBLAS_STATUS_EXECUTION_FAILED;
}

int cuda_lt_load(struct cuda_lt *lt, struct err *e)
{
    if (!mock.has_lt)
        return err_set(e, ST_DEVICE, "libcublasLt.so.13 was not found");
    *lt = (struct cuda_lt){.cublasLtCreate = l_create,
                           .cublasLtDestroy = l_destroy,
                           .cublasLtGetVersion = l_version,
                           .cublasLtMatmul = l_matmul,
                           .cublasLtMatmulDescCreate = l_desc,
                           .cublasLtMatmulDescDestroy = l_desc_free,
                           .cublasLtMatmulDescSetAttribute = l_desc_set,
                           .cublasLtMatrixLayoutCreate = l_layout,
                           .cublasLtMatrixLayoutDestroy = l_layout_free,
                           .cublasLtMatmulPreferenceCreate = l_pref,
                           .cublasLtMatmulPreferenceDestroy = l_pref_free,
                           .cublasLtMatmulPreferenceSetAttribute = l_pref_set,
                           .cublasLtMatmulAlgoCheck = l_check,
                           .cublasLtMatmulAlgoGetHeuristic = l_heuristic};
    return 0;
}
