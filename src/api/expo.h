/* SPDX-License-Identifier: Apache-2.0 */
/* expo.h - writing Prometheus' text format. Pure; any thread. */
#ifndef QUIRE_API_EXPO_H
#define QUIRE_API_EXPO_H

#include "buf.h"

#include <stdint.h>

enum expo_type { EXPO_COUNTER, EXPO_GAUGE, EXPO_HISTOGRAM };

/* The lines HELP and TYPE of the family prefix + name, before its samples. */
void expo_head(struct buf *b, const char *prefix, const char *name, enum expo_type type,
               const char *help);
/* One sample; labels without braces, "" = none. */
void expo_sample(struct buf *b, const char *prefix, const char *name, const char *labels, double v);
/* A family of one sample. */
void expo_one(struct buf *b, const char *prefix, const char *name, enum expo_type type,
              const char *help, const char *labels, double v);
/* The samples of a histogram: le[n] are the bounds as text, count[n + 1] the observations of each
 * bucket alone, the last one those above all bounds. */
void expo_buckets(struct buf *b, const char *prefix, const char *name, const char *labels,
                  const char *const *le, int n, const int64_t *count, double sum);
/* s as a label's value, with its quotes. */
void expo_label(struct buf *b, const char *s);

#endif
