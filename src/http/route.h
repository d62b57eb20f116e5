/* SPDX-License-Identifier: Apache-2.0 */
/* route.h - targets and the table of handlers. Pure. */
#ifndef QUIRE_HTTP_ROUTE_H
#define QUIRE_HTTP_ROUTE_H

#include "handler.h"

/* The path of a target into out[strlen(uri) + 2]: decoded once, slashes folded, one trailing slash
 * gone, the query cut. False: malformed. */
bool route_path(const char *uri, char *out);
/* The first row that matches, or NULL. */
const struct handler *route_find(const struct handler *table, int n, const char *path);
/* Its methods, as the header Allow lists them. */
const char *route_allow(const struct handler *t);

#endif
