/* request.h - private to server_mhd.c and request.c: a head as microhttpd parsed it. */
#ifndef QUIRE_HTTP_REQUEST_H
#define QUIRE_HTTP_REQUEST_H

#include "state.h"

struct head {
    size_t n_fields, n_bytes;
    int n_length, n_encoding, n_host;
    bool bad_name, bad_value;
    const char *length, *encoding, *type, *coding, *expect, *auth, *api_key, *rid, *acrh;
};

/* One header field of the request; v may be NULL. */
void request_field(struct req *r, struct head *hd, const char *k, size_t nk, const char *v,
                   size_t nv);
/* The id to answer with: the client's, or a new one. */
void request_id(struct req *r, const char *given);
/* All checks that need no body, in the contract's order. 0 or a status; sets route, allow, close.
 */
int request_check(struct req *r, const struct head *hd, const char *version, struct err *e);

#endif
