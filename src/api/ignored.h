/* SPDX-License-Identifier: Apache-2.0 */
/* ignored.h - the names of request fields that nobody knows: in the log at debug level, and counted
 * by name for as many names as there is room for.
 */
#ifndef QUIRE_API_IGNORED_H
#define QUIRE_API_IGNORED_H

#include "buf.h"
#include "json.h"

#include <stdint.h>

enum { IGNORED_NAMES = 32, IGNORED_NAME = 40, IGNORED_IN_REQUEST = 8 };

/* Of one request: the first few names. */
struct ignored {
    int32_t n;                      /* all of them */
    char (*name)[IGNORED_NAME + 1]; /* [min(n, IGNORED_IN_REQUEST)] or NULL */
};
/* v is a member of an object. Any thread. */
void ignored_add(struct ignored *i, const struct json *v);
void ignored_free(struct ignored *i);

/* Of all requests, by name: those seen first, while there is room. Loop thread. */
struct ignored_names {
    int n_names;
    char name[IGNORED_NAMES][IGNORED_NAME + 1];
    int64_t count[IGNORED_NAMES], other;
};
/* Counts and logs. */
void ignored_count(struct ignored_names *all, const struct ignored *i, const char *request_id);
/* As metrics. */
void ignored_metrics(const struct ignored_names *all, struct buf *out);

#endif
