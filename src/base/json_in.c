/* SPDX-License-Identifier: Apache-2.0 */
/* json_in.c - the strict one-pass parser of json.h. Pure; any thread.
 *
 * Nesting lives in `stack`, never on the C stack. Values come out in source
 * order, so a child's index is above its parent's. Work is linear: duplicate keys are found with
 * a seeded hash set per object, built when the object closes.
 */
#include "json.h"

#include "mem.h"
#include "utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct parser {
    struct json_doc *d;
    const char *s;
    size_t n, at;
    uint32_t stack[JSON_MAX_DEPTH],
        last[JSON_MAX_DEPTH]; /* open containers and their latest child */
    int depth;
    const char *key; /* decoded key waiting for its value */
    uint32_t n_key;
    const char *why;
};

static int bad(struct parser *p, const char *why)
{
    if (!p->why)
        p->why = why;
    return ST_INVALID_JSON;
}

static void skip_space(struct parser *p)
{
    while (p->at < p->n && (p->s[p->at] == ' ' || p->s[p->at] == '\n' || p->s[p->at] == '\r' ||
                            p->s[p->at] == '\t'))
        p->at++;
}

static int hex4(struct parser *p, uint32_t *out)
{
    uint32_t v = 0;
    if (p->n - p->at < 4)
        return bad(p, "incomplete \\u escape");
    for (int i = 0; i < 4; i++) {
        int h = hex_digit(p->s[p->at++]);
        if (h < 0)
            return bad(p, "invalid \\u escape");
        v = v << 4 | (uint32_t)h;
    }
    *out = v;
    return 0;
}

static int parse_escape(struct parser *p, char **o)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (p->at >= p->n)
        return bad(p, "unterminated string");
    char c = p->s[p->at++];
    if (c != 'u') {
        const char *q = c ? strchr(from, c) : NULL;
        if (!q)
            return bad(p, "invalid escape");
        *(*o)++ = to[q - from];
        return 0;
    }
    uint32_t u, v;
    int st = hex4(p, &u);
    if (st)
        return st;
    if (u >= 0xDC00 && u <= 0xDFFF)
        return bad(p, "lone surrogate escape");
    if (u >= 0xD800 && u <= 0xDBFF) {
        if (p->n - p->at < 6 || p->s[p->at] != '\\' || p->s[p->at + 1] != 'u')
            return bad(p, "lone surrogate escape");
        p->at += 2;
        st = hex4(p, &v);
        if (st)
            return st;
        if (v < 0xDC00 || v > 0xDFFF)
            return bad(p, "lone surrogate escape");
        u = 0x10000 + ((u - 0xD800) << 10) + (v - 0xDC00);
    }
    *o += utf8_put(*o, u);
    return 0;
}

/* How many bytes from s stand for themselves in a string: up to a quote, backslash or control
 * character. Eight at a time: most of a body is text. *high: some byte is not ASCII. */
static size_t plain_run(const char *s, size_t n, bool *high)
{
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    uint64_t all = 0;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t w, q, b, stop;
        memcpy(&w, s + i, 8);
        q = w ^ ones * '"';
        b = w ^ ones * '\\';
        stop = (((w - ones * 0x20) & ~w) | ((q - ones) & ~q) | ((b - ones) & ~b)) & tops;
        if (stop) { /* its lowest bit is exact; a borrow disturbs only what is above */
            all |= w & ((stop & -stop) - 1);
            i += (size_t)__builtin_ctzll(stop) / 8;
            break;
        }
        all |= w;
    }
    while (i < n && s[i] != '"' && s[i] != '\\' && (unsigned char)s[i] >= 0x20)
        all |= (unsigned char)s[i++];
    *high = (all & tops) != 0;
    return i;
}

/* One plain run of a string: its length in *k. */
static int parse_run(struct parser *p, size_t *k)
{
    bool high;
    size_t run = plain_run(p->s + p->at, p->n - p->at, &high);
    size_t good = high ? utf8_valid_prefix(p->s + p->at, run) : run;
    *k = good;
    if (good < run || p->at + run >= p->n || (unsigned char)p->s[p->at + run] < 0x20) {
        p->at += good;
        return bad(p, good < run      ? "invalid UTF-8"
                      : p->at >= p->n ? "unterminated string"
                                      : "control character in string");
    }
    return 0;
}

/* The rest of a string with escapes, decoded into d->text, where it always fits: it is shorter
 * than its source. The first `run` bytes are known to be plain. */
static int parse_escaped(struct parser *p, size_t run, const char **out, uint32_t *n)
{
    if (!p->d->text) {
        p->d->text = fault_point("json") ? NULL : malloc(p->n);
        if (!p->d->text) {
            p->why = "";
            return ST_NOMEM;
        }
    }
    char *o = p->d->text + p->d->n_text, *begin = o;
    for (;;) {
        memcpy(o, p->s + p->at, run);
        o += run;
        p->at += run;
        if (p->s[p->at] == '"')
            break;
        p->at++;
        int st = parse_escape(p, &o);
        st = st ? st : parse_run(p, &run);
        if (st)
            return st;
    }
    p->at++;
    *out = begin;
    *n = (uint32_t)(o - begin);
    p->d->n_text += (size_t)(o - begin);
    return 0;
}

/* At the opening quote. Without escapes the source itself is the string. */
static int parse_string(struct parser *p, const char **out, uint32_t *n)
{
    size_t run;
    p->at++;
    int st = parse_run(p, &run);
    if (st)
        return st;
    if (p->s[p->at + run] == '\\')
        return parse_escaped(p, run, out, n);
    *out = p->s + p->at;
    *n = (uint32_t)run;
    p->at += run + 1;
    return 0;
}

static size_t digits(struct parser *p)
{
    size_t b = p->at;
    while (p->at < p->n && p->s[p->at] >= '0' && p->s[p->at] <= '9')
        p->at++;
    return p->at - b;
}

/* The n bytes at s are a number, of k digits when it is whole. */
static int number_value(struct parser *p, const char *s, size_t n, size_t k, struct json *v)
{
    bool minus = s[0] == '-';
    if (v->whole && k <= 19) {
        __int128 w = 0;
        for (size_t i = minus; i < n; i++)
            w = w * 10 + (s[i] - '0');
        w = minus ? -w : w;
        if (w >= INT64_MIN && w <= INT64_MAX) {
            v->is_int = 1;
            v->i = (int64_t)w;
            v->d = w == 0 && minus ? -0.0 : (double)v->i;
            return 0;
        }
    }
    char num[512];
    if (n >= sizeof num)
        return bad(p, "number too long");
    memcpy(num, s, n);
    num[n] = '\0';
    v->d = strtod(num, NULL);
    if (v->whole) {
        v->s = s;
        v->n = (uint32_t)n;
    } else if (fabs(v->d) <= 9007199254740992.0 && v->d == floor(v->d)) {
        v->is_int = 1;
        v->i = (int64_t)v->d;
    }
    return 0;
}

static int parse_number(struct parser *p, struct json *v)
{
    size_t b = p->at;
    bool whole = true;
    if (p->s[p->at] == '-')
        p->at++;
    size_t first = p->at, k = digits(p);
    if (k == 0 || (k > 1 && p->s[first] == '0'))
        return bad(p, "invalid number");
    if (p->at < p->n && p->s[p->at] == '.') {
        p->at++;
        whole = false;
        if (digits(p) == 0)
            return bad(p, "invalid number");
    }
    if (p->at < p->n && (p->s[p->at] == 'e' || p->s[p->at] == 'E')) {
        p->at++;
        whole = false;
        if (p->at < p->n && (p->s[p->at] == '+' || p->s[p->at] == '-'))
            p->at++;
        if (digits(p) == 0)
            return bad(p, "invalid number");
    }
    v->type = JSON_NUM;
    v->whole = whole;
    return number_value(p, p->s + b, p->at - b, k, v);
}

static int parse_word(struct parser *p, struct json *v)
{
    static const struct {
        const char *w;
        uint8_t type, b;
    } words[] = {{"true", JSON_BOOL, 1}, {"false", JSON_BOOL, 0}, {"null", JSON_NULL, 0}};
    for (size_t i = 0; i < 3; i++) {
        size_t k = strlen(words[i].w);
        if (p->n - p->at >= k && memcmp(p->s + p->at, words[i].w, k) == 0) {
            p->at += k;
            v->type = words[i].type;
            v->boolean = words[i].b;
            return 0;
        }
    }
    return bad(p, "unexpected character");
}

/* A fresh value, linked to its parent. Index, or 0 when over the limits (the root is handled by
 * the caller: it is index 0 and has no parent). */
static struct json *add_value(struct parser *p)
{
    struct json_doc *d = p->d;
    if (d->n >= JSON_MAX_VALUES) {
        bad(p, "too many values");
        return NULL;
    }
    if (d->n == d->cap) {
        uint32_t cap = d->cap ? d->cap * 2 : 64;
        struct json *v = fault_point("json") ? NULL : realloc(d->v, cap * sizeof *v);
        if (!v) {
            p->why = "";
            return NULL;
        }
        d->v = v;
        d->cap = cap;
    }
    struct json *v = &d->v[d->n];
    *v = (struct json){.begin = (uint32_t)p->at, .key = p->key, .n_key = p->n_key};
    if (p->depth) {
        int k = p->depth - 1;
        struct json *up = &d->v[p->stack[k]];
        if (up->n++ == 0)
            up->child = d->n;
        else
            d->v[p->last[k]].next = d->n;
        p->last[k] = d->n;
    }
    p->key = NULL;
    p->n_key = 0;
    d->n++;
    return v;
}

static uint64_t hash_key(uint64_t seed, const char *s, uint32_t n)
{
    uint64_t h = seed ^ n;
    for (uint32_t i = 0; i < n; i++) {
        h = (h ^ (unsigned char)s[i]) * 0x9E3779B97F4A7C15u;
        h ^= h >> 29;
    }
    return h;
}

static bool same_key(const struct json *a, const struct json *b)
{
    return a->n_key == b->n_key && memcmp(a->key, b->key, a->n_key) == 0;
}

/* In linear time: small objects by comparison, others by an open-addressing set of child indices.
 */
static int check_keys(struct parser *p, const struct json *obj)
{
    static _Atomic uint64_t seed;
    const struct json *v = p->d->v;
    if (obj->n < 2)
        return 0;
    if (obj->n <= 8) {
        for (uint32_t a = obj->child; a; a = v[a].next)
            for (uint32_t b = v[a].next; b; b = v[b].next)
                if (same_key(&v[a], &v[b]))
                    return bad(p, "duplicate key");
        return 0;
    }
    uint64_t sd = seed;
    if (sd == 0) {
        if (getrandom(&sd, sizeof sd, 0) != (ssize_t)sizeof sd)
            sd = 1;
        seed = sd |= 1;
    }
    uint32_t cap = 16;
    while (cap < obj->n * 2)
        cap *= 2;
    uint32_t *set = calloc(cap, sizeof *set);
    if (!set) {
        p->why = "";
        return ST_NOMEM;
    }
    int st = 0;
    for (uint32_t a = obj->child; a && !st; a = v[a].next) {
        uint32_t i = (uint32_t)hash_key(sd, v[a].key, v[a].n_key) & (cap - 1);
        while (set[i] && !same_key(&v[set[i]], &v[a]))
            i = (i + 1) & (cap - 1);
        if (set[i])
            st = bad(p, "duplicate key");
        set[i] = a;
    }
    free(set);
    return st;
}

static int close_container(struct parser *p)
{
    struct json *v = &p->d->v[p->stack[--p->depth]];
    p->at++;
    v->end = (uint32_t)p->at;
    return v->type == JSON_OBJ ? check_keys(p, v) : 0;
}

static int parse_key(struct parser *p)
{
    skip_space(p);
    if (p->at >= p->n || p->s[p->at] != '"')
        return bad(p, "expected a key in double quotes");
    int st = parse_string(p, &p->key, &p->n_key);
    if (st)
        return st;
    skip_space(p);
    if (p->at >= p->n || p->s[p->at] != ':')
        return bad(p, "expected a colon");
    p->at++;
    return 0;
}

/* One value; containers are opened, and an empty one closed at once. */
static int parse_value(struct parser *p)
{
    skip_space(p);
    if (p->at >= p->n)
        return bad(p, "unexpected end");
    struct json *v = add_value(p);
    if (!v)
        return ST_INVALID_JSON;
    uint32_t at = p->d->n - 1;
    char c = p->s[p->at];
    int st;
    if (c == '{' || c == '[') {
        if (p->depth == JSON_MAX_DEPTH)
            return bad(p, "nested too deeply");
        v->type = c == '{' ? JSON_OBJ : JSON_ARR;
        p->stack[p->depth++] = at;
        p->at++;
        skip_space(p);
        if (p->at < p->n && p->s[p->at] == (c == '{' ? '}' : ']'))
            return close_container(p);
        st = c == '{' ? parse_key(p) : 0;
        return st ? st : 1; /* a value must follow */
    }
    if (c == '"') {
        v->type = JSON_STR;
        st = parse_string(p, &v->s, &v->n);
    } else if (c == '-' || (c >= '0' && c <= '9')) {
        st = parse_number(p, v);
    } else {
        st = parse_word(p, v);
    }
    v->end = (uint32_t)p->at;
    return st;
}

/* After a value inside a container: 1 when another value follows, 0 when the container closed. */
static int after_value(struct parser *p)
{
    const struct json *up = &p->d->v[p->stack[p->depth - 1]];
    skip_space(p);
    if (p->at >= p->n)
        return bad(p, "unexpected end");
    if (p->s[p->at] == (up->type == JSON_OBJ ? '}' : ']'))
        return close_container(p);
    if (p->s[p->at] != ',')
        return bad(p, up->type == JSON_OBJ ? "expected a comma or }" : "expected a comma or ]");
    p->at++;
    int st = up->type == JSON_OBJ ? parse_key(p) : 0;
    return st ? st : 1;
}

static int parse_all(struct parser *p)
{
    int st = 1;
    while (st == 1)
        st = parse_value(p);
    while (st == 0 && p->depth) {
        st = after_value(p);
        while (st == 1)
            st = parse_value(p);
    }
    if (st)
        return st;
    skip_space(p);
    return p->at == p->n ? 0 : bad(p, "text after the JSON value");
}

static void where(const char *s, size_t at, size_t *line, size_t *column)
{
    *line = 1;
    *column = 1;
    for (size_t i = 0; i < at; i++) {
        *column = s[i] == '\n' ? 1 : *column + ((s[i] & 0xC0) != 0x80);
        *line += s[i] == '\n';
    }
}

int json_parse(struct json_doc *d, const char *s, size_t n, struct err *e)
{
    struct parser p = {.d = d, .s = s, .n = n};
    *d = (struct json_doc){.src = s, .n_src = n};
    if (n > ((size_t)1 << 30))
        return err_set(e, ST_INVALID_JSON, "The JSON body is too long.");
    int st = parse_all(&p);
    if (st == 0)
        return 0;
    json_free(d);
    if (!p.why || !p.why[0])
        return err_set(e, ST_NOMEM, "Out of memory.");
    size_t line, column;
    where(s, p.at < n ? p.at : n, &line, &column);
    return err_set(e, ST_INVALID_JSON, "The body is not valid JSON: %s at line %zu column %zu.",
                   p.why, line, column);
}

void json_free(struct json_doc *d)
{
    free(d->v);
    free(d->text);
    *d = (struct json_doc){0};
}

const struct json *json_child(const struct json_doc *d, const struct json *v)
{
    return (v->type == JSON_ARR || v->type == JSON_OBJ) && v->n ? &d->v[v->child] : NULL;
}

const struct json *json_next(const struct json_doc *d, const struct json *v)
{
    return v->next ? &d->v[v->next] : NULL;
}

const struct json *json_get(const struct json_doc *d, const struct json *obj, const char *key)
{
    size_t n = strlen(key);
    if (!obj || obj->type != JSON_OBJ)
        return NULL;
    for (const struct json *v = json_child(d, obj); v; v = json_next(d, v))
        if (v->n_key == n && memcmp(v->key, key, n) == 0)
            return v;
    return NULL;
}

bool json_is(const struct json *v, const char *s)
{
    return v && v->type == JSON_STR && v->n == strlen(s) && memcmp(v->s, s, v->n) == 0;
}

const char *json_type_name(const struct json *v)
{
    static const char *const names[] = {"null",     "a boolean", "a number",
                                        "a string", "an array",  "an object"};
    return names[v->type];
}
