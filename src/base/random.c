/* SPDX-License-Identifier: Apache-2.0 */
/* random.c - random digits from the kernel; where it has none to give, digits that differ. */
#include "random.h"

#include "clock.h"
#include "hash.h"

#include <stdatomic.h>
#include <stdint.h>
#include <sys/random.h>
#include <sys/types.h>

/* Of the time and of a count: no secret, but no two calls of a process agree. */
static uint64_t fallback(void)
{
    static _Atomic uint64_t calls;
    return mix64((uint64_t)clock_us() + 0x9e3779b97f4a7c15u * (1 + atomic_fetch_add(&calls, 1)));
}

void random_hex(char *hex, int n)
{
    unsigned char raw[32] = {0};
    if (getrandom(raw, sizeof raw, 0) != (ssize_t)sizeof raw)
        for (size_t i = 0; i < sizeof raw; i++)
            raw[i] = (unsigned char)fallback();
    for (int i = 0; i < n; i++)
        hex[i] = "0123456789abcdef"[raw[i / 2] >> (i % 2 * 4) & 15];
    hex[n] = '\0';
}
