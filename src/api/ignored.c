/* SPDX-License-Identifier: Apache-2.0 */
/* ignored.c - see ignored.h. Names are the client's: what is no plain name of a field is "other" in
 * metrics, and every label there is has a place of its own that is never given up, so that a client
 * who makes names up cannot make more than IGNORED_NAMES of them.
 */
#include "ignored.h"

#include "json_out.h"
#include "log.h"
#include "mem.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static bool is_plain(const char *s, size_t n)
{
    for (size_t k = 0; k < n; k++)
        if (!isalnum((unsigned char)s[k]) && s[k] != '_')
            return false;
    return n >= 1 && n <= IGNORED_NAME;
}

void ignored_add(struct ignored *i, const struct json *v)
{
    if (i->n == 0)
        i->name = try_alloc(IGNORED_IN_REQUEST * sizeof *i->name);
    if (i->name && i->n < IGNORED_IN_REQUEST && is_plain(v->key, v->n_key)) {
        memcpy(i->name[i->n], v->key, v->n_key);
        i->name[i->n][v->n_key] = '\0';
    }
    i->n++;
}

void ignored_free(struct ignored *i)
{
    free(i->name);
    *i = (struct ignored){0};
}

static int64_t *place_of(struct ignored_names *all, const char *name)
{
    for (int k = 0; k < all->n_names; k++)
        if (strcmp(all->name[k], name) == 0)
            return &all->count[k];
    if (!name[0] || all->n_names == IGNORED_NAMES || strcmp(name, "other") == 0)
        return &all->other;
    memcpy(all->name[all->n_names], name, strlen(name) + 1);
    return &all->count[all->n_names++];
}

void ignored_count(struct ignored_names *all, const struct ignored *i, const char *request_id)
{
    struct buf b = {.soft = true};
    int named = i->n < IGNORED_IN_REQUEST ? i->n : IGNORED_IN_REQUEST;
    if (i->n == 0)
        return;
    if (!i->name)
        named = 0;
    for (int k = 0; k < named; k++) {
        ++*place_of(all, i->name[k]);
        out_str(&b, k ? "," : "");
        out_str(&b, i->name[k][0] ? i->name[k] : "?");
    }
    all->other += i->n - named;
    log_debug("api.ignored", "id=%s n=%d fields=%.*s", request_id, (int)i->n, (int)b.n,
              b.n ? b.p : "");
    buf_free(&b);
}

void ignored_metrics(const struct ignored_names *all, struct buf *out)
{
    static const char name[] = "quire_ignored_fields_total";
    out_fmt(out, "# HELP %s Unknown request fields, by name.\n# TYPE %s counter\n", name, name);
    for (int k = 0; k < all->n_names; k++)
        out_fmt(out, "%s{field=\"%s\"} %lld\n", name, all->name[k], (long long)all->count[k]);
    out_fmt(out, "%s{field=\"other\"} %lld\n", name, (long long)all->other);
}
