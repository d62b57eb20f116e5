/* SPDX-License-Identifier: Apache-2.0 */
/* jinja.h - the template language of chat templates: compile once, render many times. A leaf:
 * needs base only.
 *
 * A struct jinja is immutable after jinja_compile and may be rendered by any thread at once. The
 * language is Jinja 3.1 as the transformers library sets it up: trim_blocks, lstrip_blocks, the
 * immutable sandbox, loop controls, a `generation` block, raise_exception, strftime_now (UTC) and a
 * tojson that does not escape HTML. Other templates cannot be reached (include, import, extends are
 * refused by name).
 *
 * Values follow Python (str, repr, arithmetic, slices, truth). Bytes that came from the JSON input
 * are followed through string operations, so a rendering knows which output was the caller's.
 */
#ifndef QUIRE_JINJA_H
#define QUIRE_JINJA_H

#include "buf.h"
#include "json.h"
#include "mem.h"
#include "status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct jinja;

enum { JINJA_MAX_SOURCE = 4 << 20 };

/* ST_TEMPLATE with line:column on a syntax error. */
int jinja_compile(struct jinja **out, const char *src, size_t n, struct err *e);
void jinja_free(struct jinja *j);
/* Does an identifier, attribute or string constant of the template equal s? */
bool jinja_mentions(const struct jinja *j, const char *s);

/* A variable beside the document's own: a string of the template's side, or none when text.p is
 * NULL. A key of the same name in the document wins. */
struct jinja_var {
    const char *name;
    struct view text;
};
struct jinja_input {
    const struct json_doc *doc; /* its root is an object of variables; outlives the rendering */
    const struct jinja_var *vars;
    int n_vars;
    int64_t now_unix_s; /* what strftime_now sees, in UTC */
    size_t max_out, max_mem;
    uint64_t max_steps;
};
int jinja_render(const struct jinja *j, const struct jinja_input *in, struct buf *out,
                 struct spans *spans, struct err *e);

#endif
