/* SPDX-License-Identifier: Apache-2.0 */
/* dtype.h - how numbers are stored: the element types of activations, weights and KV, and the codes
 * of quantised weights. Plain data that files and devices share. */
#ifndef QUIRE_DTYPE_H
#define QUIRE_DTYPE_H

#include <stddef.h>
#include <stdint.h>

enum dtype { DT_F32, DT_BF16, DT_F16, N_DTYPES };

/* Bytes of one element. */
static inline size_t dtype_size(int32_t dt)
{
    return dt == DT_F32 ? 4 : 2;
}

/* What one element of a weight is. An integer code stands for scale * code + offset, a float code
 * (E4M3, E2M1) for scale * its value. */
enum wcode {
    WC_PLAIN, /* a number of an enum dtype */
    WC_E4M3,  /* 8 bits, float */
    WC_U8,    /* 8 bits, 0..255 */
    WC_U4,    /* 4 bits, 0..15 */
    WC_E2M1,  /* 4 bits, float */
};

#endif
