/* SPDX-License-Identifier: Apache-2.0 */
/* wgmma.cuh - Hopper's matrix products of a warpgroup, the copy engine and its barriers, one
 * instruction a function.
 *
 * Only code for sm_90a may call these. A tile in shared memory stands in blocks of eight lines of
 * 64 elements, each from a multiple of 1,024 bytes on. The eight 16-byte pieces of a line stand in
 * the order that swizzled() gives, which is what the copy engine writes and the products read
 * without bank conflicts.
 */
#ifndef QUIRE_WGMMA_CUH
#define QUIRE_WGMMA_CUH

#include "common.cuh"

#include <cuda.h>
#include <type_traits>

/* Byte offset of the 16-byte piece `piece` (0 to 7) of line `row`, blocks standing below each
 * other.
 */
__device__ __forceinline__ uint32_t swizzled(uint32_t row, uint32_t piece)
{
    return row * 128 + ((piece ^ (row & 7)) << 4);
}

/* An operand in shared memory with that swizzle. next8: bytes from eight lines to the next eight;
 * next64: from a column to the next one, read only of operands whose summed index runs down the
 * lines (values), not along them (queries, keys). */
__device__ __forceinline__ uint64_t operand(uint32_t addr, uint32_t next8, uint32_t next64)
{
    return (uint64_t)1 << 62 | (uint64_t)(next8 >> 4) << 32 | (uint64_t)(next64 >> 4) << 16 |
           (addr & 0x3ffff) >> 4;
}

/* Before the first product after registers were written; after the last one of a group; until at
 * most N groups are under way. */
__device__ __forceinline__ void wgmma_fence()
{
    asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
}
__device__ __forceinline__ void wgmma_commit()
{
    asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
}
template <int N> __device__ __forceinline__ void wgmma_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(N) : "memory");
}
/* Accumulators that a product writes behind the compiler's back: no use of them moves across. */
template <int N> __device__ __forceinline__ void hold(float (&d)[N][4])
{
#pragma unroll
    for (int i = 0; i < N; i++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            asm volatile("" : "+f"(d[i][e])::"memory");
}

/* What x (never below 0) was made of is computed here and not further down: ptxas moves a wait for
 * products up as far as it can, in front of the work that should run under them, but not across the
 * end of a basic block. */
__device__ __forceinline__ void stay_above(float x)
{
    asm volatile("{\n.reg .pred p;\nhere:\nsetp.ge.f32 p, %0, 0f00000000;\n@p bra on;\n"
                 "nanosleep.u32 1;\nbra here;\non:\n}\n" ::"f"(x)
                 : "memory");
}

#define WG_D4(i) "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])
#define WG_D32 WG_D4(0), WG_D4(1), WG_D4(2), WG_D4(3), WG_D4(4), WG_D4(5), WG_D4(6), WG_D4(7)
#define WG_D64                                                                                     \
    WG_D32, WG_D4(8), WG_D4(9), WG_D4(10), WG_D4(11), WG_D4(12), WG_D4(13), WG_D4(14), WG_D4(15)
#define WG_R32                                                                                     \
    "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,"  \
    "%25,%26,%27,%28,%29,%30,%31"
#define WG_R64                                                                                     \
    WG_R32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52," \
           "%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define WG_HEAD(n, t, add)                                                                         \
    "{\n.reg .pred p;\nsetp.ne.b32 p, " add ", 0;\n"                                               \
    "wgmma.mma_async.sync.aligned.m64n" n "k16.f32." t "." t " "
/* Both from shared memory, the summed index along the lines of both. */
#define WG_SHARED(n, t, regs, acc, left, right, add)                                               \
    asm volatile(WG_HEAD(n, t, add) regs "}, " left ", " right ", p, 1, 1, 0, 0;\n}\n"             \
                 : acc                                                                             \
                 : "l"(a), "l"(b), "r"(more))
/* The left one from registers, the right one with the summed index down the lines. */
#define WG_MIXED(n, t, regs, acc, left, right, add)                                                \
    asm volatile(WG_HEAD(n, t, add) regs "}, {" left "}, " right ", p, 1, 1, 1;\n}\n"              \
                 : acc                                                                             \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(more))

/* d[64 x 8 NG] (+)= a[64 x 16] b[16 x 8 NG] of a warpgroup; `more` 0: d was nothing before. Warp w
 * has lines 16 w to 16 w + 15 of d, in the fragments of mma16816. */
template <class T, int NG>
__device__ __forceinline__ void wgmma_shared(float (&d)[NG][4], uint64_t a, uint64_t b, int more)
{
    constexpr bool bf = std::is_same<T, bf16>::value;
    static_assert(NG == 8 || NG == 16, "64 or 128 columns");
    if constexpr (NG == 8 && bf)
        WG_SHARED("64", "bf16", WG_R32, WG_D32, "%32", "%33", "%34");
    else if constexpr (NG == 8)
        WG_SHARED("64", "f16", WG_R32, WG_D32, "%32", "%33", "%34");
    else if constexpr (bf)
        WG_SHARED("128", "bf16", WG_R64, WG_D64, "%64", "%65", "%66");
    else
        WG_SHARED("128", "f16", WG_R64, WG_D64, "%64", "%65", "%66");
}
template <class T, int NG>
__device__ __forceinline__ void wgmma_mixed(float (*d)[4], const uint32_t *a, uint64_t b, int more)
{
    constexpr bool bf = std::is_same<T, bf16>::value;
    static_assert(NG == 8 || NG == 16, "64 or 128 columns");
    if constexpr (NG == 8 && bf)
        WG_MIXED("64", "bf16", WG_R32, WG_D32, "%32,%33,%34,%35", "%36", "%37");
    else if constexpr (NG == 8)
        WG_MIXED("64", "f16", WG_R32, WG_D32, "%32,%33,%34,%35", "%36", "%37");
    else if constexpr (bf)
        WG_MIXED("128", "bf16", WG_R64, WG_D64, "%64,%65,%66,%67", "%68", "%69");
    else
        WG_MIXED("128", "f16", WG_R64, WG_D64, "%64,%65,%66,%67", "%68", "%69");
}

/* Barriers in shared memory, by address. A phase ends when `count` threads have arrived and the
 * bytes announced have come; parity: of the phase waited for, 0 first. */
__device__ __forceinline__ void mbar_init(uint32_t bar, uint32_t count)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(bar), "r"(count) : "memory");
}
__device__ __forceinline__ void mbar_init_done()
{
    asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
}
__device__ __forceinline__ void mbar_arrive(uint32_t bar)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(bar) : "memory");
}
__device__ __forceinline__ void mbar_arrive_expect(uint32_t bar, uint32_t bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(bar), "r"(bytes)
                 : "memory");
}
__device__ __forceinline__ void mbar_wait(uint32_t bar, uint32_t parity)
{
    uint32_t done;
    do {
        asm volatile("{\n.reg .pred p;\n"
                     "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
                     "selp.u32 %0, 1, 0, p;\n}\n"
                     : "=r"(done)
                     : "r"(bar), "r"(parity)
                     : "memory");
    } while (!done);
}

/* The box of a tensor of four dimensions that begins at `last` of the last one and at 0 of the
 * others, into shared memory at dst, counted by bar. */
__device__ __forceinline__ void copy_box(uint32_t dst, const CUtensorMap *map, uint32_t bar,
                                         int32_t last)
{
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%3, %3, %3, %4}], [%2];\n" ::"r"(dst),
                 "l"(map), "r"(bar), "r"(0), "r"(last)
                 : "memory");
}
__device__ __forceinline__ void prefetch_map(const CUtensorMap *map)
{
    asm volatile("prefetch.tensormap [%0];\n" ::"l"(map) : "memory");
}
__device__ __forceinline__ void store_shared(uint32_t to, uint4 v)
{
    asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};\n" ::"r"(to), "r"(v.x), "r"(v.y),
                 "r"(v.z), "r"(v.w)
                 : "memory");
}
/* What this thread wrote to shared memory is there for products and the copy engine. */
__device__ __forceinline__ void fence_for_async()
{
    asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
}

/* Named barriers of some warps of a block; id 0 is __syncthreads. */
__device__ __forceinline__ void bar_sync(int id, int threads)
{
    asm volatile("bar.sync %0, %1;\n" ::"r"(id), "r"(threads) : "memory");
}
__device__ __forceinline__ void bar_arrive(int id, int threads)
{
    asm volatile("bar.arrive %0, %1;\n" ::"r"(id), "r"(threads) : "memory");
}

/* Registers of each thread of the warpgroup that calls: fewer, more. */
template <int N> __device__ __forceinline__ void fewer_registers()
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(N));
}
template <int N> __device__ __forceinline__ void more_registers()
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(N));
}

#endif
