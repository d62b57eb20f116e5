/* SPDX-License-Identifier: Apache-2.0 */
/* hf_dir.c - a Hugging Face folder: which files there are, in which order they are read.
 *
 * config.json, then generation_config.json and the tokenizer's files where they exist, then
 * model.safetensors or the shards that model.safetensors.index.json names. For a dummy the weights
 * are left out. Names from the index are plain file names: nothing outside of the folder is opened.
 * Opening thread.
 */
#include "formats.h"

#include "hf_config.h"
#include "json_file.h"
#include "safetensors.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct folder {
    struct model_source *s;
    const char *path;
    int path_len;
    struct err *e;
};

/* Map a file of the folder. Absent: NULL and *st = 0 when it is optional. */
static const struct file_map *map_in(const struct folder *d, const char *name, bool optional,
                                     int *st)
{
    char path[PATH_MAX];
    struct err why = {0};
    int n = snprintf(path, sizeof path, "%.*s/%s", d->path_len, d->path, name);
    if (n < 0 || (size_t)n >= sizeof path) {
        *st = err_set(d->e, ST_IO, "the path of %.64s is too long", name);
        return NULL;
    }
    const struct file_map *m = source_map(d->s, path, &why);
    *st = m || (optional && why.st == ST_NOT_FOUND) ? 0 : why.st;
    if (*st && d->e)
        *d->e = why;
    return m;
}

static int read_text_files(const struct folder *d)
{
    struct text_source *t = &d->s->text;
    const struct {
        const char *name;
        struct view *view;
    } files[] = {
        {"tokenizer.json", &t->tokenizer_json},
        {"tokenizer_config.json", &t->tokenizer_config_json},
        {"chat_template.jinja", &t->chat_template_jinja},
        {"special_tokens_map.json", &t->special_tokens_map_json},
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        int st;
        const struct file_map *m = map_in(d, files[i].name, true, &st);
        if (st)
            return st;
        if (m)
            *files[i].view = (struct view){(const char *)m->p, m->n};
    }
    return 0;
}

static int read_configs(const struct folder *d)
{
    int st;
    const struct file_map *m = map_in(d, "config.json", false, &st);
    if (st == 0)
        st = hf_config_read(d->s, m->p, m->n, d->e);
    if (st)
        return st;
    m = map_in(d, "generation_config.json", true, &st);
    if (m)
        st = hf_generation_read(d->s, m->p, m->n, d->e);
    return st;
}

static int add_weights(const struct folder *d, const char *name, const struct file_map *m)
{
    return safetensors_parse(&d->s->tensors, name, m->p, m->n, d->e);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_plain_name(const char *name)
{
    size_t n = strlen(name), tail = strlen(".safetensors");
    if (n <= tail || n > NAME_MAX || strcmp(name + n - tail, ".safetensors") != 0)
        return false;
    for (size_t i = 0; i < n; i++)
        if (name[i] == '/' || name[i] < ' ' || name[i] == 127)
            return false;
    return name[0] != '.';
}

/* Every file that weight_map names, once each. */
static int add_shards(const struct folder *d, const cJSON *map)
{
    size_t n = 0;
    int st = 0;
    const cJSON *it;
    const char **name = xcalloc2((size_t)cJSON_GetArraySize(map), sizeof *name);
    cJSON_ArrayForEach(it, map)
    {
        if (!cJSON_IsString(it) || !is_plain_name(it->valuestring)) {
            st = err_set(d->e, ST_FORMAT, "model.safetensors.index.json: %.64s has no file name",
                         it->string);
            break;
        }
        name[n++] = it->valuestring;
    }
    if (n)
        qsort(name, n, sizeof *name, by_text);
    for (size_t i = 0; i < n && st == 0; i++) {
        if (i && strcmp(name[i - 1], name[i]) == 0)
            continue;
        const struct file_map *m = map_in(d, name[i], false, &st);
        if (m)
            st = add_weights(d, name[i], m);
    }
    free(name);
    return st;
}

static int check_all_there(const struct folder *d, const cJSON *map)
{
    const cJSON *it;
    cJSON_ArrayForEach(it, map)
    {
        if (!tensor_find(&d->s->tensors, it->string))
            return err_set(d->e, ST_FORMAT,
                           "model.safetensors.index.json: tensor %.64s is in none of the files",
                           it->string);
    }
    return 0;
}

static int read_sharded(const struct folder *d)
{
    struct json_obj j = {.file = "model.safetensors.index.json"};
    int st;
    const struct file_map *m = map_in(d, j.file, true, &st);
    if (st)
        return st;
    if (!m)
        return err_set(d->e, ST_NOT_FOUND,
                       "%.*s: neither model.safetensors nor model.safetensors.index.json is there",
                       d->path_len, d->path);
    cJSON *root = json_document(j.file, m->p, m->n, d->e);
    if (!root)
        return d->e ? d->e->st : ST_FORMAT;
    j.o = root;
    const cJSON *map = json_find(&j, "weight_map");
    if (!cJSON_IsObject(map) || !map->child)
        st = err_set(d->e, ST_FORMAT, "%s: no weight_map", j.file);
    else
        st = add_shards(d, map);
    if (st == 0)
        st = tensor_table_finish(&d->s->tensors, d->e);
    if (st == 0)
        st = check_all_there(d, map);
    cJSON_Delete(root);
    return st;
}

static int read_weights(const struct folder *d)
{
    int st;
    const struct file_map *m = map_in(d, "model.safetensors", true, &st);
    if (st)
        return st;
    if (!m)
        return read_sharded(d);
    st = add_weights(d, "model.safetensors", m);
    return st ? st : tensor_table_finish(&d->s->tensors, d->e);
}

int source_open_hf(struct model_source *s, const char *path, struct err *e)
{
    static const char config[] = "/config.json";
    struct folder d = {s, path, (int)strnlen(path, PATH_MAX), e};
    int tail = (int)strlen(config);
    struct stat info;
    if (d.path_len >= PATH_MAX)
        return err_set(e, ST_IO, "the model path is too long");
    if (stat(path, &info) == 0 &&
        !S_ISDIR(info.st_mode)) { /* a dummy's config.json, named itself */
        if (d.path_len > tail && strcmp(path + d.path_len - tail, config) == 0)
            d.path_len -= tail;
        else if (strcmp(path, config + 1) == 0)
            d = (struct folder){s, ".", 1, e};
        else
            return err_set(e, ST_FORMAT, "%s: neither a folder nor a config.json", path);
    }
    int st = read_configs(&d);
    if (st == 0)
        st = read_text_files(&d);
    if (st == 0 && !s->dummy)
        st = read_weights(&d);
    return st;
}
