/* SPDX-License-Identifier: Apache-2.0 */
/* process.h - what the kernel says of this process. */
#ifndef QUIRE_API_PROCESS_H
#define QUIRE_API_PROCESS_H

#include "buf.h"

#include <stdint.h>

/* The process_* families under the names that every Prometheus client has. Loop thread; a few
 * microseconds. */
void process_metrics(struct buf *b, int64_t start_unix_s);

#endif
