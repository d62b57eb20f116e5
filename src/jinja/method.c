/* SPDX-License-Identifier: Apache-2.0 */
/* method.c - methods of strings that templates may call, with Python's names and results.
 *
 * A few names exist (so `is defined` agrees) but cannot be called here (fn NULL).
 */
#include "method.h"

#include "call.h"
#include "case.h"
#include "format.h"
#include "operators.h"
#include "py.h"
#include "str.h"
#include "utf8.h"

#include <utf8proc.h>

#define METHOD(name)                                                                               \
    static struct jv m_##name(struct jrun *r __attribute__((unused)),                              \
                              struct jv self __attribute__((unused)),                              \
                              struct jcall *c __attribute__((unused)))

/* ---- cutting ---- */

static struct jv strip(struct jrun *r, struct jv self, struct jcall *c, int side)
{
    static const char *const names[] = {"chars", NULL};
    struct jv a[1];
    jbind(r, c, "strip", names, a);
    if (a[0].k == JV_ABSENT || a[0].k == JV_NONE)
        return jstr_strip(r, self.s, NULL, side);
    return jstr_strip(r, self.s, jarg_str(r, a[0], "strip()'s argument"), side);
}
METHOD(strip)
{
    return strip(r, self, c, 3);
}
METHOD(lstrip)
{
    return strip(r, self, c, 1);
}
METHOD(rstrip)
{
    return strip(r, self, c, 2);
}

static struct jv reversed(struct jlist *l)
{
    for (uint32_t i = 0; i < l->n / 2; i++) {
        struct jv t = l->v[i];
        l->v[i] = l->v[l->n - 1 - i];
        l->v[l->n - 1 - i] = t;
    }
    return jv_list(l, JV_LIST);
}

static struct jv split_space(struct jrun *r, const struct jstr *s, int64_t max, bool right)
{
    struct jlist *l = jlist_new(r, 0);
    size_t b = 0, e = s->n;
    unsigned k;
    jcharge(r, s->n / 16);
    for (;;) {
        size_t from, to;
        while (b < e && jchar_space(utf8_get(s->p + b, &k)))
            b += k;
        while (e > b && jchar_space(utf8_before(s->p + e, &k)))
            e -= k;
        if (b == e)
            break;
        from = b;
        to = e;
        if (max-- == 0) { /* the rest keeps its inner spaces; the far side keeps its outer ones */
            jlist_add(r, l, right ? jstr_cut(r, s, 0, e) : jstr_cut(r, s, b, s->n - b));
            break;
        }
        if (right) {
            while (from < to && !jchar_space(utf8_before(s->p + to, &k)))
                to -= k;
            jlist_add(r, l, jstr_cut(r, s, to, e - to));
            e = to;
        } else {
            while (from < to && !jchar_space(utf8_get(s->p + from, &k)))
                from += k;
            jlist_add(r, l, jstr_cut(r, s, b, from - b));
            b = from;
        }
    }
    return right ? reversed(l) : jv_list(l, JV_LIST);
}

static struct jv split_on(struct jrun *r, const struct jstr *s, const struct jstr *sep, int64_t max,
                          bool right)
{
    struct jlist *l = jlist_new(r, 0);
    size_t b = 0, e = s->n, at;
    if (sep->n == 0)
        jfail(r, "empty separator");
    while (max-- != 0) {
        at = right ? jstr_rfind(r, s, sep, e) : jstr_find(r, s, sep, b);
        if (at == SIZE_MAX)
            break;
        if (right) {
            jlist_add(r, l, jstr_cut(r, s, at + sep->n, e - at - sep->n));
            e = at;
        } else {
            jlist_add(r, l, jstr_cut(r, s, b, at - b));
            b = at + sep->n;
        }
    }
    jlist_add(r, l, jstr_cut(r, s, b, e - b));
    return right ? reversed(l) : jv_list(l, JV_LIST);
}

static struct jv split(struct jrun *r, struct jv self, struct jcall *c, bool right)
{
    static const char *const names[] = {"sep", "maxsplit", NULL};
    struct jv a[2];
    int64_t max;
    jbind(r, c, "split", names, a);
    max = jarg_int(r, a[1], -1, "maxsplit");
    if (a[0].k == JV_ABSENT || a[0].k == JV_NONE)
        return split_space(r, self.s, max, right);
    return split_on(r, self.s, jarg_str(r, a[0], "the separator"), max, right);
}
METHOD(split)
{
    return split(r, self, c, false);
}
METHOD(rsplit)
{
    return split(r, self, c, true);
}

/* Length of the line break at p (Python's str.splitlines), 0 when there is none. */
static size_t line_break(const struct jstr *s, size_t at)
{
    unsigned k;
    uint32_t u = utf8_get(s->p + at, &k);
    if (u == '\r' && at + 1 < s->n && s->p[at + 1] == '\n')
        return 2;
    return (u >= 10 && u <= 13) || (u >= 0x1C && u <= 0x1E) || u == 0x85 || u == 0x2028 ||
                   u == 0x2029
               ? k
               : 0;
}

METHOD(splitlines)
{
    static const char *const names[] = {"keepends", NULL};
    struct jv a[1];
    struct jlist *l = jlist_new(r, 0);
    size_t from = 0, at = 0;
    jbind(r, c, "splitlines", names, a);
    jcharge(r, self.s->n / 16);
    while (at < self.s->n) {
        size_t w = line_break(self.s, at);
        if (!w) {
            at += utf8_len((unsigned char)self.s->p[at]);
            continue;
        }
        jlist_add(r, l, jstr_cut(r, self.s, from, at - from + (jarg_bool(a[0], false) ? w : 0)));
        from = at += w;
    }
    if (from < self.s->n)
        jlist_add(r, l, jstr_cut(r, self.s, from, self.s->n - from));
    return jv_list(l, JV_LIST);
}

static struct jv partition(struct jrun *r, struct jv self, struct jcall *c, bool right)
{
    const struct jstr *s = self.s, *sep;
    struct jlist *l = jlist_new(r, 3);
    size_t at;
    if (c->n_pos != 1 || c->n_kw)
        jfail(r, "partition() takes one argument");
    sep = jarg_str(r, c->pos[0], "the separator");
    if (!sep->n)
        jfail(r, "empty separator");
    at = right ? jstr_rfind(r, s, sep, s->n) : jstr_find(r, s, sep, 0);
    if (at == SIZE_MAX) {
        jlist_add(r, l, right ? jstr_lit(r, "") : self);
        jlist_add(r, l, jstr_lit(r, ""));
        jlist_add(r, l, right ? self : jstr_lit(r, ""));
    } else {
        jlist_add(r, l, jstr_cut(r, s, 0, at));
        jlist_add(r, l, jstr_cut(r, s, at, sep->n));
        jlist_add(r, l, jstr_cut(r, s, at + sep->n, s->n - at - sep->n));
    }
    return jv_list(l, JV_TUPLE);
}
METHOD(partition)
{
    return partition(r, self, c, false);
}
METHOD(rpartition)
{
    return partition(r, self, c, true);
}

static bool begins(const struct jstr *s, const struct jstr *p, bool end)
{
    return p->n <= s->n && memcmp(s->p + (end ? s->n - p->n : 0), p->p, p->n) == 0;
}
METHOD(removeprefix)
{
    const struct jstr *p = jarg_str(r, c->n_pos == 1 ? c->pos[0] : (struct jv){0}, "the prefix");
    return begins(self.s, p, false) ? jstr_cut(r, self.s, p->n, self.s->n - p->n) : self;
}
METHOD(removesuffix)
{
    const struct jstr *p = jarg_str(r, c->n_pos == 1 ? c->pos[0] : (struct jv){0}, "the suffix");
    return begins(self.s, p, true) ? jstr_cut(r, self.s, 0, self.s->n - p->n) : self;
}

/* ---- searching ---- */

/* Arguments sub[, start[, end]] in code points: the part of self they mean. */
static struct jv window(struct jrun *r, struct jv self, struct jcall *c, int64_t *start)
{
    struct jv part[3] = {{0}, {0}, {0}};
    int64_t n = jstr_chars(r, self.s);
    *start = 0;
    if (c->n_kw || c->n_pos < 1 || c->n_pos > 3)
        jfail(r, "the method takes one to three arguments");
    if (c->n_pos == 1)
        return self;
    part[0] = c->pos[1];
    if (c->n_pos == 3)
        part[1] = c->pos[2];
    if (!jint_of(part[0], start))
        *start = 0;
    if (*start > n) { /* not even the empty string is there */
        *start = -1;
        return jstr_lit(r, "");
    }
    if (*start < 0)
        *start = *start + n < 0 ? 0 : *start + n;
    return jslice(r, self, part);
}

static bool edge(struct jrun *r, struct jv self, struct jcall *c, bool end)
{
    int64_t start;
    struct jv w = window(r, self, c, &start), what = c->pos[0];
    if (what.k == JV_TUPLE) {
        for (uint32_t i = 0; i < what.l->n; i++)
            if (begins(w.s, jarg_str(r, what.l->v[i], "each prefix"), end) && start >= 0)
                return true;
        return false;
    }
    if (what.k == JV_UNDEF)
        jfail_undef(r, what);
    if (what.k != JV_STR)
        jfail(r, "%s first arg must be str or a tuple of str, not %s",
              end ? "endswith" : "startswith", jkind_name(what));
    return start >= 0 && begins(w.s, what.s, end);
}
METHOD(startswith)
{
    return jv_bool(edge(r, self, c, false));
}
METHOD(endswith)
{
    return jv_bool(edge(r, self, c, true));
}

static int64_t place(struct jrun *r, struct jv self, struct jcall *c, bool right, bool must)
{
    int64_t start;
    struct jv w = window(r, self, c, &start);
    const struct jstr *sub = jarg_str(r, c->pos[0], "the text to find");
    size_t at = start < 0 ? SIZE_MAX
                : right   ? jstr_rfind(r, w.s, sub, w.s->n)
                          : jstr_find(r, w.s, sub, 0);
    if (at == SIZE_MAX) {
        if (must)
            jfail(r, "substring not found");
        return -1;
    }
    if (!w.s->ascii)
        at = jstr_chars(r, jstr_cut(r, w.s, 0, at).s);
    return start + (int64_t)at;
}
METHOD(find)
{
    return jv_int(place(r, self, c, false, false));
}
METHOD(rfind)
{
    return jv_int(place(r, self, c, true, false));
}
METHOD(index)
{
    return jv_int(place(r, self, c, false, true));
}
METHOD(rindex)
{
    return jv_int(place(r, self, c, true, true));
}
METHOD(count)
{
    int64_t start, n = 0;
    struct jv w = window(r, self, c, &start);
    const struct jstr *sub = jarg_str(r, c->pos[0], "the text to count");
    if (start < 0)
        return jv_int(0);
    if (sub->n == 0)
        return jv_int((int64_t)jstr_chars(r, w.s) + 1);
    for (size_t at = 0; (at = jstr_find(r, w.s, sub, at)) != SIZE_MAX; at += sub->n) {
        jcharge(r, 1);
        n++;
    }
    return jv_int(n);
}

/* ---- making ---- */

METHOD(replace)
{
    static const char *const names[] = {"old", "new", "count", NULL};
    struct jv a[3];
    jbind(r, c, "replace", names, a);
    return jstr_replace(r, self.s, jarg_str(r, a[0], "replace()'s first argument"),
                        jarg_str(r, a[1], "replace()'s second argument"),
                        jarg_int(r, a[2], -1, "count"));
}
METHOD(join)
{
    struct jsb b;
    struct jlist *l;
    if (c->n_pos != 1 || c->n_kw)
        jfail(r, "join() takes exactly one argument");
    if (!jiterable(c->pos[0]))
        jfail(r, "can only join an iterable");
    l = jiter(r, c->pos[0]);
    jsb_init(&b, r);
    for (uint32_t i = 0; i < l->n; i++) {
        if (l->v[i].k != JV_STR)
            jfail(r, "sequence item %u: expected str instance, %s found", i, jkind_name(l->v[i]));
        if (i)
            jsb_str(&b, self.s);
        jsb_str(&b, l->v[i].s);
    }
    return jsb_val(&b);
}
METHOD(format)
{
    return jformat_braces(r, self.s, c);
}
METHOD(format_map)
{
    struct jcall k = {0};
    if (c->n_pos != 1 || c->pos[0].k != JV_DICT)
        jfail(r, "format_map() takes one mapping");
    k.kw = jalloc2(r, (size_t)c->pos[0].d->n + 1, sizeof *k.kw);
    for (uint32_t i = 0; i < c->pos[0].d->n; i++)
        if (c->pos[0].d->v[i].key.k == JV_STR)
            k.kw[k.n_kw++] = (struct jkw){c->pos[0].d->v[i].key.s, c->pos[0].d->v[i].v};
    return jformat_braces(r, self.s, &k);
}

static struct jv just(struct jrun *r, struct jv self, struct jcall *c, char how)
{
    static const char *const names[] = {"width", "fillchar", NULL};
    struct jv a[2];
    const struct jstr *fill;
    jbind(r, c, "justify", names, a);
    fill = a[1].k == JV_ABSENT ? jstr_lit(r, " ").s : jarg_str(r, a[1], "fillchar");
    if (jstr_chars(r, fill) != 1)
        jfail(r, "The fill character must be exactly one character long");
    return jstr_pad(r, self.s, jarg_int(r, a[0], 0, "width"), fill, how);
}
METHOD(ljust)
{
    return just(r, self, c, '<');
}
METHOD(rjust)
{
    return just(r, self, c, '>');
}
METHOD(center)
{
    return just(r, self, c, '^');
}
METHOD(zfill)
{
    int64_t w = jarg_int(r, c->n_pos == 1 ? c->pos[0] : jv_none(), 0, "width");
    const struct jstr *s = self.s, *zero = jstr_lit(r, "0").s;
    bool sign = s->n && (s->p[0] == '-' || s->p[0] == '+');
    struct jv body = jstr_pad(r, jstr_cut(r, s, sign, s->n - sign).s, w - sign, zero, '>');
    return sign ? jstr_cat(r, (const struct jstr *[]){jstr_cut(r, s, 0, 1).s, body.s}, 2) : body;
}
METHOD(expandtabs)
{
    int64_t size = jarg_int(r, c->n_pos ? c->pos[0] : (struct jv){0}, 8, "tabsize"), col = 0;
    struct jsb b;
    jsb_init(&b, r);
    if (size > 1000)
        jfail(r, "tabsize is too large");
    for (size_t i = 0; i < self.s->n; i++) {
        char ch = self.s->p[i];
        jcharge(r, 1);
        if (ch != '\t') {
            jsb_part(&b, self.s, i, 1);
            col = ch == '\n' || ch == '\r' ? 0 : col + (((unsigned char)ch & 0xC0) != 0x80);
            continue;
        }
        for (int64_t k = size > 0 ? size - col % size : 0; k > 0; k--, col++)
            jsb_lit(&b, " ");
    }
    return jsb_val(&b);
}

#define CASE(name, how)                                                                            \
    METHOD(name)                                                                                   \
    {                                                                                              \
        jno_args(r, c, #name);                                                                     \
        return jstr_case(r, self.s, how);                                                          \
    }
CASE(upper, CASE_UPPER)
CASE(lower, CASE_LOWER)
CASE(casefold, CASE_FOLD)
CASE(swapcase, CASE_SWAP)
CASE(capitalize, CASE_CAPITAL)
CASE(title, CASE_TITLE)

#define IS(name, which)                                                                            \
    METHOD(name)                                                                                   \
    {                                                                                              \
        jno_args(r, c, #name);                                                                     \
        return jv_bool(jstr_is_class(r, self.s, which));                                           \
    }
IS(isdigit, CLASS_DIGIT)
IS(isdecimal, CLASS_DECIMAL)
IS(isnumeric, CLASS_NUMERIC)
IS(isalpha, CLASS_ALPHA)
IS(isalnum, CLASS_ALNUM)
IS(isspace, CLASS_SPACE)
IS(isupper, CLASS_UPPER)
IS(islower, CLASS_LOWER)
IS(istitle, CLASS_TITLE)
IS(isascii, CLASS_ASCII)
IS(isidentifier, CLASS_IDENTIFIER)
IS(isprintable, CLASS_PRINTABLE)

const struct jmethod jmethods_str[] = {{"strip", m_strip},
                                       {"lstrip", m_lstrip},
                                       {"rstrip", m_rstrip},
                                       {"split", m_split},
                                       {"rsplit", m_rsplit},
                                       {"splitlines", m_splitlines},
                                       {"startswith", m_startswith},
                                       {"endswith", m_endswith},
                                       {"replace", m_replace},
                                       {"upper", m_upper},
                                       {"lower", m_lower},
                                       {"title", m_title},
                                       {"capitalize", m_capitalize},
                                       {"swapcase", m_swapcase},
                                       {"casefold", m_casefold},
                                       {"find", m_find},
                                       {"rfind", m_rfind},
                                       {"index", m_index},
                                       {"rindex", m_rindex},
                                       {"count", m_count},
                                       {"join", m_join},
                                       {"format", m_format},
                                       {"format_map", m_format_map},
                                       {"partition", m_partition},
                                       {"rpartition", m_rpartition},
                                       {"removeprefix", m_removeprefix},
                                       {"removesuffix", m_removesuffix},
                                       {"ljust", m_ljust},
                                       {"rjust", m_rjust},
                                       {"center", m_center},
                                       {"zfill", m_zfill},
                                       {"expandtabs", m_expandtabs},
                                       {"isdigit", m_isdigit},
                                       {"isdecimal", m_isdecimal},
                                       {"isnumeric", m_isnumeric},
                                       {"isalpha", m_isalpha},
                                       {"isalnum", m_isalnum},
                                       {"isspace", m_isspace},
                                       {"isupper", m_isupper},
                                       {"islower", m_islower},
                                       {"istitle", m_istitle},
                                       {"isascii", m_isascii},
                                       {"isidentifier", m_isidentifier},
                                       {"isprintable", m_isprintable},
                                       {"encode", NULL},
                                       {"translate", NULL},
                                       {"maketrans", NULL},
                                       {NULL, NULL}};
