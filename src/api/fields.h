/* SPDX-License-Identifier: Apache-2.0 */
/* fields.h - the fields of the two generation endpoints and of embeddings. Pure; any thread. */
#ifndef QUIRE_API_FIELDS_H
#define QUIRE_API_FIELDS_H

#include "genreq.h"

/* Types, ranges, combinations, model; not the prompts. 0 or a request status. */
int fields_read(struct genreq *g, const struct json_doc *d, const struct gen_rules *u,
                struct err *e);
/* `model` against the served names; v may be NULL (default). name: char[256]. */
int model_check(const struct json *v, const struct gen_rules *u, char *name, struct err *e);
bool model_is_served(const struct str_list *names, const char *s, size_t n);

#endif
