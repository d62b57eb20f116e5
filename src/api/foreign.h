/* SPDX-License-Identifier: Apache-2.0 */
/* foreign.h - fields that other servers know. */
#ifndef QUIRE_API_FOREIGN_H
#define QUIRE_API_FOREIGN_H

#include "field.h"

enum { MAX_FOREIGN = 128 };
extern const struct field foreign_fields[];
extern const int n_foreign;

#endif
