/* SPDX-License-Identifier: Apache-2.0 */
/* chat.h - chat templates: compiled once, rendered many times.
 *
 * struct chat is immutable after loading and may be used by any thread at once.
 */
#ifndef QUIRE_CHAT_H
#define QUIRE_CHAT_H

#include "buf.h"
#include "ids.h"
#include "json.h"
#include "status.h"
#include "text_source.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tok; /* tokenizer.h */
struct chat;
/* Compile the source's template once. ST_TEMPLATE with line and column on a syntax error; a source
 * without a template gives ST_NOT_FOUND (chat endpoints then answer 400). bos/eos strings come from
 * the source. */
int chat_open(struct chat **out, const struct text_source *src, struct err *e);
void chat_close(struct chat *c);
/* Facts the front end needs: does the template read content as a list of parts only; does it
 * mention the role "developer" (a template that does not gets such messages as "system"). */
bool chat_wants_parts(const struct chat *c);
bool chat_knows_developer(const struct chat *c);
/* Is s a name or a string constant of the template. */
bool chat_mentions(const struct chat *c, const char *s);

struct chat_args {
    const struct json_doc *vars; /* its root is an object of template variables: messages, tools,
                                add_generation_prompt, and any extra ones (enable_thinking, ...) */
    int64_t now_unix_s;          /* what the template may ask for as the date */
    size_t max_out;              /* bytes */
};
/* Render. Appends UTF-8 to *out. Steps, memory, depth and output are bounded. The spans of *out
 * that came from the variables (as opposed to the template's own text) are appended to *spans as
 * [begin, end) byte offsets when spans is not NULL, so special tokens in user text can be kept
 * plain. ST_TEMPLATE with the template's own raise_exception text or line:column. Any thread. */
int chat_render(const struct chat *c, const struct chat_args *a, struct buf *out,
                struct spans *spans, struct err *e);
/* Encode rendered text. flags: TOK_SPECIAL; TOK_PARSE_SPECIAL parses special tokens everywhere,
 * without it those inside the spans are plain text and the template's own are parsed. */
int chat_encode(const struct tok *t, const struct buf *text, const struct spans *spans,
                unsigned flags, struct ids *out, struct err *e);

#endif
