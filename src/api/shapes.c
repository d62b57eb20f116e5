/* SPDX-License-Identifier: Apache-2.0 */
/* shapes.c - small shapes of OpenAI's answers. Pure; any thread. */
#include "shapes.h"

#include "json_out.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whether c / 10^d, decimal and exact, reads back as v > 0. Its double is the nearest one, and so
 * its float is the nearest too, but where the double lies in the middle between two floats. */
static bool reads_back(double c, double pow10, float v)
{
    double x = c / pow10;
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (bits & 0x1FFFFFFF) != 0x10000000 && (float)x == v;
}

/* What printf's %.6g to %.9g give, for 0.0001 <= |v| < 9999: v has 24 bits and 10^12 is 28 bits
 * times a power of two, so that v times it is exact in a double, and what is rounded is v itself.
 * Up to 20 entries of every token come through here: printf and strtof take 20 times as long.
 * Returns the length, 0 when that is not certain or v is outside. */
static size_t short_decimal(float v, char t[static 24])
{
    static const double power[] = {1,   1e1, 1e2, 1e3,  1e4,  1e5, 1e6,
                                   1e7, 1e8, 1e9, 1e10, 1e11, 1e12};
    float a = fabsf(v);
    if (!(a >= 1e-4f && a < 9999.0f))
        return 0;
    int whole = a >= 1000 ? 4 : a >= 100 ? 3 : a >= 10 ? 2 : a >= 1 ? 1 : 0;
    if (whole == 0)
        whole = a >= 0.1f ? 0 : a >= 0.01f ? -1 : a >= 0.001f ? -2 : -3;
    int digits = 6, d = 0;
    double c = 0;
    for (; digits <= 9; digits++) {
        d = digits - whole;
        c = nearbyint((double)a * power[d]);
        if (reads_back(c, power[d], a))
            break;
    }
    if (digits > 9)
        return 0;
    uint64_t n = (uint64_t)c;
    char *end = t + 24, *p = end;
    for (; d > 1 && n % 10 == 0; d--) /* one decimal stays */
        n /= 10;
    for (int i = 0; i <= d || n > 0; i++) {
        if (i == d)
            *--p = '.';
        *--p = (char)('0' + n % 10);
        n /= 10;
    }
    if (signbit(v))
        *--p = '-';
    memmove(t, p, (size_t)(end - p));
    return (size_t)(end - p);
}

void out_logprob(struct buf *b, float v)
{
    char t[40];
    if (!(v > -9999.0f)) {
        out_str(b, "-9999.0");
        return;
    }
    if (!isfinite(v))
        v = 0;
    size_t n = short_decimal(v, t);
    if (n > 0) {
        buf_add(b, t, n);
        return;
    }
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(t, sizeof t, "%.*g", digits, (double)v);
        if (strtof(t, NULL) == v)
            break;
    }
    out_str(b, t);
    if (!strpbrk(t, ".e"))
        out_str(b, ".0");
}

void out_error(struct buf *b, const struct err *e)
{
    out_str(b, "{\"error\":{\"message\":");
    out_json(b, e->msg, strlen(e->msg));
    out_str(b, ",\"type\":");
    out_json(b, st_type(e->st), strlen(st_type(e->st)));
    out_str(b, ",\"param\":");
    if (e->param[0])
        out_json(b, e->param, strlen(e->param));
    else
        out_str(b, "null");
    out_str(b, ",\"code\":");
    out_json(b, st_code(e->st), strlen(st_code(e->st)));
    out_str(b, "}}");
}
