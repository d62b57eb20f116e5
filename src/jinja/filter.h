/* SPDX-License-Identifier: Apache-2.0 */
/* filter.h - the tables of filters and tests. Private to jinja/.
 */
#ifndef QUIRE_JINJA_FILTER_H
#define QUIRE_JINJA_FILTER_H

#include "run.h"

struct jfilter {
    const char *name;
    struct jv (*fn)(struct jrun *r, struct jv self, struct jcall *c);
};
struct jtest {
    const char *name;
    bool (*fn)(struct jrun *r, struct jv self, struct jcall *c);
    int n_args; /* besides the value */
};
extern const struct jfilter jfilters_seq[]; /* filter_seq.c's; ends with a NULL name */
/* NULL when there is none. */
const struct jfilter *jfilter_find(const char *p, size_t n);
const struct jtest *jtest_find(const char *p, size_t n);

#endif
