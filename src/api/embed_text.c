/* SPDX-License-Identifier: Apache-2.0 */
/* embed_text.c - vectors as JSON: numbers or base64, of length one. See embed_req.h.
 *
 * Numbers have nine digits, which name a float for certain. They are made with one multiplication
 * in double: that is off by far less than the nine digits are, and printf takes ten times as long.
 */
#include "embed_req.h"
#include "json_out.h"

#include <endian.h>
#include <math.h>
#include <nettle/base64.h>
#include <stdio.h>
#include <string.h>

enum { DIGITS = 9, EXACT = 22 /* powers of ten that a double has exactly */ };

static const double power[EXACT + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                        1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                        1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

static double scaled(double v, int by)
{
    return by < 0 ? v / power[-by] : v * power[by];
}

/* v = m * 10^-places for a whole m of DIGITS digits, rounded. False: too small or too large. */
static bool nine_digits(double v, int64_t *m, int *places)
{
    if (!(v >= 1e-12 && v < 1e12))
        return false;
    int e = 0; /* v is in [10^e, 10^(e + 1)) */
    while (v >= power[e + 1])
        e++;
    while (e <= 0 && v * power[-e] < 1)
        e--;
    *places = DIGITS - 1 - e;
    *m = llround(scaled(v, *places));
    if (*m == 1000000000) { /* 9.999999996 */
        *m /= 10;
        --*places;
    }
    return true;
}

int out_float(char *to, float v)
{
    static const char zeros[5] = {'0', '.', '0', '0', '0'};
    int64_t m;
    int places, n = 0;
    char digit[DIGITS];
    if (v == 0)
        return (int)(stpcpy(to, "0.0") - to);
    if (!nine_digits(fabs((double)v), &m, &places))
        return snprintf(to, OUT_FLOAT_BYTES, "%.8e", (double)v); /* -1.23456789e-38 */
    for (int i = DIGITS - 1; i >= 0; i--, m /= 10)
        digit[i] = (char)('0' + m % 10);
    int last = DIGITS, e = DIGITS - 1 - places;
    while (last > 1 && digit[last - 1] == '0')
        last--;
    if (v < 0)
        to[n++] = '-';
    if (e >= -4 && e < 0) { /* 0.000123 */
        memcpy(to + n, zeros, sizeof zeros);
        n += 1 - e;
        memcpy(to + n, digit, (size_t)last);
        return n + last;
    }
    int whole = e >= 0 && e < DIGITS - 1 ? e + 1 : 1; /* digits before the point */
    for (int i = 0; i < whole || i < last; i++) {
        if (i == whole)
            to[n++] = '.';
        to[n++] = digit[i];
    }
    if (last <= whole) {
        to[n++] = '.';
        to[n++] = '0';
    }
    if (whole == e + 1)
        return n;
    return n + snprintf(to + n, 5, "e%d", e);
}

/* To length one; what has none stays as it is. */
static void normalise(float *v, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)v[i] * (double)v[i];
    if (!(sum > 0))
        return;
    double by = 1 / sqrt(sum);
    for (int64_t i = 0; i < n; i++)
        v[i] = (float)((double)v[i] * by);
}

static void put_numbers(struct buf *out, const float *v, int64_t n)
{
    char t[64 * OUT_FLOAT_BYTES] = {0};
    size_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        if (i > 0)
            t[at++] = ',';
        at += (size_t)out_float(t + at, v[i]);
        if (at + OUT_FLOAT_BYTES <= sizeof t)
            continue;
        buf_add(out, t, at);
        at = 0;
    }
    buf_add(out, t, at);
}

/* The floats as OpenAI's clients read them: f32, the lowest byte first. */
static void put_base64(struct buf *out, const float *v, int64_t n)
{
    enum { FLOATS = 192 }; /* at a time: whole groups of three bytes */
    char t[BASE64_ENCODE_RAW_LENGTH(FLOATS * sizeof(uint32_t))];
    uint32_t word[FLOATS];
    for (int64_t at = 0; at < n; at += FLOATS) {
        size_t k = n - at < FLOATS ? (size_t)(n - at) : FLOATS, bytes = k * sizeof *word;
        memcpy(word, v + at, bytes);
        for (size_t i = 0; i < k; i++)
            word[i] = htole32(word[i]);
        base64_encode_raw(t, bytes, (const uint8_t *)word);
        buf_add(out, t, BASE64_ENCODE_RAW_LENGTH(bytes));
    }
}

void embed_text(const struct genreq *g, float *vec, int64_t n_cached, struct buf *out)
{
    out_str(out, "{\"object\":\"list\",\"data\":[");
    for (int32_t i = 0; i < g->n_prompts; i++) {
        float *v = vec + (size_t)i * (size_t)g->dimensions;
        if (g->normalize)
            normalise(v, g->dimensions);
        out_fmt(out, "%s{\"object\":\"embedding\",\"index\":%d,\"embedding\":", i ? "," : "", i);
        out_str(out, g->base64 ? "\"" : "[");
        if (g->base64)
            put_base64(out, v, g->dimensions);
        else
            put_numbers(out, v, g->dimensions);
        out_str(out, g->base64 ? "\"}" : "]}");
    }
    out_str(out, "],\"model\":");
    out_json(out, g->model, strlen(g->model));
    out_fmt(out,
            ",\"usage\":{\"prompt_tokens\":%zu,\"total_tokens\":%zu,"
            "\"prompt_tokens_details\":{\"cached_tokens\":%lld}}}",
            g->ids.n, g->ids.n, (long long)n_cached);
}
