/* SPDX-License-Identifier: Apache-2.0 */
/* tiny_model.h - the folder of a model that is small and random: a config.json, and weights from
 * the dummy generator. For tests of the model, the executor and what stands on them. One thread. */
#ifndef QUIRE_TEST_TINY_MODEL_H
#define QUIRE_TEST_TINY_MODEL_H

#include <stdbool.h>

struct tiny_model {
    const char *family; /* llama, mistral, qwen2, qwen3 */
    int dim, ffn, layers, heads, kv_heads, head_dim, vocab, max_position;
    double norm_eps;
    bool has_ends; /* bos 1 and eos 2 */
};

enum { TINY_DIR_BYTES = 64 };

/* A new folder below /tmp, its path into dir[TINY_DIR_BYTES]. Where the disk refuses, these end
 * the program. */
void tiny_model_dir(char *dir, const char *name);
/* Its config.json, in place of the one there. */
void tiny_model_write(const char *dir, const struct tiny_model *m);
void tiny_model_remove(const char *dir);

#endif
