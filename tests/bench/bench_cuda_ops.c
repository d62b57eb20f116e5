/* SPDX-License-Identifier: Apache-2.0 */
/* Speed of the CUDA ops at the shapes of an 8B Llama, each against the limit measured in the same
 * run: bytes moved against a copy inside the card, operations against a large matrix product.
 *
 *     bench_cuda_ops [gemm|attn|prefill|rest|all] [replays]
 *
 * Every figure is one recording of many launches, replayed; operands rotate through more memory
 * than the L2 cache holds. Exits 77 without a GPU. */
#include "backend.h"
#include "clock.h"
#include "mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SKIPPED = 77, HEADS = 32, KV_HEADS = 8, HEAD_DIM = 128, DIM = 4096, FFN = 14336 };
enum { VOCAB = 128256, PAGE = 16, LAYERS = 4, HOST_BLOCK = 64 << 20 };
#define WEIGHTS ((size_t)3 << 30)
#define ACTS ((size_t)2 << 30)
#define POOL_PAGES (64 * 4096 / PAGE)

static struct be *be;
static char *weights, *acts, *outs;
static double copy_gbs = 1, gemm_tflops = 1;
static int replays = 5;
static uint64_t next_key = 1;

static void must(int st, const char *what)
{
    if (st < 0) {
        fprintf(stderr, "%s: status %d\n", what, st);
        exit(1);
    }
}

/* Microseconds of one call of fn(arg, i), i = 0..n-1, recorded and replayed. */
static double time_us(int (*fn)(void *arg, int i), void *arg, int n)
{
    uint64_t key = next_key++;
    double best = 1e30;
    for (int r = 0; r < replays + 2; r++) {
        must(be_sync(be), "sync");
        int64_t t0 = clock_us();
        int st = be_graph_begin(be, key);
        must(st, "graph");
        for (int i = 0; st == 0 && i < n; i++)
            must(fn(arg, i), "op");
        if (st == 0)
            must(be_graph_end(be, key), "graph end");
        must(be_sync(be), "sync");
        double us = (double)(clock_us() - t0) / n;
        if (r >= 2 && us < best)
            best = us;
    }
    return best;
}

static void line(const char *op, const char *shape, double us, double bytes, double flops)
{
    double floor_us = bytes / copy_gbs * 1e-3, math_us = flops / gemm_tflops * 1e-6;
    if (math_us > floor_us)
        floor_us = math_us;
    printf("%-14s %-28s %9.2f us %8.0f GB/s %7.1f TFLOP/s %6.1f%% of limit\n", op, shape, us,
           bytes / us * 1e-3, flops / us * 1e-6, 100 * floor_us / us);
    fflush(stdout);
}

struct gemm_bench {
    int32_t m, n_in, n_out, out_dt;
    int n_copies;
};

static int run_gemm(void *arg, int i)
{
    const struct gemm_bench *g = arg;
    size_t one = (size_t)g->n_in * (size_t)g->n_out * 2;
    const struct matrix w = {.data = weights + (size_t)(i % g->n_copies) * one,
                             .n_out = g->n_out,
                             .n_in = g->n_in,
                             .dt = DT_BF16};
    struct op_gemm o = {.out = outs,
                        .in = acts,
                        .w = &w,
                        .m = g->m,
                        .n_in = g->n_in,
                        .n_out = g->n_out,
                        .dt = DT_BF16,
                        .out_dt = g->out_dt};
    return be->op->gemm(be, &o);
}

static double bench_gemm(const char *name, int32_t m, int32_t n_in, int32_t n_out, int32_t out_dt,
                         int print)
{
    size_t one = (size_t)n_in * (size_t)n_out * 2;
    int copies = (int)(WEIGHTS / one);
    struct gemm_bench g = {m, n_in, n_out, out_dt, copies > 16 ? 16 : copies};
    double flops = 2.0 * m * n_in * n_out;
    int n = flops > 1e11 ? 8 : 32;
    double us = time_us(run_gemm, &g, n);
    char shape[64];
    snprintf(shape, sizeof shape, "%s M=%d", name, (int)m);
    double bytes = (double)one + (double)m * (2.0 * n_in + (double)dtype_size(out_dt) * n_out);
    if (print)
        line("gemm", shape, us, bytes, flops);
    return flops / us * 1e-6;
}

static void bench_gemms(void)
{
    static const int32_t ms[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 8192};
    double sum[sizeof ms / sizeof *ms];
    for (size_t i = 0; i < sizeof ms / sizeof *ms; i++) {
        int32_t m = ms[i];
        double us = 0, f = 2.0 * m * 1e-6;
        us += f * DIM * 6144 / bench_gemm("qkv", m, DIM, 6144, DT_BF16, 1);
        us += f * DIM * DIM / bench_gemm("o", m, DIM, DIM, DT_BF16, 1);
        us += f * DIM * 2 * FFN / bench_gemm("gate_up", m, DIM, 2 * FFN, DT_BF16, 1);
        us += f * FFN * DIM / bench_gemm("down", m, FFN, DIM, DT_BF16, 1);
        sum[i] = us * 32e-3;
        if (m <= 512)
            bench_gemm("head", m, DIM, VOCAB, DT_F32, 1);
    }
    for (size_t i = 0; i < sizeof ms / sizeof *ms; i++)
        printf("gemm sum of 32 layers M=%d: %.3f ms\n", (int)ms[i], sum[i]);
}

/* Device arrays of a batch; rows hold consecutive lines of a page table of shuffled pages. */
struct batch_bench {
    struct batch bv;
    struct kv_pool_view kv;
    void *work;
    size_t work_bytes;
};

enum { MAX_TOK = 16384, STRIDE = POOL_PAGES / 4 };

static void *dev(const char *what, size_t n)
{
    void *p = be_alloc(be, what, n);
    if (!p) {
        fprintf(stderr, "no room for %s\n", what);
        exit(1);
    }
    return p;
}

static void put(void *dst, const int32_t *src, size_t n)
{
    must(be_upload(be, dst, src, n * sizeof *src), "upload");
    must(be_sync(be), "sync");
}

static void batch_open(struct batch_bench *b)
{
    b->kv = (struct kv_pool_view){.dt = DT_BF16,
                                  .n_pages = POOL_PAGES,
                                  .n_layers = LAYERS,
                                  .n_kv_heads = KV_HEADS,
                                  .page_tokens = PAGE,
                                  .head_dim = HEAD_DIM};
    b->kv.base = dev("pool", kv_page_elems(&b->kv) * 2 * POOL_PAGES);
    b->work_bytes = be_attn_work_bytes(be, 256, HEADS, HEAD_DIM);
    b->work = dev("work", b->work_bytes);
    int32_t **at[] = {&b->bv.tok,      &b->bv.pos,     &b->bv.tok_row, &b->bv.row_slot,
                      &b->bv.row_tok0, &b->bv.row_new, &b->bv.row_kv,  &b->bv.row_out};
    for (size_t i = 0; i < sizeof at / sizeof *at; i++)
        *at[i] = dev("inputs", MAX_TOK * sizeof(int32_t));
    b->bv.page_table = dev("table", sizeof(int32_t) * 256 * STRIDE);
}

static void batch_set(struct batch_bench *b, int32_t rows, int32_t n_new, int32_t n_kv)
{
    int32_t per = (n_kv + PAGE - 1) / PAGE, n = rows * n_new;
    int32_t *page = xcalloc2(POOL_PAGES, sizeof *page), *table = xcalloc2(256 * STRIDE, 4);
    int32_t *v[8];
    for (int i = 0; i < 8; i++)
        v[i] = xcalloc2(MAX_TOK, sizeof **v);
    uint64_t x = 88172645463325252u;
    for (int32_t i = 0; i < POOL_PAGES; i++)
        page[i] = i;
    for (int32_t i = POOL_PAGES - 1; i > 0; i--) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        int32_t j = (int32_t)(x % (uint64_t)(i + 1)), t = page[i];
        page[i] = page[j];
        page[j] = t;
    }
    for (int32_t r = 0; r < rows; r++) {
        v[3][r] = r;
        v[4][r] = r * n_new;
        v[5][r] = n_new;
        v[6][r] = n_kv;
        v[7][r] = (r + 1) * n_new - 1;
        for (int32_t i = 0; i < per; i++)
            table[r * STRIDE + i] = page[(r * per + i) % POOL_PAGES];
        for (int32_t i = 0; i < n_new; i++) {
            v[1][r * n_new + i] = n_kv - n_new + i;
            v[2][r * n_new + i] = r;
        }
    }
    int32_t *to[] = {b->bv.tok,      b->bv.pos,     b->bv.tok_row, b->bv.row_slot,
                     b->bv.row_tok0, b->bv.row_new, b->bv.row_kv,  b->bv.row_out};
    for (int i = 0; i < 8; i++) {
        put(to[i], v[i], MAX_TOK);
        free(v[i]);
    }
    put(b->bv.page_table, table, (size_t)256 * STRIDE);
    free(page);
    free(table);
    b->bv.n_rows = rows;
    b->bv.n_tokens = n;
    b->bv.max_new = n_new;
    b->bv.max_kv = n_kv;
    b->bv.table_stride = STRIDE;
}

static int run_attn(void *arg, int i)
{
    const struct batch_bench *b = arg;
    struct op_attn o = {.out = outs,
                        .q = acts,
                        .qkv_stride = (HEADS + 2 * KV_HEADS) * HEAD_DIM,
                        .n_heads = HEADS,
                        .dt = DT_BF16,
                        .layer = i % LAYERS,
                        .scale = 0.08838835f,
                        .kv = b->kv,
                        .bv = &b->bv,
                        .work = b->work,
                        .work_bytes = b->work_bytes};
    return b->bv.max_new == 1 ? be->op->attn_decode(be, &o) : be->op->attn_prefill(be, &o);
}

static int run_rope(void *arg, int i)
{
    const struct batch_bench *b = arg;
    struct op_rope_kv_write o = {.qkv = acts + (size_t)(i % 8) * (ACTS / 8),
                                 .inv_freq = (const float *)(const void *)b->bv.pos,
                                 .attn_factor = 1,
                                 .eps = 1e-5f,
                                 .n_heads = HEADS,
                                 .dt = DT_BF16,
                                 .layer = i % LAYERS,
                                 .kv = b->kv,
                                 .bv = &b->bv};
    return be->op->rope_kv_write(be, &o);
}

static void bench_attn(struct batch_bench *b, int only_prefill)
{
    static const int32_t decode[][2] = {{1, 128},    {1, 1024},  {1, 8192},  {1, 65536}, {8, 1024},
                                        {8, 4096},   {8, 16384}, {32, 1024}, {64, 1024}, {64, 4096},
                                        {128, 1024}, {256, 512}, {256, 1024}};
    static const int32_t prefill[][3] = {{1, 512, 512},     {16, 512, 512},  {1, 1024, 1024},
                                         {1, 2048, 2048},   {1, 4096, 4096}, {1, 8192, 8192},
                                         {1, 16384, 16384}, {1, 512, 8192},  {1, 2048, 16384},
                                         {8, 64, 4096},     {1, 16, 16384},  {1, 128, 16384}};
    char shape[64];
    for (size_t i = 0; !only_prefill && i < sizeof decode / sizeof *decode; i++) {
        int32_t rows = decode[i][0], kv = decode[i][1];
        batch_set(b, rows, 1, kv);
        snprintf(shape, sizeof shape, "rows=%d kv=%d", (int)rows, (int)kv);
        double bytes = (double)rows * kv * 2 * KV_HEADS * HEAD_DIM * 2;
        line("attn_decode", shape, time_us(run_attn, b, 32), bytes,
             4.0 * rows * kv * HEADS * HEAD_DIM);
    }
    for (size_t i = 0; i < sizeof prefill / sizeof *prefill; i++) {
        int32_t rows = prefill[i][0], n = prefill[i][1], kv = prefill[i][2];
        batch_set(b, rows, n, kv);
        snprintf(shape, sizeof shape, "rows=%d new=%d kv=%d", (int)rows, (int)n, (int)kv);
        double pairs = (double)rows * ((double)n * (kv - n) + (double)n * (n + 1) / 2);
        int launches = pairs < 1e7 ? 32
                                   : 8; /* of a short kernel enough to hide the replay's start */
        line("attn_prefill", shape, time_us(run_attn, b, launches),
             (double)rows * (kv * 4096.0 + n * 16384.0), 4.0 * pairs * HEADS * HEAD_DIM);
    }
}

struct rows_bench {
    int32_t n;
};

static int run_norm(void *arg, int i)
{
    const struct rows_bench *b = arg;
    char *at = acts + (size_t)(i % 4) * (ACTS / 4);
    struct op_add_rmsnorm o = {.out = at + ACTS / 8,
                               .residual = outs + (size_t)(i % 4) * (ACTS / 4),
                               .x = at + ACTS / 8,
                               .weight = (const float *)(const void *)weights,
                               .n_rows = b->n,
                               .dim = DIM,
                               .dt = DT_BF16,
                               .eps = 1e-5f};
    return be->op->add_rmsnorm(be, &o);
}

static int run_silu(void *arg, int i)
{
    const struct rows_bench *b = arg;
    struct op_silu_mul o = {.out = outs + (size_t)(i % 2) * (ACTS / 4),
                            .in = acts + (size_t)(i % 4) * (ACTS / 4),
                            .n_rows = b->n,
                            .dim = FFN,
                            .dt = DT_BF16};
    return be->op->silu_mul(be, &o);
}

struct sample_bench {
    struct op_sample o;
};

static int run_sample(void *arg, int i)
{
    const struct sample_bench *b = arg;
    (void)i;
    return be->op->sample(be, &b->o);
}

static void bench_sample(const struct batch_bench *b)
{
    static const struct {
        const char *name;
        struct sample_params p;
    } kinds[] = {
        {"greedy", {.temperature = 0, .top_p = 1, .n_logprobs = -1}},
        {"temperature", {.temperature = 1, .top_p = 1, .n_logprobs = -1}},
        {"top_k 50", {.temperature = 1, .top_p = 1, .top_k = 50, .n_logprobs = -1}},
        {"top_k 50 top_p 0.9", {.temperature = 1, .top_p = 0.9f, .top_k = 50, .n_logprobs = -1}},
        {"top_p 0.9", {.temperature = 1, .top_p = 0.9f, .n_logprobs = -1}},
        {"greedy 20 logprobs", {.temperature = 0, .top_p = 1, .n_logprobs = 20}}};
    static const int32_t rows[] = {1, 64, 256};
    size_t bytes = be_sample_work_bytes(be, 256, VOCAB);
    struct sample_params *p = dev("params", 256 * sizeof *p), host[256];
    float *logits = dev("logits", (size_t)256 * VOCAB * 4), *h = malloc((size_t)VOCAB * 4);
    uint64_t x = 1234567;
    for (int i = 0; i < VOCAB; i++) {
        double s = 0;
        for (int k = 0; k < 4; k++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            s += (double)(x >> 40) * 0x1p-24;
        }
        h[i] = (float)((s - 2) * 1.7320508 * 3);
    }
    for (int i = 0; i < 256; i++)
        must(be_upload(be, logits + (size_t)i * VOCAB, h, (size_t)VOCAB * 4), "upload");
    must(be_sync(be), "sync");
    free(h);
    struct sample_bench sb = {{.logits = logits,
                               .params = p,
                               .pos = b->bv.pos,
                               .row_slot = b->bv.row_slot,
                               .row_out = b->bv.row_slot,
                               .last_token = dev("last", 4096),
                               .token = dev("token", 4096),
                               .logprob = dev("logprob", 4096),
                               .top = dev("top", 256 * MAX_LOGPROBS * sizeof(struct token_logprob)),
                               .n_top = dev("n_top", 4096),
                               .vocab = VOCAB,
                               .work = dev("sample work", bytes),
                               .work_bytes = bytes}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
            char shape[64];
            for (int i = 0; i < 256; i++) {
                host[i] = kinds[k].p;
                host[i].seed = (uint64_t)i * 77;
            }
            must(be_upload(be, p, host, sizeof host), "upload");
            sb.o.n_rows = rows[r];
            sb.o.any_logprobs = kinds[k].p.n_logprobs >= 0;
            snprintf(shape, sizeof shape, "%s rows=%d", kinds[k].name, (int)rows[r]);
            line("sample", shape, time_us(run_sample, &sb, 16), (double)rows[r] * VOCAB * 4, 0);
        }
}

static void bench_rest(struct batch_bench *b)
{
    static const int32_t rows[] = {1, 8, 64, 256, 2048, 8192};
    char shape[64];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rows_bench r = {rows[i]};
        snprintf(shape, sizeof shape, "rows=%d", (int)rows[i]);
        line("add_rmsnorm", shape, time_us(run_norm, &r, 32), rows[i] * 12.0 * DIM, 0);
        line("silu_mul", shape, time_us(run_silu, &r, 32), rows[i] * 6.0 * FFN, 0);
        if (rows[i] <= 256)
            batch_set(b, rows[i], 1, 256);
        else
            batch_set(b, 1, rows[i], rows[i]);
        line("rope_kv_write", shape, time_us(run_rope, b, 32),
             rows[i] * 4.0 * (HEADS + 2 * KV_HEADS) * HEAD_DIM, 0);
    }
    batch_set(b, 256, 1, 256);
    bench_sample(b);
}

/* The two limits: a copy inside the card (bytes read and written), a large product. */
static int run_copy(void *arg, int i)
{
    const struct batch_bench *b = arg;
    static struct page_copy *c;
    int32_t half = POOL_PAGES / 4;
    (void)i;
    if (!c) {
        c = be_alloc_host(be, "copies", (size_t)half * sizeof *c);
        for (int32_t k = 0; k < half; k++)
            c[k] = (struct page_copy){k, half + k};
    }
    struct op_copy_pages o = {.kv = b->kv, .copies = c, .n = half};
    return be->op->copy_pages(be, &o);
}

static void measure_limits(struct batch_bench *b)
{
    int32_t half = POOL_PAGES / 4; /* as in run_copy */
    double bytes = 2.0 * half * (double)kv_page_elems(&b->kv) * 2;
    copy_gbs = bytes / time_us(run_copy, b, 2) * 1e-3;
    gemm_tflops = bench_gemm("limit", 8192, 8192, 8192, DT_BF16, 0);
    printf("limits on %s: copy %.0f GB/s, product 8192^3 %.0f TFLOP/s\n", be->info.name, copy_gbs,
           gemm_tflops);
}

static void fill_random(void *dst, size_t bytes, const void *host)
{
    for (size_t at = 0; at < bytes; at += HOST_BLOCK)
        must(be_upload(be, (char *)dst + at, host,
                       bytes - at < HOST_BLOCK ? bytes - at : HOST_BLOCK),
             "upload");
    must(be_sync(be), "sync");
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "all";
    struct be_config bc = {.kind = BE_CUDA, .memory_utilization = 0.9, .graphs = 1};
    struct err e = {0};
    struct batch_bench b = {0};
    if (argc > 2)
        replays = atoi(argv[2]);
    if (be_open(&be, &bc, &e) != 0) {
        printf("skipped: %s\n", e.msg);
        return SKIPPED;
    }
    uint16_t *host = be_alloc_host(be, "random", HOST_BLOCK);
    uint64_t x = 42;
    for (size_t i = 0; i < HOST_BLOCK / 2; i++) { /* bf16 of magnitude 2^-4 to 1, either sign */
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        host[i] = (uint16_t)((x >> 48 & 0x807f) | (uint64_t)(123 + (x >> 40 & 3)) << 7);
    }
    weights = dev("weights", WEIGHTS);
    acts = dev("acts", ACTS);
    outs = dev("outs", ACTS);
    batch_open(&b);
    fill_random(weights, WEIGHTS, host);
    fill_random(acts, ACTS, host);
    fill_random(outs, ACTS, host);
    fill_random(b.kv.base, kv_page_elems(&b.kv) * 2 * POOL_PAGES, host);
    measure_limits(&b);
    int all = strcmp(what, "all") == 0;
    if (all || strcmp(what, "gemm") == 0)
        bench_gemms();
    if (all || strcmp(what, "attn") == 0 || strcmp(what, "prefill") == 0)
        bench_attn(&b, strcmp(what, "prefill") == 0);
    if (all || strcmp(what, "rest") == 0)
        bench_rest(&b);
    be_close(be);
    return 0;
}
