/* SPDX-License-Identifier: Apache-2.0 */
/* openapi_parts.h - inside of the description: what each handler takes and answers, and the shapes
 * that are no table elsewhere. Data.
 */
#ifndef QUIRE_API_OPENAPI_PARTS_H
#define QUIRE_API_OPENAPI_PARTS_H

#include <stdbool.h>

/* One handler, by the name of its rows in routes.c. A row without an entry here is described too,
 * but in general terms. */
struct openapi_op {
    const char *name, *summary;
    const char *request; /* the shape of its body; NULL = any object */
    const char *answer;  /* the shape of its 200; NULL = a text */
    const char *type;    /* of the answer's media; NULL = JSON */
    const char *events;  /* the shape of an event of its stream; NULL = it has none */
    const char *error;   /* the shape of its errors; NULL = Error */
    const char *query;   /* its parameter, of which "1" means something; NULL = none */
    bool may_lack;       /* 404 although the path is right */
};
extern const struct openapi_op openapi_ops[];
extern const int n_openapi_ops;

/* A request that is made of the field table. */
struct dialect;
extern const struct openapi_request {
    const char *name;
    const struct dialect *dialect;
} openapi_requests[];
extern const int n_openapi_requests;

/* Another shape: JSON with ' for ". */
struct openapi_shape {
    const char *name, *text;
};
extern const struct openapi_shape openapi_shapes[];
extern const int n_openapi_shapes;

#endif
