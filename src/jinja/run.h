/* SPDX-License-Identifier: Apache-2.0 */
/* run.h - the state of one rendering: memory, work, failing. Private to jinja/.
 *
 * Everything a rendering makes lives in its arena and goes with it. A failure leaves through jfail,
 * which jumps to jinja_render: nothing but the arena is held in between.
 */
#ifndef QUIRE_JINJA_RUN_H
#define QUIRE_JINJA_RUN_H

#include "jinja.h"
#include "val.h"

#include <setjmp.h>

struct jrun {
    jmp_buf jump;
    struct arena mem;
    const struct jinja *t;
    uint32_t at; /* offset in the source, for messages */
    struct jv *top;
    struct jscope *scope; /* NULL = the template's top level */
    struct jsb *out;
    uint64_t steps; /* left */
    uint32_t depth;
    uint32_t loop_depth;
    int64_t now;
    struct err *e;
};

enum { JINJA_MAX_DEPTH = 1500, JINJA_MAX_NEST = 200, JINJA_MAX_RANGE = 100000 };

_Noreturn void jfail(struct jrun *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The template's own refusal: its text alone. */
_Noreturn void jfail_raise(struct jrun *r, struct jv msg);
_Noreturn void jfail_undef(struct jrun *r, struct jv u);
void *jalloc(struct jrun *r, size_t n); /* zeroed */
void *jalloc2(struct jrun *r, size_t n, size_t size);
void jcharge(struct jrun *r, uint64_t n); /* n units of work */
void jenter(struct jrun *r);              /* one level deeper; leave with r->depth-- */

#endif
