/* SPDX-License-Identifier: Apache-2.0 */
/* request.h - what a head that microhttpd parsed asks for. */
#ifndef QUIRE_HTTP_REQUEST_H
#define QUIRE_HTTP_REQUEST_H

#include "state.h"

/* The fields that matter, valid for as long as the head is; NULL = not there. */
struct head_fields {
    int64_t body_bytes; /* as Content-Length says; 0 without one */
    bool coded;         /* Transfer-Encoding is there: the body is chunked */
    const char *length, *type, *coding, *expect, *auth, *api_key, *id;
};

/* One header field of the request; v may be NULL. */
void request_field(struct exchange *x, struct head_fields *hd, const char *k, const char *v);
/* The id to answer with: the client's, or a new one. */
void request_id(struct exchange *x, const char *given);
/* All checks that need no body, in the one order that every path shares. 0 or a status; sets the
 * handler, allow and close. `version` is the request line's. */
int request_check(struct exchange *x, struct head_fields *hd, const char *version, struct err *e);

#endif
