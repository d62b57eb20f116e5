/* SPDX-License-Identifier: Apache-2.0 */
/* value.h - inside of config: one value between its text and its place in struct config. */
#ifndef QUIRE_CONFIG_VALUE_H
#define QUIRE_CONFIG_VALUE_H

#include "fields.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Set one value of what begins at base (struct config, but for the rows of tenants.c) from its
 * text; a list from "a,b". What is wrong goes to why[n]; false then, and the old value stays. */
bool field_parse(void *base, const struct field *f, const char *text, char *why, size_t n);
/* Set a list from items. */
bool field_set_list(void *base, const struct field *f, const char *const *v, int32_t n, char *why,
                    size_t n_why);
/* The value's text as the file would have it (quoted where YAML needs it); n = VALUE_MAX always
 * suffices. */
void field_text(const struct config *c, const struct field *f, char *out, size_t n);

#endif
