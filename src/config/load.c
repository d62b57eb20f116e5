/* SPDX-License-Identifier: Apache-2.0 */
/* load.c - all sources in their order, all errors at once.
 *
 * Start-up, one thread. Values are applied to struct config as they come; a wrong one leaves the
 * older value and one line in the error list, which is printed sorted by source and position.
 */
#include "check.h"
#include "keys.h"
#include "listen.h"
#include "mem.h"
#include "peers.h"
#include "status.h"
#include "value.h"
#include "yaml_file.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char DEFAULT_FILE[] = "/etc/quired/quired.yaml";

struct problem {
    int source, line, col;
    char text[600];
};

struct loader {
    struct config *c;
    struct problem bad[MAX_ERRORS];
    int n_bad, more;
    int source;        /* counts files, then environment, then flags */
    const char *label; /* the file's name, or "" */
    bool strict_env;
    FILE *errors;
};

static void add_problem(struct loader *l, int line, int col, const char *text)
{
    if (l->n_bad == MAX_ERRORS) {
        l->more++;
        return;
    }
    struct problem *p = &l->bad[l->n_bad++];
    *p = (struct problem){.source = l->source, .line = line, .col = col};
    if (line > 0)
        snprintf(p->text, sizeof p->text, "%s:%d:%d: error: %s", l->label, line, col, text);
    else
        snprintf(p->text, sizeof p->text, "%s: error: %s", l->label, text);
}

/* "; did you mean kv.dtype?", or nothing. */
static const char *hint(const char *path, char *buf, size_t n)
{
    const char *near = field_nearest(path);
    snprintf(buf, n, "%s%s%s", near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    return buf;
}

static void unknown_key(struct loader *l, const char *path, int line, int col)
{
    char text[500], near[200];
    snprintf(text, sizeof text, "unknown key %.100s%s", path, hint(path, near, sizeof near));
    add_problem(l, line, col, text);
}

static void set_origin(struct loader *l, int i, int line, int col)
{
    struct config_origin *o = &l->c->origin[i];
    if (line > 0)
        snprintf(o->where, sizeof o->where, "%.160s:%d:%d", l->label, line, col);
    else
        snprintf(o->where, sizeof o->where, "%.180s", l->label);
}

static void on_set(void *arg, const char *path, const char *const *v, int32_t n, bool is_list,
                   int line, int col)
{
    struct loader *l = arg;
    int i = field_find(path);
    char why[400], text[500];
    if (i < 0) {
        unknown_key(l, path, line, col);
        return;
    }
    const struct field *f = &fields[i];
    bool ok;
    if (is_list && f->type != F_LIST) {
        snprintf(why, sizeof why, "expected one value, got a list");
        ok = false;
    } else if (is_list) {
        ok = field_set_list(l->c, f, v, n, why, sizeof why);
    } else {
        ok = field_parse(l->c, f, v[0], why, sizeof why);
    }
    if (ok) {
        set_origin(l, i, line, col);
        return;
    }
    snprintf(text, sizeof text, "%s: %s", path, why);
    add_problem(l, line, col, text);
}

static void on_bad(void *arg, int line, int col, const char *text)
{
    add_problem(arg, line, col, text);
}

static void load_file(struct loader *l, const char *file)
{
    struct conf_sink s = {.arg = l, .set = on_set, .bad = on_bad};
    l->source++;
    l->label = file;
    if (!yaml_read(file, &s)) {
        char text[200];
        snprintf(text, sizeof text, "cannot read the file: %s", strerror(errno));
        add_problem(l, 0, 0, text);
    }
}

/* scandir's filter: *.yaml, none hidden. */
static int is_drop_in(const struct dirent *e)
{
    size_t n = strlen(e->d_name);
    return n > 5 && e->d_name[0] != '.' && strcmp(e->d_name + n - 5, ".yaml") == 0;
}

/* scandir's order: by bytes, whatever the locale. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* conf.d beside the file: *.yaml in byte order. */
static void load_drop_ins(struct loader *l, const char *file)
{
    char dir[PATH_MAX], path[PATH_MAX + NAME_MAX + 2];
    const char *slash = strrchr(file, '/');
    int len = slash ? (int)(slash - file) + 1 : 0;
    struct dirent **v = NULL;
    snprintf(dir, sizeof dir, "%.*sconf.d", len, file);
    int n = scandir(dir, &v, is_drop_in, by_name);
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, v[i]->d_name);
        load_file(l, path);
        free(v[i]);
    }
    free(v);
}

/* QUIRED_KV__POOL_BYTES: kv.pool_bytes. path has room for strlen(name). */
static void path_of_variable(const char *name, char *path)
{
    size_t k = 0;
    for (const char *p = name + 7; *p; p++) {
        if (p[0] == '_' && p[1] == '_') {
            path[k++] = '.';
            p++;
        } else {
            path[k++] = (char)tolower((unsigned char)*p);
        }
    }
    path[k] = '\0';
}

/* QUIRED_KV__POOL_BYTES=512MiB sets kv.pool_bytes. */
static void load_environment(struct loader *l, char **envp)
{
    l->source++;
    for (char **e = envp; *e; e++) {
        if (strncmp(*e, "QUIRED_", 7) != 0)
            continue;
        const char *eq = strchr(*e, '=');
        size_t n = eq ? (size_t)(eq - *e) : 0;
        if (n <= 7 || n > 200 || (n == 13 && memcmp(*e, "QUIRED_CONFIG", 13) == 0))
            continue;
        const char *text = eq + 1;
        char name[208], path[208];
        snprintf(name, sizeof name, "%.*s", (int)n, *e);
        path_of_variable(name, path);
        l->label = name;
        if (field_find(path) < 0 && !l->strict_env) {
            char near[200];
            fprintf(l->errors, "%s: warning: no setting has this name%s\n", name,
                    hint(path, near, sizeof near));
        } else {
            on_set(l, path, &text, 1, false, 0, 0);
        }
    }
}

struct command_line {
    const char *file;
    const char *set[256];
    int n_set;
    enum config_action action;
};

static int usage(FILE *errors, const char *text, const char *arg)
{
    fprintf(errors, "quired: %s%s; see --help\n", text, arg);
    return ST_BAD_REQUEST;
}

/* The value of --name=value or --name value; NULL when arg is another flag or has no value. */
static const char *flag_value(const char *name, int argc, char **argv, int *i)
{
    size_t n = strlen(name);
    if (strncmp(argv[*i], name, n) != 0)
        return NULL;
    if (argv[*i][n] == '=')
        return argv[*i] + n + 1;
    if (argv[*i][n] == '\0' && *i + 1 < argc)
        return argv[++*i];
    return NULL;
}

static int unknown_option(FILE *errors, const char *arg)
{
    const char *ours = peer_answer(arg);
    if (!ours)
        return usage(errors, "unknown option or missing value: ", arg);
    fprintf(errors, "quired: unknown option: %.*s; %s\n", (int)strcspn(arg, "="), arg, ours);
    return ST_BAD_REQUEST;
}

static int parse_flags(struct command_line *cl, int argc, char **argv, FILE *errors)
{
    static const struct {
        const char *name;
        enum config_action action;
    } plain[] = {
        {"--check-config", CONFIG_CHECK}, {"--check-config=deep", CONFIG_CHECK_DEEP},
        {"--print-config", CONFIG_PRINT}, {"--print-config=defaults", CONFIG_PRINT_DEFAULTS},
        {"--help", CONFIG_HELP},          {"-h", CONFIG_HELP},
        {"--version", CONFIG_VERSION}};
    for (int i = 1; i < argc; i++) {
        size_t k = 0, n_plain = sizeof plain / sizeof *plain;
        while (k < n_plain && strcmp(argv[i], plain[k].name) != 0)
            k++;
        if (k < n_plain) {
            cl->action = plain[k].action;
            continue;
        }
        const char *v = flag_value("--config", argc, argv, &i);
        if (v) {
            cl->file = v;
            continue;
        }
        v = flag_value("--set", argc, argv, &i);
        if (!v)
            return unknown_option(errors, argv[i]);
        if (cl->n_set == (int)(sizeof cl->set / sizeof *cl->set))
            return usage(errors, "too many --set", "");
        cl->set[cl->n_set++] = v;
    }
    return 0;
}

static void load_flags(struct loader *l, const struct command_line *cl)
{
    l->source++;
    for (int i = 0; i < cl->n_set; i++) {
        char path[200];
        const char *eq = strchr(cl->set[i], '=');
        l->label = "--set";
        if (!eq || eq == cl->set[i] || (size_t)(eq - cl->set[i]) >= sizeof path) {
            add_problem(l, 0, 0, "expected path=value");
            continue;
        }
        snprintf(path, sizeof path, "%.*s", (int)(eq - cl->set[i]), cl->set[i]);
        const char *text = eq + 1;
        on_set(l, path, &text, 1, false, 0, 0);
    }
}

/* What no single range can say. */
static void cross_check(struct loader *l)
{
    const struct config *c = l->c;
    char why[400];
    l->source++;
    l->label = "settings";
    if (c->kv.page_tokens != 16 && c->kv.page_tokens != 32 && c->kv.page_tokens != 64)
        add_problem(l, 0, 0, "kv.page_tokens must be 16, 32 or 64");
    if (c->scheduler.max_step_tokens < c->scheduler.max_seqs) {
        char text[300];
        snprintf(text, sizeof text,
                 "scheduler.max_step_tokens (%lld) must be at least scheduler.max_seqs (%lld): "
                 "every running sequence decodes one token a step",
                 (long long)c->scheduler.max_step_tokens, (long long)c->scheduler.max_seqs);
        add_problem(l, 0, 0, text);
    }
    if (!listen_settle(&l->c->http.listen, why, sizeof why))
        add_problem(l, 0, 0, why);
}

static void on_key_problem(void *arg, const struct key_place *at, const char *text)
{
    struct loader *l = arg;
    l->label = at->file;
    add_problem(l, at->line, at->col, text);
}

/* The tenants are read for their problems only: struct config holds no secrets. */
static void check_tenants(struct loader *l)
{
    const struct key_sink sink = {l, on_key_problem};
    struct tenants t;
    l->source++;
    tenants_read(&t, l->c, &sink);
    tenants_free(&t);
}

static int by_position(const void *a, const void *b)
{
    const struct problem *x = a, *y = b;
    if (x->source != y->source)
        return x->source < y->source ? -1 : 1;
    if (x->line != y->line)
        return x->line < y->line ? -1 : 1;
    return (x->col > y->col) - (x->col < y->col);
}

void config_defaults(struct config *c)
{
    char why[400];
    memset(c, 0, sizeof *c);
    c->origin = xcalloc2((size_t)n_fields, sizeof *c->origin);
    for (int i = 0; i < n_fields; i++) {
        CHECK(field_parse(c, &fields[i], fields[i].deflt, why, sizeof why));
        snprintf(c->origin[i].where, sizeof c->origin[i].where, "default");
    }
}

int config_set(struct config *c, const char *path, const char *text, struct err *e)
{
    char why[400], near[200];
    int i = field_find(path);
    if (i < 0)
        return err_set(e, ST_INVALID_VALUE, "there is no setting %.100s%s", path,
                       hint(path, near, sizeof near));
    if (!field_parse(c, &fields[i], text, why, sizeof why))
        return err_set(e, ST_INVALID_VALUE, "%s: %s", path, why);
    snprintf(c->origin[i].where, sizeof c->origin[i].where, "set");
    return 0;
}

/* The file that the command line names, else the environment, else the usual place; or NULL. */
static const char *pick_file(const struct command_line *cl, char **envp)
{
    if (cl->file)
        return cl->file;
    for (char **e = envp; *e; e++)
        if (strncmp(*e, "QUIRED_CONFIG=", 14) == 0 && (*e)[14])
            return *e + 14;
    return access(DEFAULT_FILE, R_OK) == 0 ? DEFAULT_FILE : NULL;
}

/* All problems in the order of their places. 0 when there are none. */
static int report(struct loader *l)
{
    qsort(l->bad, (size_t)l->n_bad, sizeof *l->bad, by_position);
    for (int i = 0; i < l->n_bad; i++)
        fprintf(l->errors, "%s\n", l->bad[i].text);
    if (l->more > 0)
        fprintf(l->errors, "and %d more\n", l->more);
    return l->n_bad > 0 ? ST_INVALID_VALUE : 0;
}

int config_load(struct config *c, int argc, char **argv, char **envp, enum config_action *action,
                FILE *errors)
{
    struct command_line cl = {.action = CONFIG_RUN};
    config_defaults(c);
    int st = parse_flags(&cl, argc, argv, errors);
    *action = st ? CONFIG_RUN : cl.action;
    if (st)
        return st;
    struct loader *l = xalloc(sizeof *l);
    l->c = c;
    l->errors = errors;
    l->strict_env = cl.action == CONFIG_CHECK || cl.action == CONFIG_CHECK_DEEP;
    const char *file = pick_file(&cl, envp);
    if (file) {
        load_file(l, file);
        load_drop_ins(l, file);
    }
    load_environment(l, envp);
    load_flags(l, &cl);
    if (l->n_bad == 0)
        cross_check(l);
    if (l->n_bad == 0 &&
        (cl.action == CONFIG_RUN || cl.action == CONFIG_CHECK || cl.action == CONFIG_CHECK_DEEP))
        check_tenants(l);
    st = report(l);
    free(l);
    return st;
}

void config_free(struct config *c)
{
    for (int i = 0; i < n_fields; i++) {
        void *at = (char *)c + fields[i].offset;
        if (fields[i].type == F_STRING) {
            free(*(char **)at);
        } else if (fields[i].type == F_LIST) {
            struct str_list *s = at;
            for (int32_t k = 0; k < s->n; k++)
                free(s->v[k]);
            free(s->v);
        }
    }
    free(c->origin);
    memset(c, 0, sizeof *c);
}
