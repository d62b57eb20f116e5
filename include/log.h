/* log.h - one line per event, key=value, to stderr. Any thread. Never prompt text, never keys.
 * error = someone must act; warn = degraded; info = lifecycle and one line per request; debug off.
 */
#ifndef QUIRE_LOG_H
#define QUIRE_LOG_H

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

void log_set(enum log_level level, enum log_format format);
int log_enabled(enum log_level level);
/* `event` is a short constant name; fmt gives the key=value tail ("id=%s n=%d"). */
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
