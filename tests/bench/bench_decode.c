/* SPDX-License-Identifier: Apache-2.0 */
/* Model-level speed without HTTP and engine: decode tokens/s at 1, 2, 4, ... rows, prefill
 * tokens/s.
 *
 *   bench_decode MODEL [cpu|cuda] [max rows] [prompt tokens] [dummy]
 *
 * Prints tokens per second, one line a measurement. The ratio to memory bandwidth and to a BLAS is
 * what bench_cpu and bench_cuda_ops print per op. */
#include "model_run.h"

#include "clock.h"

#include <stdio.h>

enum { STEPS = 24, WARM = 3 };

static double decode_rate(struct model_run *x, int32_t rows, int32_t at)
{
    struct sample_params sp = greedy_params();
    token_id tok = 5;
    int64_t t0 = 0;
    for (int i = 0; i < WARM + STEPS; i++) {
        if (i == WARM)
            t0 = clock_us();
        model_run_begin(x, STEP_DECODE);
        for (int32_t r = 0; r < rows; r++) {
            token_id in = i == 0 ? tok : TOKEN_FROM_ROW;
            model_run_add(x, r, at + i, &in, 1, &sp);
        }
        if (model_run_go(x) != 0)
            return 0;
    }
    return (double)rows * STEPS / ((double)(clock_us() - t0) * 1e-6);
}

static double prefill_rate(struct model_run *x, int32_t row, const token_id *ids, int32_t n,
                           int32_t chunk)
{
    struct sample_params sp = greedy_params();
    int64_t t0 = clock_us();
    for (int32_t at = 0; at < n; at += chunk) {
        int32_t len = n - at < chunk ? n - at : chunk;
        model_run_begin(x, STEP_PREFILL);
        model_run_add(x, row, at, ids + at, len, at + len == n ? &sp : NULL);
        if (model_run_go(x) != 0)
            return 0;
    }
    return (double)n / ((double)(clock_us() - t0) * 1e-6);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: %s MODEL [cpu|cuda] [max rows] [prompt tokens] [dummy]\n", argv[0]);
        return 64;
    }
    struct be_config bc = {.kind = argc > 2 && !strcmp(argv[2], "cuda") ? BE_CUDA : BE_CPU,
                           .memory_utilization = 0.9,
                           .graphs = argc > 2 && !strcmp(argv[2], "cuda") ? 2 : 0};
    int32_t rows = argc > 3 ? atoi(argv[3]) : 8, n = argc > 4 ? atoi(argv[4]) : 512;
    if (rows < 1 || rows > MAX_ROWS || n < 1 || n > MAX_STEP_TOKENS)
        return 64;
    struct model_source_opts so = {.path = argv[1], .dummy = argc > 5, .seed = 1};
    struct model_run x;
    struct err e = {0};
    int32_t chunk = n < 2048 ? n : 2048;
    /* cppcheck-suppress knownConditionTrueFalse ; there may be more rows than tokens in a prompt */
    if (model_run_open(&x, &so, &bc, rows, n + 64, chunk > rows ? chunk : rows, &e) != 0) {
        fprintf(stderr, "%s\n", e.msg);
        return 70;
    }
    printf("start           %8.0f ms device, %.0f ms model  (%s)\n", (double)x.open_us * 1e-3,
           (double)x.load_us * 1e-3, x.be->info.name);
    token_id *ids = malloc((size_t)n * sizeof *ids);
    int32_t vocab = model_config(x.m)->vocab;
    for (int32_t i = 0; i < n; i++)
        ids[i] = (token_id)((uint32_t)i * 2654435761u % (uint32_t)vocab);
    for (int32_t r = 0; r < rows; r++) {
        double rate = prefill_rate(&x, r, ids, n, chunk);
        if (r < 4)
            printf("prefill %5d   %8.1f tok/s, %.2f ms to the first token\n", (int)n, rate,
                   1e3 * n / rate);
    }
    for (int32_t r = 1; r <= rows; r *= 2) {
        double rate = decode_rate(&x, r, n);
        printf("decode  %5d   %8.1f tok/s, %.3f ms a step  (%d tokens of context)\n", (int)r, rate,
               1e3 * r / rate, (int)n);
    }
    free(ids);
    model_run_close(&x);
    return 0;
}
