/* SPDX-License-Identifier: Apache-2.0 */
/* pretok.c - the pre-tokenizer steps. Each takes the list of pieces to a finer one; two steps
 * (Metaspace, a prefix space) also rewrite the text. Immutable tables, one call's workspace. */
#include "pretok.h"

#include "mem.h"
#include "uclass.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

void pretok_fini(struct pretok *p)
{
    for (int i = 0; i < p->n; i++) {
        rx_free(p->step[i].rx);
        free(p->step[i].lit);
    }
    p->n = 0;
}

void pretok_work_fini(struct pretok_work *w)
{
    free(w->now.p);
    free(w->then.p);
    w->now = w->then = (struct pieces){0};
}

static void grow(struct pieces *v)
{
    v->cap = v->cap ? v->cap * 2 : 64;
    v->p = xrealloc(v->p, v->cap * sizeof *v->p);
}

static inline void add(struct pieces *v, size_t begin, size_t end)
{
    if (v->n == v->cap)
        grow(v);
    v->p[v->n++] = (struct piece){(uint32_t)begin, (uint32_t)end};
}

/* ---- putting matches and gaps together ---- */

/* Collects a piece's alternating gaps and matches and applies the behaviour. `base` marks where
 * this piece's output begins: nothing is merged across it. */
struct joiner {
    struct pieces *out;
    enum split_how how;
    bool invert;
    size_t base;
    bool last_match, any, has_empty;
    bool pending; /* MERGED_NEXT: a match [begin, end) waits for the gap after it */
    size_t begin, end;
};

static void join(struct joiner *j, size_t begin, size_t end, bool match)
{
    match ^= j->invert;
    j->has_empty |= begin == end;
    switch (j->how) {
    case SPLIT_ISOLATED:
        add(j->out, begin, end);
        break;
    case SPLIT_REMOVED:
        if (!match)
            add(j->out, begin, end);
        break;
    case SPLIT_CONTIGUOUS:
        if (j->any && match == j->last_match && j->out->n > j->base)
            j->out->p[j->out->n - 1].end = (uint32_t)end;
        else
            add(j->out, begin, end);
        break;
    case SPLIT_MERGED_PREV:
        if (match && j->any && !j->last_match && j->out->n > j->base)
            j->out->p[j->out->n - 1].end = (uint32_t)end;
        else
            add(j->out, begin, end);
        break;
    case SPLIT_MERGED_NEXT:
        if (j->pending && !match)
            begin = j->begin;
        else if (j->pending)
            add(j->out, j->begin, j->end);
        j->pending = match;
        if (match) {
            j->begin = begin;
            j->end = end;
        } else {
            add(j->out, begin, end);
        }
        break;
    }
    j->last_match = match;
    j->any = true;
}

/* Empty matches count in the joining, but are no pieces. */
static void join_end(struct joiner *j)
{
    struct pieces *v = j->out;
    size_t k = j->base;
    if (j->how == SPLIT_MERGED_NEXT && j->pending)
        add(v, j->begin, j->end);
    if (!j->has_empty)
        return;
    for (size_t i = j->base; i < v->n; i++)
        if (v->p[i].begin != v->p[i].end)
            v->p[k++] = v->p[i];
    v->n = k;
}

/* ---- the steps ---- */

static int split_rx(const struct rx *rx, struct pretok_work *w, struct joiner *j, const char *s,
                    struct piece p)
{
    struct rx_walk walk = {0};
    size_t n = p.end - p.begin, at = 0, b, e;
    const char *t = s + p.begin;
    int got;
    while ((got = rx_walk(rx, w->run, t, n, &walk, &b, &e)) > 0) {
        if (b > at)
            join(j, p.begin + at, p.begin + b, false);
        join(j, p.begin + b, p.begin + e, true);
        at = e;
    }
    if (got == 0 && at < n)
        join(j, p.begin + at, p.end, false);
    return got;
}

static void split_lit(const struct pre_step *step, struct joiner *j, const char *s, struct piece p)
{
    size_t at = p.begin;
    const char *hit;
    while (step->lit_n && at < p.end &&
           (hit = memmem(s + at, p.end - at, step->lit, step->lit_n))) {
        size_t b = (size_t)(hit - s);
        if (b > at)
            join(j, at, b, false);
        join(j, b, b + step->lit_n, true);
        at = b + step->lit_n;
    }
    if (at < p.end)
        join(j, at, p.end, false);
}

/* Every code point of a class is a match of its own. */
static void split_class(bool (*is)(uint32_t), struct joiner *j, const char *s, struct piece p)
{
    size_t at = p.begin;
    for (size_t i = p.begin; i < p.end;) {
        unsigned len;
        if (is(utf8_get(s + i, &len))) {
            if (i > at)
                join(j, at, i, false);
            join(j, i, i + len, true);
            at = i + len;
        }
        i += len;
    }
    if (at < p.end)
        join(j, at, p.end, false);
}

/* Runs of word characters, and runs of what is neither word nor space. */
static void split_words(struct pieces *out, const char *s, struct piece p)
{
    size_t at = p.begin;
    int kind = 0;
    for (size_t i = p.begin; i < p.end;) {
        unsigned len;
        uint32_t c = utf8_get(s + i, &len);
        int k = uclass_word(c) ? 1 : uclass_space(c) ? 0 : 2;
        if (k != kind) {
            if (kind)
                add(out, at, i);
            at = i;
            kind = k;
        }
        i += len;
    }
    if (kind)
        add(out, at, p.end);
}

static int run_step(const struct pre_step *step, struct pretok_work *w, const char *s,
                    struct piece p)
{
    struct joiner j = {
        .out = &w->then, .how = step->how, .invert = step->invert, .base = w->then.n};
    int st = 0;
    switch (step->kind) {
    case PRE_SPLIT:
        if (step->rx)
            st = split_rx(step->rx, w, &j, s, p);
        else
            split_lit(step, &j, s, p);
        break;
    case PRE_BYTE_LEVEL:
        st = split_rx(step->rx, w, &j, s, p);
        break;
    case PRE_METASPACE:
        split_lit(step, &j, s, p);
        break;
    case PRE_DIGITS:
        split_class(uclass_numeric, &j, s, p);
        break;
    case PRE_PUNCTUATION:
        split_class(uclass_punct, &j, s, p);
        break;
    case PRE_WHITESPACE_SPLIT:
        split_class(uclass_space, &j, s, p);
        break;
    case PRE_WHITESPACE:
        split_words(&w->then, s, p);
        break;
    }
    join_end(&j);
    return st;
}

/* ---- rewriting ---- */

static bool wants_prefix(const struct pre_step *step, const char *s, struct piece p, bool first)
{
    if (step->prefix == PREFIX_NEVER || (step->prefix == PREFIX_FIRST && !(first && p.begin == 0)))
        return false;
    if (step->kind == PRE_BYTE_LEVEL)
        return s[p.begin] != ' ';
    return p.end - p.begin < step->lit_n || memcmp(s + p.begin, step->lit, step->lit_n) != 0;
}

/* Metaspace's replacement and the prefix of a step: the pieces again, over a new text. */
static void rewrite(const struct pre_step *step, struct pretok_work *w, const char **s, size_t *n,
                    bool first)
{
    struct buf out = {0};
    const char *prefix = step->kind == PRE_BYTE_LEVEL ? " " : step->lit;
    size_t prefix_n = step->kind == PRE_BYTE_LEVEL ? 1 : step->lit_n;
    for (size_t k = 0; k < w->now.n; k++) {
        struct piece p = w->now.p[k];
        size_t begin = out.n, at = p.begin;
        bool space_first = step->kind == PRE_METASPACE && (*s)[p.begin] == ' ';
        if (!space_first && wants_prefix(step, *s, p, first))
            buf_add(&out, prefix, prefix_n);
        while (step->kind == PRE_METASPACE && at < p.end) {
            const char *hit = memchr(*s + at, ' ', p.end - at);
            size_t to = hit ? (size_t)(hit - *s) : p.end;
            buf_add(&out, *s + at, to - at);
            if (hit)
                buf_add(&out, step->lit, step->lit_n);
            at = hit ? to + 1 : p.end;
        }
        buf_add(&out, *s + at, p.end - at);
        w->now.p[k] = (struct piece){(uint32_t)begin, (uint32_t)out.n};
    }
    buf_free(w->text);
    *w->text = out;
    *s = out.p ? out.p : "";
    *n = out.n;
}

static bool needs_rewrite(const struct pre_step *step)
{
    return step->kind == PRE_METASPACE ||
           (step->kind == PRE_BYTE_LEVEL && step->prefix != PREFIX_NEVER);
}

static bool needs_split(const struct pre_step *step)
{
    return !(step->kind == PRE_BYTE_LEVEL && !step->rx) &&
           !(step->kind == PRE_METASPACE && !step->split);
}

int pretok_run(const struct pretok *p, struct pretok_work *w, const char **s, size_t *n, bool first)
{
    w->now.n = 0;
    if (*n)
        add(&w->now, 0, *n);
    for (int i = 0; i < p->n; i++) {
        const struct pre_step *step = &p->step[i];
        struct pieces swap;
        if (needs_rewrite(step))
            rewrite(step, w, s, n, first);
        if (!needs_split(step))
            continue;
        w->then.n = 0;
        for (size_t k = 0; k < w->now.n; k++) {
            int st = run_step(step, w, *s, w->now.p[k]);
            if (st)
                return st;
        }
        swap = w->now;
        w->now = w->then;
        w->then = swap;
    }
    return 0;
}
