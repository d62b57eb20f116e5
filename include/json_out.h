/* SPDX-License-Identifier: Apache-2.0 */
/* json_out.h - writing JSON text. Pure; any thread. */
#ifndef QUIRE_JSON_OUT_H
#define QUIRE_JSON_OUT_H

#include "buf.h"

#include <stddef.h>

/* A constant string. */
void out_str(struct buf *b, const char *s);
void out_fmt(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* s as a JSON string with its quotes. What is not valid UTF-8 becomes U+FFFD. */
void out_json(struct buf *b, const char *s, size_t n);

#endif
