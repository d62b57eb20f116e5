/* SPDX-License-Identifier: Apache-2.0 */
/* log.h - one line per event, key=value, to stderr. Any thread. Never prompt text, never keys.
 * error = someone must act; warn = degraded; info = lifecycle and one line per request; debug off.
 *
 * LOG_TEXT prints `<time> <level> <event> <tail>` with the tail as it was given. LOG_JSON prints
 * one object a line: time, level, event, then each key=value of the tail as a member of its own. A
 * value in quotes is a string, a bare one a number where it is one; words without a key become the
 * member "message"; what is not UTF-8 becomes U+FFFD. Keys are [a-z_][a-z0-9_]*, and not time,
 * level, event or message.
 */
#ifndef QUIRE_LOG_H
#define QUIRE_LOG_H

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

/* From log_start to log_stop a thread writes, and nobody waits for stderr: lines that do not fit
 * into 64 KiB are dropped, counted, and said (log.dropped lines=N) when writing works again.
 * Before and after, a line is written by its caller. log_start does nothing when there can be no
 * thread. log_stop and log_flush wait until all is written, at most ms milliseconds; log_flush, on
 * any thread, is for a process that ends at once. */
void log_start(void);
void log_stop(int ms);
void log_flush(int ms);

void log_set(enum log_level level, enum log_format format);
int log_enabled(enum log_level level);
/* `event` is a constant `room.event`; fmt gives the key=value tail ("id=%s why=\"%s\""). A value
 * that may contain a space stands in quotes. Control characters become spaces; a tail is cut at
 * 1,535 bytes. */
void log_write(enum log_level level, const char *event, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
    do {                                                                                           \
        if (log_enabled(LOG_DEBUG))                                                                \
            log_write(LOG_DEBUG, __VA_ARGS__);                                                     \
    } while (0)

#endif
