/* SPDX-License-Identifier: Apache-2.0 */
/* fields.c - the rows of settings.def as a table, and look-up in it. Pure data; any thread. */
#include "fields.h"

#include "log.h"

#include <string.h>

#define KIB 1024.0
#define MIB (1024.0 * KIB)
#define GIB (1024.0 * MIB)
#define MS 1e3
#define S 1e6
#define HOUR (3600 * S)

/* "auto|cuda|cpu": every word with a bar before it, less the first bar. */
#define BAR_WORD(name, word) "|" #word
#define WORDS(list) (&list(BAR_WORD)[1])
#define AUTO "auto"

/* clang-format off */
/* NOLINTBEGIN(bugprone-macro-parentheses): section and key are names, not values */
#define SECTION(name)
#define END(name)
#define SETTING(section, key, type, deflt, least, most, words, help) \
    {#section "." #key, F_##type, offsetof(struct config, section.key), deflt, least, most, words, help},
#define TOP_SETTING(key, type, deflt, least, most, words, help) \
    {#key, F_##type, offsetof(struct config, key), deflt, least, most, words, help},
const struct field fields[] = {
#include "settings.def"
};
/* NOLINTEND(bugprone-macro-parentheses) */
/* clang-format on */
const int n_fields = sizeof fields / sizeof *fields;

/* The log's enums are its own: a word's place in the list must be the constant's value. */
#define PLACE(name, word) name##_PLACE,
#define IN_PLACE(name, word)                                                                       \
    _Static_assert((int)(name) == (int)name##_PLACE, "the order of " #name " in config.h");
enum { CONF_LOG_LEVEL(PLACE) };
enum { CONF_LOG_FORMAT(PLACE) };
CONF_LOG_LEVEL(IN_PLACE)
CONF_LOG_FORMAT(IN_PLACE)

/* Keys of older versions: they are refused, but with their present name. */
static const struct {
    const char *old, *now;
} renamed[] = {{"models.unknown", "http.unknown_model"}};

int field_find(const char *path)
{
    for (int i = 0; i < n_fields; i++)
        if (strcmp(fields[i].path, path) == 0)
            return i;
    return -1;
}

/* Levenshtein distance of short strings; long ones count as far. */
static int distance(const char *a, const char *b)
{
    enum { MAX = 80 };
    size_t n = strlen(a), m = strlen(b);
    if (n >= MAX || m >= MAX)
        return MAX;
    int row[MAX + 1];
    for (size_t j = 0; j <= m; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int diag = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int up = row[j], best = diag + (a[i - 1] != b[j - 1]);
            if (up + 1 < best)
                best = up + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
            diag = up;
        }
    }
    return row[m];
}

static const char *leaf(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot ? dot + 1 : path;
}

const char *field_nearest(const char *path)
{
    int best = (int)strlen(path) / 3 + 2;
    const char *found = NULL;
    for (size_t i = 0; i < sizeof renamed / sizeof *renamed; i++)
        if (strcmp(path, renamed[i].old) == 0)
            return renamed[i].now;
    for (int i = 0; i < n_fields; i++) {
        int d = distance(path, fields[i].path);
        /* the right word in the wrong section is near, too */
        if (strcmp(leaf(path), leaf(fields[i].path)) == 0 && d > 2)
            d = 2;
        if (d < best) {
            best = d;
            found = fields[i].path;
        }
    }
    return found;
}
