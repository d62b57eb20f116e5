/* SPDX-License-Identifier: Apache-2.0 */
/* routes.h - every path of the server. */
#ifndef QUIRE_API_ROUTES_H
#define QUIRE_API_ROUTES_H

#include "state.h"

/* Fills a->table from the built-in rows and the settings. */
void routes_open(struct api *a);

#endif
