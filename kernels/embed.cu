/* embed.cu - rows picked by index: op_embed from the table, op_gather from activations. */
#include "common.cuh"

namespace
{

enum { THREADS = 128 };

/* Rows of `dim` 16-bit elements; a missing row gives zeros. V: uint4 where dim allows, else one. */
template <class V>
__global__ void pick_rows(V *out, const V *in, const int32_t *index, int32_t n_in, int32_t n_vec)
{
    int32_t at = index[blockIdx.x];
    bool ok = at >= 0 && at < n_in;
    V *to = out + (size_t)blockIdx.x * n_vec;
    const V *from = in + (size_t)(ok ? at : 0) * n_vec;
    for (int32_t i = blockIdx.y * blockDim.x + threadIdx.x; i < n_vec; i += gridDim.y * blockDim.x)
        to[i] = ok ? from[i] : V{};
}

int pick(struct cuda_be *c, void *out, const void *in, const int32_t *index, int32_t n,
         int32_t n_in, int32_t dim, int32_t dt, const char *what)
{
    if (dt == DT_F32)
        return ST_UNSUPPORTED;
    if (n == 0)
        return 0;
    if (dim % 8 == 0) {
        dim3 grid(n, n < 64 ? ceil_div(dim / 8, THREADS) : 1);
        pick_rows<uint4><<<grid, THREADS, 0, c->stream>>>((uint4 *)out, (const uint4 *)in, index,
                                                          n_in, dim / 8);
    } else {
        pick_rows<uint16_t>
            <<<n, THREADS, 0, c->stream>>>((uint16_t *)out, (const uint16_t *)in, index, n_in, dim);
    }
    return cuda_launched(c, what);
}

/* The same into f32. */
template <class T>
__global__ void widen_rows(float *out, const T *in, const int32_t *index, int32_t n_in, int32_t dim)
{
    int32_t at = index[blockIdx.x];
    bool ok = at >= 0 && at < n_in;
    float *to = out + (size_t)blockIdx.x * dim;
    const T *from = in + (size_t)(ok ? at : 0) * dim;
    for (int32_t i = blockIdx.y * blockDim.x + threadIdx.x; i < dim; i += gridDim.y * blockDim.x)
        to[i] = ok ? to_f32(from[i]) : 0.0f;
}

} // namespace

extern "C" int cuda_embed(struct be *be, const struct op_embed *o)
{
    struct cuda_be *c = cuda_of(be);
    int st = opcheck_embed(o);
    if (st != 0)
        return st;
    if (o->out_dt == o->dt)
        return pick(c, o->out, o->table->data, o->ids, o->n_tokens, o->vocab, o->dim, o->dt,
                    "embed");
    if (o->n_tokens == 0)
        return 0;
    dim3 grid(o->n_tokens, o->n_tokens < 64 ? ceil_div(o->dim, THREADS) : 1);
    WITH_TYPE(o->dt, widen_rows<T><<<grid, THREADS, 0, c->stream>>>(
                         (float *)o->out, (const T *)o->table->data, o->ids, o->vocab, o->dim));
    return cuda_launched(c, "embed");
}

extern "C" int cuda_gather(struct be *be, const struct op_gather *o)
{
    int st = opcheck_gather(o);
    return st != 0 ? st
                   : pick(cuda_of(be), o->out, o->in, o->index, o->n_rows, INT32_MAX, o->dim, o->dt,
                          "gather");
}
