/* SPDX-License-Identifier: Apache-2.0 */
/* chat_text.h - chat_render for a test that has its variables as JSON text. */
#ifndef QUIRE_CHAT_TEXT_H
#define QUIRE_CHAT_TEXT_H

#include "chat.h"
#include "json.h"

/* a.vars is filled in from json. */
static inline int chat_render_text(const struct chat *c, struct view json, struct chat_args a,
                                   struct buf *out, struct spans *spans, struct err *e)
{
    struct json_doc d;
    int st = json_parse(&d, json.p, json.n, e);
    if (st)
        return st;
    a.vars = &d;
    st = chat_render(c, &a, out, spans, e);
    json_free(&d);
    return st;
}

#endif
