/* SPDX-License-Identifier: Apache-2.0 */
/* source.h - inside of a model source: mapped files, tensors, what they are bound to.
 *
 * Order of filling: map -> container (gguf.c, safetensors.c: tensors) -> configuration
 * (hf_config.c, gguf_config.c) -> bind.c (every weight the family needs, shape-checked). All on the
 * opening thread; read-only afterwards, so loaders on several threads may read it.
 */
#ifndef QUIRE_CHECKPOINT_SOURCE_H
#define QUIRE_CHECKPOINT_SOURCE_H

#include "checkpoint.h"
#include "dequant.h"
#include "family.h"
#include "mem.h"

enum {
    SRC_MAX_FILES = 1024, /* shards of one model */
    SRC_MAX_TENSORS = 1 << 18,
    SRC_MAX_DIMS = 4,
    SRC_MAX_NAME = 256, /* bytes of a tensor name */
    SRC_MAX_VOCAB = 1 << 22,
};

/* A file mapped read-only, or memory that somebody else owns (is_map false). */
struct file_map {
    const uint8_t *p;
    size_t n;
    bool is_map;
    int64_t mtime_ns;
};
/* Missing file: ST_NOT_FOUND; others ST_IO. An empty file gives p != NULL, n == 0. */
int file_map_open(struct file_map *m, const char *path, struct err *e);
void file_map_close(struct file_map *m);

/* One stored tensor: dims outermost first (row-major). data points into a map. */
struct tensor {
    const char *name;
    char type_name[16]; /* as the file calls it, for messages */
    int32_t type;       /* enum qtype */
    int32_t n_dims;
    int64_t dim[SRC_MAX_DIMS];
    const uint8_t *data;
    size_t bytes;
    bool used;
};

struct tensor_table {
    struct tensor *v;
    size_t n, cap;
    struct arena names;
};
void tensor_table_init(struct tensor_table *t);
void tensor_table_free(struct tensor_table *t);
/* Append a copy of *x with its name copied from name[0..n). FORMAT at a cap or a bad name. */
int tensor_table_add(struct tensor_table *t, const struct tensor *x, const char *name, size_t n,
                     struct err *e);
/* Sort by name; FORMAT when two tensors share a name or bytes. Call once, after all were added. */
int tensor_table_finish(struct tensor_table *t, struct err *e);
struct tensor *tensor_find(const struct tensor_table *t, const char *name);
/* "[49152, 576]" for messages. */
void tensor_shape_text(const struct tensor *t, char *buf, size_t n);
/* Start reading its bytes from disk, without waiting. NULL and memory that is no map do nothing. */
void tensor_prefetch(const struct tensor *t);

struct model_source {
    struct model_config cfg;
    struct text_source text;
    const struct family *family;
    bool is_gguf, dummy;
    uint64_t seed;
    struct file_map *maps; /* [n_maps] weight files, then text files */
    int32_t n_maps;
    struct tensor_table tensors;
    const struct tensor **bound; /* [n_layers][N_LAYER_ROLES], then [N_GLOBAL_ROLES]; NULL absent */
    /* GGUF arrays that text_source points to */
    struct view *tokens, *merges;
    int32_t *token_types;
    float *token_scores;
};

/* The map is kept until model_source_close. NULL with *e set on failure. */
struct file_map *source_map(struct model_source *s, const char *path, struct err *e);

/* hf_dir.c: a folder, or for a dummy a config.json too. gguf_config.c: a whole GGUF file, which
 * stays where it is as long as the source. Both fill cfg, text, family and tensors. */
int source_open_hf(struct model_source *s, const char *path, struct err *e);
int source_open_gguf(struct model_source *s, const uint8_t *data, size_t n, struct err *e);

/* bind.c: find and check every weight; refuse tensors that the family does not know. */
int source_bind(struct model_source *s, struct err *e);
/* layer < 0: a global role. NULL when the model has none (or is a dummy). */
const struct tensor *source_weight(const struct model_source *s, int32_t layer, int role);

/* open.c. The two halves of model_source_open, for tests and fuzzers that bring the bytes
 * themselves: an empty source, and binding plus the hash over everything once it is filled. */
struct model_source *source_new(void);
int source_finish(struct model_source *s, struct err *e);

#endif
