/* SPDX-License-Identifier: Apache-2.0 */
/* gguf_build.h - small GGUF files in memory, whole or deliberately wrong, for the loader's tests.
 *
 * Append pairs and tensors in any order, then gb_finish. Counts and fields can be spoiled through
 * the struct. One thread; aborts when out of memory.
 */
#ifndef QUIRE_TEST_GGUF_BUILD_H
#define QUIRE_TEST_GGUF_BUILD_H

#include "checkpoint/dequant.h"
#include "checkpoint/family.h"
#include "checkpoint/formats.h"
#include "checkpoint/gguf.h"
#include "mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct gb_buf {
    uint8_t *p;
    size_t n;
};

static inline void gb_put(struct gb_buf *b, const void *p, size_t n)
{
    b->p = xrealloc(b->p, b->n + n + 1);
    if (n)
        memcpy(b->p + b->n, p, n);
    b->n += n;
}

static inline void gb_put32(struct gb_buf *b, uint32_t v)
{
    gb_put(b, &v, 4);
}

static inline void gb_put64(struct gb_buf *b, uint64_t v)
{
    gb_put(b, &v, 8);
}

static inline void gb_puts(struct gb_buf *b, const char *s)
{
    gb_put64(b, strlen(s));
    gb_put(b, s, strlen(s));
}

struct gb {
    struct gb_buf kv, info, data, file;
    uint64_t n_kv, n_tensors;
    uint32_t version;
    uint32_t ggml_type; /* of the next gb_tensor */
};

static inline void gb_key(struct gb *g, const char *key, uint32_t type)
{
    gb_puts(&g->kv, key);
    gb_put32(&g->kv, type);
    g->n_kv++;
}

static inline void gb_u32(struct gb *g, const char *key, uint32_t v)
{
    gb_key(g, key, GGUF_U32);
    gb_put32(&g->kv, v);
}

static inline void gb_f32(struct gb *g, const char *key, float v)
{
    gb_key(g, key, GGUF_F32);
    gb_put(&g->kv, &v, 4);
}

static inline void gb_str(struct gb *g, const char *key, const char *v)
{
    gb_key(g, key, GGUF_STRING);
    gb_puts(&g->kv, v);
}

static inline void gb_strs(struct gb *g, const char *key, const char *const *v, size_t n)
{
    gb_key(g, key, GGUF_ARRAY);
    gb_put32(&g->kv, GGUF_STRING);
    gb_put64(&g->kv, n);
    for (size_t i = 0; i < n; i++)
        gb_puts(&g->kv, v[i]);
}

static inline void gb_i32s(struct gb *g, const char *key, const int32_t *v, size_t n)
{
    gb_key(g, key, GGUF_ARRAY);
    gb_put32(&g->kv, GGUF_I32);
    gb_put64(&g->kv, n);
    gb_put(&g->kv, v, n * sizeof *v);
}

/* A tensor [rows, cols] (cols 0: a vector) of g->ggml_type with these bytes, aligned to 32. */
static inline void gb_tensor(struct gb *g, const char *name, int64_t rows, int64_t cols,
                             const void *bytes, size_t n)
{
    static const uint8_t zero[32];
    gb_put(&g->data, zero, (32 - g->data.n % 32) % 32);
    gb_puts(&g->info, name);
    gb_put32(&g->info, cols ? 2 : 1);
    if (cols)
        gb_put64(&g->info, (uint64_t)cols);
    gb_put64(&g->info, (uint64_t)rows);
    gb_put32(&g->info, g->ggml_type);
    gb_put64(&g->info, g->data.n);
    gb_put(&g->data, bytes, n);
    g->n_tensors++;
}

static inline struct gb_buf *gb_finish(struct gb *g)
{
    static const uint8_t zero[32];
    struct gb_buf *f = &g->file;
    f->n = 0;
    gb_put(f, "GGUF", 4);
    gb_put32(f, g->version ? g->version : 3);
    gb_put64(f, g->n_tensors);
    gb_put64(f, g->n_kv);
    gb_put(f, g->kv.p, g->kv.n);
    gb_put(f, g->info.p, g->info.n);
    gb_put(f, zero, (32 - f->n % 32) % 32);
    gb_put(f, g->data.p, g->data.n);
    return f;
}

static inline void gb_free(struct gb *g)
{
    free(g->kv.p);
    free(g->info.p);
    free(g->data.p);
    free(g->file.p);
    memset(g, 0, sizeof *g);
}

/* What gb_model writes; zero counts leave the key out. */
struct gb_shape {
    const char *arch;
    int32_t layers, dim, heads, kv_heads, head_dim, ffn, vocab;
    bool tied, qkv_bias, qk_norm;
};

static inline struct gb_shape gb_tiny(void)
{
    return (struct gb_shape){"llama", 2, 64, 4, 2, 16, 96, 40, false, false, false};
}

/* The value stored for element `i` of a weight: distinct enough to notice any mix-up, and exact. */
static inline float gb_value(int32_t layer, int role, int64_t i)
{
    uint32_t h = (uint32_t)i * 2654435761u ^ (uint32_t)(layer * 64 + role + 77) * 2246822519u;
    h ^= h >> 15;
    h *= 2654435761u;
    return (float)(int32_t)(h >> 12) / 1048576.0f - 0.5f;
}

static inline void gb_weight(struct gb *g, const struct model_config *c, int32_t layer, int role)
{
    char name[SRC_MAX_NAME];
    int64_t rows, cols;
    if (!weight_exists(c, layer, role))
        return;
    weight_shape(c, layer, role, &rows, &cols);
    family_tensor_name(true, layer, role, name, sizeof name);
    int64_t n = rows * (cols ? cols : 1);
    float *v = xalloc((size_t)n * sizeof *v);
    for (int64_t i = 0; i < n; i++)
        v[i] = gb_value(layer, role, i);
    gb_tensor(g, name, rows, cols, v, (size_t)n * sizeof *v);
    free(v);
}

static inline void gb_arch_u32(struct gb *g, const struct gb_shape *s, const char *tail, int32_t v)
{
    char key[128];
    snprintf(key, sizeof key, "%s.%s", s->arch, tail);
    if (v)
        gb_u32(g, key, (uint32_t)v);
}

static inline void gb_metadata(struct gb *g, const struct gb_shape *s)
{
    char key[128];
    gb_str(g, "general.architecture", s->arch);
    gb_arch_u32(g, s, "block_count", s->layers);
    gb_arch_u32(g, s, "embedding_length", s->dim);
    gb_arch_u32(g, s, "feed_forward_length", s->ffn);
    gb_arch_u32(g, s, "context_length", 512);
    gb_arch_u32(g, s, "attention.head_count", s->heads);
    gb_arch_u32(g, s, "attention.head_count_kv", s->kv_heads);
    gb_arch_u32(g, s, "attention.key_length", s->head_dim);
    gb_arch_u32(g, s, "attention.value_length", s->head_dim);
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", s->arch);
    gb_f32(g, key, 1e-5f);
    snprintf(key, sizeof key, "%s.rope.freq_base", s->arch);
    gb_f32(g, key, 10000.0f);
}

static inline struct model_config gb_config(const struct gb_shape *s)
{
    struct model_config c = {.n_layers = s->layers,
                             .dim = s->dim,
                             .n_kinds = 1,
                             .kind = {{.n_heads = s->heads,
                                       .n_kv_heads = s->kv_heads,
                                       .head_dim = s->head_dim,
                                       .ffn_dim = s->ffn}},
                             .vocab = s->vocab,
                             .tied_head = s->tied,
                             .qkv_bias = s->qkv_bias,
                             .qk_norm = s->qk_norm};
    return c;
}

/* Every F32 weight of a whole model. */
static inline void gb_weights(struct gb *g, const struct gb_shape *s)
{
    struct model_config c = gb_config(s);
    g->ggml_type = 0;
    for (int role = N_LAYER_ROLES; role < N_ROLES; role++)
        gb_weight(g, &c, -1, role);
    for (int32_t l = 0; l < s->layers; l++)
        for (int role = 0; role < N_LAYER_ROLES; role++)
            gb_weight(g, &c, l, role);
}

static inline void gb_model(struct gb *g, const struct gb_shape *s)
{
    gb_metadata(g, s);
    gb_weights(g, s);
}

/* Open bytes as model_source_open opens a file. */
static inline int gb_open(struct model_source **out, const uint8_t *p, size_t n, struct err *e)
{
    struct model_source *s = source_new();
    int st = source_open_gguf(s, p, n, e);
    if (st == 0)
        st = source_finish(s, e);
    if (st) {
        model_source_close(s);
        s = NULL;
    }
    *out = s;
    return st;
}

#endif
