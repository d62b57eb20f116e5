/* SPDX-License-Identifier: Apache-2.0 */
/* expo.c - see expo.h. A scrape has some hundred lines, most of them of histograms, many times a
 * second: no line is made by printf but those whose number is a fraction.
 */
#include "expo.h"

#include "json_out.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static void put_int(struct buf *b, int64_t v)
{
    char t[24];
    size_t at = sizeof t;
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    do
        t[--at] = (char)('0' + u % 10);
    while ((u /= 10) != 0);
    if (v < 0)
        t[--at] = '-';
    buf_add(b, t + at, sizeof t - at);
}

static void put_value(struct buf *b, double v)
{
    if (fabs(v) < 9e15 && v == floor(v))
        put_int(b, (int64_t)v);
    else
        out_fmt(b, "%.15g", v);
}

void expo_head(struct buf *b, const char *prefix, const char *name, enum expo_type type,
               const char *help)
{
    static const char *const names[] = {"counter", "gauge", "histogram"};
    const char *const t[] = {"# HELP ", prefix, name, " ",         help, "\n# TYPE ",
                             prefix,    name,   " ",  names[type], "\n"};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++)
        out_str(b, t[i]);
}

void expo_sample(struct buf *b, const char *prefix, const char *name, const char *labels, double v)
{
    out_str(b, prefix);
    out_str(b, name);
    if (labels[0]) {
        out_str(b, "{");
        out_str(b, labels);
        out_str(b, "}");
    }
    out_str(b, " ");
    put_value(b, v);
    out_str(b, "\n");
}

void expo_one(struct buf *b, const char *prefix, const char *name, enum expo_type type,
              const char *help, const char *labels, double v)
{
    expo_head(b, prefix, name, type, help);
    expo_sample(b, prefix, name, labels, v);
}

void expo_buckets(struct buf *b, const char *prefix, const char *name, const char *labels,
                  const char *const *le, int n, const int64_t *count, double sum)
{
    struct buf line = {.soft = true}; /* what all buckets begin with */
    int64_t up_to = 0;
    const char *const t[] = {prefix, name, "_bucket{", labels, labels[0] ? "," : "", "le=\""};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++)
        out_str(&line, t[i]);
    for (int i = 0; i <= n; i++) {
        up_to += count[i];
        buf_add(b, line.p, line.n);
        out_str(b, i < n ? le[i] : "+Inf");
        out_str(b, "\"} ");
        put_int(b, up_to);
        out_str(b, "\n");
    }
    b->oom |= line.oom;
    buf_free(&line);
    char part[96];
    snprintf(part, sizeof part, "%s_sum", name);
    expo_sample(b, prefix, part, labels, sum);
    snprintf(part, sizeof part, "%s_count", name);
    expo_sample(b, prefix, part, labels, (double)up_to);
}

/* The format knows three escapes only. */
void expo_label(struct buf *b, const char *s)
{
    out_str(b, "\"");
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            out_str(b, "\\");
        if (*s == '\n')
            out_str(b, "\\n");
        else
            buf_add(b, s, 1);
    }
    out_str(b, "\"");
}
