/* json.c - the request's JSON to template values.
 *
 * A parser of its own because templates print numbers back: 1.0 stays a float, 12345678901234567890
 * stays whole, keys keep their order. Strict (RFC 8259); nesting is bounded and nothing recurses:
 * open containers stand on an explicit stack. Strings without escapes are views into the text.
 */
#include "val.h"

#include "utf8.h"

#include <errno.h>
#include <stdlib.h>

enum { JSON_DEPTH = 160 };

struct reader {
    struct jrun *r;
    const char *s;
    size_t n, at;
};

static _Noreturn void bad(struct reader *x, const char *what)
{
    err_set(x->r->e, ST_INVALID_JSON, "template variables: %s at byte %zu", what, x->at);
    longjmp(x->r->jump, 2);
}

static void space(struct reader *x)
{
    while (x->at < x->n && (x->s[x->at] == ' ' || x->s[x->at] == '\t' || x->s[x->at] == '\n' ||
                            x->s[x->at] == '\r'))
        x->at++;
}

static unsigned hex4(struct reader *x)
{
    unsigned v = 0;
    if (x->n - x->at < 4)
        bad(x, "cut escape");
    for (int i = 0; i < 4; i++) {
        char c = x->s[x->at++];
        if (c >= '0' && c <= '9')
            v = v << 4 | (unsigned)(c - '0');
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            v = v << 4 | (unsigned)((c | 32) - 'a' + 10);
        else
            bad(x, "bad escape"); /* the closing quote too */
    }
    return v;
}

static unsigned code_point(struct reader *x)
{
    unsigned c = hex4(x), d;
    if (c < 0xD800 || c > 0xDFFF)
        return c;
    if (c > 0xDBFF || x->n - x->at < 6 || x->s[x->at] != '\\' || x->s[x->at + 1] != 'u')
        bad(x, "lone surrogate");
    x->at += 2;
    d = hex4(x);
    if (d < 0xDC00 || d > 0xDFFF)
        bad(x, "lone surrogate");
    return 0x10000 + ((c - 0xD800) << 10) + (d - 0xDC00);
}

/* How many bytes from p stand for themselves in a string: up to a quote, backslash or control. */
static size_t plain_run(const char *p, size_t n)
{
    const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t w, q, b;
        memcpy(&w, p + i, 8);
        q = w ^ ones * '"';
        b = w ^ ones * '\\';
        if ((((w - ones * 0x20) & ~w) | ((q - ones) & ~q) | ((b - ones) & ~b)) & high)
            break;
    }
    while (i < n && p[i] != '"' && p[i] != '\\' && (unsigned char)p[i] >= 0x20)
        i++;
    return i;
}

/* The string in [from, end), its escapes undone. */
static struct jv escaped(struct reader *x, size_t from, size_t end)
{
    static const char plain[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
    char *out = jalloc(x->r, end - from + 1);
    size_t n = 0, run;
    for (x->at = from;; x->at += run) {
        const char *q = plain;
        run = plain_run(x->s + x->at, end - x->at);
        memcpy(out + n, x->s + x->at, run);
        n += run;
        if (x->at + run == end)
            break;
        x->at += run + 2; /* past the backslash and what follows it */
        run = 0;
        if (x->s[x->at - 1] == 'u') {
            n += utf8_put(out + n, code_point(x));
            continue;
        }
        while (*q && *q != x->s[x->at - 1])
            q += 2;
        if (!*q)
            bad(x, "bad escape");
        out[n++] = q[1];
    }
    x->at = end + 1;
    return jstr_val(x->r, out, n, true);
}

static struct jv string(struct reader *x)
{
    size_t from = ++x->at;
    bool esc = false;
    for (;;) {
        x->at += plain_run(x->s + x->at, x->n - x->at);
        if (x->at >= x->n)
            bad(x, "string without end");
        if (x->s[x->at] == '"')
            break;
        if (x->s[x->at] != '\\')
            bad(x, "control character");
        esc = true;
        x->at += 2;
        if (x->at > x->n)
            bad(x, "string without end");
    }
    if (esc)
        return escaped(x, from, x->at);
    return jstr_val(x->r, x->s + from, x->at++ - from, true);
}

static size_t digit_run(struct reader *x)
{
    size_t from = x->at;
    while (x->at < x->n && x->s[x->at] >= '0' && x->s[x->at] <= '9')
        x->at++;
    return x->at - from;
}

static struct jv number(struct reader *x)
{
    size_t from = x->at, n;
    bool is_float = false;
    char *text, *end;
    long long i;
    x->at += x->s[x->at] == '-';
    from = x->at;
    n = digit_run(x);
    if (n == 0 || (n > 1 && x->s[from] == '0'))
        bad(x, "bad number");
    from -= from > 0 && x->s[from - 1] == '-';
    if (x->at < x->n && x->s[x->at] == '.') {
        x->at++;
        is_float = true;
        if (!digit_run(x))
            bad(x, "bad number");
    }
    if (x->at < x->n && (x->s[x->at] == 'e' || x->s[x->at] == 'E')) {
        x->at++;
        x->at += x->at < x->n && (x->s[x->at] == '+' || x->s[x->at] == '-');
        is_float = true;
        if (!digit_run(x))
            bad(x, "bad number");
    }
    n = x->at - from;
    if (n > 4300) /* Python's own limit for integers */
        bad(x, "number too long");
    text = jalloc(x->r, n + 1);
    memcpy(text, x->s + from, n);
    if (is_float)
        return jv_float(strtod(text, NULL));
    errno = 0;
    i = strtoll(text, &end, 10);
    if (errno == 0)
        return jv_int(i);
    return (struct jv){.k = JV_BIG, .s = jstr_val(x->r, text, n, true).s};
}

static struct jv scalar(struct reader *x)
{
    static const char *const words[] = {"null", "true", "false"};
    if (x->at >= x->n)
        bad(x, "text ends");
    if (x->s[x->at] == '"')
        return string(x);
    if (x->s[x->at] == '-' || (x->s[x->at] >= '0' && x->s[x->at] <= '9'))
        return number(x);
    for (int i = 0; i < 3; i++) {
        size_t n = strlen(words[i]);
        if (x->n - x->at >= n && memcmp(x->s + x->at, words[i], n) == 0) {
            x->at += n;
            return i ? jv_bool(i == 1) : jv_none();
        }
    }
    bad(x, "unexpected character");
}

/* A role is a bare word of the protocol, not text of the caller's: templates make their markers of
 * it ('<|' + role + '|>'). Anything else under that name stays the caller's. */
static bool is_role(const struct jstr *key, struct jv v)
{
    if (!jstr_is(key, "role") || v.k != JV_STR || v.s->n > 32)
        return false;
    for (uint32_t i = 0; i < v.s->n; i++)
        if ((v.s->p[i] < 'a' || v.s->p[i] > 'z') && v.s->p[i] != '_')
            return false;
    return true;
}

/* "key" : */
static struct jv key(struct reader *x)
{
    struct jv k;
    space(x);
    if (x->at >= x->n || x->s[x->at] != '"')
        bad(x, "expected a key");
    k = string(x);
    space(x);
    if (x->at >= x->n || x->s[x->at] != ':')
        bad(x, "expected ':'");
    x->at++;
    return k;
}

/* After a value: ',' or the end of its container. True at the end. */
static bool closes(struct reader *x, char close)
{
    space(x);
    if (x->at >= x->n || (x->s[x->at] != ',' && x->s[x->at] != close))
        bad(x, "expected ',' or the end of a container");
    return x->s[x->at++] == close;
}

struct open {
    struct jv box, key;
};

/* One value that begins at x->at; a container is pushed instead (true). */
static bool begins_box(struct reader *x, struct jv *v)
{
    space(x);
    if (x->at < x->n && x->s[x->at] == '{')
        *v = (struct jv){.k = JV_DICT, .d = jdict_new(x->r, 0)};
    else if (x->at < x->n && x->s[x->at] == '[')
        *v = jv_list(jlist_new(x->r, 0), JV_LIST);
    else
        return false;
    x->at++;
    space(x);
    return true;
}

struct jv jparse_json(struct jrun *r, const char *s, size_t n)
{
    struct reader x = {.r = r, .s = s, .n = n};
    struct open stack[JSON_DEPTH];
    unsigned depth = 0;
    struct jv v = jv_none();
    if (utf8_valid_prefix(s, n) != n)
        bad(&x, "not valid UTF-8");
    for (;;) {
        bool box = begins_box(&x, &v);
        char close = v.k == JV_DICT ? '}' : ']';
        if (box && !(x.at < n && s[x.at] == close)) {
            if (depth == JSON_DEPTH)
                bad(&x, "nested too deeply");
            stack[depth].box = v;
            if (v.k == JV_DICT)
                stack[depth].key = key(&x);
            depth++;
            continue;
        }
        if (box)
            x.at++;
        else
            v = scalar(&x);
        for (; depth; v = stack[--depth].box) {
            struct open *o = &stack[depth - 1];
            bool dict = o->box.k == JV_DICT;
            if (dict && is_role(o->key.s, v))
                v = jstr_val(r, v.s->p, v.s->n, false);
            if (dict)
                jdict_set(r, o->box.d, o->key, v);
            else
                jlist_add(r, o->box.l, v);
            if (closes(&x, dict ? '}' : ']'))
                continue;
            if (dict)
                o->key = key(&x);
            break;
        }
        if (!depth)
            break;
    }
    space(&x);
    if (x.at != n)
        bad(&x, "text after the value");
    return v;
}
