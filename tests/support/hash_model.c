/* SPDX-License-Identifier: Apache-2.0 */
/* hash_model.c - see the header. Steps run in order; when each runs, at submit or as late as its
 * wait, is drawn from the seed. Two page tables: `seen` as of the last submit, for the checks of
 * overlap, and `table` as of the last executed step. What a step touches when it runs belongs to
 * its lane or to its rows, so that two lanes may run on two threads. */
#include "hash_state.h"

#include "mem.h"
#include "status.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NOT_A_NUMBER UINT64_MAX /* an entry as if of NaNs: all that is computed from it is such */

uint64_t hm_mix(uint64_t a, uint64_t x)
{
    a = (a ^ x) * 0x9fb21c651e98df25u;
    return a ^ (a >> 29);
}

uint64_t hm_entry(uint64_t acc, token_id tok, int32_t pos)
{
    return hm_mix(acc + 0x1234567u, ((uint64_t)(uint32_t)tok << 32) | (uint32_t)pos);
}

token_id hm_draw(uint64_t acc, const struct sample_params *p, const struct hm_inputs *in,
                 int32_t pos, int32_t vocab, float *logprob)
{
    uint32_t t;
    memcpy(&t, &p->temperature, sizeof t);
    uint64_t h = hm_mix(hm_mix(hm_mix(acc, p->seed), t), (uint32_t)pos);
    h = hm_mix(hm_mix(h, in->bias), has_penalty(p) ? in->counts : 0);
    *logprob = -(float)(h & 1023) / 64.0f;
    token_id drawn = (token_id)((h >> 16) % (uint64_t)vocab);
    for (int32_t i = 0; i < vocab && in->banned && in->banned[drawn]; i++)
        drawn = (drawn + 1) % vocab;
    return drawn;
}

float hm_score(uint64_t acc, token_id next)
{
    return -(float)(hm_mix(acc + 99, (uint32_t)next) & 1023) / 64.0f;
}

int32_t hm_rank(uint64_t acc, token_id next, int32_t vocab)
{
    return 1 + (int32_t)(hm_mix(acc + 98, (uint32_t)next) % (uint64_t)vocab);
}

void hm_hidden(uint64_t acc, float v[HM_DIM])
{
    for (int j = 0; j < HM_DIM; j++)
        v[j] = (float)(hm_mix(acc + 7, (uint64_t)j) >> 40 & 1023) / 64.0f - 8.0f;
}

struct hash_model *hm_new(const struct hm_config *c)
{
    struct hash_model *hm = xalloc(sizeof *hm);
    size_t rows = (size_t)c->max_rows * (size_t)c->max_pages, pages = (size_t)c->n_pages;
    hm->c = *c;
    hm->rng = c->seed;
    hm->now = 1000;
    hm->kv = xcalloc2(pages * (size_t)c->page_tokens, sizeof *hm->kv);
    for (size_t i = 0; i < pages * (size_t)c->page_tokens; i++)
        hm->kv[i] = hm_mix(c->seed, i);
    hm->table = xcalloc2(rows, sizeof *hm->table);
    hm->seen = xcalloc2(rows, sizeof *hm->seen);
    for (size_t i = 0; i < rows; i++)
        hm->table[i] = hm->seen[i] = -1;
    hm->last = xcalloc2((size_t)c->max_rows, sizeof *hm->last);
    hm->count = xcalloc2((size_t)c->max_rows * (size_t)c->vocab, sizeof *hm->count);
    hm->drew = xcalloc2((size_t)c->max_rows, sizeof *hm->drew);
    hm->sum = xcalloc2((size_t)c->max_rows, sizeof *hm->sum);
    hm->sum_next = xcalloc2((size_t)c->max_rows, sizeof *hm->sum_next);
    hm->drawn_by = xcalloc2((size_t)c->max_rows, sizeof *hm->drawn_by);
    hm->c.lanes = c->lanes > 1 ? c->lanes : 1;
    for (int l = 0; l < hm->c.lanes; l++) {
        struct hm_lane *ln = &hm->lane[l];
        ln->hm = hm;
        ln->index = l;
        ln->row_next = xcalloc2((size_t)c->max_rows, sizeof *ln->row_next);
        ln->banned = xcalloc2((size_t)c->vocab, 1);
        for (int i = 0; i < MAX_INFLIGHT; i++) {
            ln->slot[i].vector = xcalloc2((size_t)c->max_rows, sizeof *ln->slot[i].vector);
            ln->slot[i].reader = xcalloc2(pages, sizeof(int32_t));
            ln->slot[i].writer = xcalloc2(pages, sizeof(int32_t));
        }
    }
    return hm;
}

void hm_free(struct hash_model *hm)
{
    free(hm->kv);
    free(hm->table);
    free(hm->seen);
    free(hm->last);
    free(hm->count);
    free(hm->drew);
    free(hm->sum);
    free(hm->sum_next);
    free(hm->drawn_by);
    for (int l = 0; l < hm->c.lanes; l++) {
        struct hm_lane *ln = &hm->lane[l];
        free(ln->row_next);
        free(ln->banned);
        for (int i = 0; i < MAX_INFLIGHT; i++) {
            free(ln->slot[i].reader);
            free(ln->slot[i].writer);
            free(ln->slot[i].vector);
        }
    }
    free(hm);
}

const struct hm_counts *hm_counts(const struct hash_model *hm)
{
    return &hm->n;
}

int64_t hm_now(void *hm)
{
    return ++((struct hash_model *)hm)->now;
}

void hm_pause(void *hm, int64_t us)
{
    ((struct hash_model *)hm)->now += us;
}

int hm_uses(const struct hash_model *hm, page_id page)
{
    for (int l = 0; l < hm->c.lanes; l++)
        for (int i = 0; i < MAX_INFLIGHT; i++) {
            const struct slot *a = &hm->lane[l].slot[i];
            if (a->step && (a->reader[page] != NOBODY || a->writer[page] != NOBODY))
                return 1;
        }
    return 0;
}

void hm_fail(struct hash_model *hm, uint64_t no, int status, int times, int on_wait)
{
    hm->fail_no = no;
    hm->fail_status = status;
    hm->fail_times = times;
    hm->fail_on_wait = on_wait;
}

void hm_spoil(struct hash_model *hm, uint64_t no)
{
    hm->spoil_no = no;
}

static int must_fail(struct hash_model *hm, uint64_t no, int on_wait)
{
    if (hm->fail_times <= 0 || no < hm->fail_no || on_wait != hm->fail_on_wait)
        return 0;
    hm->fail_times--;
    return hm->fail_status;
}

static uint64_t step_sum(const struct step *s)
{
    uint64_t h = hm_mix(s->kind, s->seq_no);
    for (int32_t i = 0; i < s->n_rows; i++) {
        const struct step_row *r = &s->rows[i];
        h = hm_mix(h, ((uint64_t)(uint32_t)r->row << 32) | (uint32_t)r->first);
        h = hm_mix(h, ((uint64_t)(uint32_t)r->n << 32) | (uint32_t)(r->token0 * 2 + r->want));
        h = hm_mix(h, s->sample[i].seed);
        h = hm_mix(h, ((uint64_t)(uint32_t)r->n_score << 32) | (uint32_t)r->n_score_top);
        h = hm_mix(h, (uint32_t)r->next);
    }
    for (int32_t i = 0; i < s->n_tokens; i++)
        h = hm_mix(h, (uint32_t)s->tokens[i]);
    for (int32_t i = 0; i < s->n_edits; i++)
        h = hm_mix(h, hm_mix((uint32_t)s->edits[i].row, (uint32_t)s->edits[i].index) +
                          (uint32_t)s->edits[i].page);
    for (int32_t i = 0; i < s->n_copy; i++)
        h = hm_mix(h, hm_mix((uint32_t)s->copy[i].src, (uint32_t)s->copy[i].dst));
    for (int32_t i = 0; i < s->n_area; i++)
        h = hm_mix(h, s->area[i]);
    return h;
}

static uint64_t *entry(struct hash_model *hm, const page_id *t, int32_t pos)
{
    page_id p = t[pos / hm->c.page_tokens];
    return hm->kv + (size_t)p * (size_t)hm->c.page_tokens + (size_t)(pos % hm->c.page_tokens);
}

/* Read the records of row i; its counts are those of the row from the first record on. */
static void read_area(struct hm_lane *ln, const struct step *s, int32_t i, struct hm_inputs *in)
{
    struct hash_model *hm = ln->hm;
    const struct step_row *r = &s->rows[i];
    const int32_t vocab = hm->c.vocab;
    uint32_t *count = hm->count + (size_t)r->row * (size_t)vocab;
    int counted = 0;
    *in = (struct hm_inputs){.banned = r->n_area > 0 ? ln->banned : NULL};
    if (r->n_area > 0)
        memset(ln->banned, 0, (size_t)vocab);
    for (int32_t at = r->area0; at < r->area0 + r->n_area; at += 1 + (int32_t)(s->area[at] >> 8)) {
        const uint32_t *rec = s->area + at + 1, kind = s->area[at] & 255, n = s->area[at] >> 8;
        if (kind == STEP_AREA_COUNTS) {
            counted = 1;
            memset(count, 0, (size_t)vocab * sizeof *count);
        }
        for (uint32_t k = 0; k < n && kind != STEP_AREA_MASK; k += 2) {
            float bias;
            memcpy(&bias, &rec[k + 1], sizeof bias);
            if (kind == STEP_AREA_COUNTS)
                count[rec[k]] = rec[k + 1];
            else if (bias < -1e30f)
                ln->banned[rec[k]] = 1;
            else
                in->bias += hm_mix(rec[k], rec[k + 1]);
        }
        for (int32_t t = 0; t < vocab && kind == STEP_AREA_MASK; t++)
            ln->banned[t] |= !(rec[t / 32] >> (t % 32) & 1);
    }
    if (!has_penalty(&s->sample[i]))
        return;
    if (!counted && hm->drew[r->row] != r->first + r->n)
        hm_violation(ln, "counts of somebody else", r->row, r->first);
    for (int32_t t = 0; t < vocab; t++)
        in->counts += count[t] > 0 ? hm_mix((uint32_t)t, count[t]) : 0;
}

/* After token k of row i: its score and its part of the row's vector. */
static void give_back(struct hm_lane *ln, struct slot *a, int32_t i, int32_t k, uint64_t acc,
                      int broken)
{
    struct hash_model *hm = ln->hm;
    const struct step *s = a->step;
    const struct step_row *r = &s->rows[i];
    float v[HM_DIM], *sum = hm->sum[r->row];
    if (k < r->n_score) {
        int32_t at = (i > 0 ? a->result.n_score : 0) + k;
        token_id next = k + 1 < r->n ? s->tokens[r->token0 + k + 1] : r->next;
        a->result.score[at] = hm_score(acc, next);
        a->result.score_rank[at] = hm_rank(acc, next, hm->c.vocab);
        for (int32_t j = 0; j < r->n_score_top; j++)
            a->result.score_top[at][j] = (struct token_logprob){
                .token = (next + j) % hm->c.vocab, .logprob = a->result.score[at] - (float)j};
    }
    hm_hidden(acc, v);
    if (r->want == STEP_WANT_HIDDEN)
        memcpy(a->vector[i], v, sizeof v);
    if (r->want != STEP_WANT_SUM && r->want != STEP_WANT_MEAN)
        return;
    if (k == 0 && r->first > 0 && hm->sum_next[r->row] != r->first)
        hm_violation(ln, "sum of somebody else", r->row, r->first);
    for (int j = 0; j < HM_DIM; j++) { /* what is no number stays none, whatever comes after it */
        v[j] = broken ? NAN : v[j];
        sum[j] = r->first + k == 0 ? v[j] : sum[j] + v[j];
        a->vector[i][j] = sum[j] / (float)(r->first + k + 1);
    }
    hm->sum_next[r->row] = r->first + k + 1;
}

static void run_row(struct hm_lane *ln, struct slot *a, int32_t i)
{
    struct hash_model *hm = ln->hm;
    const struct step *s = a->step;
    struct step_result *res = &a->result;
    const struct step_row *r = &s->rows[i];
    const page_id *t = hm->table + (size_t)r->row * (size_t)hm->c.max_pages;
    uint64_t acc = 0;
    int broken = s->seq_no == hm->spoil_no;
    for (int32_t k = 0; k < r->first; k++) {
        uint64_t e = *entry(hm, t, k);
        broken |= e == NOT_A_NUMBER;
        acc = hm_mix(acc, e);
    }
    for (int32_t k = 0; k < r->n; k++) {
        token_id tok = s->tokens[r->token0 + k];
        tok = tok == TOKEN_FROM_ROW ? hm->last[r->row] : tok;
        broken |= hm->c.bad_token > 0 && tok == hm->c.bad_token;
        uint64_t e = broken ? NOT_A_NUMBER : hm_entry(acc, tok, r->first + k);
        *entry(hm, t, r->first + k) = e;
        acc = hm_mix(acc, e);
        give_back(ln, a, i, k, acc, broken);
    }
    broken |= r->want == STEP_WANT_MEAN && isnan(hm->sum[r->row][0]);
    int32_t n = r->want == STEP_WANT_SAMPLE && !broken, j = step_result_add(res, i, n);
    bool asked = r->n_score > 0 || r->want == STEP_WANT_SAMPLE || r->want == STEP_WANT_HIDDEN ||
                 r->want == STEP_WANT_MEAN;
    if (broken && asked) {
        res->row[i].status = ST_NUMERIC;
        hm->last[r->row] = 0;
    } else {
        step_result_add_scores(res, i, r->n_score);
    }
    if (n == 0)
        return;
    const struct sample_params *p = &s->sample[i];
    struct hm_inputs in;
    read_area(ln, s, i, &in);
    res->token[j] = hm_draw(acc, p, &in, r->first + r->n, hm->c.vocab, &res->logprob[j]);
    hm->last[r->row] = res->token[j];
    hm->drew[r->row] = r->first + r->n + 1;
    if (has_penalty(p))
        hm->count[(size_t)r->row * (size_t)hm->c.vocab + (size_t)res->token[j]]++;
    res->n_top[j] = 0;
    for (int32_t k = 0; k < p->n_logprobs; k++)
        res->top[j][res->n_top[j]++] = (struct token_logprob){
            .token = res->token[j] + k, .logprob = res->logprob[j] - (float)k};
}

/* On the lane's part of the device time grows as the part shrinks. */
static int64_t cost(const struct hm_lane *ln, const struct step *s)
{
    const struct hm_config *c = &ln->hm->c;
    int64_t us = c->step_us + c->token_us * s->n_tokens, all = c->n_shares + 1;
    int64_t part = s->share == 0 ? all : s->kind == STEP_DECODE ? s->share : all - s->share;
    return us * all / part;
}

static int is_device(const struct hash_model *hm)
{
    return hm->c.late && hm->c.lanes > 1;
}

static void execute(struct hm_lane *ln, struct slot *a)
{
    struct hash_model *hm = ln->hm;
    const struct step *s = a->step;
    if (a->executed)
        return;
    a->executed = 1;
    if (!is_device(hm) && !hm->c.by_hand)
        hm->now += hm->c.step_us + hm->c.token_us * s->n_tokens;
    if (step_sum(s) != a->sum)
        hm_violation(ln, "the step was touched while in flight", (int64_t)s->seq_no, 0);
    for (int32_t i = 0; i < s->n_edits; i++)
        hm->table[(size_t)s->edits[i].row * (size_t)hm->c.max_pages + (size_t)s->edits[i].index] =
            s->edits[i].page;
    for (int32_t i = 0; i < s->n_copy; i++)
        memcpy(hm->kv + (size_t)s->copy[i].dst * (size_t)hm->c.page_tokens,
               hm->kv + (size_t)s->copy[i].src * (size_t)hm->c.page_tokens,
               (size_t)hm->c.page_tokens * sizeof *hm->kv);
    for (int32_t i = 0; i < s->n_rows; i++)
        run_row(ln, a, i);
}

void hm_run(void *self, int slot)
{
    struct hm_lane *ln = self;
    execute(ln, &ln->slot[slot]);
}

static int chance(struct hash_model *hm, unsigned one_in)
{
    hm->rng = hm_mix(hm->rng, 0x5bd1e995u);
    return (hm->rng >> 24) % one_in == 0;
}

static void tally(struct hm_lane *ln, const struct slot *a)
{
    struct hash_model *hm = ln->hm;
    const struct step *s = a->step;
    hm->n.trace = hm_mix(hm->n.trace, a->sum);
    hm->n.steps++;
    hm->n.copies += s->n_copy;
    hm->n.edits += s->n_edits;
    hm->n.overlapped += ln->n_flight > 1;
    hm->n.beside += hm->c.lanes > 1 && hm->lane[!ln->index].n_flight > 0;
    hm->n.shared += s->share > 0;
    if (s->kind == STEP_DECODE)
        hm->n.decode_rows += s->n_rows;
    else
        hm->n.prefill_tokens += s->n_tokens;
}

static int hm_submit(void *self, int slot, const struct step *s)
{
    struct hm_lane *ln = self;
    struct hash_model *hm = ln->hm;
    struct slot *a = &ln->slot[slot], *b = &ln->slot[!slot];
    int st = must_fail(hm, s->seq_no, 0);
    if (st != 0) {
        ln->no += st == ST_INTERNAL; /* refused: the engine goes on with the next */
        return st;
    }
    if (!hm_check_step(ln, slot, s))
        return ST_DEVICE; /* indices are not to be trusted any more */
    for (int32_t r = 0; r < hm->c.max_rows; r++)
        ln->row_next[r] = -1;
    for (int32_t i = 0; i < s->n_rows; i++)
        ln->row_next[s->rows[i].row] = s->rows[i].first + s->rows[i].n;
    a->step = s;
    a->sum = step_sum(s);
    tally(ln, a);
    ln->end_us = (ln->end_us > hm->now ? ln->end_us : hm->now) + cost(ln, s);
    a->end_us = ln->end_us;
    if (!hm->c.late && !hm->c.by_hand && chance(hm, 2)) {
        if (b->step)
            execute(ln, b);
        execute(ln, a);
    }
    return 0;
}

static int hm_wait(void *self, int slot, struct step_result *r)
{
    struct hm_lane *ln = self;
    struct hash_model *hm = ln->hm;
    struct slot *a = &ln->slot[slot];
    if (!a->step) {
        hm_violation(ln, "wait for nothing", slot, 0);
        return ST_DEVICE;
    }
    int st = must_fail(hm, a->step->seq_no, 1);
    if (st != 0)
        return st;
    if (is_device(hm) && hm->now < a->end_us)
        hm->now = a->end_us;
    execute(ln, a);
    size_t n = (size_t)a->result.n;
    r->n_rows = a->result.n_rows;
    r->n = a->result.n;
    memcpy(r->row, a->result.row, (size_t)r->n_rows * sizeof *r->row);
    memcpy(r->token, a->result.token, n * sizeof *r->token);
    memcpy(r->logprob, a->result.logprob, n * sizeof *r->logprob);
    memcpy(r->n_top, a->result.n_top, n * sizeof *r->n_top);
    memcpy(r->top, a->result.top, n * sizeof *r->top);
    r->n_score = a->result.n_score;
    memcpy(r->score, a->result.score, (size_t)r->n_score * sizeof *r->score);
    memcpy(r->score_rank, a->result.score_rank, (size_t)r->n_score * sizeof *r->score_rank);
    memcpy(r->score_top, a->result.score_top, (size_t)r->n_score * sizeof *r->score_top);
    a->step = NULL;
    ln->n_flight--;
    return 0;
}

/* With two lanes the engine asks until one of them is done, so asking makes steps run. */
static int hm_ready(void *self, int slot)
{
    struct hm_lane *ln = self;
    struct hash_model *hm = ln->hm;
    struct slot *a = &ln->slot[slot];
    if (!a->step)
        return 0;
    if (is_device(hm))
        return hm->now >= a->end_us;
    if (hm->c.lanes > 1 && !hm->c.by_hand && !a->executed && chance(hm, 3))
        execute(ln, a);
    return a->executed && chance(hm, 2);
}

/* Whether the row wanted one is not known any more: the step may be gone. */
static int hm_vector(void *self, int slot, int32_t i, float *dst)
{
    const struct hm_lane *ln = self;
    if (i < 0 || i >= ln->slot[slot].result.n_rows)
        return ST_INVALID_VALUE;
    memcpy(dst, ln->slot[slot].vector[i], sizeof *ln->slot[slot].vector);
    return 0;
}

void hm_executor(struct hash_model *hm, struct executor *ex)
{
    for (int l = 0; l < hm->c.lanes; l++)
        ex[l] = (struct executor){.self = &hm->lane[l],
                                  .submit = hm_submit,
                                  .wait = hm_wait,
                                  .ready = hm_ready,
                                  .hidden = hm_vector,
                                  .hidden_dim = HM_DIM,
                                  .n_shares = hm->c.n_shares};
}
