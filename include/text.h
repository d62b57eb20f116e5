/* SPDX-License-Identifier: Apache-2.0 */
/* text.h - text to token ids and back, stop strings, chat templates. A leaf: needs base only.
 *
 * struct tok and struct chat are immutable after loading and may be used by any thread at once.
 */
#ifndef QUIRE_TEXT_H
#define QUIRE_TEXT_H

#include "buf.h"
#include "ids.h"
#include "mem.h"
#include "status.h"
#include "text_source.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A growing id list; free with ids_free. */
struct ids {
    token_id *p;
    size_t n, cap;
};
void ids_add(struct ids *v, token_id t);
void ids_free(struct ids *v);

/* ---- tokenizer ---- */
struct tok;
/* From tokenizer.json (+ tokenizer_config.json) or GGUF metadata. What the file asks for and we
 * lack is refused by name (ST_UNSUPPORTED); a damaged file is ST_FORMAT. */
int tok_open(struct tok **out, const struct text_source *src, struct err *e);
void tok_close(struct tok *t);

enum {
    TOK_SPECIAL = 1,       /* add BOS/EOS as the post-processor says */
    TOK_PARSE_SPECIAL = 2, /* added tokens marked special are found in the text; without it they are
                              plain text (other added tokens are always parsed) */
    TOK_ADDED_AS_TEXT = 4  /* no added token at all is parsed */
};
/* Appends to *out. Input must be valid UTF-8 (ST_INVALID_VALUE otherwise). Time is linear in n. */
int tok_encode(const struct tok *t, const char *s, size_t n, unsigned flags, struct ids *out,
               struct err *e);
int32_t tok_vocab(const struct tok *t); /* ids are < this (added tokens included) */
/* The vocabulary string of an id (e.g. "Ġam"); *n = 0 and NULL when there is no such id. */
const char *tok_string(const struct tok *t, token_id id, size_t *n);
token_id tok_find(const struct tok *t, const char *s, size_t n); /* exact vocabulary string; -1 */
bool tok_is_special(const struct tok *t, token_id id);
/* The raw bytes an id stands for inside a text (no start-of-text stripping); appends. */
void tok_bytes(const struct tok *t, token_id id, struct buf *out);
token_id tok_bos(const struct tok *t), tok_eos(const struct tok *t); /* -1 = none */
/* All ids at once; what is not valid UTF-8 becomes U+FFFD as the reference library does it. */
int tok_decode(const struct tok *t, const token_id *ids, size_t n, bool skip_special,
               struct buf *out);

/* ---- streaming detokeniser: one per stream ---- */
struct detok {
    const struct tok *t;
    bool skip_special, started;
    uint8_t hold[16]; /* bytes of an incomplete code point or byte-fallback run */
    uint32_t n_hold;
    uint64_t state[4]; /* of the decoder's last steps, private to detok.c */
};
void detok_init(struct detok *d, const struct tok *t, bool skip_special);
/* Append to *out the text that is safe to show after this id (whole code points only). */
void detok_push(struct detok *d, token_id id, struct buf *out);
void detok_flush(struct detok *d, struct buf *out);

/* ---- stop strings: one matcher per stream ---- */
struct stops;    /* the compiled set, immutable */
struct stopper { /* per stream */
    const struct stops *set;
    struct buf held; /* text that may be the beginning of a stop string */
    uint32_t state;  /* private to stop.c: how much of which one */
};
int stops_new(struct stops **out, const struct view *s, int n, struct err *e);
void stops_free(struct stops *s);
void stopper_init(struct stopper *m, const struct stops *set); /* set NULL: everything passes */
void stopper_fini(struct stopper *m);
/* Feed new text; appends what may be shown to *out. Returns the index of the stop string that
 * matched first (then *out ends before it; with include, after it), or -1. */
int stopper_push(struct stopper *m, const char *s, size_t n, bool include, struct buf *out);
void stopper_flush(struct stopper *m, struct buf *out);

/* ---- chat templates ---- */
struct chat;
/* Compile the source's template once. ST_TEMPLATE with line and column on a syntax error; a source
 * without a template gives ST_NOT_FOUND (chat endpoints then answer 400). bos/eos strings come from
 * the source. */
int chat_open(struct chat **out, const struct text_source *src, struct err *e);
void chat_close(struct chat *c);
/* Facts the front end needs: does the template read content as a list of parts only; does it
 * mention the role "developer" (a template that does not gets such messages as "system"). */
bool chat_wants_parts(const struct chat *c);
bool chat_knows_developer(const struct chat *c);

struct json_doc;
struct chat_args {
    const struct json_doc *vars; /* its root is an object of template variables: messages, tools,
                                add_generation_prompt, and any extra ones (enable_thinking, ...) */
    int64_t now_unix_s;          /* what the template may ask for as the date */
    size_t max_out;              /* bytes */
};
/* Render. Appends UTF-8 to *out. Steps, memory, depth and output are bounded. The spans of *out
 * that came from the variables (as opposed to the template's own text) are appended to *spans as
 * [begin, end) byte offsets when spans is not NULL, so special tokens in user text can be kept
 * plain. ST_TEMPLATE with the template's own raise_exception text or line:column. Any thread. */
int chat_render(const struct chat *c, const struct chat_args *a, struct buf *out,
                struct spans *spans, struct err *e);
/* Encode rendered text. flags: TOK_SPECIAL; TOK_PARSE_SPECIAL parses special tokens everywhere,
 * without it those inside the spans are plain text and the template's own are parsed. */
int chat_encode(const struct tok *t, const struct buf *text, const struct spans *spans,
                unsigned flags, struct ids *out, struct err *e);

#endif
