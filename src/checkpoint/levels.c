/* SPDX-License-Identifier: Apache-2.0 */
/* levels.c - quantised blocks taken apart: levels, scales, offsets. See dequant.h.
 *
 * For a backend that keeps weights quantised. All the block types are scale * q + offset with a
 * small non-negative q, once the constant that centres q is moved into the offset. Products of
 * scale and q are exact in f32 (at most 11 + 7 + 6 bits), so the sum is rounded once, as in
 * dequant.c. Pure functions, any thread.
 */
#include "dequant.h"

#include "check.h"

#include <string.h>

static float half_at(const uint8_t *p)
{
    uint16_t h;
    float f;
    memcpy(&h, p, 2);
    qtype_convert_portable(QT_F16, &h, 1, &f, DT_F32);
    return f;
}

int32_t qtype_code(int type, int32_t *group)
{
    *group = type == QT_Q6_K ? 16 : 32;
    switch (type) {
    case QT_Q4_0:
    case QT_Q4_1:
    case QT_Q4_K:
        return WC_U4;
    case QT_Q5_0:
    case QT_Q5_1:
    case QT_Q5_K:
    case QT_Q6_K:
    case QT_Q8_0:
        return WC_U8;
    default:
        *group = 0;
        return WC_PLAIN;
    }
}

/* What one block gives: up to 256 levels, and scales and offsets of its own groups. */
struct block {
    uint8_t q[QT_MAX_BLOCK];
    float scale[16], offset[16];
};

/* Low nibbles are elements 0..15, high ones 16..31; `high` holds a fifth bit of each. */
static void nibbles(struct block *o, const uint8_t *p, uint32_t high)
{
    for (int i = 0; i < 16; i++) {
        o->q[i] = (uint8_t)((p[i] & 15) | (high >> i & 1) << 4);
        o->q[i + 16] = (uint8_t)(p[i] >> 4 | (high >> (i + 16) & 1) << 4);
    }
}

static void split_32(int type, const uint8_t *b, struct block *o)
{
    float d = half_at(b);
    uint32_t high = 0;
    o->scale[0] = d;
    switch (type) {
    case QT_Q4_0:
        nibbles(o, b + 2, 0);
        o->offset[0] = -8 * d;
        break;
    case QT_Q4_1:
        nibbles(o, b + 4, 0);
        o->offset[0] = half_at(b + 2);
        break;
    case QT_Q5_0:
        memcpy(&high, b + 2, 4);
        nibbles(o, b + 6, high);
        o->offset[0] = -16 * d;
        break;
    case QT_Q5_1:
        memcpy(&high, b + 4, 4);
        nibbles(o, b + 8, high);
        o->offset[0] = half_at(b + 2);
        break;
    default: /* Q8_0 */
        for (int i = 0; i < 32; i++)
            o->q[i] = (uint8_t)((int8_t)b[2 + i] + 128);
        o->offset[0] = -128 * d;
    }
}

/* Eight groups of 32; scales and minima of 6 bits as k_scales of dequant.c has them. */
static void split_k45(int type, const uint8_t *b, struct block *o)
{
    float d = half_at(b), dmin = half_at(b + 2);
    const uint8_t *p = b + 4, *high = b + 16, *q = type == QT_Q5_K ? b + 48 : b + 16;
    for (int g = 0; g < 8; g++) {
        int scale = g < 4 ? p[g] & 63 : (p[g + 4] & 15) | p[g - 4] >> 6 << 4;
        int min = g < 4 ? p[g + 4] & 63 : p[g + 4] >> 4 | p[g] >> 6 << 4;
        o->scale[g] = d * (float)scale;
        o->offset[g] = -(dmin * (float)min);
        for (int i = 0; i < 32; i++) {
            int v = q[g / 2 * 32 + i] >> (g % 2 * 4) & 15;
            if (type == QT_Q5_K)
                v |= (high[i] >> g & 1) << 4;
            o->q[32 * g + i] = (uint8_t)v;
        }
    }
}

/* Sixteen groups of 16, in two halves of 128 elements. */
static void split_k6(const uint8_t *b, struct block *o)
{
    float d = half_at(b + 208);
    for (int i = 0; i < 256; i++) {
        int half = i / 128, k = i / 32 % 4, j = i % 32;
        int low = b[64 * half + 32 * (k & 1) + j] >> (4 * (k >> 1)) & 15;
        int high = b[128 + 32 * half + j] >> (2 * k) & 3;
        o->q[i] = (uint8_t)(low | high << 4);
    }
    for (int g = 0; g < 16; g++) {
        o->scale[g] = d * (float)(int8_t)b[192 + g];
        o->offset[g] = -32 * o->scale[g];
    }
}

void qtype_split(int type, const void *src, int64_t n, int32_t group, uint8_t *codes, float *scale,
                 float *offset)
{
    int32_t own, elems = qtype_block_elems(type);
    const uint8_t *b = src;
    struct block o;
    qtype_code(type, &own);
    CHECK(own > 0); /* asked for codes that there are */
    for (int64_t at = 0; at < n; at += elems, b += qtype_block_bytes(type)) {
        if (elems == 32)
            split_32(type, b, &o);
        else if (type == QT_Q6_K)
            split_k6(b, &o);
        else
            split_k45(type, b, &o);
        memcpy(codes + at, o.q, (size_t)elems);
        for (int32_t i = 0; i < elems / group; i++) {
            scale[at / group + i] = o.scale[i * group / own];
            offset[at / group + i] = o.offset[i * group / own];
        }
    }
}
