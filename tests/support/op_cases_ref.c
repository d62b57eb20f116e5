/* SPDX-License-Identifier: Apache-2.0 */
/* op_cases_ref.c - what each op should give, computed as plainly as possible in double. Nothing
 * here shares code with a backend. See op_cases.h. */
#include "op_cases.h"

#include "mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct ref {
    const struct op_case *c;
    struct op_result *r;
};

/* Index of the buffer called name, -1 without one. */
static int find(const struct ref *f, const char *name)
{
    for (int i = 0; i < f->c->n_bufs; i++)
        if (strcmp(f->c->buf[i].name, name) == 0)
            return i;
    return -1;
}

static double in(const struct ref *f, const char *name, size_t i)
{
    const struct case_buf *b = &f->c->buf[find(f, name)];
    return case_get(b->data, b->dt, i);
}

static const void *data(const struct ref *f, const char *name)
{
    int i = find(f, name);
    return i < 0 ? NULL : f->c->buf[i].data;
}

static double *out(const struct ref *f, const char *name)
{
    return f->r->val[find(f, name)];
}

static void ref_gemm(const struct ref *f)
{
    const struct op_gemm *o = &f->c->o.gemm;
    double *y = out(f, "out");
    const struct case_buf *x = &f->c->buf[find(f, "in")], *w = &f->c->buf[find(f, "w")];
    for (int32_t i = 0; i < o->m; i++)
        for (int32_t j = 0; j < o->n_out; j++) {
            double s = data(f, "bias") ? in(f, "bias", (size_t)j) : 0;
            for (int32_t k = 0; k < o->n_in; k++)
                s += case_get(x->data, x->dt, (size_t)i * (size_t)o->n_in + (size_t)k) *
                     case_get(w->data, w->dt, (size_t)j * (size_t)o->n_in + (size_t)k);
            y[(size_t)i * (size_t)o->n_out + (size_t)j] = s;
        }
}

static void ref_embed(const struct ref *f)
{
    const struct op_embed *o = &f->c->o.embed;
    const int32_t *ids = data(f, "ids");
    for (int32_t i = 0; i < o->n_tokens; i++)
        for (int32_t j = 0; j < o->dim; j++)
            out(f, "out")[(size_t)i * (size_t)o->dim + (size_t)j] =
                ids[i] < 0 || ids[i] >= o->vocab
                    ? 0
                    : in(f, "table", (size_t)ids[i] * (size_t)o->dim + (size_t)j);
}

static void ref_gather(const struct ref *f)
{
    const struct op_gather *o = &f->c->o.gather;
    const int32_t *ix = data(f, "index");
    for (int32_t i = 0; i < o->n_rows; i++)
        for (int32_t j = 0; j < o->dim; j++)
            out(f, "out")[(size_t)i * (size_t)o->dim + (size_t)j] =
                ix[i] < 0 ? 0 : in(f, "in", (size_t)ix[i] * (size_t)o->dim + (size_t)j);
}

static double to_storage(double v, int32_t dt)
{
    float x;
    case_set(&x, dt, 0, v);
    return case_get(&x, dt, 0);
}

static void ref_add_rmsnorm(const struct ref *f)
{
    const struct op_add_rmsnorm *o = &f->c->o.add_rmsnorm;
    int joint = find(f, "x_out") >= 0;
    const char *x = joint ? "x_out" : "x";
    double *y = out(f, joint ? "x_out" : "out"), *res = out(f, "residual");
    for (int32_t i = 0; i < o->n_rows; i++) {
        double sum = 0;
        size_t at = (size_t)i * (size_t)o->dim;
        for (size_t j = at; j < at + (size_t)o->dim; j++) {
            res[j] = in(f, "residual", j);
            if (find(f, x) >= 0)
                res[j] = to_storage(res[j] + in(f, x, j), o->res_dt);
            sum += res[j] * res[j];
        }
        double scale = 1 / sqrt(sum / o->dim + (double)o->eps);
        for (int32_t j = 0; j < o->dim; j++)
            y[at + (size_t)j] = res[at + (size_t)j] * scale * in(f, "weight", (size_t)j);
    }
}

static void ref_silu_mul(const struct ref *f)
{
    const struct op_silu_mul *o = &f->c->o.silu_mul;
    for (int32_t i = 0; i < o->n_rows; i++)
        for (int32_t j = 0; j < o->dim; j++) {
            size_t at = (size_t)i * 2 * (size_t)o->dim + (size_t)j;
            double g = in(f, "in", at), u = in(f, "in", at + (size_t)o->dim);
            out(f, "out")[(size_t)i * (size_t)o->dim + (size_t)j] = g / (1 + exp(-g)) * u;
        }
}

static page_id page_of(const struct ref *f, int32_t row, int32_t pos, int32_t page_tokens)
{
    const int32_t *slot = data(f, "row_slot"), *table = data(f, "page_table");
    return table[slot[row] * f->c->bv.table_stride + pos / page_tokens];
}

static void ref_rotate(double *x, int32_t hd, int32_t pos, const float *inv_freq, double factor)
{
    for (int32_t i = 0; i < hd / 2; i++) {
        double a = (double)((float)pos * inv_freq[i]); /* the angle is an f32 by definition */
        double lo = x[i], hi = x[i + hd / 2];
        x[i] = (lo * cos(a) - hi * sin(a)) * factor;
        x[i + hd / 2] = (hi * cos(a) + lo * sin(a)) * factor;
    }
}

static void ref_rope_head(const struct ref *f, int32_t t, int32_t h)
{
    const struct op_rope_kv_write *o = &f->c->o.rope_kv_write;
    int32_t hd = o->kv.head_dim, nkv = o->kv.n_kv_heads, n_all = o->n_heads + 2 * nkv;
    int32_t pos = ((const int32_t *)data(f, "pos"))[t],
            row = ((const int32_t *)data(f, "tok_row"))[t];
    size_t at = ((size_t)t * (size_t)n_all + (size_t)h) * (size_t)hd;
    double x[256], sum = 0;
    int is_q = h < o->n_heads, is_v = h >= o->n_heads + nkv;
    for (int32_t i = 0; i < hd; i++) {
        x[i] = in(f, "qkv", at + (size_t)i);
        sum += x[i] * x[i];
    }
    if (!is_v && find(f, "q_norm") >= 0)
        for (int32_t i = 0; i < hd; i++)
            x[i] *= in(f, is_q ? "q_norm" : "k_norm", (size_t)i) / sqrt(sum / hd + (double)o->eps);
    if (!is_v)
        ref_rotate(x, hd, pos, data(f, "inv_freq"), (double)o->attn_factor);
    double *to = out(f, "qkv") + at;
    if (!is_q)
        to = out(f, "pool") + kv_offset(&o->kv, page_of(f, row, pos, o->kv.page_tokens), o->layer,
                                        is_v, (h - o->n_heads) % nkv, pos % o->kv.page_tokens);
    for (int32_t i = 0; i < hd; i++)
        to[i] = is_v ? to_storage(x[i], o->kv.dt) : x[i];
}

static void ref_rope_kv_write(const struct ref *f)
{
    const struct op_rope_kv_write *o = &f->c->o.rope_kv_write;
    const int32_t *tok_row = data(f, "tok_row");
    for (int32_t t = 0; t < f->c->bv.n_tokens; t++)
        for (int32_t h = 0; tok_row[t] >= 0 && h < o->n_heads + 2 * o->kv.n_kv_heads; h++)
            ref_rope_head(f, t, h);
}

/* One query head of one token over keys 0..pos. */
static void ref_attend(const struct ref *f, int32_t t, int32_t h)
{
    const struct op_attn *o = &f->c->o.attn_prefill;
    const struct kv_pool_view *kv = &o->kv;
    int32_t pos = ((const int32_t *)data(f, "pos"))[t],
            row = ((const int32_t *)data(f, "tok_row"))[t];
    int32_t hd = kv->head_dim, kvh = h / (o->n_heads / kv->n_kv_heads);
    double *s = xcalloc2((size_t)pos + 1, sizeof *s), max = -INFINITY, sum = 0;
    const struct case_buf *pool = &f->c->buf[find(f, "pool")], *q = &f->c->buf[find(f, "q")];
    for (int32_t k = 0; k <= pos; k++) {
        size_t at = kv_offset(kv, page_of(f, row, k, kv->page_tokens), o->layer, 0, kvh,
                              k % kv->page_tokens);
        for (int32_t d = 0; d < hd; d++)
            s[k] += case_get(q->data, q->dt,
                             (size_t)t * (size_t)o->qkv_stride + (size_t)(h * hd + d)) *
                    case_get(pool->data, pool->dt, at + (size_t)d);
        s[k] *= (double)o->scale;
        max = fmax(max, s[k]);
    }
    double *y = out(f, "out") + ((size_t)t * (size_t)o->n_heads + (size_t)h) * (size_t)hd;
    memset(y, 0, (size_t)hd * sizeof *y);
    for (int32_t k = 0; k <= pos; k++)
        sum += exp(s[k] - max);
    for (int32_t k = 0; k <= pos; k++) {
        size_t at = kv_offset(kv, page_of(f, row, k, kv->page_tokens), o->layer, 1, kvh,
                              k % kv->page_tokens);
        for (int32_t d = 0; d < hd; d++)
            y[d] += exp(s[k] - max) / sum * case_get(pool->data, pool->dt, at + (size_t)d);
    }
    free(s);
}

static void ref_attn(const struct ref *f)
{
    const int32_t *tok_row = data(f, "tok_row");
    for (int32_t t = 0; t < f->c->bv.n_tokens; t++)
        for (int32_t h = 0; tok_row[t] >= 0 && h < f->c->o.attn_prefill.n_heads; h++)
            ref_attend(f, t, h);
}

static void ref_hidden(const struct ref *f)
{
    const struct op_hidden *o = &f->c->o.hidden;
    const int32_t *want = data(f, "want"), *tok0 = data(f, "row_tok0"), *n = data(f, "row_new"),
                  *kv = data(f, "row_kv"), *slot = data(f, "row_slot");
    for (int32_t i = 0; i < f->c->bv.n_rows; i++)
        for (int32_t j = 0; n[i] > 0 && j < o->dim; j++) {
            double *to = &out(f, "out")[i * o->dim + j],
                   *sum = &out(f, "sum")[slot[i] * o->dim + j];
            if (want[i] == STEP_WANT_HIDDEN)
                *to = in(f, "in", (size_t)((tok0[i] + n[i] - 1) * o->dim + j));
            if (want[i] != STEP_WANT_SUM && want[i] != STEP_WANT_MEAN)
                continue;
            *sum = kv[i] == n[i] ? 0 : *sum;
            for (int32_t t = tok0[i]; t < tok0[i] + n[i]; t++)
                *sum = to_storage(*sum + in(f, "in", (size_t)(t * o->dim + j)), DT_F32);
            if (want[i] == STEP_WANT_MEAN)
                *to = *sum / kv[i];
        }
}

static void ref_copy_pages(const struct ref *f)
{
    const struct op_copy_pages *o = &f->c->o.copy_pages;
    const struct page_copy *pc = data(f, "copies");
    size_t n = kv_page_elems(&o->kv);
    for (int32_t i = 0; i < o->n; i++)
        for (size_t k = 0; k < n; k++)
            out(f, "pool")[(size_t)pc[i].dst * n + k] = in(f, "pool", (size_t)pc[i].src * n + k);
}

static void ref_step_inputs(const struct ref *f)
{
    const struct step *s = data(f, "step");
    const int32_t *last = data(f, "last_token");
    struct batch *bv = &f->r->bv;
    int32_t pad = f->c->o.step_inputs.pad_rows;
    bv->n_rows = pad > s->n_rows ? pad : s->n_rows;
    bv->n_tokens = s->n_tokens + bv->n_rows - s->n_rows;
    bv->max_new = bv->max_kv = 0;
    struct sample_params *params = f->r->raw[find(f, "params")];
    for (int32_t e = 0; e < s->n_edits; e++)
        out(f, "page_table")[s->edits[e].row * f->c->bv.table_stride + s->edits[e].index] =
            s->edits[e].page;
    for (int32_t i = 0, t = 0; i < bv->n_rows; i++) {
        int real = i < s->n_rows;
        const struct step_row *w = &s->rows[real ? i : 0];
        out(f, "row_slot")[i] = real ? w->row : 0;
        out(f, "row_tok0")[i] = t;
        out(f, "row_new")[i] = real ? w->n : 0;
        out(f, "row_kv")[i] = real ? w->first + w->n : 0;
        out(f, "row_out")[i] = real && w->want == STEP_WANT_SAMPLE ? t + w->n - 1 : -1;
        params[i] = real ? s->sample[i] : (struct sample_params){.top_p = 1.0f, .n_logprobs = -1};
        bv->max_new = real && w->n > bv->max_new ? w->n : bv->max_new;
        bv->max_kv = real && w->first + w->n > bv->max_kv ? w->first + w->n : bv->max_kv;
        for (int32_t j = 0; j < (real ? w->n : 1); j++, t++) {
            int32_t id = real ? s->tokens[t] : 0;
            out(f, "tok")[t] = id == TOKEN_FROM_ROW ? last[w->row] : id;
            out(f, "pos")[t] = real ? w->first + j : 0;
            out(f, "tok_row")[t] = real ? i : -1;
        }
    }
}

struct weighed {
    double w;
    int32_t id;
};

static int by_weight(const void *a, const void *b)
{
    const struct weighed *x = a, *y = b;
    return x->w != y->w ? (x->w > y->w ? -1 : 1) : (x->id > y->id) - (x->id < y->id);
}

static int by_id(const void *a, const void *b)
{
    return ((const struct weighed *)a)->id - ((const struct weighed *)b)->id;
}

/* 53 random bits of (seed, pos) by Philox4x32-10, written out on its own. */
static double ref_unit(uint64_t seed, uint32_t pos)
{
    uint64_t x[4] = {pos, 0, 0, 0}, k[2] = {seed & 0xffffffffu, seed >> 32};
    for (int i = 0; i < 10; i++) {
        uint64_t p0 = x[0] * 3528531795u, p1 = x[2] * 3449720151u;
        uint64_t y[4] = {(p1 >> 32) ^ x[1] ^ k[0], p1 & 0xffffffffu, (p0 >> 32) ^ x[3] ^ k[1],
                         p0 & 0xffffffffu};
        memcpy(x, y, sizeof x);
        k[0] = (k[0] + 2654435769u) & 0xffffffffu;
        k[1] = (k[1] + 3144134277u) & 0xffffffffu;
    }
    return (double)((x[0] << 32 | x[1]) >> 11) / 9007199254740992.0;
}

/* Of c (best first) the first so many that pass top-k and top-p and min-p. */
static int32_t ref_keep(const struct weighed *c, int32_t n, const struct sample_params *p)
{
    if (p->top_k > 0 && p->top_k < n)
        n = p->top_k;
    if (p->top_p < 1.0f) {
        double all = 0, sum = 0;
        for (int32_t i = 0; i < n; i++)
            all += c[i].w;
        int32_t k = 0;
        do
            sum += c[k++].w;
        while (k < n && sum < (double)p->top_p * all);
        n = k;
    }
    while (n > 1 && c[n - 1].w < (double)p->min_p && c[n - 1].w < 1)
        n--;
    return n;
}

static int32_t ref_best(const float *row, int32_t vocab)
{
    int32_t best = 0;
    for (int32_t t = 1; t < vocab; t++)
        if (row[t] > row[best])
            best = t;
    return best;
}

static int32_t ref_draw(const float *row, int32_t best, int32_t vocab,
                        const struct sample_params *p, int32_t pos)
{
    if (p->temperature < 1e-5f)
        return best;
    struct weighed *c = xcalloc2((size_t)vocab, sizeof *c);
    int32_t n = 0;
    for (int32_t i = 0; i < vocab; i++) {
        float w = expf((row[i] - row[best]) / p->temperature);
        if (w > 0.0f)
            c[n++] = (struct weighed){(double)w, i};
    }
    qsort(c, (size_t)n, sizeof *c, by_weight);
    n = ref_keep(c, n, p);
    qsort(c, (size_t)n, sizeof *c, by_id);
    double all = 0, sum = 0;
    for (int32_t i = 0; i < n; i++)
        all += c[i].w;
    int32_t k = 0;
    for (; k < n - 1; k++) {
        sum += c[k].w;
        if (sum > ref_unit(p->seed, (uint32_t)pos) * all)
            break;
    }
    int32_t id = c[k].id;
    free(c);
    return id;
}

/* Numbers all, and one of them finite? */
static bool ref_sound(const float *row, int32_t vocab)
{
    bool finite = false;
    for (int32_t t = 0; t < vocab; t++) {
        if (isnan(row[t]) || (isinf(row[t]) && row[t] > 0))
            return false;
        finite |= isfinite(row[t]) != 0;
    }
    return finite;
}

/* The logprob of `token` and the k best, of row i. */
static void ref_logprobs(const struct ref *f, int32_t i, int32_t vocab, int32_t token, int32_t k)
{
    const float *row = (const float *)data(f, "logits") + (size_t)i * (size_t)vocab;
    struct weighed *c = xcalloc2((size_t)vocab, sizeof *c);
    double sum = 0, best = (double)row[ref_best(row, vocab)];
    for (int32_t t = 0; t < vocab; t++) {
        c[t] = (struct weighed){(double)row[t], t};
        sum += exp((double)row[t] - best);
    }
    /* cppcheck-suppress invalidFunctionArg; the best token itself adds 1 to the sum */
    double norm = best + log(sum);
    qsort(c, (size_t)vocab, sizeof *c, by_weight);
    k = k < vocab ? k : vocab;
    struct token_logprob *top = f->r->raw[find(f, "top")];
    for (int32_t j = 0; j < k; j++)
        top[i * MAX_LOGPROBS + j] = (struct token_logprob){c[j].id, (float)(c[j].w - norm)};
    out(f, "n_top")[i] = k;
    out(f, "logprob")[i] = (double)row[token] - norm;
    free(c);
}

static void ref_place(const struct ref *f, int32_t i, int32_t vocab, int32_t token)
{
    const float *row = (const float *)data(f, "logits") + (size_t)i * (size_t)vocab;
    int32_t better = 0;
    for (int32_t t = 0; t < vocab; t++)
        better += t < token ? row[t] >= row[token] : row[t] > row[token];
    out(f, "rank")[i] = better + 1;
}

static void ref_score(const struct ref *f)
{
    const struct op_score *o = &f->c->o.score;
    const struct score_want *w = data(f, "want");
    for (int32_t i = 0; i < o->n_rows; i++) {
        if (w[i].token < 0 || w[i].token >= o->vocab)
            continue;
        if (!ref_sound((const float *)data(f, "logits") + (size_t)i * (size_t)o->vocab, o->vocab)) {
            out(f, "logprob")[i] = NAN;
            continue;
        }
        ref_place(f, i, o->vocab, w[i].token);
        ref_logprobs(f, i, o->vocab, w[i].token, w[i].n_top);
    }
}

/* One operation at a time, each result stored as f32. */
static float ref_penalty(float x, uint16_t count, const struct sample_params *p)
{
    volatile float y = x, z;
    float rep = p->repetition_penalty;
    if (count == 0)
        return x;
    if (rep != 0)
        y = y > 0 ? y / rep : y * rep;
    z = p->frequency_penalty * (float)(count % 32768);
    y = y - z;
    if (count % 32768 > 0)
        y = y - p->presence_penalty;
    return y;
}

static void ref_adjust_row(const struct ref *f, int32_t i, const struct row_adjust *a)
{
    const struct op_adjust *o = &f->c->o.adjust;
    size_t at = (size_t)i * (size_t)o->vocab;
    int32_t slot = ((const int32_t *)data(f, "row_slot"))[i];
    int32_t last = ((const int32_t *)data(f, "last_token"))[slot];
    const float *x = (const float *)data(f, "logits") + at;
    const uint32_t *area = data(f, "area");
    const struct sample_params *p = (const struct sample_params *)data(f, "params") + i;
    uint16_t *count = (uint16_t *)f->r->raw[find(f, "counts")] + (size_t)slot * (size_t)o->vocab;
    double *y = out(f, "out") + at;
    if (a->kind == ADJUST_COUNTED && last >= 0 && last < o->vocab && count[last] % 32768 < 32767)
        count[last]++;
    for (int32_t t = 0; a->kind == ADJUST_COUNTS && t < o->vocab; t++)
        count[t] = 0;
    for (int32_t k = 0; a->kind == ADJUST_COUNTS && k < a->n_counts; k++) {
        uint32_t w = area[a->counts0 + 2 * k + 1], n = w & 0xffffff;
        count[area[a->counts0 + 2 * k]] = (uint16_t)((n > 32767 ? 32767 : n) + (w >> 31) * 32768);
    }
    for (int32_t t = 0; t < o->vocab; t++)
        y[t] = (double)(a->kind >= ADJUST_COUNTED ? ref_penalty(x[t], count[t], p) : x[t]);
    for (int32_t k = 0; k < a->n_bias; k++) {
        float b;
        memcpy(&b, &area[a->bias0 + 2 * k + 1], sizeof b);
        y[area[a->bias0 + 2 * k]] = (double)((float)y[area[a->bias0 + 2 * k]] + b);
    }
    for (int32_t t = 0; a->mask0 >= 0 && t < o->vocab; t++)
        if (!(area[a->mask0 + t / 32] & 1u << t % 32))
            y[t] = -INFINITY;
}

static void ref_adjust(const struct ref *f)
{
    const struct row_adjust *a = data(f, "adjust");
    for (int32_t i = 0; i < f->c->o.adjust.n_rows; i++)
        if (((const int32_t *)data(f, "row_out"))[i] >= 0 && a[i].kind != ADJUST_NONE)
            ref_adjust_row(f, i, &a[i]);
}

static void ref_sample(const struct ref *f)
{
    const struct op_sample *o = &f->c->o.sample;
    const int32_t *row_out = data(f, "row_out"), *slot = data(f, "row_slot"), *pos = data(f, "pos");
    const struct sample_params *p = data(f, "params");
    for (int32_t i = 0; i < o->n_rows; i++) {
        const float *row = (const float *)data(f, "logits") + (size_t)i * (size_t)o->vocab;
        int32_t best = ref_best(row, o->vocab);
        out(f, "token")[i] = -1;
        if (row_out[i] < 0)
            continue;
        const struct row_adjust *a = data(f, "adjust");
        const float *from = row;
        int32_t first = best;
        if (a && a[i].kind != ADJUST_NONE) {
            from = (const float *)data(f, "adjusted") + (size_t)i * (size_t)o->vocab;
            first = ref_best(from, o->vocab);
        }
        bool sound = ref_sound(row, o->vocab) && ref_sound(from, o->vocab);
        out(f, "token")[i] = sound ? ref_draw(from, first, o->vocab, &p[i], pos[i]) : TOKEN_NUMERIC;
        out(f, "last_token")[slot[i]] = out(f, "token")[i];
        if (sound && o->any_logprobs && p[i].n_logprobs >= 0)
            ref_logprobs(f, i, o->vocab, (int32_t)out(f, "token")[i], p[i].n_logprobs);
    }
}

void op_case_reference(const struct op_case *c, struct op_result *r)
{
    struct ref f = {c, r};
    memset(r, 0, sizeof *r);
    r->bv = c->bv;
    for (int i = 0; i < c->n_bufs; i++) {
        const struct case_buf *b = &c->buf[i];
        if (b->role != CASE_OUT && b->role != CASE_INOUT)
            continue;
        if (b->dt >= CASE_RAW) {
            r->raw[i] = xcalloc2(b->n ? b->n : 1, sizeof(struct token_logprob));
            if (b->data && b->dt == CASE_RAW)
                memcpy(r->raw[i], b->data, b->n);
            continue;
        }
        r->val[i] = xcalloc2(b->n, sizeof(double));
        for (size_t k = 0; b->data && k < b->n; k++)
            r->val[i][k] = case_get(b->data, b->dt, k);
    }
    switch (c->id) {
    case OP_attn_prefill:
    case OP_attn_decode:
        ref_attn(&f);
        break;
#define REF(n)                                                                                     \
    case OP_##n:                                                                                   \
        ref_##n(&f);                                                                               \
        break;
        REF(step_inputs)
        REF(embed)
        REF(add_rmsnorm)
        REF(gemm)
        REF(rope_kv_write)
        REF(silu_mul)
        REF(gather)
        REF(adjust)
        REF(sample)
        REF(score)
        REF(hidden)
        REF(copy_pages)
#undef REF
    default:
        break;
    }
}
