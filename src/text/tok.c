/* tok.c - the tokenizer as a whole: opening, closing, and what callers ask about ids. Immutable
 * after tok_open (but for the self table, whose racing writers agree), any thread. */
#include "tok.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void set_defaults(struct tok *t)
{
    t->unk = t->bos = t->eos = -1;
    for (int i = 0; i < 256; i++)
        t->byte_id[i] = -1;
    for (int i = 0; i < 128; i++)
        t->char_id[i] = -1;
    for (int i = 0; i < 2; i++) {
        t->added[i] = added_new();
        t->plain_added[i] = added_new();
        t->span_added[i] = added_new();
    }
}

int tok_open(struct tok **out, const struct text_source *src, struct err *e)
{
    struct tok *t;
    int st;
    *out = NULL;
    t = xalloc(sizeof(*t));
    set_defaults(t);
    if (src->tokenizer_json.p)
        st = tok_load_json(t, src, e);
    else if (src->gguf_model.p)
        st = tok_load_gguf(t, src, e);
    else
        st = err_set(e, ST_NOT_FOUND,
                     "the model has no tokenizer (tokenizer.json or GGUF metadata)");
    if (st) {
        tok_close(t);
        return st;
    }
    *out = t;
    return 0;
}

void tok_close(struct tok *t)
{
    if (!t)
        return;
    for (int i = 0; i < 2; i++) {
        added_free(t->added[i]);
        added_free(t->plain_added[i]);
        added_free(t->span_added[i]);
    }
    normalizer_fini(&t->norm);
    pretok_fini(&t->pre);
    decoder_fini(&t->dec);
    merges_fini(&t->merges);
    vocab_fini(&t->v);
    buf_free(&t->subword);
    buf_free(&t->word_end);
    ids_free(&t->prefix);
    ids_free(&t->suffix);
    free(t->self);
    free(t);
}

int tok_put_added(struct tok *t, token_id id, const char *s, size_t n, unsigned strip, bool special,
                  bool normalized, struct err *e)
{
    struct buf norm = {0};
    if (n > MAX_ADDED_BYTES)
        return err_set(e, ST_UNSUPPORTED, "tokenizer: added token %d is longer than %d bytes", id,
                       MAX_ADDED_BYTES);
    if (n == 0)
        return 0;
    if (normalized && normalizer_may_change(&t->norm, s, n)) {
        struct rx_run run = {0};
        int st = normalizer_run(&t->norm, &run, s, n, &norm);
        rx_run_fini(&run);
        if (st) {
            buf_free(&norm);
            return err_set(e, st, "tokenizer: added token %d cannot be normalised", id);
        }
        s = norm.p ? norm.p : "";
        n = norm.n;
    }
    added_put(t->added[normalized], s, n, id, strip);
    if (!special)
        added_put(t->plain_added[normalized], s, n, id, strip);
    if (!special && n && s[0] != '<' && s[0] != '[')
        added_put(t->span_added[normalized], s, n, id, strip);
    buf_free(&norm);
    return 0;
}

/* No token that a merge makes has U+2581 after something else, and U+2581 is a token. */
static bool words_are_apart(const struct tok *t)
{
    static const char space[] = "\xE2\x96\x81";
    if (t->v.byte_level || vocab_find_raw(&t->v, space, 3) < 0)
        return false;
    for (uint64_t i = 0; i <= t->merges.mask; i++) {
        const struct merge_slot *g = &t->merges.slot[i];
        const struct vocab_entry *x;
        const char *s, *hit;
        bool only = true;
        if (g->pair == UINT64_MAX)
            continue;
        x = &t->v.e[g->id];
        s = t->v.blob.p + x->raw;
        for (size_t k = 0; k + 3 <= x->raw_n; k += 3) {
            only = memcmp(s + k, space, 3) == 0;
            if (only)
                continue;
            hit = memmem(s + k, x->raw_n - k, space, 3);
            if (hit)
                return false;
            break;
        }
    }
    return true;
}

int tok_finish(struct tok *t, struct err *e)
{
    int st = decoder_seal(&t->dec, e);
    if (st)
        return st;
    if (t->v.n == 0)
        return err_set(e, ST_FORMAT, "tokenizer: the vocabulary is empty");
    for (int b = 0; b < 256; b++) {
        char s[8] = {(char)b};
        if (t->v.byte_level) {
            t->byte_id[b] = vocab_find_raw(&t->v, s, 1);
        } else if (t->byte_fallback) {
            snprintf(s, sizeof(s), "<0x%02X>", (unsigned)b);
            t->byte_id[b] = vocab_find_model(&t->v, s, 6);
        }
        s[0] = (char)b;
        if (b < 128 && !t->v.byte_level)
            t->char_id[b] = vocab_find_raw(&t->v, s, 1);
    }
    t->has_affix = t->subword.n || t->word_end.n;
    t->split_words = !t->has_affix && t->pre.n == 0 && words_are_apart(t);
    t->self = xcalloc2((size_t)t->v.n, sizeof(*t->self));
    decoder_fill(&t->dec, &t->v);
    return 0;
}

/* ---- questions ---- */

int32_t tok_vocab(const struct tok *t)
{
    return t->v.n;
}

const char *tok_string(const struct tok *t, token_id id, size_t *n)
{
    *n = 0;
    if (!vocab_has(&t->v, id))
        return NULL;
    *n = t->v.e[id].str_n;
    return t->v.blob.p + t->v.e[id].str;
}

token_id tok_find(const struct tok *t, const char *s, size_t n)
{
    return vocab_find(&t->v, s, n);
}

bool tok_is_special(const struct tok *t, token_id id)
{
    return vocab_has(&t->v, id) && (t->v.flags[id] & VOCAB_SPECIAL);
}

void tok_bytes(const struct tok *t, token_id id, struct buf *out)
{
    if (vocab_has(&t->v, id))
        buf_add(out, t->v.blob.p + t->v.e[id].dec, t->v.e[id].dec_n);
}

token_id tok_bos(const struct tok *t)
{
    return t->bos;
}

token_id tok_eos(const struct tok *t)
{
    return t->eos;
}
