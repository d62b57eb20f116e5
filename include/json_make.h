/* SPDX-License-Identifier: Apache-2.0 */
/* json_make.h - making a document (json.h) of parts of others.
 *
 * Values are added in their order; key is the name inside an object, else {NULL, 0}. Keys and
 * strings are not copied: they, and the documents that parts come from, must outlive the new one.
 * Keys are not compared. Running out of memory is remembered and told by json_make_end. Pure; one
 * thread per maker.
 */
#ifndef QUIRE_JSON_MAKE_H
#define QUIRE_JSON_MAKE_H

#include "buf.h"
#include "json.h"

enum { JSON_MAKE_DEPTH = 8 };
struct json_maker {
    struct json_doc *d;
    struct {
        uint32_t at, last; /* an open container and its latest child */
    } open[JSON_MAKE_DEPTH];
    int depth;
    int st;
};
/* n_src: bytes of the source that all parts come from; copied text together is not longer. */
void json_make_begin(struct json_maker *m, struct json_doc *d, size_t n_src);
void json_make_open(struct json_maker *m, struct view key,
                    enum json_type box); /* JSON_ARR or JSON_OBJ */
void json_make_close(struct json_maker *m);
void json_make_bool(struct json_maker *m, struct view key, bool b);
void json_make_str(struct json_maker *m, struct view key, struct view s);
/* A string of `n` bytes to be filled in by the caller; NULL when memory ran out. */
char *json_make_text(struct json_maker *m, struct view key, size_t n);
/* The value v of document `from` with all that is in it, under its own key. */
void json_make_copy(struct json_maker *m, const struct json_doc *from, const struct json *v);
/* The same for the root of a parsed document that need not live on (its source must). */
void json_make_keep(struct json_maker *m, struct view key, const struct json_doc *from);
/* 0, or ST_NOMEM and *d is empty. */
int json_make_end(struct json_maker *m);

#endif
