/* SPDX-License-Identifier: Apache-2.0 */
/* The CPU ops one by one, at the shapes of a 135M-parameter Llama (SmolLM2).
 *
 *   bench_cpu [threads] [seconds per line]
 *
 * GEMM runs over a ring of matrices larger than the caches, as a forward pass does (f32, then 4 and
 * 8 bits with their scales); its columns are GFLOP/s, GB/s of weights as stored, that as a part of
 * what memcpy moves and a plain read moves, and the speed relative to OpenBLAS sgemm on the same
 * data with as many threads. */
#include "backend/cpu/cpu.h"
#include "clock.h"
#include "mem.h"
#include "op_cases.h"

#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RING_BYTES = 256 << 20, MAX_RING = 256 };

static double budget = 0.4; /* seconds of one measurement */
static double read_gbs, copy_gbs;

struct bench {
    struct be *be;
    struct case_rng rng;
};

static double now(void)
{
    return (double)clock_us() * 1e-6;
}

static void *random_floats(struct bench *b, size_t n)
{
    float *p = be_alloc(b->be, "bench", n * sizeof *p);
    if (!p)
        exit(1);
    for (size_t i = 0; i < n; i++)
        p[i] = rng_unit(&b->rng) - 0.5f;
    return p;
}

/* Seconds of one call, the best of several rounds that share the budget. */
static double time_of(void (*fn)(void *), void *arg)
{
    double best = 1e9, t0 = now(), spent = 0;
    fn(arg);
    double once = now() - t0;
    int reps = once > budget / 8 ? 1 : (int)(budget / 8 / (once + 1e-9)) + 1;
    for (int round = 0; round < 3 || (spent < budget && round < 8); round++) {
        t0 = now();
        for (int i = 0; i < reps; i++)
            fn(arg);
        double t = (now() - t0) / reps;
        spent += t * reps;
        best = t < best ? t : best;
    }
    return best;
}

struct span {
    struct cpu_pool *pool;
    float *from, *to;
    size_t n;
    float sum[256][16];
};

static void copy_part(void *arg, int64_t begin, int64_t end, int worker)
{
    struct span *s = arg;
    (void)worker;
    memcpy(s->to + begin, s->from + begin, (size_t)(end - begin) * 4);
}

static void read_part(void *arg, int64_t begin, int64_t end, int worker)
{
    struct span *s = arg;
    float sum[64] = {0};
    for (int64_t i = begin; i + 64 <= end; i += 64)
        for (int j = 0; j < 64; j++)
            sum[j] += s->from[i + j];
    for (int j = 0; j < 64; j++)
        s->sum[worker][j % 16] += sum[j];
}

static void copy_all(void *arg)
{
    struct span *s = arg;
    cpu_pool_run(s->pool, (int64_t)s->n, 1 << 16, copy_part, s);
}

static void read_all(void *arg)
{
    struct span *s = arg;
    cpu_pool_run(s->pool, (int64_t)s->n, 1 << 16, read_part, s);
}

static void bench_memory(struct bench *b)
{
    struct span *s = xalloc_aligned(64, sizeof *s);
    s->pool = cpu_of(b->be)->pool;
    s->n = RING_BYTES / 4;
    s->from = random_floats(b, s->n);
    s->to = random_floats(b, s->n);
    copy_gbs = 2.0 * RING_BYTES / time_of(copy_all, s) * 1e-9;
    read_gbs = 1.0 * RING_BYTES / time_of(read_all, s) * 1e-9;
    printf("memory: read %.1f GB/s, memcpy %.1f GB/s (read and written)\n\n", read_gbs, copy_gbs);
    free(s);
}

struct gemm_run {
    struct be *be;
    struct op_gemm o;
    struct matrix ring[MAX_RING]; /* loaded */
    const float *plain[MAX_RING];
    int n, at;
};

static void run_gemm(void *arg)
{
    struct gemm_run *g = arg;
    g->o.w = &g->ring[g->at++ % g->n];
    g->be->op->gemm(g->be, &g->o);
}

static void run_blas(void *arg)
{
    struct gemm_run *g = arg;
    const float *w = g->plain[g->at++ % g->n];
    if (g->o.m == 1)
        cblas_sgemv(CblasRowMajor, CblasNoTrans, g->o.n_out, g->o.n_in, 1, w, g->o.n_in, g->o.in, 1,
                    0, g->o.out, 1);
    else
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, g->o.m, g->o.n_out, g->o.n_in, 1,
                    g->o.in, g->o.n_in, w, g->o.n_in, 0, g->o.out, g->o.n_out);
}

struct fill_src {
    const float *w;
    int64_t n_in;
};

static int fill(void *arg, int64_t row0, int64_t n_rows, void *dst)
{
    const struct fill_src *f = arg;
    memcpy(dst, f->w + row0 * f->n_in, (size_t)(n_rows * f->n_in) * 4);
    return 0;
}

/* Codes for a matrix whose values do not matter. */
static int fill_codes(void *arg, int64_t row0, int64_t n_rows, int32_t group, uint8_t *q,
                      float *scale, float *offset)
{
    const struct fill_src *f = arg;
    for (int64_t i = 0; i < n_rows * f->n_in; i++)
        q[i] = (uint8_t)((row0 + i) * 7 % 16);
    for (int64_t i = 0; i < n_rows * f->n_in / group; i++) {
        scale[i] = 0.01f;
        offset[i] = -0.08f;
    }
    return 0;
}

/* bits: 0 for an f32 matrix, 4 or 8 for a quantised one with a scale and offset for 32 columns. */
static void bench_gemm(struct bench *b, const char *name, int32_t n_in, int32_t n_out, int bits)
{
    static const int32_t ms[] = {1, 2, 4, 8, 16, 64, 512};
    size_t f32_bytes = (size_t)n_in * (size_t)n_out * 4;
    size_t bytes = bits ? f32_bytes / 32 * (size_t)bits + f32_bytes / 16 : f32_bytes;
    struct gemm_run g = {.be = b->be, .n = (int)(RING_BYTES / f32_bytes) + 1};
    g.n = g.n > MAX_RING ? MAX_RING : g.n;
    for (int i = 0; i < g.n; i++) {
        g.plain[i] = random_floats(b, f32_bytes / 4);
        struct fill_src src = {g.plain[i], n_in};
        struct be_weight_part part = {.n_rows = n_out, .arg = &src, .fill = fill};
        if (bits) {
            part.fill_codes = fill_codes;
            part.code = bits == 4 ? WC_U4 : WC_U8;
            part.group_in = 32;
            part.group_out = 1;
        }
        const struct be_matrix_spec spec = {.what = "bench",
                                            .parts = &part,
                                            .n_parts = 1,
                                            .dt = DT_F32,
                                            .n_in = n_in,
                                            .gemm_operand = true};
        if (be_load_matrix(b->be, &spec, &g.ring[i], NULL) != 0)
            exit(1);
    }
    float *in = random_floats(b, 512 * (size_t)n_in);
    float *out = random_floats(b, 512 * (size_t)n_out);
    for (size_t i = 0; i < sizeof ms / sizeof *ms; i++) {
        g.o = (struct op_gemm){.out = out, .in = in, .m = ms[i], .n_in = n_in, .n_out = n_out};
        double t = time_of(run_gemm, &g), tb = time_of(run_blas, &g);
        double gbs = (double)bytes / t * 1e-9;
        printf(
            "%-8s %2d bit %5d x %5d  m %4d  %9.1f us  %7.1f GFLOP/s  %6.1f GB/s  %4.0f%% of read  "
            "%4.0f%% of memcpy  %5.2fx OpenBLAS\n",
            name, bits ? bits : 32, n_in, n_out, ms[i], t * 1e6,
            2.0 * ms[i] * (double)n_in * (double)n_out / t * 1e-9, gbs, gbs / read_gbs * 100,
            gbs / copy_gbs * 100, tb / t);
    }
    printf("\n");
}

struct attn_run {
    struct be *be;
    struct op_attn o;
    int decode;
};

static void run_attn(void *arg)
{
    struct attn_run *a = arg;
    int32_t layer = a->o.layer;
    a->o.layer = (layer + 1) % a->o.kv.n_layers;
    if (a->decode)
        a->be->op->attn_decode(a->be, &a->o);
    else
        a->be->op->attn_prefill(a->be, &a->o);
}

static int32_t *ramp(struct bench *b, size_t n, int32_t from, int32_t step)
{
    int32_t *p = be_alloc(b->be, "bench", n * sizeof *p);
    for (size_t i = 0; p && i < n; i++)
        p[i] = from + (int32_t)i * step;
    return p;
}

/* rows sequences of ctx tokens, the last n_new of them new. */
static void bench_attn(struct bench *b, int32_t rows, int32_t n_new, int32_t ctx)
{
    enum { HEADS = 9, KV_HEADS = 3, HD = 64, LAYERS = 8, PAGE = 16 };
    int32_t pages = (ctx + PAGE - 1) / PAGE, nt = rows * n_new;
    struct batch bv = {.n_rows = rows,
                       .n_tokens = nt,
                       .max_new = n_new,
                       .max_kv = ctx,
                       .tok = ramp(b, (size_t)nt, 0, 0),
                       .pos = ramp(b, (size_t)nt, 0, 1),
                       .tok_row = ramp(b, (size_t)nt, 0, 0),
                       .row_slot = ramp(b, (size_t)rows, 0, 1),
                       .row_tok0 = ramp(b, (size_t)rows, 0, n_new),
                       .row_new = ramp(b, (size_t)rows, n_new, 0),
                       .row_kv = ramp(b, (size_t)rows, ctx, 0),
                       .row_out = ramp(b, (size_t)rows, 0, 1),
                       .page_table = ramp(b, (size_t)(rows * pages), 0, 1),
                       .table_stride = pages};
    struct attn_run a = {.be = b->be, .decode = n_new == 1};
    a.o = (struct op_attn){.qkv_stride = (HEADS + 2 * KV_HEADS) * HD,
                           .n_heads = HEADS,
                           .scale = 0.125f,
                           .bv = &bv,
                           .kv = {.n_pages = rows * pages,
                                  .n_layers = LAYERS,
                                  .n_kv_heads = KV_HEADS,
                                  .page_tokens = PAGE,
                                  .head_dim = HD}};
    a.o.q = random_floats(b, (size_t)nt * (size_t)a.o.qkv_stride);
    a.o.out = random_floats(b, (size_t)nt * HEADS * HD);
    a.o.kv.base = random_floats(b, kv_page_elems(&a.o.kv) * (size_t)a.o.kv.n_pages);
    double t = time_of(run_attn, &a);
    double keys = (double)rows * n_new * ((double)ctx - (n_new - 1) / 2.0);
    printf("attention  rows %3d  new %4d  context %5d  %9.1f us  %7.1f GFLOP/s  %6.1f GB/s of KV\n",
           rows, n_new, ctx, t * 1e6, keys * HEADS * HD * 4 / t * 1e-9,
           (double)rows * ctx * KV_HEADS * HD * 8 / t * 1e-9);
}

struct sample_run {
    struct be *be;
    struct op_sample o;
};

static void run_sample(void *arg)
{
    struct sample_run *s = arg;
    s->be->op->sample(s->be, &s->o);
}

static void bench_sample(struct bench *b, const char *name, struct sample_params p, int32_t rows)
{
    enum { VOCAB = 49152 };
    struct sample_params *ps = be_alloc(b->be, "bench", (size_t)rows * sizeof *ps);
    struct sample_run s = {.be = b->be};
    for (int32_t i = 0; i < rows; i++)
        ps[i] = p;
    float *logits = random_floats(b, (size_t)rows * VOCAB);
    for (size_t i = 0; i < (size_t)rows * VOCAB; i++)
        logits[i] = rng_normal(&b->rng) * 3;
    s.o = (struct op_sample){
        .logits = logits,
        .params = ps,
        .pos = ramp(b, (size_t)rows, 0, 1),
        .row_slot = ramp(b, (size_t)rows, 0, 1),
        .row_out = ramp(b, (size_t)rows, 0, 1),
        .last_token = ramp(b, (size_t)rows, 0, 1),
        .token = ramp(b, (size_t)rows, 0, 1),
        .logprob = random_floats(b, (size_t)rows),
        .top = be_alloc(b->be, "bench", (size_t)rows * MAX_LOGPROBS * sizeof *s.o.top),
        .n_top = ramp(b, (size_t)rows, 0, 0),
        .n_rows = rows,
        .vocab = VOCAB,
        .any_logprobs = p.n_logprobs >= 0,
        .work_bytes = be_sample_work_bytes(b->be, rows, VOCAB)};
    s.o.work = be_alloc(b->be, "bench", s.o.work_bytes);
    double t = time_of(run_sample, &s);
    printf("sample %-34s rows %3d  %9.1f us  %7.1f us a row\n", name, rows, t * 1e6,
           t * 1e6 / rows);
}

struct small_run {
    struct be *be;
    struct op_add_rmsnorm norm;
    struct op_silu_mul act;
    int which;
};

static void run_small(void *arg)
{
    struct small_run *s = arg;
    if (s->which)
        s->be->op->silu_mul(s->be, &s->act);
    else
        s->be->op->add_rmsnorm(s->be, &s->norm);
}

static void bench_small(struct bench *b, int32_t rows)
{
    enum { DIM = 576, FFN = 1536 };
    size_t n = (size_t)rows;
    struct small_run s = {
        .be = b->be,
        .norm = {.out = random_floats(b, n * DIM),
                 .residual = random_floats(b, n * DIM),
                 .weight = random_floats(b, DIM),
                 .x = random_floats(b, n * DIM),
                 .n_rows = rows,
                 .dim = DIM,
                 .eps = 1e-5f},
        .act = {.out = random_floats(b, n * FFN),
                .in = random_floats(b, n * 2 * FFN),
                .n_rows = rows,
                .dim = FFN},
    };
    for (s.which = 0; s.which < 2; s.which++)
        printf("%-12s rows %4d  %9.1f us\n", s.which ? "silu_mul" : "add_rmsnorm", rows,
               time_of(run_small, &s) * 1e6);
}

int main(int argc, char **argv)
{
    struct be_config bc = {.kind = BE_CPU, .threads = argc > 1 ? atoi(argv[1]) : 0};
    struct bench b = {.rng = {1}};
    struct err e = {0};
    if (argc > 2)
        budget = atof(argv[2]);
    if (be_open(&b.be, &bc, &e) != 0) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    openblas_set_num_threads(cpu_pool_threads(cpu_of(b.be)->pool));
    printf("%s; %s\n", b.be->info.name, openblas_get_config());
    bench_memory(&b);
    for (int bits = 0; bits <= 8; bits += 4) {
        bench_gemm(&b, "qkv", 576, 960, bits);
        bench_gemm(&b, "o", 576, 576, bits);
        bench_gemm(&b, "gate_up", 576, 3072, bits);
        bench_gemm(&b, "down", 1536, 576, bits);
        bench_gemm(&b, "head", 576, 49152, bits);
    }
    bench_attn(&b, 1, 1, 512);
    bench_attn(&b, 8, 1, 512);
    bench_attn(&b, 1, 1, 4096);
    bench_attn(&b, 1, 512, 512);
    bench_attn(&b, 1, 512, 4096);
    printf("\n");
    bench_sample(&b, "greedy", (struct sample_params){.top_p = 1, .n_logprobs = -1}, 8);
    bench_sample(&b, "temperature 1",
                 (struct sample_params){.temperature = 1, .top_p = 1, .n_logprobs = -1}, 8);
    bench_sample(
        &b, "temperature 0.7 top_p 0.9 top_k 50",
        (struct sample_params){.temperature = 0.7f, .top_p = 0.9f, .top_k = 50, .n_logprobs = -1},
        8);
    bench_sample(&b, "temperature 1 top_p 0.9 logprobs 5",
                 (struct sample_params){.temperature = 1, .top_p = 0.9f, .n_logprobs = 5}, 8);
    printf("\n");
    bench_small(&b, 1);
    bench_small(&b, 8);
    bench_small(&b, 512);
    be_close(b.be);
    return 0;
}
