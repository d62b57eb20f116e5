/* SPDX-License-Identifier: Apache-2.0 */
/* turns.h - the messages of another endpoint as those of a chat request: their texts become a
 * document that the chat's own path renders, so that roles, templates and what is special in a text
 * have one set of rules. Pure; any thread.
 */
#ifndef QUIRE_API_TURNS_H
#define QUIRE_API_TURNS_H

#include "field.h"
#include "json_make.h"

struct turns {
    const struct json_doc *d; /* the body; texts are looked at where they are */
    struct json_doc made;
    struct json_maker m;
    const struct json *effort; /* reasoning_effort, or NULL */
    bool no_thinking;          /* as with the effort "none" */
    bool go_on;                /* with the text of the last message, an assistant's */
};

/* turns_end or turns_drop once. */
void turns_begin(struct turns *t, const struct json_doc *d);
/* A message whose content is one text. */
void turns_say(struct turns *t, const char *role, struct view text);
/* One of parts: turns_part for each, at least one. */
void turns_open(struct turns *t, const char *role);
void turns_part(struct turns *t, struct view text);
void turns_close(struct turns *t);
void turns_drop(struct turns *t);
/* The prompt's ids, with the body's chat_template_kwargs. Errors name the dialect's field. */
int turns_end(struct turns *t, struct genreq *g, const struct gen_rules *u, struct err *e);

/* What `kind` is (as in "content block type") is not supported: param ends with ".type". */
int turns_refuse(struct err *e, const char *param, const char *kind, const struct json *type);
/* The string `key` of the object at `at`; missing or of another type: the error. */
int turns_string(const struct json_doc *d, const struct json *obj, const char *at, const char *key,
                 const struct json **out, struct err *e);

/* ---- readers of fields that both have ---- */

/* An array, and nothing in it. */
int read_no_items(struct reader *r, const struct field *f, const struct json *v);
/* A string or an array, for what is read with the prompt. */
int any_text(struct reader *r, const struct field *f, const struct json *v);

#endif
