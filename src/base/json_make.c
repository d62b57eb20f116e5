/* SPDX-License-Identifier: Apache-2.0 */
/* json_make.c - documents made of parts of others: json_make.h says what they share. Pure;
 * any thread.
 */
#include "json_make.h"

#include "check.h"
#include "mem.h"

#include <stdlib.h>
#include <string.h>

void json_make_begin(struct json_maker *m, struct json_doc *d, size_t n_src)
{
    *d = (struct json_doc){.n_src = n_src};
    *m = (struct json_maker){.d = d};
}

static void *no_memory(struct json_maker *m)
{
    m->st = ST_NOMEM;
    return NULL;
}

/* n fresh values, uninitialised, the first linked to the open container. NULL: out of memory. */
static struct json *add(struct json_maker *m, uint32_t n)
{
    struct json_doc *d = m->d;
    if (m->st)
        return NULL;
    if (n > d->cap - d->n) {
        size_t cap = buf_grown(d->cap, (size_t)d->n + n, 64);
        struct json *v = cap > UINT32_MAX / sizeof *v || fault_point("json_make")
                             ? NULL
                             : realloc(d->v, cap * sizeof *v);
        if (!v)
            return no_memory(m);
        d->v = v;
        d->cap = (uint32_t)cap;
    }
    if (m->depth) {
        struct json *up = &d->v[m->open[m->depth - 1].at];
        if (up->n++ == 0)
            up->child = d->n;
        else
            d->v[m->open[m->depth - 1].last].next = d->n;
        m->open[m->depth - 1].last = d->n;
    }
    d->n += n;
    return &d->v[d->n - n];
}

void json_make_open(struct json_maker *m, struct view key, enum json_type box)
{
    struct json *v = add(m, 1);
    CHECK(m->depth < JSON_MAKE_DEPTH);
    if (v) {
        *v = (struct json){.type = (uint8_t)box, .key = key.p, .n_key = (uint32_t)key.n};
        m->open[m->depth].at = m->d->n - 1;
    }
    m->depth++;
}

void json_make_close(struct json_maker *m)
{
    m->depth--;
}

void json_make_bool(struct json_maker *m, struct view key, bool b)
{
    struct json *v = add(m, 1);
    if (v)
        *v = (struct json){.type = JSON_BOOL, .boolean = b, .key = key.p, .n_key = (uint32_t)key.n};
}

void json_make_str(struct json_maker *m, struct view key, struct view s)
{
    struct json *v = add(m, 1);
    if (v)
        *v = (struct json){
            .type = JSON_STR, .n = (uint32_t)s.n, .key = key.p, .n_key = (uint32_t)key.n, .s = s.p};
}

/* n bytes of d->text. */
static char *text_room(struct json_maker *m, size_t n)
{
    struct json_doc *d = m->d;
    CHECK(n <= d->n_src - d->n_text);
    if (!d->text) {
        d->text = fault_point("json_make") ? NULL : malloc(d->n_src + 1);
        if (!d->text)
            return no_memory(m);
    }
    d->n_text += n;
    return d->text + d->n_text - n;
}

char *json_make_text(struct json_maker *m, struct view key, size_t n)
{
    char *p = m->st ? NULL : text_room(m, n);
    if (p)
        json_make_str(m, key, (struct view){p, n});
    return m->st ? NULL : p;
}

/* n values of a parsed document from v on, that v contains: moved as a block, indices shifted. */
static struct json *add_block(struct json_maker *m, const struct json_doc *from,
                              const struct json *v, uint32_t n)
{
    struct json *to = add(m, n);
    if (!to)
        return NULL;
    uint32_t shift = (uint32_t)(to - m->d->v) - (uint32_t)(v - from->v);
    memcpy(to, v, n * sizeof *to);
    to->next = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (to[i].next)
            to[i].next += shift;
        if ((to[i].type == JSON_ARR || to[i].type == JSON_OBJ) && to[i].n)
            to[i].child += shift;
    }
    return to;
}

void json_make_copy(struct json_maker *m, const struct json_doc *from, const struct json *v)
{
    uint32_t first = (uint32_t)(v - from->v), n = 1;
    while (first + n < from->n && from->v[first + n].begin < v->end)
        n++;
    add_block(m, from, v, n);
}

/* A pointer into the `n` bytes at `old`, moved to `now`; others stay. */
static const char *moved(const char *p, const char *old, size_t n, const char *now)
{
    uintptr_t at = (uintptr_t)p - (uintptr_t)old;
    return at < n ? now + at : p;
}

void json_make_keep(struct json_maker *m, struct view key, const struct json_doc *from)
{
    struct json *v = add_block(m, from, from->v, from->n);
    char *text = v && from->n_text ? text_room(m, from->n_text) : NULL;
    if (text)
        memcpy(text, from->text, from->n_text);
    for (uint32_t i = 0; text && i < from->n; i++) {
        v[i].key = moved(v[i].key, from->text, from->n_text, text);
        if (v[i].type == JSON_STR)
            v[i].s = moved(v[i].s, from->text, from->n_text, text);
    }
    if (v) {
        v->key = key.p;
        v->n_key = (uint32_t)key.n;
    }
}

int json_make_end(struct json_maker *m)
{
    if (m->st)
        json_free(m->d);
    return m->st;
}
