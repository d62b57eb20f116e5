/* SPDX-License-Identifier: Apache-2.0 */
/* field.h - inside of the field table: a row, who reads it, and the readers of fields_draw.c. */
#ifndef QUIRE_API_FIELD_H
#define QUIRE_API_FIELD_H

#include "genreq.h"

enum { BOTH = 3, CHAT = 1, TEXT = 2 }; /* where a field is known */

struct reader {
    struct genreq *g;
    const struct json_doc *d;
    const struct config *c;
    const struct api_service *s;
    struct err *e;
};

/* Every reader of a row, by its function's name: /openapi.json says of each what it takes
 * (openapi_fields.c), and a row with another one does not compile. */
#define READER_LIST(X)                                                                             \
    X(read_int)                                                                                    \
    X(read_num)                                                                                    \
    X(read_only)                                                                                   \
    X(read_bool)                                                                                   \
    X(only_false)                                                                                  \
    X(only_true)                                                                                   \
    X(any_bool)                                                                                    \
    X(any_string)                                                                                  \
    X(any_array)                                                                                   \
    X(any_object)                                                                                  \
    X(empty_string)                                                                                \
    X(not_built)                                                                                   \
    X(no_effect)                                                                                   \
    X(only_none)                                                                                   \
    X(read_prompt)                                                                                 \
    X(read_max_tokens)                                                                             \
    X(read_stop)                                                                                   \
    X(read_stop_ids)                                                                               \
    X(read_stream_options)                                                                         \
    X(read_salt)                                                                                   \
    X(read_priority)                                                                               \
    X(read_request_id)                                                                             \
    X(read_response_format)                                                                        \
    X(read_modalities)                                                                             \
    X(read_tool_choice)                                                                            \
    X(read_tools)                                                                                  \
    X(read_effort)                                                                                 \
    X(read_logit_bias)                                                                             \
    X(read_allowed_ids)                                                                            \
    X(read_truncate)                                                                               \
    X(read_repeat_penalty)                                                                         \
    X(read_n_predict)                                                                              \
    X(read_repeat_last_n)
#define X(r) KIND_##r,
enum field_kind { READER_LIST(X) N_KINDS };
#undef X

struct field {
    const char *name;
    int (*read)(struct reader *r, const struct field *f, const struct json *v); /* never null */
    size_t off;                              /* of the value in struct genreq */
    double lo, hi;                           /* of numbers; of strings: hi characters */
    double (*limit)(const struct config *c); /* instead of hi: what the settings allow */
    double only;                             /* read_only: the one value that is built */
    uint8_t where;                           /* CHAT, TEXT or BOTH */
    uint8_t kind;                            /* enum field_kind: `read` by its name */
    bool required;
};

#define ROW(n, w, r, ...)                                                                          \
    {                                                                                              \
        .name = n, .where = w, .read = r, .kind = KIND_##r, __VA_ARGS__                                              \
    }

/* Row i of all fields, ours first; NULL = there are no more. A name may have a row for each place.
 */
const struct field *field_row(int i);

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
