/* SPDX-License-Identifier: Apache-2.0 */
/* logprob.c - log probabilities of a row, and op_score. Sums are taken in double in ascending id
 * order. A token's value is one expression of its logit and the row's norm, so that it is the same
 * float wherever it is given. */
#include "logprob.h"

#include "cpu.h"

#include <math.h>

token_id cpu_best(const float *row, int32_t vocab)
{
    token_id best = -1;
    float top = -INFINITY;
    for (token_id i = 0; i < vocab; i++)
        if (!(row[i] <= top)) { /* larger, or a NaN */
            if (!(row[i] < INFINITY))
                return -1;
            top = row[i];
            best = i;
        }
    return best;
}

/* The k best of the row, best first, by insertion into a short list. */
static int32_t best_list(const float *row, int32_t vocab, int32_t k, struct token_logprob *top)
{
    int32_t n = 0;
    for (token_id i = 0; i < vocab; i++) {
        float x = row[i];
        if (n == k && !(x > top[n - 1].logprob))
            continue;
        int32_t at = n < k ? n++ : k - 1;
        for (; at > 0 && x > top[at - 1].logprob; at--)
            top[at] = top[at - 1];
        top[at] = (struct token_logprob){i, x};
    }
    return n;
}

int32_t cpu_logprobs(const float *row, int32_t vocab, token_id best, token_id token, int32_t k,
                     float *logprob, struct token_logprob *top)
{
    double sum = 0, max = (double)row[best];
    for (token_id t = 0; t < vocab; t++)
        if (row[t] > -INFINITY)
            sum += (double)expf(row[t] - (float)max);
    /* cppcheck-suppress invalidFunctionArg ; 1 at least, of the best */
    double norm = max + log(sum);
    *logprob = (float)((double)row[token] - norm);
    k = k < MAX_LOGPROBS ? k : MAX_LOGPROBS;
    k = k < vocab ? k : vocab;
    int32_t n = k > 0 ? best_list(row, vocab, k, top) : 0;
    for (int32_t j = 0; j < n; j++)
        top[j].logprob = (float)((double)top[j].logprob - norm);
    return n;
}

/* The place of a token of the row, from 1: by logit, then by id. */
static int32_t place_of(const float *row, int32_t vocab, token_id token)
{
    int32_t n = 1;
    for (token_id i = 0; i < vocab; i++)
        n += row[i] > row[token] || (i < token && row[i] == row[token]);
    return n;
}

static void score_rows(void *arg, int64_t begin, int64_t end, int worker)
{
    const struct op_score *o = arg;
    (void)worker;
    for (int64_t i = begin; i < end; i++) {
        const struct score_want *w = &o->want[i];
        o->logprob[i] = 0.0f;
        o->n_top[i] = o->rank[i] = 0;
        if ((uint32_t)w->token >= (uint32_t)o->vocab)
            continue;
        const float *row = o->logits + i * o->vocab;
        token_id best = cpu_best(row, o->vocab);
        if (best < 0) {
            o->logprob[i] = NAN;
            continue;
        }
        o->rank[i] = place_of(row, o->vocab, w->token);
        o->n_top[i] = cpu_logprobs(row, o->vocab, best, w->token, w->n_top, &o->logprob[i],
                                   o->top + i * MAX_LOGPROBS);
    }
}

int cpu_score(struct be *be, const struct op_score *o)
{
    int st = opcheck_score(o);
    if (st != 0)
        return st;
    struct op_score job = *o;
    cpu_pool_run(cpu_of(be)->pool, o->n_rows, 1, score_rows, &job);
    return 0;
}
