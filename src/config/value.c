/* SPDX-License-Identifier: Apache-2.0 */
/* value.c - one value between its text and its place in struct config.
 *
 * Units are required: sizes 512MiB, durations 250ms; a bare number is accepted only for 0. Booleans
 * are true and false and nothing else. Pure; any thread.
 */
#include "value.h"

#include "mem.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct unit {
    const char *name;
    double scale;
};
static const struct unit size_units[] = {{"TiB", 1099511627776.0},
                                         {"GiB", 1073741824.0},
                                         {"MiB", 1048576.0},
                                         {"KiB", 1024.0},
                                         {"TB", 1e12},
                                         {"GB", 1e9},
                                         {"MB", 1e6},
                                         {"kB", 1e3},
                                         {"B", 1.0}};
static const struct unit time_units[] = {
    {"us", 1.0}, {"ms", 1e3}, {"s", 1e6}, {"m", 60e6}, {"h", 3600e6}};

static void exact_text(int64_t v, const struct unit *u, size_t n_units, bool largest_first,
                       char *out, size_t n)
{
    if (v == 0) {
        snprintf(out, n, "0");
        return;
    }
    for (size_t i = 0; i < n_units; i++) {
        const struct unit *x = &u[largest_first ? i : n_units - 1 - i];
        int64_t scale = (int64_t)x->scale;
        if (v % scale == 0) {
            snprintf(out, n, "%" PRId64 "%s", v / scale, x->name);
            return;
        }
    }
}

/* "512MiB", in the largest unit that is exact. Static per thread. */
static const char *size_text(int64_t bytes)
{
    static _Thread_local char buf[32];
    static const struct unit binary[] = {{"TiB", 1099511627776.0},
                                         {"GiB", 1073741824.0},
                                         {"MiB", 1048576.0},
                                         {"KiB", 1024.0},
                                         {"B", 1.0}};
    exact_text(bytes, binary, sizeof binary / sizeof *binary, true, buf, sizeof buf);
    return buf;
}

/* "50ms", likewise. */
static const char *duration_text(int64_t us)
{
    static _Thread_local char buf[32];
    exact_text(us, time_units, sizeof time_units / sizeof *time_units, false, buf, sizeof buf);
    return buf;
}

static bool complain(char *why, size_t n, const char *fmt, const char *a, const char *b)
{
    snprintf(why, n, fmt, a, b);
    return false;
}

/* A decimal number without exponent, hex, sign tricks or white space; rest points behind it. */
static bool number(const char *text, double *out, const char **rest)
{
    const char *p = text;
    if (*p == '-')
        p++;
    size_t digits = strspn(p, "0123456789");
    p += digits;
    if (*p == '.') {
        size_t frac = strspn(p + 1, "0123456789");
        p += 1 + frac;
        digits += frac;
    }
    if (digits == 0 || digits > 18)
        return false;
    *out = strtod(text, NULL);
    *rest = p;
    return true;
}

static const char *range_text(const struct field *f, char *buf, size_t n)
{
    if (f->type == F_SIZE)
        snprintf(buf, n, "%s", size_text((int64_t)f->min));
    else if (f->type == F_DURATION)
        snprintf(buf, n, "%s", duration_text((int64_t)f->min));
    else
        snprintf(buf, n, "%g", f->min);
    size_t at = strlen(buf);
    if (f->type == F_SIZE)
        snprintf(buf + at, n - at, "..%s", size_text((int64_t)f->max));
    else if (f->type == F_DURATION)
        snprintf(buf + at, n - at, "..%s", duration_text((int64_t)f->max));
    else
        snprintf(buf + at, n - at, "..%.15g", f->max);
    return buf;
}

static bool with_unit(const struct field *f, const char *text, double *out)
{
    const struct unit *u = f->type == F_SIZE ? size_units : time_units;
    size_t n = f->type == F_SIZE ? sizeof size_units / sizeof *u : sizeof time_units / sizeof *u;
    const char *rest;
    if (!number(text, out, &rest))
        return false;
    if (*rest == '\0')
        return *out == 0;
    for (size_t i = 0; i < n; i++)
        if (strcmp(rest, u[i].name) == 0) {
            *out = rint(*out * u[i].scale);
            return true;
        }
    return false;
}

static bool parse_number(void *at, const struct field *f, const char *text, char *why, size_t n)
{
    double v;
    const char *rest, *kind = f->type == F_SIZE       ? "a size such as 512MiB"
                              : f->type == F_DURATION ? "a duration such as 250ms or 30s"
                              : f->type == F_FRACTION ? "a number"
                                                      : "an integer";
    if (f->names && strcmp(text, "auto") == 0) {
        *(int64_t *)at = 0;
        return true;
    }
    bool ok = f->type == F_SIZE || f->type == F_DURATION
                  ? with_unit(f, text, &v)
                  : number(text, &v, &rest) && *rest == '\0' &&
                        (f->type == F_FRACTION || v == floor(v));
    if (!ok || v < f->min || v > f->max) {
        char range[120];
        snprintf(why, n, "expected %s in %s%s, got \"%.64s\"", kind,
                 range_text(f, range, sizeof range), f->names ? ", or auto" : "", text);
        return false;
    }
    if (f->type == F_FRACTION)
        *(double *)at = v;
    else
        *(int64_t *)at = (int64_t)v;
    return true;
}

static bool parse_bool(void *at, const char *text, char *why, size_t n)
{
    static const char *const look[] = {"yes", "no", "on", "off", "True", "False", "1", "0"};
    if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0) {
        for (size_t i = 0; i < sizeof look / sizeof *look; i++)
            if (strcmp(text, look[i]) == 0)
                return complain(why, n, "expected true or false; write %s instead of %s",
                                i % 2 ? "false" : "true", text);
        snprintf(why, n, "expected true or false, got \"%.64s\"", text);
        return false;
    }
    *(bool *)at = text[0] == 't';
    return true;
}

/* The word's place in f->names, or -1. */
static int32_t word_of(const struct field *f, const char *text, char *why, size_t n)
{
    size_t len = strlen(text);
    int32_t i = 0;
    for (const char *p = f->names; *p; i++) {
        size_t k = strcspn(p, "|");
        if (k == len && memcmp(p, text, k) == 0)
            return i;
        p += k + (p[k] == '|');
    }
    snprintf(why, n, "expected one of %s, got \"%.64s\"", f->names, text);
    return -1;
}

static bool parse_enum(void *at, const struct field *f, const char *text, char *why, size_t n)
{
    int32_t i = word_of(f, text, why, n);
    if (i >= 0)
        *(int32_t *)at = i;
    return i >= 0;
}

static bool parse_string(void *at, const struct field *f, const char *text, char *why, size_t n)
{
    size_t len = strlen(text);
    if ((double)len < f->min || (double)len > f->max)
        return complain(why, n, "the text is too %s%s", (double)len < f->min ? "short" : "long",
                        "");
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return complain(why, n, "control characters are not allowed%s%s", "", "");
    free(*(char **)at);
    *(char **)at = xstrdup(text);
    return true;
}

bool field_set_list(void *base, const struct field *f, const char *const *v, int32_t n, char *why,
                    size_t n_why)
{
    if (n > (int32_t)f->max) {
        snprintf(why, n_why, "at most %d items, got %d", (int)f->max, (int)n);
        return false;
    }
    for (int32_t i = 0; i < n; i++)
        if (v[i][0] == '\0' || strlen(v[i]) > ITEM_MAX)
            return complain(why, n_why, "list items have 1..256 characters%s%s", "", "");
        else if (f->names && word_of(f, v[i], why, n_why) < 0)
            return false;
    struct str_list *l = (struct str_list *)((char *)base + f->offset), fresh = {0};
    fresh.v = xcalloc2((size_t)n + 1, sizeof *fresh.v);
    for (int32_t i = 0; i < n; i++)
        fresh.v[fresh.n++] = xstrdup(v[i]);
    for (int32_t i = 0; i < l->n; i++)
        free(l->v[i]);
    free(l->v);
    *l = fresh;
    return true;
}

/* The next item of a list from *at on, zero-terminated in place: without the blanks around it and,
 * if it has some, its quotes, inside which a comma is no end. NULL behind the last; "" where
 * nothing is between two commas. */
static char *next_item(char **at)
{
    char *p = *at + strspn(*at, " \t"), *from = p, *to;
    if (*p == '\0')
        return NULL;
    if ((*p == '"' || *p == '\'') && strchr(p + 1, *p)) {
        from = p + 1;
        to = strchr(from, *p);
        p = to + 1 + strcspn(to + 1, ",");
    } else {
        p += strcspn(p, ",");
        for (to = p; to > from && strchr(" \t", to[-1]);)
            to--;
    }
    *at = *p ? p + 1 : p;
    *to = '\0';
    return from;
}

/* "a,b", or the same as a YAML list in one line: "[a, 'b']". */
static bool parse_list(void *base, const struct field *f, const char *text, char *why, size_t n)
{
    char *copy = xstrdup(text + strspn(text, " \t")), *at = copy;
    const char *v[LIST_MAX + 1];
    int32_t k = 0;
    size_t end = strlen(copy);
    while (end && strchr(" \t", copy[end - 1]))
        copy[--end] = '\0';
    if (*at == '[') {
        if (end < 2 || copy[end - 1] != ']') {
            free(copy);
            return complain(why, n, "%s%s", "a list that begins with [ ends with ]", "");
        }
        copy[end - 1] = '\0';
        at++;
    }
    for (char *p; k <= LIST_MAX && (p = next_item(&at)) != NULL;)
        if (*p)
            v[k++] = p;
    bool ok = field_set_list(base, f, v, k, why, n);
    free(copy);
    return ok;
}

bool field_parse(void *base, const struct field *f, const char *text, char *why, size_t n)
{
    void *at = (char *)base + f->offset;
    switch (f->type) {
    case F_BOOL:
        return parse_bool(at, text, why, n);
    case F_ENUM:
        return parse_enum(at, f, text, why, n);
    case F_STRING:
        return parse_string(at, f, text, why, n);
    case F_LIST:
        return parse_list(base, f, text, why, n);
    default:
        return parse_number(at, f, text, why, n);
    }
}

/* Double-quoted YAML: what parse_string lets through needs only these two escapes. */
static void quoted(const char *s, char *out, size_t n)
{
    size_t k = 0;
    out[k++] = '"';
    for (; *s && k + 4 < n; s++) {
        if (*s == '"' || *s == '\\')
            out[k++] = '\\';
        out[k++] = *s;
    }
    out[k++] = '"';
    out[k] = '\0';
}

void field_text(const struct config *c, const struct field *f, char *out, size_t n)
{
    const void *at = (const char *)c + f->offset;
    const struct str_list *l = at;
    const char *p = f->names;
    switch (f->type) {
    case F_BOOL:
        snprintf(out, n, "%s", *(const bool *)at ? "true" : "false");
        return;
    case F_ENUM:
        for (int32_t i = *(const int32_t *)at; i > 0; i--)
            p += strcspn(p, "|") + 1;
        snprintf(out, n, "%.*s", (int)strcspn(p, "|"), p);
        return;
    case F_STRING:
        quoted(*(char *const *)at ? *(char *const *)at : "", out, n);
        return;
    case F_LIST: {
        size_t k = (size_t)snprintf(out, n, "[");
        for (int32_t i = 0; i < l->n && k + 8 < n; i++) {
            k += (size_t)snprintf(out + k, n - k, "%s", i ? ", " : "");
            quoted(l->v[i], out + k, n - k);
            k += strlen(out + k);
        }
        snprintf(out + k, n - k, "]");
        return;
    }
    case F_FRACTION:
        snprintf(out, n, "%.6g", *(const double *)at);
        return;
    default:
        if (f->names && *(const int64_t *)at == 0)
            snprintf(out, n, "auto");
        else if (f->type == F_SIZE)
            snprintf(out, n, "%s", size_text(*(const int64_t *)at));
        else if (f->type == F_DURATION)
            snprintf(out, n, "%s", duration_text(*(const int64_t *)at));
        else
            snprintf(out, n, "%" PRId64, *(const int64_t *)at);
    }
}
