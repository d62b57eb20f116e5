/* golden.h - reading the golden vectors and opening the tokenizers they belong to.
 *
 * Two sets with the same layout: the subset in tests/fixtures/text, always there, and the full one
 * of the test data folder. Zero characters are in the texts; cJSON cuts strings there, so the
 * escape is swapped for U+F8FE (in none of the texts) before parsing and back afterwards. */
#ifndef QUIRE_TESTS_GOLDEN_H
#define QUIRE_TESTS_GOLDEN_H

#include "testing.h"
#include "text.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline const char *golden_path(bool full, const char *rel)
{
    char path[256];
    snprintf(path, sizeof(path), "text/%s", rel);
    return full ? data_path(rel) : fixture_path(path);
}

/* NULL when the file is not there. */
static inline char *golden_read(bool full, const char *fmt, const char *name, size_t *n)
{
    char rel[192];
    const char *path;
    size_t k;
    snprintf(rel, sizeof(rel), fmt, name);
    path = golden_path(full, rel);
    k = strlen(rel);
    if (!path)
        return NULL;
    return k > 3 && strcmp(rel + k - 3, ".xz") == 0 ? read_xz(path, n) : read_file(path, n);
}

static inline struct tok *golden_tok(bool full, const char *name)
{
    struct text_source src = {.bos_id = -1, .eos_id = -1, .unk_id = -1, .pad_id = -1};
    struct tok *t = NULL;
    struct err e = {0};
    char *json = golden_read(full, "tokenizers/%s/tokenizer.json.xz", name, &src.tokenizer_json.n);
    char *cfg = golden_read(full, "tokenizers/%s/tokenizer_config.json", name,
                            &src.tokenizer_config_json.n);
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

/* Lines of a golden file, one at a time: for (at = text; (o = golden_line(&at));) ... */
static inline cJSON *golden_line(char **at)
{
    char *line = *at, *end;
    cJSON *o;
    if (!line || !*line)
        return NULL;
    end = strchr(line, '\n');
    if (end)
        *end = 0;
    *at = end ? end + 1 : line + strlen(line);
    golden_mask_zeros(line);
    o = cJSON_Parse(line);
    assert_non_null(o);
    return o;
}

#endif
