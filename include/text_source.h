/* SPDX-License-Identifier: Apache-2.0 */
/* text_source.h - what a model folder or file says about text: bytes and views, no meaning yet.
 *
 * Filled by checkpoint/ (which maps the files), read by text/. Views point into memory that the
 * model source owns; text/ copies what it keeps.
 */
#ifndef QUIRE_TEXT_SOURCE_H
#define QUIRE_TEXT_SOURCE_H

#include "buf.h"

#include <stddef.h>
#include <stdint.h>

/* An id that a file names as an end of a generation. */
struct end_id {
    int32_t id;
    const char *from; /* a constant: the file, or the key of GGUF metadata */
};

struct text_source {
    /* Hugging Face folder */
    struct view tokenizer_json, tokenizer_config_json, chat_template_jinja, special_tokens_map_json;
    /* GGUF metadata (tokenizer_json.p == NULL) */
    struct view gguf_model;         /* tokenizer.ggml.model: "gpt2", "llama" */
    struct view gguf_pre;           /* tokenizer.ggml.pre */
    const struct view *gguf_tokens; /* [n_gguf_tokens] */
    size_t n_gguf_tokens;
    const int32_t *gguf_types; /* [n_gguf_tokens] or NULL: 1 normal 2 unknown 3 control 4 user 5
                                  unused 6 byte */
    const float *gguf_scores;  /* [n_gguf_tokens] or NULL */
    const struct view *gguf_merges;
    size_t n_gguf_merges;
    struct view gguf_chat_template;
    const struct end_id
        *ends; /* [n_ends] all of them, each id once; for HF folders and GGUF alike */
    size_t n_ends;
    int32_t bos_id, eos_id, unk_id, pad_id;    /* -1 = absent */
    int8_t add_bos, add_eos, add_space_prefix; /* -1 = not said */
};

#endif
