/* SPDX-License-Identifier: Apache-2.0 */
/* vocab.h - ids, their strings, and the ways to look one up. Private to text/. */
#ifndef QUIRE_TEXT_VOCAB_H
#define QUIRE_TEXT_VOCAB_H

#include "buf.h"
#include "ids.h"
#include "status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    VOCAB_PRESENT = 1, /* the id exists */
    VOCAB_MODEL = 2,   /* in the BPE model's own vocabulary */
    VOCAB_ADDED = 4,   /* an added token */
    VOCAB_SPECIAL = 8, /* an added token marked special */
    VOCAB_BYTE = 16    /* <0xNN>, decoded as a byte */
};
enum { MAX_VOCAB = 1 << 24 };

/* str: as the file spells it. raw: the bytes the model matches in a text (the byte-level alphabet
 * undone). dec: what decoding appends. All are offsets into blob. */
struct vocab_entry {
    uint32_t str, str_n, raw, raw_n, dec, dec_n;
};
struct vocab_slot {
    uint32_t hash;
    token_id id; /* -1 = empty */
};
struct vocab_table {
    struct vocab_slot *slot;
    uint32_t mask, n;
};
struct vocab {
    bool byte_level;
    bool repeats_ok;  /* a repeated string keeps its first id (GGUF) instead of ST_FORMAT */
    int32_t n, cap;   /* ids are < n */
    uint32_t max_raw; /* longest raw of a model token */
    struct vocab_entry *e;
    uint8_t *flags;
    struct buf blob;
    struct vocab_table by_raw; /* model tokens that a text can produce */
    struct vocab_table by_str; /* all others: added tokens, and strings outside the byte alphabet */
};

/* Room for n tokens of `bytes` bytes together (hints; both may be exceeded). */
void vocab_init(struct vocab *v, bool byte_level, size_t n, size_t bytes);
void vocab_fini(struct vocab *v);

/* A token of the model. ST_FORMAT on a bad or repeated id or string. */
int vocab_add_model(struct vocab *v, int64_t id, const char *s, size_t n, struct err *e);
/* An added token; a string the model has keeps the model's id. *got = its id. */
int vocab_add_added(struct vocab *v, int64_t id, const char *s, size_t n, bool special,
                    token_id *got, struct err *e);
/* Set what decoding appends for an id. */
void vocab_set_dec(struct vocab *v, token_id id, const char *s, size_t n);

/* Model token by raw bytes, or by its spelling; -1 when there is none. */
token_id vocab_find_raw(const struct vocab *v, const char *s, size_t n);
token_id vocab_find_model(const struct vocab *v, const char *s, size_t n);
/* Any token by its spelling. */
token_id vocab_find(const struct vocab *v, const char *s, size_t n);

static inline bool vocab_has(const struct vocab *v, token_id id)
{
    return id >= 0 && id < v->n && (v->flags[id] & VOCAB_PRESENT);
}

/* Undo the byte-level alphabet: out has room for n bytes. false when a character is outside it. */
bool bytes_unmap(const char *s, size_t n, char *out, size_t *out_n);
uint32_t text_hash(const char *s, size_t n);

#endif
