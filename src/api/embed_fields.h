/* SPDX-License-Identifier: Apache-2.0 */
/* embed_fields.h - the fields of an embeddings request. */
#ifndef QUIRE_API_EMBED_FIELDS_H
#define QUIRE_API_EMBED_FIELDS_H

#include "field.h"

enum { MAX_EMBED_FIELDS = 32 };
extern const struct field embed_fields[];
extern const int n_embed_fields;

#endif
