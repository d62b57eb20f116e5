/* SPDX-License-Identifier: Apache-2.0 */
/* gguf.h - a GGUF v3 container: metadata and tensor table, structure checked, no meaning. */
#ifndef QUIRE_CHECKPOINT_GGUF_H
#define QUIRE_CHECKPOINT_GGUF_H

#include "buf.h"
#include "tensors.h"

enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    N_GGUF_TYPES
};

struct gguf_kv {
    struct view key;
    uint32_t type;    /* enum gguf_type */
    uint32_t elem;    /* of an array */
    uint64_t n;       /* elements of an array, bytes of a string */
    const uint8_t *p; /* the value; an array's first element. Unaligned. */
    bool seen;        /* a look-up found it */
};

struct gguf {
    struct gguf_kv *kv; /* sorted by key */
    size_t n_kv;
};

/* Read header, metadata and tensor infos of data[0..n); tensors are added to *t (and finished).
 * FORMAT with the offset, UNSUPPORTED for another version. On success gguf_free(g). */
int gguf_parse(struct gguf *g, struct tensor_table *t, const uint8_t *data, size_t n,
               struct err *e);
void gguf_free(struct gguf *g);

/* Of one element of a scalar type; 0 for strings and arrays. */
size_t gguf_type_bytes(uint32_t type);
/* NULL when absent. */
const struct gguf_kv *gguf_find(const struct gguf *g, const char *key);
/* Absent keys leave *out alone and return 0; a value of another kind is FORMAT. */
int gguf_get_int(const struct gguf *g, const char *key, int64_t *out, struct err *e);
/* The same for a key that may be an array with one number a layer: all must be equal, for layers
 * that differ are UNSUPPORTED. */
int gguf_get_same_int(const struct gguf *g, const char *key, int64_t *out, struct err *e);
int gguf_get_same_float(const struct gguf *g, const char *key, double *out, struct err *e);
int gguf_get_float(const struct gguf *g, const char *key, double *out, struct err *e);
int gguf_get_bool(const struct gguf *g, const char *key, int8_t *out, struct err *e);
int gguf_get_string(const struct gguf *g, const char *key, struct view *out, struct err *e);
/* Arrays: *out is allocated (free it), *n its length; at most max elements. */
int gguf_get_strings(const struct gguf *g, const char *key, struct view **out, size_t *n,
                     size_t max, struct err *e);
int gguf_get_i32s(const struct gguf *g, const char *key, int32_t **out, size_t *n, size_t max,
                  struct err *e);
int gguf_get_f32s(const struct gguf *g, const char *key, float **out, size_t *n, size_t max,
                  struct err *e);

#endif
