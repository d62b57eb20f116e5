/* SPDX-License-Identifier: Apache-2.0 */
/* field.h - inside of the field table: a row, who reads it, and the readers of fields_draw.c. */
#ifndef QUIRE_API_FIELD_H
#define QUIRE_API_FIELD_H

#include "genreq.h"

struct reader {
    struct genreq *g;
    const struct json_doc *d;
    const struct config *c;
    const struct api_service *s;
    struct err *e;
};

struct field {
    const char *name;
    int (*read)(struct reader *r, const struct field *f, const struct json *v); /* never null */
    size_t off;                              /* of the value in struct genreq */
    double lo, hi;                           /* of numbers; of strings: hi characters */
    double (*limit)(const struct config *c); /* instead of hi: what the settings allow */
    double only;                             /* read_only: the one value that is built */
    uint8_t where;                           /* CHAT, TEXT or BOTH */
    bool required;
};

/* {"TOKEN": bias, ...} */
int read_logit_bias(struct reader *r, const struct field *f, const struct json *v);
/* [token, ...]: nothing else is drawn. */
int read_allowed_ids(struct reader *r, const struct field *f, const struct json *v);
/* -1, or 1 to max_model_len. */
int read_truncate(struct reader *r, const struct field *f, const struct json *v);

#endif
