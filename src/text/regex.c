/* SPDX-License-Identifier: Apache-2.0 */
/* regex.c - compiles the Oniguruma-flavoured patterns of tokenizer files with PCRE2 and runs them.
 *
 * Every pattern is compiled twice. `fast` is the pattern with PCRE2's own character classes.
 * `exact` spells \s, \w, \d and \p{..} out so that they equal the reference's (Unicode 16:
 * PCRE2 10.42 has Unicode 14, and its \s has U+180E); it is slower and runs only on texts that hold
 * such a code point. Everything else in the syntax must mean the same in both engines, or it is
 * refused by name.
 *
 * Immutable after rx_new. No recursion over the text: the JIT runs on a bounded stack, and the
 * match limit bounds the time of one match. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "regex.h"

#include "mem.h"
#include "uclass.h"
#include "utf8.h"

#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MATCH_LIMIT = 100u << 20,
    JIT_STACK_START = 64 << 10,
    JIT_STACK_MAX = 64 << 20,
    MAX_PATTERN = 1 << 16
};

struct rx {
    pcre2_code *fast, *exact;
    bool fast_jit, exact_jit;
    bool looks_back; /* what is before a match can decide about it */
};

/* ---- translation ---- */

struct xlate {
    const char *p, *end;
    struct buf fast, exact;
    struct err *e;
};

static void put(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

static void put_both(struct xlate *x, const char *s, size_t n)
{
    buf_add(&x->fast, s, n);
    buf_add(&x->exact, s, n);
}

static void put_range(struct buf *b, uint32_t first, uint32_t last)
{
    char s[40];
    snprintf(s, sizeof s, "\\x{%x}-\\x{%x}", first, last);
    put(b, s);
}

/* Members of White_Space as class content, or its complement. */
static void put_space(struct buf *b, bool negated)
{
    if (!negated)
        put(b,
            "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"
            "\\x{205f}\\x{3000}");
    else
        put(b,
            "\\x00-\\x08\\x0e-\\x1f\\x21-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}"
            "\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}"
            "\\x{3001}-\\x{d7ff}\\x{e000}-\\x{10ffff}");
}

static bool in_class(const struct uclass_range *r, const char *cls)
{
    return r->cls[0] == cls[0] && (cls[1] == 0 || r->cls[1] == cls[1]);
}

/* The additions to class cls ("L", "Lu", ...). */
static void put_new(struct buf *b, const char *cls)
{
    for (size_t i = 0; i < n_uclass_new; i++)
        if (in_class(&uclass_new[i], cls))
            put_range(b, uclass_new[i].first, uclass_new[i].last);
}

/* A property in `exact`. Negated inside a class there is no way to take the additions out again, so
 * the caller refuses that; alone, a negated class does it. */
static void put_property(struct buf *b, const char *cls, bool negated, bool inside)
{
    if (!inside)
        put(b, negated ? "[^" : "[");
    put(b, "\\p{");
    put(b, cls);
    put(b, "}");
    put_new(b, cls);
    if (!inside)
        put(b, "]");
}

static int refuse(struct xlate *x, const char *what, const char *at)
{
    int n = (int)(x->end - at < 12 ? x->end - at : 12);
    return err_set(x->e, ST_UNSUPPORTED, "tokenizer: regex: %s is not supported (at \"%.*s\")",
                   what, n, at);
}

/* \p{Name}, \P{Name}, \p{^Name}, \pL with p just past the letter p. */
static int xlate_property(struct xlate *x, bool negated, bool inside)
{
    const char *at = x->p;
    char cls[4] = {0};
    size_t n = 0;
    if (x->p < x->end && *x->p == '{') {
        const char *close = memchr(x->p, '}', (size_t)(x->end - x->p));
        const char *q = x->p + 1;
        if (!close)
            return refuse(x, "an open property", at);
        if (*q == '^') {
            negated = !negated;
            q++;
        }
        n = (size_t)(close - q);
        if (n == 0 || n > 2)
            return refuse(x, "a property that is not a general category", at);
        memcpy(cls, q, n);
        x->p = close + 1;
    } else if (x->p < x->end) {
        cls[0] = *x->p++;
        n = 1;
    }
    if (n == 0 || !strchr("LMNPSZC", cls[0]))
        return refuse(x, "this property", at);
    if (negated && inside)
        return refuse(x, "a negated property inside a class", at);
    put(&x->fast, negated ? "\\P{" : "\\p{");
    put(&x->fast, cls);
    put(&x->fast, "}");
    put_property(&x->exact, cls, negated, inside);
    return 0;
}

/* \w of the reference, as class content: PCRE2's own has no marks. */
static const char word_class[] =
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}\\x{24b6}-\\x{24e9}"
    "\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}";

static void put_word(struct xlate *x, const char *open, const char *close)
{
    put_both(x, open, strlen(open));
    put_both(x, word_class, sizeof word_class - 1);
    put_new(&x->exact, "L");
    put_new(&x->exact, "M");
    put_new(&x->exact, "Nd");
    put_both(x, close, strlen(close));
}

/* \b and \B, which must use the same \w. */
static void put_border(struct xlate *x, bool negated)
{
    put_word(x, "(?:(?<=[", negated ? "])(?=[" : "])(?![");
    put_word(x, "", "])|(?<![");
    put_word(x, "", negated ? "])(?![" : "])(?=[");
    put_word(x, "", "]))");
}

static int xlate_shorthand(struct xlate *x, char c, bool inside, const char *at)
{
    char two[3] = {'\\', c, 0};
    bool negated = c < 'a';
    if ((c == 'D' || c == 'W') && inside)
        return refuse(x, c == 'D' ? "\\D inside a class" : "\\W inside a class", at);
    if (c == 'w' || c == 'W') {
        put_word(x, inside ? "" : negated ? "[^" : "[", inside ? "" : "]");
    } else if (c == 's' || c == 'S') {
        put(&x->fast, two);
        if (!inside)
            put(&x->exact, "[");
        put_space(&x->exact, negated);
        if (!inside)
            put(&x->exact, "]");
    } else {
        put(&x->fast, two);
        put_property(&x->exact, "Nd", negated, inside);
    }
    return 0;
}

/* x->p just past a backslash. */
static int xlate_escape(struct xlate *x, bool inside)
{
    const char *at = x->p - 1;
    unsigned char c;
    if (x->p == x->end)
        return err_set(x->e, ST_FORMAT, "tokenizer: regex ends in a backslash");
    c = (unsigned char)*x->p++;
    if (c == 'p' || c == 'P')
        return xlate_property(x, c == 'P', inside);
    if (strchr("sSdDwW", c))
        return xlate_shorthand(x, (char)c, inside, at);
    if ((c == 'b' || c == 'B') && !inside) {
        put_border(x, c == 'B');
        return 0;
    }
    if (c == 'h' && !inside) {
        put_both(x, "[0-9a-fA-F]", 11);
        return 0;
    }
    if (c == 'v') {
        put_both(x, "\\x0b", 4);
        return 0;
    }
    if (c == 'u' && x->end - x->p >= 4) {
        put_both(x, "\\x{", 3);
        put_both(x, x->p, 4);
        put_both(x, "}", 1);
        x->p += 4;
        return 0;
    }
    if (c < 0x80 && ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) &&
        !strchr(inside ? "rntfeax" : "rntfeaxAz", c))
        return refuse(x, "this escape", at);
    put_both(x, at, (size_t)(x->p - at));
    return 0;
}

/* x->p just past '['. */
static int xlate_class(struct xlate *x)
{
    bool first = true;
    put_both(x, "[", 1);
    if (x->p < x->end && *x->p == '^') {
        put_both(x, "^", 1);
        x->p++;
    }
    while (x->p < x->end && (*x->p != ']' || first)) {
        const char *at = x->p;
        char c = *x->p++;
        int st;
        first = false;
        if (c == '[')
            return refuse(x, "a class within a class", at);
        if (c == '&' && x->p < x->end && *x->p == '&')
            return refuse(x, "a class intersection", at);
        if (c != '\\') {
            put_both(x, at, 1);
            continue;
        }
        st = xlate_escape(x, true);
        if (st)
            return st;
    }
    if (x->p == x->end)
        return err_set(x->e, ST_FORMAT, "tokenizer: regex has an open class");
    x->p++;
    put_both(x, "]", 1);
    return 0;
}

static int xlate_run(struct xlate *x)
{
    while (x->p < x->end) {
        const char *at = x->p;
        char c = *x->p++;
        int st = 0;
        if (c == '\\')
            st = xlate_escape(x, false);
        else if (c == '[')
            st = xlate_class(x);
        else if (c == '(' && x->end - x->p >= 2 && x->p[0] == '?' &&
                 strchr("RP&(|C0123456789+", x->p[1]))
            st = refuse(x, "this group", at);
        else if (c == '(' && x->p < x->end && x->p[0] == '*')
            st = refuse(x, "a verb", at);
        else
            put_both(x, at, 1);
        if (st)
            return st;
    }
    return 0;
}

/* ---- compile ---- */

static int compile(pcre2_code **out, bool *jit, const struct buf *pat, struct err *e)
{
    int code;
    PCRE2_SIZE at;
    *out = pcre2_compile((PCRE2_SPTR)(pat->p ? pat->p : ""), pat->n,
                         PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code,
                         &at, NULL);
    if (!*out) {
        char msg[128];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)msg, sizeof msg);
        return err_set(e, ST_FORMAT, "tokenizer: regex: %s at offset %zu", msg, (size_t)at);
    }
    *jit = pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD) == 0;
    return 0;
}

int rx_new(struct rx **out, const char *pat, size_t n, struct err *e)
{
    struct xlate x = {.p = pat, .end = pat + n, .e = e};
    struct rx *r;
    int st;
    *out = NULL;
    if (n > MAX_PATTERN || memchr(pat, 0, n) || utf8_valid_prefix(pat, n) != n)
        return err_set(e, ST_FORMAT, "tokenizer: regex is too long or not text");
    r = xalloc(sizeof *r);
    st = xlate_run(&x);
    if (st == 0)
        st = compile(&r->fast, &r->fast_jit, &x.fast, e);
    if (st == 0)
        st = compile(&r->exact, &r->exact_jit, &x.exact, e);
    buf_free(&x.fast);
    buf_free(&x.exact);
    if (st) {
        rx_free(r);
        return st;
    }
    uint32_t back = 0;
    pcre2_pattern_info(r->fast, PCRE2_INFO_MAXLOOKBEHIND, &back);
    r->looks_back = back > 0;
    *out = r;
    return 0;
}

void rx_free(struct rx *r)
{
    if (!r)
        return;
    pcre2_code_free(r->fast);
    pcre2_code_free(r->exact);
    free(r);
}

/* ---- run ---- */

void rx_run_fini(struct rx_run *run)
{
    pcre2_match_data_free(run->md);
    pcre2_match_context_free(run->mctx);
    pcre2_jit_stack_free(run->stack);
    *run = (struct rx_run){0};
}

/* The first code point from `i` on that PCRE2's tables do not know; n when there is none. */
static size_t find_new(const char *s, size_t n, size_t i)
{
    const unsigned char *p = (const unsigned char *)s;
    while (i < n) {
        uint64_t w;
        unsigned len;
        if (n - i >= 8) {
            memcpy(&w, p + i, 8);
            if (!(w & 0x8080808080808080u)) {
                i += 8;
                continue;
            }
        }
        /* The additions begin at U+0897, so only three- and four-byte code points can be one; most
         * of the CJK planes have none. */
        if (p[i] < 0xE0 || (p[i] >= 0xE4 && p[i] <= 0xE9) || p[i] == 0xEE || p[i] == 0xEF) {
            i += utf8_len(p[i]);
            continue;
        }
        {
            uint32_t c = utf8_get(s + i, &len);
            if (c == 0x180E || uclass_find_new(c) >= 0)
                return i;
        }
        i += len;
    }
    return n;
}

static int prepare(struct rx_run *run)
{
    run->md = pcre2_match_data_create(1, NULL);
    run->mctx = pcre2_match_context_create(NULL);
    if (!run->md || !run->mctx)
        return ST_NOMEM;
    pcre2_set_match_limit(run->mctx, MATCH_LIMIT);
    return 0;
}

static int match_once(const pcre2_code *code, bool jit, struct rx_run *run, const char *s, size_t n,
                      size_t at, uint32_t options)
{
    options |= PCRE2_NO_UTF_CHECK;
    if (jit)
        return pcre2_jit_match(code, (PCRE2_SPTR)s, n, at, options, run->md, run->mctx);
    return pcre2_match(code, (PCRE2_SPTR)s, n, at, options, run->md, run->mctx);
}

static int match(const pcre2_code *code, bool jit, struct rx_run *run, const char *s, size_t n,
                 size_t at, uint32_t options)
{
    int got = match_once(code, jit, run, s, n, at, options);
    if (got != PCRE2_ERROR_JIT_STACKLIMIT || run->stack)
        return got;
    run->stack = pcre2_jit_stack_create(JIT_STACK_START, JIT_STACK_MAX, NULL);
    if (!run->stack)
        return PCRE2_ERROR_NOMEMORY;
    pcre2_jit_stack_assign(run->mctx, NULL, run->stack);
    return match_once(code, jit, run, s, n, at, options);
}

/* The first match from w->from on: 1 with [*b, *e), 0 none, or negative. The slower `exact` is
 * needed only where a match looks at a new code point: before the next one `fast` is asked not to
 * look any further (a hard partial match says that it would have to). */
static int next_match(const struct rx *r, struct rx_run *run, const char *s, size_t n,
                      const struct rx_walk *w, size_t *b, size_t *e)
{
    bool fast = (w->from < w->new_at || w->new_at == n) && !(r->looks_back && w->has_new);
    int got = PCRE2_ERROR_PARTIAL;
    if (!run->md && prepare(run))
        return ST_NOMEM;
    if (fast)
        got = match(r->fast, r->fast_jit, run, s, w->new_at, w->from,
                    w->new_at < n ? PCRE2_PARTIAL_HARD : 0);
    if (!fast || (got < 0 && w->new_at < n))
        got = match(r->exact, r->exact_jit, run, s, n, w->from, 0);
    if (got == PCRE2_ERROR_NOMATCH)
        return 0;
    if (got < 0)
        return got == PCRE2_ERROR_NOMEMORY ? ST_NOMEM : ST_INVALID_VALUE;
    const PCRE2_SIZE *ov = pcre2_get_ovector_pointer(run->md);
    *b = ov[0];
    *e = ov[1];
    return 1;
}

int rx_walk(const struct rx *r, struct rx_run *run, const char *s, size_t n, struct rx_walk *w,
            size_t *b, size_t *e)
{
    while (w->from <= n) {
        if (!w->looked || w->from > w->new_at) {
            w->new_at = find_new(s, n, w->from);
            w->has_new |= w->new_at < n;
            w->looked = true;
        }
        int got = next_match(r, run, s, n, w, b, e);
        if (got <= 0)
            return got;
        if (*b != *e || !w->any || w->last != *e) {
            w->from = w->last = *e;
            w->any = true;
            return 1;
        }
        w->from += w->from < n ? utf8_len((unsigned char)s[w->from]) : 1;
    }
    return 0;
}
