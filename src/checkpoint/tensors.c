/* SPDX-License-Identifier: Apache-2.0 */
/* tensors.c - mapped files and the table of tensors found in them.
 *
 * Opening thread only. Invariant after tensor_table_finish: sorted by name, names unique, no two
 * tensors of non-zero size share a byte.
 */
#include "tensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int file_map_open(struct file_map *m, const char *path, struct err *e)
{
    struct stat info;
    *m = (struct file_map){0};
    /* O_NONBLOCK: a fifo must not hang the start; it is refused below. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_set(e, errno == ENOENT || errno == ENOTDIR ? ST_NOT_FOUND : ST_IO, "%s: %s",
                       path, strerror(errno));
    int st = 0;
    if (fstat(fd, &info) != 0)
        st = err_set(e, ST_IO, "%s: %s", path, strerror(errno));
    else if (!S_ISREG(info.st_mode))
        st = err_set(e, ST_IO, "%s: not a regular file", path);
    else if (info.st_size == 0)
        m->p = (const uint8_t *)"";
    else {
        void *p = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            st = err_set(e, ST_IO, "%s: cannot map: %s", path, strerror(errno));
        else
            *m = (struct file_map){.p = p, .n = (size_t)info.st_size, .is_map = true};
    }
    m->mtime_ns = st ? 0 : (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec;
    close(fd);
    return st;
}

void file_map_close(struct file_map *m)
{
    if (m->is_map)
        munmap((void *)(uintptr_t)m->p, m->n);
    *m = (struct file_map){0};
}

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
