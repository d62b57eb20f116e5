/* SPDX-License-Identifier: Apache-2.0 */
/* yaml.c - one YAML file to (path, text) pairs with positions. Knows nothing of the settings.
 *
 * libyaml builds the node tree; the walk is iterative and bounded in depth and visits, so that
 * anchors cannot multiply work. Refused: several documents, duplicate keys, merge keys, non-scalar
 * keys, sequences that hold anything but scalars, files over 1 MiB.
 */
#include "yaml_file.h"

#include "fields.h"
#include "mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { FILE_MAX = 1 << 20, DEPTH_MAX = 8, VISITS_MAX = 20000, PATH_LEN = 256 };
enum { NEST_MAX = 16 }; /* of mappings and lists; above DEPTH_MAX, which has the better message */

struct frame {
    yaml_node_t *map;
    yaml_node_pair_t *next;
    size_t path_len; /* of the prefix */
};

struct walk {
    yaml_document_t doc;
    const struct conf_sink *sink;
    char path[PATH_LEN];
    struct frame stack[DEPTH_MAX];
    int depth, visits;
};

static int line_of(const yaml_node_t *n)
{
    return (int)n->start_mark.line + 1;
}

static int col_of(const yaml_node_t *n)
{
    return (int)n->start_mark.column + 1;
}

static void bad(struct walk *w, const yaml_node_t *at, const char *text)
{
    w->sink->bad(w->sink->arg, line_of(at), col_of(at), text);
}

static bool same_scalar(const yaml_node_t *a, const yaml_node_t *b)
{
    return a->data.scalar.length == b->data.scalar.length &&
           memcmp(a->data.scalar.value, b->data.scalar.value, a->data.scalar.length) == 0;
}

/* A scalar's text, zero-terminated by libyaml; NULL when it holds a zero byte. */
static const char *scalar_text(const yaml_node_t *n)
{
    const char *s = (const char *)n->data.scalar.value;
    return strlen(s) == n->data.scalar.length ? s : NULL;
}

/* Plain null, ~ or nothing: the key keeps its default. */
static bool is_null(const yaml_node_t *n)
{
    const char *s = (const char *)n->data.scalar.value;
    return n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (s[0] == '\0' || strcmp(s, "~") == 0 || strcmp(s, "null") == 0);
}

static void leaf(struct walk *w, yaml_node_t *v)
{
    const char *text = scalar_text(v);
    if (!text)
        bad(w, v, "a value must not contain a zero byte");
    else if (!is_null(v))
        w->sink->set(w->sink->arg, w->path, &text, 1, false, line_of(v), col_of(v));
}

static void list(struct walk *w, yaml_node_t *v)
{
    const char *items[LIST_MAX];
    int32_t n = 0;
    for (yaml_node_item_t *i = v->data.sequence.items.start; i < v->data.sequence.items.top; i++) {
        yaml_node_t *item = yaml_document_get_node(&w->doc, *i);
        if (!item || item->type != YAML_SCALAR_NODE || !scalar_text(item)) {
            bad(w, item ? item : v, "a list may hold plain values only");
            return;
        }
        if (n == LIST_MAX) {
            bad(w, item, "the list is too long");
            return;
        }
        items[n++] = scalar_text(item);
    }
    w->sink->set(w->sink->arg, w->path, items, n, true, line_of(v), col_of(v));
}

static bool push(struct walk *w, yaml_node_t *map, size_t path_len)
{
    if (w->depth == DEPTH_MAX) {
        bad(w, map, "the settings are nested too deep");
        return false;
    }
    w->stack[w->depth++] = (struct frame){
        .map = map, .next = map->data.mapping.pairs.start, .path_len = path_len};
    return true;
}

static bool is_duplicate(struct walk *w, const struct frame *f, const yaml_node_t *key)
{
    for (yaml_node_pair_t *p = f->map->data.mapping.pairs.start; p < f->next; p++) {
        const yaml_node_t *k = yaml_document_get_node(&w->doc, p->key);
        if (k && k->type == YAML_SCALAR_NODE && same_scalar(k, key))
            return true;
    }
    return false;
}

/* One pair of the topmost mapping; its path is left in w->path. */
static void pair(struct walk *w, struct frame *f, yaml_node_pair_t *p)
{
    yaml_node_t *k = yaml_document_get_node(&w->doc, p->key);
    yaml_node_t *v = yaml_document_get_node(&w->doc, p->value);
    if (!k || !v || k->type != YAML_SCALAR_NODE || !scalar_text(k)) {
        bad(w, k ? k : f->map, "a key must be plain text");
        return;
    }
    const char *name = scalar_text(k);
    if (strcmp(name, "<<") == 0) {
        bad(w, k, "merge keys are not supported");
        return;
    }
    if (is_duplicate(w, f, k)) {
        bad(w, k, "the key is given twice");
        return;
    }
    size_t at = f->path_len, len = strlen(name);
    if (at + len + 2 > PATH_LEN) {
        bad(w, k, "unknown key (too long)");
        return;
    }
    if (at > 0)
        w->path[at++] = '.';
    memcpy(w->path + at, name, len + 1);
    bool nothing = v->type == YAML_SCALAR_NODE && is_null(v);
    if (w->sink->open && (v->type == YAML_MAPPING_NODE || nothing))
        w->sink->open(w->sink->arg, w->path, nothing, line_of(k), col_of(k));
    if (v->type == YAML_SCALAR_NODE)
        leaf(w, v);
    else if (v->type == YAML_SEQUENCE_NODE)
        list(w, v);
    else
        push(w, v, at + len);
}

static void walk_document(struct walk *w)
{
    yaml_node_t *root = yaml_document_get_root_node(&w->doc);
    if (!root || (root->type == YAML_SCALAR_NODE && is_null(root)))
        return; /* an empty file: all defaults */
    if (root->type != YAML_MAPPING_NODE) {
        bad(w, root, "expected settings as key: value");
        return;
    }
    push(w, root, 0);
    while (w->depth > 0) {
        struct frame *f = &w->stack[w->depth - 1];
        if (f->next == f->map->data.mapping.pairs.top) {
            w->depth--;
            continue;
        }
        if (++w->visits > VISITS_MAX) {
            bad(w, f->map, "too many keys");
            return;
        }
        yaml_node_pair_t *p = f->next;
        pair(w, f, p);
        f->next = p + 1;
    }
}

static void parser_error(const struct conf_sink *s, const yaml_parser_t *p)
{
    char text[300];
    snprintf(text, sizeof text, "%s%s%s", p->context ? p->context : "", p->context ? ": " : "",
             p->problem ? p->problem : "not YAML");
    s->bad(s->arg, (int)p->problem_mark.line + 1, (int)p->problem_mark.column + 1, text);
}

/* libyaml's loader takes time and memory in the square of the depth: the events are counted first.
 * True = no deeper than settings can be; else *line and *col say where, unless it is not YAML. */
static bool is_flat(const unsigned char *text, size_t n, int *line, int *col)
{
    yaml_parser_t p;
    bool more = true;
    int depth = 0;
    if (!yaml_parser_initialize(&p))
        return true; /* the loader says so */
    yaml_parser_set_input_string(&p, text, n);
    yaml_parser_set_encoding(&p, YAML_UTF8_ENCODING);
    while (more && depth <= NEST_MAX) {
        yaml_event_t e;
        if (!yaml_parser_parse(&p, &e))
            break; /* the loader finds it, too */
        depth += e.type == YAML_SEQUENCE_START_EVENT || e.type == YAML_MAPPING_START_EVENT;
        depth -= e.type == YAML_SEQUENCE_END_EVENT || e.type == YAML_MAPPING_END_EVENT;
        more = e.type != YAML_STREAM_END_EVENT;
        *line = (int)e.start_mark.line + 1;
        *col = (int)e.start_mark.column + 1;
        yaml_event_delete(&e);
    }
    yaml_parser_delete(&p);
    return depth <= NEST_MAX;
}

static void parse_text(const unsigned char *text, size_t n, const struct conf_sink *s)
{
    yaml_parser_t p;
    int line, col;
    if (!is_flat(text, n, &line, &col)) {
        s->bad(s->arg, line, col, "the settings are nested too deep");
        return;
    }
    struct walk *w = xalloc(sizeof *w);
    w->sink = s;
    if (!yaml_parser_initialize(&p)) {
        s->bad(s->arg, 1, 1, "out of memory");
        free(w);
        return;
    }
    yaml_parser_set_input_string(&p, text, n);
    yaml_parser_set_encoding(&p, YAML_UTF8_ENCODING);
    if (!yaml_parser_load(&p, &w->doc)) {
        parser_error(s, &p);
    } else {
        walk_document(w);
        yaml_document_delete(&w->doc);
        if (!yaml_parser_load(&p, &w->doc)) {
            parser_error(s, &p);
        } else {
            yaml_node_t *second = yaml_document_get_root_node(&w->doc);
            if (second)
                bad(w, second, "a second document; one per file");
            yaml_document_delete(&w->doc);
        }
    }
    yaml_parser_delete(&p);
    free(w);
}

bool yaml_read(const char *file, const struct conf_sink *s)
{
    FILE *f = fopen(file, "rb");
    if (!f)
        return false;
    unsigned char *text = xalloc(FILE_MAX + 1);
    size_t n = fread(text, 1, FILE_MAX + 1, f);
    bool ok = !ferror(f);
    fclose(f);
    if (!ok) {
        errno = EIO;
    } else if (n > FILE_MAX) {
        s->bad(s->arg, 1, 1, "the file is larger than 1 MiB");
    } else if (memchr(text, '\0', n)) {
        s->bad(s->arg, 1, 1, "the file contains a zero byte");
    } else {
        parse_text(text, n, s);
    }
    free(text);
    return ok;
}
