/* json_get.c - see json_get.h. cJSON bounds its own nesting (CJSON_NESTING_LIMIT). Opening thread.
 */
#include "json_get.h"

#include "utf8_check.h"

#include <math.h>

cJSON *json_document(const char *file, const void *p, size_t n, struct err *e)
{
    const char *end = NULL;
    if (n > JSON_MAX_BYTES) {
        err_set(e, ST_FORMAT, "%s: %zu bytes are too many", file, n);
        return NULL;
    }
    size_t bad = utf8_first_bad(p, n);
    if (bad < n) {
        err_set(e, ST_FORMAT, "%s: byte %zu is not UTF-8", file, bad);
        return NULL;
    }
    cJSON *root = cJSON_ParseWithLengthOpts(p, n, &end, 0);
    const char *text = p;
    for (size_t i = end ? (size_t)(end - text) : n; root && i < n && text[i]; i++) {
        if (text[i] == ' ' || text[i] == '\n' || text[i] == '\r' || text[i] == '\t')
            continue;
        cJSON_Delete(root);
        root = NULL;
    }
    if (!root) {
        err_set(e, ST_FORMAT, "%s: not valid JSON (near byte %zu)", file,
                end ? (size_t)(end - text) : 0);
        return NULL;
    }
    if (!cJSON_IsObject(root)) {
        err_set(e, ST_FORMAT, "%s: not a JSON object", file);
        cJSON_Delete(root);
        return NULL;
    }
    return root;
}

const cJSON *json_find(const struct json_obj *j, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(j->o, key);
    return v && !cJSON_IsNull(v) ? v : NULL;
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
    if (!(d >= -0x1p53 && d <= 0x1p53) || d != floor(d))
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
