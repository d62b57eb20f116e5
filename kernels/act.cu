/* SPDX-License-Identifier: Apache-2.0 */
/* act.cu - op_silu_mul: out[i, j] = silu(in[i, j]) * in[i, dim + j]. */
#include "common.cuh"

namespace
{

enum { THREADS = 256 };

__device__ __forceinline__ float silu_mul(float g, float u)
{
    return g / (1.0f + __expf(-g)) * u;
}

/* The arguments of op_silu_mul, typed; a line of blocks (y) per row. */
template <class T> struct silu {
    T *out;
    const T *in;
    int32_t dim;
};

/* dim a multiple of 8: eight outputs per thread. */
template <class T> __global__ void silu_vec(silu<T> o)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    let_next_start();
    wait_for_previous();
    if (i * 8 >= o.dim)
        return;
    float g[8], u[8];
    const T *row = o.in + (size_t)blockIdx.y * 2 * o.dim;
    load8(row + i * 8, g);
    load8(row + o.dim + i * 8, u);
    for (int k = 0; k < 8; k++)
        g[k] = silu_mul(g[k], u[k]);
    store8(o.out + (size_t)blockIdx.y * o.dim + i * 8, g);
}

/* Any width: one output per thread. */
template <class T> __global__ void silu_any(silu<T> o)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    const T *row = o.in + (size_t)blockIdx.y * 2 * o.dim;
    if (i < o.dim)
        o.out[(size_t)blockIdx.y * o.dim + i] = from_f32<T>(
            silu_mul(to_f32(row[i]), to_f32(row[o.dim + i])));
}

template <class T> void launch(struct cuda_be *c, const struct op_silu_mul *o)
{
    silu<T> s = {.out = (T *)o->out, .in = (const T *)o->in, .dim = o->dim};
    if (o->dim % 8 == 0)
        launch_early(c, silu_vec<T>, dim3(ceil_div(o->dim / 8, THREADS), o->n_rows), THREADS, 0, s);
    else
        silu_any<T><<<dim3(ceil_div(o->dim, THREADS), o->n_rows), THREADS, 0, c->stream>>>(s);
}

} // namespace

extern "C" int cuda_silu_mul(struct be *be, const struct op_silu_mul *o)
{
    struct cuda_be *c = cuda_of(be);
    int st = opcheck_silu_mul(o);
    if (st != 0 || o->n_rows == 0)
        return st;
    if (o->n_rows > 65535)
        return ST_UNSUPPORTED;
    WITH_TYPE(o->dt, launch<T>(c, o));
    return cuda_launched(c, "silu_mul");
}
