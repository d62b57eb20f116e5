/* SPDX-License-Identifier: Apache-2.0 */
/* gguf.c - the GGUF v3 container.
 *
 * Little endian: magic "GGUF", u32 version, u64 tensors, u64 pairs, the pairs, the tensor infos,
 * padding, data. Every read goes through one cursor that cannot pass the end, and every count is
 * compared with the bytes that are left before anything is allocated for it, so memory stays in
 * proportion to the file. Opening thread only. Does not know what any key means.
 */
#include "gguf.h"

#include "dequant.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_KV = 1 << 16,
    MAX_KEY = 1024,
    MIN_KV_BYTES = 8 + 4 + 1,             /* key length, type, value */
    MIN_TENSOR_BYTES = 8 + 4 + 8 + 4 + 8, /* name length, dims, one dim, type, offset */
    DEFAULT_ALIGNMENT = 32,
    MAX_ALIGNMENT = 1 << 20,
};

static const uint8_t type_bytes[N_GGUF_TYPES] = {
    [GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
    [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8,
};

size_t gguf_type_bytes(uint32_t type)
{
    return type < N_GGUF_TYPES ? type_bytes[type] : 0;
}

struct cursor {
    const uint8_t *p;
    size_t n, pos;
};

static int truncated(const struct cursor *c, const char *what, struct err *e)
{
    return err_set(e, ST_FORMAT, "gguf: %s at byte %zu runs past the end (%zu bytes)", what, c->pos,
                   c->n);
}

static int take(struct cursor *c, size_t bytes, const uint8_t **p, const char *what, struct err *e)
{
    *p = c->p + c->pos;
    if (bytes > c->n - c->pos)
        return truncated(c, what, e);
    c->pos += bytes;
    return 0;
}

static int take_u32(struct cursor *c, uint32_t *v, const char *what, struct err *e)
{
    const uint8_t *p;
    int st = take(c, 4, &p, what, e);
    *v = 0;
    if (st == 0)
        memcpy(v, p, 4);
    return st;
}

static int take_u64(struct cursor *c, uint64_t *v, const char *what, struct err *e)
{
    const uint8_t *p;
    int st = take(c, 8, &p, what, e);
    *v = 0;
    if (st == 0)
        memcpy(v, p, 8);
    return st;
}

static int take_string(struct cursor *c, struct view *v, const char *what, struct err *e)
{
    uint64_t n;
    const uint8_t *p;
    int st = take_u64(c, &n, what, e);
    if (st)
        return st;
    if (n > c->n - c->pos)
        return truncated(c, what, e);
    take(c, (size_t)n, &p, what, e);
    *v = (struct view){(const char *)p, (size_t)n};
    return 0;
}

static int take_array(struct cursor *c, struct gguf_kv *kv, struct err *e)
{
    struct view s;
    int st = take_u32(c, &kv->elem, "array type", e);
    if (st == 0)
        st = take_u64(c, &kv->n, "array length", e);
    if (st)
        return st;
    if (kv->elem >= N_GGUF_TYPES || kv->elem == GGUF_ARRAY)
        return err_set(e, ST_FORMAT, "gguf: %.*s: array of type %u", (int)kv->key.n, kv->key.p,
                       kv->elem);
    size_t each = kv->elem == GGUF_STRING ? 8 : type_bytes[kv->elem];
    if (kv->n > (c->n - c->pos) / each)
        return truncated(c, "array", e);
    kv->p = c->p + c->pos;
    if (kv->elem != GGUF_STRING) {
        c->pos += (size_t)kv->n * each;
        return 0;
    }
    for (uint64_t i = 0; i < kv->n && st == 0; i++)
        st = take_string(c, &s, "array of strings", e);
    return st;
}

static int take_kv(struct cursor *c, struct gguf_kv *kv, struct err *e)
{
    struct view s = {0};
    int st = take_string(c, &kv->key, "metadata key", e);
    if (st)
        return st;
    bool ok = kv->key.n > 0 && kv->key.n <= MAX_KEY;
    for (size_t i = 0; ok && i < kv->key.n; i++)
        ok = kv->key.p[i] >= ' ' && kv->key.p[i] < 127;
    if (!ok)
        return err_set(e, ST_FORMAT, "gguf: metadata key before byte %zu is not a name", c->pos);
    st = take_u32(c, &kv->type, "metadata type", e);
    if (st)
        return st;
    if (kv->type >= N_GGUF_TYPES)
        return err_set(e, ST_FORMAT, "gguf: %.*s has type %u", (int)kv->key.n, kv->key.p, kv->type);
    if (kv->type == GGUF_ARRAY)
        return take_array(c, kv, e);
    if (kv->type != GGUF_STRING)
        return take(c, type_bytes[kv->type], &kv->p, "metadata value", e);
    st = take_string(c, &s, "metadata string", e);
    kv->p = (const uint8_t *)s.p;
    kv->n = s.n;
    return st;
}

static int compare_keys(const char *a, size_t na, const char *b, size_t nb)
{
    int d = memcmp(a, b, na < nb ? na : nb);
    return d ? d : (na > nb) - (na < nb);
}

static int by_key(const void *a, const void *b)
{
    const struct gguf_kv *x = a, *y = b;
    return compare_keys(x->key.p, x->key.n, y->key.p, y->key.n);
}

static int take_all_kv(struct cursor *c, struct gguf *g, uint64_t n, struct err *e)
{
    if (n > MAX_KV || n > (c->n - c->pos) / MIN_KV_BYTES)
        return err_set(e, ST_FORMAT, "gguf: %" PRIu64 " metadata pairs cannot be", n);
    g->kv = xcalloc2((size_t)n, sizeof *g->kv);
    for (; g->n_kv < n; g->n_kv++) {
        int st = take_kv(c, &g->kv[g->n_kv], e);
        if (st)
            return st;
    }
    qsort(g->kv, g->n_kv, sizeof *g->kv, by_key);
    for (size_t i = 1; i < g->n_kv; i++)
        if (by_key(&g->kv[i - 1], &g->kv[i]) == 0)
            return err_set(e, ST_FORMAT, "gguf: %.*s is there twice", (int)g->kv[i].key.n,
                           g->kv[i].key.p);
    return 0;
}

static int tensor_bytes(const struct tensor *x, size_t *bytes)
{
    size_t elems = 1;
    int32_t block = qtype_block_elems(x->type);
    *bytes = 0;
    for (int i = 0; i < x->n_dims; i++)
        if (!mul_size(elems, (size_t)x->dim[i], &elems))
            return ST_FORMAT;
    if (block == 0)
        return 0; /* of an unsupported type: refused when it is asked for */
    if (x->dim[x->n_dims - 1] % block != 0)
        return ST_FORMAT;
    return mul_size(elems / (size_t)block, (size_t)qtype_block_bytes(x->type), bytes) ? 0
                                                                                      : ST_FORMAT;
}

/* *offset is relative to the data section, whose start is known only after the last info. */
static int take_tensor(struct cursor *c, struct tensor_table *t, uint64_t *offset, struct err *e)
{
    struct tensor x = {0};
    struct view name = {0};
    uint32_t n_dims = 0, type = 0;
    int st = take_string(c, &name, "tensor name", e);
    if (st == 0)
        st = take_u32(c, &n_dims, "tensor dimensions", e);
    if (st)
        return st;
    if (n_dims == 0 || n_dims > SRC_MAX_DIMS)
        return err_set(e, ST_FORMAT, "gguf: a tensor before byte %zu has %u dimensions", c->pos,
                       n_dims);
    x.n_dims = (int32_t)n_dims;
    for (uint32_t i = 0; i < n_dims; i++) { /* stored innermost first */
        uint64_t d;
        if ((st = take_u64(c, &d, "tensor shape", e)) != 0)
            return st;
        if (d == 0 || d > INT32_MAX)
            return err_set(e, ST_FORMAT, "gguf: a tensor before byte %zu has a side of %" PRIu64,
                           c->pos, d);
        x.dim[n_dims - 1 - i] = (int64_t)d;
    }
    st = take_u32(c, &type, "tensor type", e);
    if (st == 0)
        st = take_u64(c, offset, "tensor offset", e);
    if (st)
        return st;
    const char *type_name = qtype_ggml_name(type);
    x.type = qtype_of_ggml(type);
    if (type_name)
        snprintf(x.type_name, sizeof x.type_name, "%s", type_name);
    else
        snprintf(x.type_name, sizeof x.type_name, "type %u", type);
    st = tensor_table_add(t, &x, name.p, name.n, e);
    if (st == 0 && tensor_bytes(&x, &t->v[t->n - 1].bytes) != 0)
        st = err_set(e, ST_FORMAT, "gguf: tensor %s: shape and type %s do not fit together",
                     t->v[t->n - 1].name, x.type_name);
    return st;
}

static int place_tensors(struct tensor_table *t, const uint64_t *offset, const uint8_t *data,
                         size_t n, size_t start, size_t align, struct err *e)
{
    for (size_t i = 0; i < t->n; i++) {
        struct tensor *x = &t->v[i];
        if (start > n || offset[i] > n - start || x->bytes > n - start - offset[i])
            return err_set(e, ST_FORMAT,
                           "gguf: tensor %s (%zu bytes at %" PRIu64
                           ") lies outside of the file; is it truncated?",
                           x->name, x->bytes, offset[i]);
        if (offset[i] % align != 0)
            return err_set(e, ST_FORMAT, "gguf: tensor %s is not aligned to %zu bytes", x->name,
                           align);
        x->data = data + start + offset[i];
    }
    return tensor_table_finish(t, e);
}

static int take_header(struct cursor *c, uint64_t *n_tensors, uint64_t *n_kv, struct err *e)
{
    const uint8_t *magic;
    uint32_t version;
    int st = take(c, 4, &magic, "magic", e);
    if (st)
        return st;
    if (memcmp(magic, "GGUF", 4) != 0)
        return err_set(e, ST_FORMAT,
                       "not a GGUF file (a model is a .gguf file, or a folder with a config.json)");
    if ((st = take_u32(c, &version, "version", e)) != 0)
        return st;
    if (version != 3)
        return err_set(e, ST_UNSUPPORTED, "GGUF version %u%s is not supported, only 3", version,
                       version > 0xffff ? " (big endian?)" : "");
    st = take_u64(c, n_tensors, "tensor count", e);
    return st ? st : take_u64(c, n_kv, "metadata count", e);
}

int gguf_parse(struct gguf *g, struct tensor_table *t, const uint8_t *data, size_t n, struct err *e)
{
    struct cursor c = {data, n, 0};
    uint64_t n_tensors = 0, n_kv = 0;
    int64_t align = DEFAULT_ALIGNMENT;
    uint64_t *offset = NULL;
    *g = (struct gguf){0};
    int st = take_header(&c, &n_tensors, &n_kv, e);
    if (st == 0)
        st = take_all_kv(&c, g, n_kv, e);
    if (st == 0)
        st = gguf_get_int(g, "general.alignment", &align, e);
    if (st)
        goto out;
    if (align < 8 || align > MAX_ALIGNMENT || align % 8 != 0) {
        st = err_set(e, ST_FORMAT, "gguf: general.alignment = %" PRId64, align);
        goto out;
    }
    if (n_tensors > SRC_MAX_TENSORS || n_tensors > (n - c.pos) / MIN_TENSOR_BYTES) {
        st = err_set(e, ST_FORMAT, "gguf: %" PRIu64 " tensors cannot be", n_tensors);
        goto out;
    }
    offset = xcalloc2((size_t)n_tensors, sizeof *offset);
    for (uint64_t i = 0; i < n_tensors && st == 0; i++)
        st = take_tensor(&c, t, &offset[i], e);
    size_t start = (c.pos + (size_t)align - 1) / (size_t)align * (size_t)align;
    if (st == 0)
        st = place_tensors(t, offset, data, n, start, (size_t)align, e);
out:
    free(offset);
    if (st)
        gguf_free(g);
    return st;
}

void gguf_free(struct gguf *g)
{
    free(g->kv);
    *g = (struct gguf){0};
}
