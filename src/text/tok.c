/* SPDX-License-Identifier: Apache-2.0 */
/* tok.c - the tokenizer as a whole: opening, closing, and what callers ask about ids. Immutable
 * after tok_open (but for the self table, whose racing writers agree), any thread. */
#include "tok.h"

#include "mem.h"
#include "tokgguf.h"
#include "tokjson.h"

#include <stdlib.h>

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
    t = xalloc(sizeof *t);
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

struct view tok_view(const struct tok *t, token_id id)
{
    if (!vocab_has(&t->v, id))
        return (struct view){"", 0};
    return (struct view){t->v.blob.p + t->v.e[id].dec, t->v.e[id].dec_n};
}

void tok_bytes(const struct tok *t, token_id id, struct buf *out)
{
    struct view v = tok_view(t, id);
    buf_add(out, v.p, v.n);
}

token_id tok_bos(const struct tok *t)
{
    return t->bos;
}

token_id tok_eos(const struct tok *t)
{
    return t->eos;
}
