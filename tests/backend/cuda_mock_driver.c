/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_mock_driver.c - the driver's functions of cuda_mock.h: a card of 132 processors that can be
 * split. */
#include "cuda_mock.h"

#include "cuda_be.h"

#include <cuda.h>
#include <string.h>

static CUresult d_device(CUdevice *d, int i)
{
    *d = i;
    return CUDA_SUCCESS;
}
static CUresult d_resource(CUdevice d, CUdevResource *r, CUdevResourceType type)
{
    (void)d;
    *r = (CUdevResource){.type = type};
    r->sm.smCount = 132;
    return CUDA_SUCCESS;
}
static CUresult d_split(CUdevResource *out, unsigned *n, const CUdevResource *in,
                        CUdevResource *rest, unsigned flags, unsigned least)
{
    (void)flags;
    *out = *rest = *in;
    out->sm.smCount = least;
    rest->sm.smCount = in->sm.smCount - least;
    *n = 1;
    return CUDA_SUCCESS;
}
static CUresult d_desc(CUdevResourceDesc *d, CUdevResource *r, unsigned n)
{
    (void)n;
    *d = (CUdevResourceDesc)r;
    return CUDA_SUCCESS;
}
static CUresult d_ctx(CUgreenCtx *out, CUdevResourceDesc desc, CUdevice d, unsigned flags)
{
    (void)desc;
    (void)d;
    (void)flags;
    *out = mock_take("green_ctx");
    return *out ? CUDA_SUCCESS : CUDA_ERROR_NOT_SUPPORTED;
}
static CUresult d_ctx_destroy(CUgreenCtx g)
{
    mock_give(g);
    return CUDA_SUCCESS;
}
static CUresult d_stream(CUstream *s, CUgreenCtx g, unsigned flags, int priority)
{
    (void)g;
    (void)flags;
    (void)priority;
    *s = mock_take("green_stream");
    return *s ? CUDA_SUCCESS : CUDA_ERROR_NOT_SUPPORTED;
}
cudaError_t mock_entry_point(const char *name, void **fn, unsigned version,
                             unsigned long long flags, enum cudaDriverEntryPointQueryResult *found)
{
    static const struct {
        const char *name;
        void (*fn)(void);
    } known[] = {{"cuDeviceGet", (void (*)(void))d_device},
                 {"cuDeviceGetDevResource", (void (*)(void))d_resource},
                 {"cuDevSmResourceSplitByCount", (void (*)(void))d_split},
                 {"cuDevResourceGenerateDesc", (void (*)(void))d_desc},
                 {"cuGreenCtxCreate", (void (*)(void))d_ctx},
                 {"cuGreenCtxDestroy", (void (*)(void))d_ctx_destroy},
                 {"cuGreenCtxStreamCreate", (void (*)(void))d_stream}};
    (void)version;
    (void)flags;
    *fn = NULL;
    *found = cudaDriverEntryPointSymbolNotFound;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(name, known[i].name) == 0) {
            memcpy(fn, &known[i].fn, sizeof *fn);
            *found = cudaDriverEntryPointSuccess;
        }
    return cudaSuccess;
}
