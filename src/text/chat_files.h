/* SPDX-License-Identifier: Apache-2.0 */
/* chat_files.h - what a model's files say about chats: the template and the special tokens'
 * strings. Private to text/. One thread, at load. */
#ifndef QUIRE_TEXT_CHAT_FILES_H
#define QUIRE_TEXT_CHAT_FILES_H

#include "buf.h"
#include "status.h"
#include "text_source.h"

enum { N_CHAT_TOKENS = 4 };
/* The variables that templates know them by: bos_token, ... */
extern const char *const chat_token_names[N_CHAT_TOKENS];

struct chat_files {
    struct buf token[N_CHAT_TOKENS]; /* p == NULL: the model has none */
    struct buf template;             /* p == NULL: the model has none */
};

/* Fills in *f, {0} before; chat_files_fini in every case. ST_FORMAT or ST_UNSUPPORTED for a damaged
 * file; a missing template is no error here. */
int chat_files_read(struct chat_files *f, const struct text_source *src, struct err *e);
void chat_files_fini(struct chat_files *f);

#endif
