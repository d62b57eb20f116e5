/* SPDX-License-Identifier: Apache-2.0 */
/* gemm_tune.c - measure cuBLASLt's candidates for a product, and keep the choice between starts.
 *
 * The library orders its candidates by a model; for some shapes a later one is 5 to 15 % faster.
 * Each candidate runs a few times, taking turns, after a write larger than the second-level cache,
 * so that weights come from memory as they do in a pass. The least time counts, and the first
 * candidate stays unless another is faster by more than MARGIN. What was chosen goes into a text
 * file, one line a shape under a line that names card, driver and library: another one's file is
 * not read. Loader thread.
 */
#include "gemm_plan.h"

#include "log.h"
#include "mem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FLUSH_BYTES = 128 << 20, ROUNDS = 4, MAX_PATH_BYTES = 4096, LINE = 512 };
#define MARGIN 0.985

struct gemm_tune {
    char path[MAX_PATH_BYTES], card[LINE];
    void *flush; /* device memory that is overwritten between runs */
    cudaEvent_t from, to;
    int n_measured, n_read, n_better;
};

/* The first line of the file. */
static void describe(struct cuda_be *c, struct gemm_tune *t)
{
    struct cudaDeviceProp prop = {0};
    int driver = 0, runtime = 0;
    c->rt->properties(&prop, c->device);
    c->rt->driver_version(&driver);
    c->rt->runtime_version(&runtime);
    snprintf(t->card, sizeof t->card,
             "quire-gemm 1 card=\"%.100s\" sms=%d cc=%d driver=%d runtime=%d cublaslt=%zu\n",
             prop.name, c->part[0].n_sms, c->cc, driver, runtime, c->gemm->lt.cublasLtGetVersion());
}

/* The number at *at in that base, moved behind it. */
static bool read_number(const char **at, int base, uint64_t *v)
{
    char *end;
    errno = 0;
    *v = strtoull(*at, &end, base);
    bool ok = end != *at && errno == 0;
    *at = end;
    return ok;
}

static bool read_line(const char *line, struct gemm_plan *p)
{
    uint64_t shape[7], word;
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++)
        if (!read_number(&line, 10, &shape[i]) || shape[i] > INT32_MAX)
            return false;
    *p = (struct gemm_plan){.bucket = (int32_t)shape[0],
                            .n_in = (int32_t)shape[1],
                            .n_out = (int32_t)shape[2],
                            .dt = (int32_t)shape[3],
                            .out_dt = (int32_t)shape[4],
                            .has_bias = (int32_t)shape[5],
                            .n_sms = (int32_t)shape[6],
                            .unchecked = true};
    for (size_t i = 0; i < sizeof p->algo.data / sizeof *p->algo.data; i++) {
        if (!read_number(&line, 16, &word))
            return false;
        p->algo.data[i] = word;
    }
    return p->bucket >= 1;
}

static void read_file(struct cuda_be *c, struct gemm_tune *t)
{
    char line[LINE];
    FILE *f = fopen(t->path, "re");
    if (!f)
        return;
    bool ours = fgets(line, sizeof line, f) && strcmp(line, t->card) == 0;
    struct gemm_plans *all = c->gemm->plans;
    while (ours && all->n < MAX_GEMM_PLANS / 2 && fgets(line, sizeof line, f)) {
        struct gemm_plan p, *at;
        if (!read_line(line, &p) || !(at = cuda_gemm_find(all, &p)) || at->bucket != 0)
            continue;
        *at = p;
        all->n++;
        t->n_read++;
    }
    fclose(f);
}

static bool write_file(const struct cuda_be *c, const struct gemm_tune *t)
{
    char part[MAX_PATH_BYTES + 32];
    snprintf(part, sizeof part, "%s.%ld", t->path, (long)getpid());
    FILE *f = fopen(part, "we");
    if (!f)
        return false;
    fputs(t->card, f);
    for (int i = 0; i < MAX_GEMM_PLANS; i++) {
        const struct gemm_plan *p = &c->gemm->plans->plan[i];
        if (p->bucket == 0 || p->workspace == NO_ALGORITHM)
            continue;
        fprintf(f, "%d %d %d %d %d %d %d", (int)p->bucket, (int)p->n_in, (int)p->n_out, (int)p->dt,
                (int)p->out_dt, (int)p->has_bias, (int)p->n_sms);
        for (size_t k = 0; k < sizeof p->algo.data / sizeof *p->algo.data; k++)
            fprintf(f, " %016" PRIx64, (uint64_t)p->algo.data[k]);
        fputc('\n', f);
    }
    bool ok = !ferror(f);
    ok = fclose(f) == 0 && ok && rename(part, t->path) == 0;
    if (!ok)
        remove(part);
    return ok;
}

static void tune_free(struct cuda_be *c, struct gemm_tune *t)
{
    if (t->from)
        c->rt->event_destroy(t->from);
    if (t->to)
        c->rt->event_destroy(t->to);
    if (t->flush)
        c->rt->release(t->flush);
    c->gemm->tune = NULL;
    free(t);
}

int cuda_tune_begin(struct be *be, const char *cache)
{
    struct cuda_be *c = cuda_of(be);
    struct gemm_tune *t = xalloc(sizeof *t);
    cuda_enter(c);
    c->gemm->tune = t;
    snprintf(t->path, sizeof t->path, "%s", cache);
    describe(c, t);
    int st = cuda_result(c, c->rt->event_create(&t->from, cudaEventDefault), "event create");
    if (st == 0)
        st = cuda_result(c, c->rt->event_create(&t->to, cudaEventDefault), "event create");
    if (st == 0)
        st = cuda_result(c, c->rt->alloc(&t->flush, FLUSH_BYTES), "cudaMalloc");
    if (st == 0) {
        read_file(c, t);
        return 0;
    }
    tune_free(c, t);
    if (st != ST_NOMEM)
        return st;
    log_warn("backend.gemm_tune",
             "no room to measure products: the library's first choice is taken");
    return 1;
}

void cuda_tune_end(struct be *be)
{
    struct cuda_be *c = cuda_of(be);
    struct gemm_tune *t = c->gemm->tune;
    if (!t)
        return;
    bool kept = t->n_measured > 0 && write_file(c, t);
    log_info("backend.gemm_tune", "read=%d measured=%d better_than_first=%d file=\"%s\" written=%d",
             t->n_read, t->n_measured, t->n_better, t->path, (int)kept);
    if (t->n_measured > 0 && !kept)
        log_warn("backend.gemm_tune",
                 "file=\"%s\" cannot be written: %s; the next start measures "
                 "again",
                 t->path, strerror(errno));
    tune_free(c, t);
}

/* Milliseconds of one run; negative: it does not run. */
static float time_one(struct cuda_be *c, const struct gemm_call *k, const struct op_gemm *o,
                      const cublasLtMatmulAlgo_t *algo)
{
    const struct gemm_tune *t = c->gemm->tune;
    float ms = -1;
    if (c->rt->memset_async(t->flush, 0, FLUSH_BYTES, c->stream) != cudaSuccess ||
        c->rt->event_record(t->from, c->stream) != cudaSuccess ||
        cuda_gemm_run(c, k, o, algo) != CUBLAS_STATUS_SUCCESS ||
        c->rt->event_record(t->to, c->stream) != cudaSuccess ||
        c->rt->event_sync(t->to) != cudaSuccess ||
        c->rt->event_elapsed(&ms, t->from, t->to) != cudaSuccess)
        return -1;
    return ms;
}

int cuda_tune_pick(struct cuda_be *c, const struct gemm_call *k, const struct op_gemm *o,
                   const cublasLtMatmulHeuristicResult_t *candidate, int n)
{
    struct gemm_tune *t = c->gemm->tune;
    float least[MAX_GEMM_CHOICES] = {0};
    int best = 0;
    for (int r = 0; r <= ROUNDS; r++) /* the first loads the kernels */
        for (int i = 0; i < n; i++) {
            float ms = r > 1 && least[i] < 0 ? -1 : time_one(c, k, o, &candidate[i].algo);
            if (r <= 1 || ms < 0 || ms < least[i])
                least[i] = ms;
        }
    c->rt->last_error(); /* of candidates that do not run */
    for (int i = 1; i < n; i++)
        if (least[i] > 0 && (least[best] <= 0 || least[i] < least[best]))
            best = i;
    if (least[0] > 0 && least[best] > (float)MARGIN * least[0])
        best = 0;
    t->n_measured++;
    t->n_better += best != 0;
    return best;
}
