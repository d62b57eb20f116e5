/* SPDX-License-Identifier: Apache-2.0 */
/* kvmem.h - the memory of the KV pool. Loader thread. */
#ifndef QUIRE_MODEL_KVMEM_H
#define QUIRE_MODEL_KVMEM_H

#include "state.h"

/* Bytes of one page. */
int64_t kv_page_bytes(const struct model_dims *d, int32_t kv_dt, int32_t page_tokens);
/* The pool itself: fills m->kv, m->page_bytes and m->max_len. 0, or ST_NOMEM or ST_INVALID_VALUE
 * with the numbers. */
int kv_pool_alloc(struct model *m, const struct model_opts *o, struct err *e);

#endif
