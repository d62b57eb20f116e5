/* SPDX-License-Identifier: Apache-2.0 */
/* vec_body.h - the body of vec_avx512.c, vec_avx2.c and vec_base.c; see vec.h. No include guard.
 *
 * The includer defines: TGT (function attribute), VEC and W (vector type, f32 lanes), ROWS (rows of
 * a register tile, two vectors wide), VZERO VSET1 VLOAD VSTORE VADD VSUB VMUL VDIV VFMA VEXP, and
 * VLOAD_BF16, VLOAD_F16 (W elements of const uint16_t * as f32), VLOAD_LO, VLOAD_HI, VLOAD_U8 (low
 * nibbles, high nibbles, bytes of W elements of const uint8_t * as f32).
 */
#define INLINE static inline __attribute__((always_inline)) TGT

INLINE VEC load_any(const void *b, ptrdiff_t i, const int dt)
{
    if (dt == DT_F32)
        return VLOAD((const float *)b + i);
    if (dt == DT_BF16)
        return VLOAD_BF16((const uint16_t *)b + i);
    return VLOAD_F16((const uint16_t *)b + i);
}

/* NOLINTBEGIN(bugprone-implicit-widening-of-multiplication-result): v * W stays inside a panel, and
 * `int` is what the loops over registers unroll best with. */

/* One register tile: mr rows by nv vectors; mr, nv and dt are constants after inlining. */
INLINE void reg_tile(const int mr, const int nv, const int dt, float *c, ptrdiff_t ldc,
                     const float *a, ptrdiff_t lda, const void *b, ptrdiff_t ldb, int k, int add)
{
    VEC acc[ROWS][2];
#pragma GCC unroll 16
    for (int r = 0; r < mr; r++)
#pragma GCC unroll 2
        for (int v = 0; v < nv; v++)
            acc[r][v] = VZERO();
    for (int i = 0; i < k; i++) {
        VEC w[2];
#pragma GCC unroll 2
        for (int v = 0; v < nv; v++)
            w[v] = load_any(b, i * ldb + v * W, dt);
#pragma GCC unroll 16
        for (int r = 0; r < mr; r++) {
            VEC x = VSET1(a[r * lda + i]);
#pragma GCC unroll 2
            for (int v = 0; v < nv; v++)
                acc[r][v] = VFMA(x, w[v], acc[r][v]);
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < mr; r++)
#pragma GCC unroll 2
        for (int v = 0; v < nv; v++) {
            float *to = c + r * ldc + v * W;
            if (add)
                acc[r][v] = VADD(VLOAD(to), acc[r][v]);
            VSTORE(to, acc[r][v]);
        }
}

/* All rows of one column strip. */
INLINE void strip(const int nv, const int dt, float *c, ptrdiff_t ldc, const float *a,
                  ptrdiff_t lda, const void *b, ptrdiff_t ldb, int k, int m, int add)
{
    while (m > 0) {
        int mr = 1;
        if (m >= ROWS && !(ROWS == 6 && m == 8)) { /* 8 rows are better cut 4 + 4 than 6 + 2 */
            mr = ROWS;
            reg_tile(ROWS, nv, dt, c, ldc, a, lda, b, ldb, k, add);
#if ROWS > 8
        } else if (m >= 8) {
            mr = 8;
            reg_tile(8, nv, dt, c, ldc, a, lda, b, ldb, k, add);
#endif
#if ROWS > 4
        } else if (m >= 4) {
            mr = 4;
            reg_tile(4, nv, dt, c, ldc, a, lda, b, ldb, k, add);
#endif
        } else if (m >= 2) {
            mr = 2;
            reg_tile(2, nv, dt, c, ldc, a, lda, b, ldb, k, add);
        } else {
            reg_tile(1, nv, dt, c, ldc, a, lda, b, ldb, k, add);
        }
        m -= mr;
        a += mr * lda;
        c += mr * ldc;
    }
}

INLINE void strips(const int dt, size_t size, float *c, ptrdiff_t ldc, const float *a,
                   ptrdiff_t lda, const void *b, ptrdiff_t ldb, int k, int m, int n, int add)
{
    int j = 0;
    for (; j + 2 * W <= n; j += 2 * W)
        strip(2, dt, c + j, ldc, a, lda, (const char *)b + (size_t)j * size, ldb, k, m, add);
    for (; j + W <= n; j += W)
        strip(1, dt, c + j, ldc, a, lda, (const char *)b + (size_t)j * size, ldb, k, m, add);
}

static TGT void vec_tile(float *c, ptrdiff_t ldc, const float *a, ptrdiff_t lda, const void *b,
                         ptrdiff_t ldb, int k, int m, int n, int b_dt, int add)
{
    if (b_dt == DT_F32)
        strips(DT_F32, 4, c, ldc, a, lda, b, ldb, k, m, n, add);
    else if (b_dt == DT_BF16)
        strips(DT_BF16, 2, c, ldc, a, lda, b, ldb, k, m, n, add);
    else
        strips(DT_F16, 2, c, ldc, a, lda, b, ldb, k, m, n, add);
}

enum { PANEL_VECS = VEC_PANEL / W };

/* One line of a quantised panel: VEC_PANEL weights. s: its scales, then its offsets. */
INLINE void quant_line(const int bits, const uint8_t *q, const VEC s[2 * PANEL_VECS],
                       VEC w[PANEL_VECS])
{
    enum { HALF = PANEL_VECS / 2 };
#pragma GCC unroll 8
    for (int v = 0; v < HALF; v++) {
        VEC lo = bits == 4 ? VLOAD_LO(q + v * W) : VLOAD_U8(q + v * W);
        VEC hi = bits == 4 ? VLOAD_HI(q + v * W) : VLOAD_U8(q + (v + HALF) * W);
        w[v] = VFMA(s[v], lo, s[PANEL_VECS + v]);
        w[v + HALF] = VFMA(s[v + HALF], hi, s[PANEL_VECS + v + HALF]);
    }
}

INLINE void quant_group(const float *sm, VEC s[2 * PANEL_VECS])
{
#pragma GCC unroll 16
    for (int v = 0; v < 2 * PANEL_VECS; v++)
        s[v] = VLOAD(sm + v * W);
}

INLINE void unpack_bits(const int bits, float *dst, const uint8_t *q, const float *sm, int k,
                        int group)
{
    for (int k0 = 0; k0 < k; k0 += group, sm += 2 * VEC_PANEL) {
        VEC s[2 * PANEL_VECS], w[PANEL_VECS];
        quant_group(sm, s);
        for (int i = 0; i < group; i++, q += 4 * bits, dst += VEC_PANEL) {
            quant_line(bits, q, s, w);
#pragma GCC unroll 8
            for (int v = 0; v < PANEL_VECS; v++)
                VSTORE(dst + v * W, w[v]);
        }
    }
}

INLINE void row_bits(const int bits, float *c, const float *a, const uint8_t *q, const float *sm,
                     int k, int group, int add)
{
    VEC acc[PANEL_VECS];
#pragma GCC unroll 8
    for (int v = 0; v < PANEL_VECS; v++)
        acc[v] = VZERO();
    for (int k0 = 0; k0 < k; k0 += group, sm += 2 * VEC_PANEL) {
        VEC s[2 * PANEL_VECS], w[PANEL_VECS];
        quant_group(sm, s);
        for (int i = 0; i < group; i++, q += 4 * bits, a++) {
            VEC x = VSET1(*a);
            quant_line(bits, q, s, w);
#pragma GCC unroll 8
            for (int v = 0; v < PANEL_VECS; v++)
                acc[v] = VFMA(x, w[v], acc[v]);
        }
    }
#pragma GCC unroll 8
    for (int v = 0; v < PANEL_VECS; v++) {
        if (add)
            acc[v] = VADD(VLOAD(c + v * W), acc[v]);
        VSTORE(c + v * W, acc[v]);
    }
}

/* NOLINTEND(bugprone-implicit-widening-of-multiplication-result) */

static TGT void vec_unpack(float *dst, const uint8_t *q, const float *sm, int k, int bits,
                           int group)
{
    if (bits == 4)
        unpack_bits(4, dst, q, sm, k, group);
    else
        unpack_bits(8, dst, q, sm, k, group);
}

static TGT void vec_row(float *c, const float *a, const uint8_t *q, const float *sm, int k,
                        int bits, int group, int add)
{
    if (bits == 4)
        row_bits(4, c, a, q, sm, k, group, add);
    else
        row_bits(8, c, a, q, sm, k, group, add);
}

static TGT float vec_exp_tile(float *s, int n_valid, int n, float max)
{
    VEC sum = VZERO();
    for (int j = n_valid; j < n; j++)
        s[j] = max;
    for (int j = 0; j < n; j += W)
        VSTORE(s + j, VEXP(VSUB(VLOAD(s + j), VSET1(max))));
    for (int j = n_valid; j < n; j++)
        s[j] = 0.0f;
    for (int j = 0; j < n; j += W)
        sum = VADD(sum, VLOAD(s + j));
    float lane[W], total = 0.0f;
    VSTORE(lane, sum);
    for (int j = 0; j < W; j++)
        total += lane[j];
    return total;
}

static TGT void vec_silu16(float *out, const float *g, const float *u)
{
    for (int j = 0; j < 16; j += W) {
        VEC x = VLOAD(g + j);
        VEC d = VADD(VSET1(1.0f), VEXP(VSUB(VZERO(), x)));
        VSTORE(out + j, VMUL(VDIV(x, d), VLOAD(u + j)));
    }
}

static TGT void vec_load(float *dst, const void *src, int32_t dt, size_t n)
{
    const uint16_t *h = src;
    size_t i = 0;
    if (dt == DT_F32) {
        memcpy(dst, src, n * sizeof *dst);
        return;
    }
    if (dt == DT_BF16) {
        for (; i + W <= n; i += W)
            VSTORE(dst + i, VLOAD_BF16(h + i));
        for (; i < n; i++)
            dst[i] = f32_of_bf16(h[i]);
        return;
    }
    for (; i + W <= n; i += W)
        VSTORE(dst + i, VLOAD_F16(h + i));
    for (; i < n; i++)
        dst[i] = f32_of_f16(h[i]);
}

static TGT void vec_store(void *dst, const float *src, int32_t dt, size_t n)
{
    uint16_t *h = dst;
    if (dt == DT_F32)
        memcpy(dst, src, n * sizeof *src);
    else if (dt == DT_BF16)
        for (size_t i = 0; i < n; i++)
            h[i] = bf16_of_f32(src[i]);
    else
        for (size_t i = 0; i < n; i++)
            h[i] = f16_of_f32(src[i]);
}

#undef INLINE
