/* SPDX-License-Identifier: Apache-2.0 */
/* dequant.h - the element types that model files store, and their conversion to storage types. */
#ifndef QUIRE_CHECKPOINT_DEQUANT_H
#define QUIRE_CHECKPOINT_DEQUANT_H

#include "dtype.h"

#include <stdbool.h>
#include <stdint.h>

/* Stored types. QT_OTHER: known to exist, not to us; refused by name if a weight needs it. */
enum qtype {
    QT_F32,
    QT_F16,
    QT_BF16,
    QT_Q4_0,
    QT_Q4_1,
    QT_Q5_0,
    QT_Q5_1,
    QT_Q8_0,
    QT_Q4_K,
    QT_Q5_K,
    QT_Q6_K,
    QT_OTHER,
    N_QTYPES
};
enum { QT_MAX_BLOCK = 256 }; /* elements in the largest block */

/* Elements and bytes of one block; a row is a whole number of blocks. QT_OTHER: 0. */
int32_t qtype_block_elems(int type);
int32_t qtype_block_bytes(int type);
const char *qtype_name(int type);
/* The enum qtype of a GGUF tensor type number; QT_OTHER when not supported. */
int qtype_of_ggml(uint32_t ggml_type);
/* The name GGUF tools give to a type number, also of unsupported ones; "type N" style is left to
 * the caller: NULL when the number is unknown. */
const char *qtype_ggml_name(uint32_t ggml_type);

/* dst[i] = src[i] for n elements (a multiple of the block), rounded to nearest even into dt. src
 * may be unaligned. Pure, any thread. F32 results are d * q (+ m) in single precision without
 * contraction on x86, so they equal the reference dequantisation to the bit. */
void qtype_convert(int type, const void *src, int64_t n, void *dst, int32_t dt);
/* The same in portable C only: the oracle of the tests. */
void qtype_convert_portable(int type, const void *src, int64_t n, void *dst, int32_t dt);

/* A quantised type as codes: n elements (a multiple of the block) as codes[i], with a scale and an
 * offset for every `group` of them: qtype_convert's f32 is scale * code + offset, rounded once, up
 * to the sign of a zero. qtype_code: the enum wcode and the largest group (16 or 32); WC_PLAIN and
 * 0 for a type that is no such thing. `group` may be smaller than that, 16. Pure, any thread. */
int32_t qtype_code(int type, int32_t *group);
void qtype_split(int type, const void *src, int64_t n, int32_t group, uint8_t *codes, float *scale,
                 float *offset);

#endif
