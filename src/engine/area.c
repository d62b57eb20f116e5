/* SPDX-License-Identifier: Apache-2.0 */
/* area.c - variable-length inputs of a request: biases, a mask, what must not be drawn yet, and the
 * counts that penalties start from.
 *
 * They are kept in memory of the seq's slot, allocated at start and backed only where it was
 * touched. A row that draws brings biases and mask each time; the counts once after each start of
 * the seq, since from then on they are kept where the tokens are drawn. Until min_new tokens are
 * drawn, EOS and stop ids have a bias of -infinity. Engine thread, but for area_check.
 */
#include "area.h"

#include "mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BANS = MAX_EOS + MAX_STOP_IDS };

/* What follows a msg_submit. */
struct tail {
    const token_id *stop;
    const struct token_bias *bias;
    const uint32_t *mask;
};

static struct tail tail_of(const struct msg_submit *m)
{
    const token_id *stop = (const token_id *)(m + 1) + m->n_prompt;
    const struct token_bias *bias = (const struct token_bias *)(stop + m->n_stop_ids);
    return (struct tail){stop, bias, (const uint32_t *)(bias + m->n_bias)};
}

static bool contains(const token_id *v, int32_t n, token_id t)
{
    for (int32_t i = 0; i < n; i++)
        if (v[i] == t)
            return true;
    return false;
}

static bool in_mask(const uint32_t *mask, token_id t)
{
    return mask[t / 32] >> (t % 32) & 1;
}

/* Is a token left that may be drawn first? There is as soon as more are allowed than forbidden, so
 * that the long way is for a few. */
static bool something_left(const struct engine_limits *l, const struct engine_facts *f,
                           const struct msg_submit *m, const struct tail *t)
{
    int32_t most_bans = m->n_bias + (m->min_new > 0 ? m->n_stop_ids + f->n_eos : 0), n = 0;
    for (token_id i = 0; i < l->vocab && n <= most_bans; i++)
        n += m->n_mask == 0 || in_mask(t->mask, i);
    if (n > most_bans)
        return true;
    for (token_id i = 0; i < l->vocab; i++) {
        if (m->n_mask > 0 && !in_mask(t->mask, i))
            continue;
        bool banned = m->min_new > 0 && (contains(t->stop, m->n_stop_ids, i) ||
                                         (!m->ignore_eos && contains(f->eos, f->n_eos, i)));
        for (int32_t k = 0; k < m->n_bias && !banned; k++)
            banned = t->bias[k].token == i && t->bias[k].bias == -INFINITY;
        if (!banned)
            return true;
    }
    return false;
}

static int64_t pairs(int64_t n)
{
    return n > 0 ? 1 + 2 * n : 0;
}

static int64_t at_most(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int area_check(const struct engine_limits *l, const struct engine_facts *f,
               const struct msg_submit *m)
{
    const struct tail t = tail_of(m);
    const struct sample_params *p = &m->params;
    if (m->n_mask != 0 && m->n_mask != MSG_MASK_WORDS(l->vocab))
        return ST_INVALID_VALUE;
    if (!isfinite(p->presence_penalty) || !isfinite(p->frequency_penalty) ||
        !isfinite(p->repetition_penalty) || p->repetition_penalty < 0)
        return ST_INVALID_VALUE;
    for (int32_t i = 0; i < m->n_bias; i++)
        if (t.bias[i].token < 0 || t.bias[i].token >= l->vocab || isnan(t.bias[i].bias) ||
            t.bias[i].bias == INFINITY || (i > 0 && t.bias[i].token <= t.bias[i - 1].token))
            return ST_INVALID_VALUE;
    int64_t counts = has_penalty(p) ? at_most((int64_t)m->n_prompt + m->max_new, l->vocab) : 0;
    int64_t bans = m->min_new > 0 ? f->n_eos + m->n_stop_ids : 0;
    if (pairs(counts) + pairs(m->n_bias + bans) + (m->n_mask > 0 ? 1 + m->n_mask : 0) > MAX_AREA)
        return ST_INVALID_VALUE;
    return something_left(l, f, m, &t) ? 0 : ST_INVALID_VALUE;
}

int area_init(struct engine *en, struct err *e)
{
    struct area *a = &en->area;
    size_t n = (size_t)en->seqs.n_slots, n_mask, bytes;
    a->n_mask = MSG_MASK_WORDS(en->lim.vocab);
    if (!mul_size(n, (size_t)a->n_mask, &n_mask) || !mul_size(n_mask, sizeof *a->mask, &bytes))
        return err_set(e, ST_NOMEM, "%zu masks of %d tokens are too many", n, en->lim.vocab);
    a->bias = xcalloc2(n * MAX_BIAS, sizeof *a->bias);
    a->ban = xcalloc2(n * MAX_BANS, sizeof *a->ban);
    a->mask = xcalloc2(n_mask, sizeof *a->mask);
    a->count = xcalloc2((size_t)en->lim.vocab, sizeof *a->count);
    return 0;
}

void area_fini(struct engine *en)
{
    free(en->area.bias);
    free(en->area.ban);
    free(en->area.mask);
    free(en->area.count);
}

static struct token_bias *bias_of(const struct engine *en, const struct seq *s)
{
    return en->area.bias + (size_t)seq_index(&en->seqs, s) * MAX_BIAS;
}

static token_id *ban_of(const struct engine *en, const struct seq *s)
{
    return en->area.ban + (size_t)seq_index(&en->seqs, s) * MAX_BANS;
}

static uint32_t *mask_of(const struct engine *en, const struct seq *s)
{
    return en->area.mask + (size_t)seq_index(&en->seqs, s) * (size_t)en->area.n_mask;
}

static int by_id(const void *a, const void *b)
{
    token_id x = *(const token_id *)a, y = *(const token_id *)b;
    return (x > y) - (x < y);
}

/* What must not be drawn before min_new tokens are: ascending, each once. */
static int32_t collect_bans(const struct engine *en, const struct seq *s, token_id *ban)
{
    int32_t n = 0, kept = 0;
    if (s->min_new <= 0)
        return 0;
    for (int32_t i = 0; i < en->facts.n_eos && !s->ignore_eos; i++)
        if (en->facts.eos[i] < en->lim.vocab) /* a tokenizer may have more than the head */
            ban[n++] = en->facts.eos[i];
    for (int32_t i = 0; i < s->n_stop; i++)
        if (s->stop[i] >= 0 && s->stop[i] < en->lim.vocab)
            ban[n++] = s->stop[i];
    qsort(ban, (size_t)n, sizeof *ban, by_id);
    for (int32_t i = 0; i < n; i++)
        if (kept == 0 || ban[i] != ban[kept - 1])
            ban[kept++] = ban[i];
    return kept;
}

void area_admit(struct engine *en, struct seq *s, const struct msg_submit *m)
{
    const struct tail t = tail_of(m);
    s->n_bias = m->n_bias;
    s->has_mask = m->n_mask > 0;
    s->n_ban = collect_bans(en, s, ban_of(en, s));
    s->has_counts = has_penalty(&s->params);
    memcpy(bias_of(en, s), t.bias, (size_t)m->n_bias * sizeof *t.bias);
    memcpy(mask_of(en, s), t.mask, (size_t)m->n_mask * sizeof *t.mask);
    s->has_area = s->n_bias + s->n_ban > 0 || s->has_mask || s->has_counts;
}

/* Are EOS and stop ids still forbidden for the token that s draws next? */
static int32_t bans_now(const struct seq *s)
{
    return s->n_tok - s->n_prompt < s->min_new ? s->n_ban : 0;
}

int32_t area_words(const struct engine *en, const struct seq *s)
{
    if (!s->has_area)
        return 0;
    int64_t counts = s->has_counts && !s->counted ? at_most(s->n_tok, en->lim.vocab) : 0;
    int64_t n = pairs(counts) + pairs(s->n_bias + bans_now(s)) +
                (s->has_mask ? 1 + en->area.n_mask : 0);
    return (int32_t)n; /* area_check bounds it by MAX_AREA */
}

/* A record's first word is written when its length is known. */
static uint32_t *begin(uint32_t **at)
{
    return (*at)++;
}

static void end(uint32_t *head, const uint32_t *at, uint32_t kind)
{
    *head = kind | (uint32_t)(at - head - 1) << 8;
}

/* Every token of s: is it in the prompt, how often was it drawn. */
static void pack_counts(struct engine *en, const struct seq *s, uint32_t **at)
{
    uint32_t *head = begin(at), *count = en->area.count;
    for (int32_t i = 0; i < s->n_tok; i++) {
        uint32_t *c = &count[s->tok[i]];
        if (*c == 0) {
            (*at)[0] = (uint32_t)s->tok[i];
            *at += 2;
        }
        *c = i < s->n_prompt ? STEP_COUNT_PROMPT : *c + 1;
    }
    for (uint32_t *p = head + 1; p < *at; p += 2) {
        p[1] = count[p[0]];
        count[p[0]] = 0;
    }
    end(head, *at, STEP_AREA_COUNTS);
}

static void put_bias(uint32_t **at, token_id t, float bias)
{
    (*at)[0] = (uint32_t)t;
    memcpy(*at + 1, &bias, sizeof bias);
    *at += 2;
}

/* Both lists ascend; a token in both is forbidden. */
static void pack_bias(const struct engine *en, const struct seq *s, uint32_t **at)
{
    const struct token_bias *bias = bias_of(en, s);
    const token_id *ban = ban_of(en, s);
    int32_t n_ban = bans_now(s), i = 0, k = 0;
    uint32_t *head = begin(at);
    while (i < s->n_bias || k < n_ban) {
        if (k == n_ban || (i < s->n_bias && bias[i].token < ban[k])) {
            put_bias(at, bias[i].token, bias[i].bias);
            i++;
            continue;
        }
        i += i < s->n_bias && bias[i].token == ban[k];
        put_bias(at, ban[k++], -INFINITY);
    }
    end(head, *at, STEP_AREA_BIAS);
}

void area_pack(struct engine *en, struct step *step, struct step_row *r, struct seq *s)
{
    if (!s->has_area)
        return;
    uint32_t *first = step->area + step->n_area, *at = first;
    if (s->has_counts && !s->counted)
        pack_counts(en, s, &at);
    s->counted = true;
    if (s->n_bias + bans_now(s) > 0)
        pack_bias(en, s, &at);
    if (s->has_mask) {
        uint32_t *head = begin(&at);
        memcpy(at, mask_of(en, s), (size_t)en->area.n_mask * sizeof *at);
        at += en->area.n_mask;
        end(head, at, STEP_AREA_MASK);
    }
    r->area0 = at > first ? step->n_area : 0;
    r->n_area = (int32_t)(at - first);
    step->n_area += r->n_area;
}
