/* SPDX-License-Identifier: Apache-2.0 */
/* ids.h - the integer names that cross module borders, a list of token ids, and the one list of
 * eviction policies.
 */
#ifndef QUIRE_IDS_H
#define QUIRE_IDS_H

#include <stddef.h>
#include <stdint.h>

typedef int32_t page_id;  /* a page of KV in the device pool; -1 = none */
typedef int32_t row_id;   /* index of a seq in every per-row device table; -1 = none */
typedef int32_t token_id; /* index into the vocabulary */
typedef int32_t node_id;  /* a node of the prefix tree; 0 = the root */
typedef uint64_t req_id;  /* one generation; unique in the process, never reused, never 0 */

/* Ids that end a generation, at most: models list a handful, a file that lists more is refused. */
enum { MAX_EOS = 256 };

/* A growing list of token ids, {0} to begin with; one owner at a time. Growing aborts when memory
 * is exhausted. */
struct ids {
    token_id *p;
    size_t n, cap;
};
void ids_add(struct ids *v, token_id t);
void ids_free(struct ids *v); /* empty again afterwards */

/* X(constant, word in settings): which cached page goes first. The choices of the setting and the
 * table of functions in kv/evict.c are made from this list. */
#define EVICT_LIST(X) X(EVICT_LRU, lru) X(EVICT_LFU, lfu) X(EVICT_FIFO, fifo)

#define X(name, word) name,
enum evict_policy { EVICT_LIST(X) N_EVICT };
#undef X

#endif
