/* SPDX-License-Identifier: Apache-2.0 */
/* adjust.c - op_adjust: penalties, biases and masks, exactly as ops.h defines them.
 *
 * A row is one piece of work: rows are few, and only those that ask for it cost anything.
 */
#include "cpu.h"

#include <math.h>
#include <string.h>

static bool in_vocab(const struct op_adjust *o, uint32_t token)
{
    return token < (uint32_t)o->vocab;
}

static void set_counts(const struct op_adjust *o, const struct row_adjust *a, uint16_t *counts)
{
    const uint32_t *pair = o->area + a->counts0;
    memset(counts, 0, (size_t)o->vocab * sizeof *counts);
    for (int32_t k = 0; k < a->n_counts; k++, pair += 2) {
        uint32_t n = pair[1] & STEP_COUNT_DRAWN;
        if (in_vocab(o, pair[0]))
            counts[pair[0]] = (uint16_t)((n < COUNT_MOST ? n : COUNT_MOST) |
                                         (pair[1] & STEP_COUNT_PROMPT ? COUNT_PROMPT : 0));
    }
}

static void count_drawn(const struct op_adjust *o, token_id t, uint16_t *counts)
{
    if (in_vocab(o, (uint32_t)t) && (counts[t] & COUNT_MOST) < COUNT_MOST)
        counts[t]++;
}

static void penalise(const struct sample_params *p, const uint16_t *counts, int32_t vocab, float *x)
{
    float rep = p->repetition_penalty == 0.0f ? 1.0f : p->repetition_penalty;
    for (int32_t i = 0; i < vocab; i++) {
        if (counts[i] == 0)
            continue;
        int32_t drawn = counts[i] & COUNT_MOST;
        x[i] = x[i] > 0.0f ? x[i] / rep : x[i] * rep;
        volatile float off = p->frequency_penalty *
                             (float)drawn; /* rounded before it is taken off */
        x[i] -= off;
        if (drawn > 0)
            x[i] -= p->presence_penalty;
    }
}

static void adjust_row(const struct op_adjust *o, int32_t i)
{
    const struct row_adjust *a = &o->adjust[i];
    float *x = o->out + (size_t)i * (size_t)o->vocab;
    uint16_t *counts = o->counts + (size_t)o->row_slot[i] * (size_t)o->vocab;
    memcpy(x, o->logits + (size_t)i * (size_t)o->vocab, (size_t)o->vocab * sizeof *x);
    if (a->kind == ADJUST_COUNTS)
        set_counts(o, a, counts);
    if (a->kind == ADJUST_COUNTED)
        count_drawn(o, o->last_token[o->row_slot[i]], counts);
    if (a->kind == ADJUST_COUNTS || a->kind == ADJUST_COUNTED)
        penalise(&o->params[i], counts, o->vocab, x);
    for (int32_t k = 0; k < a->n_bias; k++) {
        const uint32_t *pair = o->area + a->bias0 + 2 * (size_t)k;
        float b;
        memcpy(&b, &pair[1], sizeof b);
        if (in_vocab(o, pair[0]))
            x[pair[0]] += b;
    }
    for (int32_t t = 0; a->mask0 >= 0 && t < o->vocab; t++)
        if (!(o->area[a->mask0 + t / 32] >> t % 32 & 1))
            x[t] = -INFINITY;
}

static void adjust_rows(void *arg, int64_t begin, int64_t end, int worker)
{
    const struct op_adjust *o = arg;
    (void)worker;
    for (int64_t i = begin; i < end; i++)
        if (o->row_out[i] >= 0 && o->adjust[i].kind != ADJUST_NONE)
            adjust_row(o, (int32_t)i);
}

int cpu_adjust(struct be *be, const struct op_adjust *o)
{
    int st = opcheck_adjust(o);
    if (st != 0)
        return st;
    struct op_adjust job = *o;
    cpu_pool_run(cpu_of(be)->pool, o->n_rows, 1, adjust_rows, &job);
    return 0;
}
