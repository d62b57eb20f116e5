/* SPDX-License-Identifier: Apache-2.0 */
/* hidden.c - the part of a step that gives hidden states back.
 *
 * Sums live on the device, one a row. Nobody clears them when a row changes hands: a chunk that
 * would go on with what it did not begin is refused, by its position. Engine thread.
 */
#include "hidden.h"

static bool is_sum(int32_t want)
{
    return want == STEP_WANT_SUM || want == STEP_WANT_MEAN;
}

const char *hidden_plan(const struct model *m, struct step_slot *sl, const struct step *s,
                        int32_t *at)
{
    sl->any_hidden = false;
    for (int32_t i = 0; i < s->n_rows; i++) {
        const struct step_row *r = &s->rows[i];
        sl->hidden_want[i] = r->want;
        if (r->want != STEP_WANT_HIDDEN && !is_sum(r->want))
            continue;
        *at = i;
        if (s->kind != STEP_PREFILL)
            return "hidden state of a decode step";
        if (is_sum(r->want) && r->first > 0 && m->marks->sum_next[r->row] != r->first)
            return "sum without its beginning";
        sl->any_hidden = true;
    }
    return NULL;
}

int hidden_move(struct model *m, const struct step_slot *sl)
{
    size_t n = (size_t)sl->step->n_rows;
    if (!sl->any_hidden)
        return 0;
    return be_upload(m->be, m->hidden_want, sl->hidden_want, n * sizeof *sl->hidden_want);
}

int hidden_fetch(struct model *m, const struct step_slot *sl)
{
    size_t n = (size_t)sl->step->n_rows * (size_t)m->cfg.dim;
    if (!sl->any_hidden)
        return 0;
    return be_download(m->be, sl->hidden, m->out_hidden, n * sizeof *sl->hidden);
}

void hidden_done(struct model *m, const struct step_slot *sl)
{
    const struct step *s = sl->step;
    for (int32_t i = 0; i < s->n_rows; i++) {
        const struct step_row *r = &s->rows[i];
        m->marks->sum_next[r->row] = is_sum(r->want) ? r->first + r->n : 0;
    }
}

const float *hidden_of(const struct model *m, const struct step_slot *sl, int32_t i)
{
    int32_t want = sl->step->rows[i].want;
    if (want != STEP_WANT_HIDDEN && want != STEP_WANT_MEAN)
        return NULL;
    return sl->hidden + (size_t)i * (size_t)m->cfg.dim;
}
