/* SPDX-License-Identifier: Apache-2.0 */
/* philox.h - Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011):
 * a random number as a pure function of (seed, position). */
#ifndef QUIRE_CPU_PHILOX_H
#define QUIRE_CPU_PHILOX_H

#include <stdint.h>

static inline void philox4x32(uint32_t c[4], uint32_t k0, uint32_t k1)
{
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c[0], b = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t x0 = (uint32_t)(b >> 32) ^ c[1] ^ k0, x2 = (uint32_t)(a >> 32) ^ c[3] ^ k1;
        c[0] = x0;
        c[1] = (uint32_t)b;
        c[2] = x2;
        c[3] = (uint32_t)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

/* In [0, 1), 53 bits; see op_sample. */
static inline double philox_unit(uint64_t seed, uint32_t pos)
{
    uint32_t c[4] = {pos, 0, 0, 0};
    philox4x32(c, (uint32_t)seed, (uint32_t)(seed >> 32));
    return (double)(((uint64_t)c[0] << 32 | c[1]) >> 11) * 0x1p-53;
}

#endif
