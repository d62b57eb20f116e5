/* SPDX-License-Identifier: Apache-2.0 */
/* result.c - what a result of CUDA or cuBLASLt means for us: the only place that judges them.
 *
 *   retry     nothing ran, and the same call may work next time          ST_DEVICE_RETRY
 *   no room   an allocation failed; everything else is as it was         ST_NOMEM
 *   refused   the call was not accepted, the device lives on: the        ST_INTERNAL
 *             requests of the step end, the others go on
 *   fatal     the context is lost or its state unknown: remembered,      ST_DEVICE
 *             logged once, and no call reaches the device any more
 *
 * What is not known to be harmless is fatal. Any thread that may call the device.
 */
#include "log.h"
#include "lt.h"

enum verdict { FINE, RETRY, NO_ROOM, REFUSED, FATAL };

static enum verdict judge_cuda(cudaError_t r)
{
    switch (r) {
    case cudaSuccess:
        return FINE;
    case cudaErrorNotReady:
    case cudaErrorSystemNotReady:
    /* a recording that did not come about; graph.c goes on without it */
    case cudaErrorStreamCaptureUnsupported:
    case cudaErrorStreamCaptureInvalidated:
    case cudaErrorStreamCaptureImplicit:
    case cudaErrorStreamCaptureIsolation:
    case cudaErrorStreamCaptureMerge:
    case cudaErrorStreamCaptureUnmatched:
    case cudaErrorStreamCaptureUnjoined:
    case cudaErrorStreamCaptureWrongThread:
    case cudaErrorGraphExecUpdateFailure:
        return RETRY;
    case cudaErrorMemoryAllocation:
        return NO_ROOM;
    case cudaErrorInvalidValue:
    case cudaErrorInvalidConfiguration:
    case cudaErrorLaunchOutOfResources:
    case cudaErrorNotSupported:
        return REFUSED;
    default:
        return FATAL;
    }
}

static enum verdict judge_lt(cublasStatus_t r)
{
    switch (r) {
    case CUBLAS_STATUS_SUCCESS:
        return FINE;
    case CUBLAS_STATUS_ALLOC_FAILED:
        return NO_ROOM;
    case CUBLAS_STATUS_INVALID_VALUE:
        return REFUSED;
    default:
        return FATAL;
    }
}

static int answer(struct cuda_be *c, enum verdict v, int code, const char *what, const char *name,
                  const char *text)
{
    static const int status[] = {0, ST_DEVICE_RETRY, ST_NOMEM, ST_INTERNAL, ST_DEVICE};
    if (v == REFUSED)
        log_error("backend.cuda_error", "call=\"%s\" code=%d error=%s text=\"%s\" state=refused",
                  what, code, name, text);
    if (v == FATAL && c->sticky == 0) {
        c->sticky = code;
        log_error("backend.cuda_error", "call=\"%s\" code=%d error=%s text=\"%s\" state=failed",
                  what, code, name, text);
    }
    return status[v];
}

int cuda_result(struct cuda_be *c, int r, const char *what)
{
    if (r == cudaSuccess)
        return 0;
    c->rt->last_error(); /* clear what is clearable, so that it is not blamed on a later call */
    return answer(c, judge_cuda((cudaError_t)r), r, what, c->rt->error_name((cudaError_t)r),
                  c->rt->error_text((cudaError_t)r));
}

int cuda_launched(struct cuda_be *c, const char *what)
{
    if (c->sticky != 0)
        return ST_DEVICE;
    return cuda_result(c, c->rt->last_error(), what);
}

int cuda_lt_result(struct cuda_be *c, cublasStatus_t r, const char *what)
{
    if (r == CUBLAS_STATUS_SUCCESS)
        return 0;
    c->rt->last_error();
    if (r == CUBLAS_STATUS_NOT_SUPPORTED)
        return ST_UNSUPPORTED;
    return answer(c, judge_lt(r), (int)r, what, "cublas", "a status of cuBLASLt");
}
