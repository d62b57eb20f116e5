/* SPDX-License-Identifier: Apache-2.0 */
/* op_cases_draw.c - random cases of the ops over logits: op_adjust, op_sample, op_score. See
 * op_cases.h. */
#include "op_cases_maker.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct sample_params maker_params(struct maker *m, int any_logprobs)
{
    struct case_rng *r = &m->rng;
    struct sample_params p = {
        .temperature = (float[]){0.0f, 0.3f, 0.7f, 1.0f, 2.5f}[rng_range(r, 0, 4)],
        .top_p = rng_range(r, 0, 1) ? 1.0f : rng_unit(r),
        .min_p = rng_range(r, 0, 2) ? 0.0f : rng_unit(r) * 0.3f,
        .top_k = rng_range(r, 0, 1) ? 0 : rng_range(r, 1, 60),
        .seed = rng_next(r),
        .n_logprobs = any_logprobs ? rng_range(r, -1, MAX_LOGPROBS) : -1};
    if (rng_range(r, 0, 19) == 0)
        p.top_p = 0.0f;
    return p;
}

static void spoil_logits(struct maker *m, float *row, int32_t vocab, int32_t how)
{
    struct case_rng *r = &m->rng;
    for (int32_t i = 0; how == 1 && i < vocab; i++) /* ties */
        row[i] = roundf(row[i]);
    for (int32_t i = 0; how == 2 && i < vocab; i += rng_range(r, 1, 9))
        row[i] = -INFINITY;
    for (int32_t i = 0; how == 3 && i < vocab; i++)
        row[i] = rng_range(r, 0, 1) ? NAN : -INFINITY;
    for (int32_t i = 0; how == 6 && i < vocab; i++)
        row[i] = -INFINITY;
    if (how == 7 || how == 8)
        row[rng_range(r, 0, vocab - 1)] = how == 7 ? INFINITY : rng_range(r, 0, 1) ? NAN : -NAN;
    for (int32_t i = 0; how == 4 && i < vocab; i++)
        row[i] = 2.0f;
    if (how == 5)
        row[rng_range(r, 0, vocab - 1)] += 40.0f;
}

/* Tokens of the vocabulary, each at most once, with a value each: a record's pairs at area[*at]. */
static void add_pairs(struct maker *m, uint32_t *area, int32_t *at, int32_t n, int32_t vocab,
                      bool bias)
{
    struct case_rng *r = &m->rng;
    int32_t step = vocab / (n > 0 ? n : 1);
    for (int32_t k = 0; k < n; k++, *at += 2) {
        float b = rng_range(r, 0, 9) ? rng_normal(r) * 20.0f : -INFINITY;
        area[*at] = (uint32_t)(k * step + rng_range(r, 0, step - 1));
        if (bias)
            memcpy(&area[*at + 1], &b, sizeof b);
        else
            area[*at + 1] = (uint32_t)(rng_range(r, 0, 2) ? rng_range(r, 0, 5)
                                                          : rng_range(r, 0, 70000)) |
                            (rng_range(r, 0, 1) ? STEP_COUNT_PROMPT : 0);
    }
}

static void draw_adjust(struct maker *m, struct row_adjust *a, uint32_t *area, int32_t *at,
                        int32_t vocab)
{
    struct case_rng *r = &m->rng;
    *a = (struct row_adjust){.kind = rng_range(r, ADJUST_NONE, ADJUST_COUNTS), .mask0 = -1};
    if (a->kind == ADJUST_COUNTS) {
        a->counts0 = *at;
        a->n_counts = rng_range(r, 0, vocab < 250 ? vocab : 250);
        add_pairs(m, area, at, a->n_counts, vocab, false);
    }
    if (rng_range(r, 0, 1)) {
        a->bias0 = *at;
        a->n_bias = rng_range(r, 0, vocab < 100 ? vocab : 100);
        add_pairs(m, area, at, a->n_bias, vocab, true);
    }
    if (rng_range(r, 0, 2) == 0) {
        a->mask0 = *at;
        for (int32_t k = 0; k < (vocab + 31) / 32; k++)
            area[(*at)++] = (uint32_t)rng_next(r);
    }
}

/* Counts of four rows more than there are; last tokens that count and some that do not. */
void make_adjust(struct maker *m)
{
    struct op_adjust *o = &m->c->o.adjust;
    struct case_rng *r = &m->rng;
    o->n_rows = rng_range(r, 1, 9);
    o->vocab = m->opts.big ? PICK(m, 49152, 151936)
                           : PICK(m, 1, 2, 31, 500, 4096, rng_range(r, 1, 9000));
    size_t n = (size_t)o->n_rows, vocab = (size_t)o->vocab, slots = n + 4;
    maker_add_random(m, AT(m, adjust.out), "out", CASE_INOUT, DT_F32, n * vocab, 1.0f);
    int lg = maker_add_random(m, AT(m, adjust.logits), "logits", CASE_IN, DT_F32, n * vocab, 9.0f);
    int pr = maker_add(m, AT(m, adjust.params), "params", CASE_IN, CASE_RAW,
                       n * sizeof(struct sample_params));
    int ad = maker_add(m, AT(m, adjust.adjust), "adjust", CASE_IN, CASE_RAW,
                       n * sizeof(struct row_adjust));
    int ar = maker_add(m, AT(m, adjust.area), "area", CASE_IN, CASE_INT,
                       n * (2000 + vocab / 32 + 1));
    int slot = maker_add(m, AT(m, adjust.row_slot), "row_slot", CASE_IN, CASE_INT, n);
    int out = maker_add(m, AT(m, adjust.row_out), "row_out", CASE_IN, CASE_INT, n);
    int last = maker_add(m, AT(m, adjust.last_token), "last_token", CASE_IN, CASE_INT, slots);
    int ct = maker_add(m, AT(m, adjust.counts), "counts", CASE_INOUT, CASE_RAW, slots * vocab * 2);
    uint16_t *counts = m->c->buf[ct].data;
    for (size_t i = 0; i < slots * vocab; i++)
        counts[i] = (uint16_t)(rng_range(r, 0, 3)
                                   ? 0
                                   : PICK(m, 1, 2, 40, 0x7ffe, 0x7fff, 0x8000, 0x8003, 0xffff));
    for (size_t i = 0; i < slots; i++)
        maker_ints(m, last)[i] = rng_range(r, 0, 5) ? rng_range(r, 0, o->vocab - 1)
                                                    : PICK(m, -2, -1, o->vocab);
    for (int32_t i = 0, at = 0; i < o->n_rows; i++) {
        struct sample_params p = maker_params(m, 0);
        p.presence_penalty = rng_range(r, 0, 1) ? rng_unit(r) * 4 - 2 : 0;
        p.frequency_penalty = rng_range(r, 0, 1) ? rng_unit(r) * 4 - 2 : 0;
        p.repetition_penalty = (float[]){0, 1, 1.1f, 0.7f, 10}[rng_range(r, 0, 4)];
        ((struct sample_params *)m->c->buf[pr].data)[i] = p;
        draw_adjust(m, (struct row_adjust *)m->c->buf[ad].data + i, m->c->buf[ar].data, &at,
                    o->vocab);
        spoil_logits(m, (float *)m->c->buf[lg].data + (size_t)i * vocab, o->vocab,
                     rng_range(r, 0, 14));
        maker_ints(m, slot)[i] = (int32_t)slots - 1 - i;
        maker_ints(m, out)[i] = rng_range(r, 0, 5) ? i : -1;
    }
    snprintf(m->c->text, sizeof m->c->text, "rows=%d vocab=%d", o->n_rows, o->vocab);
}

void make_sample(struct maker *m)
{
    struct op_sample *o = &m->c->o.sample;
    struct case_rng *r = &m->rng;
    o->n_rows = rng_range(r, 1, 12);
    o->vocab = m->opts.big ? PICK(m, 49152, 151936)
                           : PICK(m, 1, 2, 31, 500, 1000, rng_range(r, 1, 5000));
    o->any_logprobs = rng_range(r, 0, 1);
    size_t n = (size_t)o->n_rows, vocab = (size_t)o->vocab, slots = n + 4;
    int lg = maker_add_random(m, AT(m, sample.logits), "logits", CASE_IN, DT_F32, n * vocab, 3.0f);
    int pr = maker_add(m, AT(m, sample.params), "params", CASE_IN, CASE_RAW,
                       n * sizeof(struct sample_params));
    int pos = maker_add(m, AT(m, sample.pos), "pos", CASE_IN, CASE_INT, n);
    int slot = maker_add(m, AT(m, sample.row_slot), "row_slot", CASE_IN, CASE_INT, n);
    int out = maker_add(m, AT(m, sample.row_out), "row_out", CASE_IN, CASE_INT, n);
    int last = maker_add(m, AT(m, sample.last_token), "last_token", CASE_INOUT, CASE_INT, slots);
    maker_add(m, AT(m, sample.token), "token", CASE_OUT, CASE_INT, n);
    maker_add(m, AT(m, sample.logprob), "logprob", CASE_OUT, DT_F32, n);
    maker_add(m, AT(m, sample.top), "top", CASE_OUT, CASE_TOPS, n * MAX_LOGPROBS);
    maker_add(m, AT(m, sample.n_top), "n_top", CASE_OUT, CASE_INT, n);
    maker_add(m, AT(m, sample.work), "work", CASE_WORK, CASE_RAW, 0);
    int ad = -1, al = -1;
    if (rng_range(r, 0, 1)) {
        ad = maker_add(m, AT(m, sample.adjust), "adjust", CASE_IN, CASE_RAW,
                       n * sizeof(struct row_adjust));
        al = maker_add_random(m, AT(m, sample.adjusted), "adjusted", CASE_USED, DT_F32, n * vocab,
                              3.0f);
    }
    for (size_t i = 0; i < slots; i++)
        maker_ints(m, last)[i] = -77;
    for (int32_t i = 0; i < o->n_rows; i++) {
        ((struct sample_params *)m->c->buf[pr].data)[i] = maker_params(m, o->any_logprobs);
        spoil_logits(m, (float *)m->c->buf[lg].data + (size_t)i * vocab, o->vocab,
                     rng_range(r, 0, 14));
        if (ad >= 0) {
            ((struct row_adjust *)m->c->buf[ad].data)[i].kind = rng_range(r, 0, 1);
            spoil_logits(m, (float *)m->c->buf[al].data + (size_t)i * vocab, o->vocab,
                         rng_range(r, 0, 14));
        }
        maker_ints(m, pos)[i] = rng_range(r, 0, 100000);
        maker_ints(m, slot)[i] = (int32_t)slots - 1 - i;
        maker_ints(m, out)[i] = rng_range(r, 0, 5) ? i : -1;
    }
    snprintf(m->c->text, sizeof m->c->text, "rows=%d vocab=%d logprobs=%d", o->n_rows, o->vocab,
             o->any_logprobs);
}

void make_score(struct maker *m)
{
    struct op_score *o = &m->c->o.score;
    struct case_rng *r = &m->rng;
    o->n_rows = rng_range(r, 0, 3) ? rng_range(r, 1, 20) : rng_range(r, 50, 80);
    o->vocab = m->opts.big ? PICK(m, 49152, 151936)
                           : PICK(m, 1, 2, 31, 500, 1000, rng_range(r, 1, 5000));
    size_t n = (size_t)o->n_rows, vocab = (size_t)o->vocab;
    int lg = maker_add_random(m, AT(m, score.logits), "logits", CASE_IN, DT_F32, n * vocab, 3.0f);
    int wt = maker_add(m, AT(m, score.want), "want", CASE_IN, CASE_RAW,
                       n * sizeof(struct score_want));
    maker_add(m, AT(m, score.logprob), "logprob", CASE_OUT, DT_F32, n);
    maker_add(m, AT(m, score.top), "top", CASE_OUT, CASE_TOPS, n * MAX_LOGPROBS);
    maker_add(m, AT(m, score.n_top), "n_top", CASE_OUT, CASE_INT, n);
    maker_add(m, AT(m, score.rank), "rank", CASE_OUT, CASE_INT, n);
    for (int32_t i = 0; i < o->n_rows; i++) {
        struct score_want *w = (struct score_want *)m->c->buf[wt].data + i;
        w->token = rng_range(r, 0, 5) ? rng_range(r, 0, o->vocab - 1) : PICK(m, -1, o->vocab);
        w->n_top = rng_range(r, 0, MAX_LOGPROBS);
        spoil_logits(m, (float *)m->c->buf[lg].data + (size_t)i * vocab, o->vocab,
                     rng_range(r, 0, 14));
    }
    snprintf(m->c->text, sizeof m->c->text, "rows=%d vocab=%d", o->n_rows, o->vocab);
}
