/* metrics.h - counters and histograms of the loop thread, and their text form. */
#ifndef QUIRE_HTTP_METRICS_H
#define QUIRE_HTTP_METRICS_H

#include "text.h"

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
    H_GENERATION,
    H_MAX_TOKENS,
    H_N,
    N_HISTS
};
enum { N_BUCKETS_MAX = 32, N_HANDLERS_MAX = 32 };
enum { N_METHODS = 5 }; /* GET HEAD POST OPTIONS other */
enum { END_STOP, END_LENGTH, END_ABORT, END_ERROR, N_ENDS };

struct hist {
    int64_t count[N_BUCKETS_MAX + 1];
    double sum;
    int64_t n;
};
struct metrics {
    struct hist h[N_HISTS];
    int64_t ends[N_ENDS];
    int64_t http[N_HANDLERS_MAX][N_METHODS][3]; /* 2xx 4xx 5xx by route; the last is "none" */
    int64_t ignored_parameters, slow_readers, rejected, disconnects;
};
struct http;

void hist_add(struct metrics *m, int which, double v);
/* One answer; route NULL = none of ours. */
void metrics_http(struct metrics *m, const void *route, const char *method, int status);
void metrics_text(struct http *h, struct buf *out);
/* route.c: index and name of handlers for the http_* series */
int route_index(const void *route);
const char *route_name(int i); /* NULL past the end */

#endif
