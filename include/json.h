/* json_in.h - a strict JSON document: parsed once, read only, without recursion.
 *
 * Bounded: nesting depth, number of values. Refused: comments, trailing commas, NaN, a byte-order
 * mark, trailing text, duplicate keys, invalid UTF-8, lone surrogates. Strings are counted (NUL is
 * legal). Every value knows its source text, so a part of a document is copied, not printed.
 */
#ifndef QUIRE_HTTP_JSON_IN_H
#define QUIRE_HTTP_JSON_IN_H

#include "status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum jtype { J_NULL, J_BOOL, J_NUM, J_STR, J_ARR, J_OBJ };
enum { J_MAX_DEPTH = 128, J_MAX_VALUES = 1 << 20 };

struct jval {
    uint8_t type;    /* enum jtype */
    uint8_t is_int;  /* J_NUM: i holds it exactly */
    uint8_t boolean; /* J_BOOL */
    uint32_t n;      /* J_STR: bytes of s; J_ARR, J_OBJ: children */
    uint32_t n_key;
    uint32_t next;       /* index of the next sibling; 0 = last */
    uint32_t begin, end; /* source text of the value */
    const char *key;     /* inside an object: decoded, n_key bytes; else NULL */
    union {
        const char *s; /* decoded */
        int64_t i;
        uint32_t child; /* first child; 0 = none */
    };
    double d; /* J_NUM; infinite when out of range */
};

struct jdoc {
    struct jval *v; /* v[0] is the root */
    uint32_t n, cap;
    char *text; /* decoded strings */
    size_t n_text;
    const char *src; /* the caller's; must outlive the document */
    size_t n_src;
};

/* 0; ST_INVALID_JSON with line:column; ST_NOMEM. json_free is needed only after success. Input is
 * at most 1 GiB. */
int json_parse(struct jdoc *d, const char *s, size_t n, struct err *e);
void json_free(struct jdoc *d);

const struct jval *json_get(const struct jdoc *d, const struct jval *obj, const char *key);
const struct jval *json_child(const struct jdoc *d, const struct jval *v);
const struct jval *json_next(const struct jdoc *d, const struct jval *v);
bool json_is(const struct jval *v, const char *s); /* a string equal to s */
const char *json_type_name(const struct jval *v);  /* "a string", "an array of 3 items" kind */
/* Length of the valid UTF-8 prefix of s; n when all of it is valid. */
size_t json_utf8_valid(const char *s, size_t n);

#endif
