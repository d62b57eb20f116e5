/* SPDX-License-Identifier: Apache-2.0 */
/* log_drain.h - between log.c, which makes lines, and log_drain.c, which writes them. Any thread.
 */
#ifndef QUIRE_BASE_LOG_DRAIN_H
#define QUIRE_BASE_LOG_DRAIN_H

#include <stddef.h>
#include <stdint.h>

/* A whole line with its newline: written now, or by the thread, or counted as dropped. */
void log_line(const char *s, size_t n);
/* The line that says so; returns its length. Cut at cap. */
size_t log_lost(char *out, size_t cap, uint64_t lines);

#endif
