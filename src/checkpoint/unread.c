/* SPDX-License-Identifier: Apache-2.0 */
/* unread.c - see unread.h.
 *
 * A key that is neither used nor refused may have meant another computation, so it is named. Names
 * come from files: what could break a line of the log is left out of them.
 */
#include "unread.h"

#include "json_file.h"
#include "log.h"

#include <string.h>

void unread_add(struct unread *u, const char *name, size_t n)
{
    enum { MOST = 64 }; /* bytes of one name */
    if (n > MOST)
        n = MOST;
    if (u->n + n + 2 > sizeof u->names)
        return;
    if (u->n)
        u->names[u->n++] = ',';
    for (size_t i = 0; i < n; i++) {
        char c = name[i];
        u->names[u->n++] = (char)(c > ' ' && c < 127 && c != '"' && c != '=' ? c : '?');
    }
    u->names[u->n] = '\0';
}

void unread_say(const struct unread *u, const char *where)
{
    if (u->n)
        log_warn("checkpoint.unused_keys", "file=%s keys=\"%s\"", where, u->names);
}

static bool is_in(const char *name, const char *const *list)
{
    for (; *list; list++)
        if (strcmp(*list, name) == 0)
            return true;
    return false;
}

void unread_warn(const struct json_obj *j, const char *where, const char *const *harmless)
{
    struct unread u = {0};
    size_t at = 0;
    const cJSON *v;
    while ((v = json_unread(j, &at)) != NULL)
        if (v->string && !is_in(v->string, harmless))
            unread_add(&u, v->string, strlen(v->string));
    unread_say(&u, where);
}
