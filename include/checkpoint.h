/* SPDX-License-Identifier: Apache-2.0 */
/* checkpoint.h - a model's files: opened, checked and described; weight_rows.h reads their weights.
 *
 * Everything that files can get wrong is refused here; nobody behind this door sees a file format.
 * No device is known on this side of it. A source is filled by the thread that opens it and
 * read-only afterwards, so loaders on several threads may read it.
 */
#ifndef QUIRE_CHECKPOINT_H
#define QUIRE_CHECKPOINT_H

#include "model_config.h"
#include "status.h"
#include "text_source.h"

#include <stdbool.h>
#include <stdint.h>

/* Files mapped and verified: every offset, shape and size checked; nothing loaded yet. */
struct model_source;
struct model_source_opts {
    const char *path; /* a Hugging Face folder or one .gguf file */
    bool dummy;       /* config only; weights are random from `seed` */
    uint64_t seed;
};
int model_source_open(struct model_source **out, const struct model_source_opts *o, struct err *e);
void model_source_close(struct model_source *s);
/* After reading (weight_rows.h, or the text): ST_IO naming the file that became shorter meanwhile,
 * or that could not be read; what was read of it then is worth nothing. */
int model_source_check(const struct model_source *s, struct err *e);
const struct model_config *model_source_config(const struct model_source *s);
const struct text_source *model_source_text(const struct model_source *s);

#endif
