/* SPDX-License-Identifier: Apache-2.0 */
/* sample.cu - op_sample: one token per row from raw logits, exactly as ops.h defines it, without a
 * sort. A cluster of PARTS blocks per row where the GPU has clusters (Hopper), each with a piece of
 * the vocabulary and the others' shared memory in reach; one block per row elsewhere.
 *
 * Where top-k and top-p cut: few.cuh for a small top-k, nucleus.cuh for top-p, both in little more
 * than one and two reads of the logits; where they are not sure, select.cuh. The draw: draw.cuh.
 */
#include "logprob.cuh"
#include "nucleus.cuh"
#include "sample.h"

namespace
{

/* Arrays as in op_sample. */
struct sampler {
    const float *logits;
    const struct sample_params *params;
    const int32_t *pos, *row_slot, *row_out;
    token_id *last_token, *token;
    float *logprob;
    struct token_logprob *top;
    int32_t *n_top;
    const struct row_adjust *adjust;
    const float *adjusted;
    float *weight; /* [n_rows][vocab], all weights or lists of some */
    int32_t vocab, any_logprobs;
};

/* The slow way, for every row: the weights of all tokens in memory, then searches over them. row
 * may be where the weights go. */
__device__ __noinline__ int32_t draw_any(shared &sh, const sampler &o, int32_t r, const float *row,
                                         share me, float best, const sample_params &p, double unit)
{
    float *weight = o.weight + (size_t)r * o.vocab;
    for (int32_t i = me.from + threadIdx.x; i < me.to; i += NT)
        weight[i] = weight_of(row[i], best, p.temperature);
    __syncthreads();
    auto key = [=](int32_t i) { return __float_as_uint(weight[i]); };
    all_tokens<decltype(key)> tokens = {key, me};
    mark last = {0, INT32_MAX};
    if (p.top_k > 0 && p.top_k < o.vocab)
        last = select_head(sh, tokens, me, last,
                           {.max_n = (uint32_t)p.top_k, .max_weight = INFINITY, .weighed = true});
    if (p.top_p < 1.0f) {
        double mine = 0.0;
        for (int32_t i = me.from + threadIdx.x; i < me.to; i += NT)
            if (!better(last, mark{__float_as_uint(weight[i]), i}))
                mine += (double)weight[i];
        double total = row_sum(sh, mine, me);
        last = select_head(
            sh, tokens, me, last,
            {.max_n = UINT32_MAX, .max_weight = (double)p.top_p * total, .weighed = true});
    }
    float min_p = p.min_p;
    auto kept = keeping([=](int32_t i) { return weight[i]; },
                        [=](float w, int32_t i) {
                            bool in = !better(last, mark{__float_as_uint(w), i});
                            return in && passes_min(w, min_p) ? w : 0.0f;
                        });
    return draw(sh, tokens, kept, me, unit);
}

/* Without top-k and top-p: weights are computed where they are wanted, once for all tokens and once
 * more for the piece that is hit. */
__device__ int32_t draw_uncut(shared &sh, const float *row, share me, float best,
                              const sample_params &p, double unit)
{
    float temperature = p.temperature, min_p = p.min_p;
    auto kept = keeping([=](int32_t i) { return row[i]; },
                        [=](float x, int32_t) {
                            float w = weight_of(x, best, temperature);
                            return passes_min(w, min_p) ? w : 0.0f;
                        });
    return draw(sh, all_tokens<decltype(kept)>{kept, me}, kept, me, unit);
}

/* A token drawn as op_sample says from the logits in row, which may be where the weights go; best:
 * the largest of them, finite; own: the key of the best of the thread's column. */
__device__ int32_t sample_row(shared &sh, const sampler &o, int32_t r, const float *row, share me,
                              float best, uint32_t own)
{
    const sample_params &p = o.params[r];
    double unit = unit_of(p.seed, (uint32_t)o.pos[r]);
    bool top_k = p.top_k > 0 && p.top_k < o.vocab;
    float *room = o.weight + (size_t)r * o.vocab;
    int32_t id = UNSURE;
    row_sync(); /* what the search for the best left in shared memory has been read by all */
    if (!top_k && !(p.top_p < 1.0f))
        return draw_uncut(sh, row, me, best, p, unit);
    if (top_k && p.top_k <= FEW)
        id = draw_few(sh, row, me, own, best, p, unit);
    else if (!top_k && row != room)
        id = draw_nucleus(sh, row, room, me, own, best, p, unit);
    return id != UNSURE ? id : draw_any(sh, o, r, row, me, best, p, unit);
}

__global__ void __launch_bounds__(NT) sample_kernel(const __grid_constant__ sampler o)
{
    extern __shared__ __align__(16) char smem[];
    shared &sh = *(shared *)smem;
    share me = share_of(o.vocab);
    int32_t r = blockIdx.x / me.size;
    int writes = me.rank == 0 && threadIdx.x == 0;
    if (o.row_out[r] < 0) {
        if (writes)
            o.token[r] = -1, o.logprob[r] = 0.0f, o.n_top[r] = 0;
        return;
    }
    const float *row = o.logits + (size_t)r * o.vocab;
    uint32_t *own = &sh.column[0][threadIdx.x];
    mark top = best_of_row(sh, row, me, own);
    bool sound = is_sound(top);
    float best = float_of(top.key);
    if (sound && o.adjust && o.adjust[r].kind != ADJUST_NONE) {
        row_sync(); /* what the search left in shared memory has been read by all */
        row = o.adjusted + (size_t)r * o.vocab;
        own = &sh.column[1][threadIdx.x];
        top = best_of_row(sh, row, me, own);
        sound = is_sound(top);
    }
    int32_t id = sound ? top.id : TOKEN_NUMERIC;
    if (sound && !(o.params[r].temperature < 1e-5f))
        id = sample_row(sh, o, r, row, me, float_of(top.key), *own);
    if (writes) {
        o.token[r] = id;
        o.last_token[o.row_slot[r]] = id;
        o.logprob[r] = 0.0f;
        o.n_top[r] = 0;
    }
    if (sound && o.any_logprobs && o.params[r].n_logprobs >= 0)
        logprobs(sh, o.logits + (size_t)r * o.vocab, me, sh.column[0][threadIdx.x], o.vocab, id,
                 best, o.params[r].n_logprobs,
                 {o.logprob + r, o.top + (size_t)r * MAX_LOGPROBS, o.n_top + r});
    row_sync(); /* nobody leaves while another may read its shared memory */
}

/* The place of token id in its row, from 1: by logit, then by id. */
__device__ int32_t place_of(shared &sh, const float *row, share me, int32_t id)
{
    float x = row[id];
    int32_t mine = 0;
    for (int32_t i = me.from + threadIdx.x; i < me.to; i += NT)
        mine += row[i] > x || (row[i] == x && i < id);
    return 1 + (int32_t)row_sum(sh, (double)mine, me);
}

__global__ void __launch_bounds__(NT) score_kernel(struct op_score o)
{
    extern __shared__ __align__(16) char smem[];
    shared &sh = *(shared *)smem;
    share me = share_of(o.vocab);
    int32_t r = blockIdx.x / me.size;
    score_want w = o.want[r];
    bool asked = (uint32_t)w.token < (uint32_t)o.vocab;
    const float *row = o.logits + (size_t)r * o.vocab;
    uint32_t own = 0;
    mark top = asked ? best_of_row(sh, row, me, &own) : mark{0, 0};
    if (!asked || !is_sound(top)) {
        if (me.rank == 0 && threadIdx.x == 0)
            o.logprob[r] = asked ? NAN : 0.0f, o.n_top[r] = o.rank[r] = 0;
    } else {
        int32_t place = place_of(sh, row, me, w.token);
        if (me.rank == 0 && threadIdx.x == 0)
            o.rank[r] = place;
        logprobs(sh, row, me, own, o.vocab, w.token, float_of(top.key), w.n_top,
                 {o.logprob + r, o.top + (size_t)r * MAX_LOGPROBS, o.n_top + r});
    }
    row_sync(); /* nobody leaves while another may read its shared memory */
}

/* Multiprocessors of an H100, on each of which one block runs. A constant, so that a row's sums do
 * not depend on the share of the card that a lane has. */
enum { AT_ONCE = 132 };

/* As many blocks to a row as all run at once: those of a cluster wait for each other. The blocks of
 * a row are one cluster. A failure is the runtime's last error. */
template <class Arg>
void launch(struct cuda_be *c, void (*kernel)(Arg), const Arg &arg, int32_t n_rows)
{
    int parts = c->hopper ? PARTS : 1;
    while (parts > 1 && n_rows * parts > AT_ONCE)
        parts /= 2;
    cudaLaunchAttribute cluster = {.id = cudaLaunchAttributeClusterDimension,
                                   .val = {.clusterDim = {.x = (unsigned)parts, .y = 1, .z = 1}}};
    cudaLaunchConfig_t l = {.gridDim = dim3((unsigned)(n_rows * parts)),
                            .blockDim = dim3(NT),
                            .dynamicSmemBytes = sizeof(shared),
                            .stream = c->stream,
                            .attrs = &cluster,
                            .numAttrs = parts > 1 ? 1u : 0u};
    (void)cudaLaunchKernelEx(&l, kernel, arg);
}

} // namespace

extern "C" int cuda_kernels_arch(void)
{
    cudaFuncAttributes a; /* of any kernel: all are compiled alike */
    return cudaFuncGetAttributes(&a, sample_kernel) == cudaSuccess ? a.ptxVersion : 0;
}

extern "C" int cuda_sample_setup(void)
{
    cudaError_t r = cudaFuncSetAttribute(sample_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         (int)sizeof(shared));
    if (r == cudaSuccess)
        r = cudaFuncSetAttribute(score_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 (int)sizeof(shared));
    return r;
}

extern "C" size_t cuda_sample_work_bytes(int32_t max_rows, int32_t vocab)
{
    return (size_t)max_rows * vocab * sizeof(float);
}

extern "C" int cuda_sample(struct be *be, const struct op_sample *o)
{
    struct cuda_be *c = cuda_of(be);
    int st = opcheck_sample(o);
    if (st != 0 || o->n_rows == 0)
        return st;
    if (!o->work || o->work_bytes < cuda_sample_work_bytes(o->n_rows, o->vocab))
        return ST_INVALID_VALUE;
    sampler s = {.logits = o->logits,
                 .params = o->params,
                 .pos = o->pos,
                 .row_slot = o->row_slot,
                 .row_out = o->row_out,
                 .last_token = o->last_token,
                 .token = o->token,
                 .logprob = o->logprob,
                 .top = o->top,
                 .n_top = o->n_top,
                 .adjust = o->adjust,
                 .adjusted = o->adjusted,
                 .weight = (float *)o->work,
                 .vocab = o->vocab,
                 .any_logprobs = o->any_logprobs};
    launch(c, sample_kernel, s, o->n_rows);
    return cuda_launched(c, "sample");
}

extern "C" int cuda_score(struct be *be, const struct op_score *o)
{
    struct cuda_be *c = cuda_of(be);
    int st = opcheck_score(o);
    if (st != 0 || o->n_rows == 0)
        return st;
    launch(c, score_kernel, *o, o->n_rows);
    return cuda_launched(c, "score");
}
