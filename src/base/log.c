/* log.c - one write(2) per line to stderr, so that lines of different threads never mix. */
#include "log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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

/* Appends s as the inside of a JSON string; control characters become spaces. */
static size_t json_escape(char *out, size_t cap, const char *s)
{
    size_t n = 0;
    for (; *s && n + 2 < cap; s++) {
        if (*s == '"' || *s == '\\')
            out[n++] = '\\';
        out[n++] = (unsigned char)*s < 0x20 ? ' ' : *s;
    }
    out[n] = '\0';
    return n;
}

void log_write(enum log_level level, const char *event, const char *fmt, ...)
{
    if (!log_enabled(level))
        return;
    char tail[1536], line[3584], when[40];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(tail, sizeof tail, fmt, ap);
    va_end(ap);

    struct timespec ts;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    size_t w = strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(when + w, sizeof when - w, ".%03ldZ", ts.tv_nsec / 1000000);

    int n;
    if (atomic_load(&line_format) == LOG_JSON) {
        char esc[3200];
        json_escape(esc, sizeof esc, tail);
        n = snprintf(line, sizeof line,
                     "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\",\"detail\":\"%s\"}\n",
                     when, level_name[level], event, esc);
    } else {
        for (char *c = tail; *c; c++)
            if ((unsigned char)*c < 0x20)
                *c = ' ';
        n = snprintf(line, sizeof line, "%s %-5s %s %s\n", when, level_name[level], event, tail);
    }
    if (n > (int)sizeof line - 1) {
        n = (int)sizeof line - 1;
        line[n - 1] = '\n';
    }
    for (ssize_t off = 0, k; off < n; off += k)
        if ((k = write(STDERR_FILENO, line + off, (size_t)(n - off))) <= 0)
            return; /* nowhere left to complain */
}
