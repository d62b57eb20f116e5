/* SPDX-License-Identifier: Apache-2.0 */
/* head.h - is this the head of one well-formed request? A pure function of bytes.
 *
 * microhttpd 0.9.75 lets pass what makes two parties disagree about where a request ends (two
 * lengths, length and chunked, folded lines, bare LF, NUL) and answers garbage with silence. So
 * every head is judged here before microhttpd gets a byte of it (intake.c).
 */
#ifndef QUIRE_HTTP_HEAD_H
#define QUIRE_HTTP_HEAD_H

#include "framing.h"

#include <stdint.h>

enum { HEAD_MORE = 1, METHOD_MAX = 32 };

/* What an answer written by hand must know of the head it refuses, and where a good one's request
 * ends. */
struct head_seen {
    bool is_head;    /* HEAD: the answer has no body */
    char id[132];    /* X-Request-Id when one was read and may be echoed; else "" */
    bool chunked;    /* the body says itself where it ends */
    uint64_t length; /* of the body, else */
    size_t n;        /* bytes of a complete head */
    bool blanks;     /* some value has blanks behind it */
};

/* Looks at what has arrived so far. 0 = complete and good; HEAD_MORE = good so far; a request
 * status with *e filled = refuse and close. Linear in n. */
int head_check(const char *s, size_t n, size_t max_header_bytes, struct head_seen *seen,
               struct err *e);
/* Moves the blanks behind values of a good head of n bytes in front of them, where they mean as
 * little: microhttpd takes those behind for a part of the value. */
void head_tidy(char *s, size_t n);

#endif
