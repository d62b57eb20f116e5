/* SPDX-License-Identifier: Apache-2.0 */
/* prompt.h - one prompt to token ids, appended to *out. Pure; any thread. 0 or a request status. */
#ifndef QUIRE_API_PROMPT_H
#define QUIRE_API_PROMPT_H

#include "genreq.h"

enum { MAX_MESSAGES = 2048 };

/* ST_INVALID_TYPE with what `param` must be and what it is. */
int wrong_type(struct err *e, const char *param, const char *want, const struct json *v);
/* Is there memory for making prompts of a body of so many bytes? The work takes it in pieces that
 * abort when there is none. 0 or ST_NOMEM. */
int prompt_room(size_t body, struct err *e);
/* A string. */
int prompt_text(const struct gen_rules *u, const struct json *v, bool special, const char *param,
                struct ids *out, struct err *e);
/* The text of the messages of a chat request, through the model's template. spans: as in chat.h. */
int prompt_render(const struct gen_rules *u, const struct json_doc *d, bool add_generation_prompt,
                  struct buf *text, struct spans *spans, struct err *e);
/* The messages of a chat request, through the model's template. */
int prompt_messages(const struct gen_rules *u, const struct json_doc *d, bool add_generation_prompt,
                    bool add_special, struct ids *out, struct err *e);
/* An array of integers in [0, vocab). */
int prompt_ids(const struct json_doc *d, const struct json *arr, int32_t vocab, const char *param,
               struct ids *out, struct err *e);

#endif
