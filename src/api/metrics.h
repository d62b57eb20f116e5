/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.h - counters and histograms of the loop thread, and their text form. */
#ifndef QUIRE_API_METRICS_H
#define QUIRE_API_METRICS_H

#include "buf.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    H_TTFT,
    H_ITL,
    H_E2E,
    H_QUEUE,
    H_PREFILL,
    H_DECODE,
    H_INFERENCE,
    H_TPOT,
    H_PROMPT,
    H_COMPUTED,
    H_GENERATION,
    H_MAX_GENERATION,
    H_MAX_TOKENS,
    H_N,
    N_HISTS
};
enum { N_BUCKETS_MAX = 32, N_HANDLERS_MAX = 64 };
enum { N_METHODS = 5, N_CLASSES = 3 }; /* GET HEAD POST OPTIONS other; 2xx 4xx 5xx */
enum { END_STOP, END_LENGTH, END_ABORT, END_ERROR, N_ENDS };

struct hist {
    int64_t count[N_BUCKETS_MAX + 1];
    double sum;
};
struct metrics {
    struct hist h[N_HISTS];
    int64_t ends[N_ENDS];
    int64_t http[N_HANDLERS_MAX][N_METHODS][N_CLASSES]; /* by row of the table, then "none" */
    int64_t requests[2];                                /* admitted: in one piece, streaming */
    int64_t ignored_parameters, slow_readers, rejected, disconnects;
};
struct api;

void hist_add(struct metrics *m, int which, double v);
/* One answer; handler: the table's index, its length = none of ours. */
void metrics_http(struct metrics *m, int handler, const char *method, int status);
/* Appends all of it to a soft buffer. False: no memory. */
bool metrics_text(const struct api *a, struct buf *out);

#endif
