/* SPDX-License-Identifier: Apache-2.0 */
/* json_file.c - see json_file.h. */
#include "json_file.h"

#include "utf8.h"

#include <math.h>
#include <string.h>

const struct json_file_rules json_file_config = {.max_bytes = 32 << 20, .cut_zeros = true};
const struct json_file_rules json_file_tokenizer = {.max_bytes = 256 << 20};

static bool has_zero_escape(const char *s, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++) {
        const char *hit = memchr(s + i, '\\', n - i);
        if (!hit)
            return false;
        i = (size_t)(hit - s) + 1; /* the escaped character is passed over */
        if (n - i >= 5 && memcmp(s + i, "u0000", 5) == 0)
            return true;
    }
    return false;
}

static int check_text(struct view text, const char *name, const struct json_file_rules *rules,
                      struct err *e)
{
    if (text.n > rules->max_bytes)
        return err_set(e, ST_FORMAT, "%s: %zu bytes are too many", name, text.n);
    size_t good = utf8_valid_prefix(text.p, text.n);
    if (good < text.n)
        return err_set(e, ST_FORMAT, "%s: byte %zu is not UTF-8", name, good);
    if (!rules->cut_zeros && (memchr(text.p, 0, text.n) || has_zero_escape(text.p, text.n)))
        return err_set(e, ST_UNSUPPORTED, "%s: a string has a zero character", name);
    return 0;
}

/* The first byte behind the value that is not white space (or a zero, where such end a file);
 * text.n when there is none. */
static size_t left_over(struct view text, const char *at)
{
    const char *end = text.p + text.n;
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n'))
        at++;
    return at < end && *at ? (size_t)(at - text.p) : text.n;
}

int json_file_parse(cJSON **out, struct view text, const char *name,
                    const struct json_file_rules *rules, struct err *e)
{
    const char *end = NULL;
    *out = NULL;
    int st = check_text(text, name, rules, e);
    if (st)
        return st;
    cJSON *root = cJSON_ParseWithLengthOpts(text.p, text.n, &end, false);
    if (!root)
        return err_set(e, ST_FORMAT, "%s: not valid JSON (near byte %zu)", name,
                       end ? (size_t)(end - text.p) : 0);
    if (left_over(text, end) < text.n)
        st = err_set(e, ST_FORMAT, "%s: not valid JSON (goes on behind its value at byte %zu)",
                     name, left_over(text, end));
    else if (!cJSON_IsObject(root))
        st = err_set(e, ST_FORMAT, "%s: not a JSON object", name);
    if (st) {
        cJSON_Delete(root);
        return st;
    }
    *out = root;
    return 0;
}

cJSON *json_document(const char *file, const void *p, size_t n, struct err *e)
{
    cJSON *root;
    json_file_parse(&root, (struct view){p, n}, file, &json_file_config, e);
    return root;
}

/* ---- strict look-ups ---- */

const cJSON *json_find(const struct json_obj *j, const char *key)
{
    size_t i = 0;
    for (const cJSON *v = j->o ? j->o->child : NULL; v; v = v->next, i++) {
        if (!v->string || strcmp(v->string, key) != 0)
            continue;
        if (j->seen)
            j->seen[i] = true;
        return cJSON_IsNull(v) ? NULL : v;
    }
    return NULL;
}

const cJSON *json_unread(const struct json_obj *j, size_t *at)
{
    size_t i = 0;
    for (const cJSON *v = j->o ? j->o->child : NULL; v; v = v->next, i++) {
        if (i < *at || j->seen[i] || cJSON_IsNull(v))
            continue;
        *at = i + 1;
        return v;
    }
    return NULL;
}

static int wrong_kind(const struct json_obj *j, const char *key, const char *want, struct err *e)
{
    return err_set(e, ST_FORMAT, "%s: %s is not %s", j->file, key, want);
}

bool json_item_int(const cJSON *item, int64_t *out)
{
    if (!cJSON_IsNumber(item))
        return false;
    double d = item->valuedouble;
    if (!(fabs(d) <= 9007199254740992.0) || d != floor(d)) /* 2^53 */
        return false;
    *out = (int64_t)d;
    return true;
}

int json_int(const struct json_obj *j, const char *key, int64_t *out, struct err *e)
{
    const cJSON *v = json_find(j, key);
    return !v || json_item_int(v, out) ? 0 : wrong_kind(j, key, "an integer", e);
}

int json_num(const struct json_obj *j, const char *key, double *out, struct err *e)
{
    const cJSON *v = json_find(j, key);
    if (!v)
        return 0;
    if (!cJSON_IsNumber(v) || !isfinite(v->valuedouble))
        return wrong_kind(j, key, "a finite number", e);
    *out = v->valuedouble;
    return 0;
}

int json_bool(const struct json_obj *j, const char *key, bool *out, struct err *e)
{
    const cJSON *v = json_find(j, key);
    if (!v)
        return 0;
    if (!cJSON_IsBool(v))
        return wrong_kind(j, key, "true or false", e);
    *out = cJSON_IsTrue(v);
    return 0;
}

int json_str(const struct json_obj *j, const char *key, const char **out, struct err *e)
{
    const cJSON *v = json_find(j, key);
    if (!v)
        return 0;
    if (!cJSON_IsString(v))
        return wrong_kind(j, key, "a string", e);
    *out = v->valuestring;
    return 0;
}

/* ---- lenient look-ups ---- */

const cJSON *js_get(const cJSON *o, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(o, name);
}

const char *js_str(const cJSON *o, const char *name)
{
    return cJSON_GetStringValue(js_get(o, name));
}

bool js_bool(const cJSON *o, const char *name, bool otherwise)
{
    const cJSON *v = js_get(o, name);
    return cJSON_IsBool(v) ? cJSON_IsTrue(v) : otherwise;
}

int64_t js_int(const cJSON *v, int64_t max)
{
    double d = cJSON_IsNumber(v) ? v->valuedouble : -1;
    return d >= 0 && d <= (double)max && d == floor(d) ? (int64_t)d : -1;
}
