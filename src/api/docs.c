/* SPDX-License-Identifier: Apache-2.0 */
/* docs.c - GET /docs: the description of openapi.c as one page without scripts and without anything
 * to fetch. Every text is escaped, ours too. Loop thread.
 */
#include "docs.h"

#include "json.h"
#include "openapi.h"
#include "reply.h"
#include "state.h"

#include <stdio.h>
#include <string.h>

static void put(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

static void put_text(struct buf *b, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '<')
            put(b, "&lt;");
        else if (s[i] == '>')
            put(b, "&gt;");
        else if (s[i] == '&')
            put(b, "&amp;");
        else if (s[i] == '"')
            put(b, "&quot;");
        else
            buf_add(b, &s[i], 1);
    }
}

static void put_key(struct buf *b, const struct json *v)
{
    put_text(b, v->key, v->n_key);
}

static void put_string(struct buf *b, const struct json *v)
{
    if (v && v->type == JSON_STR)
        put_text(b, v->s, v->n);
}

/* The first thing in v, which may not be there. */
static const struct json *child_of(const struct json_doc *d, const struct json *v)
{
    return v ? json_child(d, v) : NULL;
}

/* A value as it is written in the document. */
static void put_source(struct buf *b, const struct json_doc *d, const struct json *v)
{
    put_text(b, d->src + v->begin, v->end - v->begin);
}

/* The shape that a {"$ref": "#/components/schemas/NAME"} names, or v itself. */
static const struct json *follow(const struct json_doc *d, const struct json *v)
{
    static const char prefix[] = "#/components/schemas/";
    const struct json *ref = v ? json_get(d, v, "$ref") : NULL;
    size_t n = sizeof prefix - 1;
    if (!ref || ref->type != JSON_STR || ref->n <= n || memcmp(ref->s, prefix, n) != 0)
        return v;
    const struct json *all = json_get(d, json_get(d, &d->v[0], "components"), "schemas");
    for (const struct json *k = json_child(d, all); k; k = json_next(d, k))
        if (k->n_key == ref->n - n && memcmp(k->key, ref->s + n, k->n_key) == 0)
            return k;
    return v;
}

/* What a field takes: its schema without the words. */
static void put_schema(struct buf *b, const struct json_doc *d, const struct json *v)
{
    int n = 0;
    for (const struct json *k = json_child(d, v); k; k = json_next(d, k)) {
        if (k->n_key == 11 && memcmp(k->key, "description", 11) == 0)
            continue;
        put(b, n++ ? " " : "");
        put_key(b, k);
        put(b, ":&nbsp;");
        put_source(b, d, k);
    }
}

static bool is_required(const struct json_doc *d, const struct json *shape,
                        const struct json *field)
{
    for (const struct json *k = child_of(d, json_get(d, shape, "required")); k; k = json_next(d, k))
        if (k->type == JSON_STR && k->n == field->n_key && memcmp(k->s, field->key, k->n) == 0)
            return true;
    return false;
}

static void put_fields(struct buf *b, const struct json_doc *d, const struct json *shape)
{
    const struct json *all = json_get(d, shape, "properties");
    if (!all)
        return;
    put(b, "<table><tr><th>field<th>takes<th>meaning\n");
    for (const struct json *k = json_child(d, all); k; k = json_next(d, k)) {
        put(b, "<tr><td><code>");
        put_key(b, k);
        put(b, is_required(d, shape, k) ? "</code> (required)<td><code>" : "</code><td><code>");
        put_schema(b, d, k);
        put(b, "</code><td>");
        put_string(b, json_get(d, k, "description"));
        put(b, "\n");
    }
    put(b, "</table>\n");
}

static const struct json *body_shape(const struct json_doc *d, const struct json *op)
{
    const struct json *v = json_get(d, op, "requestBody");
    v = v ? json_get(d, v, "content") : NULL;
    v = v ? json_get(d, v, "application/json") : NULL;
    return v ? json_get(d, v, "schema") : NULL;
}

/* The statuses of an operation; their codes are listed once, at the end. */
static void put_answers(struct buf *b, const struct json_doc *d, const struct json *op)
{
    put(b, "<p>Answers");
    for (const struct json *k = child_of(d, json_get(d, op, "responses")); k; k = json_next(d, k)) {
        put(b, " ");
        put_key(b, k);
    }
    put(b, "\n");
}

static void put_operations(struct buf *b, const struct json_doc *d)
{
    for (const struct json *p = child_of(d, json_get(d, &d->v[0], "paths")); p;
         p = json_next(d, p)) {
        for (const struct json *op = json_child(d, p); op; op = json_next(d, op)) {
            const struct json *body = body_shape(d, op);
            const struct json *ref = body ? json_get(d, body, "$ref") : NULL;
            put(b, "<h3><code>");
            put_key(b, op);
            put(b, " ");
            put_key(b, p);
            put(b, "</code></h3><p>");
            put_string(b, json_get(d, op, "summary"));
            if (ref) {
                put(b, ". Body: <a href=\"#");
                put_text(b, ref->s + 21, ref->n - 21);
                put(b, "\">");
                put_text(b, ref->s + 21, ref->n - 21);
                put(b, "</a>");
            }
            put(b, "\n");
            put_answers(b, d, op);
        }
    }
}

static void put_shapes(struct buf *b, const struct json_doc *d)
{
    const struct json *c = json_get(d, &d->v[0], "components");
    put(b, "<h2>Shapes</h2>\n");
    for (const struct json *k = child_of(d, json_get(d, c, "schemas")); k; k = json_next(d, k)) {
        put(b, "<h3 id=\"");
        put_key(b, k);
        put(b, "\">");
        put_key(b, k);
        put(b, "</h3>\n<p>");
        put_string(b, json_get(d, k, "description"));
        put(b, "\n");
        put_fields(b, d, follow(d, k));
    }
    put(b, "<h2>Errors</h2>\n<table><tr><th>status<th>codes\n");
    for (const struct json *k = child_of(d, json_get(d, c, "responses")); k; k = json_next(d, k)) {
        put(b, "<tr><td>");
        put_text(b, k->key + 1, k->n_key - 1);
        put(b, "<td>");
        put_string(b, json_get(d, k, "description"));
        put(b, "\n");
    }
    put(b, "</table>\n");
}

static int make(struct buf *b, const struct buf *json)
{
    struct json_doc d;
    int st = json_parse(&d, json->p, json->n, NULL);
    if (st)
        return st;
    b->soft = true;
    put(b, "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>quire</title>\n"
           "<style>body{font:15px/1.5 sans-serif;max-width:75em;margin:2em auto;padding:0 1em}"
           "code{font-size:13px}table{border-collapse:collapse}th,td{text-align:left;"
           "vertical-align:top;border-bottom:1px solid #ccc;padding:2px 12px 2px 0;"
           "overflow-wrap:anywhere}h3{margin-bottom:0}p{margin:.2em 0}</style>\n<h1>quire ");
    put_string(b, json_get(&d, json_get(&d, &d.v[0], "info"), "version"));
    put(b, "</h1>\n<p>");
    put_string(b, json_get(&d, json_get(&d, &d.v[0], "info"), "description"));
    put(b, " The same for programs: <a href=\"openapi.json\">openapi.json</a>.\n<h2>Paths</h2>\n");
    put_operations(b, &d);
    put_shapes(b, &d);
    json_free(&d);
    if (!b->oom)
        return 0;
    buf_free(b);
    return ST_NOMEM;
}

void api_docs(struct req *r)
{
    struct api *a = r->service;
    const struct buf *json = openapi_document(a);
    struct buf *b = &a->described[json == &a->described[1].json].html;
    if (json && (b->n || make(b, json) == 0))
        reply(r, 200, "text/html; charset=utf-8", b->p, b->n);
    else
        reply_fail(r, ST_NOMEM, "The server is short of memory; try again later.");
}
