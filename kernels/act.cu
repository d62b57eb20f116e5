/* act.cu - op_silu_mul: out[i, j] = silu(in[i, j]) * in[i, dim + j]. */
#include "common.cuh"

namespace
{

enum { THREADS = 256 };

__device__ __forceinline__ float silu_mul(float g, float u)
{
    return g / (1.0f + __expf(-g)) * u;
}

template <class T> __global__ void silu_vec(T *out, const T *in, int32_t dim)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    let_next_start();
    wait_for_previous();
    if (i * 8 >= dim)
        return;
    float g[8], u[8];
    const T *row = in + (size_t)blockIdx.y * 2 * dim;
    load8(row + i * 8, g);
    load8(row + dim + i * 8, u);
    for (int k = 0; k < 8; k++)
        g[k] = silu_mul(g[k], u[k]);
    store8(out + (size_t)blockIdx.y * dim + i * 8, g);
}

template <class T> __global__ void silu_any(T *out, const T *in, int32_t dim)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    const T *row = in + (size_t)blockIdx.y * 2 * dim;
    if (i < dim)
        out[(size_t)blockIdx.y * dim + i] = from_f32<T>(
            silu_mul(to_f32(row[i]), to_f32(row[dim + i])));
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
    bool vec = o->dim % 8 == 0;
    dim3 grid(ceil_div(vec ? o->dim / 8 : o->dim, THREADS), o->n_rows);
    WITH_TYPE(o->dt, if (vec) launch_early(c, silu_vec<T>, grid, THREADS, 0, (T *)o->out,
                                           (const T *)o->in, o->dim);
              else silu_any<T>
              <<<grid, THREADS, 0, c->stream>>>((T *)o->out, (const T *)o->in, o->dim));
    return cuda_launched(c, "silu_mul");
}
