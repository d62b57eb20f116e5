/* SPDX-License-Identifier: Apache-2.0 */
/* tenants.c - auth.tenants_file, tenant by tenant, and with the keys of all sources one table of
 * who may ask. See tenants.h.
 *
 *   tenants:
 *     NAME:
 *       keys: [sha256:HEX, ...]
 *       weight: 2
 *
 * The rows below are what a tenant may have. A problem names the line; keys are never quoted.
 */
#include "keys.h"
#include "mem.h"
#include "value.h"
#include "yaml_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A tenant as the file has it. */
struct draft {
    struct tenant t;
    struct str_list keys;
    char *keys_file, *key_env, *group;
    struct key_place at, keys_at, file_at, env_at;
};

static const struct field rows[] = {
    {"keys", F_LIST, offsetof(struct draft, keys), NULL, 0, LIST_MAX, NULL, NULL},
    {"keys_file", F_STRING, offsetof(struct draft, keys_file), NULL, 1, 4000, NULL, NULL},
    {"key_env", F_STRING, offsetof(struct draft, key_env), NULL, 1, 200, NULL, NULL},
    {"weight", F_INT, offsetof(struct draft, t.weight), NULL, 1, 1000, NULL, NULL},
    {"min_priority", F_INT, offsetof(struct draft, t.min_priority), NULL, -1000000, 0, NULL, NULL},
    {"max_requests", F_INT, offsetof(struct draft, t.max_requests), NULL, 0, 1e6, NULL, NULL},
    {"tokens_per_minute", F_INT, offsetof(struct draft, t.tokens_per_minute), NULL, 0, 1e12, NULL,
     NULL},
    {"max_seqs", F_INT, offsetof(struct draft, t.max_seqs), NULL, 0, 65536, NULL, NULL},
    {"cache_share", F_FRACTION, offsetof(struct draft, t.cache_share), NULL, 0, 1, NULL, NULL},
    {"cache_group", F_STRING, offsetof(struct draft, group), NULL, 1, TENANT_NAME, NULL, NULL},
    {"operator", F_BOOL, offsetof(struct draft, t.operator), NULL, 0, 0, NULL, NULL},
};
enum { N_ROWS = sizeof rows / sizeof *rows };

struct reading {
    const struct config *c;
    const struct key_sink *sink;
    const char *file;
    struct draft *v; /* [n] */
    int32_t n;
    bool full;
};

static void bad_at(void *arg, int line, int col, const char *text)
{
    const struct reading *r = arg;
    const struct key_place at = {r->file, line, col};
    r->sink->bad(r->sink->arg, &at, text);
}

#define BAD(r, at, ...)                                                                            \
    do {                                                                                           \
        struct err bad_;                                                                           \
        err_set(&bad_, ST_INVALID_VALUE, __VA_ARGS__);                                             \
        (r)->sink->bad((r)->sink->arg, at, bad_.msg);                                              \
    } while (0)

/* ---- the file ---- */

/* Names stand in logs, in labels of metrics and in paths of settings. */
static bool name_is_good(const char *s, size_t n)
{
    return n >= 1 && n <= TENANT_NAME &&
           strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") >= n;
}

/* What follows "tenants." in path; NULL: it does not begin so. */
static const char *below_tenants(const char *path)
{
    return strncmp(path, "tenants.", 8) == 0 ? path + 8 : NULL;
}

static void add_draft(struct reading *r, const char *name, const struct key_place *at)
{
    if (r->n == MAX_TENANTS) {
        if (!r->full)
            BAD(r, at, "there are more than %d tenants", MAX_TENANTS);
        r->full = true;
        return;
    }
    if ((r->n & (r->n - 1)) == 0)
        r->v = xrealloc(r->v, (size_t)(r->n ? r->n * 2 : 1) * sizeof *r->v);
    struct draft *d = &r->v[r->n++];
    *d = (struct draft){
        .at = *at, .t = {.weight = 1, .min_priority = r->c->limits.min_priority, .cache_share = 1}};
    snprintf(d->t.name, sizeof d->t.name, "%s", name);
}

static const struct field *row_of(const char *name)
{
    for (int i = 0; i < N_ROWS; i++)
        if (strcmp(rows[i].path, name) == 0)
            return &rows[i];
    return NULL;
}

/* The tenant whose fields are being read, if the path below tenants is one of them, and the field.
 * A name that was refused has none. */
static struct draft *draft_of(struct reading *r, const char *name, const char **field)
{
    struct draft *d = r->n ? &r->v[r->n - 1] : NULL; /* fields follow their tenant */
    const char *dot = strchr(name, '.');
    if (!d || !dot || strlen(d->t.name) != (size_t)(dot - name) ||
        memcmp(d->t.name, name, (size_t)(dot - name)) != 0)
        return NULL;
    *field = dot + 1;
    return d;
}

/* In place of a field there may be a key: nothing with a dot is shown. */
static void unknown_field(const struct reading *r, const struct key_place *at, const char *field)
{
    if (strchr(field, '.'))
        BAD(r, at, "unknown key");
    else
        BAD(r, at, "unknown key %.100s", field);
}

static void on_open(void *arg, const char *path, bool nothing, int line, int col)
{
    struct reading *r = arg;
    const struct key_place at = {r->file, line, col};
    const char *name = below_tenants(path), *field;
    if (!name)
        return;
    if (draft_of(r, name, &field)) {
        if (!row_of(field))
            unknown_field(r, &at, field);
        else if (!nothing)
            BAD(r, &at, "%s: a tenant's fields have no fields themselves", field);
        return;
    }
    if (!name_is_good(name, strlen(name)))
        BAD(r, &at, "a tenant's name has 1 to %d letters, digits, _ and -", TENANT_NAME);
    else if (strcmp(name, "key") == 0)
        BAD(r, &at, "no tenant may be named key: metrics call all keys without a tenant so");
    else
        add_draft(r, name, &at);
}

/* The places that later problems need. */
static void note_place(struct draft *d, const struct field *f, const struct key_place *at)
{
    if (f->offset == offsetof(struct draft, keys))
        d->keys_at = *at;
    else if (f->offset == offsetof(struct draft, keys_file))
        d->file_at = *at;
    else if (f->offset == offsetof(struct draft, key_env))
        d->env_at = *at;
}

static void on_set(void *arg, const char *path, const char *const *v, int32_t n, bool is_list,
                   int line, int col)
{
    struct reading *r = arg;
    const struct key_place at = {r->file, line, col};
    const char *name = below_tenants(path), *field;
    char why[300];
    bool ok;
    if (!name || !strchr(name, '.')) {
        BAD(r, &at,
            name ? "expected the fields of a tenant, as field: value"
                 : "unknown key; expected tenants: and below it name: and its fields");
        return;
    }
    struct draft *d = draft_of(r, name, &field);
    if (!d)
        return;
    const struct field *f = row_of(field);
    if (!f) {
        if (!strchr(field, '.')) /* else on_open said so */
            unknown_field(r, &at, field);
        return;
    }
    if (f->type == F_LIST)
        ok = field_set_list(d, f, v, n, why, sizeof why);
    else if (is_list)
        ok = snprintf(why, sizeof why, "expected one value, got a list") < 0;
    else
        ok = field_parse(d, f, v[0], why, sizeof why);
    if (ok)
        note_place(d, f, &at);
    else
        BAD(r, &at, "%s: %s", f->path, why);
}

static void read_file(struct reading *r)
{
    const struct conf_sink s = {.arg = r, .set = on_set, .bad = bad_at, .open = on_open};
    const struct key_place whole = {.file = r->file};
    bool secret = false;
    if (!yaml_read(r->file, &s)) {
        BAD(r, &whole, "cannot read the file: %s", strerror(errno));
        return;
    }
    if (r->n == 0)
        BAD(r, &whole, "the file holds no tenant");
    for (int32_t i = 0; i < r->n; i++)
        for (int32_t k = 0; k < r->v[i].keys.n; k++)
            secret |= strncmp(r->v[i].keys.v[k], "sha256:", 7) != 0;
    key_file_is_safe(r->sink, &whole, r->file, -1, secret);
}

/* ---- the table ---- */

static void add_keys(struct reading *r, struct key_list *l, int32_t i)
{
    const struct draft *d = &r->v[i];
    for (int32_t k = 0; k < d->keys.n; k++) {
        char what[24];
        snprintf(what, sizeof what, "keys[%d]", k);
        key_add(l, i, &d->keys_at, what, d->keys.v[k], strlen(d->keys.v[k]));
    }
    if (d->keys_file)
        keys_add_file(l, i, &d->file_at, d->keys_file);
    if (d->key_env)
        keys_add_variable(l, i, &d->env_at, d->key_env);
    if (d->keys.n == 0 && !d->keys_file && !d->key_env)
        BAD(r, &d->at, "the tenant has no key: keys, keys_file or key_env");
}

/* Who shares a cache with whom, and on whose account pages are kept. */
static void set_caches(struct reading *r)
{
    int32_t n_accounts = 0;
    for (int32_t i = 0; i < r->n; i++) {
        struct draft *d = &r->v[i];
        d->t.id = d->t.cache = (uint64_t)i + 1;
        for (int32_t j = 0; d->group && j < i; j++) {
            if (!r->v[j].group || strcmp(r->v[j].group, d->group) != 0)
                continue;
            d->t.cache = r->v[j].t.cache;
            d->t.shares_cache = r->v[j].t.shares_cache = true;
            break;
        }
        if (d->t.cache_share >= 1)
            continue;
        if (n_accounts == MAX_ACCOUNTS) {
            BAD(r, &d->at, "more than %d tenants have a cache_share below 1", MAX_ACCOUNTS);
            return;
        }
        d->t.account = ++n_accounts;
    }
}

static void make_table(struct tenants *t, const struct reading *r, const struct key_list *l)
{
    int32_t n_own = 0;
    for (int32_t i = 0; i < l->n; i++)
        n_own += l->v[i].key.tenant == NOBODY;
    t->n_named = t->n = r->n;
    t->v = xcalloc2((size_t)(r->n + n_own) + 1, sizeof *t->v);
    t->key = xcalloc2((size_t)l->n + 1, sizeof *t->key);
    for (int32_t i = 0; i < r->n; i++)
        t->v[i] = r->v[i].t;
    for (int32_t i = 0; i < l->n; i++) {
        struct tenant_key *k = &t->key[t->n_keys++];
        *k = l->v[i].key;
        if (k->tenant != NOBODY)
            continue;
        k->tenant = t->n++;
        t->v[k->tenant] = (struct tenant){.id = (uint64_t)t->n,
                                          .weight = 1,
                                          .min_priority = r->c->limits.min_priority,
                                          .cache_share = 1,
                                          .cache = (uint64_t)t->n};
    }
}

static void free_drafts(struct reading *r)
{
    for (int32_t i = 0; i < r->n; i++) {
        struct draft *d = &r->v[i];
        for (int32_t k = 0; k < d->keys.n; k++) {
            explicit_bzero(d->keys.v[k], strlen(d->keys.v[k]));
            free(d->keys.v[k]);
        }
        free(d->keys.v);
        free(d->keys_file);
        free(d->key_env);
        free(d->group);
    }
    free(r->v);
}

void tenants_read(struct tenants *t, const struct config *c, const struct key_sink *sink)
{
    struct reading r = {.c = c, .sink = sink, .file = c->auth.tenants_file};
    struct key_list l = {.sink = sink};
    const struct key_place file_at = {.file = "auth.api_keys_file"},
                           env_at = {.file = "auth.api_key_env"};
    *t = (struct tenants){0};
    if (*r.file)
        read_file(&r);
    set_caches(&r);
    for (int32_t i = 0; i < r.n; i++)
        add_keys(&r, &l, i);
    if (*c->auth.api_keys_file)
        keys_add_file(&l, NOBODY, &file_at, c->auth.api_keys_file);
    if (*c->auth.api_key_env)
        keys_add_variable(&l, NOBODY, &env_at, c->auth.api_key_env);
    keys_settle(&l);
    make_table(t, &r, &l);
    free(l.v);
    free_drafts(&r);
}

static void first_problem(void *arg, const struct key_place *at, const char *text)
{
    struct err *e = arg;
    if (e->st)
        return;
    if (at->line)
        err_set(e, ST_INVALID_VALUE, "%.200s:%d:%d: %s", at->file, at->line, at->col, text);
    else
        err_set(e, ST_INVALID_VALUE, "%.200s: %s", at->file, text);
}

int tenants_load(struct tenants *t, const struct config *c, struct err *e)
{
    struct err first = {0};
    const struct key_sink sink = {&first, first_problem};
    tenants_read(t, c, &sink);
    if (first.st && e)
        *e = first;
    return first.st;
}

void tenants_free(struct tenants *t)
{
    free(t->v);
    free(t->key);
    *t = (struct tenants){0};
}
