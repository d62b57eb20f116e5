/* SPDX-License-Identifier: Apache-2.0 */
/* penalty.c - see the header. Nothing here shares code with a backend. */
#include "penalty.h"

#include <math.h>
#include <string.h>

static int32_t times(const token_id *v, int32_t n, token_id t)
{
    int32_t k = 0;
    for (int32_t i = 0; i < n; i++)
        k += v[i] == t;
    return k;
}

void penalty_logits(const struct penalty_row *r, const struct sample_params *p, const float *raw,
                    int32_t vocab, float *to)
{
    for (token_id t = 0; t < vocab; t++) {
        int32_t drawn = times(r->tok + r->n_prompt, r->n_tok - r->n_prompt, t);
        volatile float x = raw[t], f = p->frequency_penalty * (float)drawn;
        if (p->repetition_penalty != 0 && (drawn > 0 || times(r->tok, r->n_prompt, t) > 0))
            x = x > 0 ? x / p->repetition_penalty : x * p->repetition_penalty;
        x = x - f;
        if (drawn > 0)
            x = x - p->presence_penalty;
        for (int32_t k = 0; k < r->n_bias; k++)
            if (r->bias_tok[k] == t)
                x = x + r->bias[k];
        if (r->mask && !(r->mask[t / 32] & 1u << t % 32))
            x = -INFINITY;
        to[t] = x;
    }
}

token_id penalty_best(const float *x, int32_t vocab)
{
    token_id best = 0;
    for (token_id t = 1; t < vocab; t++)
        if (x[t] > x[best])
            best = t;
    return best;
}

/* A record's head, its length to come. */
static uint32_t *begin(struct step *s, uint32_t kind)
{
    s->area[s->n_area] = kind;
    return &s->area[s->n_area++];
}

static void end(struct step *s, uint32_t *head)
{
    *head |= (uint32_t)(s->area + s->n_area - head - 1) << 8;
}

void penalty_area(const struct penalty_row *r, int32_t vocab, bool counts, struct step *s,
                  int32_t i)
{
    s->rows[i].area0 = s->n_area;
    if (counts) {
        uint32_t *head = begin(s, STEP_AREA_COUNTS);
        for (token_id t = 0; t < vocab; t++) {
            int32_t drawn = times(r->tok + r->n_prompt, r->n_tok - r->n_prompt, t);
            bool prompt = times(r->tok, r->n_prompt, t) > 0;
            if (drawn == 0 && !prompt)
                continue;
            s->area[s->n_area++] = (uint32_t)t;
            s->area[s->n_area++] = (uint32_t)drawn | (prompt ? STEP_COUNT_PROMPT : 0);
        }
        end(s, head);
    }
    if (r->n_bias > 0) {
        uint32_t *head = begin(s, STEP_AREA_BIAS);
        for (int32_t k = 0; k < r->n_bias; k++) {
            s->area[s->n_area++] = (uint32_t)r->bias_tok[k];
            memcpy(&s->area[s->n_area++], &r->bias[k], sizeof(float));
        }
        end(s, head);
    }
    if (r->mask) {
        uint32_t *head = begin(s, STEP_AREA_MASK);
        for (int32_t k = 0; k < (vocab + 31) / 32; k++)
            s->area[s->n_area++] = r->mask[k];
        end(s, head);
    }
    s->rows[i].n_area = s->n_area - s->rows[i].area0;
}
