/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors.c - the safetensors container.
 *
 * u64 header length (little endian), a JSON object {"name": {"dtype", "shape", "data_offsets"}},
 * then the data. Sizes are recomputed from shape and type and must agree with the offsets, which
 * must lie inside of the file. Types we cannot load are kept as QT_OTHER, so that they are refused
 * by name if a weight has one. Opening thread only.
 */
#include "safetensors.h"

#include "dequant.h"
#include "json_file.h"

#include <stdio.h>
#include <string.h>

struct st_type {
    const char *name;
    int32_t type, bytes;
};

static const struct st_type st_types[] = {
    {"F32", QT_F32, 4},       {"F16", QT_F16, 2},       {"BF16", QT_BF16, 2},
    {"F64", QT_OTHER, 8},     {"I64", QT_OTHER, 8},     {"U64", QT_OTHER, 8},
    {"I32", QT_OTHER, 4},     {"U32", QT_OTHER, 4},     {"I16", QT_OTHER, 2},
    {"U16", QT_OTHER, 2},     {"I8", QT_OTHER, 1},      {"U8", QT_OTHER, 1},
    {"BOOL", QT_OTHER, 1},    {"F8_E4M3", QT_OTHER, 1}, {"F8_E5M2", QT_OTHER, 1},
    {"F8_E8M0", QT_OTHER, 1},
};

/* What is being read, for messages. */
struct place {
    const char *file, *name;
    struct err *e;
};

static int bad(const struct place *at, const char *what)
{
    return err_set(at->e, ST_FORMAT, "%s: tensor %.64s: %s", at->file, at->name, what);
}

static int read_shape(struct tensor *x, const cJSON *shape, const struct place *at)
{
    const cJSON *it;
    if (!cJSON_IsArray(shape))
        return bad(at, "no shape");
    cJSON_ArrayForEach(it, shape)
    {
        int64_t d = 0;
        if (x->n_dims == SRC_MAX_DIMS)
            return bad(at, "too many dimensions");
        if (!json_item_int(it, &d) || d < 1 || d > INT32_MAX)
            return bad(at, "a side that is no positive 32-bit number");
        x->dim[x->n_dims++] = d;
    }
    return 0;
}

static int read_dtype(struct tensor *x, const cJSON *dtype, int32_t *elem_bytes,
                      const struct place *at)
{
    if (!cJSON_IsString(dtype))
        return bad(at, "no dtype");
    snprintf(x->type_name, sizeof x->type_name, "%s", dtype->valuestring);
    x->type = QT_OTHER;
    *elem_bytes = 0; /* unknown: its size cannot be checked, and it is never read */
    for (size_t i = 0; i < sizeof st_types / sizeof st_types[0]; i++) {
        if (strcmp(st_types[i].name, dtype->valuestring) == 0) {
            x->type = st_types[i].type;
            *elem_bytes = st_types[i].bytes;
        }
    }
    return 0;
}

static int read_tensor(struct tensor *x, const cJSON *o, const uint8_t *data, size_t n,
                       const struct place *at)
{
    int32_t elem_bytes = 0;
    int64_t begin = 0, end = 0;
    if (!cJSON_IsObject(o))
        return bad(at, "not an object");
    int st = read_dtype(x, cJSON_GetObjectItemCaseSensitive(o, "dtype"), &elem_bytes, at);
    if (st == 0)
        st = read_shape(x, cJSON_GetObjectItemCaseSensitive(o, "shape"), at);
    if (st)
        return st;
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(o, "data_offsets");
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 ||
        !json_item_int(offsets->child, &begin) || !json_item_int(offsets->child->next, &end) ||
        begin < 0 || end < begin)
        return bad(at, "data_offsets are not [begin, end]");
    if ((uint64_t)end > n)
        return bad(at, "lies outside of the file; is it truncated?");
    size_t bytes = (size_t)elem_bytes;
    for (int i = 0; i < x->n_dims; i++)
        if (!mul_size(bytes, (size_t)x->dim[i], &bytes))
            return bad(at, "shape overflows");
    if (elem_bytes && bytes != (size_t)(end - begin))
        return bad(at, "shape and data_offsets disagree");
    x->data = data + begin;
    x->bytes = (size_t)(end - begin);
    return 0;
}

int safetensors_parse(struct tensor_table *t, const char *file, const uint8_t *data, size_t n,
                      struct err *e)
{
    uint64_t header = 0;
    if (n < 8)
        return err_set(e, ST_FORMAT, "%s: %zu bytes are no safetensors file", file, n);
    memcpy(&header, data, 8);
    if (header > n - 8)
        return err_set(e, ST_FORMAT, "%s: header of %llu bytes in a file of %zu; is it truncated?",
                       file, (unsigned long long)header, n);
    cJSON *root = json_document(file, data + 8, (size_t)header, e);
    if (!root)
        return e ? e->st : ST_FORMAT;
    const uint8_t *body = data + 8 + header;
    int st = 0;
    const cJSON *it;
    cJSON_ArrayForEach(it, root)
    {
        struct tensor x = {0};
        struct place at = {file, it->string, e};
        if (strcmp(it->string, "__metadata__") == 0)
            continue;
        if ((st = read_tensor(&x, it, body, n - 8 - (size_t)header, &at)) != 0)
            break;
        if ((st = tensor_table_add(t, &x, it->string, strlen(it->string), e)) != 0)
            break;
    }
    cJSON_Delete(root);
    return st;
}
