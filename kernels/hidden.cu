/* SPDX-License-Identifier: Apache-2.0 */
/* hidden.cu - op_hidden: the hidden state of a chunk's last token, or the mean over a prompt.
 *
 * A thread takes a column of a row and adds its tokens one after the other, in f32, so a cut of the
 * prompt changes no bit; loads of neighbouring threads lie side by side.
 */
#include "common.cuh"

namespace
{

enum { THREADS = 128 };

/* Arrays as in op_hidden and struct batch. */
template <class T> struct hidden {
    float *out, *sum;
    const T *in;
    const int32_t *want, *row_slot, *row_tok0, *row_new, *row_kv;
    int32_t dim;
};

template <class T> __global__ void hidden_kernel(hidden<T> o)
{
    int32_t r = blockIdx.y, j = blockIdx.x * THREADS + threadIdx.x, want = o.want[r];
    int32_t n = o.row_new[r], kv = o.row_kv[r];
    if (j >= o.dim || n == 0)
        return;
    const T *x = o.in + (size_t)o.row_tok0[r] * o.dim + j;
    float *to = o.out + (size_t)r * o.dim + j;
    if (want == STEP_WANT_HIDDEN)
        *to = to_f32(x[(size_t)(n - 1) * o.dim]);
    if (want != STEP_WANT_SUM && want != STEP_WANT_MEAN)
        return;
    float *sum = o.sum + (size_t)o.row_slot[r] * o.dim + j;
    float s = kv == n ? 0.0f : *sum;
#pragma unroll 8
    for (int32_t t = 0; t < n; t++)
        s += to_f32(x[(size_t)t * o.dim]);
    *sum = s;
    if (want == STEP_WANT_MEAN)
        *to = __fdiv_rn(s, (float)kv);
}

} // namespace

extern "C" int cuda_hidden(struct be *be, const struct op_hidden *o)
{
    struct cuda_be *c = cuda_of(be);
    int st = opcheck_hidden(o);
    if (st != 0 || o->bv->n_rows == 0)
        return st;
    dim3 grid(ceil_div(o->dim, THREADS), o->bv->n_rows);
    WITH_TYPE(o->dt, hidden<T> h = {.out = o->out,
                                    .sum = o->sum,
                                    .in = (const T *)o->in,
                                    .want = o->want,
                                    .row_slot = o->bv->row_slot,
                                    .row_tok0 = o->bv->row_tok0,
                                    .row_new = o->bv->row_new,
                                    .row_kv = o->bv->row_kv,
                                    .dim = o->dim};
              hidden_kernel<T><<<grid, THREADS, 0, c->stream>>>(h));
    return cuda_launched(c, "hidden");
}
