/* SPDX-License-Identifier: Apache-2.0 */
/* sample.c - op_sample: one token per row, exactly as ops.h defines it.
 *
 * Sums are taken in double in ascending id order. Where top-k or top-p cut, the cut is found by
 * selection (expected linear time), never by sorting the vocabulary. Padding of the row does not
 * matter: a row reads its own logits only.
 */
#include "cpu.h"
#include "logprob.h"
#include "philox.h"

#include <math.h>
#include <string.h>

struct cand {
    float w; /* exp((logit - best) / temperature): 1 for the best */
    token_id id;
};

/* A comes before b: by weight, then by id. */
static inline int before(struct cand a, struct cand b)
{
    return a.w > b.w || (a.w == b.w && a.id < b.id);
}

/* Moves what comes before the pivot to the front; returns how many and their weight. */
static int32_t split(struct cand *c, int32_t n, struct cand pivot, double *weight)
{
    int32_t k = 0;
    *weight = 0;
    for (int32_t i = 0; i < n; i++)
        if (before(c[i], pivot)) {
            struct cand t = c[k];
            c[k++] = c[i];
            c[i] = t;
            *weight += (double)c[k - 1].w;
        }
    return k;
}

static struct cand median3(const struct cand *c, int32_t n)
{
    struct cand x = c[0], y = c[n / 2], z = c[n - 1], t;
    if (before(y, x)) {
        t = x;
        x = y;
        y = t;
    }
    if (before(z, y))
        y = before(z, x) ? x : z;
    return y;
}

/* The shortest head of the order whose count reaches max_n or whose weight reaches max_weight, at
 * least one: its length, and the last candidate of it in *last. Reorders c. */
static int32_t select_head(struct cand *c, int32_t n, int32_t max_n, double max_weight,
                           struct cand *last)
{
    int32_t taken = 0;
    double weight = 0;
    while (n > 1) {
        struct cand pivot = median3(c, n);
        double w;
        int32_t k = split(c, n, pivot, &w);
        /* c[0..k) come before the pivot, which is in c[k..n) */
        if (k > 0 && (taken + k >= max_n || weight + w >= max_weight)) {
            n = k;
            continue;
        }
        taken += k + 1;
        weight += w + (double)pivot.w;
        *last = pivot;
        if (taken >= max_n || weight >= max_weight)
            return taken;
        c += k;
        n -= k;
        for (int32_t i = 0; i < n; i++) /* drop the pivot itself */
            if (c[i].id == pivot.id) {
                c[i] = c[--n];
                break;
            }
        if (n == 0)
            return taken;
    }
    *last = c[0];
    return taken + 1;
}

/* Drop what comes after `last`, keeping the order of ids. */
static int32_t keep_head(struct cand *c, const struct cand *from, int32_t n, struct cand last)
{
    int32_t k = 0;
    for (int32_t i = 0; i < n; i++)
        if (!before(last, from[i]))
            c[k++] = from[i];
    return k;
}

static double weight_of(const struct cand *c, int32_t n)
{
    double sum = 0;
    for (int32_t i = 0; i < n; i++)
        sum += (double)c[i].w;
    return sum;
}

/* Candidates in ascending id order that pass the temperature (a weight above zero) and min-p. min-p
 * is relative to the best token, so whether it comes first or last changes nothing of its own; but
 * it must not shrink the sum that top-p is measured by, hence it is applied by the caller
 * afterwards. */
static int32_t weigh(const float *row, int32_t vocab, float best, float temperature, struct cand *c)
{
    int32_t n = 0;
    for (token_id i = 0; i < vocab; i++) {
        float x = (row[i] - best) / temperature;
        if (!(x > -104.0f)) /* exp gives 0 in f32 */
            continue;
        float w = expf(x);
        if (w > 0.0f)
            c[n++] = (struct cand){w, i};
    }
    return n;
}

/* Apply the filters in place; ids stay ascending. other: room for n candidates. */
static int32_t filter(struct cand *c, int32_t n, const struct sample_params *p, struct cand *other)
{
    struct cand last;
    if (p->top_k > 0 && p->top_k < n) {
        memcpy(other, c, (size_t)n * sizeof *c);
        select_head(other, n, p->top_k, INFINITY, &last);
        n = keep_head(c, c, n, last);
    }
    if (p->top_p < 1.0f) {
        memcpy(other, c, (size_t)n * sizeof *c);
        select_head(other, n, n, (double)p->top_p * weight_of(c, n), &last);
        n = keep_head(c, c, n, last);
    }
    if (p->min_p > 0.0f) {
        int32_t k = 0;
        for (int32_t i = 0; i < n; i++)
            if (c[i].w >= p->min_p || c[i].w >= 1.0f)
                c[k++] = c[i];
        n = k;
    }
    return n;
}

/* row: what is drawn from; best: its best. */
static token_id draw(const struct op_sample *o, int32_t i, const float *row, token_id best,
                     struct cand *c)
{
    const struct sample_params *p = &o->params[i];
    int32_t n = weigh(row, o->vocab, row[best], p->temperature, c);
    n = filter(c, n, p, c + o->vocab);
    double target = philox_unit(p->seed, (uint32_t)o->pos[i]) * weight_of(c, n), sum = 0;
    for (int32_t j = 0; j < n; j++) {
        sum += (double)c[j].w;
        if (sum > target)
            return c[j].id;
    }
    return n > 0 ? c[n - 1].id : best;
}

static void sample_rows(void *arg, int64_t begin, int64_t end, int worker)
{
    const struct op_sample *o = arg;
    char *scratch = (char *)o->work + cpu_adjusted_bytes(o->n_rows, o->vocab);
    struct cand *c = (struct cand *)scratch + (size_t)worker * 2 * (size_t)o->vocab;
    for (int64_t at = begin; at < end; at++) {
        int32_t i = (int32_t)at;
        o->n_top[i] = 0;
        o->logprob[i] = 0.0f;
        o->token[i] = -1;
        if (o->row_out[i] < 0)
            continue;
        const float *row = o->logits + (size_t)i * (size_t)o->vocab, *from = row;
        token_id best = cpu_best(row, o->vocab), first = best;
        if (best >= 0 && o->adjust && o->adjust[i].kind != ADJUST_NONE) {
            from = o->adjusted + (size_t)i * (size_t)o->vocab;
            first = cpu_best(from, o->vocab);
        }
        if (first < 0)
            o->token[i] = TOKEN_NUMERIC;
        else
            o->token[i] = o->params[i].temperature < 1e-5f ? first : draw(o, i, from, first, c);
        o->last_token[o->row_slot[i]] = o->token[i];
        if (first >= 0 && o->any_logprobs && o->params[i].n_logprobs >= 0)
            o->n_top[i] = cpu_logprobs(row, o->vocab, best, o->token[i], o->params[i].n_logprobs,
                                       &o->logprob[i], o->top + (size_t)i * MAX_LOGPROBS);
    }
}

int cpu_sample(struct be *be, const struct op_sample *o)
{
    int st = opcheck_sample(o);
    if (st != 0)
        return st;
    if (!o->work || o->work_bytes < be_sample_work_bytes(be, o->n_rows, o->vocab))
        return ST_INVALID_VALUE;
    struct op_sample job = *o;
    cpu_pool_run(cpu_of(be)->pool, o->n_rows, 1, sample_rows, &job);
    return 0;
}
