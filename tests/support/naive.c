/* SPDX-License-Identifier: Apache-2.0 */
/* naive.c - the reference generator over the hash model. */
#include "naive.h"

#include "hash_model.h"
#include "mem.h"

#include <stdlib.h>
#include <string.h>

static int contains(const token_id *v, int32_t n, token_id t)
{
    for (int32_t i = 0; i < n; i++)
        if (v[i] == t)
            return 1;
    return 0;
}

/* The tokens that must not be drawn as number n, and the sum over finite biases. */
static void rules(const struct msg_submit *m, int32_t vocab, const token_id *eos, int32_t n_eos,
                  int32_t n, uint8_t *banned, struct hm_inputs *in)
{
    const token_id *stop = (const token_id *)(m + 1) + m->n_prompt;
    const struct token_bias *bias = (const struct token_bias *)(stop + m->n_stop_ids);
    const uint32_t *mask = (const uint32_t *)(bias + m->n_bias);
    int early = n < m->min_new;
    in->bias = 0;
    in->banned = banned;
    for (token_id t = 0; t < vocab; t++)
        banned[t] = (early && (contains(stop, m->n_stop_ids, t) ||
                               (!m->ignore_eos && contains(eos, n_eos, t)))) ||
                    (m->n_mask > 0 && !(mask[t / 32] >> (t % 32) & 1));
    for (int32_t i = 0; i < m->n_bias; i++) {
        uint32_t bits;
        memcpy(&bits, &bias[i].bias, sizeof bits);
        token_id t = bias[i].token;
        int forbidden = early && (contains(stop, m->n_stop_ids, t) ||
                                  (!m->ignore_eos && contains(eos, n_eos, t)));
        if (bias[i].bias < -1e30f)
            banned[t] = 1;
        else if (!forbidden)
            in->bias += hm_mix((uint32_t)t, bits);
    }
}

/* The sum over what penalties see after n drawn tokens. */
static uint64_t counts_of(const struct msg_submit *m, int32_t vocab, const token_id *drawn,
                          int32_t n)
{
    const token_id *tok = (const token_id *)(m + 1);
    uint64_t sum = 0;
    for (token_id t = 0; t < vocab; t++) {
        uint32_t c = contains(tok, m->n_prompt, t) ? STEP_COUNT_PROMPT : 0;
        for (int32_t i = 0; i < n; i++)
            c += drawn[i] == t;
        sum += c > 0 ? hm_mix((uint32_t)t, c) : 0;
    }
    return sum;
}

void naive_generate(const struct msg_submit *m, int32_t vocab, const token_id *eos, int32_t n_eos,
                    struct naive_out *out)
{
    const token_id *tok = (const token_id *)(m + 1);
    const token_id *stop = tok + m->n_prompt;
    uint8_t *banned = xcalloc2((size_t)vocab, 1);
    uint64_t acc = 0;
    int32_t pos = 0;
    for (; pos < m->n_prompt; pos++) {
        if (pos > 0 && out->score) {
            out->score[pos] = hm_score(acc, tok[pos]);
            out->rank[pos] = hm_rank(acc, tok[pos], vocab);
        }
        acc = hm_mix(acc, hm_entry(acc, tok[pos], pos));
    }
    out->stop_id = -1;
    out->finish = FINISH_LENGTH;
    for (out->n = 0; out->n < m->max_new;) {
        struct hm_inputs in = {0};
        rules(m, vocab, eos, n_eos, out->n, banned, &in);
        if (has_penalty(&m->params))
            in.counts = counts_of(m, vocab, out->tok, out->n);
        token_id t = hm_draw(acc, &m->params, &in, pos, vocab, &out->logprob[out->n]);
        out->tok[out->n++] = t;
        if (out->n > m->min_new) {
            int is_eos = !m->ignore_eos && contains(eos, n_eos, t);
            if (is_eos || contains(stop, m->n_stop_ids, t)) {
                out->finish = FINISH_STOP;
                out->stop_id = is_eos ? -1 : t;
                break;
            }
        }
        acc = hm_mix(acc, hm_entry(acc, t, pos));
        pos++;
    }
    free(banned);
}

void naive_vector(const struct msg_submit *m, float *v)
{
    const token_id *tok = (const token_id *)(m + 1);
    uint64_t acc = 0;
    float sum[HM_DIM] = {0};
    for (int32_t pos = 0; pos < m->n_prompt; pos++) {
        acc = hm_mix(acc, hm_entry(acc, tok[pos], pos));
        hm_hidden(acc, v);
        for (int j = 0; j < HM_DIM; j++)
            sum[j] += v[j];
    }
    for (int j = 0; m->embed == EMBED_MEAN && j < HM_DIM; j++)
        v[j] = sum[j] / (float)m->n_prompt;
}
