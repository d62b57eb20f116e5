/* SPDX-License-Identifier: Apache-2.0 */
/* gemv.cu - op_gemm for a few rows of activations, where the product is bound by reading weights.
 *
 * Tensor cores with the weights as the 16-row operand straight from global memory: the order of the
 * summed dimension is free as long as both operands share it, so that a lane takes 16 consecutive
 * bytes of a weight row as its part of two k-steps and nothing passes through shared memory. A
 * block owns 16 outputs; its warps take turns over k and are summed in a fixed order.
 */
#include "common.cuh"
#include "gemm.h"

namespace
{

/* UNROLL: loads of each weight row in flight; MAX_M: most rows of activations, the columns of an
 * mma tile. A step of a warp is 32 elements of k; the warps of a block have STEP of them. */
enum { WARPS = 8, NT = WARPS * 32, UNROLL = 4, MAX_M = 8, STEP = WARPS * 32 };

/* out = in @ w^T + bias, shapes as in op_gemm. */
template <class T, class O> struct product {
    O *out;
    const T *in, *w, *bias;
    int32_t m, n_in, n_out;
};

/* Sixteen bytes that nothing else will read again. */
__device__ __forceinline__ uint4 load_once(const void *p)
{
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p));
    return v;
}

/* acc += 32 elements of k: a lane's 16 bytes of weight rows g and g + 8, and of activations. */
template <class T> __device__ __forceinline__ void multiply(float *acc, uint4 w0, uint4 w1, uint4 x)
{
    uint32_t lo[4] = {w0.x, w1.x, w0.y, w1.y}, hi[4] = {w0.z, w1.z, w0.w, w1.w};
    mma16816<T>(acc, lo, x.x, x.y);
    mma16816<T>(acc, hi, x.z, x.w);
}

/* The warp's share of the sums of 16 outputs. w0, w1, x: the lane's place in two weight rows and in
 * a row of activations. */
template <class T>
__device__ __forceinline__ void sum_over_k(float *acc, const T *w0, const T *w1, const T *x,
                                           int32_t n_in, int warp, int t)
{
    constexpr int RUN = (UNROLL - 1) * STEP + 32;
    int32_t k = warp * 32;
    uint4 a[UNROLL], b[UNROLL];
    auto load_weights = [&]() {
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            a[u] = load_once(w0 + k + u * STEP);
            b[u] = load_once(w1 + k + u * STEP);
        }
    };
    let_next_start();
    if (k + RUN <= n_in)
        load_weights(); /* weights never change: no need to wait for the kernel before */
    wait_for_previous();
    for (bool more = k + RUN <= n_in; more;) {
        uint4 y[UNROLL];
#pragma unroll
        for (int u = 0; u < UNROLL; u++)
            y[u] = *(const uint4 *)(x + k + u * STEP);
#pragma unroll
        for (int u = 0; u < UNROLL; u++)
            multiply<T>(acc, a[u], b[u], y[u]);
        k += UNROLL * STEP;
        more = k + RUN <= n_in;
        if (more)
            load_weights();
    }
    for (; k < n_in; k += STEP) { /* n_in is a multiple of 8: a lane has all of its 8 or none */
        uint4 zero = make_uint4(0, 0, 0, 0);
        bool ok = k + t * 8 < n_in;
        uint4 p = ok ? load_once(w0 + k) : zero, q = ok ? load_once(w1 + k) : zero;
        uint4 y = ok ? *(const uint4 *)(x + k) : zero;
        multiply<T>(acc, p, q, y);
    }
}

/* The warps' shares added up in a fixed order, and the bias: outputs n0 .. n0 + 15 of all rows. */
template <class T, class O>
__device__ __forceinline__ void store_sums(const product<T, O> &o, const float (*part)[16][MAX_M],
                                           int32_t n0)
{
    for (int i = threadIdx.x; i < 16 * MAX_M; i += NT) {
        int row = i / 16, n = i % 16;
        if (row >= o.m || n0 + n >= o.n_out)
            continue;
        float s = 0.0f;
#pragma unroll
        for (int v = 0; v < WARPS; v++)
            s += part[v][n][row];
        if (o.bias)
            s += to_f32(o.bias[n0 + n]);
        o.out[(size_t)row * o.n_out + n0 + n] = from_f32<O>(s);
    }
}

/* Outputs and rows beyond n_out and m read the last one and are not stored. */
template <class T, class O> __global__ void __launch_bounds__(NT) gemv_kernel(product<T, O> o)
{
    __shared__ float part[WARPS][16][MAX_M];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    int32_t n0 = blockIdx.x * 16;
    const T *w0 = o.w + (size_t)min(n0 + g, o.n_out - 1) * o.n_in + t * 8;
    const T *w1 = o.w + (size_t)min(n0 + g + 8, o.n_out - 1) * o.n_in + t * 8;
    const T *x = o.in + (size_t)min(g, o.m - 1) * o.n_in + t * 8;
    float acc[4] = {};
    sum_over_k(acc, w0, w1, x, o.n_in, warp, t);
#pragma unroll
    for (int i = 0; i < 4; i++)
        part[warp][g + (i >> 1) * 8][t * 2 + (i & 1)] = acc[i];
    __syncthreads();
    store_sums(o, part, n0);
}

template <class T, class O> product<T, O> product_of(const struct op_gemm *o)
{
    return {.out = (O *)o->out,
            .in = (const T *)o->in,
            .w = (const T *)o->w->data,
            .bias = (const T *)o->bias,
            .m = o->m,
            .n_in = o->n_in,
            .n_out = o->n_out};
}

template <class T> int launch(struct cuda_be *c, const struct op_gemm *o)
{
    dim3 blocks(ceil_div(o->n_out, 16));
    if (o->out_dt == DT_F32)
        launch_early(c, gemv_kernel<T, float>, blocks, NT, 0, product_of<T, float>(o));
    else if (o->out_dt == o->dt)
        launch_early(c, gemv_kernel<T, T>, blocks, NT, 0, product_of<T, T>(o));
    else
        return ST_UNSUPPORTED;
    return cuda_launched(c, "gemv");
}

/* Any shape and output type: one output per thread. */
template <class T> __global__ void any_kernel(product<T, void> o, int32_t out_dt)
{
    int32_t n = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y;
    if (n >= o.n_out)
        return;
    float s = 0.0f;
    for (int32_t k = 0; k < o.n_in; k++)
        s += to_f32(o.in[(size_t)row * o.n_in + k]) * to_f32(o.w[(size_t)n * o.n_in + k]);
    if (o.bias)
        s += to_f32(o.bias[n]);
    size_t at = (size_t)row * o.n_out + n;
    if (out_dt == DT_F32)
        ((float *)o.out)[at] = s;
    else if (out_dt == DT_BF16)
        ((bf16 *)o.out)[at] = from_f32<bf16>(s);
    else
        ((f16 *)o.out)[at] = from_f32<f16>(s);
}

} // namespace

extern "C" int cuda_gemm_any(struct cuda_be *c, const struct op_gemm *o)
{
    dim3 grid(ceil_div(o->n_out, 128), o->m);
    WITH_TYPE(o->dt, any_kernel<T><<<grid, 128, 0, c->stream>>>(product_of<T, void>(o), o->out_dt));
    return cuda_launched(c, "gemm_any");
}

extern "C" int cuda_gemv(struct cuda_be *c, const struct op_gemm *o)
{
    /* long sums over few outputs: cuBLASLt was faster (43.5 against 48.5 us at 14336 -> 4096) */
    if (o->m > MAX_M || o->n_in % 8 != 0 || o->n_in > 2 * (int64_t)o->n_out)
        return ST_UNSUPPORTED;
    WITH_TYPE(o->dt, return launch<T>(c, o));
}
