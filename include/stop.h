/* SPDX-License-Identifier: Apache-2.0 */
/* stop.h - stop strings: a compiled set, and one matcher per stream. Pure; one thread per matcher.
 */
#ifndef QUIRE_STOP_H
#define QUIRE_STOP_H

#include "buf.h"
#include "status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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
/* Feed new text; appends what may be shown to *out. Returns the index of the stop string that ends
 * first in the text, of several that end together the longest (then *out ends before it; with
 * include, after it), or -1. */
int stopper_push(struct stopper *m, const char *s, size_t n, bool include, struct buf *out);
/* The same while no stop string counts yet: one that ends in this text is passed over, one that
 * begins in it may still be finished by a later push. */
void stopper_pass(struct stopper *m, const char *s, size_t n, struct buf *out);
void stopper_flush(struct stopper *m, struct buf *out);

#endif
