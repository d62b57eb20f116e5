/* SPDX-License-Identifier: Apache-2.0 */
/* source.c - a source as such: empty, filled with maps by its readers, closed.
 *
 * Owns the maps for as long as the source lives. Opening thread; read-only afterwards.
 */
#include "source.h"

#include "config_check.h"
#include "log.h"

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

int source_add_end(struct model_source *s, int64_t id, const char *from, struct err *e)
{
    struct text_source *t = &s->text;
    for (size_t i = 0; i < t->n_ends; i++)
        if (s->ends[i].id == id)
            return 0;
    if (id < 0)
        return 0;
    if (id >= s->cfg.vocab) {
        log_warn("checkpoint.end_id", "ignored=%lld from=%s vocabulary=%d", (long long)id, from,
                 (int)s->cfg.vocab);
        return 0;
    }
    if (t->n_ends == MAX_EOS)
        return err_set(e, ST_UNSUPPORTED, "%s: more than %d ids that end a generation", from,
                       MAX_EOS);
    s->ends[t->n_ends++] = (struct end_id){(int32_t)id, from};
    return 0;
}

struct model_source *source_new(void)
{
    struct model_source *s = xalloc(sizeof *s);
    s->maps = xcalloc2(SRC_MAX_FILES, sizeof *s->maps);
    tensor_table_init(&s->tensors);
    config_init(&s->cfg);
    struct text_source *t = &s->text;
    t->bos_id = t->eos_id = t->unk_id = t->pad_id = -1;
    t->ends = s->ends;
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

int model_source_check(const struct model_source *s, struct err *e)
{
    int st = 0;
    for (int32_t i = 0; i < s->n_maps && st == 0; i++)
        st = file_map_check(&s->maps[i], e);
    return st;
}

const struct model_config *model_source_config(const struct model_source *s)
{
    return &s->cfg;
}

const struct text_source *model_source_text(const struct model_source *s)
{
    return &s->text;
}
