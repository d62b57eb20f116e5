/* SPDX-License-Identifier: Apache-2.0 */
/* score.c - what a step asks to know of its prompts' tokens: checked, moved, taken back.
 *
 * A logit for every token of a long chunk would be gigabytes, so forward.c goes over the batch in
 * slices of m->logit_rows tokens; all that is kept of a token is its log probability and the best
 * beside it. Tokens of a slice that nobody asked for are computed and skipped. Engine thread.
 */
#include "score.h"

#include <math.h>
#include <string.h>

static const char *plan_row(const struct model *m, struct step_slot *sl, const struct step *s,
                            const struct step_row *r)
{
    if (s->kind != STEP_PREFILL || r->n_score < 0 || r->n_score > r->n)
        return "n_score";
    if (r->n_score_top < 0 || r->n_score_top > MAX_LOGPROBS)
        return "n_score_top";
    if (r->n_score == r->n && (r->next < 0 || r->next >= m->cfg.vocab))
        return "next";
    for (int32_t j = 0; j < r->n_score; j++) {
        token_id t = j + 1 < r->n ? s->tokens[r->token0 + j + 1] : r->next;
        if (t == TOKEN_FROM_ROW)
            return "score of a drawn token";
        sl->want[r->token0 + j] = (struct score_want){t, r->n_score_top};
    }
    return NULL;
}

const char *score_plan(const struct model *m, struct step_slot *sl, const struct step *s,
                       int32_t *at)
{
    sl->score0 = sl->score1 = 0;
    sl->any_score_top = false;
    for (int32_t i = 0; i < s->n_rows; i++) {
        const struct step_row *r = &s->rows[i];
        if (r->n_score == 0)
            continue;
        *at = i;
        if (sl->score1 == 0) { /* the first: nobody asks for anything yet */
            sl->score0 = r->token0;
            for (int32_t t = 0; t < s->n_tokens; t++)
                sl->want[t].token = -1;
        }
        const char *what = plan_row(m, sl, s, r);
        if (what)
            return what;
        sl->score1 = r->token0 + r->n_score;
        sl->any_score_top |= r->n_score_top > 0;
    }
    return NULL;
}

int score_move(struct model *m, const struct step_slot *sl)
{
    size_t n = (size_t)sl->step->n_tokens;
    return sl->score1 > 0 ? be_upload(m->be, m->want, sl->want, n * sizeof *sl->want) : 0;
}

int score_fetch(struct model *m, const struct step_slot *sl)
{
    size_t at = (size_t)sl->score0, n = (size_t)(sl->score1 - sl->score0);
    int st = be_download(m->be, sl->score + at, m->out_score + at, n * sizeof *sl->score);
    if (st == 0)
        st = be_download(m->be, sl->score_rank + at, m->out_score_rank + at,
                         n * sizeof *sl->score_rank);
    if (st == 0 && sl->any_score_top)
        st = be_download(m->be, sl->score_top + at * MAX_LOGPROBS,
                         m->out_score_top + at * MAX_LOGPROBS,
                         n * MAX_LOGPROBS * sizeof *sl->score_top);
    return st;
}

void score_take(const struct model *m, const struct step_slot *sl, int32_t i, struct step_result *r)
{
    const struct step_row *row = &sl->step->rows[i];
    size_t n = (size_t)row->n_score;
    const float *score = sl->score + row->token0;
    for (size_t k = 0; k < n; k++)
        if (isnan(score[k])) {
            step_result_undo(r, i, ST_NUMERIC);
            return;
        }
    int32_t k0 = step_result_add_scores(r, i, row->n_score);
    memcpy(r->score + k0, score, n * sizeof *score);
    memcpy(r->score_rank + k0, sl->score_rank + row->token0, n * sizeof *sl->score_rank);
    int32_t n_top = row->n_score_top < m->cfg.vocab ? row->n_score_top : m->cfg.vocab;
    const struct token_logprob *top = sl->score_top + (size_t)row->token0 * MAX_LOGPROBS;
    for (size_t k = 0; n_top > 0 && k < n; k++)
        memcpy(r->score_top[(size_t)k0 + k], top + k * MAX_LOGPROBS, (size_t)n_top * sizeof *top);
}
