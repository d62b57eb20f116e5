/* SPDX-License-Identifier: Apache-2.0 */
/* reply.h - answers to a request (handler.h). Loop thread. One answer each: a second one, and one
 * that nobody would read, is ignored.
 */
#ifndef QUIRE_REPLY_H
#define QUIRE_REPLY_H

#include "handler.h"

/* The whole answer; body is copied. */
void reply(struct req *r, int status, const char *ctype, const char *body, size_t n);
/* The status' HTTP code and its error object; e->st is a request status. */
void reply_error(struct req *r, const struct err *e);
void reply_fail(struct req *r, int st, const char *text);
/* Status 200 and the head of an event stream now; the events are taken from r->out, whole ones as
 * long as one fits, until r->ended. */
void reply_events(struct req *r);
/* r->out grew or r->ended was set: wake the connection. */
void reply_more(struct req *r);

#endif
