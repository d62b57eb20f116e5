/* SPDX-License-Identifier: Apache-2.0 */
/* logits_tool.c - raw logits of a model for scripts/gpu_logits.py, which compares them with
 * transformers.
 *
 *   cuda_logits_tool MODEL cuda|cpu IDS OUT
 *
 * IDS: int32 token ids. OUT: records of int32 position, int32 phase and vocab float32 logits that
 * follow that position. Phases: 0 prefill, prefixes of many lengths packed into one step; 1 prefill
 * of everything in uneven chunks; 2 decode one by one after the first 200. */
#include "model_run.h"

#include "clock.h"

#include <stdio.h>

enum { SHORT = 32, DECODE_FROM = 200, ROWS = 64, STEP_TOKENS = 2048, MAX_IDS = 1024 };

static struct model_run x;
static token_id ids[MAX_IDS];
static int32_t n_ids, vocab;
static float *logits;
static FILE *out;

static int put(int32_t row, int32_t pos, int32_t phase)
{
    const int32_t head[2] = {pos, phase};
    int st = model_logits(x.m, row, logits);
    if (st != 0)
        return st;
    return fwrite(head, sizeof head, 1, out) == 1 &&
                   fwrite(logits, sizeof *logits, (size_t)vocab, out) == (size_t)vocab
               ? 0
               : ST_IO;
}

static int packed(void)
{
    static const int32_t more[] = {40,  47,  48,  49,  63,  64,         65,
                                   100, 127, 128, 129, 199, DECODE_FROM};
    struct sample_params sp = greedy_params();
    int32_t len[ROWS], n = 0;
    for (int32_t i = 1; i <= SHORT; i++)
        len[n++] = i;
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        len[n++] = more[i];
    model_run_begin(&x, STEP_PREFILL);
    for (int32_t i = 0; i < n; i++)
        model_run_add(&x, i, 0, ids, len[i], &sp);
    int st = model_run_go(&x);
    for (int32_t i = 0; i < n && st == 0; i++)
        st = put(i, len[i] - 1, 0);
    return st;
}

static int chunked(void)
{
    struct sample_params sp = greedy_params();
    int st = 0;
    for (int32_t at = 0, n = 7; at < n_ids && st == 0; at += n, n = n * 2 % 61 + 1) {
        n = at + n > n_ids ? n_ids - at : n;
        model_run_begin(&x, STEP_PREFILL);
        model_run_add(&x, ROWS - 1, at, ids + at, n, &sp);
        st = model_run_go(&x);
        if (st == 0)
            st = put(0, at + n - 1, 1);
    }
    return st;
}

/* The row of the longest packed prefix goes on. */
static int decoded(void)
{
    struct sample_params sp = greedy_params();
    int st = 0;
    for (int32_t at = DECODE_FROM; at < n_ids && st == 0; at++) {
        model_run_begin(&x, STEP_DECODE);
        model_run_add(&x, SHORT + 12, at, ids + at, 1, &sp);
        st = model_run_go(&x);
        if (st == 0)
            st = put(0, at, 2);
    }
    return st;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: %s MODEL cuda|cpu IDS OUT\n", argv[0]);
        return 64;
    }
    struct model_source_opts so = {.path = argv[1]};
    struct be_config bc = {.kind = strcmp(argv[2], "cuda") == 0 ? BE_CUDA : BE_CPU,
                           .memory_utilization = 0.9,
                           .graphs = 1};
    struct err e = {0};
    FILE *in = fopen(argv[3], "rb");
    out = fopen(argv[4], "wb");
    if (!in || !out) {
        fprintf(stderr, "cannot open %s or %s\n", argv[3], argv[4]);
        return 66;
    }
    n_ids = (int32_t)fread(ids, sizeof *ids, MAX_IDS, in);
    fclose(in);
    if (n_ids <= DECODE_FROM)
        return 65;
    int64_t t0 = clock_us();
    if (model_run_open(&x, &so, &bc, ROWS, MAX_IDS, STEP_TOKENS, &e) != 0) {
        fprintf(stderr, "%s\n", e.msg);
        return 70;
    }
    printf("loaded in %.2f s on %s\n", (double)(clock_us() - t0) * 1e-6, x.be->info.name);
    vocab = model_config(x.m)->vocab;
    logits = malloc((size_t)vocab * sizeof *logits);
    int st = packed();
    if (st == 0)
        st = chunked();
    if (st == 0)
        st = decoded();
    if (st != 0)
        fprintf(stderr, "a step failed: %s\n", st_text(st));
    free(logits);
    model_run_close(&x);
    return fclose(out) == 0 && st == 0 ? 0 : 70;
}
