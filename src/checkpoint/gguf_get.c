/* SPDX-License-Identifier: Apache-2.0 */
/* gguf_get.c - typed look-ups in GGUF metadata.
 *
 * Writers differ in the integer type they choose for a key, so any integer type is accepted and
 * the range is the caller's business. Opening thread only.
 */
#include "gguf.h"
#include "utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const struct gguf_kv *gguf_find(const struct gguf *g, const char *key)
{
    size_t lo = 0, hi = g->n_kv, n = strlen(key);
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const struct view *k = &g->kv[mid].key;
        int d = memcmp(k->p, key, k->n < n ? k->n : n);
        if (d == 0)
            d = (k->n > n) - (k->n < n);
        if (d == 0) {
            g->kv[mid].seen = true;
            return &g->kv[mid];
        }
        if (d < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static int wrong_kind(const char *key, const char *want, struct err *e)
{
    return err_set(e, ST_FORMAT, "gguf: %s is not %s", key, want);
}

/* False when the type is no integer or the value does not fit. */
static bool read_int(const uint8_t *p, uint32_t type, int64_t *out)
{
    uint64_t u = 0;
    switch (type) {
    case GGUF_U8:
        *out = p[0];
        return true;
    case GGUF_I8:
        *out = p[0] < 128 ? p[0] : p[0] - 256;
        return true;
    case GGUF_U16:
        memcpy(&u, p, 2);
        *out = (int64_t)u;
        return true;
    case GGUF_I16:
        memcpy(&u, p, 2);
        *out = (int16_t)u;
        return true;
    case GGUF_U32:
        memcpy(&u, p, 4);
        *out = (int64_t)u;
        return true;
    case GGUF_I32:
        memcpy(&u, p, 4);
        *out = (int32_t)u;
        return true;
    case GGUF_U64:
    case GGUF_I64:
        memcpy(&u, p, 8);
        *out = (int64_t)u;
        return type == GGUF_I64 || u <= INT64_MAX;
    default:
        return false;
    }
}

int gguf_get_int(const struct gguf *g, const char *key, int64_t *out, struct err *e)
{
    const struct gguf_kv *kv = gguf_find(g, key);
    if (!kv)
        return 0;
    return read_int(kv->p, kv->type, out) ? 0 : wrong_kind(key, "an integer", e);
}

static bool read_float(const uint8_t *p, uint32_t type, double *out)
{
    float f;
    if (type == GGUF_F64) {
        memcpy(out, p, 8);
        return true;
    }
    if (type != GGUF_F32)
        return false;
    memcpy(&f, p, 4);
    *out = f;
    return true;
}

int gguf_get_float(const struct gguf *g, const char *key, double *out, struct err *e)
{
    const struct gguf_kv *kv = gguf_find(g, key);
    if (!kv)
        return 0;
    if (!read_float(kv->p, kv->type, out))
        return wrong_kind(key, "a float", e);
    return isfinite(*out) ? 0 : wrong_kind(key, "a finite number", e);
}

/* An array whose elements are equal as one element of *kv; *one is a copy of kv otherwise. */
static int one_of(const struct gguf_kv *kv, const char *key, struct gguf_kv *one, struct err *e)
{
    *one = *kv;
    if (kv->type != GGUF_ARRAY)
        return 0;
    if (kv->n == 0 || kv->elem == GGUF_STRING)
        return wrong_kind(key, "a number or an array of numbers", e);
    size_t each = gguf_type_bytes(kv->elem);
    for (uint64_t i = 1; i < kv->n; i++)
        if (memcmp(kv->p, kv->p + i * each, each) != 0)
            return err_set(e, ST_UNSUPPORTED,
                           "gguf: %s differs from layer to layer, which is not supported", key);
    one->type = kv->elem;
    return 0;
}

int gguf_get_same_int(const struct gguf *g, const char *key, int64_t *out, struct err *e)
{
    struct gguf_kv one;
    const struct gguf_kv *kv = gguf_find(g, key);
    int st = kv ? one_of(kv, key, &one, e) : 0;
    if (!kv || st)
        return st;
    return read_int(one.p, one.type, out) ? 0 : wrong_kind(key, "an integer", e);
}

int gguf_get_same_float(const struct gguf *g, const char *key, double *out, struct err *e)
{
    struct gguf_kv one;
    const struct gguf_kv *kv = gguf_find(g, key);
    int st = kv ? one_of(kv, key, &one, e) : 0;
    if (!kv || st)
        return st;
    if (!read_float(one.p, one.type, out))
        return wrong_kind(key, "a float", e);
    return isfinite(*out) ? 0 : wrong_kind(key, "a finite number", e);
}

int gguf_get_bool(const struct gguf *g, const char *key, int8_t *out, struct err *e)
{
    const struct gguf_kv *kv = gguf_find(g, key);
    if (!kv)
        return 0;
    if (kv->type != GGUF_BOOL)
        return wrong_kind(key, "a boolean", e);
    *out = (int8_t)(kv->p[0] != 0);
    return 0;
}

int gguf_get_string(const struct gguf *g, const char *key, struct view *out, struct err *e)
{
    const struct gguf_kv *kv = gguf_find(g, key);
    if (!kv)
        return 0;
    if (kv->type != GGUF_STRING)
        return wrong_kind(key, "a string", e);
    if (utf8_valid_prefix((const char *)kv->p, (size_t)kv->n) < kv->n)
        return wrong_kind(key, "valid UTF-8", e);
    *out = (struct view){(const char *)kv->p, (size_t)kv->n};
    return 0;
}

/* The array under `key`, or NULL with *st = 0 (absent) or an error. */
static const struct gguf_kv *find_array(const struct gguf *g, const char *key, size_t max, int *st,
                                        struct err *e)
{
    const struct gguf_kv *kv = gguf_find(g, key);
    *st = 0;
    if (!kv)
        return NULL;
    if (kv->type != GGUF_ARRAY)
        *st = wrong_kind(key, "an array", e);
    else if (kv->n > max)
        *st = err_set(e, ST_FORMAT, "gguf: %s has more than %zu elements", key, max);
    return *st ? NULL : kv;
}

int gguf_get_strings(const struct gguf *g, const char *key, struct view **out, size_t *n,
                     size_t max, struct err *e)
{
    int st;
    const struct gguf_kv *kv = find_array(g, key, max, &st, e);
    if (!kv)
        return st;
    if (kv->elem != GGUF_STRING)
        return wrong_kind(key, "an array of strings", e);
    *n = (size_t)kv->n;
    *out = xcalloc2(*n, sizeof **out);
    const uint8_t *p = kv->p;
    for (size_t i = 0; i < *n; i++) { /* the parser walked them: they end inside of the file */
        uint64_t len;
        memcpy(&len, p, 8);
        (*out)[i] = (struct view){(const char *)p + 8, (size_t)len};
        p += 8 + len;
    }
    return 0;
}

int gguf_get_i32s(const struct gguf *g, const char *key, int32_t **out, size_t *n, size_t max,
                  struct err *e)
{
    int st;
    const struct gguf_kv *kv = find_array(g, key, max, &st, e);
    if (!kv)
        return st;
    if (kv->elem != GGUF_I32 && kv->elem != GGUF_U32)
        return wrong_kind(key, "an array of 32-bit integers", e);
    *n = (size_t)kv->n;
    *out = xcalloc2(*n, sizeof **out);
    if (*n)
        memcpy(*out, kv->p, *n * sizeof **out);
    return 0;
}

int gguf_get_f32s(const struct gguf *g, const char *key, float **out, size_t *n, size_t max,
                  struct err *e)
{
    int st;
    const struct gguf_kv *kv = find_array(g, key, max, &st, e);
    if (!kv)
        return st;
    if (kv->elem != GGUF_F32)
        return wrong_kind(key, "an array of floats", e);
    *n = (size_t)kv->n;
    *out = xcalloc2(*n, sizeof **out);
    if (*n)
        memcpy(*out, kv->p, *n * sizeof **out);
    return 0;
}
