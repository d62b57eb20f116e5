/* gemv.cu - op_gemm for a few rows of activations, where the product is bound by reading weights.
 *
 * Tensor cores with the weights as the 16-row operand straight from global memory: the order of the
 * summed dimension is free as long as both operands share it, so that a lane takes 16 consecutive
 * bytes of a weight row as its part of two k-steps and nothing passes through shared memory. A
 * block owns 16 outputs; its warps take turns over k and are summed in a fixed order.
 */
#include "common.cuh"

namespace
{

enum { WARPS = 8, NT = WARPS * 32, UNROLL = 4, MAX_M = 8 };

/* Sixteen bytes that nothing else will read again. */
__device__ __forceinline__ uint4 load_once(const void *p)
{
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p));
    return v;
}

template <class T, class O>
__global__ void __launch_bounds__(NT) gemv_kernel(O *out, const T *in, const T *w, const T *bias,
                                                  int32_t m, int32_t n_in, int32_t n_out)
{
    __shared__ float part[WARPS][16][MAX_M];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    int32_t n0 = blockIdx.x * 16;
    const T *w0 = w + (size_t)min(n0 + g, n_out - 1) * n_in + t * 8;
    const T *w1 = w + (size_t)min(n0 + g + 8, n_out - 1) * n_in + t * 8;
    const T *x = in + (size_t)min(g, m - 1) * n_in + t * 8;
    float acc[4] = {};
    constexpr int STEP = WARPS * 32, RUN = (UNROLL - 1) * STEP + 32;
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
        load_weights(); /* these need nobody */
    wait_for_previous();
    for (bool more = k + RUN <= n_in; more;) {
        uint4 y[UNROLL];
#pragma unroll
        for (int u = 0; u < UNROLL; u++)
            y[u] = *(const uint4 *)(x + k + u * STEP);
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            uint32_t lo[4] = {a[u].x, b[u].x, a[u].y, b[u].y};
            uint32_t hi[4] = {a[u].z, b[u].z, a[u].w, b[u].w};
            mma16816<T>(acc, lo, y[u].x, y[u].y);
            mma16816<T>(acc, hi, y[u].z, y[u].w);
        }
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
        uint32_t lo[4] = {p.x, q.x, p.y, q.y}, hi[4] = {p.z, q.z, p.w, q.w};
        mma16816<T>(acc, lo, y.x, y.y);
        mma16816<T>(acc, hi, y.z, y.w);
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
        part[warp][g + (i >> 1) * 8][t * 2 + (i & 1)] = acc[i];
    __syncthreads();
    for (int i = threadIdx.x; i < 16 * MAX_M; i += NT) {
        int row = i / 16, n = i % 16;
        if (row >= m || n0 + n >= n_out)
            continue;
        float s = 0.0f;
#pragma unroll
        for (int v = 0; v < WARPS; v++)
            s += part[v][n][row];
        if (bias)
            s += to_f32(bias[n0 + n]);
        if constexpr (sizeof(O) == 4)
            out[(size_t)row * n_out + n0 + n] = s;
        else
            out[(size_t)row * n_out + n0 + n] = from_f32<O>(s);
    }
}

template <class T> int launch(struct cuda_be *c, const struct op_gemm *o)
{
    int blocks = ceil_div(o->n_out, 16);
    if (o->out_dt == DT_F32)
        launch_early(c, gemv_kernel<T, float>, dim3(blocks), NT, 0, (float *)o->out,
                     (const T *)o->in, (const T *)o->w->data, (const T *)o->bias, o->m, o->n_in,
                     o->n_out);
    else if (o->out_dt == o->dt)
        launch_early(c, gemv_kernel<T, T>, dim3(blocks), NT, 0, (T *)o->out, (const T *)o->in,
                     (const T *)o->w->data, (const T *)o->bias, o->m, o->n_in, o->n_out);
    else
        return ST_UNSUPPORTED;
    return cuda_launched(c, "gemv");
}

/* One output per thread. */
template <class T>
__global__ void any_kernel(void *out, const T *in, const T *w, const T *bias, int32_t m,
                           int32_t n_in, int32_t n_out, int32_t out_dt)
{
    int32_t n = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y;
    if (n >= n_out)
        return;
    float s = 0.0f;
    for (int32_t k = 0; k < n_in; k++)
        s += to_f32(in[(size_t)row * n_in + k]) * to_f32(w[(size_t)n * n_in + k]);
    if (bias)
        s += to_f32(bias[n]);
    size_t at = (size_t)row * n_out + n;
    if (out_dt == DT_F32)
        ((float *)out)[at] = s;
    else if (out_dt == DT_BF16)
        ((bf16 *)out)[at] = from_f32<bf16>(s);
    else
        ((f16 *)out)[at] = from_f32<f16>(s);
}

} // namespace

extern "C" int cuda_gemm_any(struct cuda_be *c, const struct op_gemm *o)
{
    dim3 grid(ceil_div(o->n_out, 128), o->m);
    WITH_TYPE(o->dt, any_kernel<T><<<grid, 128, 0, c->stream>>>(
                         o->out, (const T *)o->in, (const T *)o->w->data, (const T *)o->bias, o->m,
                         o->n_in, o->n_out, o->out_dt));
    return cuda_launched(c, "gemm_any");
}

extern "C" int cuda_gemv(struct cuda_be *c, const struct op_gemm *o)
{
    /* long sums over few outputs: cuBLASLt was faster (43.5 against 48.5 us at 14336 -> 4096) */
    if (o->m > MAX_M || o->n_in % 8 != 0 || o->n_in > 2 * (int64_t)o->n_out)
        return ST_UNSUPPORTED;
    WITH_TYPE(o->dt, return launch<T>(c, o));
}
