/* SPDX-License-Identifier: Apache-2.0 */
/* clock.h - time is int64 microseconds, monotonic. */
#ifndef QUIRE_CLOCK_H
#define QUIRE_CLOCK_H

#include <stdint.h>

int64_t clock_us(void);
int64_t clock_unix_s(void);

#endif
