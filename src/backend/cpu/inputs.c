/* SPDX-License-Identifier: Apache-2.0 */
/* inputs.c - op_step_inputs: the plan of a step becomes the arrays the layer ops read.
 *
 * Sequential: a few thousand integers. The step comes from our engine and was checked by the
 * executor; table bounds are the caller's contract.
 */
#include "cpu.h"

static void padding(const struct op_step_inputs *o, int32_t from_row, int32_t from_tok)
{
    struct batch *bv = o->bv;
    for (int32_t i = from_row; i < o->pad_rows; i++) {
        bv->row_slot[i] = 0;
        bv->row_tok0[i] = from_tok + (i - from_row);
        bv->row_new[i] = 0;
        bv->row_kv[i] = 0;
        bv->row_out[i] = -1;
        o->params[i] = (struct sample_params){.top_p = 1.0f, .n_logprobs = -1};
    }
    for (int32_t t = from_tok; t < from_tok + o->pad_rows - from_row; t++) {
        bv->tok[t] = 0;
        bv->pos[t] = 0;
        bv->tok_row[t] = -1;
    }
}

int cpu_step_inputs(struct be *be, const struct op_step_inputs *o)
{
    int st = opcheck_step_inputs(o);
    if (st != 0)
        return st;
    (void)be;
    const struct step *s = o->step;
    struct batch *bv = o->bv;
    for (int32_t i = 0; i < s->n_edits; i++)
        bv->page_table[(size_t)s->edits[i].row * (size_t)bv->table_stride +
                       (size_t)s->edits[i].index] = s->edits[i].page;
    bv->n_rows = s->n_rows;
    bv->n_tokens = s->n_tokens;
    bv->max_new = 0;
    bv->max_kv = 0;
    for (int32_t i = 0; i < s->n_rows; i++) {
        const struct step_row *r = &s->rows[i];
        bv->row_slot[i] = r->row;
        bv->row_tok0[i] = r->token0;
        bv->row_new[i] = r->n;
        bv->row_kv[i] = r->first + r->n;
        bv->row_out[i] = r->want == STEP_WANT_SAMPLE ? r->token0 + r->n - 1 : -1;
        o->params[i] = s->sample[i];
        if (r->n > bv->max_new)
            bv->max_new = r->n;
        if (r->first + r->n > bv->max_kv)
            bv->max_kv = r->first + r->n;
        for (int32_t j = 0; j < r->n; j++) {
            int32_t t = r->token0 + j;
            bv->tok[t] = s->tokens[t] == TOKEN_FROM_ROW ? o->last_token[r->row] : s->tokens[t];
            bv->pos[t] = r->first + j;
            bv->tok_row[t] = i;
        }
    }
    if (o->pad_rows > s->n_rows) {
        padding(o, s->n_rows, s->n_tokens);
        bv->n_tokens += o->pad_rows - s->n_rows;
        bv->n_rows = o->pad_rows;
    }
    return 0;
}
