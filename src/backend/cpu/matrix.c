/* SPDX-License-Identifier: Apache-2.0 */
/* matrix.c - weights as the CPU likes them: panels for op_gemm.
 *
 * Loader thread; read-only afterwards. Values are stored exactly as given, in the storage type
 * given, with two exceptions that change no value: an f32 matrix all of whose values are bf16 (or
 * f16) numbers, such as a bf16 checkpoint run in f32, is kept so, and a quantised one (every part
 * offers integer codes) is kept as levels and scales: a half to a sixth of the bytes, the same
 * arithmetic. The pool's threads fill and pack panels side by side; fill() may be called more than
 * once for the same rows.
 */
#include "check.h"
#include "cpu.h"
#include "mem.h"
#include "status.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Rows [row0, row0 + n) of the stacked parts, row-major. */
static int fill_rows(const struct be_weight_part *parts, int n_parts, int64_t row0, int64_t n,
                     size_t row_bytes, char *dst)
{
    for (int i = 0; i < n_parts && n > 0; i++) {
        if (row0 >= parts[i].n_rows) {
            row0 -= parts[i].n_rows;
            continue;
        }
        int64_t k = parts[i].n_rows - row0 < n ? parts[i].n_rows - row0 : n;
        int st = parts[i].fill(parts[i].arg, row0, k, dst);
        if (st != 0)
            return st;
        dst += (size_t)k * row_bytes;
        n -= k;
        row0 = 0;
    }
    return 0;
}

/* The same rows as levels, scales and offsets. */
static int fill_codes(const struct be_weight_part *parts, int n_parts, int64_t row0, int64_t n,
                      int64_t n_in, int32_t group, uint8_t *q, float *scale, float *offset)
{
    for (int i = 0; i < n_parts && n > 0; i++) {
        if (row0 >= parts[i].n_rows) {
            row0 -= parts[i].n_rows;
            continue;
        }
        int64_t k = parts[i].n_rows - row0 < n ? parts[i].n_rows - row0 : n;
        int st = parts[i].fill_codes(parts[i].arg, row0, k, group, q, scale, offset);
        if (st != 0)
            return st;
        q += k * n_in;
        scale += k * (n_in / group);
        offset += k * (n_in / group);
        n -= k;
        row0 = 0;
    }
    return 0;
}

/* Up to VEC_PANEL rows to one panel [n_in][VEC_PANEL]; missing rows stay zero. Blocks of columns
 * keep both sides in cache. `size` is 2 or 4. */
static void pack_panel(char *to, const char *src, int64_t rows, int64_t n_in, size_t size)
{
    for (int64_t k0 = 0; k0 < n_in; k0 += 64)
        for (int64_t r = 0; r < rows; r++)
            for (int64_t k = k0; k < k0 + 64 && k < n_in; k++) {
                const char *from = src + (size_t)(r * n_in + k) * size;
                size_t at = (size_t)(k * VEC_PANEL + r);
                if (size == 4)
                    ((uint32_t *)(void *)to)[at] = *(const uint32_t *)(const void *)from;
                else
                    ((uint16_t *)(void *)to)[at] = *(const uint16_t *)(const void *)from;
            }
}

/* Levels of up to VEC_PANEL rows to lines; `to` starts out zero. */
static void pack_levels(uint8_t *to, const uint8_t *q, int64_t rows, int64_t n_in, int bits)
{
    for (int64_t k0 = 0; k0 < n_in; k0 += 64)
        for (int64_t r = 0; r < rows; r++)
            for (int64_t k = k0; k < k0 + 64 && k < n_in; k++) {
                uint8_t level = q[r * n_in + k];
                if (bits == 8)
                    to[k * VEC_PANEL + r] = level;
                else
                    to[k * (VEC_PANEL / 2) + r % 16] |= (uint8_t)(level << (r / 16 * 4));
            }
}

/* Are all n values numbers of the 16-bit type dt? */
static int fits(const float *v, size_t n, int32_t dt)
{
    uint32_t low = 0;
    if (dt == DT_BF16) {
        for (size_t i = 0; i < n; i++)
            low |= bits_of_f32(v[i]);
        return (low & 0xffffu) == 0;
    }
    for (size_t i = 0; i < n; i++)
        low |= bits_of_f32(v[i]) ^ bits_of_f32(f32_of_f16(f16_of_f32(v[i])));
    return low == 0;
}

struct loading {
    struct cpu_be *c;
    struct matrix m;
    const struct be_weight_part *parts;
    int n_parts;
    int32_t fill_dt; /* what fill() writes */
    int32_t try_dt;  /* fit_panels: does this type hold everything? */
    char *dst;
    float *sm;
    char *stage; /* per worker: a panel of rows as filled, then as narrowed or its scales */
    size_t stage_bytes, second;
    _Atomic int st; /* the first failure; the others then stop early */
    _Atomic int misfit;
};

static char *stage_of(const struct loading *l, int worker)
{
    return l->stage ? l->stage + (size_t)worker * l->stage_bytes : NULL;
}

static int64_t panel_rows(const struct loading *l, int64_t panel)
{
    int64_t left = l->m.n_out - panel * VEC_PANEL;
    return left < VEC_PANEL ? left : VEC_PANEL;
}

static int fill_panel(struct loading *l, int64_t panel, char *to)
{
    int st = fill_rows(l->parts, l->n_parts, panel * VEC_PANEL, panel_rows(l, panel),
                       (size_t)l->m.n_in * dtype_size(l->fill_dt), to);
    if (st != 0)
        atomic_store(&l->st, st);
    return st;
}

static void fit_panels(void *arg, int64_t begin, int64_t end, int worker)
{
    struct loading *l = arg;
    char *stage = stage_of(l, worker);
    for (int64_t p = begin; p < end && !atomic_load(&l->misfit) && !atomic_load(&l->st); p++)
        if (fill_panel(l, p, stage) == 0 &&
            !fits((const float *)(void *)stage, (size_t)(panel_rows(l, p) * l->m.n_in), l->try_dt))
            atomic_store(&l->misfit, 1);
}

/* A panel of the matrix: filled into the stage, narrowed, packed; a plain one straight into place.
 */
static void load_panels(void *arg, int64_t begin, int64_t end, int worker)
{
    struct loading *l = arg;
    const struct matrix *m = &l->m;
    const bool packed = m->packed;
    char *stage = stage_of(l, worker);
    CHECK(stage || !packed);
    for (int64_t p = begin; p < end && !atomic_load(&l->st); p++) {
        int64_t rows = panel_rows(l, p);
        char *to = l->dst + (size_t)(p * VEC_PANEL * m->n_in) * dtype_size(m->dt);
        if (fill_panel(l, p, packed ? stage : to) != 0 || !packed)
            continue;
        const char *from = stage;
        if (m->dt != l->fill_dt) {
            char *narrow = stage + l->second;
            l->c->vec->store(narrow, (const float *)(void *)stage, m->dt, (size_t)(rows * m->n_in));
            from = narrow;
        }
        pack_panel(to, from, rows, m->n_in, dtype_size(m->dt));
    }
}

static void load_level_panels(void *arg, int64_t begin, int64_t end, int worker)
{
    struct loading *l = arg;
    const struct matrix *m = &l->m;
    uint8_t *q = (uint8_t *)stage_of(l, worker);
    int64_t groups = m->n_in / m->group_in;
    float *scale = (float *)(void *)(q + l->second), *offset = scale + VEC_PANEL * groups;
    for (int64_t p = begin; p < end && !atomic_load(&l->st); p++) {
        int64_t rows = panel_rows(l, p);
        int st = fill_codes(l->parts, l->n_parts, p * VEC_PANEL, rows, m->n_in, m->group_in, q,
                            scale, offset);
        if (st != 0) {
            atomic_store(&l->st, st);
            return;
        }
        pack_levels((uint8_t *)l->dst + p * m->n_in * 4 * m->bits, q, rows, m->n_in, m->bits);
        float *sm = l->sm + p * groups * 2 * VEC_PANEL;
        for (int64_t r = 0; r < rows; r++)
            for (int64_t g = 0; g < groups; g++) {
                sm[g * 2 * VEC_PANEL + r] = scale[r * groups + g];
                sm[g * 2 * VEC_PANEL + VEC_PANEL + r] = offset[r * groups + g];
            }
    }
}

/* Bits of the levels that a part offers; 0 for none, or for codes that no panel holds. */
static int32_t bits_of_part(const struct be_weight_part *p)
{
    if (!p->fill_codes)
        return 0;
    return p->code == WC_U4 ? 4 : p->code == WC_U8 ? 8 : 0;
}

/* Levels, when every part has them: the most bits and the smallest group of all. Else a 16-bit type
 * that holds every value of an f32 matrix; most give up on the first rows. */
static void choose_storage(struct loading *l, int64_t n_panels)
{
    static const int32_t narrow[] = {DT_BF16, DT_F16};
    int32_t bits = 4, group = 32;
    if (!l->m.packed || l->fill_dt != DT_F32)
        return;
    for (int i = 0; i < l->n_parts; i++) {
        int32_t own = bits_of_part(&l->parts[i]);
        bits = own == 0 || bits == 0 ? 0 : own > bits ? own : bits;
        if (own && l->parts[i].group_in < group)
            group = l->parts[i].group_in;
    }
    if (bits && l->m.n_in % group == 0) {
        l->m.code = bits == 4 ? WC_U4 : WC_U8;
        l->m.bits = bits;
        l->m.group_in = group;
        l->m.group_out = 1;
        return;
    }
    for (size_t i = 0; i < sizeof narrow / sizeof *narrow; i++) {
        l->try_dt = narrow[i];
        atomic_store(&l->misfit, 0);
        cpu_pool_run(l->c->pool, n_panels, 1, fit_panels, l);
        if (!atomic_load(&l->misfit) && !atomic_load(&l->st)) {
            l->m.dt = narrow[i];
            return;
        }
    }
}

/* Room for the matrix, and for its scales. */
static int alloc_matrix(struct be *be, struct loading *l, const char *what, int64_t n_panels,
                        struct err *e)
{
    struct matrix *m = &l->m;
    size_t elems, bytes;
    if (!mul_size((size_t)n_panels * VEC_PANEL, (size_t)m->n_in, &elems) ||
        !mul_size(elems, dtype_size(m->dt), &bytes))
        return err_set(e, ST_INVALID_VALUE, "%s: too large", what);
    if (m->bits)
        bytes = elems / 8 * (size_t)m->bits;
    l->dst = be_alloc(be, what, bytes);
    if (l->dst && m->bits) {
        bytes = elems / (size_t)m->group_in * 2 * sizeof *l->sm;
        l->sm = be_alloc(be, what, bytes);
    }
    if (!l->dst || (m->bits && !l->sm))
        return err_set(e, ST_NOMEM, "%s: no room for %zu bytes", what, bytes);
    m->data = l->dst;
    m->scale = l->sm;
    m->offset = l->sm ? l->sm + VEC_PANEL : NULL;
    return 0;
}

static int load(struct be *be, struct loading *l, const char *what, struct err *e)
{
    int64_t n_panels = (l->m.n_out + VEC_PANEL - 1) / VEC_PANEL;
    choose_storage(l, n_panels);
    int st = atomic_load(&l->st);
    if (st == 0 && (st = alloc_matrix(be, l, what, n_panels, e)) != 0)
        return st;
    if (st == 0) {
        cpu_pool_run(l->c->pool, n_panels, 1, l->m.bits ? load_level_panels : load_panels, l);
        st = atomic_load(&l->st);
    }
    return st != 0 ? err_set(e, st, "%s: reading the weights failed: %s", what, st_text(st)) : 0;
}

int cpu_load_matrix(struct be *be, const struct be_matrix_spec *s, struct matrix *out,
                    struct err *e)
{
    struct loading l = {
        .c = cpu_of(be),
        .m = {.n_in = s->n_in, .dt = s->dt, .packed = s->gemm_operand},
        .parts = s->parts,
        .n_parts = s->n_parts,
        .fill_dt = s->dt,
    };
    for (int i = 0; i < s->n_parts; i++)
        l.m.n_out += s->parts[i].n_rows;
    if (l.m.n_out <= 0)
        return err_set(e, ST_INVALID_VALUE, "%s: no matrix", s->what);
    /* A panel as filled, f32 at most, and once more in 16 bits: also enough for a panel of levels
     * with two f32 for every 16 columns. */
    size_t bytes = 0;
    if (l.m.packed) {
        if (!mul_size((size_t)s->n_in, (size_t)VEC_PANEL * 4, &l.second) ||
            !mul_size(l.second / 2 * 3, (size_t)cpu_pool_threads(l.c->pool), &bytes) ||
            !(l.stage = malloc(bytes)))
            return err_set(e, ST_NOMEM, "%s: no room to stage rows of %lld", s->what,
                           (long long)s->n_in);
        l.stage_bytes = l.second / 2 * 3;
    }
    int st = load(be, &l, s->what, e);
    free(l.stage);
    if (st == 0)
        *out = l.m;
    return st;
}
