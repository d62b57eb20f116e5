/* SPDX-License-Identifier: Apache-2.0 */
/* yaml_file.h - inside of config: a file of settings, leaf by leaf. */
#ifndef QUIRE_CONFIG_YAML_FILE_H
#define QUIRE_CONFIG_YAML_FILE_H

#include <stdbool.h>
#include <stdint.h>

/* Who hears of the file: `set` of every leaf, `bad` of every problem. */
struct conf_sink {
    void *arg;
    /* v: one item, or the items of a list */
    void (*set)(void *arg, const char *path, const char *const *v, int32_t n, bool is_list,
                int line, int col);
    void (*bad)(void *arg, int line, int col, const char *text);
    /* A mapping, before what is in it, or nothing where one may be meant. May be NULL. */
    void (*open)(void *arg, const char *path, bool nothing, int line, int col);
};
/* false when the file cannot be read at all (errno says why). */
bool yaml_read(const char *file, const struct conf_sink *s);

#endif
