/* SPDX-License-Identifier: Apache-2.0 */
/* chunks.h - where does a chunked body end, and is it one? RFC 9112, section 7.1, byte by byte and
 * nothing beside it: CR LF only, sizes of hexadecimal digits only, extensions and trailers by their
 * grammar and bounded. Pure; the state is restartable at every byte.
 */
#ifndef QUIRE_HTTP_CHUNKS_H
#define QUIRE_HTTP_CHUNKS_H

#include "status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CHUNKS_MORE = 1, CHUNK_LINE_MAX = 4096 };

struct chunks {
    int state, digits;
    uint64_t left;     /* of the chunk in hand; while its line is read: its size */
    uint64_t payload;  /* the sizes of all chunks so far */
    uint64_t overhead; /* bytes that are not payload */
    size_t line;       /* bytes of the line in hand */
};

void chunks_begin(struct chunks *c);
/* Reads s[0, n) and stops behind the body's last byte; *used is what it read. 0 = the body is
 * complete; CHUNKS_MORE = good so far, and all of s was read; a request status with *e filled: the
 * byte at *used is wrong, or the body grows above max_body bytes (payload, or all the rest). */
int chunks_read(struct chunks *c, const char *s, size_t n, uint64_t max_body, size_t *used,
                struct err *e);

#endif
