/* SPDX-License-Identifier: Apache-2.0 */
/* open.c - from a path to a source that is whole: the right reader, every weight bound, identified.
 *
 * Opening thread. The readers fill a source with what source.c lends them; only this file knows
 * them all.
 */
#include "source.h"

#include "bind.h"
#include "formats.h"
#include "hash.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* Two sources with one id hold the same weights, unless somebody rewrote a file in place within
 * the file system's time resolution. The contents themselves are not read: that would take minutes.
 */
static uint64_t hash_source(const struct model_source *s)
{
    const struct model_config *c = &s->cfg;
    uint64_t h = FNV1A_BASIS;
    h = fnv1a(h, c->family, strlen(c->family));
    if (s->dummy)
        h = fnv1a(h, &s->seed, sizeof s->seed);
    for (int32_t i = 0; i < c->n_kinds; i++) {
        const struct layer_kind *k = &c->kind[i];
        const int32_t shape[] = {c->n_layers, c->dim,     k->n_heads, k->n_kv_heads,
                                 k->head_dim, k->ffn_dim, c->vocab,   s->dummy};
        h = fnv1a(h, shape, sizeof shape);
    }
    if (c->n_kinds > 1) /* otherwise ids stay what they were when there was one shape for all */
        h = fnv1a(h, c->kind_of, (size_t)c->n_layers);
    for (int32_t i = 0; i < c->n_ropes; i++)
        h = fnv1a(h, c->rope[i].inv_freq, sizeof c->rope[i].inv_freq);
    for (size_t i = 0; i < s->tensors.n; i++) {
        const struct tensor *t = &s->tensors.v[i];
        h = fnv1a(h, t->name, strlen(t->name) + 1);
        h = fnv1a(h, &t->type, sizeof t->type);
        h = fnv1a(h, t->dim, sizeof t->dim);
    }
    for (int32_t i = 0; i < s->n_maps && !s->dummy; i++) {
        h = fnv1a(h, &s->maps[i].n, sizeof s->maps[i].n);
        h = fnv1a(h, &s->maps[i].mtime_ns, sizeof s->maps[i].mtime_ns);
    }
    return h;
}

int source_finish(struct model_source *s, struct err *e)
{
    int st = s->dummy ? 0 : source_bind(s, e);
    s->cfg.weights_id = st ? 0 : hash_source(s);
    return st;
}

static int open_any(struct model_source *s, const char *path, struct err *e)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return err_set(e, errno == ENOENT || errno == ENOTDIR ? ST_NOT_FOUND : ST_IO, "%s: %s",
                       path, strerror(errno));
    size_t n = strlen(path);
    bool gguf = n > 5 && strcmp(path + n - 5, ".gguf") == 0;
    if (S_ISDIR(info.st_mode) || (s->dummy && !gguf))
        return source_open_hf(s, path, e);
    const struct file_map *m = source_map(s, path, e);
    if (!m)
        return e ? e->st : ST_IO;
    return source_open_gguf(s, m->p, m->n, e);
}

/* The readers name files of the folder, or nothing: a message says where it all is. */
static void name_path(struct err *e, const char *path)
{
    const struct err was = *e;
    if (!strstr(was.msg, path))
        err_set(e, was.st, "%.256s: %s", path, was.msg);
}

int model_source_open(struct model_source **out, const struct model_source_opts *o, struct err *e)
{
    struct err local = {0}; /* source_map reports through it even when the caller does not care */
    struct err *err = e ? e : &local;
    *out = NULL;
    if (!o->path || !o->path[0])
        return err_set(err, ST_NOT_FOUND, "no model path given");
    struct model_source *s = source_new();
    s->dummy = o->dummy;
    s->seed = o->seed;
    int st = open_any(s, o->path, err);
    if (st == 0)
        st = source_finish(s, err);
    int changed = model_source_check(s, err); /* then any other reason is a consequence */
    if (st || changed) {
        model_source_close(s);
        name_path(err, o->path);
        return changed ? changed : st;
    }
    *out = s;
    return 0;
}
