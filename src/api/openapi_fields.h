/* SPDX-License-Identifier: Apache-2.0 */
/* openapi_fields.h - the field table as a JSON schema. Pure; any thread. */
#ifndef QUIRE_API_OPENAPI_FIELDS_H
#define QUIRE_API_OPENAPI_FIELDS_H

#include "genreq.h"

/* Appends formatted JSON in which ' stands for ": schemas stay readable in the code. No value may
 * have either quote in it; use out_json for texts of others. */
void out_spec(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The object that a request of a dialect is. u->s NULL: no model is loaded yet, and bounds that
 * come from it are left out. */
void out_request_schema(struct buf *b, const struct dialect *l, const struct gen_rules *u);
struct field;
/* Is there a schema for what the row takes? Else it is described as anything. */
bool openapi_knows(const struct field *f);

#endif
