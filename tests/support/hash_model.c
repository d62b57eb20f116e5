/* SPDX-License-Identifier: Apache-2.0 */
/* hash_model.c - see the header. Steps run in order; when each runs, at submit or as late as its
 * wait, is drawn from the seed. Two page tables: `seen` as of the last submit, for the checks of
 * overlap, and `table` as of the last executed step. */
#include "hash_model.h"

#include "mem.h"
#include "status.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NOBODY = 0, MANY = -1 };
#define NOT_A_NUMBER UINT64_MAX /* an entry as if of NaNs: all that is computed from it is such */

struct slot {
    const struct step *step; /* NULL: not in flight */
    int executed;
    uint64_t sum; /* of the step at submit */
    struct step_result result;
    int32_t *reader, *writer; /* [n_pages]: row + 1, NOBODY, MANY */
    float (*vector)[HM_DIM];  /* [max_rows]: of the step's rows */
};

struct hash_model {
    struct hm_config c;
    uint64_t *kv;          /* [n_pages][page_tokens] */
    page_id *table, *seen; /* [max_rows][max_pages] */
    token_id *last;        /* [max_rows] */
    uint32_t *count;       /* [max_rows][vocab] what penalties see, see step.h */
    int32_t *drew;         /* [max_rows]: position that a row with a penalty draws next, -1 */
    uint8_t *banned;       /* [vocab] scratch */
    float (*sum)[HM_DIM];  /* [max_rows] of hidden states */
    int32_t *sum_next;     /* [max_rows]: position at which the sum goes on */
    int32_t *row_next;     /* [max_rows]: position after the row's chunk in the other slot, -1 */
    struct slot slot[MAX_INFLIGHT];
    int next, n_flight;
    uint64_t rng, no;
    int64_t now;
    struct hm_counts n;
    uint64_t fail_no;
    int fail_status, fail_times, fail_on_wait;
    uint64_t spoil_no;
};

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

static void violation(struct hash_model *hm, const char *what, int64_t a, int64_t b)
{
    if (hm->n.violations++ == 0)
        snprintf(hm->n.first, sizeof hm->n.first, "step %llu: %s (%lld, %lld)",
                 (unsigned long long)hm->no, what, (long long)a, (long long)b);
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
    hm->row_next = xcalloc2((size_t)c->max_rows, sizeof *hm->row_next);
    hm->count = xcalloc2((size_t)c->max_rows * (size_t)c->vocab, sizeof *hm->count);
    hm->drew = xcalloc2((size_t)c->max_rows, sizeof *hm->drew);
    hm->banned = xcalloc2((size_t)c->vocab, 1);
    hm->sum = xcalloc2((size_t)c->max_rows, sizeof *hm->sum);
    hm->sum_next = xcalloc2((size_t)c->max_rows, sizeof *hm->sum_next);
    for (int i = 0; i < MAX_INFLIGHT; i++) {
        hm->slot[i].vector = xcalloc2((size_t)c->max_rows, sizeof *hm->slot[i].vector);
        hm->slot[i].reader = xcalloc2(pages, sizeof(int32_t));
        hm->slot[i].writer = xcalloc2(pages, sizeof(int32_t));
    }
    return hm;
}

void hm_free(struct hash_model *hm)
{
    free(hm->kv);
    free(hm->table);
    free(hm->seen);
    free(hm->last);
    free(hm->row_next);
    free(hm->count);
    free(hm->drew);
    free(hm->sum);
    free(hm->sum_next);
    free(hm->banned);
    for (int i = 0; i < MAX_INFLIGHT; i++) {
        free(hm->slot[i].reader);
        free(hm->slot[i].writer);
        free(hm->slot[i].vector);
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
static int check_shape(struct hash_model *hm, const struct step *s)
{
    int64_t before = hm->n.violations;
    if (s->share != 0 || s->version != STEP_VERSION || s->kind > STEP_PREFILL || s->n_rows < 1 ||
        s->n_rows > hm->c.max_rows || s->n_tokens > MAX_STEP_TOKENS || s->n_area < 0 ||
        s->n_area > MAX_AREA)
        violation(hm, "bad head", s->n_rows, s->n_tokens);
    for (int32_t i = 0; i < s->n_edits; i++) {
        const struct page_edit *e = &s->edits[i];
        if (e->row < 0 || e->row >= hm->c.max_rows || e->index < 0 || e->index >= hm->c.max_pages ||
            e->page < 0 || e->page >= hm->c.n_pages)
            violation(hm, "bad edit", e->row, e->index);
        else
            hm->seen[(size_t)e->row * (size_t)hm->c.max_pages + (size_t)e->index] = e->page;
    }
    int32_t at = 0;
    for (int32_t i = 0; i < s->n_rows && hm->n.violations == before; i++) {
        const struct step_row *r = &s->rows[i];
        if (r->row < 0 || r->row >= hm->c.max_rows || r->first < 0 || r->n < 1 ||
            (r->first + r->n - 1) / hm->c.page_tokens >= hm->c.max_pages || r->token0 != at ||
            r->n_verify != 0 || bad_area(hm, s, i) || bad_want(hm, s, i))
            violation(hm, "bad row", r->row, r->first);
        for (int32_t k = 0; k < i; k++)
            if (s->rows[k].row == r->row)
                violation(hm, "row twice", r->row, i);
        at += r->n;
    }
    return hm->n.violations == before;
}

static void note(int32_t *who, int32_t row)
{
    *who = *who == NOBODY || *who == row + 1 ? row + 1 : MANY;
}

static int other(int32_t who, int32_t row)
{
    return who != NOBODY && who != row + 1;
}

/* Record which pages the step reads and writes and for whom, against the other step in flight. */
static void check_overlap(struct hash_model *hm, struct slot *a, const struct slot *b,
                          const struct step *s)
{
    size_t bytes = (size_t)hm->c.n_pages * sizeof(int32_t);
    memset(a->reader, 0, bytes);
    memset(a->writer, 0, bytes);
    for (int32_t i = 0; i < s->n_copy; i++) {
        const struct page_copy *c = &s->copy[i];
        if (c->src < 0 || c->src >= hm->c.n_pages || c->dst < 0 || c->dst >= hm->c.n_pages) {
            violation(hm, "bad copy", c->src, c->dst);
            continue;
        }
        row_id row = hm->c.max_rows;
        for (int32_t k = 0; k < s->n_edits; k++)
            if (s->edits[k].page == c->dst)
                row = s->edits[k].row;
        if (a->writer[c->dst] != NOBODY || a->writer[c->src] != NOBODY ||
            a->reader[c->dst] != NOBODY)
            violation(hm, "copies of one step collide", c->src, c->dst);
        note(&a->reader[c->src], row);
        note(&a->writer[c->dst], row);
    }
    for (int32_t i = 0; i < s->n_rows; i++) {
        const struct step_row *r = &s->rows[i];
        const page_id *t = hm->seen + (size_t)r->row * (size_t)hm->c.max_pages;
        for (int32_t k = 0; k <= (r->first + r->n - 1) / hm->c.page_tokens; k++) {
            if (t[k] < 0) {
                violation(hm, "no page", r->row, k);
                continue;
            }
            note(&a->reader[t[k]], r->row);
            if (k >= r->first / hm->c.page_tokens)
                note(&a->writer[t[k]], r->row);
        }
        if (b->step && hm->row_next[r->row] >= 0 && hm->row_next[r->row] != r->first)
            violation(hm, "row recycled while in flight", r->row, r->first);
    }
    for (page_id p = 0; p < hm->c.n_pages; p++) {
        int32_t w = a->writer[p];
        if (w == MANY || (w != NOBODY && a->reader[p] == MANY))
            violation(hm, "page written and shared in one step", p, w);
        if (!b->step)
            continue;
        if (w != NOBODY && (other(b->reader[p], w - 1) || other(b->writer[p], w - 1)))
            violation(hm, "page written while another row's step in flight uses it", p, w - 1);
        if (b->writer[p] != NOBODY && a->reader[p] != NOBODY && a->reader[p] != b->writer[p])
            violation(hm, "page read while another row's step in flight writes it", p, w - 1);
    }
}

static uint64_t *entry(struct hash_model *hm, const page_id *t, int32_t pos)
{
    page_id p = t[pos / hm->c.page_tokens];
    return hm->kv + (size_t)p * (size_t)hm->c.page_tokens + (size_t)(pos % hm->c.page_tokens);
}

/* Read the records of row i; its counts are those of the row from the first record on. */
static void read_area(struct hash_model *hm, const struct step *s, int32_t i, struct hm_inputs *in)
{
    const struct step_row *r = &s->rows[i];
    const int32_t vocab = hm->c.vocab;
    uint32_t *count = hm->count + (size_t)r->row * (size_t)vocab;
    int counted = 0;
    *in = (struct hm_inputs){.banned = r->n_area > 0 ? hm->banned : NULL};
    if (r->n_area > 0)
        memset(hm->banned, 0, (size_t)vocab);
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
                hm->banned[rec[k]] = 1;
            else
                in->bias += hm_mix(rec[k], rec[k + 1]);
        }
        for (int32_t t = 0; t < vocab && kind == STEP_AREA_MASK; t++)
            hm->banned[t] |= !(rec[t / 32] >> (t % 32) & 1);
    }
    if (!has_penalty(&s->sample[i]))
        return;
    if (!counted && hm->drew[r->row] != r->first + r->n)
        violation(hm, "counts of somebody else", r->row, r->first);
    for (int32_t t = 0; t < vocab; t++)
        in->counts += count[t] > 0 ? hm_mix((uint32_t)t, count[t]) : 0;
}

/* After token k of row i: its score and its part of the row's vector. */
static void give_back(struct hash_model *hm, struct slot *a, int32_t i, int32_t k, uint64_t acc,
                      int broken)
{
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
        violation(hm, "sum of somebody else", r->row, r->first);
    for (int j = 0; j < HM_DIM; j++) { /* what is no number stays none, whatever comes after it */
        v[j] = broken ? NAN : v[j];
        sum[j] = r->first + k == 0 ? v[j] : sum[j] + v[j];
        a->vector[i][j] = sum[j] / (float)(r->first + k + 1);
    }
    hm->sum_next[r->row] = r->first + k + 1;
}

static void run_row(struct hash_model *hm, struct slot *a, int32_t i)
{
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
        give_back(hm, a, i, k, acc, broken);
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
    read_area(hm, s, i, &in);
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

static void execute(struct hash_model *hm, struct slot *a)
{
    const struct step *s = a->step;
    if (a->executed)
        return;
    a->executed = 1;
    hm->now += hm->c.step_us + hm->c.token_us * s->n_tokens;
    if (step_sum(s) != a->sum)
        violation(hm, "the step was touched while in flight", (int64_t)s->seq_no, 0);
    for (int32_t i = 0; i < s->n_edits; i++)
        hm->table[(size_t)s->edits[i].row * (size_t)hm->c.max_pages + (size_t)s->edits[i].index] =
            s->edits[i].page;
    for (int32_t i = 0; i < s->n_copy; i++)
        memcpy(hm->kv + (size_t)s->copy[i].dst * (size_t)hm->c.page_tokens,
               hm->kv + (size_t)s->copy[i].src * (size_t)hm->c.page_tokens,
               (size_t)hm->c.page_tokens * sizeof *hm->kv);
    for (int32_t i = 0; i < s->n_rows; i++)
        run_row(hm, a, i);
}

static int chance(struct hash_model *hm, unsigned one_in)
{
    hm->rng = hm_mix(hm->rng, 0x5bd1e995u);
    return (hm->rng >> 24) % one_in == 0;
}

static int hm_submit(void *self, int slot, const struct step *s)
{
    struct hash_model *hm = self;
    struct slot *a = &hm->slot[slot], *b = &hm->slot[!slot];
    int st = must_fail(hm, s->seq_no, 0);
    if (st != 0) {
        hm->no += st == ST_INTERNAL; /* refused: the engine goes on with the next */
        return st;
    }
    hm->no++;
    if (slot != hm->next || a->step || s->seq_no != hm->no || ++hm->n_flight > hm->c.depth)
        violation(hm, "out of turn", slot, (int64_t)s->seq_no);
    hm->next = !slot;
    if (!b->step)
        for (int32_t r = 0; r < hm->c.max_rows; r++)
            hm->row_next[r] = -1;
    a->executed = !check_shape(hm, s);
    if (!a->executed)
        check_overlap(hm, a, b, s);
    if (hm->n.violations > 0)
        return ST_DEVICE; /* indices are not to be trusted any more */
    for (int32_t r = 0; r < hm->c.max_rows; r++)
        hm->row_next[r] = -1;
    for (int32_t i = 0; i < s->n_rows; i++)
        hm->row_next[s->rows[i].row] = s->rows[i].first + s->rows[i].n;
    a->step = s;
    a->sum = step_sum(s);
    hm->n.trace = hm_mix(hm->n.trace, a->sum);
    hm->n.steps++;
    hm->n.copies += s->n_copy;
    hm->n.edits += s->n_edits;
    hm->n.overlapped += b->step != NULL;
    if (s->kind == STEP_DECODE)
        hm->n.decode_rows += s->n_rows;
    else
        hm->n.prefill_tokens += s->n_tokens;
    if (!hm->c.late && chance(hm, 2)) {
        if (b->step)
            execute(hm, b);
        execute(hm, a);
    }
    return 0;
}

static int hm_wait(void *self, int slot, struct step_result *r)
{
    struct hash_model *hm = self;
    struct slot *a = &hm->slot[slot];
    if (!a->step) {
        violation(hm, "wait for nothing", slot, 0);
        return ST_DEVICE;
    }
    int st = must_fail(hm, a->step->seq_no, 1);
    if (st != 0)
        return st;
    execute(hm, a);
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
    hm->n_flight--;
    return 0;
}

static int hm_ready(void *self, int slot)
{
    struct hash_model *hm = self;
    return hm->slot[slot].step && hm->slot[slot].executed && chance(hm, 2);
}

/* Whether the row wanted one is not known any more: the step may be gone. */
static int hm_vector(void *self, int slot, int32_t i, float *dst)
{
    const struct hash_model *hm = self;
    if (i < 0 || i >= hm->slot[slot].result.n_rows)
        return ST_INVALID_VALUE;
    memcpy(dst, hm->slot[slot].vector[i], sizeof *hm->slot[slot].vector);
    return 0;
}

void hm_executor(struct hash_model *hm, struct executor *ex)
{
    *ex = (struct executor){.self = hm,
                            .submit = hm_submit,
                            .wait = hm_wait,
                            .ready = hm_ready,
                            .hidden = hm_vector,
                            .hidden_dim = HM_DIM};
}
