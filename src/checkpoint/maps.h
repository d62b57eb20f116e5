/* SPDX-License-Identifier: Apache-2.0 */
/* maps.h - files mapped read-only, and what becomes of one that shrinks meanwhile. Private to
 * checkpoint/.
 *
 * Reading a page that lies behind the end of a file raises SIGBUS, which would end the process
 * without a word. Every map is therefore known to a handler: it puts zeros where the file ended
 * and remembers it, the reader goes on, and file_map_check tells. Maps are opened and closed by one
 * thread at a time; they may be read by any.
 */
#ifndef QUIRE_CHECKPOINT_MAPS_H
#define QUIRE_CHECKPOINT_MAPS_H

#include "status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct guard;
/* Or memory that somebody else owns (is_map false). */
struct file_map {
    const uint8_t *p;
    size_t n;
    bool is_map;
    int64_t mtime_ns;
    char *path;
    uint64_t dev, ino;
    struct guard *guard; /* what the handler knows of it */
};
/* Missing file: ST_NOT_FOUND; others ST_IO. An empty file gives p != NULL, n == 0. */
int file_map_open(struct file_map *m, const char *path, struct err *e);
void file_map_close(struct file_map *m);
/* ST_IO when the file has become shorter, was written to, or could not be read: then what was read
 * of it is worth nothing. Call it after reading. */
int file_map_check(const struct file_map *m, struct err *e);
/* The part of it without asking the file system: has a read already failed? */
bool file_map_failed(const struct file_map *m);

#endif
