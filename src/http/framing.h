/* SPDX-License-Identifier: Apache-2.0 */
/* framing.h - where does a request end, and is it one? The rules that head.c holds a head to, and
 * the characters that chunks.c shares with it. Pure.
 */
#ifndef QUIRE_HTTP_FRAMING_H
#define QUIRE_HTTP_FRAMING_H

#include "status.h"

#include <stdbool.h>
#include <stddef.h>

enum { URI_MAX = 8192, HEADER_FIELDS_MAX = 100 };
enum { VERSION_UNKNOWN, VERSION_10, VERSION_11, VERSION_OTHER };

/* What has been read of a head so far. {0} is nothing yet. */
struct head_facts {
    int version;                   /* VERSION_* */
    size_t n_target;               /* bytes of the target; above URI_MAX is enough to know */
    size_t n_bytes;                /* of the fields */
    int n_fields;                  /* complete ones */
    int n_length, n_encoding;      /* Content-Length, Transfer-Encoding */
    int n_host;                    /* Host */
    bool bad_field;                /* a name or a value that is none */
    bool bad_length, bad_encoding; /* not a number; not chunked, or not in HTTP/1.1 */
    bool complete;                 /* all of the head was read */
};

/* The token of RFC 9110: a method, a field's name. */
bool framing_token_char(unsigned char c);
/* A field of a well-formed line, if it is one that framing depends on. */
void framing_field(struct head_facts *f, const char *name, size_t n_name, const char *v, size_t n);
/* The first rule that *f breaks: 0, or its status with *e filled. A head that breaks one is
 * answered and its connection closed: what follows cannot be trusted to be a request. */
int framing_check(const struct head_facts *f, size_t max_header_bytes, struct err *e);

#endif
