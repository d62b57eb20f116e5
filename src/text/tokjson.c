/* SPDX-License-Identifier: Apache-2.0 */
/* tokjson.c - tokenizer.json into a struct tok. Arrays are walked, never indexed. One thread, at
 * load. */
#include "tokjson.h"

#include "tok_build.h"
#include "tokjson_steps.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

enum { ID_SLACK = 1 << 20 };

/* ---- model ---- */

static int model_options(struct tok *t, const cJSON *m, struct err *e)
{
    const char *type = js_str(m, "type"), *s;
    const cJSON *dropout = js_get(m, "dropout");
    if (type ? strcmp(type, "BPE") != 0 : !js_get(m, "merges"))
        return err_set(e, ST_UNSUPPORTED, "tokenizer: model %s is not supported",
                       type ? type : "?");
    if (cJSON_IsNumber(dropout) && dropout->valuedouble > 0)
        return err_set(e, ST_UNSUPPORTED, "tokenizer: BPE dropout is not supported");
    t->ignore_merges = js_bool(m, "ignore_merges", false);
    t->byte_fallback = js_bool(m, "byte_fallback", false);
    t->fuse_unk = js_bool(m, "fuse_unk", false);
    s = js_str(m, "continuing_subword_prefix");
    if (s)
        buf_add(&t->subword, s, strlen(s));
    s = js_str(m, "end_of_word_suffix");
    if (s)
        buf_add(&t->word_end, s, strlen(s));
    return 0;
}

static int model_vocab(struct tok *t, const cJSON *m, size_t n_added, bool byte_level,
                       struct err *e)
{
    const cJSON *vocab = js_get(m, "vocab"), *c;
    const char *unk = js_str(m, "unk_token");
    size_t n = 0;
    int64_t max_id;
    if (!cJSON_IsObject(vocab))
        return err_set(e, ST_FORMAT, "tokenizer: the model has no vocab");
    cJSON_ArrayForEach(c, vocab) n++;
    vocab_init(&t->v, byte_level, n + n_added, (n + n_added) * 12);
    max_id = (int64_t)(2 * (n + n_added)) + ID_SLACK;
    cJSON_ArrayForEach(c, vocab)
    {
        int st = vocab_add_model(&t->v, js_int(c, max_id), c->string, strlen(c->string), e);
        if (st)
            return st;
    }
    if (unk) {
        t->unk = vocab_find_model(&t->v, unk, strlen(unk));
        if (t->unk < 0)
            return err_set(e, ST_FORMAT, "tokenizer: unk_token %s is not in the vocab", unk);
    }
    return 0;
}

/* One merge: the strings a[0..an) and b[0..bn). */
static int put_merge(struct tok *t, int32_t rank, const char *a, size_t an, const char *b,
                     size_t bn, struct buf *both, struct err *e)
{
    size_t cut = t->subword.n;
    token_id l = vocab_find_model(&t->v, a, an), r = vocab_find_model(&t->v, b, bn), id;
    both->n = 0;
    buf_add(both, a, an);
    /* As the reference, by length alone: a continuing token begins with the prefix. */
    if (cut > bn)
        cut = bn;
    buf_add(both, b + cut, bn - cut);
    id = both->n && utf8_valid_prefix(both->p, both->n) == both->n
             ? vocab_find_model(&t->v, both->p, both->n)
             : -1;
    if (l < 0 || r < 0 || id < 0)
        return err_set(e, ST_FORMAT, "tokenizer: merge %d has a token that is not in the vocab",
                       rank);
    merges_put(&t->merges, l, r, rank, id);
    return 0;
}

static int model_merges(struct tok *t, const cJSON *m, struct err *e)
{
    const cJSON *merges = js_get(m, "merges"), *c;
    struct buf both = {0};
    size_t n = 0;
    int32_t rank = 0;
    int st = 0;
    if (!cJSON_IsArray(merges))
        return err_set(e, ST_FORMAT, "tokenizer: the model has no merges");
    cJSON_ArrayForEach(c, merges) n++;
    merges_init(&t->merges, n);
    cJSON_ArrayForEach(c, merges)
    {
        const char *a = NULL, *b = NULL, *space;
        size_t an = 0;
        if (cJSON_IsString(c)) {
            a = c->valuestring;
            if (strncmp(a, "#version", 8) == 0)
                continue;
            space = strchr(a, ' ');
            an = space ? (size_t)(space - a) : 0;
            b = space && !strchr(space + 1, ' ') ? space + 1 : NULL;
        } else if (cJSON_IsArray(c) && c->child && c->child->next && !c->child->next->next) {
            a = cJSON_GetStringValue(c->child);
            b = cJSON_GetStringValue(c->child->next);
            an = a ? strlen(a) : 0;
        }
        if (!a || !b)
            st = err_set(e, ST_FORMAT, "tokenizer: merge %d is not a pair", rank);
        else
            st = put_merge(t, rank, a, an, b, strlen(b), &both, e);
        if (st)
            break;
        rank++;
    }
    buf_free(&both);
    return st;
}

/* ---- added tokens ---- */

static int put_added(struct tok *t, int64_t id, const cJSON *o, struct err *e)
{
    const char *s = js_str(o, "content");
    bool special = js_bool(o, "special", false);
    unsigned strip = (js_bool(o, "lstrip", false) ? ADDED_LSTRIP : 0) |
                     (js_bool(o, "rstrip", false) ? ADDED_RSTRIP : 0) |
                     (js_bool(o, "single_word", false) ? ADDED_SINGLE_WORD : 0);
    token_id got;
    int st;
    if (!s)
        return err_set(e, ST_FORMAT, "tokenizer: an added token has no content");
    if (*s == 0)
        return 0;
    st = vocab_add_added(&t->v, id, s, strlen(s), special, &got, e);
    if (st)
        return st;
    return tok_put_added(t, got, s, strlen(s), strip, special, js_bool(o, "normalized", !special),
                         e);
}

static int all_added(struct tok *t, const cJSON *list, struct err *e)
{
    const cJSON *c;
    size_t n = 0;
    cJSON_ArrayForEach(c, list)
    {
        int st = ++n > MAX_ADDED
                     ? err_set(e, ST_UNSUPPORTED, "tokenizer: more than %d added tokens", MAX_ADDED)
                     : put_added(t, js_int(js_get(c, "id"), (int64_t)2 * t->v.n + ID_SLACK), c, e);
        if (st)
            return st;
    }
    return 0;
}

static int load_tree(struct tok *t, const cJSON *root, struct err *e)
{
    const cJSON *m = js_get(root, "model"), *added = js_get(root, "added_tokens"), *c;
    bool byte_level = false;
    size_t n_added = 0;
    int st;
    if (!cJSON_IsObject(m))
        return err_set(e, ST_FORMAT, "tokenizer.json has no model");
    cJSON_ArrayForEach(c, added) n_added++;
    st = model_options(t, m, e);
    if (st == 0)
        st = js_normalizer(&t->norm, js_get(root, "normalizer"), e);
    if (st == 0)
        st = js_pretok(&t->pre, &byte_level, js_get(root, "pre_tokenizer"), e);
    if (st == 0)
        st = js_decoder(&t->dec, js_get(root, "decoder"), e);
    if (st == 0)
        st = model_vocab(t, m, n_added, byte_level, e);
    if (st == 0)
        st = model_merges(t, m, e);
    if (st == 0)
        st = all_added(t, added, e);
    if (st == 0)
        st = js_post(t, js_get(root, "post_processor"), e);
    return st ? st : tok_finish(t, e);
}

int tok_load_json(struct tok *t, const struct text_source *src, struct err *e)
{
    cJSON *root;
    int st = json_file_parse(&root, src->tokenizer_json, "tokenizer.json", &json_file_tokenizer, e);
    if (st)
        return st;
    st = load_tree(t, root, e);
    cJSON_Delete(root);
    return st ? st : tok_apply_config(t, src, e);
}
