/* SPDX-License-Identifier: Apache-2.0 */
/* embed.cu - rows picked by index: op_embed from the table, op_gather from activations. */
#include "common.cuh"

namespace
{

enum { THREADS = 128 };

/* out[i] = in[index[i]], zeros where the index is outside [0, n_in); n: elements of a row. Blocks:
 * x is the output row, and where there are few rows, several blocks (y) share one. */
template <class O, class I> struct pick {
    O *out;
    const I *in;
    const int32_t *index;
    int32_t n_in, n;
};

/* Rows copied as they are. V: 16 bytes where the width allows it, else one 16-bit element. */
template <class V> __global__ void pick_rows(pick<V, V> o)
{
    int32_t at = o.index[blockIdx.x];
    bool ok = at >= 0 && at < o.n_in;
    V *to = o.out + (size_t)blockIdx.x * o.n;
    const V *from = o.in + (size_t)(ok ? at : 0) * o.n;
    for (int32_t i = blockIdx.y * blockDim.x + threadIdx.x; i < o.n; i += gridDim.y * blockDim.x)
        to[i] = ok ? from[i] : V{};
}

/* Rows of T into rows of f32. */
template <class T> __global__ void widen_rows(pick<float, T> o)
{
    int32_t at = o.index[blockIdx.x];
    bool ok = at >= 0 && at < o.n_in;
    float *to = o.out + (size_t)blockIdx.x * o.n;
    const T *from = o.in + (size_t)(ok ? at : 0) * o.n;
    for (int32_t i = blockIdx.y * blockDim.x + threadIdx.x; i < o.n; i += gridDim.y * blockDim.x)
        to[i] = ok ? to_f32(from[i]) : 0.0f;
}

/* Many rows fill the GPU with one block each. */
dim3 grid_of(int32_t n_rows, int32_t n)
{
    return dim3(n_rows, n_rows < 64 ? ceil_div(n, THREADS) : 1);
}

/* An op that copies rows of 16-bit elements. */
int copy_rows(struct cuda_be *c, const struct op_gather *o, int32_t n_in, const char *what)
{
    if (o->dt == DT_F32)
        return ST_UNSUPPORTED;
    if (o->n_rows == 0)
        return 0;
    if (o->dim % 8 == 0) {
        pick<uint4, uint4> p = {.out = (uint4 *)o->out,
                                .in = (const uint4 *)o->in,
                                .index = o->index,
                                .n_in = n_in,
                                .n = o->dim / 8};
        pick_rows<<<grid_of(o->n_rows, p.n), THREADS, 0, c->stream>>>(p);
    } else {
        pick<uint16_t, uint16_t> p = {.out = (uint16_t *)o->out,
                                      .in = (const uint16_t *)o->in,
                                      .index = o->index,
                                      .n_in = n_in,
                                      .n = o->dim};
        pick_rows<<<o->n_rows, THREADS, 0, c->stream>>>(p);
    }
    return cuda_launched(c, what);
}

} // namespace

extern "C" int cuda_embed(struct be *be, const struct op_embed *o)
{
    struct cuda_be *c = cuda_of(be);
    int st = opcheck_embed(o);
    if (st != 0)
        return st;
    if (o->out_dt == o->dt) {
        struct op_gather same = {.out = o->out,
                                 .in = o->table->data,
                                 .index = o->ids,
                                 .n_rows = o->n_tokens,
                                 .dim = o->dim,
                                 .dt = o->dt};
        return copy_rows(c, &same, o->vocab, "embed");
    }
    if (o->n_tokens == 0)
        return 0;
    WITH_TYPE(o->dt, pick<float, T> p = {.out = (float *)o->out,
                                         .in = (const T *)o->table->data,
                                         .index = o->ids,
                                         .n_in = o->vocab,
                                         .n = o->dim};
              widen_rows<<<grid_of(o->n_tokens, o->dim), THREADS, 0, c->stream>>>(p));
    return cuda_launched(c, "embed");
}

extern "C" int cuda_gather(struct be *be, const struct op_gather *o)
{
    int st = opcheck_gather(o);
    return st != 0 ? st : copy_rows(cuda_of(be), o, INT32_MAX, "gather");
}
