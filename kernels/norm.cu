/* SPDX-License-Identifier: Apache-2.0 */
/* norm.cu - op_add_rmsnorm: residual += x; out = residual / rms(residual) * weight.
 *
 * One block per row; the row stays in registers between the sum of squares and the scaling, so that
 * each value is read once and written once. The residual is rounded to storage (R: f32, or T)
 * before it is squared, as on the CPU.
 */
#include "common.cuh"

namespace
{

enum { MAX_VECS = 4 }; /* vectors of 8 that a thread keeps */

/* The arguments of op_add_rmsnorm, typed. */
template <class T, class R> struct norm {
    T *out;
    R *residual;
    const T *x;
    const float *weight;
    int32_t dim;
    float eps;
};

/* dim: a multiple of 8, at most MAX_VECS * 8 for each thread. */
template <class T, class R> __global__ void __launch_bounds__(1024) norm_vec(norm<T, R> o)
{
    __shared__ float room[33];
    size_t at = (size_t)blockIdx.x * o.dim;
    float r[MAX_VECS][8], sum = 0.0f;
    int n_vec = o.dim / 8;
    let_next_start();
    wait_for_previous();
#pragma unroll
    for (int v = 0; v < MAX_VECS; v++) {
        int i = v * blockDim.x + threadIdx.x;
        if (i >= n_vec)
            break;
        load8(o.residual + at + i * 8, r[v]);
        if (o.x) {
            float y[8];
            load8(o.x + at + i * 8, y);
            for (int k = 0; k < 8; k++)
                r[v][k] = to_f32(from_f32<R>(r[v][k] + y[k]));
            store8(o.residual + at + i * 8, r[v]);
        }
        for (int k = 0; k < 8; k++)
            sum += r[v][k] * r[v][k];
    }
    float scale = 1.0f / sqrtf(block_sum(sum, room) / (float)o.dim + o.eps);
#pragma unroll
    for (int v = 0; v < MAX_VECS; v++) {
        int i = v * blockDim.x + threadIdx.x;
        if (i >= n_vec)
            break;
        float w[8];
        load8(o.weight + i * 8, w);
        for (int k = 0; k < 8; k++)
            w[k] = r[v][k] * scale * w[k];
        store8(o.out + at + i * 8, w);
    }
}

/* Any width. */
template <class T, class R> __global__ void norm_any(norm<T, R> o)
{
    __shared__ float room[33];
    size_t at = (size_t)blockIdx.x * o.dim;
    float sum = 0.0f;
    for (int i = threadIdx.x; i < o.dim; i += blockDim.x) {
        float r = to_f32(o.residual[at + i]);
        if (o.x) {
            R y = from_f32<R>(r + to_f32(o.x[at + i]));
            o.residual[at + i] = y;
            r = to_f32(y);
        }
        sum += r * r;
    }
    float scale = 1.0f / sqrtf(block_sum(sum, room) / (float)o.dim + o.eps);
    for (int i = threadIdx.x; i < o.dim; i += blockDim.x)
        o.out[at + i] = from_f32<T>(to_f32(o.residual[at + i]) * scale * o.weight[i]);
}

template <class T, class R> void launch(struct cuda_be *c, const struct op_add_rmsnorm *o)
{
    int n_vec = o->dim / 8;
    int threads = n_vec >= 512 && o->n_rows < 512 ? 512 : 256;
    while (threads < 1024 && threads * MAX_VECS < n_vec)
        threads *= 2;
    norm<T, R> n = {.out = (T *)o->out,
                    .residual = (R *)o->residual,
                    .x = (const T *)o->x,
                    .weight = o->weight,
                    .dim = o->dim,
                    .eps = o->eps};
    if (o->dim % 8 == 0 && threads * MAX_VECS >= n_vec)
        launch_early(c, norm_vec<T, R>, dim3(o->n_rows), threads, 0, n);
    else
        norm_any<T, R><<<o->n_rows, 256, 0, c->stream>>>(n);
}

} // namespace

extern "C" int cuda_add_rmsnorm(struct be *be, const struct op_add_rmsnorm *o)
{
    struct cuda_be *c = cuda_of(be);
    int st = opcheck_add_rmsnorm(o);
    if (st != 0 || o->n_rows == 0)
        return st;
    WITH_TYPE(o->dt, if (o->res_dt == DT_F32) launch<T, float>(c, o); else launch<T, T>(c, o));
    return cuda_launched(c, "add_rmsnorm");
}
