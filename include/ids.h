/* ids.h - the integer names that cross module borders. */
#ifndef QUIRE_IDS_H
#define QUIRE_IDS_H

#include <stdint.h>

typedef int32_t page_id;  /* a page of KV in the device pool; -1 = none */
typedef int32_t row_id;   /* index of a seq in every per-row device table; -1 = none */
typedef int32_t token_id; /* index into the vocabulary */
typedef int32_t node_id;  /* a radix tree node; 0 = the root */
typedef uint64_t req_id;  /* one generation; unique in the process, never reused, never 0 */

#endif
