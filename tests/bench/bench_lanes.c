/* SPDX-License-Identifier: Apache-2.0 */
/* Prefill beside decode: what two lanes on one device get done, for each way to split it.
 *
 *   bench_lanes MODEL [cpu|cuda] [rows] [context] [chunk] [seconds] [dummy]
 *
 * One lane decodes `rows` rows at `context` tokens, the other computes prompts of `chunk` tokens,
 * two steps in flight each. `work` is the sum of both rates over what each does alone on the whole
 * device: 1 is what taking turns gives. */
#include "clock.h"
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 16 };

struct side {
    struct executor ex;
    struct step *step[MAX_INFLIGHT];
    int next, n_flight;
    int64_t n_done;
};

static struct step_result result;

static int fail(const char *what, int st)
{
    fprintf(stderr, "%s: %s\n", what, st_text(st));
    exit(70);
}

static void add_row(struct step *s, row_id row, int32_t first, int32_t n, int32_t stride)
{
    int32_t i = s->n_rows++;
    s->rows[i] = (struct step_row){
        .row = row, .first = first, .n = n, .token0 = s->n_tokens, .want = STEP_WANT_SAMPLE};
    s->sample[i] = (struct sample_params){.top_p = 1.0f, .n_logprobs = -1};
    for (int32_t k = 0; k < n; k++)
        s->tokens[s->n_tokens++] = (first + k) * 7 % 1000;
    for (int32_t p = 0; p <= (first + n - 1) / PAGE; p++)
        s->edits[s->n_edits++] = (struct page_edit){row, p, row * stride + p};
}

static void submit(struct side *d, int32_t share)
{
    struct step *s = d->step[d->next];
    s->share = share;
    s->seq_no++;
    int st = d->ex.submit(d->ex.self, d->next, s);
    if (st == ST_DEVICE_RETRY)
        st = d->ex.submit(d->ex.self, d->next, s);
    if (st != 0)
        fail("submit", st);
    d->next = (d->next + 1) % MAX_INFLIGHT;
    d->n_flight++;
}

static int oldest(const struct side *d)
{
    return (d->next + MAX_INFLIGHT - d->n_flight) % MAX_INFLIGHT;
}

static void finish(struct side *d)
{
    int st = d->ex.wait(d->ex.self, oldest(d), &result);
    if (st != 0)
        fail("wait", st);
    d->n_flight--;
    d->n_done++;
}

/* Both sides of `sides` for a time; steps of each a second in rate[]. The first steps of a share
 * record graphs and choose algorithms: they are not counted. */
static void run(struct side *const *sides, int n, int32_t share, double seconds, double *rate)
{
    for (int pass = 0; pass < 2; pass++) {
        int64_t t0 = clock_us(), end = t0 + (int64_t)((pass == 0 ? 0.5 : seconds) * 1e6);
        for (int i = 0; i < n; i++)
            sides[i]->n_done = 0;
        while (clock_us() < end)
            for (int i = 0; i < n; i++) {
                struct side *d = sides[i];
                if (d->n_flight < MAX_INFLIGHT)
                    submit(d, share);
                if (d->n_flight == MAX_INFLIGHT && d->ex.ready(d->ex.self, oldest(d)))
                    finish(d);
            }
        double took = (double)(clock_us() - t0) * 1e-6;
        for (int i = 0; i < n; i++) {
            rate[i] = (double)sides[i]->n_done / took;
            while (pass == 1 && sides[i]->n_flight > 0)
                finish(sides[i]);
        }
    }
}

/* ---- the model and both sides ---- */

struct bench {
    struct be *be;
    struct model *m;
    struct side prefill, decode;
    int32_t rows, ctx, chunk;
};

static void open_model(struct bench *b, const char *path, bool cuda, bool dummy)
{
    struct be_config bc = {
        .kind = cuda ? BE_CUDA : BE_CPU, .memory_utilization = 0.9, .graphs = cuda};
    struct model_source_opts so = {.path = path, .dummy = dummy, .seed = 1};
    struct model_source *src;
    struct err e = {0};
    int32_t len = (b->ctx > b->chunk ? b->ctx : b->chunk) + 1, stride = (len + PAGE - 1) / PAGE;
    if (model_source_open(&src, &so, &e) != 0 || be_open(&b->be, &bc, &e) != 0)
        fail(e.msg, e.st);
    const struct model_config *c = model_source_config(src);
    int64_t page = (int64_t)c->n_layers * 2 * c->kind[0].n_kv_heads * PAGE * c->kind[0].head_dim *
                   (int64_t)dtype_size(b->be->info.kv_dt);
    struct model_opts mo = {.kv_dt = -1,
                            .act_dt = -1,
                            .weight_dt = -1,
                            .page_tokens = PAGE,
                            .pool_bytes = page * (b->rows + 1) * stride + page,
                            .max_seqs = b->rows + 1,
                            .max_step_tokens = b->chunk,
                            .gemm_cache = getenv("QUIRE_GEMM_CACHE"),
                            .warm = WARM_PASSES,
                            .lanes = 2};
    if (model_load(&b->m, src, b->be, &mo, &e) != 0)
        fail(e.msg, e.st);
    model_source_close(src);
    model_executor(b->m, 0, &b->prefill.ex);
    model_executor(b->m, 1, &b->decode.ex);
    for (int i = 0; i < MAX_INFLIGHT; i++) {
        struct step *p = b->prefill.step[i] = calloc(1, sizeof *p);
        struct step *d = b->decode.step[i] = calloc(1, sizeof *d);
        p->version = d->version = STEP_VERSION;
        p->kind = STEP_PREFILL;
        d->kind = STEP_DECODE;
        add_row(p, b->rows, 0, b->chunk, stride);
        for (int32_t r = 0; r < b->rows; r++)
            add_row(d, r, b->ctx - 1, 1, stride);
    }
}

static void close_model(struct bench *b)
{
    for (int i = 0; i < MAX_INFLIGHT; i++) {
        free(b->prefill.step[i]);
        free(b->decode.step[i]);
    }
    model_free(b->m);
    be_close(b->be);
}

static void measure(struct bench *b, double seconds)
{
    double alone[2], both[2], part[2];
    struct side *sides[2] = {&b->decode, &b->prefill};
    run(&sides[0], 1, 0, seconds, &alone[0]);
    run(&sides[1], 1, 0, seconds, &alone[1]);
    printf("%s: %d rows at %d tokens, prompts of %d\n", b->be->info.name, (int)b->rows, (int)b->ctx,
           (int)b->chunk);
    printf("alone         decode %8.2f ms   prefill %8.2f ms\n", 1e3 / alone[0], 1e3 / alone[1]);
    for (int32_t k = 0; k <= b->prefill.ex.n_shares; k++) {
        run(&sides[0], 1, k, seconds, &part[0]);
        run(&sides[1], 1, k, seconds, &part[1]);
        run(sides, 2, k, seconds, both);
        printf(
            "share %d       decode %8.2f ms   prefill %8.2f ms   work %5.3f   (alone on its part:"
            " %.2f, %.2f ms)\n",
            (int)k, 1e3 / both[0], 1e3 / both[1], both[0] / alone[0] + both[1] / alone[1],
            1e3 / part[0], 1e3 / part[1]);
    }
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: %s MODEL [cpu|cuda] [rows] [context] [chunk] [seconds] [dummy]\n",
                argv[0]);
        return 64;
    }
    struct bench b = {.rows = argc > 3 ? atoi(argv[3]) : 4,
                      .ctx = argc > 4 ? atoi(argv[4]) : 256,
                      .chunk = argc > 5 ? atoi(argv[5]) : 256};
    if (b.rows < 1 || b.rows >= MAX_ROWS || b.ctx < 1 || b.chunk < 1 || b.chunk > MAX_STEP_TOKENS)
        return 64;
    open_model(&b, argv[1], argc > 2 && !strcmp(argv[2], "cuda"), argc > 7);
    measure(&b, argc > 6 ? atof(argv[6]) : 2);
    close_model(&b);
    return 0;
}
