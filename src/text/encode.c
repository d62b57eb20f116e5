/* SPDX-License-Identifier: Apache-2.0 */
/* encode.c - text to ids: added tokens, normaliser, pieces, merges.
 *
 * Order: added tokens are cut out of the input; the text between is normalised; added tokens of the
 * normalised text are cut out; the rest is cut into pieces and each piece is merged. All scratch
 * belongs to one call, so any thread may encode with one struct tok. Linear in the text. */
#include "tok.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT = 1 << 28 };

struct enc {
    const struct tok *t;
    unsigned flags;
    const struct span *spans;
    size_t n_spans;
    struct bpe_work bpe;
    struct pretok_work pre;
    struct rx_run run;
    struct buf norm, moved, affix;
    struct ids *out;
};

/* ---- one piece ---- */

static token_id char_token(struct enc *x, const char *s, unsigned len, bool first, bool last)
{
    const struct tok *t = x->t;
    if (!t->has_affix) {
        if (t->v.byte_level)
            return t->byte_id[(unsigned char)*s];
        return len == 1 ? t->char_id[(unsigned char)*s] : vocab_find_raw(&t->v, s, len);
    }
    x->affix.n = 0;
    if (!first)
        buf_add(&x->affix, t->subword.p, t->subword.n);
    buf_add(&x->affix, s, len);
    if (last)
        buf_add(&x->affix, t->word_end.p, t->word_end.n);
    return vocab_find_raw(&t->v, x->affix.p, x->affix.n);
}

/* A character that is no token, as bytes <0xNN>; false when not all of them are tokens. */
static bool add_bytes(const struct tok *t, struct bpe_sym *sym, size_t *k, const char *s,
                      unsigned len)
{
    for (unsigned i = 0; i < len; i++)
        if (t->byte_id[(unsigned char)s[i]] < 0)
            return false;
    for (unsigned i = 0; i < len; i++)
        sym[(*k)++] = (struct bpe_sym){t->byte_id[(unsigned char)s[i]], 1};
    return true;
}

/* A piece on its way to first symbols. */
struct symbols {
    struct enc *x;
    const char *s;
    size_t n, at;
    bool unk_waits;
};

/* A bpe_fill: a character gives at most five symbols (an unknown that waited, and four bytes). */
static size_t next_symbols(void *ctx, struct bpe_sym *sym, size_t room)
{
    struct symbols *from = ctx;
    struct enc *x = from->x;
    const struct tok *t = x->t;
    size_t k = 0;
    while (from->at < from->n && k + BPE_FILL_MIN <= room) {
        const char *s = from->s + from->at;
        unsigned len = t->v.byte_level ? 1 : utf8_len((unsigned char)*s);
        token_id id = char_token(x, s, len, from->at == 0, from->at + len == from->n);
        if (id >= 0) {
            if (from->unk_waits)
                sym[k++] = (struct bpe_sym){t->unk, 1};
            from->unk_waits = false;
            sym[k++] = (struct bpe_sym){id, 1};
        } else if (t->byte_fallback && !t->v.byte_level && !t->has_affix &&
                   add_bytes(t, sym, &k, s, len)) {
            /* as the reference, a waiting unknown stays waiting */
        } else if (t->unk >= 0) {
            if (from->unk_waits && !t->fuse_unk)
                sym[k++] = (struct bpe_sym){t->unk, 1};
            from->unk_waits = true;
        }
        from->at += len;
    }
    if (from->at == from->n && from->unk_waits && k < room) {
        sym[k++] = (struct bpe_sym){t->unk, 1};
        from->unk_waits = false;
    }
    return k;
}

static void merge_piece(struct enc *x, const char *s, size_t n)
{
    struct symbols all = {x, s, n, 0, false};
    if (n > BPE_LONG) {
        size_t before = x->out->n;
        if (bpe_merge_long(&x->t->merges, &x->bpe, next_symbols, &all, x->out))
            return;
        x->out->n = before;
        all = (struct symbols){x, s, n, 0, false};
    }
    bpe_reserve(&x->bpe, n + BPE_FILL_MIN);
    bpe_merge(&x->t->merges, &x->bpe, next_symbols(&all, x->bpe.sym, n + BPE_FILL_MIN), x->out);
}

static void encode_piece(struct enc *x, const char *s, size_t n)
{
    const struct tok *t = x->t;
    token_id whole = -1;
    size_t before = x->out->n;
    if (n <= t->v.max_raw && (!t->has_affix || t->ignore_merges)) {
        whole = vocab_find_raw(&t->v, s, n);
        if (whole >= 0 &&
            (t->ignore_merges ||
             atomic_load_explicit(&t->self[whole], memory_order_relaxed) == SELF_YES)) {
            ids_add(x->out, whole);
            return;
        }
    }
    merge_piece(x, s, n);
    if (whole >= 0) {
        bool self = x->out->n == before + 1 && x->out->p[before] == whole;
        atomic_store_explicit(&t->self[whole], self ? SELF_YES : SELF_NO, memory_order_relaxed);
    }
}

/* ---- text without added tokens ---- */

/* Cut before each U+2581 that follows something else. */
static void encode_words(struct enc *x, const char *s, size_t n)
{
    size_t at = 0;
    for (size_t i = 0; i < n;) {
        const char *hit = memchr(s + i, 0xE2, n - i);
        size_t h;
        bool space;
        if (!hit)
            break;
        h = (size_t)(hit - s);
        space = n - h >= 3 && memcmp(hit, "\xE2\x96\x81", 3) == 0;
        if (space && h > at && !(h - at >= 3 && memcmp(hit - 3, "\xE2\x96\x81", 3) == 0)) {
            encode_piece(x, s + at, h - at);
            at = h;
        }
        i = h + (space ? 3 : 1);
    }
    if (at < n)
        encode_piece(x, s + at, n - at);
}

static int encode_plain(struct enc *x, const char *s, size_t n, bool first)
{
    int st;
    if (n == 0)
        return 0;
    if (x->t->pre.n == 0) {
        if (x->t->split_words)
            encode_words(x, s, n);
        else
            encode_piece(x, s, n);
        return 0;
    }
    st = pretok_run(&x->t->pre, &x->pre, &s, &n, first);
    for (size_t i = 0; st == 0 && i < x->pre.now.n; i++) {
        struct piece p = x->pre.now.p[i];
        encode_piece(x, s + p.begin, p.end - p.begin);
    }
    return st;
}

/* ---- added tokens ---- */

/* Where a scan for added tokens stands between the user's spans. */
struct walk {
    const struct added_trie *outside, *inside;
    size_t base; /* offset of the scanned text in the input */
    size_t i;    /* the first span that may still touch */
    bool apart;  /* offsets are lost: everything counts as inside */
};

static struct walk walk_new(const struct enc *x, int level, size_t base)
{
    const struct tok *t = x->t;
    struct walk w = {.base = base, .inside = t->span_added[level]};
    w.outside = x->flags & TOK_PARSE_SPECIAL ? t->added[level] : t->plain_added[level];
    return w;
}

/* The trie that is right at offset `at` of n bytes, and until where. */
static const struct added_trie *walk_at(const struct enc *x, struct walk *w, size_t at, size_t n,
                                        size_t *limit)
{
    size_t pos = w->base + at;
    *limit = n;
    if (w->apart)
        return w->inside;
    while (w->i < x->n_spans && x->spans[w->i].end <= pos)
        w->i++;
    if (w->i == x->n_spans)
        return w->outside;
    if (x->spans[w->i].begin <= pos) {
        if (x->spans[w->i].end - w->base < n)
            *limit = x->spans[w->i].end - w->base;
        return w->inside;
    }
    if (x->spans[w->i].begin - w->base < n)
        *limit = x->spans[w->i].begin - w->base;
    return w->outside;
}

static bool next_added(const struct enc *x, struct walk *w, const char *s, size_t n,
                       struct added_scan *scan, struct added_hit *hit)
{
    if (x->flags & TOK_ADDED_AS_TEXT)
        return false;
    while (scan->at < n) {
        size_t limit;
        const struct added_trie *trie = walk_at(x, w, scan->at, n, &limit);
        if (added_next(trie, s, n, limit, scan, hit))
            return true;
    }
    return false;
}

static bool touches_span(const struct enc *x, size_t begin, size_t end)
{
    for (size_t i = 0; i < x->n_spans && x->spans[i].begin < end; i++)
        if (x->spans[i].end > begin)
            return true;
    return false;
}

/* Input between two added tokens. */
static int encode_between(struct enc *x, const char *s, size_t n, size_t at)
{
    struct walk w = walk_new(x, 1, at);
    struct added_scan scan = {0};
    struct added_hit hit;
    size_t done = 0;
    int st = 0;
    if (n == 0)
        return 0;
    if (normalizer_may_change(&x->t->norm, s, n)) {
        w.apart = touches_span(x, at, at + n);
        if (!w.apart)
            w.i = x->n_spans;
        x->norm.n = 0;
        st = normalizer_run(&x->t->norm, &x->run, s, n, &x->norm);
        if (st)
            return st;
        s = x->norm.p ? x->norm.p : "";
        n = x->norm.n;
        if (n > INT32_MAX)
            return ST_INVALID_LENGTH;
    }
    while (st == 0 && next_added(x, &w, s, n, &scan, &hit)) {
        if (hit.begin > done)
            st = encode_plain(x, s + done, hit.begin - done, at == 0 && done == 0);
        ids_add(x->out, hit.id);
        done = hit.end;
    }
    if (st == 0)
        st = encode_plain(x, s + done, n - done, at == 0 && done == 0);
    return st;
}

static int encode_input(struct enc *x, const char *s, size_t n)
{
    struct walk w = walk_new(x, 0, 0);
    struct added_scan scan = {0};
    struct added_hit hit;
    size_t done = 0;
    int st = 0;
    while (st == 0 && next_added(x, &w, s, n, &scan, &hit)) {
        if (hit.begin > done)
            st = encode_between(x, s + done, hit.begin - done, done);
        ids_add(x->out, hit.id);
        done = hit.end;
    }
    if (st == 0)
        st = encode_between(x, s + done, n - done, done);
    return st;
}

/* ---- public ---- */

static void add_all(struct ids *out, const struct ids *v)
{
    for (size_t i = 0; i < v->n; i++)
        ids_add(out, v->p[i]);
}

int tok_encode_spans(const struct tok *t, const char *text, size_t n, const struct span *spans,
                     size_t n_spans, unsigned flags, struct ids *out, struct err *e)
{
    struct enc x = {.t = t, .flags = flags, .spans = spans, .n_spans = n_spans, .out = out};
    size_t before = out->n, bad;
    int st;
    if (n > MAX_TEXT)
        return err_set(e, ST_INVALID_LENGTH, "text of %zu bytes is longer than %d", n, MAX_TEXT);
    bad = utf8_valid_prefix(text, n);
    if (bad != n)
        return err_set(e, ST_INVALID_VALUE, "text is not valid UTF-8 at byte %zu", bad);
    x.pre.text = &x.moved;
    x.pre.run = &x.run;
    if (flags & TOK_SPECIAL)
        add_all(out, &t->prefix);
    st = encode_input(&x, text, n);
    if (flags & TOK_SPECIAL)
        add_all(out, &t->suffix);
    bpe_work_fini(&x.bpe);
    pretok_work_fini(&x.pre);
    rx_run_fini(&x.run);
    buf_free(&x.norm);
    buf_free(&x.moved);
    buf_free(&x.affix);
    if (st) {
        out->n = before;
        return err_set(e, st, "text cannot be tokenised (%s)", st_text(st));
    }
    return 0;
}

int tok_encode(const struct tok *t, const char *s, size_t n, unsigned flags, struct ids *out,
               struct err *e)
{
    return tok_encode_spans(t, s, n, NULL, 0, flags, out, e);
}
