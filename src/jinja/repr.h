/* SPDX-License-Identifier: Apache-2.0 */
/* repr.h - values as text (str, repr, JSON) and documents as values. Private to jinja/.
 */
#ifndef QUIRE_JINJA_REPR_H
#define QUIRE_JINJA_REPR_H

#include "json.h"
#include "str.h"

/* str(v), repr(v), JSON. */
struct jv jstr_of(struct jrun *r, struct jv v);
void jput_str(struct jsb *b, struct jv v);
void jput_repr(struct jsb *b, struct jv v, unsigned depth);
void jput_float(struct jsb *b, double f);
struct jjson {
    int indent; /* < 0: one line */
    const struct jstr *indent_text, *item_sep, *key_sep;
    bool ascii, sort;
};
void jput_json(struct jsb *b, struct jv v, const struct jjson *o, unsigned depth);

/* A value of a JSON document with all that is in it; strings are the caller's. The document must
 * outlive the run. */
struct jv jv_of_json(struct jrun *r, const struct json_doc *d, const struct json *root);

#endif
