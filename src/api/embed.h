/* SPDX-License-Identifier: Apache-2.0 */
/* embed.h - POST /v1/embeddings: inputs become sequences of the engine that give a vector each.
 * Handlers: handler.h. Loop thread.
 */
#ifndef QUIRE_API_EMBED_H
#define QUIRE_API_EMBED_H

#include "handler.h"
#include "msg.h"

struct api;

void api_embeddings(struct req *r);
void embed_gone(struct req *r);
void embed_failed(struct req *r, const struct err *e);
void embed_sweep(struct req *r, int64_t now_us);
bool embed_busy(const struct req *r);
void embed_line(const struct req *r, char *out, size_t n);
void embed_free(struct req *r);

/* A record of the engine whose id is no choice's; vec: its vector, if it has one. */
void embed_record(struct api *a, const struct out_rec *rec, const float *vec, int64_t now_us);
/* The engine is gone: none of its ends will come. */
void embed_abandon_all(struct api *a);

#endif
