/* SPDX-License-Identifier: Apache-2.0 */
/* op_cases.c - running a case on a backend, and comparing results. See op_cases.h. */
#include "op_cases.h"

#include "backend/calls.h"
#include "backend/cpu/half.h"
#include "mem.h"
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The poison is huge as a float and no id: an output nobody wrote is far from any answer. */
enum { GUARD = 256, POISON = 0x7F, DEV_BYTES = 96 << 20, HOST_BYTES = 4 << 20 };

const char *op_name(enum op_id id)
{
#define X(n) #n,
    static const char *const name[] = {OP_LIST(X)};
#undef X
    return name[id];
}

uint64_t rng_next(struct case_rng *r)
{
    uint64_t z = r->s += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

int32_t rng_range(struct case_rng *r, int32_t lo, int32_t hi)
{
    return lo + (int32_t)(rng_next(r) % ((uint64_t)hi - (uint64_t)lo + 1));
}

float rng_unit(struct case_rng *r)
{
    return (float)(rng_next(r) >> 40) * 0x1p-24f;
}

float rng_normal(struct case_rng *r)
{
    float s = 0;
    for (int i = 0; i < 4; i++)
        s += rng_unit(r);
    return (s - 2.0f) * 1.7320508f;
}

double case_get(const void *p, int32_t dt, size_t i)
{
    if (dt == DT_F32)
        return (double)((const float *)p)[i];
    if (dt == CASE_INT)
        return (double)((const int32_t *)p)[i];
    uint16_t h = ((const uint16_t *)p)[i];
    return (double)(dt == DT_BF16 ? f32_of_bf16(h) : f32_of_f16(h));
}

void case_set(void *p, int32_t dt, size_t i, double v)
{
    if (dt == DT_F32)
        ((float *)p)[i] = (float)v;
    else if (dt == CASE_INT)
        ((int32_t *)p)[i] = (int32_t)v;
    else
        ((uint16_t *)p)[i] = dt == DT_BF16 ? bf16_of_f32((float)v) : f16_of_f32((float)v);
}

static size_t elem_size(int32_t dt)
{
    if (dt == CASE_RAW)
        return 1;
    if (dt == CASE_TOPS)
        return sizeof(struct token_logprob);
    return dt == CASE_INT ? 4 : dtype_size(dt);
}

static int is_output(const struct case_buf *b)
{
    return b->role == CASE_OUT || b->role == CASE_INOUT;
}

static int is_loaded(const struct case_buf *b)
{
    return b->role == CASE_WEIGHT || b->role == CASE_TABLE;
}

int op_rig_open(struct op_rig *r, int kind, int threads)
{
    struct be_config bc = {.kind = kind, .threads = threads, .memory_utilization = 0.9};
    struct err e = {0};
    memset(r, 0, sizeof *r);
    int st = be_open(&r->be, &bc, &e);
    if (st != 0)
        return st;
    r->dev_bytes = DEV_BYTES;
    r->host_bytes = HOST_BYTES;
    r->dev = be_alloc(r->be, "rig", r->dev_bytes);
    r->host = be_alloc_host(r->be, "rig", r->host_bytes);
    assert_non_null(r->dev);
    assert_non_null(r->host);
    return 0;
}

void op_rig_close(struct op_rig *r)
{
    be_close(r->be);
    memset(r, 0, sizeof *r);
}

static int fill_from_buf(void *arg, int64_t row0, int64_t n_rows, void *dst)
{
    const struct case_buf *b = arg;
    size_t row = (size_t)b->n_cols * elem_size(b->dt);
    memcpy(dst, (const char *)b->data + (size_t)row0 * row, (size_t)n_rows * row);
    return 0;
}

static struct matrix load_buf(struct be *be, const struct case_buf *b)
{
    struct be_weight_part part = {
        .n_rows = b->n_rows, .arg = (void *)(uintptr_t)b, .fill = fill_from_buf};
    const struct be_matrix_spec spec = {.what = "case",
                                        .parts = &part,
                                        .n_parts = 1,
                                        .dt = b->dt,
                                        .n_in = b->n_cols,
                                        .gemm_operand = b->role == CASE_WEIGHT};
    struct matrix w;
    struct err e = {0};
    assert_int_equal(be_load_matrix(be, &spec, &w, &e), 0);
    return w;
}

/* The matrix in a buffer: loaded, or where it was placed. */
static struct matrix matrix_of(struct op_rig *r, const struct case_buf *b, size_t at)
{
    if (is_loaded(b))
        return load_buf(r->be, b);
    return (struct matrix){.data = r->dev + at, .n_out = b->n_rows, .n_in = b->n_cols, .dt = b->dt};
}

/* One run: where each buffer lies in the device or host area. */
struct placed {
    size_t at[CASE_MAX_BUFS], bytes[CASE_MAX_BUFS];
    size_t dev_used, host_used;
};

static size_t work_bytes(struct op_rig *r, const struct op_case *c)
{
    if (c->id == OP_sample)
        return be_sample_work_bytes(r->be, c->o.sample.n_rows, c->o.sample.vocab);
    const struct op_attn *a = &c->o.attn_prefill;
    return be_attn_work_bytes(r->be, c->bv.n_rows, a->n_heads, a->kv.head_dim);
}

static void place(struct op_rig *r, const struct op_case *c, struct placed *p)
{
    p->dev_used = p->host_used = GUARD;
    for (int i = 0; i < c->n_bufs; i++) {
        const struct case_buf *b = &c->buf[i];
        p->bytes[i] = b->role == CASE_WORK ? work_bytes(r, c) : b->n * elem_size(b->dt);
        size_t *used = b->role == CASE_HOST ? &p->host_used : &p->dev_used;
        p->at[i] = *used;
        if (!is_loaded(b))
            *used += (p->bytes[i] + GUARD - 1) / GUARD * GUARD + GUARD;
    }
    assert_true(p->dev_used <= r->dev_bytes && p->host_used <= r->host_bytes);
}

static void upload_case(struct op_rig *r, const struct op_case *c, const struct placed *p,
                        char *image)
{
    memset(image, POISON, p->dev_used);
    for (int i = 0; i < c->n_bufs; i++) {
        const struct case_buf *b = &c->buf[i];
        if (!b->data || is_loaded(b))
            continue;
        memcpy((b->role == CASE_HOST ? r->host : image) + p->at[i], b->data, p->bytes[i]);
    }
    assert_int_equal(be_upload(r->be, r->dev, image, p->dev_used), 0);
    assert_int_equal(be_sync(r->be), 0);
}

static int call_op(struct op_rig *r, enum op_id id, union op_any *o)
{
    switch (id) {
#define X(n)                                                                                       \
    case OP_##n:                                                                                   \
        return r->be->op->n(r->be, &o->n);
        OP_LIST(X)
#undef X
    default:
        return -1;
    }
}

/* Guards, padding and inputs must be as they were. */
static void check_untouched(const struct op_case *c, const struct placed *p, const char *now)
{
    size_t end = 0;
    for (int i = 0; i <= c->n_bufs; i++) {
        const struct case_buf *b = i < c->n_bufs ? &c->buf[i] : NULL;
        if (b && (is_loaded(b) || b->role == CASE_HOST))
            continue;
        size_t to = b ? p->at[i] : p->dev_used;
        for (size_t k = end; k < to; k++)
            if ((uint8_t)now[k] != POISON)
                fail_msg("%s seed %llu (%s): byte %zu before %s overwritten", op_name(c->id),
                         (unsigned long long)c->seed, c->text, to - k, b ? b->name : "the end");
        if (!b)
            return;
        end = p->at[i] + p->bytes[i];
        if ((b->role == CASE_IN || b->role == CASE_ROWS) &&
            memcmp(now + p->at[i], b->data, p->bytes[i]) != 0)
            fail_msg("%s seed %llu (%s): input %s changed", op_name(c->id),
                     (unsigned long long)c->seed, c->text, b->name);
    }
}

static void take_results(const struct op_case *c, const struct placed *p, const char *now,
                         struct op_result *out)
{
    for (int i = 0; i < c->n_bufs; i++) {
        const struct case_buf *b = &c->buf[i];
        if (!is_output(b))
            continue;
        out->raw[i] = xalloc(p->bytes[i]);
        memcpy(out->raw[i], now + p->at[i], p->bytes[i]);
        if (b->dt >= CASE_RAW)
            continue;
        out->val[i] = xcalloc2(b->n, sizeof(double));
        for (size_t k = 0; k < b->n; k++)
            out->val[i][k] = case_get(out->raw[i], b->dt, k);
    }
}

/* Log probabilities nobody asked for may be anything; make them equal. */
static void blank_logprobs(const struct op_case *c, struct op_result *out)
{
    const struct sample_params *p = NULL;
    const int32_t *row_out = NULL;
    int lp = 0;
    for (int i = 0; i < c->n_bufs; i++) {
        if (strcmp(c->buf[i].name, "params") == 0)
            p = c->buf[i].data;
        if (strcmp(c->buf[i].name, "row_out") == 0)
            row_out = c->buf[i].data;
        if (strcmp(c->buf[i].name, "logprob") == 0)
            lp = i;
    }
    for (int32_t i = 0; i < c->o.sample.n_rows; i++)
        if (!c->o.sample.any_logprobs || p[i].n_logprobs < 0 || row_out[i] < 0) {
            ((float *)out->raw[lp])[i] = 0;
            out->val[lp][i] = 0;
        }
}

int op_rig_run(struct op_rig *r, const struct op_case *c, enum op_id id, struct op_result *out)
{
    struct placed p;
    place(r, c, &p);
    char *image = xalloc(p.dev_used);
    upload_case(r, c, &p, image);
    struct op_case run = *c;
    struct matrix matrix[CASE_MAX_BUFS];
    for (int i = 0; i < c->n_refs; i++) {
        int k = c->ref[i].buf;
        const struct case_buf *b = &c->buf[k];
        void *to = (b->role == CASE_HOST ? r->host : r->dev) + p.at[k];
        if (is_loaded(b) || b->role == CASE_ROWS) {
            matrix[k] = matrix_of(r, b, p.at[k]);
            to = &matrix[k];
        }
        memcpy((char *)&run + c->ref[i].at, &to, sizeof to);
        if (b->role == CASE_WORK && id == OP_sample)
            run.o.sample.work_bytes = p.bytes[k];
        else if (b->role == CASE_WORK)
            run.o.attn_prefill.work_bytes = p.bytes[k];
    }
    if (id == OP_step_inputs)
        run.o.step_inputs.bv = &run.bv;
    if (id == OP_rope_kv_write)
        run.o.rope_kv_write.bv = &run.bv;
    if (id == OP_hidden)
        run.o.hidden.bv = &run.bv;
    if (id == OP_attn_prefill || id == OP_attn_decode)
        run.o.attn_prefill.bv = &run.bv;
    int st = call_op(r, id, &run.o);
    assert_int_equal(be_sync(r->be), 0);
    assert_int_equal(be_download(r->be, image, r->dev, p.dev_used), 0);
    assert_int_equal(be_sync(r->be), 0);
    check_untouched(c, &p, image);
    memset(out, 0, sizeof *out);
    if (st == 0) {
        take_results(c, &p, image, out);
        out->bv = run.bv;
        if (c->id == OP_sample)
            blank_logprobs(c, out);
    }
    free(image);
    return st;
}

void op_result_free(struct op_result *r)
{
    for (int i = 0; i < CASE_MAX_BUFS; i++) {
        free(r->val[i]);
        free(r->raw[i]);
    }
    memset(r, 0, sizeof *r);
}

void op_case_free(struct op_case *c)
{
    for (int i = 0; i < c->n_bufs; i++)
        free(c->buf[i].data);
    memset(c, 0, sizeof *c);
}

static double rms_of(const double *v, size_t n)
{
    double s = 0;
    size_t m = 0;
    for (size_t i = 0; i < n; i++)
        if (isfinite(v[i])) {
            s += v[i] * v[i];
            m++;
        }
    return m ? sqrt(s / (double)m) : 0;
}

/* Log probabilities near 0 lose digits to the sum of the others: they are held against 1, as in
 * compare_tops. */
static double compare_values(const struct case_buf *b, const double *got, const double *want,
                             size_t *worst)
{
    double max = 0;
    double rms = strcmp(b->name, "logprob") == 0 ? 1.0 : rms_of(want, b->n) + 1e-30;
    for (size_t i = 0; i < b->n; i++) {
        double e;
        if (isnan(want[i]) || isnan(got[i]))
            e = isnan(want[i]) && isnan(got[i]) ? 0 : INFINITY;
        else if (b->dt == CASE_INT || isinf(want[i]) || isinf(got[i]) ||
                 (b->role == CASE_INOUT && case_get(b->data, b->dt, i) == want[i]))
            e = got[i] == want[i] ? 0 : INFINITY;
        else
            e = fabs(got[i] - want[i]) / (fabs(want[i]) + rms);
        if (e > max) {
            max = e;
            *worst = i;
        }
    }
    return max;
}

/* top[n_rows][MAX_LOGPROBS]: ids exact, values near; entries past n_top do not count. */
static double compare_tops(const struct op_case *c, const struct op_result *got,
                           const struct op_result *want, int i, size_t *worst)
{
    const struct token_logprob *g = got->raw[i], *w = want->raw[i];
    double max = 0;
    const double *n_top = NULL;
    for (int k = 0; k < c->n_bufs; k++)
        if (strcmp(c->buf[k].name, "n_top") == 0)
            n_top = want->val[k];
    for (size_t k = 0; k < c->buf[i].n; k++) {
        if ((double)(k % MAX_LOGPROBS) >= n_top[k / MAX_LOGPROBS])
            continue;
        double e = fabs((double)g[k].logprob - (double)w[k].logprob) /
                   (fabs((double)w[k].logprob) + 1.0);
        if (g[k].logprob == w[k].logprob)
            e = 0;
        if (g[k].token != w[k].token || isnan(e))
            e = INFINITY;
        if (e > max) {
            max = e;
            *worst = k;
        }
    }
    return max;
}

double op_result_compare(const struct op_case *c, const struct op_result *got,
                         const struct op_result *want, char *where)
{
    double max = 0;
    if (where)
        where[0] = '\0';
    for (int i = 0; i < c->n_bufs; i++) {
        const struct case_buf *b = &c->buf[i];
        size_t worst = 0;
        double e = 0;
        if (!is_output(b))
            continue;
        if (b->dt == CASE_RAW)
            e = memcmp(got->raw[i], want->raw[i], b->n) == 0 ? 0 : INFINITY;
        else if (b->dt == CASE_TOPS)
            e = compare_tops(c, got, want, i, &worst);
        else
            e = compare_values(b, got->val[i], want->val[i], &worst);
        if (e <= max)
            continue;
        max = e;
        if (where && b->dt < CASE_RAW)
            snprintf(where, 200, "%s[%zu]: got %.9g, want %.9g (error %.3g)", b->name, worst,
                     got->val[i][worst], want->val[i][worst], e);
        else if (where)
            snprintf(where, 200, "%s, entry %zu", b->name, worst);
    }
    return max;
}

double op_result_norm_error(const struct op_case *c, const struct op_result *got,
                            const struct op_result *want)
{
    double worst = 0;
    for (int i = 0; i < c->n_bufs; i++) {
        const struct case_buf *b = &c->buf[i];
        double diff = 0, all = 0;
        if (!is_output(b) || b->dt >= N_DTYPES)
            continue;
        for (size_t k = 0; k < b->n; k++) {
            double g = got->val[i][k], w = want->val[i][k];
            if (!isfinite(w) || (b->role == CASE_INOUT && case_get(b->data, b->dt, k) == w))
                continue;
            diff += (g - w) * (g - w);
            all += w * w;
        }
        double e = all > 0 ? sqrt(diff / all) : diff > 0 ? INFINITY : 0;
        if (!(e <= worst)) /* NaN too */
            worst = e;
    }
    return worst;
}

int op_result_same(const struct op_case *c, const struct op_result *a, const struct op_result *b)
{
    for (int i = 0; i < c->n_bufs; i++)
        if (is_output(&c->buf[i]) &&
            memcmp(a->raw[i], b->raw[i], c->buf[i].n * elem_size(c->buf[i].dt)) != 0)
            return 0;
    return 1;
}

double op_case_tolerance(const struct op_case *c)
{
    static const double unit[] = {0x1p-24, 0x1p-9, 0x1p-12};
    double worst = 0;
    for (int i = 0; i < c->n_bufs; i++)
        if (c->buf[i].dt < N_DTYPES && is_output(&c->buf[i]) && unit[c->buf[i].dt] > worst)
            worst = unit[c->buf[i].dt];
    if (c->id == OP_adjust) /* the same single operations in f32: to the bit */
        return 0;
    /* 16-bit results are rounded once or twice; f32 sums carry the rounding of long chains */
    double f32 = c->id == OP_attn_prefill || c->id == OP_attn_decode ? 2e-5 : 4e-6;
    return worst == unit[DT_F32] ? f32 : 2.2 * worst;
}
