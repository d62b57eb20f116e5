/* SPDX-License-Identifier: Apache-2.0 */
/* format.c - "..." % args and "...".format(): Python's two string formatters.
 *
 * Widths and precisions are bounded (FIELD_MAX), so a format cannot ask for more than the arena
 * gives.
 */
#include "format.h"

#include "call.h"
#include "operators.h"
#include "py.h"
#include "repr.h"
#include "str.h"
#include "utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { FIELD_MAX = 10000, PREC_MAX = 300 };

struct spec {
    char fill[5];
    char align; /* < > ^ = or 0 */
    char sign;  /* + - space or 0 */
    bool alt, zero, comma, has_prec;
    int width, prec;
    char type;
};

/* ---- one number as text ---- */

static void group_digits(char *s, size_t cap)
{
    char out[512];
    size_t n = strspn(s, "0123456789"), k = 0;
    if (strlen(s) + n / 3 + 1 > sizeof out)
        return;
    for (size_t i = 0; i < n; i++) {
        if (i && (n - i) % 3 == 0)
            out[k++] = ',';
        out[k++] = s[i];
    }
    snprintf(out + k, sizeof out - k, "%s", s + n);
    snprintf(s, cap, "%s", out);
}

static void digits_of(uint64_t v, unsigned base, bool upper, char *out)
{
    char tmp[72];
    int n = 0;
    do {
        unsigned d = (unsigned)(v % base);
        tmp[n++] = (char)(d < 10 ? '0' + d : (upper ? 'A' : 'a') + d - 10);
        v /= base;
    } while (v);
    for (int i = 0; i < n; i++)
        out[i] = tmp[n - 1 - i];
    out[n] = 0;
}

/* The magnitude of a float; the sign is the caller's. */
static void float_text(struct jrun *r, double f, const struct spec *s, char *out, size_t cap)
{
    char fmt[16];
    char type = (char)(s->type ? s->type : 'g');
    int prec = s->has_prec ? s->prec : 6;
    if (isnan(f) || isinf(f)) {
        snprintf(out, cap, "%s", isnan(f) ? "nan" : "inf");
        return;
    }
    if (!s->type && !s->has_prec) {
        struct jsb b;
        jsb_init(&b, r);
        jput_float(&b, f);
        snprintf(out, cap, "%.*s", (int)b.n, b.p);
        return;
    }
    snprintf(fmt, sizeof fmt, "%%%s.*%c", s->alt ? "#" : "", type == '%' ? 'f' : type);
    snprintf(out, cap, fmt, prec, type == '%' ? f * 100 : f);
    size_t n = strlen(out);
    if (type == '%' && n + 1 < cap)
        snprintf(out + n, cap - n, "%%");
    if (!s->type && !strpbrk(out, ".en") && n + 2 < cap)
        snprintf(out + n, cap - n, ".0");
}

static void pad(struct jsb *b, const struct spec *s, const char *sign, const struct jv body,
                char dflt)
{
    char align = (char)(s->align ? s->align : dflt);
    const char *fill = s->fill[0] ? s->fill : s->zero ? "0" : " ";
    int64_t have = (int64_t)strlen(sign) + jstr_chars(b->r, body.s);
    int64_t gap = s->width > have ? s->width - have : 0;
    int64_t before = align == '<' ? 0 : align == '^' ? gap / 2 : gap;
    if (align == '=')
        jsb_lit(b, sign);
    for (int64_t i = 0; i < before; i++)
        jsb_lit(b, fill);
    if (align != '=')
        jsb_lit(b, sign);
    jsb_str(b, body.s);
    for (int64_t i = before; i < gap; i++)
        jsb_lit(b, fill);
}

static const char *sign_text(bool negative, char sign)
{
    return negative ? "-" : sign == '+' ? "+" : sign == ' ' ? " " : "";
}

static void put_float(struct jsb *b, double f, const struct spec *s)
{
    char text[768], sign[4];
    float_text(b->r, fabs(f), s, text, sizeof text);
    if (s->comma)
        group_digits(text, sizeof text);
    snprintf(sign, sizeof sign, "%s", sign_text(signbit(f) && !isnan(f), s->sign));
    pad(b, s, sign, jstr_lit(b->r, text), '>');
}

static void put_int(struct jsb *b, int64_t i, const struct spec *s)
{
    char text[128], sign[8];
    uint64_t mag = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    unsigned base = s->type == 'x' || s->type == 'X' ? 16
                    : s->type == 'o'                 ? 8
                    : s->type == 'b'                 ? 2
                                                     : 10;
    digits_of(mag, base, s->type == 'X', text);
    if (s->comma && base == 10)
        group_digits(text, sizeof text);
    snprintf(sign, sizeof sign, "%s%s", sign_text(i < 0, s->sign),
             !s->alt || base == 10 ? ""
             : base == 8           ? "0o"
             : base == 2           ? "0b"
             : s->type == 'X'      ? "0X"
                                   : "0x");
    pad(b, s, sign, jstr_lit(b->r, text), '>');
}

static struct jv cut_chars(struct jrun *r, struct jv v, const struct spec *s)
{
    if (!s->has_prec || (int64_t)jstr_chars(r, v.s) <= s->prec)
        return v;
    return jstr_cut(r, v.s, 0, jstr_offset(v.s, (size_t)s->prec));
}

/* ---- "..." % args ---- */

struct percent {
    struct jrun *r;
    const struct jstr *f;
    size_t at;
    struct jv args;
    uint32_t next;
};

static struct jv next_arg(struct percent *p)
{
    if (p->args.k == JV_TUPLE) {
        if (p->next >= p->args.l->n)
            jfail(p->r, "not enough arguments for format string");
        return p->args.l->v[p->next++];
    }
    if (p->next++)
        jfail(p->r, "not enough arguments for format string");
    return p->args;
}

static char peek(const struct percent *p)
{
    if (p->at >= p->f->n)
        jfail(p->r, "incomplete format");
    return p->f->p[p->at];
}

static int count_of(struct percent *p, int max)
{
    int64_t v = 0;
    if (peek(p) == '*') {
        p->at++;
        v = jarg_int(p->r, next_arg(p), 0, "a field width");
    } else {
        while (peek(p) >= '0' && peek(p) <= '9' && v <= max)
            v = v * 10 + (p->f->p[p->at++] - '0');
    }
    if (v > max || v < -max)
        jfail(p->r, "a format's width or precision is too large");
    return (int)v;
}

static void percent_spec(struct percent *p, struct spec *s)
{
    for (char c; strchr("#0- +", c = peek(p)) && c; p->at++) {
        s->alt |= c == '#';
        s->zero |= c == '0';
        if (c == '-')
            s->align = '<';
        else if (c == '+' || (c == ' ' && !s->sign))
            s->sign = c;
    }
    s->width = count_of(p, FIELD_MAX);
    if (s->width < 0) {
        s->width = -s->width;
        s->align = '<';
    }
    if (peek(p) == '.') {
        p->at++;
        s->prec = count_of(p, PREC_MAX);
        s->prec = s->prec < 0 ? 0 : s->prec;
        s->has_prec = true;
    }
    while (strchr("hlL", peek(p)) && peek(p))
        p->at++;
    s->type = p->f->p[p->at++];
}

static int64_t whole(struct jrun *r, struct jv v, char type)
{
    int64_t i;
    if (v.k == JV_UNDEF)
        jfail_undef(r, v);
    if (v.k == JV_FLOAT && strchr("diu", type)) {
        if (!(fabs(v.f) < 9e18))
            jfail(r, "integer overflow");
        return (int64_t)v.f;
    }
    if (!jint_of(v, &i))
        jfail(r, "%%%c format: an integer is required, not %s", type, jkind_name(v));
    return i;
}

static void percent_text(struct jsb *b, struct jv v, struct spec *s)
{
    struct jsb t;
    jsb_init(&t, b->r);
    if (s->type == 's')
        jput_str(&t, v);
    else
        jput_repr(&t, v, 0);
    s->zero = false;
    pad(b, s, "", cut_chars(b->r, jsb_val(&t), s), '>');
}

static void percent_char(struct jsb *b, struct jv v, struct spec *s)
{
    struct jsb t;
    int64_t i;
    jsb_init(&t, b->r);
    if (v.k == JV_STR && jstr_chars(b->r, v.s) == 1)
        jsb_str(&t, v.s);
    else if (jint_of(v, &i) && i >= 0 && i < 0x110000 && (i < 0xD800 || i > 0xDFFF))
        jsb_char(&t, (uint32_t)i, false);
    else
        jfail(b->r, "%%c requires int or char");
    s->zero = false;
    pad(b, s, "", jsb_val(&t), '>');
}

static void percent_one(struct percent *p, struct jsb *b, struct jv v, struct spec *s)
{
    double f;
    switch (s->type) {
    case 's':
    case 'r':
    case 'a':
        percent_text(b, v, s);
        return;
    case 'c':
        percent_char(b, v, s);
        return;
    default:
        break;
    }
    if (s->zero && !s->align)
        s->align = '=';
    else
        s->zero = false;
    if (s->type && strchr("diuoxX", s->type)) {
        struct jsb t;
        if (v.k == JV_BIG && strchr("diu", s->type)) {
            jsb_init(&t, p->r);
            jsb_str(&t, v.s);
            pad(b, s, "", jsb_val(&t), '>');
            return;
        }
        put_int(b, whole(p->r, v, s->type), s);
        return;
    }
    if (!s->type || !strchr("eEfFgG", s->type))
        jfail(p->r, "unsupported format character");
    if (v.k == JV_UNDEF)
        jfail_undef(p->r, v);
    if (!jnumber(v, &f))
        jfail(p->r, "must be real number, not %s", jkind_name(v));
    if (!s->has_prec)
        s->prec = 6;
    s->has_prec = true;
    put_float(b, f, s);
}

/* %(key): the argument must be a dict. */
static struct jv keyed_arg(struct percent *p)
{
    size_t from = ++p->at;
    const struct jv *v;
    while (peek(p) != ')')
        p->at++;
    if (p->args.k != JV_DICT)
        jfail(p->r, "format requires a mapping");
    v = jdict_get(p->r, p->args.d, jstr_cut(p->r, p->f, from, p->at - from));
    if (!v)
        jfail(p->r, "format: no such key");
    p->at++;
    return *v;
}

struct jv jformat_percent(struct jrun *r, const struct jstr *f, struct jv args)
{
    struct percent p = {.r = r, .f = f, .args = args};
    struct jsb b;
    jsb_init(&b, r);
    while (p.at < f->n) {
        const char *q = memchr(f->p + p.at, '%', f->n - p.at);
        size_t to = q ? (size_t)(q - f->p) : f->n;
        struct spec s = {.fill = ""};
        struct jv v = {0};
        jsb_part(&b, f, p.at, to - p.at);
        p.at = to + 1;
        if (!q)
            break;
        jcharge(r, 1);
        if (peek(&p) == '(')
            v = keyed_arg(&p);
        percent_spec(&p, &s);
        if (s.type == '%') {
            jsb_lit(&b, "%");
            continue;
        }
        percent_one(&p, &b, v.k == JV_ABSENT ? next_arg(&p) : v, &s);
    }
    if ((args.k == JV_TUPLE && p.next < args.l->n) ||
        (args.k != JV_TUPLE && args.k != JV_DICT && args.k != JV_LIST && p.next == 0))
        jfail(r, "not all arguments converted during string formatting");
    return jsb_val(&b);
}

/* ---- "...".format(...) ---- */

static int64_t spec_number(struct jrun *r, const char **q, const char *end, int max)
{
    int64_t v = 0;
    while (*q < end && **q >= '0' && **q <= '9') {
        v = v * 10 + (*(*q)++ - '0');
        if (v > max)
            jfail(r, "a format's width or precision is too large");
    }
    return v;
}

static void brace_spec(struct jrun *r, const struct jstr *t, struct spec *s)
{
    const char *q = t->p, *end = q + t->n;
    unsigned k = t->n ? utf8_len((unsigned char)*q) : 0;
    if (k && q + k < end && strchr("<>=^", q[k])) {
        memcpy(s->fill, q, k);
        s->align = q[k];
        q += k + 1;
    } else if (q < end && *q && strchr("<>=^", *q)) {
        s->align = *q++;
    }
    if (q < end && *q && strchr("+- ", *q))
        s->sign = *q++;
    if (q < end && *q == '#') {
        s->alt = true;
        q++;
    }
    if (q < end && *q == '0') {
        s->zero = true;
        q++;
    }
    s->width = (int)spec_number(r, &q, end, FIELD_MAX);
    if (q < end && *q == ',') {
        s->comma = true;
        q++;
    }
    if (q < end && *q == '.') {
        q++;
        if (q == end || *q < '0' || *q > '9')
            jfail(r, "Format specifier missing precision");
        s->prec = (int)spec_number(r, &q, end, PREC_MAX);
        s->has_prec = true;
    }
    if (q < end)
        s->type = *q++;
    if (q != end)
        jfail(r, "Invalid format specifier");
}

static void brace_value(struct jsb *b, struct jv v, const struct jstr *spec)
{
    struct spec s = {.fill = ""};
    int64_t i;
    double f;
    if (spec->n == 0) {
        jput_str(b, v);
        return;
    }
    brace_spec(b->r, spec, &s);
    if (v.k == JV_STR && (!s.type || s.type == 's') && s.align != '=') {
        pad(b, &s, "", cut_chars(b->r, v, &s), '<');
        return;
    }
    if (s.zero && !s.align)
        s.align = '=';
    if (jint_of(v, &i) && (!s.type || strchr("dnboxX", s.type))) {
        put_int(b, i, &s);
        return;
    }
    if (jnumber(v, &f) && (!s.type || strchr("eEfFgG%", s.type))) {
        put_float(b, f, &s);
        return;
    }
    if (jint_of(v, &i) && s.type == 'c') {
        percent_char(b, v, &s);
        return;
    }
    jfail(b->r, "unsupported format string passed to %s.__format__", jkind_name(v));
}

struct brace {
    struct jrun *r;
    struct jcall *c;
    uint32_t automatic;
};

/* The field's first name: a number, nothing (the next one) or a keyword. */
static struct jv field_base(struct brace *x, const char *p, size_t n)
{
    uint64_t i = 0;
    if (n && (*p < '0' || *p > '9')) {
        for (uint32_t k = 0; k < x->c->n_kw; k++)
            if (x->c->kw[k].name->n == n && memcmp(x->c->kw[k].name->p, p, n) == 0)
                return x->c->kw[k].v;
        jfail(x->r, "format: no such key");
    }
    for (size_t k = 0; k < n; k++) {
        if (p[k] < '0' || p[k] > '9' || i > 100000)
            jfail(x->r, "format: bad field name");
        i = i * 10 + (unsigned)(p[k] - '0');
    }
    if (n == 0)
        i = x->automatic++;
    if (i >= x->c->n_pos)
        jfail(x->r, "Replacement index %llu out of range for positional args tuple",
              (unsigned long long)i);
    return x->c->pos[i];
}

/* name.attr[key] */
static struct jv field_value(struct brace *x, const char *p, const char *end)
{
    const char *q = p;
    struct jv v;
    while (q < end && *q != '.' && *q != '[')
        q++;
    v = field_base(x, p, (size_t)(q - p));
    while (q < end) {
        bool item = *q++ == '[';
        const char *from = q;
        char *num_end;
        char num[24];
        while (q < end && (item ? *q != ']' : *q != '.' && *q != '['))
            q++;
        if (q == from || (item && q == end))
            jfail(x->r, "format: bad field name");
        snprintf(num, sizeof num, "%.*s", (int)(q - from), from);
        if (item && num[0] >= '0' && num[0] <= '9' && strtol(num, &num_end, 10) >= 0 && !*num_end)
            v = jget_item(x->r, v, jv_int(strtol(num, NULL, 10)));
        else
            v = jget_attr(x->r, v, jstr_val(x->r, from, (size_t)(q - from), false).s);
        if (v.k == JV_UNDEF)
            jfail_undef(x->r, v);
        q += item;
    }
    return v;
}

static void brace_text(struct brace *x, struct jsb *b, const struct jstr *f, unsigned level);

/* One replacement field f[at..end), braces excluded. */
static void brace_field(struct brace *x, struct jsb *b, const struct jstr *f, size_t at, size_t end,
                        unsigned level)
{
    size_t q = at, name_end;
    char conv = 0;
    struct jv v;
    struct jsb spec;
    while (q < end && f->p[q] != '!' && f->p[q] != ':')
        q += f->p[q] == '[' && memchr(f->p + q, ']', end - q)
                 ? (size_t)((const char *)memchr(f->p + q, ']', end - q) - (f->p + q))
                 : 1;
    name_end = q;
    if (q < end && f->p[q] == '!') {
        conv = (char)(q + 1 < end ? f->p[q + 1] : 0);
        q += 2;
        if (!conv || !strchr("rsa", conv) || (q < end && f->p[q] != ':'))
            jfail(x->r, "format: bad conversion");
    }
    v = field_value(x, f->p + at, f->p + name_end);
    jsb_init(&spec, x->r);
    if (q < end)
        brace_text(x, &spec, jstr_cut(x->r, f, q + 1, end - q - 1).s, level + 1);
    if (conv == 's') {
        v = jstr_of(x->r, v);
    } else if (conv) {
        struct jsb t;
        jsb_init(&t, x->r);
        jput_repr(&t, v, 0);
        v = jsb_val(&t);
    }
    brace_value(b, v, jsb_val(&spec).s);
}

static void brace_text(struct brace *x, struct jsb *b, const struct jstr *f, unsigned level)
{
    if (level > 2)
        jfail(x->r, "Max string recursion exceeded");
    for (size_t i = 0; i < f->n; i++) {
        char c = f->p[i];
        size_t end = i + 1;
        unsigned depth = 1;
        jcharge(x->r, 1);
        if (c != '{' && c != '}') {
            jsb_part(b, f, i, 1);
            continue;
        }
        if (i + 1 < f->n && f->p[i + 1] == c && level == 0) {
            jsb_part(b, f, i++, 1);
            continue;
        }
        if (c == '}')
            jfail(x->r, "Single '}' encountered in format string");
        for (; end < f->n; end++) {
            depth += f->p[end] == '{';
            depth -= f->p[end] == '}';
            if (!depth)
                break;
        }
        if (end >= f->n)
            jfail(x->r, "expected '}' before end of string");
        brace_field(x, b, f, i + 1, end, level);
        i = end;
    }
}

struct jv jformat_braces(struct jrun *r, const struct jstr *f, struct jcall *c)
{
    struct brace x = {.r = r, .c = c};
    struct jsb b;
    jsb_init(&b, r);
    brace_text(&x, &b, f, 0);
    return jsb_val(&b);
}
