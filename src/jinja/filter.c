/* SPDX-License-Identifier: Apache-2.0 */
/* filter.c - filters on texts and numbers, and the table of all filters.
 *
 * Names, parameters and results are Jinja 3.1's (tojson: transformers'). A few filters exist only
 * to be refused by name. Filters on sequences are in filter_seq.c.
 */
#include "filter.h"

#include "call.h"
#include "case.h"
#include "format.h"
#include "method.h"
#include "operators.h"
#include "py.h"
#include "repr.h"
#include "str.h"
#include "utf8.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <utf8proc.h>

#define FILTER(name)                                                                               \
    static struct jv f_##name(struct jrun *r __attribute__((unused)),                              \
                              struct jv v __attribute__((unused)),                                 \
                              struct jcall *c __attribute__((unused)))

/* ---- any value ---- */

FILTER(default)
{
    static const char *const names[] = {"default_value", "boolean", NULL};
    struct jv a[2];
    jbind(r, c, "default", names, a);
    if (v.k == JV_UNDEF || (jarg_bool(a[1], false) && !jtruth(v)))
        return a[0].k == JV_ABSENT ? jstr_lit(r, "") : a[0];
    return v;
}
FILTER(string)
{
    jno_args(r, c, "the filter");
    return jstr_of(r, v);
}
FILTER(length)
{
    int64_t n = jlength(r, v);
    jno_args(r, c, "the filter");
    if (n < 0)
        jfail(r, "object of type '%s' has no len()", jkind_name(v));
    return jv_int(n);
}
FILTER(attr)
{
    static const char *const names[] = {"name", NULL};
    struct jv a[1];
    jbind(r, c, "attr", names, a);
    return jget_own_attr(r, v, jarg_str(r, a[0], "the attribute's name"));
}

/* What json.dumps calls indent and separators. */
static void json_layout(struct jrun *r, struct jv indent, struct jv separators, struct jjson *o)
{
    int64_t width;
    const struct jlist *l;
    o->indent = -1;
    if (indent.k == JV_STR) {
        o->indent_text = indent.s;
        o->indent = 0;
    } else if (indent.k != JV_ABSENT && indent.k != JV_NONE) {
        width = jarg_int(r, indent, 0, "indent");
        if (width > 100)
            jfail(r, "tojson: indent is too large");
        o->indent = width < 0 ? 0 : (int)width;
    }
    if (separators.k == JV_ABSENT || separators.k == JV_NONE) {
        o->item_sep = jstr_lit(r, o->indent < 0 ? ", " : ",").s;
        o->key_sep = jstr_lit(r, ": ").s;
        return;
    }
    if (!jis_seq(separators) || separators.l->n != 2)
        jfail(r, "tojson: separators must be a pair");
    l = separators.l;
    o->item_sep = jarg_str(r, l->v[0], "a separator");
    o->key_sep = jarg_str(r, l->v[1], "a separator");
}
FILTER(tojson)
{
    static const char *const names[] = {"ensure_ascii", "indent", "separators", "sort_keys", NULL};
    struct jv a[4];
    struct jjson o = {0};
    struct jsb b;
    jbind(r, c, "tojson", names, a);
    json_layout(r, a[1], a[2], &o);
    o.ascii = jarg_bool(a[0], false);
    o.sort = jarg_bool(a[3], false);
    jsb_init(&b, r);
    jput_json(&b, v, &o, 0);
    return jsb_val(&b);
}

/* ---- texts ---- */

#define CASE(name, how)                                                                            \
    FILTER(name)                                                                                   \
    {                                                                                              \
        jno_args(r, c, "the filter");                                                              \
        return jstr_case(r, jstr_of(r, v).s, how);                                                 \
    }
CASE(upper, CASE_UPPER)
CASE(lower, CASE_LOWER)
CASE(capitalize, CASE_CAPITAL)

static bool word_ends(uint32_t u)
{
    return jchar_space(u) || (u < 0x80 && strchr("-({[<", (int)u));
}

/* Not str.title(): words end at spaces and - ( { [ < alone. */
FILTER(title)
{
    const struct jstr *s = jstr_of(r, v).s;
    struct jsb b;
    unsigned k;
    jno_args(r, c, "the filter");
    jsb_init(&b, r);
    for (size_t at = 0, end; at < s->n; at = end) {
        uint32_t u = utf8_get(s->p + at, &k);
        end = at + k;
        if (word_ends(u)) {
            jsb_part(&b, s, at, k);
            continue;
        }
        jsb_str(&b, jstr_case(r, jstr_cut(r, s, at, k).s, CASE_UPPER).s);
        for (at = end; end < s->n; end += k) {
            u = utf8_get(s->p + end, &k);
            if (word_ends(u))
                break;
        }
        jsb_str(&b, jstr_case(r, jstr_cut(r, s, at, end - at).s, CASE_LOWER).s);
    }
    return jsb_val(&b);
}
FILTER(trim)
{
    static const char *const names[] = {"chars", NULL};
    struct jv a[1];
    jbind(r, c, "trim", names, a);
    if (a[0].k == JV_ABSENT || a[0].k == JV_NONE)
        return jstr_strip(r, jstr_of(r, v).s, NULL, 3);
    return jstr_strip(r, jstr_of(r, v).s, jarg_str(r, a[0], "chars"), 3);
}
FILTER(replace)
{
    static const char *const names[] = {"old", "new", "count", NULL};
    struct jv a[3];
    jbind(r, c, "replace", names, a);
    if (a[0].k == JV_ABSENT || a[1].k == JV_ABSENT)
        jfail(r, "replace() needs two arguments");
    if (a[2].k == JV_NONE)
        a[2].k = JV_ABSENT;
    return jstr_replace(r, jstr_of(r, v).s, jstr_of(r, a[0]).s, jstr_of(r, a[1]).s,
                        jarg_int(r, a[2], -1, "count"));
}
FILTER(center)
{
    static const char *const names[] = {"width", NULL};
    struct jv a[1];
    jbind(r, c, "center", names, a);
    return jstr_pad(r, jstr_of(r, v).s, jarg_int(r, a[0], 80, "width"), jstr_lit(r, " ").s, '^');
}
FILTER(indent)
{
    static const char *const names[] = {"width", "first", "blank", NULL};
    struct jv a[3], lines;
    const struct jstr *by;
    struct jcall none = {0};
    bool mutates, blank;
    struct jsb b;
    jbind(r, c, "indent", names, a);
    blank = jarg_bool(a[2], false);
    by = a[0].k == JV_STR ? a[0].s
                          : jstr_pad(r, jstr_lit(r, "").s, jarg_int(r, a[0], 4, "width"),
                                     jstr_lit(r, " ").s, '<')
                                .s;
    v = jstr_cat(r, (const struct jstr *[]){jarg_str(r, v, "the text"), jstr_lit(r, "\n").s}, 2);
    lines = jmethod_find(v, jstr_lit(r, "splitlines").s, &mutates)->fn(r, v, &none);
    jsb_init(&b, r);
    if (jarg_bool(a[1], false))
        jsb_str(&b, by);
    for (uint32_t i = 0; i < lines.l->n; i++) {
        if (i)
            jsb_lit(&b, "\n");
        if (i && (blank || lines.l->v[i].s->n))
            jsb_str(&b, by);
        jsb_str(&b, lines.l->v[i].s);
    }
    return jsb_val(&b);
}
FILTER(truncate)
{
    static const char *const names[] = {"length", "killwords", "end", "leeway", NULL};
    struct jv a[4];
    const struct jstr *s = jarg_str(r, v, "the text"), *end, *cut, *space = jstr_lit(r, " ").s;
    int64_t length, leeway, n = jstr_chars(r, s), n_end;
    jbind(r, c, "truncate", names, a);
    length = jarg_int(r, a[0], 255, "length");
    end = a[2].k == JV_ABSENT ? jstr_lit(r, "...").s : jarg_str(r, a[2], "end");
    leeway = a[3].k == JV_NONE ? 5 : jarg_int(r, a[3], 5, "leeway");
    n_end = jstr_chars(r, end);
    if (length < n_end || leeway < 0)
        jfail(r, "truncate: expected length >= %lld and leeway >= 0", (long long)n_end);
    if (length > n || n <= length + leeway) /* the first test only against overflow */
        return v;
    cut = jstr_cut(r, s, 0, jstr_offset(s, (size_t)(length - n_end))).s;
    if (!jarg_bool(a[1], false)) {
        size_t at = jstr_rfind(r, cut, space, cut->n);
        cut = at == SIZE_MAX ? cut : jstr_cut(r, cut, 0, at).s;
    }
    return jstr_cat(r, (const struct jstr *[]){cut, end}, 2);
}
FILTER(wordcount)
{
    const struct jstr *s = jstr_of(r, v).s;
    int64_t n = 0;
    bool in = false;
    unsigned k;
    jno_args(r, c, "the filter");
    jcharge(r, s->n / 8);
    for (size_t at = 0; at < s->n; at += k) {
        uint32_t u = utf8_get(s->p + at, &k);
        utf8proc_category_t cat = utf8proc_category((utf8proc_int32_t)u);
        bool word = u == '_' || (cat >= UTF8PROC_CATEGORY_LU && cat <= UTF8PROC_CATEGORY_LO) ||
                    (cat >= UTF8PROC_CATEGORY_ND && cat <= UTF8PROC_CATEGORY_NO);
        n += word && !in;
        in = word;
    }
    return jv_int(n);
}
FILTER(format)
{
    struct jv args;
    if (c->n_pos && c->n_kw)
        jfail(r, "can't handle positional and keyword arguments at the same time");
    if (c->n_kw) {
        args = (struct jv){.k = JV_DICT, .d = jdict_new(r, c->n_kw)};
        for (uint32_t i = 0; i < c->n_kw; i++)
            jdict_set(r, args.d, jv_str(c->kw[i].name), c->kw[i].v);
    } else {
        args = jv_list(jlist_new(r, c->n_pos), JV_TUPLE);
        for (uint32_t i = 0; i < c->n_pos; i++)
            jlist_add(r, args.l, c->pos[i]);
    }
    return jformat_percent(r, jstr_of(r, v).s, args);
}

static struct jv escaped(struct jrun *r, const struct jstr *s)
{
    static const char from[] = "&<>'\"";
    static const char *const to[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    struct jsb b;
    struct jv out;
    size_t done = 0;
    jsb_init(&b, r);
    jcharge(r, s->n / 16);
    for (size_t i = 0; i < s->n; i++) {
        const char *q = s->p[i] ? strchr(from, s->p[i]) : NULL;
        if (!q)
            continue;
        jsb_part(&b, s, done, i - done);
        jsb_add(&b, to[q - from], strlen(to[q - from]), jstr_tainted(s, i));
        done = i + 1;
    }
    jsb_part(&b, s, done, s->n - done);
    out = jsb_val(&b);
    out.sub = 1;
    return out;
}
FILTER(forceescape)
{
    jno_args(r, c, "the filter");
    return escaped(r, jstr_of(r, v).s);
}
FILTER(escape)
{
    jno_args(r, c, "the filter");
    return v.k == JV_STR && v.sub ? v : escaped(r, jstr_of(r, v).s);
}
FILTER(safe)
{
    jno_args(r, c, "the filter");
    v = jstr_of(r, v);
    v.sub = 1;
    return v;
}
FILTER(urlencode)
{
    const struct jstr *s;
    struct jsb b;
    char hex[4];
    jno_args(r, c, "the filter");
    if (v.k == JV_DICT || jis_seq(v))
        jfail(r, "urlencode of a %s is not supported", jkind_name(v));
    s = jstr_of(r, v).s;
    jsb_init(&b, r);
    for (size_t i = 0; i < s->n; i++) {
        unsigned char u = (unsigned char)s->p[i];
        jcharge(r, 1);
        if (((u | 32) >= 'a' && (u | 32) <= 'z') || (u >= '0' && u <= '9') ||
            (u && strchr("_.-~/", u))) {
            jsb_part(&b, s, i, 1);
            continue;
        }
        snprintf(hex, sizeof hex, "%%%02X", u);
        jsb_add(&b, hex, 3, jstr_tainted(s, i));
    }
    return jsb_val(&b);
}

/* ---- numbers ---- */

FILTER(abs)
{
    jno_args(r, c, "the filter");
    if (v.k == JV_FLOAT)
        return jv_float(fabs(v.f));
    if (v.k == JV_UNDEF)
        jfail_undef(r, v);
    if (v.k != JV_INT && v.k != JV_BOOL)
        jfail(r, "bad operand type for abs(): '%s'", jkind_name(v));
    return v.k == JV_INT && v.i < 0 ? jneg(r, v) : jv_int(v.k == JV_INT ? v.i : v.b);
}

/* The number that the whole of a text is, as Python's float() reads it. */
static bool text_float(struct jrun *r, const struct jstr *s, double *f)
{
    char text[128], *end;
    s = jstr_strip(r, s, NULL, 3).s;
    if (!s->n || s->n >= sizeof text || memchr(s->p, 0, s->n) || memchr(s->p, 'x', s->n) ||
        memchr(s->p, 'X', s->n) || memchr(s->p, '(', s->n))
        return false;
    memcpy(text, s->p, s->n);
    text[s->n] = 0;
    *f = strtod(text, &end);
    return *end == 0;
}

static bool text_int(struct jrun *r, const struct jstr *s, int64_t base, int64_t *i)
{
    char text[96], *end;
    size_t sign;
    s = jstr_strip(r, s, NULL, 3).s;
    if (!s->n || s->n >= sizeof text || memchr(s->p, 0, s->n) || base < 2 || base > 36)
        return false;
    memcpy(text, s->p, s->n);
    text[s->n] = 0;
    sign = text[0] == '-' || text[0] == '+';
    if ((base == 2 || base == 8) && text[sign] == '0' && text[sign + 1] == (base == 2 ? 'b' : 'o'))
        memmove(text + sign, text + sign + 2, s->n - sign - 1);
    errno = 0;
    *i = strtoll(text, &end, (int)base);
    return errno == 0 && *end == 0 && end != text;
}

static bool whole(double f, int64_t *i)
{
    if (!(f > -9.2e18 && f < 9.2e18))
        return false;
    *i = (int64_t)f;
    return true;
}

FILTER(int)
{
    static const char *const names[] = {"default", "base", NULL};
    struct jv a[2];
    int64_t i, base;
    double f;
    jbind(r, c, "int", names, a);
    base = jarg_int(r, a[1], 10, "base");
    if (v.k == JV_UNDEF)
        jfail_undef(r, v);
    if (v.k == JV_BIG)
        return v;
    if (v.k == JV_STR && text_int(r, v.s, base, &i))
        return jv_int(i);
    if (jint_of(v, &i))
        return jv_int(i);
    if ((jnumber(v, &f) || (v.k == JV_STR && text_float(r, v.s, &f))) && whole(f, &i))
        return jv_int(i);
    return a[0].k == JV_ABSENT ? jv_int(0) : a[0];
}
FILTER(float)
{
    static const char *const names[] = {"default", NULL};
    struct jv a[1];
    double f;
    jbind(r, c, "float", names, a);
    if (v.k == JV_UNDEF)
        jfail_undef(r, v);
    if (jnumber(v, &f) || ((v.k == JV_STR || v.k == JV_BIG) && text_float(r, v.s, &f)))
        return jv_float(f);
    return a[0].k == JV_ABSENT ? jv_float(0) : a[0];
}

static double round_half_even(double f, int64_t places)
{
    char text[400];
    double p;
    if (isnan(f) || isinf(f) || places > 300)
        return f;
    if (places >= 0) {
        snprintf(text, sizeof text, "%.*f", places > 60 ? 60 : (int)places, f);
        return strtod(text, NULL);
    }
    if (places < -308)
        return copysign(0, f);
    p = pow(10, (double)-places);
    return nearbyint(f / p) * p;
}
FILTER(round)
{
    static const char *const names[] = {"precision", "method", NULL};
    struct jv a[2];
    int64_t places, i;
    double f, p;
    const struct jstr *how;
    jbind(r, c, "round", names, a);
    places = jarg_int(r, a[0], 0, "precision");
    how = a[1].k == JV_ABSENT ? jstr_lit(r, "common").s : jarg_str(r, a[1], "method");
    if (v.k == JV_UNDEF)
        jfail_undef(r, v);
    if (!jnumber(v, &f))
        jfail(r, "type %s doesn't define __round__ method", jkind_name(v));
    if (jstr_is(how, "common")) {
        if (!jint_of(v, &i))
            return jv_float(round_half_even(f, places));
        if (places < 0 && !whole(round_half_even(f, places), &i))
            jfail(r, "integer overflow");
        return jv_int(i);
    }
    if (!jstr_is(how, "ceil") && !jstr_is(how, "floor"))
        jfail(r, "method must be common, ceil or floor");
    p = pow(10, places > 300 ? 300 : places < -300 ? -300 : (double)places);
    return jv_float((how->p[0] == 'c' ? ceil(f * p) : floor(f * p)) / p);
}

/* ---- the table ---- */

FILTER(refused)
{
    jfail(r, "this filter is not supported");
}

static const struct jfilter filters[] = {{"default", f_default},
                                         {"d", f_default},
                                         {"string", f_string},
                                         {"length", f_length},
                                         {"count", f_length},
                                         {"attr", f_attr},
                                         {"tojson", f_tojson},
                                         {"upper", f_upper},
                                         {"lower", f_lower},
                                         {"capitalize", f_capitalize},
                                         {"title", f_title},
                                         {"trim", f_trim},
                                         {"replace", f_replace},
                                         {"center", f_center},
                                         {"indent", f_indent},
                                         {"truncate", f_truncate},
                                         {"wordcount", f_wordcount},
                                         {"format", f_format},
                                         {"escape", f_escape},
                                         {"e", f_escape},
                                         {"forceescape", f_forceescape},
                                         {"safe", f_safe},
                                         {"urlencode", f_urlencode},
                                         {"abs", f_abs},
                                         {"int", f_int},
                                         {"float", f_float},
                                         {"round", f_round},
                                         {"random", f_refused},
                                         {"urlize", f_refused},
                                         {"xmlattr", f_refused},
                                         {"pprint", f_refused},
                                         {"striptags", f_refused},
                                         {"filesizeformat", f_refused},
                                         {"wordwrap", f_refused},
                                         {NULL, NULL}};

static const struct jfilter *find_in(const struct jfilter *f, const char *p, size_t n)
{
    for (; f->name; f++)
        if (strlen(f->name) == n && memcmp(f->name, p, n) == 0)
            return f;
    return NULL;
}

const struct jfilter *jfilter_find(const char *p, size_t n)
{
    const struct jfilter *f = find_in(filters, p, n);
    return f ? f : find_in(jfilters_seq, p, n);
}
