/* SPDX-License-Identifier: Apache-2.0 */
/* repr.c - str(), repr() and JSON of values, spelled as Python does.
 *
 * Containers that a template nests in a loop are followed to JINJA_MAX_NEST levels at most.
 */
#include "repr.h"

#include "case.h"
#include "py.h"
#include "utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* The shortest digits that read back as f. */
static void shortest(double f, char out[40])
{
    int p = fabs(f) < 1e-300 ? 1 : 15;
    for (; p < 17; p++) {
        snprintf(out, 40, "%.*e", p - 1, f);
        if (strtod(out, NULL) == f)
            return;
    }
    snprintf(out, 40, "%.16e", f);
}

void jput_float(struct jsb *b, double f)
{
    char e[40], d[24] = "0", out[48];
    int n = 0, exp, k = 0;
    if (isnan(f) || isinf(f)) {
        jsb_lit(b, isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return;
    }
    shortest(f, e);
    for (const char *q = e; *q && *q != 'e'; q++)
        if (*q >= '0' && *q <= '9')
            d[n++] = *q;
    exp = (int)strtol(strchr(e, 'e') + 1, NULL, 10);
    while (n > 1 && d[n - 1] == '0')
        n--;
    if (signbit(f))
        jsb_lit(b, "-");
    if (exp < -4 || exp >= 16) {
        out[k++] = d[0];
        if (n > 1)
            out[k++] = '.';
        for (int i = 1; i < n; i++)
            out[k++] = d[i];
        jsb_add(b, out, (size_t)k, false);
        jsb_fmt(b, "e%c%02d", exp < 0 ? '-' : '+', abs(exp));
        return;
    }
    if (exp < 0) {
        jsb_lit(b, "0.");
        for (int i = -1; i > exp; i--)
            jsb_lit(b, "0");
        jsb_add(b, d, (size_t)n, false);
        return;
    }
    for (int i = 0; i <= exp || i < n; i++) {
        if (i == exp + 1)
            out[k++] = '.';
        out[k++] = (char)(i < n ? d[i] : '0');
    }
    if (n <= exp + 1) {
        out[k++] = '.';
        out[k++] = '0';
    }
    jsb_add(b, out, (size_t)k, false);
}

/* One escaped code point of a repr; false when it stands for itself. */
static bool escape_repr(uint32_t c, char quote, char out[16])
{
    if (c == (uint32_t)quote || c == '\\')
        snprintf(out, 16, "\\%c", (char)c);
    else if (c == '\n' || c == '\r' || c == '\t')
        snprintf(out, 16, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
    else if (jchar_printable(c))
        return false;
    else if (c < 0x100)
        snprintf(out, 16, "\\x%02x", c);
    else
        snprintf(out, 16, c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
    return true;
}

static void put_escaped(struct jsb *b, const struct jstr *s, char quote,
                        bool (*esc)(uint32_t, char, char[16]))
{
    size_t from = 0, at = 0;
    unsigned k;
    char e[16];
    jcharge(b->r, s->n / 16);
    for (; at < s->n; at += k) {
        uint32_t c = utf8_get(s->p + at, &k);
        if (c >= 0x20 && c < 0x7F && c != '\\' && c != (uint32_t)quote)
            continue;
        if (!esc(c, quote, e))
            continue;
        jsb_part(b, s, from, at - from);
        jsb_add(b, e, strlen(e), jstr_tainted(s, at));
        from = at + k;
    }
    jsb_part(b, s, from, s->n - from);
}

static void repr_str(struct jsb *b, const struct jstr *s)
{
    char q[2] = "'";
    if (memchr(s->p, '\'', s->n) && !memchr(s->p, '"', s->n))
        q[0] = '"';
    jsb_lit(b, q);
    put_escaped(b, s, q[0], escape_repr);
    jsb_lit(b, q);
}

static void repr_items(struct jsb *b, const struct jlist *l, unsigned depth)
{
    for (uint32_t i = 0; i < l->n; i++) {
        if (i)
            jsb_lit(b, ", ");
        jput_repr(b, l->v[i], depth + 1);
    }
}

static void repr_list(struct jsb *b, struct jv v, unsigned depth)
{
    static const char *const view[] = {"dict_items([", "dict_keys([", "dict_values(["};
    jsb_lit(b, v.k == JV_TUPLE ? "(" : v.k == JV_VIEW ? view[v.sub] : "[");
    repr_items(b, v.l, depth);
    jsb_lit(b, v.k == JV_TUPLE ? (v.l->n == 1 ? ",)" : ")") : v.k == JV_VIEW ? "])" : "]");
}

static void repr_dict(struct jsb *b, struct jv v, unsigned depth)
{
    jsb_lit(b, v.k == JV_NS ? "<Namespace {" : "{");
    for (uint32_t i = 0; i < v.d->n; i++) {
        if (i)
            jsb_lit(b, ", ");
        jput_repr(b, v.d->v[i].key, depth + 1);
        jsb_lit(b, ": ");
        jput_repr(b, v.d->v[i].v, depth + 1);
    }
    jsb_lit(b, v.k == JV_NS ? "}>" : "}");
}

void jput_repr(struct jsb *b, struct jv v, unsigned depth)
{
    jcharge(b->r, 1);
    if (depth > JINJA_MAX_NEST)
        jfail(b->r, "a value nests too deeply");
    switch (v.k) {
    case JV_NONE:
        jsb_lit(b, "None");
        break;
    case JV_BOOL:
        jsb_lit(b, v.b ? "True" : "False");
        break;
    case JV_INT:
        jsb_fmt(b, "%lld", (long long)v.i);
        break;
    case JV_BIG:
        jsb_str(b, v.s);
        break;
    case JV_FLOAT:
        jput_float(b, v.f);
        break;
    case JV_STR:
        if (v.sub)
            jsb_lit(b, "Markup(");
        repr_str(b, v.s);
        if (v.sub)
            jsb_lit(b, ")");
        break;
    case JV_LIST:
    case JV_TUPLE:
    case JV_VIEW:
        repr_list(b, v, depth);
        break;
    case JV_RANGE:
        jsb_fmt(b, "range(%lld, %lld", (long long)v.l->r[0], (long long)v.l->r[1]);
        if (v.l->r[2] != 1)
            jsb_fmt(b, ", %lld", (long long)v.l->r[2]);
        jsb_lit(b, ")");
        break;
    case JV_DICT:
    case JV_NS:
        repr_dict(b, v, depth);
        break;
    case JV_UNDEF:
        jsb_lit(b, "Undefined");
        break;
    case JV_LOOP:
        jsb_fmt(b, "<LoopContext %u/%u>", v.loop->at + 1, v.loop->items->n);
        break;
    default:
        jsb_fmt(b, "<%s object>", jkind_name(v));
    }
}

void jput_str(struct jsb *b, struct jv v)
{
    if (v.k == JV_STR)
        jsb_str(b, v.s);
    else if (v.k != JV_UNDEF)
        jput_repr(b, v, 0);
}

struct jv jstr_of(struct jrun *r, struct jv v)
{
    struct jsb b;
    if (v.k == JV_STR)
        return v;
    jsb_init(&b, r);
    jput_str(&b, v);
    return jsb_val(&b);
}

/* ---- JSON ---- */

static bool escape_json(uint32_t c, char quote, char out[16])
{
    static const char short_form[] = "\bb\ff\nn\rr\tt\"\"\\\\";
    (void)quote;
    for (const char *q = short_form; *q; q += 2)
        if ((uint32_t)*q == c) {
            snprintf(out, 16, "\\%c", q[1]);
            return true;
        }
    if (c >= 0x20)
        return false;
    snprintf(out, 16, "\\u%04x", c);
    return true;
}

static bool escape_json_ascii(uint32_t c, char quote, char out[16])
{
    if (c < 0x7F)
        return escape_json(c, quote, out);
    if (c == 0x7F)
        return false;
    if (c < 0x10000)
        snprintf(out, 16, "\\u%04x", c);
    else
        snprintf(out, 16, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10),
                 0xDC00 + ((c - 0x10000) & 0x3FF));
    return true;
}

static void json_str(struct jsb *b, const struct jstr *s, const struct jjson *o)
{
    jsb_lit(b, "\"");
    put_escaped(b, s, '"', o->ascii ? escape_json_ascii : escape_json);
    jsb_lit(b, "\"");
}

static void json_break(struct jsb *b, const struct jjson *o, unsigned depth)
{
    if (o->indent < 0)
        return;
    jsb_lit(b, "\n");
    for (unsigned i = 0; i < depth; i++) {
        if (o->indent_text)
            jsb_str(b, o->indent_text);
        for (int k = 0; !o->indent_text && k < o->indent; k++)
            jsb_lit(b, " ");
    }
}

static void json_key(struct jsb *b, struct jv k, const struct jjson *o)
{
    if (k.k == JV_STR) {
        json_str(b, k.s, o);
        return;
    }
    if (k.k != JV_NONE && k.k != JV_BOOL && k.k != JV_INT && k.k != JV_FLOAT && k.k != JV_BIG)
        jfail(b->r, "keys must be str, int, float, bool or None, not %s", jkind_name(k));
    jsb_lit(b, "\"");
    jput_json(b, k, o, 0);
    jsb_lit(b, "\"");
}

static const struct jpair *sorted(struct jrun *r, const struct jdict *d)
{
    struct jpair *v = jalloc2(r, d->n, sizeof *v);
    for (uint32_t i = 0; i < d->n; i++) {
        uint32_t k = i;
        for (; k > 0 && jcompare(r, d->v[i].key, v[k - 1].key, "<") < 0; k--)
            v[k] = v[k - 1];
        v[k] = d->v[i];
    }
    return v;
}

static void json_dict(struct jsb *b, const struct jdict *d, const struct jjson *o, unsigned depth)
{
    const struct jpair *v = o->sort && d->n ? sorted(b->r, d) : d->v;
    jsb_lit(b, "{");
    for (uint32_t i = 0; i < d->n; i++) {
        if (i)
            jsb_str(b, o->item_sep);
        json_break(b, o, depth + 1);
        json_key(b, v[i].key, o);
        jsb_str(b, o->key_sep);
        jput_json(b, v[i].v, o, depth + 1);
    }
    if (d->n)
        json_break(b, o, depth);
    jsb_lit(b, "}");
}

static void json_list(struct jsb *b, const struct jlist *l, const struct jjson *o, unsigned depth)
{
    jsb_lit(b, "[");
    for (uint32_t i = 0; i < l->n; i++) {
        if (i)
            jsb_str(b, o->item_sep);
        json_break(b, o, depth + 1);
        jput_json(b, l->v[i], o, depth + 1);
    }
    if (l->n)
        json_break(b, o, depth);
    jsb_lit(b, "]");
}

void jput_json(struct jsb *b, struct jv v, const struct jjson *o, unsigned depth)
{
    jcharge(b->r, 1);
    if (depth > JINJA_MAX_NEST)
        jfail(b->r, "a value nests too deeply");
    switch (v.k) {
    case JV_NONE:
        jsb_lit(b, "null");
        break;
    case JV_BOOL:
        jsb_lit(b, v.b ? "true" : "false");
        break;
    case JV_FLOAT:
        if (isnan(v.f) || isinf(v.f))
            jsb_lit(b, isnan(v.f) ? "NaN" : v.f < 0 ? "-Infinity" : "Infinity");
        else
            jput_float(b, v.f);
        break;
    case JV_INT:
    case JV_BIG:
        jput_repr(b, v, 0);
        break;
    case JV_STR:
        json_str(b, v.s, o);
        break;
    case JV_LIST:
    case JV_TUPLE:
        json_list(b, v.l, o, depth);
        break;
    case JV_DICT:
        json_dict(b, v.d, o, depth);
        break;
    default:
        jfail(b->r, "Object of type %s is not JSON serializable", jkind_name(v));
    }
}
