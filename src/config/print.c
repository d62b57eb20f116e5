/* SPDX-License-Identifier: Apache-2.0 */
/* print.c - the table as text: effective values, the reference file, the help. */
#include "hash.h"
#include "mem.h"
#include "value.h"

#include <stdlib.h>
#include <string.h>

/* Print the section lines that path opens and the previous path did not. Returns the indentation of
 * the leaf and its name. */
static int open_sections(const char *path, const char *before, FILE *out, const char **name)
{
    int depth = 0;
    const char *p = path, *q = before;
    bool same = true;
    for (const char *dot; (dot = strchr(p, '.')); p = dot + 1, depth++) {
        size_t n = (size_t)(dot - p) + 1;
        same = same && q && strncmp(p, q, n) == 0;
        if (!same)
            fprintf(out, "%*s%.*s:\n", 2 * depth, "", (int)n - 1, p);
        else
            q += n;
    }
    *name = p;
    return 2 * depth;
}

void config_print(const struct config *c, FILE *out)
{
    char *text = xalloc(VALUE_MAX);
    for (int i = 0; i < n_fields; i++) {
        const char *name;
        int indent = open_sections(fields[i].path, i ? fields[i - 1].path : NULL, out, &name);
        field_text(c, &fields[i], text, VALUE_MAX);
        int w = fprintf(out, "%*s%s: %s", indent, "", name, text);
        fprintf(out, "%*s# %s\n", w < 44 ? 44 - w : 1, "", c->origin[i].where);
    }
    free(text);
}

static bool has_words(const struct field *f)
{
    return f->type == F_ENUM || (f->type == F_LIST && f->names);
}

void config_print_defaults(FILE *out)
{
    struct config c;
    char *text = xalloc(VALUE_MAX);
    config_defaults(&c);
    fprintf(out, "# Every setting of quired with its default. Printed by quired "
                 "--print-config=defaults.\n"
                 "# Sizes need a unit (512MiB, 80GiB), durations too (250ms, 30s, 5m). Later wins: "
                 "this file,\n"
                 "# conf.d/*.yaml beside it, the environment (QUIRED_KV__POOL_BYTES=8GiB), --set "
                 "kv.pool_bytes=8GiB.\n");
    for (int i = 0; i < n_fields; i++) {
        const char *name, *before = i ? fields[i - 1].path : NULL;
        field_text(&c, &fields[i], text, VALUE_MAX);
        size_t top = strcspn(fields[i].path, ".");
        if (!before || strncmp(before, fields[i].path, top + 1) != 0)
            fputc('\n', out);
        int indent = open_sections(fields[i].path, before, out, &name);
        fprintf(out, "%*s# %s", indent, "", fields[i].help);
        if (has_words(&fields[i]))
            fprintf(out, " (%s)", fields[i].names);
        fprintf(out, "\n%*s%s: %s\n", indent, "", name, text);
    }
    config_free(&c);
    free(text);
}

void config_help(FILE *out)
{
    fprintf(out, "quired: LLM inference server\n\n"
                 "  quired [--config FILE] [--set path=value]...\n\n"
                 "  --config FILE            settings (else QUIRED_CONFIG, else "
                 "/etc/quired/quired.yaml)\n"
                 "  --set path=value         one setting; may be repeated; lists: a,b or [a, b]\n"
                 "  --check-config[=deep]    check and exit: 0 or 78; deep also reads the model's "
                 "files\n"
                 "  --print-config           effective values and where each came from\n"
                 "  --print-config=defaults  the annotated reference file\n"
                 "  --version, --help\n\n"
                 "Settings (default):\n");
    for (int i = 0; i < n_fields; i++)
        fprintf(out, "  %s%s%s (%s)\n      %s\n", fields[i].path, has_words(&fields[i]) ? " " : "",
                has_words(&fields[i]) ? fields[i].names : "",
                fields[i].deflt[0] ? fields[i].deflt : "empty", fields[i].help);
    fprintf(out,
            "\nSignals: SIGTERM drains, a second one stops at once; SIGUSR2 dumps the "
            "scheduler's state to the log.\n"
            "Exit codes: 0 ok, 64 usage, 66 model missing, 69 GPU unavailable, 70 internal, 71 "
            "OS resource, 78 settings.\n");
}

uint64_t config_digest(const struct config *c)
{
    uint64_t h = FNV1A_BASIS;
    char *text = xalloc(VALUE_MAX);
    for (int i = 0; i < n_fields; i++) {
        field_text(c, &fields[i], text, VALUE_MAX);
        h = fnv1a(h, text, strlen(text));
        h = fnv1a(h, "\n", 1);
    }
    free(text);
    return h;
}
