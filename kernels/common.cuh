/* SPDX-License-Identifier: Apache-2.0 */
/* common.cuh - what the kernels share: storage types, 16-byte vectors, reductions, early launches,
 * asynchronous copies, tensor-core fragments.
 *
 * Matrices, activations and KV are bf16 or f16 here (`T`), never f32; every sum is taken in f32 or
 * better. A launcher (cuda_x, engine thread) checks its arguments with opcheck_x, enqueues on the
 * backend's stream and returns 0 or ST_*; it neither allocates nor waits.
 */
#ifndef QUIRE_COMMON_CUH
#define QUIRE_COMMON_CUH

#include "cuda_be.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>
#include <type_traits>

typedef __nv_bfloat16 bf16;
typedef __half f16;

/* Run the statement with T bound to the storage type dt, or return ST_UNSUPPORTED. */
#define WITH_TYPE(dt, ...)                                                                         \
    do {                                                                                           \
        if ((dt) == DT_BF16) {                                                                     \
            typedef bf16 T;                                                                        \
            __VA_ARGS__;                                                                           \
        } else if ((dt) == DT_F16) {                                                               \
            typedef f16 T;                                                                         \
            __VA_ARGS__;                                                                           \
        } else {                                                                                   \
            return ST_UNSUPPORTED;                                                                 \
        }                                                                                          \
    } while (0)

static inline int ceil_div(int64_t a, int64_t b)
{
    return (int)((a + b - 1) / b);
}

__device__ __forceinline__ float to_f32(bf16 x)
{
    return __bfloat162float(x);
}
__device__ __forceinline__ float to_f32(f16 x)
{
    return __half2float(x);
}
__device__ __forceinline__ float to_f32(float x)
{
    return x;
}
template <class T> __device__ __forceinline__ T from_f32(float x);
template <> __device__ __forceinline__ float from_f32<float>(float x)
{
    return x;
}
template <> __device__ __forceinline__ bf16 from_f32<bf16>(float x)
{
    return __float2bfloat16_rn(x);
}
template <> __device__ __forceinline__ f16 from_f32<f16>(float x)
{
    return __float2half_rn(x);
}

/* Two values as one 32-bit register, the first in the low half. */
template <class T> __device__ __forceinline__ uint32_t pack2(float lo, float hi);
template <> __device__ __forceinline__ uint32_t pack2<bf16>(float lo, float hi)
{
    __nv_bfloat162 v = __floats2bfloat162_rn(lo, hi);
    return *(uint32_t *)&v;
}
template <> __device__ __forceinline__ uint32_t pack2<f16>(float lo, float hi)
{
    __half2 v = __floats2half2_rn(lo, hi);
    return *(uint32_t *)&v;
}
template <class T> __device__ __forceinline__ float2 unpack2(uint32_t v);
template <> __device__ __forceinline__ float2 unpack2<bf16>(uint32_t v)
{
    return make_float2(__uint_as_float(v << 16), __uint_as_float(v & 0xffff0000u));
}
template <> __device__ __forceinline__ float2 unpack2<f16>(uint32_t v)
{
    return __half22float2(*(__half2 *)&v);
}

/* Eight values: one 16-byte access. */
template <class T> __device__ __forceinline__ void load8(const T *p, float *x)
{
    uint4 v = *(const uint4 *)p;
    float2 a = unpack2<T>(v.x), b = unpack2<T>(v.y), c = unpack2<T>(v.z), d = unpack2<T>(v.w);
    x[0] = a.x, x[1] = a.y, x[2] = b.x, x[3] = b.y;
    x[4] = c.x, x[5] = c.y, x[6] = d.x, x[7] = d.y;
}
template <class T> __device__ __forceinline__ void store8(T *p, const float *x)
{
    *(uint4 *)p = make_uint4(pack2<T>(x[0], x[1]), pack2<T>(x[2], x[3]), pack2<T>(x[4], x[5]),
                             pack2<T>(x[6], x[7]));
}
/* Eight f32: two 16-byte accesses. */
__device__ __forceinline__ void load8(const float *p, float *x)
{
    float4 a = ((const float4 *)p)[0], b = ((const float4 *)p)[1];
    x[0] = a.x, x[1] = a.y, x[2] = a.z, x[3] = a.w;
    x[4] = b.x, x[5] = b.y, x[6] = b.z, x[7] = b.w;
}
__device__ __forceinline__ void store8(float *p, const float *x)
{
    ((float4 *)p)[0] = make_float4(x[0], x[1], x[2], x[3]);
    ((float4 *)p)[1] = make_float4(x[4], x[5], x[6], x[7]);
}

/* Eight activations, of type dt, as the type of the pool. */
template <class T> __device__ __forceinline__ uint4 load_q(const void *q, size_t at, int32_t dt)
{
    uint4 v = *(const uint4 *)((const uint16_t *)q + at);
    bool same = (dt == DT_BF16) == std::is_same<T, bf16>::value;
    if (same)
        return v;
    float x[8];
    if (dt == DT_BF16)
        load8((const bf16 *)&v, x);
    else
        load8((const f16 *)&v, x);
    uint4 w;
    store8((T *)&w, x);
    return w;
}
/* Two results as activations of type dt. */
__device__ __forceinline__ uint32_t pack_out(int32_t dt, float a, float b)
{
    return dt == DT_BF16 ? pack2<bf16>(a, b) : pack2<f16>(a, b);
}

template <class V> __device__ __forceinline__ V warp_sum(V x)
{
#pragma unroll
    for (int i = 16; i > 0; i >>= 1)
        x += __shfl_xor_sync(0xffffffffu, x, i);
    return x;
}

/* Sum over the block, the same in every thread; `room` is shared memory of 33 values. Blocks of
 * whole warps. */
template <class V> __device__ __forceinline__ V block_sum(V x, V *room)
{
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, n = blockDim.x >> 5;
    x = warp_sum(x);
    __syncthreads();
    if (lane == 0)
        room[warp] = x;
    __syncthreads();
    if (warp == 0) {
        V y = warp_sum(lane < n ? room[lane] : (V)0);
        if (lane == 0)
            room[32] = y;
    }
    __syncthreads();
    return room[32];
}

/* Programmatic dependent launch. A kernel launched by launch_early may start while the one before
 * it still runs: it may read what never changes (weights) at once, everything else only after
 * wait_for_previous. With let_next_start a kernel lets the next one start as soon as all of its own
 * blocks run, which hides the gaps between short kernels. Both are nothing before Hopper. */
__device__ __forceinline__ void wait_for_previous()
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ __forceinline__ void let_next_start()
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
/* Only for kernels that call wait_for_previous. A failure is the runtime's last error, which
 * cuda_launched reads. */
template <class... P, class... A>
static inline void launch_early(struct cuda_be *c, void (*kernel)(P...), dim3 grid, int threads,
                                size_t smem, A... args)
{
    cudaLaunchAttribute early = {.id = cudaLaunchAttributeProgrammaticStreamSerialization,
                                 .val = {.programmaticStreamSerializationAllowed = 1}};
    cudaLaunchConfig_t launch = {.gridDim = grid,
                                 .blockDim = dim3((unsigned)threads),
                                 .dynamicSmemBytes = smem,
                                 .stream = c->stream,
                                 .attrs = &early,
                                 .numAttrs = c->hopper ? 1u : 0u};
    (void)cudaLaunchKernelEx(&launch, kernel, P(args)...);
}

/* Element offset in the pool, see kv_offset in ops.h. */
__device__ __forceinline__ size_t kv_at(const kv_pool_view &p, int page, int layer, int which,
                                        int head, int t)
{
    size_t one = (size_t)p.page_tokens * p.head_dim, side = one * p.n_kv_heads;
    return ((size_t)page * p.n_layers + layer) * 2 * side + which * side + head * one +
           (size_t)t * p.head_dim;
}

__device__ __forceinline__ uint32_t smem_u32(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

/* 16 bytes from global to shared memory, or zeros where !ok (src is not read then). */
__device__ __forceinline__ void cp_async16(uint32_t dst, const void *src, bool ok)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(dst), "l"(src),
                 "r"(ok ? 16 : 0));
}
__device__ __forceinline__ void cp_async_commit()
{
    asm volatile("cp.async.commit_group;\n" ::);
}
template <int N> __device__ __forceinline__ void cp_async_wait()
{
    asm volatile("cp.async.wait_group %0;\n" ::"n"(N));
}

__device__ __forceinline__ void ldmatrix4(uint32_t *r, uint32_t addr)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(addr));
}
__device__ __forceinline__ void ldmatrix4_trans(uint32_t *r, uint32_t addr)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(addr));
}

/* 2^x in one instruction; 2^-inf is 0. */
__device__ __forceinline__ float fast_exp2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(y) : "f"(x));
    return y;
}

/* d[16x8] += a[16x16] b[16x8], f32 accumulators. */
template <class T>
__device__ __forceinline__ void mma16816(float *d, const uint32_t *a, uint32_t b0, uint32_t b1);
template <>
__device__ __forceinline__ void mma16816<bf16>(float *d, const uint32_t *a, uint32_t b0,
                                               uint32_t b1)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, "
        "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <>
__device__ __forceinline__ void mma16816<f16>(float *d, const uint32_t *a, uint32_t b0, uint32_t b1)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, "
        "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* What attention needs of a batch, by value; the arrays are described in ops.h. */
struct rows_view {
    const int32_t *row_slot, *row_tok0, *row_new, *row_kv;
    const page_id *page_table;
    int32_t table_stride, n_rows;
};
static inline rows_view rows_of(const struct batch *b)
{
    return {.row_slot = b->row_slot,
            .row_tok0 = b->row_tok0,
            .row_new = b->row_new,
            .row_kv = b->row_kv,
            .page_table = b->page_table,
            .table_stride = b->table_stride,
            .n_rows = b->n_rows};
}

#endif
