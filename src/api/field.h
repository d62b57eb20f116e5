/* SPDX-License-Identifier: Apache-2.0 */
/* field.h - inside of the field table: a row, who reads it, and the readers of fields_draw.c. */
#ifndef QUIRE_API_FIELD_H
#define QUIRE_API_FIELD_H

#include "genreq.h"

/* Where a field is known. What OpenAI's two generation endpoints both have, the others have too,
 * unless a row of their own says otherwise. */
enum { BOTH = 3, CHAT = 1, TEXT = 2, EMBED = 4 };

enum { MAX_OWN = 64 }; /* rows of a dialect */

struct reader {
    struct genreq *g;
    const struct json_doc *d;
    const struct config *c;
    const struct api_service *s;
    struct err *e;
    const struct tenant *who; /* NULL: none */
};

struct field {
    const char *name;
    int (*read)(struct reader *r, const struct field *f, const struct json *v); /* never null */
    size_t off;                              /* of the value in struct genreq */
    double lo, hi;                           /* of numbers; of strings: hi characters */
    double (*limit)(const struct config *c); /* instead of hi: what the settings allow */
    double only;                             /* read_only: the one value that is built */
    const char *reader; /* the name of `read`: openapi_fields.c knows by it what the row takes */
    uint8_t where;      /* CHAT, TEXT, BOTH or EMBED */
    bool required;
};

#define ROW(n, w, r, ...)                                                                          \
    {                                                                                              \
        .name = n, .where = w, .read = r, .reader = #r, __VA_ARGS__                                \
    }

/* The rows of a dialect: its own, then common ones, then those of other servers. NULL: not of this
 * dialect. The first row of a name counts. */
int field_rows(const struct dialect *l);
const struct field *field_row(const struct dialect *l, int i);

int refuse(struct err *e, const char *param);
int read_int(struct reader *r, const struct field *f, const struct json *v);
int read_bool(struct reader *r, const struct field *f, const struct json *v);
/* Used elsewhere, or without effect. Of a string: up to hi characters. */
int any_bool(struct reader *r, const struct field *f, const struct json *v);
int any_string(struct reader *r, const struct field *f, const struct json *v);
int any_array(struct reader *r, const struct field *f, const struct json *v);
int any_object(struct reader *r, const struct field *f, const struct json *v);
/* A string, or an array of strings. */
int read_stop(struct reader *r, const struct field *f, const struct json *v);
int read_effort(struct reader *r, const struct field *f, const struct json *v);
int read_priority(struct reader *r, const struct field *f, const struct json *v);
int read_salt(struct reader *r, const struct field *f, const struct json *v);
int read_request_id(struct reader *r, const struct field *f, const struct json *v);
/* A number of which one value is built; outside of its bounds it is a range error all the same. */
int read_only(struct reader *r, const struct field *f, const struct json *v);
int only_false(struct reader *r, const struct field *f, const struct json *v);
/* Known, but not built. */
int not_built(struct reader *r, const struct field *f, const struct json *v);
int no_effect(struct reader *r, const struct field *f, const struct json *v);
/* -1: as many as fit. */
int read_max_tokens(struct reader *r, const struct field *f, const struct json *v);

/* {"TOKEN": bias, ...} */
int read_logit_bias(struct reader *r, const struct field *f, const struct json *v);
/* [token, ...]: nothing else is drawn. */
int read_allowed_ids(struct reader *r, const struct field *f, const struct json *v);
/* -1, or 1 to max_model_len. */
int read_truncate(struct reader *r, const struct field *f, const struct json *v);

#endif
