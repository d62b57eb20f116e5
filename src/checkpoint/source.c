/* SPDX-License-Identifier: Apache-2.0 */
/* source.c - a source as such: empty, filled with maps by its readers, closed.
 *
 * Owns the maps for as long as the source lives. Opening thread; read-only afterwards.
 */
#include "source.h"

#include "config_check.h"

#include <stdlib.h>

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
