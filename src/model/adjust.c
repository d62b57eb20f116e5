/* SPDX-License-Identifier: Apache-2.0 */
/* adjust.c - penalties and areas of a step: checked, and laid out for op_adjust.
 *
 * Counts live on the device, a line of the vocabulary for each row. Nobody clears them when a row
 * changes hands: a row that reads them without having set them since is refused here, by the
 * position at which it drew last. Engine thread; a step that uses nothing costs a look at each row.
 */
#include "adjust.h"

#include <math.h>
#include <string.h>

/* Pairs of tokens of this vocabulary. */
static bool is_pairs(const struct model *m, const uint32_t *w, int32_t n)
{
    bool ok = n % 2 == 0;
    for (int32_t k = 0; ok && k < n; k += 2)
        ok = w[k] < (uint32_t)m->cfg.vocab;
    return ok;
}

static bool is_bias(const struct model *m, const uint32_t *w, int32_t n)
{
    bool ok = is_pairs(m, w, n);
    for (int32_t k = 0; ok && k < n; k += 2) {
        float b;
        memcpy(&b, &w[k + 1], sizeof b);
        ok = b < INFINITY; /* no NaN either */
    }
    return ok;
}

/* One record of `kind` with words area[at, at + n) into *a. */
static const char *take_record(const struct model *m, const struct step *s, uint32_t kind,
                               int32_t at, int32_t n, struct row_adjust *a)
{
    const uint32_t *w = s->area + at;
    switch (kind) {
    case STEP_AREA_BIAS:
        if (a->n_bias > 0 || !is_bias(m, w, n))
            return "bias";
        a->bias0 = at;
        a->n_bias = n / 2;
        return NULL;
    case STEP_AREA_MASK:
        if (a->mask0 >= 0 || n != (m->cfg.vocab + 31) / 32)
            return "mask";
        a->mask0 = at;
        return NULL;
    case STEP_AREA_COUNTS:
        if (a->kind == ADJUST_COUNTS || !is_pairs(m, w, n))
            return "counts";
        a->kind = ADJUST_COUNTS;
        a->counts0 = at;
        a->n_counts = n / 2;
        return NULL;
    default:
        return "kind of a record";
    }
}

static const char *take_area(const struct model *m, const struct step *s, const struct step_row *r,
                             struct row_adjust *a)
{
    if (r->area0 < 0 || r->n_area < 0 || r->area0 > s->n_area - r->n_area)
        return "area of a row";
    if (r->n_area > 0 && r->want != STEP_WANT_SAMPLE)
        return "area of a row that draws nothing";
    for (int32_t at = r->area0, end = r->area0 + r->n_area; at < end;) {
        int32_t n = (int32_t)(s->area[at] >> 8);
        if (n > end - at - 1)
            return "length of a record";
        const char *what = take_record(m, s, s->area[at] & 0xff, at + 1, n, a);
        if (what)
            return what;
        at += 1 + n;
    }
    return NULL;
}

static bool sound_penalties(const struct sample_params *p)
{
    return isfinite(p->presence_penalty) && isfinite(p->frequency_penalty) &&
           isfinite(p->repetition_penalty) && p->repetition_penalty >= 0.0f;
}

static const char *plan_row(const struct model *m, const struct step *s, int32_t i,
                            struct row_adjust *a)
{
    const struct step_row *r = &s->rows[i];
    bool penal = r->want == STEP_WANT_SAMPLE && has_penalty(&s->sample[i]);
    *a = (struct row_adjust){.kind = r->n_area > 0 ? ADJUST_PLAIN : ADJUST_NONE, .mask0 = -1};
    if (!penal && r->area0 == 0 && r->n_area == 0)
        return NULL;
    const char *what = take_area(m, s, r, a);
    if (what)
        return what;
    if (!penal)
        return a->kind == ADJUST_COUNTS ? "counts without a penalty" : NULL;
    if (!sound_penalties(&s->sample[i]))
        return "penalty";
    if (a->kind == ADJUST_COUNTS)
        return NULL;
    a->kind = ADJUST_COUNTED;
    return m->marks->count_next[r->row] == r->first + r->n ? NULL : "penalty without counts";
}

const char *adjust_plan(const struct model *m, struct step_slot *sl, const struct step *s,
                        int32_t *at)
{
    sl->any_adjust = false;
    for (int32_t i = 0; i < s->n_rows; i++) {
        const char *what = plan_row(m, s, i, &sl->adjust[i]);
        *at = i;
        if (what)
            return what;
        sl->any_adjust |= sl->adjust[i].kind != ADJUST_NONE;
    }
    return NULL;
}

int adjust_move(struct model *m, const struct step_slot *sl)
{
    const struct step *s = sl->step;
    if (!sl->any_adjust)
        return 0;
    int st = 0;
    if (s->n_area > 0)
        st = be_upload(m->be, m->area, s->area, (size_t)s->n_area * sizeof *s->area);
    if (st == 0)
        st = be_upload(m->be, m->adjust, sl->adjust, (size_t)s->n_rows * sizeof *sl->adjust);
    return st;
}

void adjust_done(struct model *m, const struct step_slot *sl)
{
    const struct step *s = sl->step;
    for (int32_t i = 0; i < s->n_rows; i++) {
        const struct step_row *r = &s->rows[i];
        m->marks->count_next[r->row] = sl->adjust[i].kind >= ADJUST_COUNTED ? r->first + r->n + 1
                                                                            : 0;
    }
}
