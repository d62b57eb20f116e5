/* SPDX-License-Identifier: Apache-2.0 */
/* embed_req.h - an embeddings request as checked values, and its answer as text. Pure; any thread.
 */
#ifndef QUIRE_API_EMBED_REQ_H
#define QUIRE_API_EMBED_REQ_H

#include "genreq.h"

/* Like genreq_make. Afterwards g->dimensions floats of each vector are shown. */
int embed_make(struct genreq *g, const char *body, size_t n, const struct gen_rules *u,
               struct err *e);

/* What embed_text writes, at most. */
size_t embed_bytes(const struct genreq *g);
/* The whole answer. vec: [n_prompts][dimensions], which are normalised in place where that is
 * asked for; n_cached: prompt tokens that came from the prefix cache. */
void embed_text(const struct genreq *g, float *vec, int64_t n_cached, struct buf *out);

enum { OUT_FLOAT_BYTES = 16 };
/* A finite number in at most so many bytes less one; reads back as the same float. Returns the
 * length; no zero byte. */
int out_float(char *to, float v);

#endif
