/* SPDX-License-Identifier: Apache-2.0 */
/* opcheck.c - the checks every launcher makes first, shared by the bodies of all backends.
 *
 * Any thread. They look at host values only (counts, dimensions, types, NULL); what lies behind the
 * pointers is the caller's contract. ST_INVALID_VALUE means a bug in the caller, answered instead
 * of asserted because launchers are also called with odd arguments by tests. Zero rows are fine.
 */
#include "calls.h"

static int is_dt(int32_t dt)
{
    return dt >= 0 && dt < N_DTYPES;
}

static int verdict(int ok)
{
    return ok ? 0 : ST_INVALID_VALUE;
}

/* Row-major memory is of the op's type; what a backend packed may hold the values in fewer bits. */
static int is_matrix(const struct matrix *w, int64_t n_out, int64_t n_in, int32_t dt)
{
    return w && w->data && w->n_out == n_out && w->n_in == n_in && is_dt(w->dt) &&
           (w->packed || (w->dt == dt && w->code == WC_PLAIN)) &&
           (w->code == WC_PLAIN || (w->scale && w->bits > 0 && w->group_in > 0));
}

static int is_pool(const struct kv_pool_view *p)
{
    return p->base && is_dt(p->dt) && p->n_pages > 0 && p->n_layers > 0 && p->n_kv_heads > 0 &&
           p->page_tokens > 0 && p->page_tokens % 16 == 0 && p->head_dim > 0 &&
           p->head_dim % 16 == 0 && p->head_dim <= 256;
}

static int is_batch(const struct batch *b)
{
    return b && b->n_rows >= 0 && b->n_rows <= MAX_ROWS && b->n_tokens >= 0 &&
           b->n_tokens <= MAX_STEP_TOKENS && b->max_new >= 0 && b->max_kv >= 0 &&
           b->table_stride > 0 && b->tok && b->pos && b->tok_row && b->row_slot && b->row_tok0 &&
           b->row_new && b->row_kv && b->row_out && b->page_table;
}

int opcheck_step_inputs(const struct op_step_inputs *o)
{
    const struct step *s = o->step;
    if (!s || !is_batch(o->bv) || !o->last_token || !o->params)
        return ST_INVALID_VALUE;
    return verdict(s->version == STEP_VERSION && s->n_rows >= 0 && s->n_rows <= MAX_ROWS &&
                   s->n_tokens >= 0 && s->n_tokens <= MAX_STEP_TOKENS && s->n_edits >= 0 &&
                   s->n_edits <= MAX_EDITS && o->pad_rows >= 0 && o->pad_rows <= MAX_ROWS);
}

int opcheck_embed(const struct op_embed *o)
{
    return verdict(o->n_tokens >= 0 && o->dim > 0 && o->vocab > 0 && is_dt(o->dt) &&
                   (o->out_dt == o->dt || o->out_dt == DT_F32) && o->out && o->ids &&
                   is_matrix(o->table, o->vocab, o->dim, o->dt));
}

int opcheck_add_rmsnorm(const struct op_add_rmsnorm *o)
{
    return verdict(o->n_rows >= 0 && o->dim > 0 && is_dt(o->dt) &&
                   (o->res_dt == o->dt || o->res_dt == DT_F32) && o->out && o->residual &&
                   o->out != o->residual && o->weight && o->eps >= 0.0f);
}

int opcheck_gemm(const struct op_gemm *o)
{
    return verdict(o->m >= 0 && o->n_in > 0 && o->n_out > 0 && is_dt(o->dt) && is_dt(o->out_dt) &&
                   o->out && o->in && o->out != o->in &&
                   is_matrix(o->w, o->n_out, o->n_in, o->dt) && o->w->act_form == ACT_PLAIN);
}

int opcheck_rope_kv_write(const struct op_rope_kv_write *o)
{
    return verdict(o->qkv && o->inv_freq && !o->q_norm == !o->k_norm && o->n_heads > 0 &&
                   is_dt(o->dt) && is_pool(&o->kv) && o->layer >= 0 && o->layer < o->kv.n_layers &&
                   o->n_heads % o->kv.n_kv_heads == 0 && is_batch(o->bv));
}

int opcheck_attn_prefill(const struct op_attn *o)
{
    return verdict(o->out && o->q && o->n_heads > 0 && is_dt(o->dt) && is_pool(&o->kv) &&
                   o->layer >= 0 && o->layer < o->kv.n_layers &&
                   o->n_heads % o->kv.n_kv_heads == 0 &&
                   o->qkv_stride >= o->n_heads * o->kv.head_dim && is_batch(o->bv));
}

int opcheck_attn_decode(const struct op_attn *o)
{
    return opcheck_attn_prefill(o);
}

int opcheck_silu_mul(const struct op_silu_mul *o)
{
    return verdict(o->n_rows >= 0 && o->dim > 0 && is_dt(o->dt) && o->out && o->in &&
                   o->out != o->in);
}

int opcheck_gather(const struct op_gather *o)
{
    return verdict(o->n_rows >= 0 && o->dim > 0 && is_dt(o->dt) && o->out && o->in && o->index &&
                   o->out != o->in);
}

int opcheck_adjust(const struct op_adjust *o)
{
    return verdict(o->n_rows >= 0 && o->n_rows <= MAX_ROWS && o->vocab > 0 && o->out && o->logits &&
                   o->out != o->logits && o->params && o->adjust && o->area && o->row_slot &&
                   o->row_out && o->last_token && o->counts);
}

int opcheck_sample(const struct op_sample *o)
{
    return verdict(o->n_rows >= 0 && o->n_rows <= MAX_ROWS && o->vocab > 0 && o->logits &&
                   o->params && o->pos && o->row_slot && o->row_out && o->last_token && o->token &&
                   o->logprob && o->top && o->n_top && (!o->adjust || o->adjusted));
}

int opcheck_score(const struct op_score *o)
{
    return verdict(o->n_rows >= 0 && o->n_rows <= MAX_STEP_TOKENS && o->vocab > 0 && o->logits &&
                   o->want && o->logprob && o->top && o->n_top && o->rank);
}

int opcheck_hidden(const struct op_hidden *o)
{
    return verdict(o->dim > 0 && is_dt(o->dt) && o->out && o->sum && o->in && o->want &&
                   is_batch(o->bv));
}

int opcheck_copy_pages(const struct op_copy_pages *o)
{
    if (o->n < 0 || o->n > MAX_COPIES || !is_pool(&o->kv) || (o->n > 0 && !o->copies))
        return ST_INVALID_VALUE;
    for (int32_t i = 0; i < o->n; i++) {
        const struct page_copy *c = &o->copies[i];
        if (c->src < 0 || c->src >= o->kv.n_pages || c->dst < 0 || c->dst >= o->kv.n_pages)
            return ST_INVALID_VALUE;
    }
    return 0;
}
