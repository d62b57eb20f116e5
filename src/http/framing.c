/* SPDX-License-Identifier: Apache-2.0 */
/* framing.c - the rules of RFC 9112 that two parties must agree on, in one table. See framing.h. */
#include "framing.h"

#include <string.h>
#include <strings.h>

bool framing_token_char(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is(const char *s, size_t n, const char *word)
{
    return n == strlen(word) && strncasecmp(s, word, n) == 0;
}

void framing_field(struct head_facts *f, const char *name, size_t n_name, const char *v, size_t n)
{
    if (is(name, n_name, "content-length")) {
        f->n_length++;
        f->bad_length |= n == 0;
        for (size_t i = 0; i < n; i++)
            f->bad_length |= v[i] < '0' || v[i] > '9';
    } else if (is(name, n_name, "transfer-encoding")) {
        f->n_encoding++;
        f->bad_encoding |= !is(v, n, "chunked") || f->version == VERSION_10;
    } else if (is(name, n_name, "host")) {
        f->n_host++;
    }
}

int framing_check(const struct head_facts *f, size_t max_header_bytes, struct err *e)
{
    if (f->version == VERSION_OTHER)
        return err_set(e, ST_HTTP_VERSION, "Only HTTP/1.0 and HTTP/1.1 are supported.");
    if (f->n_target > URI_MAX)
        return err_set(e, ST_URI_TOO_LONG, "The request target is longer than %d bytes.", URI_MAX);
    if (f->n_bytes > max_header_bytes || f->n_fields > HEADER_FIELDS_MAX)
        return err_set(e, ST_HEADERS_TOO_LARGE, "The header is above %zu bytes or %d fields.",
                       max_header_bytes, HEADER_FIELDS_MAX);
    const struct {
        bool broken;
        const char *text;
    } rules[] = {
        {f->bad_field, "A header field is malformed."},
        /* two lengths, or a length beside chunked: each party would pick its own */
        {f->n_length + f->n_encoding > 1, "The length of the body is given more than once."},
        {f->complete && (f->n_host > 1 || (f->n_host < 1 && f->version != VERSION_10)),
         "Exactly one Host header is required."},
        {f->bad_encoding, "The only transfer coding is chunked, in HTTP/1.1."},
        {f->bad_length, "Content-Length is not a number."},
    };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (rules[i].broken)
            return err_set(e, ST_BAD_REQUEST, "%s", rules[i].text);
    return 0;
}
