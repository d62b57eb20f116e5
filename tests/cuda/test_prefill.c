/* SPDX-License-Identifier: Apache-2.0 */
/* test_prefill.c - attn_prefill at the sizes of real prompts, where a naive reference takes too
 * long: every new token must come out as attn_decode has it, which test_ops holds against that
 * reference. Pages are shuffled, and whatever is not a key of a row is NaN: the rest of a row's
 * last page, pages of nobody, other layers. Skipped without a GPU.
 *
 *   cuda_test_prefill [random cases] */
#include "testing.h"

#include "backend.h"
#include "mem.h"
#include "ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SKIPPED = 77, MOST_SEQS = 8, BATCH = 256, SPARE_PAGES = 5, LAYERS = 2, LAYER = 1 };
static const double LIMIT = 5e-3; /* ||prefill - decode|| / ||decode||: both round weights to 16
                                     bits */

struct shape {
    int32_t head_dim, kv_heads, group, page_tokens, dt, n_seqs;
    struct {
        int32_t n_new, n_kv;
    } seq[MOST_SEQS];
};

static struct be *be;
static int n_random = 60;
static uint64_t rng = 1;

static uint64_t draw(void)
{
    rng ^= rng << 13, rng ^= rng >> 7, rng ^= rng << 17;
    return rng;
}
static int32_t range(int32_t from, int32_t to)
{
    return from + (int32_t)((draw() >> 20) % (uint64_t)(to - from + 1));
}

/* Numbers of magnitude 1/8 to 2, either sign. */
static uint16_t number(int32_t dt)
{
    uint64_t x = draw();
    int bits = dt == DT_BF16 ? 7 : 10, bias = dt == DT_BF16 ? 127 : 15;
    return (uint16_t)((x >> 63) << 15 | (uint64_t)(bias - 3 + (int)(x >> 40 & 3)) << bits |
                      (x >> 8 & ((1u << bits) - 1)));
}
static double value(uint16_t x, int32_t dt)
{
    int bits = dt == DT_BF16 ? 7 : 10, bias = dt == DT_BF16 ? 127 : 15;
    int e = x >> bits & ((1 << (15 - bits)) - 1), m = x & ((1 << bits) - 1);
    double y = e == (1 << (15 - bits)) - 1 ? (double)NAN
               : e == 0                    ? ldexp(m, 1 - bias - bits)
                                           : ldexp(m + (1 << bits), e - bias - bits);
    return x >> 15 ? -y : y;
}

/* What a case keeps on the device, in buffers of its own. */
struct run {
    struct op_attn o;
    struct batch bv;
    char *room; /* device memory, handed out from the front */
    size_t used;
};
static char *device;
static const size_t DEVICE_BYTES = (size_t)1 << 30;

static void *give(struct run *r, const void *src, size_t bytes)
{
    char *p = r->room + r->used;
    r->used += (bytes + 255) / 256 * 256;
    assert_true(r->used <= DEVICE_BYTES);
    if (src) {
        assert_int_equal(be_upload(be, p, src, bytes), 0);
        assert_int_equal(be_sync(be), 0);
    }
    return p;
}

/* The pool and the page table. */
static void give_keys(struct run *r, const struct shape *s)
{
    struct kv_pool_view *kv = &r->o.kv;
    int32_t page_of[MOST_SEQS], n_pages = SPARE_PAGES;
    for (int32_t i = 0; i < s->n_seqs; i++) {
        page_of[i] = n_pages - SPARE_PAGES;
        n_pages += (s->seq[i].n_kv + s->page_tokens - 1) / s->page_tokens;
    }
    *kv = (struct kv_pool_view){.dt = s->dt,
                                .n_pages = n_pages,
                                .n_layers = LAYERS,
                                .n_kv_heads = s->kv_heads,
                                .page_tokens = s->page_tokens,
                                .head_dim = s->head_dim};
    size_t elems = kv_page_elems(kv) * (size_t)n_pages;
    uint16_t *pool = xcalloc2(elems, sizeof *pool);
    int32_t *perm = xcalloc2((size_t)n_pages, sizeof *perm), stride = n_pages;
    int32_t *table = xcalloc2((size_t)(s->n_seqs * stride), sizeof *table);
    memset(pool, 0xff, elems * sizeof *pool); /* NaN in either type */
    for (int32_t i = 0; i < n_pages; i++) {
        int32_t j = range(0, i);
        perm[i] = perm[j];
        perm[j] = i;
    }
    for (int32_t i = 0; i < s->n_seqs; i++)
        for (int32_t t = 0; t < s->seq[i].n_kv; t++) {
            int32_t page = perm[page_of[i] + t / s->page_tokens];
            table[i * stride + t / s->page_tokens] = page;
            for (int32_t h = 0; h < 2 * s->kv_heads; h++) {
                size_t at = kv_offset(kv, page, LAYER, h & 1, h / 2, t % s->page_tokens);
                for (int32_t d = 0; d < s->head_dim; d++)
                    pool[at + (size_t)d] = number(s->dt);
            }
        }
    kv->base = give(r, pool, elems * sizeof *pool);
    r->bv.page_table = give(r, table, (size_t)(s->n_seqs * stride) * sizeof *table);
    r->bv.table_stride = stride;
    free(pool);
    free(perm);
    free(table);
}

static void give_rows(struct run *r, const int32_t *slot, const int32_t *tok0, const int32_t *n_new,
                      const int32_t *n_kv, int32_t n)
{
    size_t bytes = (size_t)n * sizeof *slot;
    r->bv.row_slot = give(r, slot, bytes);
    r->bv.row_tok0 = give(r, tok0, bytes);
    r->bv.row_new = give(r, n_new, bytes);
    r->bv.row_kv = give(r, n_kv, bytes);
    r->bv.n_rows = n;
    r->bv.max_kv = r->bv.max_new = 0;
    for (int32_t i = 0; i < n; i++) {
        r->bv.max_kv = n_kv[i] > r->bv.max_kv ? n_kv[i] : r->bv.max_kv;
        r->bv.max_new = n_new[i] > r->bv.max_new ? n_new[i] : r->bv.max_new;
    }
}

static size_t out_elems(const struct run *r)
{
    return (size_t)r->bv.n_tokens * (size_t)(r->o.n_heads * r->o.kv.head_dim);
}

/* Neither op reads what belongs to tokens: tok, pos, tok_row, row_out. One launch of either op into
 * fresh memory that was NaN before. */
static uint16_t *launch(struct run *r, int (*op)(struct be *, const struct op_attn *))
{
    size_t bytes = out_elems(r) * sizeof(uint16_t);
    uint16_t *out = xalloc(bytes);
    memset(out, 0xff, bytes);
    r->o.out = give(r, out, bytes);
    r->o.bv = &r->bv;
    assert_int_equal(op(be, &r->o), 0);
    assert_int_equal(be_download(be, out, r->o.out, bytes), 0);
    assert_int_equal(be_sync(be), 0);
    return out;
}

/* The same by attn_decode: each token a row of its own, BATCH at a time, every `step`th token. */
static uint16_t *by_decode(struct run *r, const struct shape *s, int32_t step)
{
    size_t line = (size_t)(r->o.n_heads * r->o.kv.head_dim);
    uint16_t *all = xcalloc2(out_elems(r), sizeof *all);
    int32_t slot[BATCH], tok[BATCH], one[BATCH], kv[BATCH], n = 0, at = 0, seen = 0;
    for (int32_t i = 0; i < s->n_seqs; i++)
        for (int32_t t = 0; t < s->seq[i].n_new; t++, at++) {
            if (at % step == 0) {
                slot[n] = i;
                tok[n] = at;
                one[n] = 1;
                kv[n++] = s->seq[i].n_kv - s->seq[i].n_new + t + 1;
            }
            bool last = i == s->n_seqs - 1 && t == s->seq[i].n_new - 1;
            if (n == 0 || (n < BATCH && !last))
                continue;
            size_t used = r->used;
            give_rows(r, slot, tok, one, kv, n);
            uint16_t *some = launch(r, be->op->attn_decode);
            for (int32_t k = 0; k < n; k++, seen++)
                memcpy(all + (size_t)tok[k] * line, some + (size_t)tok[k] * line,
                       line * sizeof *all);
            free(some);
            r->used = used;
            n = 0;
        }
    assert_int_equal(seen, (at + step - 1) / step);
    return all;
}

static void check(const struct shape *s, double *worst)
{
    struct run r = {.room = device};
    int32_t slot[MOST_SEQS], tok0[MOST_SEQS], n_new[MOST_SEQS], n_kv[MOST_SEQS], n = 0;
    char text[200];
    int len = snprintf(text, sizeof text, "hd %d heads %d x %d page %d dt %d:", s->head_dim,
                       s->kv_heads, s->group, s->page_tokens, s->dt);
    give_keys(&r, s);
    for (int32_t i = 0; i < s->n_seqs; i++) {
        slot[i] = i;
        tok0[i] = n;
        n_new[i] = s->seq[i].n_new;
        n_kv[i] = s->seq[i].n_kv;
        n += n_new[i];
        len += snprintf(text + len, sizeof text - (size_t)len, " %d/%d", n_new[i], n_kv[i]);
    }
    int32_t heads = s->kv_heads * s->group, stride = (heads + 2 * s->kv_heads) * s->head_dim;
    size_t q_elems = (size_t)n * (size_t)stride;
    uint16_t *q = xcalloc2(q_elems, sizeof *q);
    for (size_t i = 0; i < q_elems; i++)
        q[i] = number(s->dt);
    r.o.q = give(&r, q, q_elems * sizeof *q);
    free(q);
    r.o.qkv_stride = stride;
    r.o.n_heads = heads;
    r.o.dt = s->dt;
    r.o.layer = LAYER;
    r.o.scale = 1.0f / sqrtf((float)s->head_dim);
    r.o.work_bytes = be_attn_work_bytes(be, BATCH, heads, s->head_dim);
    r.o.work = give(&r, NULL, r.o.work_bytes);
    r.bv.n_tokens = n;
    r.bv.tok = r.bv.pos = r.bv.tok_row = r.bv.row_out = give(&r, NULL, (size_t)n * 4);
    give_rows(&r, slot, tok0, n_new, n_kv, s->n_seqs);
    uint16_t *got = launch(&r, be->op->attn_prefill), *again = launch(&r, be->op->attn_prefill);
    if (memcmp(got, again, out_elems(&r) * sizeof *got) != 0)
        fail_msg("%s: two runs differ", text);
    int32_t step = n > 2000 ? 13 : 1;
    uint16_t *want = by_decode(&r, s, step);
    double off = 0, all = 0;
    size_t line = (size_t)(heads * s->head_dim);
    for (int32_t t = 0; t < n; t++) {
        double line_off = 0, line_all = 0;
        for (size_t d = 0; t % step == 0 && d < line; d++) {
            double a = value(got[(size_t)t * line + d], s->dt),
                   b = value(want[(size_t)t * line + d], s->dt);
            line_off += (a - b) * (a - b);
            line_all += b * b;
        }
        if (!(line_off <= 9 * LIMIT * LIMIT * line_all))
            fail_msg("%s: token %d is off by %.3g", text, t, sqrt(line_off / line_all));
        off += line_off;
        all += line_all;
    }
    double e = sqrt(off / all);
    if (!(e <= LIMIT))
        fail_msg("%s: off by %.3g", text, e);
    *worst = e > *worst ? e : *worst;
    free(got);
    free(again);
    free(want);
}

static void test_prompts(void **state)
{
    static const struct shape shapes[] = {
        {128, 8, 4, 16, DT_BF16, 1, {{4096, 4096}}},
        {128, 8, 4, 16, DT_BF16, 1, {{2048, 16384}}},
        {128, 8, 4, 32, DT_F16, 1, {{16, 16384}}},
        {128, 8, 4, 64, DT_BF16, 1, {{257, 9001}}},
        {128, 8, 4, 16, DT_BF16, 3, {{1000, 1000}, {8, 12000}, {64, 8100}}},
        {128, 2, 1, 64, DT_BF16, 4, {{256, 256}, {1, 1}, {2, 130}, {128, 129}}},
        {128, 1, 16, 16, DT_F16, 2, {{33, 6001}, {300, 300}}},
        {128, 4, 7, 16, DT_BF16, 2, {{301, 302}, {77, 5000}}},
        {96, 8, 4, 16, DT_BF16, 1, {{500, 700}}},
        {80, 3, 2, 16, DT_F16, 2, {{500, 700}, {1, 4099}}},
        {64, 4, 8, 16, DT_BF16, 4, {{300, 300}, {1, 777}, {129, 1000}, {17, 4097}}},
        {64, 24, 1, 32, DT_F16, 1, {{1024, 1024}}},
        {64, 8, 4, 16, DT_BF16, 1, {{64, 16384}}},
        {256, 2, 8, 16, DT_BF16, 2, {{200, 1500}, {5, 9000}}},
        {256, 4, 4, 64, DT_F16, 1, {{1030, 1030}}},
        {192, 2, 4, 16, DT_BF16, 1, {{100, 2000}}},
        {32, 2, 4, 16, DT_BF16, 1, {{100, 2000}}}};
    double worst = 0;
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check(&shapes[i], &worst);
    printf("prompts: worst normalised error %.3g\n", worst);
}

static void test_random(void **state)
{
    static const int32_t dims[] = {64, 128, 128, 256}, pages[] = {16, 32, 64},
                         groups[] = {1, 4, 8, 3};
    double worst = 0;
    (void)state;
    for (int i = 0; i < n_random; i++) {
        struct shape s = {.head_dim = dims[i % 4],
                          .kv_heads = range(1, 8),
                          .group = groups[range(0, 3)],
                          .page_tokens = pages[range(0, 2)],
                          .dt = i % 3 ? DT_BF16 : DT_F16,
                          .n_seqs = range(1, MOST_SEQS)};
        for (int32_t k = 0; k < s.n_seqs; k++) {
            s.seq[k].n_new = range(0, 2) ? range(1, 300) : range(1, 8);
            s.seq[k].n_kv = s.seq[k].n_new + (range(0, 2) ? range(0, 300) : range(0, 4000));
        }
        check(&s, &worst);
    }
    printf("%d random batches: worst normalised error %.3g\n", n_random, worst);
}

int main(int argc, char **argv)
{
    struct be_config conf = {.kind = BE_CUDA, .memory_utilization = 0.9};
    struct err e = {0};
    if (argc > 1)
        n_random = atoi(argv[1]);
    if (be_open(&be, &conf, &e) != 0) {
        printf("skipped: %s\n", e.msg);
        return SKIPPED;
    }
    device = be_alloc(be, "test", DEVICE_BYTES);
    assert_non_null(device);
    const struct CMUnitTest all[] = {cmocka_unit_test(test_prompts), cmocka_unit_test(test_random)};
    int r = cmocka_run_group_tests(all, NULL, NULL);
    be_close(be);
    return r;
}
