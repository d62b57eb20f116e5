/* SPDX-License-Identifier: Apache-2.0 */
/* route.h - targets and the table of handlers. Pure. */
#ifndef QUIRE_HTTP_ROUTE_H
#define QUIRE_HTTP_ROUTE_H

#include "handler.h"

/* Every % begins a byte, and none is a zero. */
bool route_good(const char *uri);
/* The first row that a target names, or NULL. */
const struct handler *route_find(const struct handler *table, int n, const char *uri);
/* What follows the row's path, decoded, into out[strlen(uri) + 1]; the query is cut. For a good
 * one. */
void route_tail(const char *uri, const struct handler *t, char *out);
/* Its methods, as the header Allow lists them. */
const char *route_allow(const struct handler *t);

#endif
