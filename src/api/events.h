/* SPDX-License-Identifier: Apache-2.0 */
/* events.h - the text of answers and events, for each kind of endpoint. Loop thread. */
#ifndef QUIRE_API_EVENTS_H
#define QUIRE_API_EVENTS_H

#include "stream.h"

/* How an endpoint writes its answers. Events go to s->r->out. */
struct shape {
    const char *id;                   /* what the answer's id begins with */
    void (*prefix)(struct stream *s); /* s->pre: once, before the others */
    void (*token)(struct stream *s, struct choice *c, const struct buf *text, bool last);
    void (*error)(struct stream *s, const struct err *e); /* instead of what would come */
    void (*done)(struct stream *s);                       /* behind the last token */
    size_t (*bytes)(const struct stream *s);              /* what `answer` writes, at most */
    void (*answer)(struct stream *s, struct buf *out);    /* not streamed */
};
extern const struct shape shape_text, shape_chat; /* events.c */
extern const struct shape shape_messages;         /* messages_events.c */
extern const struct shape shape_responses;        /* responses_events.c */

/* An error before an answer, in the shape of the messages endpoint (handler.h). */
void messages_error(struct buf *out, const struct req *r, const struct err *e);

/* ---- events.c: what OpenAI's shape says of each token besides ---- */

void token_id_add(struct choice *c, token_id id);

#endif
