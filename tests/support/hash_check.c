/* SPDX-License-Identifier: Apache-2.0 */
/* hash_check.c - what the hash model checks of a step when it is submitted, before anything runs:
 * shape, turn, and its pages and rows against those of the steps in flight, of both lanes. */
#include "hash_state.h"

#include <stdio.h>
#include <string.h>

void hm_violation(struct hm_lane *ln, const char *what, int64_t a, int64_t b)
{
    struct hm_counts *n = &ln->hm->n;
    if (__atomic_fetch_add(&n->violations, 1, __ATOMIC_RELAXED) == 0)
        snprintf(n->first, sizeof n->first, "lane %d step %llu: %s (%lld, %lld)", ln->index,
                 (unsigned long long)ln->no, what, (long long)a, (long long)b);
}

static int64_t n_violations(const struct hash_model *hm)
{
    return __atomic_load_n(&hm->n.violations, __ATOMIC_RELAXED);
}

/* The records of row i are whole, of a kind each, and name tokens of the vocabulary. */
static int bad_area(const struct hash_model *hm, const struct step *s, int32_t i)
{
    const struct step_row *r = &s->rows[i];
    uint32_t seen = 0;
    if (r->area0 < 0 || r->n_area < 0 || r->area0 + r->n_area > s->n_area ||
        (r->n_area > 0 && r->want != STEP_WANT_SAMPLE))
        return 1;
    for (int32_t at = 0; at < r->n_area;) {
        const uint32_t *rec = s->area + r->area0 + at;
        uint32_t kind = rec[0] & 255;
        int32_t n = (int32_t)(rec[0] >> 8);
        if (kind < STEP_AREA_BIAS || kind > STEP_AREA_COUNTS || (seen >> kind & 1) ||
            at + 1 + n > r->n_area ||
            (kind == STEP_AREA_MASK ? n != (hm->c.vocab + 31) / 32 : n == 0 || n % 2 != 0) ||
            (kind == STEP_AREA_COUNTS && !has_penalty(&s->sample[i])))
            return 1;
        for (int32_t k = 1; k <= n && kind != STEP_AREA_MASK; k += 2)
            if (rec[k] >= (uint32_t)hm->c.vocab)
                return 1;
        seen |= 1u << kind;
        at += 1 + n;
    }
    return 0;
}

/* What row i wants is possible: hidden states and scores in prefill only, scores of tokens that the
 * step has or names. */
static int bad_want(const struct hash_model *hm, const struct step *s, int32_t i)
{
    const struct step_row *r = &s->rows[i];
    if (s->kind == STEP_DECODE)
        return r->n != 1 || r->want != STEP_WANT_SAMPLE || r->n_score != 0;
    return r->want < STEP_WANT_NONE || r->want >= N_STEP_WANTS || r->want == STEP_WANT_VERIFY ||
           r->n_score < 0 || r->n_score > r->n || r->n_score_top < 0 ||
           r->n_score_top > MAX_LOGPROBS ||
           (r->n_score == r->n && (r->next < 0 || r->next >= hm->c.vocab));
}

/* Ranges and the table entries of rows; 0 = the step can be executed at all. */
static int check_shape(struct hm_lane *ln, const struct step *s)
{
    struct hash_model *hm = ln->hm;
    int64_t before = n_violations(hm);
    if (s->share < 0 || s->share > hm->c.n_shares || s->version != STEP_VERSION ||
        s->kind > STEP_PREFILL || s->n_rows < 1 || s->n_rows > hm->c.max_rows ||
        s->n_tokens > MAX_STEP_TOKENS || s->n_area < 0 || s->n_area > MAX_AREA)
        hm_violation(ln, "bad head", s->n_rows, s->n_tokens);
    if (hm->c.lanes > 1 && (s->kind == STEP_PREFILL) != (ln->index == HM_PREFILL))
        hm_violation(ln, "a step of the other lane's kind", s->kind, s->n_rows);
    for (int32_t i = 0; i < s->n_edits; i++) {
        const struct page_edit *e = &s->edits[i];
        if (e->row < 0 || e->row >= hm->c.max_rows || e->index < 0 || e->index >= hm->c.max_pages ||
            e->page < 0 || e->page >= hm->c.n_pages)
            hm_violation(ln, "bad edit", e->row, e->index);
        else
            hm->seen[(size_t)e->row * (size_t)hm->c.max_pages + (size_t)e->index] = e->page;
    }
    int32_t at = 0;
    for (int32_t i = 0; i < s->n_rows && n_violations(hm) == before; i++) {
        const struct step_row *r = &s->rows[i];
        if (r->row < 0 || r->row >= hm->c.max_rows || r->first < 0 || r->n < 1 ||
            (r->first + r->n - 1) / hm->c.page_tokens >= hm->c.max_pages || r->token0 != at ||
            r->n_verify != 0 || bad_area(hm, s, i) || bad_want(hm, s, i))
            hm_violation(ln, "bad row", r->row, r->first);
        for (int32_t k = 0; k < i; k++)
            if (s->rows[k].row == r->row)
                hm_violation(ln, "row twice", r->row, i);
        at += r->n;
    }
    return n_violations(hm) == before;
}

static void note(int32_t *who, int32_t row)
{
    *who = *who == NOBODY || *who == row + 1 ? row + 1 : MANY;
}

static int other(int32_t who, int32_t row)
{
    return who != NOBODY && who != row + 1;
}

/* Record which pages the step reads and writes and for whom. */
static void note_pages(struct hm_lane *ln, struct slot *a, const struct step *s)
{
    struct hash_model *hm = ln->hm;
    size_t bytes = (size_t)hm->c.n_pages * sizeof(int32_t);
    memset(a->reader, 0, bytes);
    memset(a->writer, 0, bytes);
    for (int32_t i = 0; i < s->n_copy; i++) {
        const struct page_copy *c = &s->copy[i];
        if (c->src < 0 || c->src >= hm->c.n_pages || c->dst < 0 || c->dst >= hm->c.n_pages) {
            hm_violation(ln, "bad copy", c->src, c->dst);
            continue;
        }
        row_id row = hm->c.max_rows;
        for (int32_t k = 0; k < s->n_edits; k++)
            if (s->edits[k].page == c->dst)
                row = s->edits[k].row;
        if (a->writer[c->dst] != NOBODY || a->writer[c->src] != NOBODY ||
            a->reader[c->dst] != NOBODY)
            hm_violation(ln, "copies of one step collide", c->src, c->dst);
        note(&a->reader[c->src], row);
        note(&a->writer[c->dst], row);
    }
    for (int32_t i = 0; i < s->n_rows; i++) {
        const struct step_row *r = &s->rows[i];
        const page_id *t = hm->seen + (size_t)r->row * (size_t)hm->c.max_pages;
        for (int32_t k = 0; k <= (r->first + r->n - 1) / hm->c.page_tokens; k++) {
            if (t[k] < 0) {
                hm_violation(ln, "no page", r->row, k);
                continue;
            }
            note(&a->reader[t[k]], r->row);
            if (k >= r->first / hm->c.page_tokens)
                note(&a->writer[t[k]], r->row);
        }
    }
    for (page_id p = 0; p < hm->c.n_pages; p++)
        if (a->writer[p] == MANY || (a->writer[p] != NOBODY && a->reader[p] == MANY))
            hm_violation(ln, "page written and shared in one step", p, a->writer[p]);
}

/* The pages of step a against those of b, another one in flight. */
static void check_overlap(struct hm_lane *ln, const struct slot *a, const struct slot *b)
{
    for (page_id p = 0; p < ln->hm->c.n_pages; p++) {
        int32_t w = a->writer[p];
        if (w != NOBODY && (other(b->reader[p], w - 1) || other(b->writer[p], w - 1)))
            hm_violation(ln, "page written while another row's step in flight uses it", p, w - 1);
        if (b->writer[p] != NOBODY && a->reader[p] != NOBODY && a->reader[p] != b->writer[p])
            hm_violation(ln, "page read while another row's step in flight writes it", p, w - 1);
    }
}

/* The rows of step s against those in flight: after the step before in its own lane, and in none of
 * the other lane, from which only the host knows the tokens. */
static void check_rows(struct hm_lane *ln, const struct step *s)
{
    struct hash_model *hm = ln->hm;
    const struct hm_lane *next_to = hm->c.lanes > 1 ? &hm->lane[!ln->index] : NULL;
    for (int32_t i = 0; i < s->n_rows; i++) {
        const struct step_row *r = &s->rows[i];
        int32_t by = hm->drawn_by[r->row];
        if (ln->n_flight > 1 && ln->row_next[r->row] >= 0 && ln->row_next[r->row] != r->first)
            hm_violation(ln, "row recycled while in flight", r->row, r->first);
        if (s->tokens[r->token0] == TOKEN_FROM_ROW && by != ln->index + 1)
            hm_violation(ln, "a token that was not drawn in this lane", r->row, r->first);
        for (int k = 0; next_to && k < MAX_INFLIGHT; k++)
            for (int32_t j = 0; next_to->slot[k].step && j < next_to->slot[k].step->n_rows; j++)
                if (next_to->slot[k].step->rows[j].row == r->row)
                    hm_violation(ln, "row in steps of both lanes", r->row, r->first);
        hm->n.handed += ln->index != HM_PREFILL && by == HM_PREFILL + 1;
        if (r->want == STEP_WANT_SAMPLE)
            hm->drawn_by[r->row] = ln->index + 1;
    }
}

int hm_check_step(struct hm_lane *ln, int slot, const struct step *s)
{
    struct hash_model *hm = ln->hm;
    struct slot *a = &ln->slot[slot];
    ln->no++;
    if (slot != ln->next || a->step || s->seq_no != ln->no || ++ln->n_flight > hm->c.depth)
        hm_violation(ln, "out of turn", slot, (int64_t)s->seq_no);
    ln->next = !slot;
    a->executed = !check_shape(ln, s);
    if (!a->executed) {
        note_pages(ln, a, s);
        check_rows(ln, s);
        for (int l = 0; l < hm->c.lanes; l++)
            for (int i = 0; i < MAX_INFLIGHT; i++)
                if (hm->lane[l].slot[i].step)
                    check_overlap(ln, a, &hm->lane[l].slot[i]);
    }
    return n_violations(hm) == 0;
}
