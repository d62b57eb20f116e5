/* SPDX-License-Identifier: Apache-2.0 */
/* prefill_merge.cuh - what attn_prefill_sm90.cu left in `work` of tiles of lines whose keys were
 * cut into chunks, added up in the order of the chunks. The plan (prefill_plan.cuh) says which
 * these are; where it splits nothing, all blocks leave at once. */
#ifndef QUIRE_PREFILL_MERGE_CUH
#define QUIRE_PREFILL_MERGE_CUH

#include "prefill_plan.cuh"

/* A tile has as many slots as chunks, and there is a piece of its lines for each of them: a block
 * takes every gridDim.x'th slot of the launch. Launched early: the plan is made while items are
 * still computed. */
enum { MERGE_NT = 256 };
template <int DP> __global__ void __launch_bounds__(MERGE_NT) merge_kernel(const prefill p)
{
    constexpr int BR = tiles<DP>::BR, BC = tiles<DP>::BC;
    __shared__ float factor[BR + MOST_CHUNKS];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    int32_t heads = p.kv.n_kv_heads;
    plan plan = plan_of<DP>(p);
    wait_for_previous();
    for (int32_t i = blockIdx.x; i < plan.slots; i += gridDim.x) {
        place at = find_row<DP>(p, plan, i, true);
        const row_share &s = at.share;
        int32_t set = at.within / s.chunks, line0 = set / heads * BR;
        int32_t n_lines = min((int32_t)BR, s.n_new * p.group - line0);
        int32_t seen = (s.n_kv - s.n_new + (line0 + n_lines - 1) / p.group) / BC + 1;
        int32_t used = up(seen, up(s.deep, s.chunks)), piece = up(n_lines, s.chunks);
        int32_t first = at.within % s.chunks * piece;
        size_t from = (size_t)(at.slot0 + set * s.chunks) * BR + first;
        piece = min(piece, n_lines - first);
        __syncthreads();
        for (int l = warp; l < piece; l += MERGE_NT / 32) {
            float2 m = make_float2(-INFINITY, 0.0f);
            if (lane < used)
                m = __ldcg(&p.norm[from + (size_t)lane * BR + l]);
            float best = m.x;
#pragma unroll
            for (int k = 16; k > 0; k >>= 1)
                best = fmaxf(best, __shfl_xor_sync(0xffffffffu, best, k));
            float f = fast_exp2(m.x - best), total = warp_sum(m.y * f);
            if (lane < used)
                factor[l * used + lane] = f / total;
        }
        __syncthreads();
        for (int k = threadIdx.x; k < piece * DP / 4; k += MERGE_NT) {
            int32_t l = k / (DP / 4), d = k % (DP / 4) * 4;
            const float *part = p.part + (from + l) * DP + d;
            float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 8
            for (int32_t c = 0; c < used; c++) {
                float4 y = __ldcg((const float4 *)(part + (size_t)c * BR * DP));
                float f = factor[l * used + c];
                sum.x += y.x * f, sum.y += y.y * f, sum.z += y.z * f, sum.w += y.w * f;
            }
            int32_t line = line0 + first + l, tok = p.rows.row_tok0[at.row] + line / p.group;
            size_t to = ((size_t)tok * p.n_heads + set % heads * p.group + line % p.group) * DP + d;
            *(uint2 *)((uint16_t *)p.out + to) = make_uint2(pack_out(p.dt, sum.x, sum.y),
                                                            pack_out(p.dt, sum.z, sum.w));
        }
    }
}

#endif
