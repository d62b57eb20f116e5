/* SPDX-License-Identifier: Apache-2.0 */
/* unread.h - naming what a file says and nobody used. Opening thread. Private to checkpoint/. */
#ifndef QUIRE_CHECKPOINT_UNREAD_H
#define QUIRE_CHECKPOINT_UNREAD_H

#include <stddef.h>

struct json_obj;
/* One line of warning with the members of j that no look-up found, but for the names in harmless
 * (up to NULL). `where` says what j is. Nothing to name: no line. */
void unread_warn(const struct json_obj *j, const char *where, const char *const *harmless);

/* The same for names that come one by one: {0}, then unread_add, then unread_say. */
struct unread {
    char names[1024]; /* separated by commas, cut */
    size_t n;
};
void unread_add(struct unread *u, const char *name, size_t n);
void unread_say(const struct unread *u, const char *where);

#endif
