/* SPDX-License-Identifier: Apache-2.0 */
/* tensors.c - the table of tensors found in files.
 *
 * Opening thread only. Invariant after tensor_table_finish: sorted by name, names unique, no two
 * tensors of non-zero size share a byte.
 */
#include "tensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void tensor_table_init(struct tensor_table *t)
{
    *t = (struct tensor_table){0};
    arena_init(&t->names, (size_t)SRC_MAX_TENSORS * SRC_MAX_NAME);
}

void tensor_table_free(struct tensor_table *t)
{
    free(t->v);
    arena_free(&t->names);
    t->v = NULL;
    t->n = t->cap = 0;
}

int tensor_table_add(struct tensor_table *t, const struct tensor *x, const char *name, size_t n,
                     struct err *e)
{
    bool ok = n > 0 && n <= SRC_MAX_NAME;
    for (size_t i = 0; ok && i < n; i++)
        ok = name[i] > ' ' && name[i] < 127; /* names end up in messages */
    if (!ok)
        return err_set(e, ST_FORMAT, "tensor %zu: bad name of %zu bytes", t->n, n);
    if (t->n == SRC_MAX_TENSORS)
        return err_set(e, ST_FORMAT, "more than %d tensors", SRC_MAX_TENSORS);
    if (t->n == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 512;
        t->v = xrealloc(t->v, t->cap * sizeof *t->v);
    }
    char *copy = arena_strndup(&t->names, name, n);
    if (!copy)
        return err_set(e, ST_NOMEM, "out of memory for tensor names");
    t->v[t->n] = *x;
    t->v[t->n++].name = copy;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

static int by_data(const void *a, const void *b)
{
    const struct tensor *x = a, *y = b;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes); /* empty ones first */
}

int tensor_table_finish(struct tensor_table *t, struct err *e)
{
    if (t->n == 0)
        return 0;
    qsort(t->v, t->n, sizeof *t->v, by_data);
    for (size_t i = 1; i < t->n; i++) {
        const struct tensor *a = &t->v[i - 1], *b = &t->v[i];
        if (b->bytes && a->data + a->bytes > b->data)
            return err_set(e, ST_FORMAT, "tensors %s and %s overlap", a->name, b->name);
    }
    qsort(t->v, t->n, sizeof *t->v, by_name);
    for (size_t i = 1; i < t->n; i++)
        if (strcmp(t->v[i - 1].name, t->v[i].name) == 0)
            return err_set(e, ST_FORMAT, "tensor %s is there twice", t->v[i].name);
    return 0;
}

struct tensor *tensor_find(const struct tensor_table *t, const char *name)
{
    struct tensor key = {.name = name};
    return t->n ? bsearch(&key, t->v, t->n, sizeof key, by_name) : NULL;
}

void tensor_shape_text(const struct tensor *t, char *buf, size_t n)
{
    size_t used = (size_t)snprintf(buf, n, "[");
    for (int i = 0; i < t->n_dims && used < n; i++)
        used += (size_t)snprintf(buf + used, n - used, i ? ", %lld" : "%lld", (long long)t->dim[i]);
    if (used < n)
        snprintf(buf + used, n - used, "]");
}

void tensor_prefetch(const struct tensor *t)
{
    if (!t || !t->bytes)
        return;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), p = (uintptr_t)t->data;
    uintptr_t start = p / page * page;
    (void)madvise((void *)start, p - start + t->bytes, MADV_WILLNEED); /* only advice */
}
