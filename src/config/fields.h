/* SPDX-License-Identifier: Apache-2.0 */
/* fields.h - inside of config: the table of settings. */
#ifndef QUIRE_CONFIG_FIELDS_H
#define QUIRE_CONFIG_FIELDS_H

#include "config.h"

#include <stddef.h>

enum field_type { F_INT, F_SIZE, F_DURATION, F_FRACTION, F_BOOL, F_ENUM, F_STRING, F_LIST };

struct field {
    const char *path; /* "kv.pool_bytes" */
    enum field_type type;
    size_t offset;     /* in struct config */
    const char *deflt; /* its text, parsed like any other; lists: "a,b" */
    double min, max;   /* of numbers, in bytes, us or as they are */
    const char *names; /* F_ENUM: "a|b|c", place = value; F_LIST: its items' words, NULL = any;
                          numbers: "auto" if allowed; else NULL */
    const char *help;  /* one or more lines, no trailing newline */
};

enum {
    MAX_ERRORS = 20,
    LIST_MAX = 64,                                /* items of any list */
    ITEM_MAX = 256,                               /* bytes of an item */
    VALUE_MAX = LIST_MAX * (2 * ITEM_MAX + 4) + 3 /* bytes of any value's text, all escaped */
};
extern const struct field fields[];
extern const int n_fields;

/* Where a value came from, and at which position. */
struct config_origin {
    char where[192]; /* "default", "quired.yaml:3:9", "QUIRED_KV__DTYPE", "--set" */
};

/* Index of the field with that path, or -1. */
int field_find(const char *path);
/* The known path nearest to a misspelt one, or the new name of a renamed key; NULL when nothing is
 * near. */
const char *field_nearest(const char *path);

#endif
