/* SPDX-License-Identifier: Apache-2.0 */
/* tokgguf.c - the tokenizer in GGUF metadata into a struct tok.
 *
 * "gpt2": byte-level BPE with merges; the metadata does not carry the split pattern, only a name
 * for it ("pre"), see tokpre.c. "llama": SentencePiece BPE, whose merges
 * follow from the pieces' scores. Everything else is refused by name. One thread, at load. */
#include "tokgguf.h"

#include "end_names.h"
#include "mem.h"
#include "tok_build.h"
#include "utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER, TYPE_UNUSED, TYPE_BYTE };

static bool view_is(struct view v, const char *s)
{
    return v.p && v.n == strlen(s) && memcmp(v.p, s, v.n) == 0;
}

/* ---- vocabulary ---- */

static int type_of(const struct text_source *src, size_t i)
{
    return src->gguf_types ? src->gguf_types[i] : TYPE_NORMAL;
}

static int add_tokens(struct tok *t, const struct text_source *src, bool byte_level, struct err *e)
{
    size_t bytes = 0, n = src->n_gguf_tokens;
    if (!src->gguf_tokens || n == 0 || n > MAX_VOCAB)
        return err_set(e, ST_FORMAT, "GGUF: %zu tokens in the tokenizer", n);
    for (size_t i = 0; i < n; i++)
        if (!add_size(bytes, src->gguf_tokens[i].n, &bytes) || bytes > UINT32_MAX / 4)
            return err_set(e, ST_FORMAT, "GGUF: the tokens are too long");
    vocab_init(&t->v, byte_level, n, bytes);
    t->v.repeats_ok = true;
    for (size_t i = 0; i < n; i++) {
        struct view s = src->gguf_tokens[i];
        int type = type_of(src, i), st;
        if (type == TYPE_CONTROL || type == TYPE_USER || type == TYPE_UNKNOWN)
            continue;
        st = vocab_add_model(&t->v, (int64_t)i, s.p ? s.p : "", s.n, e);
        if (st)
            return st;
    }
    return 0;
}

/* The type that counts: a token that ends a turn is control, whatever the writer made of it. So the
 * template's text gives it as one token, it ends a generation, and it is not shown. */
static int added_type(const struct text_source *src, size_t i)
{
    const struct view *s = &src->gguf_tokens[i];
    return end_name_is_control(s->p, s->n) ? TYPE_CONTROL : type_of(src, i);
}

/* Control tokens and the user's own; after the model's, whose id a repeated string keeps. One that
 * is control by its text alone is a token of the model, too: merges may name it. */
static int add_added(struct tok *t, const struct text_source *src, struct err *e)
{
    size_t seen = 0;
    for (size_t i = 0; i < src->n_gguf_tokens; i++) {
        struct view s = src->gguf_tokens[i];
        int type = added_type(src, i), st;
        token_id got;
        if (type != TYPE_CONTROL && type != TYPE_USER && type != TYPE_UNKNOWN)
            continue;
        if (++seen > MAX_ADDED)
            return err_set(e, ST_UNSUPPORTED, "GGUF: more than %d added tokens", MAX_ADDED);
        if (!s.n || utf8_valid_prefix(s.p, s.n) != s.n)
            return err_set(e, ST_FORMAT, "GGUF: added token %zu is empty or not UTF-8", i);
        st = vocab_add_added(&t->v, (int64_t)i, s.p, s.n, type != TYPE_USER, &got, e);
        if (st == 0)
            st = tok_put_added(t, got, s.p, s.n, 0, type != TYPE_USER, false, e);
        if (st)
            return st;
    }
    return 0;
}

static int add_merges(struct tok *t, const struct text_source *src, struct err *e)
{
    struct buf both = {0};
    int st = 0;
    if (src->n_gguf_merges > (size_t)MAX_VOCAB * 4)
        return err_set(e, ST_FORMAT, "GGUF: %zu merges", src->n_gguf_merges);
    merges_init(&t->merges, src->n_gguf_merges);
    for (size_t i = 0; i < src->n_gguf_merges && st == 0; i++) {
        struct view m = src->gguf_merges[i];
        const char *space = m.n > 2 ? memchr(m.p + 1, ' ', m.n - 1) : NULL;
        size_t ln = space ? (size_t)(space - m.p) : 0, rn = space ? m.n - ln - 1 : 0;
        token_id l, r, id;
        if (!space || !rn || utf8_valid_prefix(m.p, m.n) != m.n) {
            st = err_set(e, ST_FORMAT, "GGUF: merge %zu is not a pair", i);
            break;
        }
        both.n = 0;
        buf_add(&both, m.p, ln);
        buf_add(&both, space + 1, rn);
        l = vocab_find_model(&t->v, m.p, ln);
        r = vocab_find_model(&t->v, space + 1, rn);
        id = vocab_find_model(&t->v, both.p, both.n);
        if (l < 0 || r < 0 || id < 0)
            st = err_set(e, ST_FORMAT, "GGUF: merge %zu has a token that is not in the vocabulary",
                         i);
        else
            merges_put(&t->merges, l, r, (int32_t)i, id);
    }
    buf_free(&both);
    return st;
}

/* ---- merges from scores ---- */

struct scored {
    float score;
    token_id id;
};

static int by_score(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* Every way to put a piece together from two others, ranked by the piece's score, best first; equal
 * scores have equal rank, so the leftmost goes first. */
static int merges_from_scores(struct tok *t, const struct text_source *src, struct err *e)
{
    size_t n = 0, budget = (size_t)MAX_VOCAB * 4;
    struct scored *list = xcalloc2(src->n_gguf_tokens, sizeof *list);
    int32_t rank = 0;
    for (size_t i = 0; i < src->n_gguf_tokens; i++)
        if (type_of(src, i) == TYPE_NORMAL && src->gguf_scores[i] == src->gguf_scores[i])
            list[n++] = (struct scored){src->gguf_scores[i], (token_id)i};
    qsort(list, n, sizeof *list, by_score);
    merges_init(&t->merges, n * 2);
    for (size_t k = 0; k < n; k++) {
        const struct vocab_entry *x = &t->v.e[list[k].id];
        const char *s = t->v.blob.p + x->raw;
        if (k && list[k].score != list[k - 1].score)
            rank++;
        if (vocab_find_raw(&t->v, s, x->raw_n) != list[k].id)
            continue; /* repeated, or not text */
        for (size_t cut = 1; cut < x->raw_n; cut++) {
            token_id l, r;
            if (((unsigned char)s[cut] & 0xC0) == 0x80)
                continue;
            if (budget < x->raw_n) {
                free(list);
                return err_set(e, ST_FORMAT, "GGUF: the tokens are too long");
            }
            budget -= x->raw_n;
            l = vocab_find_raw(&t->v, s, cut);
            r = vocab_find_raw(&t->v, s + cut, x->raw_n - cut);
            if (l >= 0 && r >= 0 && type_of(src, (size_t)l) == TYPE_NORMAL &&
                type_of(src, (size_t)r) == TYPE_NORMAL)
                merges_put(&t->merges, l, r, rank, list[k].id);
        }
    }
    free(list);
    return 0;
}

static void sentencepiece_steps(struct tok *t, bool prefix)
{
    static const char space[] = "\xE2\x96\x81";
    struct norm_step *ns = t->norm.step;
    struct dec_step *ds = t->dec.step;
    if (prefix)
        ns[t->norm.n++] = (struct norm_step){.kind = NORM_PREPEND, .to = xstrdup(space), .to_n = 3};
    ns[t->norm.n++] = (struct norm_step){
        .kind = NORM_REPLACE, .from = xstrdup(" "), .from_n = 1, .to = xstrdup(space), .to_n = 3};
    ds[t->dec.n++] = (struct dec_step){
        .kind = DEC_REPLACE, .from = xstrdup(space), .from_n = 3, .to = xstrdup(" "), .to_n = 1};
    ds[t->dec.n++] = (struct dec_step){.kind = DEC_BYTE_FALLBACK};
    ds[t->dec.n++] = (struct dec_step){.kind = DEC_FUSE};
    if (prefix)
        ds[t->dec.n++] = (struct dec_step){
            .kind = DEC_STRIP, .from = xstrdup(" "), .from_n = 1, .to = xstrdup(""), .start = 1};
}

/* ---- both kinds ---- */

static int load_gpt2(struct tok *t, const struct text_source *src, bool *add_bos, struct err *e)
{
    int st = tok_set_pre(t, src->gguf_pre, add_bos, e);
    if (st == 0)
        st = add_tokens(t, src, true, e);
    return st ? st : add_merges(t, src, e);
}

static int load_llama(struct tok *t, const struct text_source *src, bool *add_bos, struct err *e)
{
    int st;
    if (!src->gguf_scores)
        return err_set(e, ST_FORMAT, "GGUF: a \"llama\" tokenizer without scores");
    sentencepiece_steps(t, src->add_space_prefix != 0);
    t->byte_fallback = t->fuse_unk = true;
    *add_bos = true;
    st = add_tokens(t, src, false, e);
    return st ? st : merges_from_scores(t, src, e);
}

static token_id known_id(const struct tok *t, int32_t id)
{
    return vocab_has(&t->v, id) ? id : -1;
}

int tok_load_gguf(struct tok *t, const struct text_source *src, struct err *e)
{
    bool add_bos = false;
    int st;
    if (view_is(src->gguf_model, "gpt2"))
        st = load_gpt2(t, src, &add_bos, e);
    else if (view_is(src->gguf_model, "llama"))
        st = load_llama(t, src, &add_bos, e);
    else
        st = err_set(e, ST_UNSUPPORTED, "GGUF: tokenizer model \"%.*s\" is not supported",
                     (int)(src->gguf_model.n < 64 ? src->gguf_model.n : 64), src->gguf_model.p);
    if (st == 0)
        st = add_added(t, src, e);
    if (st == 0)
        st = tok_finish(t, e);
    if (st)
        return st;
    t->bos = known_id(t, src->bos_id);
    t->eos = known_id(t, src->eos_id);
    t->unk = t->v.byte_level ? -1 : known_id(t, src->unk_id);
    if (src->add_bos >= 0)
        add_bos = src->add_bos;
    if (add_bos && t->bos >= 0)
        ids_add(&t->prefix, t->bos);
    if (src->add_eos > 0 && t->eos >= 0)
        ids_add(&t->suffix, t->eos);
    return 0;
}
