/* SPDX-License-Identifier: Apache-2.0 */
/* naive.c - the reference generator over the hash model. */
#include "naive.h"

#include "hash_model.h"

static int contains(const token_id *v, int32_t n, token_id t)
{
    for (int32_t i = 0; i < n; i++)
        if (v[i] == t)
            return 1;
    return 0;
}

void naive_generate(const struct msg_submit *m, int32_t vocab, const token_id *eos, int32_t n_eos,
                    struct naive_out *out)
{
    const token_id *tok = (const token_id *)(m + 1);
    const token_id *stop = tok + m->n_prompt;
    uint64_t acc = 0;
    int32_t pos = 0;
    for (; pos < m->n_prompt; pos++)
        acc = hm_mix(acc, hm_entry(acc, tok[pos], pos));
    out->stop_id = -1;
    for (out->n = 0; out->n < m->max_new;) {
        token_id t = hm_draw(acc, &m->params, pos, vocab, &out->logprob[out->n]);
        out->tok[out->n++] = t;
        if (out->n > m->min_new) {
            int is_eos = !m->ignore_eos && contains(eos, n_eos, t);
            if (is_eos || contains(stop, m->n_stop_ids, t)) {
                out->finish = FINISH_STOP;
                out->stop_id = is_eos ? -1 : t;
                return;
            }
        }
        acc = hm_mix(acc, hm_entry(acc, t, pos));
        pos++;
    }
    out->finish = FINISH_LENGTH;
}
