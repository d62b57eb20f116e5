/* SPDX-License-Identifier: Apache-2.0 */
/* json.h - JSON: a strict reader, documents made of parts of others, and a writer.
 *
 * For what comes from and goes to clients and templates. The large files of a model folder are read
 * by json_file.h. Pure; a document may be read by any thread.
 */
#ifndef QUIRE_JSON_H
#define QUIRE_JSON_H

#include "buf.h"
#include "status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- documents ----
 *
 * Parsed once, read only, without recursion. Bounded: nesting depth, number of values. Refused:
 * comments, trailing commas, NaN, a byte-order mark, trailing text, duplicate keys, invalid UTF-8,
 * lone surrogates, numbers of more than 511 bytes. Strings are counted (NUL is legal). Every value
 * of a parsed document knows its place in the source. */

enum jtype { J_NULL, J_BOOL, J_NUM, J_STR, J_ARR, J_OBJ };
enum { J_MAX_DEPTH = 128, J_MAX_VALUES = 1 << 20 };

struct jval {
    uint8_t type;    /* enum jtype */
    uint8_t is_int;  /* J_NUM: i holds it exactly (1.0 too) */
    uint8_t whole;   /* J_NUM: written without fraction and exponent */
    uint8_t boolean; /* J_BOOL */
    uint32_t n;      /* J_STR: bytes of s; J_ARR, J_OBJ: children */
    uint32_t n_key;
    uint32_t next;       /* index of the next sibling; 0 = last */
    uint32_t begin, end; /* source text of the value */
    const char *key;     /* inside an object: decoded, n_key bytes; else NULL */
    union {
        const char *s; /* decoded; of a whole number beyond 64 bits: its n bytes as written */
        int64_t i;
        uint32_t child; /* first child; 0 = none */
    };
    double d; /* J_NUM; infinite when out of range */
};

/* Values stand in source order: a child's index is above its parent's, and what lies between a
 * value and its next sibling is inside it. */
struct jdoc {
    struct jval *v; /* v[0] is the root */
    uint32_t n, cap;
    char *text; /* decoded strings; those without escapes point into the source */
    size_t n_text;
    const char *src; /* the caller's; must outlive the document. NULL: made, not parsed */
    size_t n_src;    /* made: of the document it was made from */
};

/* 0; ST_INVALID_JSON with line:column; ST_NOMEM. json_free is needed only after success. Input is
 * at most 1 GiB. */
int json_parse(struct jdoc *d, const char *s, size_t n, struct err *e);
void json_free(struct jdoc *d);

const struct jval *json_get(const struct jdoc *d, const struct jval *obj, const char *key);
const struct jval *json_child(const struct jdoc *d, const struct jval *v);
const struct jval *json_next(const struct jdoc *d, const struct jval *v);
bool json_is(const struct jval *v, const char *s); /* a string equal to s */
const char *json_type_name(const struct jval *v);  /* "a string", "an array" */

/* ---- making a document of parts of others ----
 *
 * Values are added in their order; key is the name inside an object, else {NULL, 0}. Keys and
 * strings are not copied: they, and the documents that parts come from, must outlive the new one.
 * Keys are not compared. Running out of memory is remembered and told by json_make_end. */
enum { JSON_MAKE_DEPTH = 8 };
struct json_maker {
    struct jdoc *d;
    struct {
        uint32_t at, last; /* an open container and its latest child */
    } open[JSON_MAKE_DEPTH];
    int depth;
    int st;
};
/* n_src: bytes of the source that all parts come from; copied text together is not longer. */
void json_make_begin(struct json_maker *m, struct jdoc *d, size_t n_src);
void json_make_open(struct json_maker *m, struct view key, enum jtype box); /* J_ARR or J_OBJ */
void json_make_close(struct json_maker *m);
void json_make_bool(struct json_maker *m, struct view key, bool b);
void json_make_str(struct json_maker *m, struct view key, struct view s);
/* A string of `n` bytes to be filled in by the caller; NULL when memory ran out. */
char *json_make_text(struct json_maker *m, struct view key, size_t n);
/* The value v of document `from` with all that is in it, under its own key. */
void json_make_copy(struct json_maker *m, const struct jdoc *from, const struct jval *v);
/* The same for the root of a parsed document that need not live on (its source must). */
void json_make_keep(struct json_maker *m, struct view key, const struct jdoc *from);
/* 0, or ST_NOMEM and *d is empty. */
int json_make_end(struct json_maker *m);

/* ---- writing ---- */

/* A constant string. */
void out_str(struct buf *b, const char *s);
void out_fmt(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* s as a JSON string with its quotes. What is not valid UTF-8 becomes U+FFFD. */
void out_json(struct buf *b, const char *s, size_t n);
/* The shortest decimal that reads back as the same float; -9999.0 for what is below: JSON has no
 * infinity. */
void out_logprob(struct buf *b, float v);
/* {"error":{"message","type","param","code"}}; status 0 is not allowed. No newline in it. */
void out_error(struct buf *b, const struct err *e);

#endif
