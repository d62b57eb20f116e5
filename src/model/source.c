/* source.c - open, identify and close a model's files.
 *
 * Owns the maps for as long as the source lives. Opening thread; read-only afterwards. Does not
 * load anything and touches no device.
 */
#include "source.h"

#include "config_check.h"
#include "hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct file_map *source_map(struct model_source *s, const char *path, struct err *e)
{
    struct file_map m;
    if (s->n_maps == SRC_MAX_FILES) {
        err_set(e, ST_FORMAT, "%s: more than %d files", path, SRC_MAX_FILES);
        return NULL;
    }
    if (file_map_open(&m, path, e) != 0)
        return NULL;
    s->maps[s->n_maps] = m;
    return &s->maps[s->n_maps++];
}

/* Two sources with one id hold the same weights, unless somebody rewrote a file in place within
 * the file system's time resolution. The contents themselves are not read: that would take minutes.
 */
static uint64_t hash_source(const struct model_source *s)
{
    uint64_t h = FNV1A_BASIS;
    h = fnv1a(h, s->cfg.family, strlen(s->cfg.family));
    if (s->dummy)
        h = fnv1a(h, &s->seed, sizeof s->seed);
    const int32_t shape[] = {s->cfg.n_layers, s->cfg.dim,     s->cfg.n_heads, s->cfg.n_kv_heads,
                             s->cfg.head_dim, s->cfg.ffn_dim, s->cfg.vocab,   s->dummy};
    h = fnv1a(h, shape, sizeof shape);
    h = fnv1a(h, s->cfg.inv_freq, sizeof s->cfg.inv_freq);
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

struct model_source *source_new(void)
{
    struct model_source *s = xalloc(sizeof *s);
    s->maps = xcalloc2(SRC_MAX_FILES, sizeof *s->maps);
    tensor_table_init(&s->tensors);
    config_init(&s->cfg);
    struct text_source *t = &s->text;
    t->bos_id = t->eos_id = t->unk_id = t->pad_id = -1;
    t->add_bos = t->add_eos = t->add_space_prefix = -1;
    return s;
}

int source_finish(struct model_source *s, struct err *e)
{
    int rc = s->dummy ? 0 : source_bind(s, e);
    s->cfg.weights_id = rc ? 0 : hash_source(s);
    return rc;
}

static int open_any(struct model_source *s, const char *path, struct err *e)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return err_set(e, errno == ENOENT || errno == ENOTDIR ? ST_NOT_FOUND : ST_IO, "%s: %s",
                       path, strerror(errno));
    size_t n = strlen(path);
    bool gguf = n > 5 && strcmp(path + n - 5, ".gguf") == 0;
    if (S_ISDIR(st.st_mode) || (s->dummy && !gguf))
        return source_open_hf(s, path, e);
    const struct file_map *m = source_map(s, path, e);
    if (!m)
        return e ? e->st : ST_IO;
    return source_open_gguf(s, m->p, m->n, e);
}

int model_source_open(struct model_source **out, const struct model_source_opts *o, struct err *e)
{
    struct err local; /* source_map reports through it even when the caller does not care */
    struct err *err = e ? e : &local;
    *out = NULL;
    if (!o->path || !o->path[0])
        return err_set(err, ST_NOT_FOUND, "no model path given");
    struct model_source *s = source_new();
    s->dummy = o->dummy;
    s->seed = o->seed;
    int rc = open_any(s, o->path, err);
    if (rc == 0)
        rc = source_finish(s, err);
    if (rc) {
        model_source_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

void model_source_close(struct model_source *s)
{
    if (!s)
        return;
    for (int32_t i = 0; i < s->n_maps; i++)
        file_map_close(&s->maps[i]);
    tensor_table_free(&s->tensors);
    free(s->maps);
    free(s->bound);
    free(s->tokens);
    free(s->merges);
    free(s->token_types);
    free(s->token_scores);
    free(s);
}

const struct model_config *model_source_config(const struct model_source *s)
{
    return &s->cfg;
}

const struct text_source *model_source_text(const struct model_source *s)
{
    return &s->text;
}
