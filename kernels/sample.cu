/* SPDX-License-Identifier: Apache-2.0 */
/* sample.cu - op_sample: one token per row from raw logits, exactly as ops.h defines it, without a
 * sort. A cluster of PARTS blocks per row where the GPU has clusters (Hopper), each with a piece of
 * the vocabulary and the others' shared memory in reach; one block per row elsewhere.
 *
 * Where top-k and top-p cut: select.cuh. The draw sums in double in ascending id order, in fixed
 * pieces.
 */
#include "sample.h"
#include "select.cuh"

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
    float *weight; /* [n_rows][vocab]: exp((logit - best) / temperature) */
    int32_t vocab, any_logprobs;
};

/* Philox 4x32-10 in place: c the counter, k0 and k1 the key. */
__device__ void philox(uint32_t *c, uint32_t k0, uint32_t k1)
{
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c[0], b = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t x0 = (uint32_t)(b >> 32) ^ c[1] ^ k0, x2 = (uint32_t)(a >> 32) ^ c[3] ^ k1;
        c[0] = x0, c[1] = (uint32_t)b, c[2] = x2, c[3] = (uint32_t)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

/* In [0, 1), 53 bits: see ops.h. */
__device__ double unit_of(uint64_t seed, uint32_t pos)
{
    uint32_t c[4] = {pos, 0, 0, 0};
    philox(c, (uint32_t)seed, (uint32_t)(seed >> 32));
    return (double)(((uint64_t)c[0] << 32 | c[1]) >> 11) * 0x1p-53;
}

/* Weight of the kept tokens of [from, to), summed by one warp. */
template <class Kept> __device__ double piece_weight(Kept kept, int32_t from, int32_t to, int lane)
{
    double s = 0.0;
    for (int32_t i = from + lane; i < to; i += 32)
        s += (double)kept(i);
    return warp_sum(s);
}

/* Of n pieces the one in which `target` lies; *target becomes relative to it. */
template <class Weight> __device__ int pick_piece(int n, Weight weight_of, double *target)
{
    double sum = 0.0, w = 0.0;
    int last = 0;
    for (int v = 0; v < n; v++) {
        double x = weight_of(v);
        if (x <= 0.0)
            continue;
        if (w > 0.0)
            sum += w;
        last = v, w = x;
        if (sum + x > *target)
            break;
    }
    /* past the end by rounding: the last token with weight */
    *target -= sum;
    if (*target >= w)
        *target = w;
    return last;
}

/* The token of [from, to) at which the running sum exceeds target; one block. Warps take pieces,
 * the first warp walks the one that was hit. */
template <class Kept>
__device__ int32_t draw_in_piece(shared &sh, Kept kept, int32_t from, int32_t to, double target)
{
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    int32_t piece = (to - from + WARPS - 1) / WARPS, p0 = min(to, from + warp * piece);
    double mine = piece_weight(kept, p0, min(to, p0 + piece), lane);
    __syncthreads(); /* sh.part was read by the caller */
    if (lane == 0)
        sh.part[warp] = mine;
    __syncthreads();
    if (warp > 0)
        return 0;
    int v = pick_piece(
        WARPS, [&](int k) { return sh.part[k]; }, &target);
    from = min(to, from + v * piece);
    to = min(to, from + piece);
    int32_t got = -1, last = -1;
    double sum = 0.0;
    for (int32_t i0 = from; i0 < to && got < 0; i0 += 32) {
        double w = i0 + lane < to ? (double)kept(i0 + lane) : 0.0, upto = w;
#pragma unroll
        for (int i = 1; i < 32; i <<= 1) {
            double x = __shfl_up_sync(0xffffffffu, upto, i);
            if (lane >= i)
                upto += x;
        }
        uint32_t hits = __ballot_sync(0xffffffffu, w > 0.0 && sum + upto > target);
        uint32_t some = __ballot_sync(0xffffffffu, w > 0.0);
        if (some)
            last = i0 + 31 - __clz(some);
        if (hits)
            got = i0 + __ffs(hits) - 1;
        sum += __shfl_sync(0xffffffffu, upto, 31);
    }
    return got >= 0 ? got : last;
}

/* Inversion in ascending id order over the kept tokens: row to blocks to 32 pieces to 32 pieces to
 * tokens. The same result in all threads of the row's blocks. */
template <class Kept> __device__ int32_t draw(shared &sh, Kept kept, share me, double unit)
{
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    int32_t piece = (me.to - me.from + WARPS - 1) / WARPS, p0 = min(me.to, me.from + warp * piece);
    double w = piece_weight(kept, p0, min(me.to, p0 + piece), lane), total = 0.0;
    if (lane == 0)
        sh.part[warp] = w;
    __syncthreads();
    if (threadIdx.x == 0) {
        double sum = 0.0;
        for (int v = 0; v < WARPS; v++)
            sum += sh.part[v];
        sh.sum = sum;
    }
    row_sync();
    for (int k = 0; k < me.size; k++)
        total += *at_rank(&sh.sum, k);
    double target = unit * total;
    int who = pick_piece(
        me.size, [&](int k) { return *at_rank(&sh.sum, k); }, &target);
    if (who == me.rank) {
        int v = pick_piece(
            WARPS, [&](int k) { return sh.part[k]; }, &target);
        int32_t from = min(me.to, me.from + v * piece);
        int32_t id = draw_in_piece(sh, kept, from, min(me.to, from + piece), target);
        if (threadIdx.x == 0)
            *at_rank(&sh.found, 0) = id;
    }
    row_sync();
    return *at_rank(&sh.found, 0);
}

/* exp((logit - best) / temperature) of every token; what f32 cannot hold is 0. */
__device__ void weigh(const float *row, float *weight, share me, float best, float temperature)
{
    for (int32_t i = me.from + threadIdx.x; i < me.to; i += NT) {
        float x = (row[i] - best) / temperature;
        weight[i] = x > -104.0f ? expf(x) : 0.0f;
    }
    __syncthreads();
}

/* A token drawn as op_sample says from the logits in row, which may be where the weights go; best:
 * the largest of them, finite. */
__device__ int32_t sample_row(shared &sh, const sampler &o, int32_t r, const float *row, share me,
                              float best)
{
    float *weight = o.weight + (size_t)r * o.vocab;
    const sample_params p = o.params[r];
    weigh(row, weight, me, best, p.temperature);
    auto key = [=](int32_t i) { return __float_as_uint(weight[i]); };
    mark last = {0, INT32_MAX};
    if (p.top_k > 0 && p.top_k < o.vocab)
        last = select_head(sh, key, me, last,
                           {.max_n = (uint32_t)p.top_k, .max_weight = INFINITY, .weighed = true});
    if (p.top_p < 1.0f) {
        double mine = 0.0;
        for (int32_t i = me.from + threadIdx.x; i < me.to; i += NT)
            if (!better(last, mark{__float_as_uint(weight[i]), i}))
                mine += (double)weight[i];
        double total = row_sum(sh, mine, me);
        last = select_head(
            sh, key, me, last,
            {.max_n = UINT32_MAX, .max_weight = (double)p.top_p * total, .weighed = true});
    }
    float min_p = p.min_p;
    auto kept = [=](int32_t i) {
        float w = weight[i];
        bool in = !better(last, mark{__float_as_uint(w), i}) && (w >= min_p || w >= 1.0f);
        return in ? w : 0.0f;
    };
    return draw(sh, kept, me, unit_of(p.seed, (uint32_t)o.pos[r]));
}

/* Where log probabilities of a row go. */
struct answer {
    float *logprob;
    struct token_logprob *top; /* [MAX_LOGPROBS] */
    int32_t *n_top;
};

/* The k best of the row, best first, into top; norm: log of the sum of exp of the row. */
__device__ void best_list(shared &sh, const float *row, share me, int32_t k, double norm,
                          struct token_logprob *top)
{
    auto key = [=](int32_t i) { return order_bits(row[i]); };
    mark last = select_head(sh, key, me, mark{0, INT32_MAX},
                            {.max_n = (uint32_t)k, .max_weight = 0.0, .weighed = false});
    if (threadIdx.x == 0)
        sh.n = 0;
    row_sync();
    for (int32_t i = me.from + threadIdx.x; i < me.to; i += NT)
        if (!better(last, mark{key(i), i})) {
            int32_t at = atomicAdd(at_rank(&sh.n, 0), 1);
            if (at < MAX_LOGPROBS)
                *at_rank(&sh.list[at], 0) = token_logprob{i, row[i]};
        }
    row_sync();
    if (me.rank == 0 && (int)threadIdx.x < k) { /* rank among the k: few enough for all pairs */
        token_logprob mine = sh.list[threadIdx.x];
        int rank = 0;
        for (int j = 0; j < k; j++) {
            token_logprob y = sh.list[j];
            rank += y.logprob > mine.logprob || (y.logprob == mine.logprob && y.token < mine.token);
        }
        mine.logprob = (float)((double)mine.logprob - norm);
        top[rank] = mine;
    }
}

/* The logprob of token id and the list of the k best of a row of vocab tokens whose largest is
 * `best`. */
__device__ void logprobs(shared &sh, const float *row, share me, int32_t vocab, int32_t id,
                         float best, int32_t k, answer to)
{
    double mine = 0.0;
    for (int32_t i = me.from + threadIdx.x; i < me.to; i += NT) {
        float x = row[i];
        if (x > -INFINITY)
            mine += (double)expf(x - best);
    }
    double norm = (double)best + log(row_sum(sh, mine, me));
    k = min(min(k, (int32_t)MAX_LOGPROBS), vocab);
    if (k > 0)
        best_list(sh, row, me, k, norm, to.top);
    if (me.rank == 0 && threadIdx.x == 0) {
        *to.logprob = (float)((double)row[id] - norm);
        *to.n_top = k > 0 ? k : 0;
    }
}

__global__ void __launch_bounds__(NT) sample_kernel(sampler o)
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
    mark top = best_of_row(sh, row, me);
    bool sound = is_sound(top);
    float best = float_of(top.key);
    if (sound && o.adjust && o.adjust[r].kind != ADJUST_NONE) {
        row_sync(); /* what the search left in shared memory has been read by all */
        row = o.adjusted + (size_t)r * o.vocab;
        top = best_of_row(sh, row, me);
        sound = is_sound(top);
    }
    int32_t id = sound ? top.id : TOKEN_NUMERIC;
    if (sound && !(o.params[r].temperature < 1e-5f))
        id = sample_row(sh, o, r, row, me, float_of(top.key));
    if (writes) {
        o.token[r] = id;
        o.last_token[o.row_slot[r]] = id;
        o.logprob[r] = 0.0f;
        o.n_top[r] = 0;
    }
    if (sound && o.any_logprobs && o.params[r].n_logprobs >= 0)
        logprobs(sh, o.logits + (size_t)r * o.vocab, me, o.vocab, id, best, o.params[r].n_logprobs,
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
    mark top = asked ? best_of_row(sh, row, me) : mark{0, 0};
    if (!asked || !is_sound(top)) {
        if (me.rank == 0 && threadIdx.x == 0)
            o.logprob[r] = asked ? NAN : 0.0f, o.n_top[r] = o.rank[r] = 0;
    } else {
        int32_t place = place_of(sh, row, me, w.token);
        if (me.rank == 0 && threadIdx.x == 0)
            o.rank[r] = place;
        logprobs(sh, row, me, o.vocab, w.token, float_of(top.key), w.n_top,
                 {o.logprob + r, o.top + (size_t)r * MAX_LOGPROBS, o.n_top + r});
    }
    row_sync(); /* nobody leaves while another may read its shared memory */
}

/* Many rows fill the GPU with a block each, and need not wait for each other. */
enum { FEW_ROWS = 48 };

/* The blocks of a row are one cluster. A failure is the runtime's last error. */
template <class Arg>
void launch(struct cuda_be *c, void (*kernel)(Arg), const Arg &arg, int32_t n_rows)
{
    int parts = c->hopper && n_rows <= FEW_ROWS ? PARTS : 1;
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
