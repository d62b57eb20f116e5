/* matrix.c - weights as the CPU likes them: panels for op_gemm, and the register of what was
 * loaded.
 *
 * Loader thread; read-only afterwards. Values are stored exactly as given, in the storage type
 * given, with one exception that changes no value: an f32 matrix all of whose values are bf16 (or
 * f16) numbers, such as a bf16 checkpoint run in f32, is kept so: half the bytes, the same
 * arithmetic. fill() may be called more than once for the same rows.
 */
#include "cpu.h"
#include "mem.h"
#include "status.h"

#include <stdlib.h>
#include <string.h>

enum { STAGE_ROWS = 8 * VEC_PANEL }; /* rows asked of fill() at a time */

const struct cpu_matrix *cpu_find_matrix(const struct cpu_be *c, const void *p)
{
    int lo = 0, hi = c->n_matrices;
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        if ((uintptr_t)c->matrix[mid].data < (uintptr_t)p)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < c->n_matrices && c->matrix[lo].data == p ? &c->matrix[lo] : NULL;
}

static void register_matrix(struct cpu_be *c, struct cpu_matrix m)
{
    int i = c->n_matrices++;
    for (; i > 0 && (uintptr_t)c->matrix[i - 1].data > (uintptr_t)m.data; i--)
        c->matrix[i] = c->matrix[i - 1];
    c->matrix[i] = m;
}

/* Rows [row0, row0 + n) of the stacked parts. */
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

/* Up to VEC_PANEL rows to one panel [n_in][VEC_PANEL]; missing rows stay zero. Blocks of columns
 * keep both sides in cache. `size` is 2 or 4. */
struct pack {
    char *dst;
    const char *src;
    int64_t n_rows, n_in;
    size_t size;
};

static void pack_panels(void *arg, int64_t begin, int64_t end, int worker)
{
    const struct pack *p = arg;
    (void)worker;
    for (int64_t panel = begin; panel < end; panel++) {
        int64_t r0 = panel * VEC_PANEL;
        int64_t rows = p->n_rows - r0 < VEC_PANEL ? p->n_rows - r0 : VEC_PANEL;
        char *to = p->dst + (size_t)r0 * (size_t)p->n_in * p->size;
        for (int64_t k0 = 0; k0 < p->n_in; k0 += 64)
            for (int64_t r = 0; r < rows; r++)
                for (int64_t k = k0; k < k0 + 64 && k < p->n_in; k++) {
                    const char *from = p->src + (size_t)((r0 + r) * p->n_in + k) * p->size;
                    size_t at = (size_t)(k * VEC_PANEL + r);
                    if (p->size == 4)
                        ((uint32_t *)(void *)to)[at] = *(const uint32_t *)(const void *)from;
                    else
                        ((uint16_t *)(void *)to)[at] = *(const uint16_t *)(const void *)from;
                }
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
    struct cpu_matrix m;
    const struct be_weight_part *parts;
    int n_parts;
    int32_t fill_dt; /* what fill() writes */
    char *stage;     /* [STAGE_ROWS, n_in] of fill_dt */
    char *narrow;    /* [STAGE_ROWS, n_in] of m.dt where that differs */
};

static int64_t stage_rows(const struct loading *l, int64_t row0)
{
    return l->m.n_out - row0 < STAGE_ROWS ? l->m.n_out - row0 : STAGE_ROWS;
}

/* Look for a 16-bit type that holds every value of an f32 matrix; most give up on the first rows.
 */
static int choose_type(struct loading *l)
{
    static const int32_t narrow[] = {DT_BF16, DT_F16};
    size_t row_bytes = (size_t)l->m.n_in * dt_size(l->fill_dt);
    for (size_t i = 0; l->fill_dt == DT_F32 && i < sizeof narrow / sizeof *narrow; i++) {
        int ok = 1;
        for (int64_t r = 0; ok && r < l->m.n_out; r += STAGE_ROWS) {
            int64_t n = stage_rows(l, r);
            int st = fill_rows(l->parts, l->n_parts, r, n, row_bytes, l->stage);
            if (st != 0)
                return st;
            ok = fits((const float *)(void *)l->stage, (size_t)(n * l->m.n_in), narrow[i]);
        }
        if (ok) {
            l->m.dt = narrow[i];
            return 0;
        }
    }
    return 0;
}

/* Stage by stage: fill, then pack; a plain matrix is filled straight into place. */
static int fill_matrix(struct loading *l, char *dst)
{
    const struct cpu_matrix *m = &l->m;
    size_t row_bytes = (size_t)m->n_in * dt_size(m->dt);
    for (int64_t r = 0; r < m->n_out; r += STAGE_ROWS) {
        int64_t n = stage_rows(l, r);
        char *to = dst + (size_t)r * row_bytes;
        int st = fill_rows(l->parts, l->n_parts, r, n, (size_t)m->n_in * dt_size(l->fill_dt),
                           m->packed ? l->stage : to);
        if (st != 0)
            return st;
        if (!m->packed)
            continue;
        if (m->dt != l->fill_dt)
            l->c->vec->store(l->narrow, (const float *)(void *)l->stage, m->dt,
                             (size_t)(n * m->n_in));
        struct pack p = {to, m->dt != l->fill_dt ? l->narrow : l->stage, n, m->n_in,
                         dt_size(m->dt)};
        cpu_pool_run(l->c->pool, (n + VEC_PANEL - 1) / VEC_PANEL, 1, pack_panels, &p);
    }
    return 0;
}

static int load(struct be *be, struct loading *l, const char *what, void **out, struct err *e)
{
    size_t rows = ((size_t)l->m.n_out + VEC_PANEL - 1) / VEC_PANEL * VEC_PANEL, elems, bytes;
    int st = l->m.packed ? choose_type(l) : 0;
    if (st != 0)
        return err_set(e, st, "%s: reading the weights failed: %s", what, st_text(st));
    if (!mul_size(rows, (size_t)l->m.n_in, &elems) || !mul_size(elems, dt_size(l->m.dt), &bytes))
        return err_set(e, ST_INVALID_VALUE, "%s: too large", what);
    char *dst = be_alloc(be, what, bytes);
    if (!dst)
        return err_set(e, ST_NOMEM, "%s: no room for %zu bytes", what, bytes);
    st = fill_matrix(l, dst);
    if (st != 0)
        return err_set(e, st, "%s: reading the weights failed: %s", what, st_text(st));
    l->m.data = dst;
    register_matrix(l->c, l->m);
    *out = dst;
    return 0;
}

int cpu_load_matrix(struct be *be, const char *what, const struct be_weight_part *parts,
                    int n_parts, int64_t n_in, int32_t dt, int gemm_operand, void **out,
                    struct err *e)
{
    struct loading l = {
        .c = cpu_of(be),
        .m = {.n_in = n_in, .dt = dt, .packed = gemm_operand != 0},
        .parts = parts,
        .n_parts = n_parts,
        .fill_dt = dt,
    };
    for (int i = 0; i < n_parts; i++)
        l.m.n_out += parts[i].n_rows;
    if (l.m.n_out <= 0)
        return err_set(e, ST_INVALID_VALUE, "%s: no matrix", what);
    if (l.c->n_matrices == MAX_MATRICES)
        return err_set(e, ST_FULL, "%s: more than %d matrices", what, MAX_MATRICES);
    size_t n = 0;
    if (l.m.packed && (!mul_size((size_t)STAGE_ROWS, (size_t)n_in, &n) ||
                       !(l.stage = malloc(n * dt_size(dt))) || !(l.narrow = malloc(n * 2)))) {
        free(l.stage);
        return err_set(e, ST_NOMEM, "%s: no room to stage rows of %lld", what, (long long)n_in);
    }
    int st = load(be, &l, what, out, e);
    free(l.stage);
    free(l.narrow);
    return st;
}
