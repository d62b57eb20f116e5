/* SPDX-License-Identifier: Apache-2.0 */
/* events.h - the text of answers and events. Loop thread. */
#ifndef QUIRE_API_EVENTS_H
#define QUIRE_API_EVENTS_H

#include "stream.h"

void event_prefix(struct stream *s); /* once, before the others */
void event_token(struct stream *s, struct choice *c, const struct buf *text, bool last);
void event_error(struct stream *s, const struct err *e);
void event_done(struct stream *s);
/* What answer_json writes, at most. */
size_t answer_bytes(const struct stream *s);
void answer_json(struct stream *s, struct buf *out);
void token_id_add(struct choice *c, token_id id);

#endif
