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
/* The path of the table that a target most likely meant; NULL when none is near. Its work is
 * bounded whatever the target. */
const char *route_nearest(const struct handler *table, int n, const char *uri);
/* The path of a target as a message and a log line may show it: cut, and anything but plain
 * characters of a path as %XX. */
enum { ROUTE_SHOWN = 80 };
void route_show(const char *uri, char out[ROUTE_SHOWN]);
/* Its methods, as the header Allow lists them. */
const char *route_allow(const struct handler *t);

#endif
