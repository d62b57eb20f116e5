/* SPDX-License-Identifier: Apache-2.0 */
/* inputs.cu - op_step_inputs: the plan of a step becomes the arrays the layer ops read.
 *
 * One kernel reads the pinned step over the bus, the used parts only, so that a decode step costs
 * one launch and no copies. Block 0 applies the table edits in order (a line of the table belongs
 * to one thread, so that a later edit of an entry wins); the others take one row each.
 */
#include "common.cuh"

namespace
{

enum { THREADS = 256, EDIT_THREADS = 1024 };

/* Arrays as in op_step_inputs. */
struct inputs {
    const struct step *s; /* pinned host memory */
    int32_t *tok, *pos, *tok_row, *row_slot, *row_tok0, *row_new, *row_kv, *row_out, *page_table;
    const int32_t *last_token;
    struct sample_params *params;
    int32_t n_rows, n_tokens, n_edits, table_stride;
};

/* By the whole block, whose shared memory holds the edits in turns. */
__device__ void apply_edits(const inputs &in)
{
    __shared__ page_edit tile[EDIT_THREADS];
    for (int32_t at = 0; at < in.n_edits; at += EDIT_THREADS) {
        int32_t n = min((int32_t)EDIT_THREADS, in.n_edits - at);
        __syncthreads();
        for (int32_t i = threadIdx.x; i < n; i += blockDim.x)
            tile[i] = in.s->edits[at + i];
        __syncthreads();
        for (int32_t i = 0; i < n; i++) {
            page_edit d = tile[i];
            if ((uint32_t)d.row % blockDim.x == threadIdx.x)
                in.page_table[(size_t)d.row * in.table_stride + d.index] = d.page;
        }
    }
}

/* Row i of a padded step: no new tokens, one token of nobody, nothing to sample. */
__device__ void pad_row(const inputs &in, int32_t i)
{
    int32_t t = in.n_tokens + (i - in.n_rows);
    in.row_slot[i] = 0;
    in.row_tok0[i] = t;
    in.row_new[i] = 0;
    in.row_kv[i] = 0;
    in.row_out[i] = -1;
    sample_params p = {};
    p.top_p = 1.0f;
    p.n_logprobs = -1;
    in.params[i] = p;
    in.tok[t] = 0;
    in.pos[t] = 0;
    in.tok_row[t] = -1;
}

__global__ void step_inputs_kernel(inputs in)
{
    if (blockIdx.x == 0) {
        apply_edits(in);
        return;
    }
    int32_t i = blockIdx.x - 1;
    if (i >= in.n_rows) {
        if (threadIdx.x == 0)
            pad_row(in, i);
        return;
    }
    step_row r = in.s->rows[i];
    if (threadIdx.x == 0) {
        in.row_slot[i] = r.row;
        in.row_tok0[i] = r.token0;
        in.row_new[i] = r.n;
        in.row_kv[i] = r.first + r.n;
        in.row_out[i] = r.want == STEP_WANT_SAMPLE ? r.token0 + r.n - 1 : -1;
        in.params[i] = in.s->sample[i];
    }
    for (int32_t j = threadIdx.x; j < r.n; j += blockDim.x) {
        int32_t t = r.token0 + j, id = in.s->tokens[t];
        in.tok[t] = id == TOKEN_FROM_ROW ? in.last_token[r.row] : id;
        in.pos[t] = r.first + j;
        in.tok_row[t] = i;
    }
}

/* The host's counts of the batch; pad_rows as in op_step_inputs. */
void count(struct batch *bv, const struct step *s, int32_t pad_rows)
{
    bv->n_rows = s->n_rows;
    bv->n_tokens = s->n_tokens;
    bv->max_new = 0;
    bv->max_kv = 0;
    for (int32_t i = 0; i < s->n_rows; i++) {
        const struct step_row *r = &s->rows[i];
        if (r->n > bv->max_new)
            bv->max_new = r->n;
        if (r->first + r->n > bv->max_kv)
            bv->max_kv = r->first + r->n;
    }
    if (pad_rows > s->n_rows) {
        bv->n_tokens += pad_rows - s->n_rows;
        bv->n_rows = pad_rows;
    }
}

} // namespace

extern "C" int cuda_step_inputs(struct be *be, const struct op_step_inputs *o)
{
    struct cuda_be *c = cuda_of(be);
    int st = opcheck_step_inputs(o);
    if (st != 0)
        return st;
    const struct step *s = o->step;
    struct batch *bv = o->bv;
    count(bv, s, o->pad_rows);
    cuda_enter(c);
    st = cuda_readable_step(c, &s);
    if (st != 0)
        return st;
    inputs in = {.s = s,
                 .tok = bv->tok,
                 .pos = bv->pos,
                 .tok_row = bv->tok_row,
                 .row_slot = bv->row_slot,
                 .row_tok0 = bv->row_tok0,
                 .row_new = bv->row_new,
                 .row_kv = bv->row_kv,
                 .row_out = bv->row_out,
                 .page_table = bv->page_table,
                 .last_token = o->last_token,
                 .params = o->params,
                 .n_rows = s->n_rows,
                 .n_tokens = s->n_tokens,
                 .n_edits = s->n_edits,
                 .table_stride = bv->table_stride};
    int threads = s->n_edits > THREADS ? EDIT_THREADS : THREADS;
    step_inputs_kernel<<<1 + bv->n_rows, threads, 0, c->stream>>>(in);
    return cuda_launched(c, "step_inputs");
}
