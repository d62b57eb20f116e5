/* SPDX-License-Identifier: Apache-2.0 */
/* golden.h - reading the golden vectors and opening the tokenizers they belong to.
 *
 * Two sets with the same layout: the subset in tests/fixtures/text, always there, and the full one
 * of the test data folder. Zero characters are in the texts; cJSON cuts strings there, so the
 * escape is swapped for U+F8FE (in none of the texts) before parsing and back afterwards. */
#ifndef QUIRE_TESTS_GOLDEN_H
#define QUIRE_TESTS_GOLDEN_H

#include "testing.h"
#include "tokenizer.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline const char *golden_path(bool full, const char *rel)
{
    char path[256];
    snprintf(path, sizeof path, "text/%s", rel);
    return full ? data_path(rel) : fixture_path(path);
}

/* NULL when the file is not there. */
static inline char *golden_read(bool full, const char *fmt, const char *name, size_t *n)
{
    char rel[192];
    const char *path;
    size_t k;
    snprintf(rel, sizeof rel, fmt, name);
    path = golden_path(full, rel);
    k = strlen(rel);
    if (!path)
        return NULL;
    return k > 3 && strcmp(rel + k - 3, ".xz") == 0 ? read_xz(path, n) : read_file(path, n);
}

/* Size of the model's own vocabulary, which the metadata does not tell; -1: ask the tokenizer. */
static int32_t golden_n_model = -1;

static inline struct tok *golden_tok(bool full, const char *name)
{
    struct text_source src = {.bos_id = -1, .eos_id = -1, .unk_id = -1, .pad_id = -1};
    struct tok *t = NULL;
    struct err e = {0};
    char *json = golden_read(full, "tokenizers/%s/tokenizer.json.xz", name, &src.tokenizer_json.n);
    char *cfg = golden_read(full, "tokenizers/%s/tokenizer_config.json", name,
                            &src.tokenizer_config_json.n);
    golden_n_model = -1;
    if (json) {
        src.tokenizer_json.p = json;
        src.tokenizer_config_json.p = cfg;
        if (tok_open(&t, &src, &e))
            fail_msg("%s: %s", name, e.msg);
    }
    free(json);
    free(cfg);
    return t;
}

/* The same tokenizer as GGUF metadata would carry it: tokens by id, their types, merges as text, or
 * (SentencePiece) scores that fall with the id. NULL when it is not there. */
struct golden_gguf {
    struct text_source src;
    cJSON *json;
    struct view *tokens, *merges;
    int32_t *types;
    float *scores;
    struct buf text;
};

static inline void golden_gguf_free(struct golden_gguf *g)
{
    cJSON_Delete(g->json);
    free(g->tokens);
    free(g->merges);
    free(g->types);
    free(g->scores);
    buf_free(&g->text);
}

static inline bool golden_only_spaces(const char *s)
{
    while (strncmp(s, "\xE2\x96\x81", 3) == 0)
        s += 3;
    return *s == 0;
}

static inline void golden_gguf_tokens(struct golden_gguf *g, bool pieces)
{
    const cJSON *vocab = cJSON_GetObjectItem(cJSON_GetObjectItem(g->json, "model"), "vocab"), *c;
    const cJSON *added = cJSON_GetObjectItem(g->json, "added_tokens");
    size_t n = 0;
    cJSON_ArrayForEach(c, vocab) n = (size_t)c->valueint >= n ? (size_t)c->valueint + 1 : n;
    cJSON_ArrayForEach(c, added)
    {
        size_t id = (size_t)cJSON_GetObjectItem(c, "id")->valueint;
        n = id >= n ? id + 1 : n;
    }
    g->tokens = calloc(n, sizeof *g->tokens);
    g->types = calloc(n, sizeof *g->types);
    g->scores = calloc(n, sizeof *g->scores);
    cJSON_ArrayForEach(c, vocab)
    {
        int id = c->valueint;
        g->tokens[id] = (struct view){c->string, strlen(c->string)};
        g->types[id] = pieces && id >= 3 && id < 259 ? 6 : 1;
        g->scores[id] = id < 259 ? 0 : -(float)(id - 259);
        if (id >= 259 && golden_only_spaces(c->string))
            g->scores[id] = -1e9F; /* as in the published model */
    }
    cJSON_ArrayForEach(c, added)
    {
        int id = cJSON_GetObjectItem(c, "id")->valueint;
        const char *s = cJSON_GetObjectItem(c, "content")->valuestring;
        g->tokens[id] = (struct view){s, strlen(s)};
        g->types[id] = cJSON_IsTrue(cJSON_GetObjectItem(c, "special")) ? 3 : 4;
    }
    for (size_t i = 0; i < n; i++) /* holes in the numbering: unused */
        if (!g->tokens[i].p) {
            g->tokens[i] = (struct view){"[UNUSED]", 8};
            g->types[i] = 5;
        }
    g->src.gguf_tokens = g->tokens;
    g->src.n_gguf_tokens = n;
    g->src.gguf_types = g->types;
    g->src.gguf_scores = g->scores;
}

static inline void golden_gguf_merges(struct golden_gguf *g)
{
    const cJSON *list = cJSON_GetObjectItem(cJSON_GetObjectItem(g->json, "model"), "merges"), *c;
    size_t n = 0, at = 0;
    cJSON_ArrayForEach(c, list)
    {
        const char *a = cJSON_IsString(c) ? c->valuestring : c->child->valuestring;
        buf_add(&g->text, a, strlen(a));
        if (!cJSON_IsString(c)) {
            buf_add(&g->text, " ", 1);
            buf_add(&g->text, c->child->next->valuestring, strlen(c->child->next->valuestring));
        }
        buf_add(&g->text, "", 1);
        n++;
    }
    g->merges = calloc(n, sizeof *g->merges);
    for (size_t i = 0; i < n; i++) {
        g->merges[i] = (struct view){g->text.p + at, strlen(g->text.p + at)};
        at += g->merges[i].n + 1;
    }
    g->src.gguf_merges = g->merges;
    g->src.n_gguf_merges = n;
}

/* pre: the split rule's name; NULL for SentencePiece. */
static inline struct tok *golden_tok_gguf(bool full, const char *name, const char *pre, int32_t bos)
{
    struct golden_gguf g = {.src = {.bos_id = bos, .eos_id = -1, .unk_id = -1, .pad_id = -1}};
    struct tok *t = NULL;
    struct err e = {0};
    size_t n;
    char *text = golden_read(full, "tokenizers/%s/tokenizer.json.xz", name, &n);
    if (!text)
        return NULL;
    g.json = cJSON_Parse(text);
    assert_non_null(g.json);
    golden_n_model = cJSON_GetArraySize(
        cJSON_GetObjectItem(cJSON_GetObjectItem(g.json, "model"), "vocab"));
    golden_gguf_tokens(&g, !pre);
    if (pre)
        golden_gguf_merges(&g);
    g.src.gguf_model = pre ? (struct view){"gpt2", 4} : (struct view){"llama", 5};
    g.src.gguf_pre = (struct view){pre, pre ? strlen(pre) : 0};
    g.src.add_bos = (int8_t)(bos >= 0);
    g.src.add_eos = g.src.add_space_prefix = -1;
    if (tok_open(&t, &g.src, &e))
        fail_msg("%s: %s", name, e.msg);
    golden_gguf_free(&g);
    free(text);
    return t;
}

static inline void golden_mask_zeros(char *s)
{
    for (; *s; s++)
        if (*s == '\\') {
            if (strncmp(s + 1, "u0000", 5) == 0)
                memcpy(s + 1, "uf8fe", 5);
            s++;
        }
}

/* In place; returns the length. */
static inline size_t golden_unmask(char *s)
{
    char *o = s;
    for (const char *p = s; *p;) {
        if (memcmp(p, "\xEF\xA3\xBE", 3) == 0) {
            *o++ = 0;
            p += 3;
        } else {
            *o++ = *p++;
        }
    }
    return (size_t)(o - s);
}

struct golden_str {
    const char *p;
    size_t n;
};
static inline struct golden_str golden_str(const cJSON *o, const char *name)
{
    const cJSON *v = name ? cJSON_GetObjectItemCaseSensitive(o, name) : o;
    struct golden_str s = {0};
    if (cJSON_IsString(v)) {
        s.n = golden_unmask(v->valuestring);
        s.p = v->valuestring;
    }
    return s;
}

static inline bool golden_ids(struct ids *out, const cJSON *o, const char *name)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, name), *c;
    out->n = 0;
    cJSON_ArrayForEach(c, v) ids_add(out, (token_id)c->valueint);
    return v != NULL;
}

/* golden_line gives one line of so many. */
static int golden_every = 1;

static inline char *golden_line_end(char *line)
{
    char *end = strchr(line, '\n');
    return end ? end + 1 : line + strlen(line);
}

/* Lines of a golden file, one at a time: for (at = text; (o = golden_line(&at));) ... */
static inline cJSON *golden_line(char **at)
{
    char *line = *at;
    cJSON *o;
    if (!line || !*line)
        return NULL;
    *at = golden_line_end(line);
    if ((*at)[-1] == '\n')
        (*at)[-1] = 0;
    for (int i = 1; i < golden_every; i++)
        *at = golden_line_end(*at);
    golden_mask_zeros(line);
    o = cJSON_Parse(line);
    assert_non_null(o);
    return o;
}

#endif
