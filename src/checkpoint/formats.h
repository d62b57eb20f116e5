/* SPDX-License-Identifier: Apache-2.0 */
/* formats.h - the two kinds of files that fill a source. Opening thread. Private to checkpoint/.
 */
#ifndef QUIRE_CHECKPOINT_FORMATS_H
#define QUIRE_CHECKPOINT_FORMATS_H

#include "source.h"

/* hf_dir.c: a folder, or for a dummy a config.json too. gguf_config.c: a whole GGUF file, which
 * stays where it is as long as the source. Both fill cfg, text, family and tensors. */
int source_open_hf(struct model_source *s, const char *path, struct err *e);
int source_open_gguf(struct model_source *s, const uint8_t *data, size_t n, struct err *e);

#endif
