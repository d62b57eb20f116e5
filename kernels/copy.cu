/* SPDX-License-Identifier: Apache-2.0 */
/* copy.cu - op_copy_pages: whole pages inside the pool. Page-major, so a page is one extent. */
#include "common.cuh"

namespace
{

enum { THREADS = 256, VECS = 8 };

__global__ void copy_pages_kernel(uint4 *base, const page_copy *copies, size_t vecs)
{
    page_copy k = copies[blockIdx.x];
    const uint4 *from = base + (size_t)k.src * vecs;
    uint4 *to = base + (size_t)k.dst * vecs;
    size_t i0 = (size_t)blockIdx.y * THREADS * VECS + threadIdx.x;
#pragma unroll
    for (int v = 0; v < VECS; v++)
        if (i0 + v * THREADS < vecs)
            to[i0 + v * THREADS] = from[i0 + v * THREADS];
}

} // namespace

extern "C" int cuda_copy_pages(struct be *be, const struct op_copy_pages *o)
{
    struct cuda_be *c = cuda_of(be);
    int st = opcheck_copy_pages(o);
    if (st != 0 || o->n == 0)
        return st;
    size_t bytes = kv_page_elems(&o->kv) * dtype_size(o->kv.dt);
    if (cuda_is_pinned(c, o->copies, (size_t)o->n * sizeof *o->copies)) {
        dim3 grid(o->n, ceil_div((int64_t)(bytes / 16), THREADS * VECS));
        copy_pages_kernel<<<grid, THREADS, 0, c->stream>>>((uint4 *)o->kv.base, o->copies,
                                                           bytes / 16);
        return cuda_launched(c, "copy_pages");
    }
    char *base = (char *)o->kv.base;
    for (int32_t i = 0; st == 0 && i < o->n; i++)
        st = cuda_result(c,
                         cudaMemcpyAsync(base + (size_t)o->copies[i].dst * bytes,
                                         base + (size_t)o->copies[i].src * bytes, bytes,
                                         cudaMemcpyDeviceToDevice, c->stream),
                         "copy_pages");
    return st;
}
