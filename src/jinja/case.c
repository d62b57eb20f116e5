/* SPDX-License-Identifier: Apache-2.0 */
/* case.c - letter case and character classes by Unicode, replacing, padding. */
#include "case.h"

#include "str.h"
#include "utf8.h"

#include <utf8proc.h>

static utf8proc_category_t category(uint32_t c)
{
    return utf8proc_category((utf8proc_int32_t)c);
}

static bool is_cased(uint32_t c)
{
    utf8proc_category_t k = category(c);
    return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT;
}

/* Full upper case of the few that grow; the rest map one to one. */
static void put_upper(struct jsb *b, uint32_t c, bool taint, bool title)
{
    static const struct {
        uint32_t c;
        const char *up, *title;
    } grow[] = {{0xDF, "SS", "Ss"},
                {0x149, "\xCA\xBCN", "\xCA\xBCN"},
                {0x1F0, "J\xCC\x8C", "J\xCC\x8C"},
                {0xFB00, "FF", "Ff"},
                {0xFB01, "FI", "Fi"},
                {0xFB02, "FL", "Fl"},
                {0xFB03, "FFI", "Ffi"},
                {0xFB04, "FFL", "Ffl"},
                {0xFB05, "ST", "St"},
                {0xFB06, "ST", "St"}};
    for (size_t i = 0; i < sizeof grow / sizeof *grow; i++)
        if (grow[i].c == c) {
            const char *t = title ? grow[i].title : grow[i].up;
            jsb_add(b, t, strlen(t), taint);
            return;
        }
    jsb_char(b,
             (uint32_t)(title ? utf8proc_totitle((utf8proc_int32_t)c)
                              : utf8proc_toupper((utf8proc_int32_t)c)),
             taint);
}

/* A final capital sigma becomes U+03C2: a cased letter before it and none after. */
static bool final_sigma(const struct jstr *s, size_t at)
{
    unsigned k;
    bool before = false;
    for (size_t i = at; i > 0; i -= k) {
        uint32_t c = utf8_before(s->p + i, &k);
        if (category(c) == UTF8PROC_CATEGORY_MN || c == '\'' || c == '.')
            continue;
        before = is_cased(c);
        break;
    }
    for (size_t i = at + 2; before && i < s->n; i += k) {
        uint32_t c = utf8_get(s->p + i, &k);
        if (category(c) == UTF8PROC_CATEGORY_MN || c == '\'' || c == '.')
            continue;
        return !is_cased(c);
    }
    return before;
}

static void put_lower(struct jsb *b, const struct jstr *s, size_t at, uint32_t c, bool taint)
{
    if (c == 0x130)
        jsb_add(b, "i\xCC\x87", 3, taint);
    else if (c == 0x3A3 && final_sigma(s, at))
        jsb_char(b, 0x3C2, taint);
    else
        jsb_char(b, (uint32_t)utf8proc_tolower((utf8proc_int32_t)c), taint);
}

static void put_fold(struct jsb *b, uint32_t c, bool taint)
{
    utf8proc_int32_t out[8];
    int last = 0;
    utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)c, out, 8, UTF8PROC_CASEFOLD,
                                                 &last);
    for (utf8proc_ssize_t i = 0; i < n && i < 8; i++)
        jsb_char(b, (uint32_t)out[i], taint);
}

struct jv jstr_case(struct jrun *r, const struct jstr *s, enum jcase how)
{
    struct jsb b;
    unsigned k;
    bool prev = false;
    jsb_init(&b, r);
    jcharge(r, s->n / 4);
    for (size_t at = 0; at < s->n; at += k) {
        uint32_t c = utf8_get(s->p + at, &k);
        bool taint = jstr_tainted(s, at), cased = is_cased(c), up;
        if (how == CASE_FOLD) {
            put_fold(&b, c, taint);
            continue;
        }
        up = how == CASE_UPPER || (how == CASE_CAPITAL && at == 0) ||
             (how == CASE_TITLE && !prev) ||
             (how == CASE_SWAP && category(c) == UTF8PROC_CATEGORY_LL);
        if (up)
            put_upper(&b, c, taint, how == CASE_CAPITAL || how == CASE_TITLE);
        else
            put_lower(&b, s, at, c, taint);
        prev = cased;
    }
    return jsb_val(&b);
}

bool jchar_printable(uint32_t c)
{
    if (c < 0x7F)
        return c >= 0x20;
    switch (category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
        return false;
    default:
        return true;
    }
}

static bool in_class(uint32_t c, enum jclass which, bool first)
{
    utf8proc_category_t k = category(c);
    bool alpha = k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL ||
                 k == UTF8PROC_CATEGORY_LT || k == UTF8PROC_CATEGORY_LM ||
                 k == UTF8PROC_CATEGORY_LO;
    bool super = c == 0xB2 || c == 0xB3 || c == 0xB9 || c == 0x2070 ||
                 (c >= 0x2074 && c <= 0x2079) || (c >= 0x2080 && c <= 0x2089);
    switch (which) {
    case CLASS_DECIMAL:
        return k == UTF8PROC_CATEGORY_ND;
    case CLASS_DIGIT:
        return k == UTF8PROC_CATEGORY_ND || super;
    case CLASS_NUMERIC:
        return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
    case CLASS_ALPHA:
        return alpha;
    case CLASS_ALNUM:
        return alpha || in_class(c, CLASS_NUMERIC, false);
    case CLASS_SPACE:
        return jchar_space(c);
    case CLASS_ASCII:
        return c < 0x80;
    case CLASS_PRINTABLE:
        return jchar_printable(c);
    default:
        return alpha || c == '_' ||
               (!first && (k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_MN ||
                           k == UTF8PROC_CATEGORY_MC || k == UTF8PROC_CATEGORY_PC));
    }
}

static bool right_case(const struct jstr *s, enum jclass which)
{
    bool some = false, prev = false;
    unsigned k;
    for (size_t i = 0; i < s->n; i += k) {
        uint32_t c = utf8_get(s->p + i, &k);
        utf8proc_category_t cat = category(c);
        bool upper = cat == UTF8PROC_CATEGORY_LU || cat == UTF8PROC_CATEGORY_LT;
        bool lower = cat == UTF8PROC_CATEGORY_LL;
        if (which == CLASS_UPPER   ? lower || cat == UTF8PROC_CATEGORY_LT
            : which == CLASS_LOWER ? upper
                                   : (upper && prev) || (lower && !prev))
            return false;
        prev = upper || lower;
        some |= prev;
    }
    return some;
}

bool jstr_is_class(struct jrun *r, const struct jstr *s, enum jclass which)
{
    unsigned k;
    jcharge(r, s->n / 8);
    if (which == CLASS_UPPER || which == CLASS_LOWER || which == CLASS_TITLE)
        return right_case(s, which);
    for (size_t i = 0; i < s->n; i += k)
        if (!in_class(utf8_get(s->p + i, &k), which, i == 0))
            return false;
    return s->n || which == CLASS_ASCII || which == CLASS_PRINTABLE;
}

struct jv jstr_replace(struct jrun *r, const struct jstr *s, const struct jstr *old,
                       const struct jstr *new_text, int64_t max)
{
    struct jsb b;
    size_t at = 0, hit;
    jsb_init(&b, r);
    if (old->n == 0) { /* before every character and at the end */
        for (; max != 0; max--) {
            unsigned k = at < s->n ? utf8_len((unsigned char)s->p[at]) : 0;
            jcharge(r, 1);
            jsb_str(&b, new_text);
            if (at >= s->n)
                break;
            jsb_part(&b, s, at, k);
            at += k;
        }
        jsb_part(&b, s, at, s->n - at);
        return jsb_val(&b);
    }
    while (max-- != 0 && (hit = jstr_find(r, s, old, at)) != SIZE_MAX) {
        jcharge(r, 1);
        jsb_part(&b, s, at, hit - at);
        jsb_str(&b, new_text);
        at = hit + old->n;
    }
    if (at == 0)
        return jv_str(s);
    jsb_part(&b, s, at, s->n - at);
    return jsb_val(&b);
}

struct jv jstr_pad(struct jrun *r, const struct jstr *s, int64_t width, const struct jstr *fill,
                   char how)
{
    int64_t n = jstr_chars(r, s), gap = width > n ? width - n : 0, before;
    struct jsb b;
    if (!gap)
        return jv_str(s);
    before = how == '<' ? 0 : how == '>' ? gap : gap / 2 + (gap & width & 1);
    jsb_init(&b, r);
    for (int64_t i = 0; i < before; i++) {
        jcharge(r, 1);
        jsb_str(&b, fill);
    }
    jsb_str(&b, s);
    for (int64_t i = before; i < gap; i++) {
        jcharge(r, 1);
        jsb_str(&b, fill);
    }
    return jsb_val(&b);
}
