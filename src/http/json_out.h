/* json_out.h - appending JSON to a buf: escaped strings, numbers, the error object. */
#ifndef QUIRE_HTTP_JSON_OUT_H
#define QUIRE_HTTP_JSON_OUT_H

#include "status.h"
#include "text.h"

/* A constant string. */
void out_str(struct buf *b, const char *s);
void out_fmt(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* s as a JSON string with its quotes. What is not valid UTF-8 becomes U+FFFD. */
void out_json(struct buf *b, const char *s, size_t n);
/* The shortest decimal that reads back as the same float; -9999.0 for what is below (L-2). */
void out_logprob(struct buf *b, float v);
/* {"error":{...}} of section 2.1; status 0 is not allowed. No newline in it. */
void out_error(struct buf *b, const struct err *e);

#endif
