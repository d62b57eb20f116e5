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
#include "maps.h"
#include "tensors.h"

enum {
    SRC_MAX_FILES = 1024, /* shards of one model */
    SRC_MAX_VOCAB = 1 << 22,
};

struct family;

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
    struct end_id ends[MAX_EOS]; /* text.ends */
    /* GGUF arrays that text_source points to */
    struct view *tokens, *merges;
    int32_t *token_types;
    float *token_scores;
};

/* The map is kept until model_source_close. NULL with *e set on failure. */
struct file_map *source_map(struct model_source *s, const char *path, struct err *e);

/* An id that the files name as an end of a generation, once; `from` is a constant. Needs the
 * vocabulary's size. Negative is how some writers say "none"; one above the vocabulary is left out
 * with a warning. UNSUPPORTED when there are more than MAX_EOS. */
int source_add_end(struct model_source *s, int64_t id, const char *from, struct err *e);

/* open.c. The two halves of model_source_open, for tests and fuzzers that bring the bytes
 * themselves: an empty source, and binding plus the hash over everything once it is filled. */
struct model_source *source_new(void);
int source_finish(struct model_source *s, struct err *e);

#endif
