/* SPDX-License-Identifier: Apache-2.0 */
/* json.h - JSON documents: a strict reader.
 *
 * For what comes from clients and goes to templates. Documents made of parts of others are in
 * json_make.h, the writer in json_out.h; the large files of a model folder are read by json_file.h.
 * Pure; a document may be read by any thread.
 *
 * A document is parsed once, read only, without recursion. Bounded: nesting depth, number of
 * values. Refused: comments, trailing commas, NaN, a byte-order mark, trailing text, duplicate
 * keys, invalid UTF-8, lone surrogates, numbers of more than 511 bytes. Strings are counted (NUL is
 * legal). Every value of a parsed document knows its place in the source.
 */
#ifndef QUIRE_JSON_H
#define QUIRE_JSON_H

#include "status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUM, JSON_STR, JSON_ARR, JSON_OBJ };
enum { JSON_MAX_DEPTH = 128, JSON_MAX_VALUES = 1 << 20 };

struct json {
    uint8_t type;    /* enum json_type */
    uint8_t is_int;  /* JSON_NUM: i holds it exactly (1.0 too) */
    uint8_t whole;   /* JSON_NUM: written without fraction and exponent */
    uint8_t boolean; /* JSON_BOOL */
    uint32_t n;      /* JSON_STR: bytes of s; JSON_ARR, JSON_OBJ: children */
    uint32_t n_key;
    uint32_t next;       /* index of the next sibling; 0 = last */
    uint32_t begin, end; /* source text of the value */
    const char *key;     /* inside an object: decoded, n_key bytes; else NULL */
    union {
        const char *s; /* decoded; of a whole number beyond 64 bits: its n bytes as written */
        int64_t i;
        uint32_t child; /* first child; 0 = none */
    };
    double d; /* JSON_NUM; infinite when out of range */
};

/* Values stand in source order: a child's index is above its parent's, and what lies between a
 * value and its next sibling is inside it. */
struct json_doc {
    struct json *v; /* v[0] is the root */
    uint32_t n, cap;
    char *text; /* decoded strings; those without escapes point into the source */
    size_t n_text;
    const char *src; /* the caller's; must outlive the document. NULL: made, not parsed */
    size_t n_src;    /* made: of the document it was made from */
};

/* 0; ST_INVALID_JSON with line:column; ST_NOMEM. json_free is needed only after success. Input is
 * at most 1 GiB. */
int json_parse(struct json_doc *d, const char *s, size_t n, struct err *e);
void json_free(struct json_doc *d);

const struct json *json_get(const struct json_doc *d, const struct json *obj, const char *key);
const struct json *json_child(const struct json_doc *d, const struct json *v);
const struct json *json_next(const struct json_doc *d, const struct json *v);
bool json_is(const struct json *v, const char *s); /* a string equal to s */
const char *json_type_name(const struct json *v);  /* "a string", "an array" */

#endif
