/* SPDX-License-Identifier: Apache-2.0 */
/* lex.c - template source to tokens: white space control, raw blocks, string escapes.
 *
 * Runs once per template, in the loading thread. Newlines are LF already and the one at the end is
 * gone (jinja_compile). trim_blocks and lstrip_blocks are on, as transformers sets them.
 */
#include "token.h"

#include "str.h"
#include "utf8.h"

#include <stdlib.h>

struct lexer {
    struct jparse *p;
    const char *s;
    size_t n, at;
};

static void put(struct lexer *x, enum jtoken kind, size_t at, const char *p, size_t n, unsigned op)
{
    struct jparse *ps = x->p;
    if (ps->n_tok == ps->cap_tok) {
        ps->cap_tok = ps->cap_tok ? ps->cap_tok * 2 : 256;
        ps->tok = xrealloc(ps->tok, (size_t)ps->cap_tok * sizeof *ps->tok);
    }
    ps->tok[ps->n_tok++] = (struct jtok){
        .kind = (uint8_t)kind, .op = (uint16_t)op, .at = (uint32_t)at, .p = p, .n = (uint32_t)n};
}

static size_t skip_space(const struct lexer *x, size_t at)
{
    unsigned k;
    while (at < x->n && jchar_space(utf8_get(x->s + at, &k)))
        at += k;
    return at;
}

static size_t drop_space(const struct lexer *x, size_t from, size_t to)
{
    unsigned k;
    while (to > from && jchar_space(utf8_before(x->s + to, &k)))
        to -= k;
    return to;
}

static bool at_text(const struct lexer *x, size_t at, const char *lit)
{
    size_t n = strlen(lit);
    return at <= x->n && n <= x->n - at && memcmp(x->s + at, lit, n) == 0;
}

/* The `-` or `+` at `at`, or 0. */
static char sign_at(const struct lexer *x, size_t at)
{
    char c = '\0';
    if (at_text(x, at, "-") || at_text(x, at, "+"))
        c = x->s[at];
    return c;
}

/* Where the text [from, to) before a tag ends: `-` strips it, and a block or comment alone at the
 * start of its line takes the indentation with it unless `+` says not to. */
static size_t text_end(const struct lexer *x, size_t from, size_t to, char sign, bool variable)
{
    size_t line = to;
    if (sign == '-')
        return drop_space(x, from, to);
    if (sign == '+' || variable)
        return to;
    while (line > from && x->s[line - 1] != '\n')
        line--;
    if (line == from && from > 0 && x->s[from - 1] != '\n')
        return to;
    return drop_space(x, line, to) == line ? line : to;
}

static void put_data(struct lexer *x, size_t from, size_t to)
{
    if (to > from)
        put(x, T_DATA, from, x->s + from, to - from, 0);
}

/* The end of a tag at `at`: its length with the white space it takes; 0 when there is none. */
static size_t tag_end(const struct lexer *x, size_t at, const char *close, bool trim)
{
    size_t e;
    if (at < x->n && x->s[at] == '-' && at_text(x, at + 1, close))
        return skip_space(x, at + 1 + strlen(close)) - at;
    if (trim && at < x->n && x->s[at] == '+' && at_text(x, at + 1, close))
        return 1 + strlen(close);
    if (!at_text(x, at, close))
        return 0;
    e = at + strlen(close);
    if (trim && e < x->n && x->s[e] == '\n')
        e++;
    return e - at;
}

/* {% raw %} at x->at (after the sign)? Puts the raw text and moves behind {% endraw %}. */
static bool lex_raw(struct lexer *x, size_t begin)
{
    size_t at = skip_space(x, begin), from, q;
    if (!at_text(x, at, "raw"))
        return false;
    at = skip_space(x, at + 3);
    if (at_text(x, at, "-%}"))
        from = skip_space(x, at + 3);
    else if (at_text(x, at, "%}"))
        from = at + 2;
    else
        return false;
    for (q = from; q < x->n; q++) {
        char sign;
        size_t w;
        if (!at_text(x, q, "{%"))
            continue;
        sign = sign_at(x, q + 2);
        at = skip_space(x, q + 2 + (sign != 0));
        if (!at_text(x, at, "endraw"))
            continue;
        at = skip_space(x, at + 6);
        w = tag_end(x, at, "%}", true);
        if (!w)
            continue;
        put_data(x, from, text_end(x, from, q, sign, false));
        x->at = at + w;
        return true;
    }
    jparse_fail(x->p, (uint32_t)begin, "Missing end of raw directive");
}

static void lex_comment(struct lexer *x, size_t begin)
{
    for (size_t q = begin; q < x->n; q++) {
        size_t w;
        if (x->s[q] != '#' && x->s[q] != '-' && x->s[q] != '+')
            continue;
        w = tag_end(x, q, "#}", true);
        if (w) {
            x->at = q + w;
            return;
        }
    }
    jparse_fail(x->p, (uint32_t)begin, "Missing end of comment tag");
}

/* One escape of Python's unicode-escape codec; s points behind the backslash. Returns how many
 * bytes it took; writes to out and adds to *n. */
static size_t unescape(struct lexer *x, const char *s, const char *end, char *out, size_t *n)
{
    static const char plain[] = "n\nt\tr\r\\\\'\'\"\"a\ab\bf\fv\v";
    unsigned n_digits = *s == 'x' ? 2 : *s == 'u' ? 4 : *s == 'U' ? 8 : 0;
    uint32_t c = 0;
    if (*s == '\n')
        return 1;
    for (const char *q = plain; *q; q += 2)
        if (*q == *s) {
            out[(*n)++] = q[1];
            return 1;
        }
    if (*s >= '0' && *s <= '7') {
        unsigned k = 0;
        while (k < 3 && s + k < end && s[k] >= '0' && s[k] <= '7')
            c = c * 8 + (unsigned)(s[k++] - '0');
        *n += utf8_put(out + *n, c);
        return k;
    }
    if (n_digits) {
        for (unsigned k = 1; k <= n_digits; k++) {
            int d = s + k < end ? hex_digit(s[k]) : -1;
            if (d < 0)
                jparse_fail(x->p, (uint32_t)x->at, "truncated \\%c escape in a string", *s);
            c = c << 4 | (unsigned)d;
        }
        if (c > 0x10FFFF)
            jparse_fail(x->p, (uint32_t)x->at, "illegal Unicode character in a string");
        *n += utf8_put(out + *n, c);
        return 1 + n_digits;
    }
    if (*s == 'N')
        jparse_fail(x->p, (uint32_t)x->at, "\\N escapes are not supported");
    out[(*n)++] = '\\'; /* an unknown escape keeps its backslash */
    return 0;
}

static void lex_string(struct lexer *x)
{
    char quote = x->s[x->at];
    size_t q = x->at + 1, n = 0;
    char *out;
    while (q < x->n && x->s[q] != quote)
        q += x->s[q] == '\\' ? 2 : 1;
    if (q >= x->n)
        jparse_fail(x->p, (uint32_t)x->at, "unexpected char '%c' (the string has no end)", quote);
    out = jparse_alloc(x->p, q - x->at);
    for (const char *s = x->s + x->at + 1, *end = x->s + q; s < end;) {
        if (*s == '\\')
            s += 1 + unescape(x, s + 1, end, out, &n);
        else
            out[n++] = *s++;
    }
    put(x, T_STRING, x->at, out, n, 0);
    x->at = q + 1;
}

static size_t digits(const struct lexer *x, size_t at, unsigned base)
{
    size_t q = at;
    while (q < x->n) {
        size_t d = q > at && x->s[q] == '_' ? q + 1 : q;
        int v = d < x->n ? hex_digit(x->s[d]) : -1;
        if (v < 0 || (unsigned)v >= base)
            break;
        q = d + 1;
    }
    return q;
}

static void lex_number(struct lexer *x)
{
    size_t b = x->at, q = digits(x, b, 10), f = q, k;
    bool is_float = false;
    char *out;
    size_t n = 0;
    if (x->s[b] == '0' && b + 1 < x->n && strchr("bBoOxX", x->s[b + 1])) {
        unsigned base = strchr("bB", x->s[b + 1]) ? 2 : strchr("oO", x->s[b + 1]) ? 8 : 16;
        k = b + 2 < x->n && x->s[b + 2] == '_' ? b + 3 : b + 2;
        f = digits(x, k, base);
        if (f > k) {
            q = f;
            goto done;
        }
    }
    if (b == 0 || x->s[b - 1] != '.') {
        if (q + 1 < x->n && x->s[q] == '.' && digits(x, q + 1, 10) > q + 1) {
            f = digits(x, q + 1, 10);
            is_float = true;
        }
        if (f < x->n && (x->s[f] == 'e' || x->s[f] == 'E')) {
            k = f + 1 < x->n && (x->s[f + 1] == '+' || x->s[f + 1] == '-') ? f + 2 : f + 1;
            if (digits(x, k, 10) > k) {
                f = digits(x, k, 10);
                is_float = true;
            }
        }
        if (is_float)
            q = f;
    }
done:
    out = jparse_alloc(x->p, q - b + 1);
    for (k = b; k < q; k++)
        if (x->s[k] != '_')
            out[n++] = x->s[k];
    put(x, is_float ? T_FLOAT : T_INT, b, out, n, 0);
    x->at = q;
}

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (unsigned char)c >= 0x80;
}

static void lex_op(struct lexer *x, char *stack, unsigned *depth)
{
    static const char two[][3] = {"//", "**", "==", "!=", ">=", "<="};
    char c = x->s[x->at];
    for (size_t i = 0; i < sizeof two / sizeof *two; i++)
        if (at_text(x, x->at, two[i])) {
            put(x, T_OP, x->at, x->s + x->at, 2, OP2((unsigned)two[i][0], (unsigned)two[i][1]));
            x->at += 2;
            return;
        }
    if (!strchr("+-/*%~[](){}><=.:|,;", c) || c == 0)
        jparse_fail(x->p, (uint32_t)x->at, "unexpected char %s",
                    (unsigned char)c >= 0x20 && (unsigned char)c < 0x7F ? (char[]){'\'', c, '\'', 0}
                                                                        : "(not printable)");
    if (strchr("([{", c)) {
        if (*depth == JINJA_MAX_PARSE_DEPTH)
            jparse_fail(x->p, (uint32_t)x->at, "brackets nest too deeply");
        stack[(*depth)++] = (char)(c == '(' ? ')' : c == '[' ? ']' : '}');
    } else if (strchr(")]}", c)) {
        if (*depth == 0)
            jparse_fail(x->p, (uint32_t)x->at, "unexpected '%c'", c);
        if (stack[--*depth] != c)
            jparse_fail(x->p, (uint32_t)x->at, "unexpected '%c', expected '%c'", c, stack[*depth]);
    }
    put(x, T_OP, x->at, x->s + x->at, 1, (unsigned char)c);
    x->at++;
}

/* The inside of {{ }} or {% %}, x->at behind the opening and its sign. */
static void lex_tag(struct lexer *x, bool variable)
{
    char stack[JINJA_MAX_PARSE_DEPTH];
    unsigned depth = 0;
    for (;;) {
        size_t w, q;
        x->at = skip_space(x, x->at);
        if (x->at >= x->n)
            return; /* the parser meets T_EOF */
        w = depth ? 0 : tag_end(x, x->at, variable ? "}}" : "%}", !variable);
        if (w) {
            put(x, variable ? T_VAR_END : T_BLOCK_END, x->at, "", 0, 0);
            x->at += w;
            return;
        }
        if (x->s[x->at] >= '0' && x->s[x->at] <= '9') {
            lex_number(x);
        } else if (name_char(x->s[x->at])) {
            for (q = x->at; q < x->n && name_char(x->s[q]);)
                q++;
            put(x, T_NAME, x->at, x->s + x->at, q - x->at, 0);
            x->at = q;
        } else if (x->s[x->at] == '"' || x->s[x->at] == '\'') {
            lex_string(x);
        } else {
            lex_op(x, stack, &depth);
        }
    }
}

void jlex(struct jparse *p)
{
    struct lexer x = {.p = p, .s = p->t->src, .n = p->t->n};
    while (x.at < x.n) {
        size_t from = x.at, q = from, begin;
        char sign;
        while (q < x.n &&
               !(x.s[q] == '{' && q + 1 < x.n && strchr("%{#", x.s[q + 1]) && x.s[q + 1] != 0))
            q++;
        if (q == x.n) {
            put_data(&x, from, x.n);
            break;
        }
        sign = sign_at(&x, q + 2);
        put_data(&x, from, text_end(&x, from, q, sign, x.s[q + 1] == '{'));
        begin = x.at = q + 2 + (sign != 0);
        if (x.s[q + 1] == '#') {
            lex_comment(&x, begin);
        } else if (x.s[q + 1] == '{') {
            put(&x, T_VAR_BEGIN, q, "", 0, 0);
            lex_tag(&x, true);
        } else if (!lex_raw(&x, begin)) {
            put(&x, T_BLOCK_BEGIN, q, "", 0, 0);
            lex_tag(&x, false);
        }
    }
    put(&x, T_EOF, x.n, "", 0, 0);
}
