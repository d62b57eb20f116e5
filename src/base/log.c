/* SPDX-License-Identifier: Apache-2.0 */
/* log.c - lines of events, whole ones, given to log_drain.c.
 *
 * The text format prints the tail as the caller wrote it. The JSON format takes the same tail apart
 * again, so that callers write it once: each key=value becomes a member, and what is not key=value
 * becomes the member "message". JSON is UTF-8, and names of files need not be: what is not becomes
 * U+FFFD.
 */
#include "log.h"

#include "log_drain.h"
#include "utf8.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static _Atomic int level_max = LOG_INFO;
static _Atomic int line_format = LOG_TEXT;
static const char *const level_name[] = {"error", "warn", "info", "debug"};

void log_set(enum log_level level, enum log_format format)
{
    atomic_store(&level_max, (int)level);
    atomic_store(&line_format, (int)format);
}

int log_enabled(enum log_level level)
{
    return (int)level <= atomic_load(&level_max);
}

enum {
    TAIL = 1536, /* bytes of a tail; a longer one is cut */
    LINE = 4096, /* a line: a tail grows to at most 7/3 of itself in JSON ("a= " to ,"a":"") */
};

struct line {
    char s[LINE];
    size_t n;
};

static void put(struct line *o, const char *s, size_t n)
{
    if (n > sizeof o->s - 1 - o->n)
        n = sizeof o->s - 1 - o->n; /* one byte stays for the newline */
    memcpy(o->s + o->n, s, n);
    o->n += n;
}

/* The tail as valid UTF-8, which may make it longer: cut at a code point, so that LINE is enough.
 */
static void repair(char out[TAIL], const char *s)
{
    size_t n = strlen(s), at = 0;
    for (size_t i = 0; i < n;) {
        int k = utf8_check((const unsigned char *)s + i, n - i);
        size_t len = k > 0 ? (size_t)k : 3;
        if (len > TAIL - 1 - at)
            break;
        memcpy(out + at, k > 0 ? s + i : "\xEF\xBF\xBD", len);
        at += len;
        i += k > 0 ? (size_t)k : k < 0 ? (size_t)-k : n - i;
    }
    out[at] = '\0';
}

/* The inside of a JSON string. A tail has no control characters: log_write made them spaces. */
static void put_escaped(struct line *o, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '"' || s[i] == '\\')
            put(o, "\\", 1);
        put(o, s + i, 1);
    }
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Whether the n bytes are a number of JSON that every reader keeps exactly. Longer ones (a digest
 * that happens to have no letters, say) and those with an exponent but no sign stay strings. */
static bool is_number(const char *s, size_t n)
{
    size_t i = n > 0 && s[0] == '-', first = i;
    while (i < n && is_digit(s[i]))
        i++;
    size_t digits = i - first;
    if (digits == 0 || digits > 15 || (digits > 1 && s[first] == '0'))
        return false;
    if (i < n && s[i] == '.') {
        size_t dot = i++;
        while (i < n && is_digit(s[i]))
            i++;
        if (i == dot + 1)
            return false;
    }
    if (i + 2 < n && s[i] == 'e' && (s[i + 1] == '+' || s[i + 1] == '-')) {
        for (i += 2; i < n && is_digit(s[i]);)
            i++;
    }
    return i == n;
}

/* Length of the key at s, which '=' follows; 0 when there is none. */
static size_t key_length(const char *s)
{
    size_t n = 0;
    while ((s[n] >= 'a' && s[n] <= 'z') || s[n] == '_' || (n > 0 && is_digit(s[n])))
        n++;
    return n > 0 && s[n] == '=' ? n : 0;
}

/* Length of the quoted value after its opening quote. Text of others stands inside the quotes as it
 * is, with quotes of its own: only a quote before the next key or the end closes the value. */
static size_t quoted_length(const char *s)
{
    const char *last = NULL;
    for (const char *q = s; (q = strchr(q, '"')) != NULL; q++) {
        last = q;
        if (q[1] == '\0' || (q[1] == ' ' && key_length(q + 2) > 0))
            break;
    }
    return last ? (size_t)(last - s) : strlen(s); /* no quote: the tail was cut */
}

static void put_member(struct line *o, const char *key, size_t key_n, const char *value, size_t n,
                       bool quoted)
{
    put(o, ",\"", 2);
    put(o, key, key_n);
    put(o, "\":", 2);
    if (!quoted && is_number(value, n)) {
        put(o, value, n);
        return;
    }
    put(o, "\"", 1);
    put_escaped(o, value, n);
    put(o, "\"", 1);
}

/* The members of a tail. Words that belong to no key are gathered into `rest`. */
static void put_tail(struct line *o, const char *tail)
{
    char rest[TAIL];
    size_t n_rest = 0;
    for (const char *s = tail; *s;) {
        size_t key = key_length(s), skip = key > 0 ? key + 1 : 0;
        bool quoted = key > 0 && s[skip] == '"';
        const char *value = s + skip + quoted;
        size_t n = quoted ? quoted_length(value) : strcspn(value, " ");
        if (key > 0) {
            put_member(o, s, key, value, n, quoted);
        } else if (n > 0) {
            if (n_rest > 0)
                rest[n_rest++] = ' ';
            memcpy(rest + n_rest, value, n);
            n_rest += n;
        }
        s = value + n;
        s += quoted && *s == '"';
        s += *s == ' ';
    }
    if (n_rest > 0)
        put_member(o, "message", 7, rest, n_rest, true);
}

static size_t format_json(struct line *o, const char *when, enum log_level level, const char *event,
                          const char *tail)
{
    char valid[TAIL];
    repair(valid, tail);
    int n = snprintf(o->s, sizeof o->s, "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\"", when,
                     level_name[level], event);
    o->n = (size_t)n;
    put_tail(o, valid);
    put(o, "}", 1);
    o->s[o->n++] = '\n';
    return o->n;
}

static size_t format_text(struct line *o, const char *when, enum log_level level, const char *event,
                          const char *tail)
{
    return (size_t)snprintf(o->s, sizeof o->s, "%s %-5s %s %s\n", when, level_name[level], event,
                            tail);
}

/* UTC with milliseconds: 2026-01-31T12:00:00.000Z. */
static void now_text(char *out, size_t cap)
{
    struct timespec ts;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    size_t n = strftime(out, cap, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, cap - n, ".%03ldZ", ts.tv_nsec / 1000000);
}

size_t log_lost(char *out, size_t cap, uint64_t lines)
{
    struct line line;
    char when[40], tail[40];
    now_text(when, sizeof when);
    snprintf(tail, sizeof tail, "lines=%llu", (unsigned long long)lines);
    size_t n = atomic_load(&line_format) == LOG_JSON
                   ? format_json(&line, when, LOG_WARN, "log.dropped", tail)
                   : format_text(&line, when, LOG_WARN, "log.dropped", tail);
    n = n < cap ? n : cap;
    memcpy(out, line.s, n);
    return n;
}

void log_write(enum log_level level, const char *event, const char *fmt, ...)
{
    if (!log_enabled(level))
        return;
    char tail[TAIL], when[40];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(tail, sizeof tail, fmt, ap);
    va_end(ap);
    for (char *c = tail; *c; c++)
        if ((unsigned char)*c < 0x20)
            *c = ' ';
    now_text(when, sizeof when);

    struct line line;
    size_t n = atomic_load(&line_format) == LOG_JSON ? format_json(&line, when, level, event, tail)
                                                     : format_text(&line, when, level, event, tail);
    log_line(line.s, n);
}
