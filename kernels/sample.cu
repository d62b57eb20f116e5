/* sample.cu - op_sample: one token per row from raw logits, exactly as ops.h defines it, without a
 * sort. One block per row.
 *
 * Where top-k or top-p cut, the last kept token is found digit by digit of its weight's bits
 * (12 + 10 + 10): a histogram per level of counts and of the low bits of the weights. The weight of
 * a bin follows from integers alone (count * base + sum of low bits), so sums are exact, whatever
 * the order of the atomics, and a result is the same in every run. Among equal weights the id
 * decides. The draw sums in double in ascending id order, in fixed pieces.
 */
#include "common.cuh"

namespace
{

enum { NT = 1024, WARPS = NT / 32, BINS = 4096 };

struct sampler {
    const float *logits;
    const struct sample_params *params;
    const int32_t *pos, *row_slot, *row_out;
    token_id *last_token, *token;
    float *logprob;
    struct token_logprob *top;
    int32_t *n_top;
    float *weight; /* [n_rows][vocab] */
    int32_t vocab, any_logprobs;
};

/* A token's place in an order: keys descending, ids ascending. */
struct mark {
    uint32_t key;
    int32_t id;
};

struct shared {
    uint32_t count[BINS], low[BINS], high[BINS];
    double room[33];
    double part[WARPS];
    mark best[WARPS];
    int32_t found, n;
    double before;
    uint32_t n_before;
    token_logprob list[MAX_LOGPROBS];
};

__device__ __forceinline__ float logit_of(float x)
{
    return isnan(x) ? -INFINITY : x;
}

/* Order-preserving bits of a float that is no NaN. */
__device__ __forceinline__ uint32_t order_bits(float x)
{
    uint32_t b = __float_as_uint(x == 0.0f ? 0.0f : x);
    return b & 0x80000000u ? ~b : b | 0x80000000u;
}

__device__ __forceinline__ bool better(mark a, mark b)
{
    return a.key > b.key || (a.key == b.key && a.id < b.id);
}

__device__ mark best_of_warp(mark x)
{
#pragma unroll
    for (int i = 16; i > 0; i >>= 1) {
        mark y = {__shfl_xor_sync(0xffffffffu, x.key, i), __shfl_xor_sync(0xffffffffu, x.id, i)};
        if (better(y, x))
            x = y;
    }
    return x;
}

/* The largest logit, the lowest id among equals. */
__device__ mark best_of_row(shared &sh, const float *row, int32_t vocab)
{
    mark x = {0, INT32_MAX};
    int32_t head = min(vocab, (int32_t)((4 - ((uintptr_t)row >> 2 & 3)) & 3));
    int32_t n4 = (vocab - head) / 4;
    const float4 *v = (const float4 *)(row + head);
#pragma unroll 4
    for (int32_t i = threadIdx.x; i < n4; i += NT) {
        float4 f = v[i];
        float e[4] = {f.x, f.y, f.z, f.w};
#pragma unroll
        for (int k = 0; k < 4; k++) {
            mark y = {order_bits(logit_of(e[k])), head + i * 4 + k};
            if (better(y, x))
                x = y;
        }
    }
    for (int32_t i = threadIdx.x; i < vocab; i += NT)
        if (i < head || i >= head + n4 * 4) {
            mark y = {order_bits(logit_of(row[i])), i};
            if (better(y, x))
                x = y;
        }
    x = best_of_warp(x);
    if ((threadIdx.x & 31) == 0)
        sh.best[threadIdx.x >> 5] = x;
    __syncthreads();
    x = best_of_warp(sh.best[threadIdx.x & 31]);
    __syncthreads();
    return x;
}

/* Weight of a bin of positive floats that share the bits above `bits`: exact in double. */
__device__ double bin_weight(uint32_t base, uint32_t count, uint32_t low, uint32_t high)
{
    uint32_t e = base >> 23;
    double unit = ldexp(1.0, (int)(e ? e : 1) - 150);
    double mant = (double)((base & 0x7fffffu) | (e ? 0x800000u : 0u));
    return unit * (mant * (double)count + (double)low + 1024.0 * (double)high);
}

/* Find in the bins, from the top, the first at which the count reaches max_n or the weight reaches
 * max_weight; what lies before it goes to sh.n_before and sh.before. Thread 0's warp works. */
__device__ void find_bin(shared &sh, int n_bins, uint32_t prefix, int shift, uint32_t max_n,
                         double max_weight, bool weighed)
{
    if (threadIdx.x < 32) {
        int lane = threadIdx.x, each = n_bins / 32, top = n_bins - lane * each;
        uint32_t n = 0;
        double w = 0.0;
        for (int b = top - 1; b >= top - each; b--) {
            n += sh.count[b];
            if (weighed && sh.count[b])
                w += bin_weight(prefix | (uint32_t)b << shift, sh.count[b], sh.low[b], sh.high[b]);
        }
        uint32_t n_upto = n;
        double w_upto = w;
#pragma unroll
        for (int i = 1; i < 32; i <<= 1) {
            uint32_t a = __shfl_up_sync(0xffffffffu, n_upto, i);
            double b = __shfl_up_sync(0xffffffffu, w_upto, i);
            if (lane >= i)
                n_upto += a, w_upto += b;
        }
        bool hit = n > 0 &&
                   (sh.n_before + n_upto >= max_n || (weighed && sh.before + w_upto >= max_weight));
        uint32_t hits = __ballot_sync(0xffffffffu, hit);
        uint32_t some = __ballot_sync(0xffffffffu, n > 0);
        int who = hits ? __ffs(hits) - 1 : 31 - __clz(some | 1u);
        if (lane == who) {
            uint32_t n_at = sh.n_before + n_upto - n;
            double w_at = sh.before + w_upto - w;
            int pick = -1;
            for (int b = top - 1; b >= top - each; b--) {
                if (!sh.count[b])
                    continue;
                double x = weighed ? bin_weight(prefix | (uint32_t)b << shift, sh.count[b],
                                                sh.low[b], sh.high[b])
                                   : 0.0;
                if (pick >= 0) { /* the one before did not reach: it lies before this one */
                    n_at += sh.count[pick];
                    w_at += weighed ? bin_weight(prefix | (uint32_t)pick << shift, sh.count[pick],
                                                 sh.low[pick], sh.high[pick])
                                    : 0.0;
                }
                pick = b;
                if (n_at + sh.count[b] >= max_n || (weighed && w_at + x >= max_weight))
                    break;
            }
            sh.found = pick;
            sh.n_before = n_at;
            sh.before = w_at;
        }
    }
    __syncthreads();
}

/* The last token of the shortest head of the order whose count reaches max_n or whose weight
 * reaches max_weight. KEY(i) gives a token's bits, 0 = not a candidate (weighed) or any bits (not
 * weighed); tokens after `cap` in the order are no candidates. All threads; the same result in all.
 */
template <class Key>
__device__ mark select_head(shared &sh, Key key_of, int32_t vocab, mark cap, uint32_t max_n,
                            double max_weight, bool weighed)
{
    const int shift_of[3] = {20, 10, 0}, bins_of[3] = {4096, 1024, 1024};
    uint32_t prefix = 0;
    if (threadIdx.x == 0)
        sh.n_before = 0, sh.before = 0.0;
    for (int level = 0; level < 3; level++) {
        int shift = shift_of[level], n_bins = bins_of[level], above = level == 0 ? 32 : shift + 10;
        for (int b = threadIdx.x; b < n_bins; b += NT)
            sh.count[b] = sh.low[b] = sh.high[b] = 0;
        __syncthreads();
        for (int32_t i = threadIdx.x; i < vocab; i += NT) {
            uint32_t k = key_of(i);
            if ((weighed && k == 0) || better(cap, mark{k, i}))
                continue;
            if (level > 0 && (k >> above) != (prefix >> above))
                continue;
            uint32_t b = k >> shift & (uint32_t)(n_bins - 1), rest = k & ((1u << shift) - 1u);
            atomicAdd(&sh.count[b], 1u);
            if (weighed && rest) {
                atomicAdd(&sh.low[b], rest & 1023u);
                if (rest >> 10)
                    atomicAdd(&sh.high[b], rest >> 10);
            }
        }
        __syncthreads();
        find_bin(sh, n_bins, prefix, shift, max_n, max_weight, weighed);
        prefix |= (uint32_t)sh.found << shift;
        __syncthreads();
    }
    /* all equal from here: how many of them does it take? */
    uint32_t equal = sh.count[sh.found], need = equal;
    double one = weighed ? (double)__uint_as_float(prefix) : 0.0;
    if (max_n != UINT32_MAX && max_n > sh.n_before && max_n - sh.n_before < need)
        need = max_n - sh.n_before;
    if (weighed && one > 0.0 && sh.before + one * (double)need >= max_weight) {
        double n = ceil((max_weight - sh.before) / one);
        uint32_t k = n < 1.0 ? 1u : (uint32_t)n;
        while (k > 1 && sh.before + one * (double)(k - 1) >= max_weight)
            k--;
        while (k < need && sh.before + one * (double)k < max_weight)
            k++;
        need = k < need ? k : need;
    }
    mark last = {prefix, prefix == cap.key ? cap.id : INT32_MAX};
    if (need < equal) { /* the id of the need-th token with this key: warps by ascending pieces */
        int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
        int32_t piece = (vocab + WARPS - 1) / WARPS, from = warp * piece,
                to = min(vocab, from + piece);
        uint32_t n = 0;
        for (int32_t i = from + lane; i < to; i += 32)
            n += key_of(i) == prefix && !better(cap, mark{prefix, i});
        n = warp_sum(n);
        if (lane == 0)
            sh.best[warp].key = n;
        __syncthreads();
        uint32_t before = 0;
        for (int v = 0; v < warp; v++)
            before += sh.best[v].key;
        if (before < need && before + n >= need)
            for (int32_t i0 = from; i0 < to; i0 += 32) {
                int32_t i = i0 + lane;
                bool hit = i < to && key_of(i) == prefix && !better(cap, mark{prefix, i});
                uint32_t hits = __ballot_sync(0xffffffffu, hit);
                uint32_t rank = before + __popc(hits & ((2u << lane) - 1u));
                if (hit && rank == need)
                    sh.found = i;
                before += __popc(hits);
            }
        __syncthreads();
        last.id = sh.found;
    }
    __syncthreads();
    return last;
}

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

/* Of the pieces sh.part[0..WARPS) the one in which `target` lies; *target becomes relative to it.
 */
__device__ int pick_piece(const shared &sh, double *target)
{
    double sum = 0.0;
    int last = 0;
    for (int v = 0; v < WARPS; v++) {
        if (sh.part[v] <= 0.0)
            continue;
        last = v;
        if (sum + sh.part[v] > *target)
            break;
        sum += sh.part[v];
    }
    /* past the end by rounding: the last token with weight */
    *target -= sum;
    if (*target >= sh.part[last])
        *target = sh.part[last];
    return last;
}

/* Inversion in ascending id order over the kept tokens: rows to 32 pieces to 32 pieces to tokens.
 */
template <class Kept> __device__ int32_t draw(shared &sh, Kept kept, int32_t vocab, double unit)
{
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    int32_t from = 0, to = vocab;
    double target = 0.0;
    for (int level = 0; level < 2; level++) {
        int32_t piece = (to - from + WARPS - 1) / WARPS, p0 = min(to, from + warp * piece);
        double w = piece_weight(kept, p0, min(to, p0 + piece), lane);
        if (lane == 0)
            sh.part[warp] = w;
        __syncthreads();
        if (level == 0) {
            double total = 0.0;
            for (int v = 0; v < WARPS; v++)
                total += sh.part[v];
            target = unit * total;
        }
        int v = pick_piece(sh, &target);
        from = min(to, from + v * piece);
        to = min(to, from + piece);
        __syncthreads();
    }
    if (warp == 0) {
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
        if (lane == 0)
            sh.found = got >= 0 ? got : last;
    }
    __syncthreads();
    int32_t id = sh.found;
    __syncthreads();
    return id;
}

/* exp((logit - best) / temperature) of every token; what f32 cannot hold is 0. */
__device__ void weigh(const float *row, float *weight, int32_t vocab, float best, float temperature)
{
    for (int32_t i = threadIdx.x; i < vocab; i += NT) {
        float x = (row[i] - best) / temperature;
        weight[i] = x > -104.0f ? expf(x) : 0.0f;
    }
    __syncthreads();
}

__device__ int32_t sample_row(shared &sh, const sampler &o, int32_t r, float best)
{
    const float *row = o.logits + (size_t)r * o.vocab;
    float *weight = o.weight + (size_t)r * o.vocab;
    const sample_params p = o.params[r];
    weigh(row, weight, o.vocab, best, p.temperature);
    auto key = [=](int32_t i) { return __float_as_uint(weight[i]); };
    mark last = {0, INT32_MAX};
    if (p.top_k > 0 && p.top_k < o.vocab)
        last = select_head(sh, key, o.vocab, last, (uint32_t)p.top_k, INFINITY, true);
    if (p.top_p < 1.0f) {
        double mine = 0.0;
        for (int32_t i = threadIdx.x; i < o.vocab; i += NT)
            if (!better(last, mark{__float_as_uint(weight[i]), i}))
                mine += (double)weight[i];
        double total = block_sum(mine, sh.room);
        last = select_head(sh, key, o.vocab, last, UINT32_MAX, (double)p.top_p * total, true);
    }
    float min_p = p.min_p;
    auto kept = [=](int32_t i) {
        float w = weight[i];
        bool in = !better(last, mark{__float_as_uint(w), i}) && (w >= min_p || w >= 1.0f);
        return in ? w : 0.0f;
    };
    int32_t id = draw(sh, kept, o.vocab, unit_of(p.seed, (uint32_t)o.pos[r]));
    return id;
}

/* The k best of the raw row, best first, into o.top; logprobs relative to norm. */
__device__ void best_list(shared &sh, const sampler &o, int32_t r, int32_t k, double norm)
{
    const float *row = o.logits + (size_t)r * o.vocab;
    auto key = [=](int32_t i) { return order_bits(logit_of(row[i])); };
    mark last = select_head(sh, key, o.vocab, mark{0, INT32_MAX}, (uint32_t)k, 0.0, false);
    if (threadIdx.x == 0)
        sh.n = 0;
    __syncthreads();
    for (int32_t i = threadIdx.x; i < o.vocab; i += NT)
        if (!better(last, mark{key(i), i})) {
            int32_t at = atomicAdd(&sh.n, 1);
            if (at < MAX_LOGPROBS)
                sh.list[at] = token_logprob{i, logit_of(row[i])};
        }
    __syncthreads();
    if ((int)threadIdx.x < k) { /* rank among the k: few enough to compare all pairs */
        token_logprob mine = sh.list[threadIdx.x];
        int rank = 0;
        for (int j = 0; j < k; j++) {
            token_logprob y = sh.list[j];
            rank += y.logprob > mine.logprob || (y.logprob == mine.logprob && y.token < mine.token);
        }
        mine.logprob = (float)((double)mine.logprob - norm);
        o.top[(size_t)r * MAX_LOGPROBS + rank] = mine;
    }
    __syncthreads();
}

__device__ void logprobs(shared &sh, const sampler &o, int32_t r, int32_t id, float best)
{
    const float *row = o.logits + (size_t)r * o.vocab;
    double mine = 0.0;
    for (int32_t i = threadIdx.x; i < o.vocab; i += NT) {
        float x = row[i];
        if (!isnan(x) && x > -INFINITY)
            mine += (double)expf(x - best);
    }
    double norm = (double)best + log(block_sum(mine, sh.room));
    int32_t k = min(min(o.params[r].n_logprobs, (int32_t)MAX_LOGPROBS), o.vocab);
    if (k > 0)
        best_list(sh, o, r, k, norm);
    if (threadIdx.x == 0) {
        o.logprob[r] = (float)((double)logit_of(row[id]) - norm);
        o.n_top[r] = k > 0 ? k : 0;
    }
}

__global__ void __launch_bounds__(NT) sample_kernel(sampler o)
{
    extern __shared__ __align__(16) char smem[];
    shared &sh = *(shared *)smem;
    int32_t r = blockIdx.x;
    if (o.row_out[r] < 0) {
        if (threadIdx.x == 0)
            o.token[r] = -1, o.logprob[r] = 0.0f, o.n_top[r] = 0;
        return;
    }
    const float *row = o.logits + (size_t)r * o.vocab;
    mark top = best_of_row(sh, row, o.vocab);
    float best = logit_of(row[top.id]);
    int32_t id = top.id;
    if (!(o.params[r].temperature < 1e-5f) && isfinite(best))
        id = sample_row(sh, o, r, best);
    if (threadIdx.x == 0) {
        o.token[r] = id;
        o.last_token[o.row_slot[r]] = id;
        o.logprob[r] = 0.0f;
        o.n_top[r] = 0;
    }
    if (o.any_logprobs && o.params[r].n_logprobs >= 0 && isfinite(best))
        logprobs(sh, o, r, id, best);
}

} // namespace

extern "C" int cuda_sample_setup(void)
{
    return cudaFuncSetAttribute(sample_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                (int)sizeof(shared));
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
    sampler s = {o->logits,        o->params, o->pos,         o->row_slot, o->row_out,
                 o->last_token,    o->token,  o->logprob,     o->top,      o->n_top,
                 (float *)o->work, o->vocab,  o->any_logprobs};
    sample_kernel<<<o->n_rows, NT, sizeof(shared), c->stream>>>(s);
    return cuda_launched(c, "sample");
}
