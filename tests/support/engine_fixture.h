/* SPDX-License-Identifier: Apache-2.0 */
/* engine_fixture.h - the settings and facts an engine is made of, for tests and benchmarks. */
#ifndef QUIRE_TEST_ENGINE_FIXTURE_H
#define QUIRE_TEST_ENGINE_FIXTURE_H

#include "engine.h"

#include <stdio.h>
#include <stdlib.h>

/* Members are plain values: assign what a test cares for, copy at will, nothing to free. */
struct engine_fixture {
    struct config c;       /* the sections that an engine reads; strings are NULL */
    struct engine_facts f; /* 256 pages, as many tokens a sequence as they hold, 1,000 ids */
};

/* The built-in defaults of the settings, but no bound on the decode gap, 256 seqs and a queue of
 * 512; two steps in flight, an audit every turn. */
struct engine_fixture engine_fixture(void);
/* engine_new, or the end of the test with the reason. */
static inline struct engine *engine_fixture_new(const struct engine_fixture *x,
                                                const struct executor *ex, struct mbox *outbox)
{
    struct engine *en;
    struct err e = {0};
    if (engine_new(&en, &x->c, &x->f, ex, outbox, &e) != 0) {
        fprintf(stderr, "engine_new: %s\n", e.msg);
        abort();
    }
    return en;
}

#endif
