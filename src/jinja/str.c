/* SPDX-License-Identifier: Apache-2.0 */
/* str.c - strings that know which of their bytes came from the caller.
 *
 * A string is a view plus its taint: none, all, or sorted segments. Cutting and joining keep it, so
 * special-token text inside a message stays recognisable in the output. Runs on the rendering
 * thread; memory is the run's arena.
 */
#include "str.h"

#include "utf8.h"

#include <stdio.h>

static bool all_ascii(const char *p, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t w;
        memcpy(&w, p + i, 8);
        if (w & 0x8080808080808080u)
            return false;
    }
    for (; i < n; i++)
        if ((unsigned char)p[i] >= 0x80)
            return false;
    return true;
}

struct jstr *jstr_over(struct arena *mem, const char *p, size_t n, bool taint)
{
    struct jstr *s = n <= UINT32_MAX / 2 ? arena_alloc(mem, sizeof *s) : NULL;
    if (!s)
        return NULL;
    s->p = p;
    s->n = (uint32_t)n;
    s->taint = taint && n ? TAINT_ALL : TAINT_NONE;
    s->ascii = all_ascii(p, n);
    return s;
}

struct jv jstr_val(struct jrun *r, const char *p, size_t n, bool taint)
{
    struct jstr *s;
    jcharge(r, n / 64);
    s = jstr_over(&r->mem, p, n, taint);
    if (!s)
        jfail(r, "out of memory");
    return jv_str(s);
}

struct jv jstr_lit(struct jrun *r, const char *lit)
{
    return jstr_val(r, lit, strlen(lit), false);
}

/* The first segment of s that ends after byte `at`. */
static uint32_t seg_at(const struct jstr *s, size_t at)
{
    uint32_t lo = 0, hi = s->n_seg;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (s->seg[mid].end <= at)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

bool jstr_tainted(const struct jstr *s, size_t at)
{
    uint32_t i;
    if (s->taint != TAINT_SOME)
        return s->taint == TAINT_ALL;
    i = seg_at(s, at);
    return i < s->n_seg && s->seg[i].begin <= at;
}

struct jv jstr_cut(struct jrun *r, const struct jstr *s, size_t off, size_t n)
{
    struct jsb b;
    if (off == 0 && n == s->n)
        return jv_str(s);
    if (s->taint != TAINT_SOME)
        return jstr_val(r, s->p + off, n, s->taint == TAINT_ALL);
    jsb_init(&b, r);
    jsb_part(&b, s, off, n);
    return jsb_val(&b);
}

struct jv jstr_cat(struct jrun *r, const struct jstr *const *v, uint32_t n)
{
    struct jsb b;
    size_t total = 0;
    if (n == 1)
        return jv_str(v[0]);
    jsb_init(&b, r);
    for (uint32_t i = 0; i < n; i++)
        total += v[i]->n;
    b.p = jalloc(r, total + 1);
    b.cap = total + 1;
    for (uint32_t i = 0; i < n; i++)
        jsb_str(&b, v[i]);
    return jsb_val(&b);
}

uint32_t jstr_chars(struct jrun *r, const struct jstr *s)
{
    if (s->ascii)
        return s->n;
    jcharge(r, s->n / 64);
    return (uint32_t)utf8_count(s->p, s->n);
}

size_t jstr_offset(const struct jstr *s, size_t i)
{
    size_t at = 0;
    if (s->ascii)
        return i;
    while (i-- > 0 && at < s->n)
        at += utf8_len((unsigned char)s->p[at]);
    return at;
}

struct jv jstr_char_list(struct jrun *r, const struct jstr *s)
{
    struct jlist *l = jlist_new(r, jstr_chars(r, s));
    for (size_t at = 0; at < s->n;) {
        unsigned k = utf8_len((unsigned char)s->p[at]);
        jlist_add(r, l, jstr_cut(r, s, at, k));
        at += k;
    }
    return jv_list(l, JV_LIST);
}

size_t jstr_find(struct jrun *r, const struct jstr *s, const struct jstr *pat, size_t from)
{
    const char *hit;
    if (from > s->n || pat->n > s->n - from)
        return SIZE_MAX;
    hit = memmem(s->p + from, s->n - from, pat->p, pat->n);
    jcharge(r, ((hit ? (size_t)(hit - s->p) : s->n) - from) / 64);
    return hit ? (size_t)(hit - s->p) : SIZE_MAX;
}

size_t jstr_rfind(struct jrun *r, const struct jstr *s, const struct jstr *pat, size_t end)
{
    size_t at;
    if (pat->n > end)
        return SIZE_MAX;
    for (at = end - pat->n;; at--) {
        jcharge(r, at % 16 == 0);
        if (pat->n == 0)
            return at;
        if (s->p[at] == pat->p[0]) {
            jcharge(r, pat->n / 64);
            if (memcmp(s->p + at, pat->p, pat->n) == 0)
                return at;
        }
        if (at == 0)
            return SIZE_MAX;
    }
}

bool jchar_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

static bool char_in(const struct jstr *chars, const char *p, unsigned k)
{
    for (size_t i = 0; i < chars->n; i += utf8_len((unsigned char)chars->p[i]))
        if (utf8_len((unsigned char)chars->p[i]) == k && memcmp(chars->p + i, p, k) == 0)
            return true;
    return false;
}

struct jv jstr_strip(struct jrun *r, const struct jstr *s, const struct jstr *chars, int side)
{
    size_t b = 0, e = s->n;
    unsigned k;
    uint64_t cost = 1 + (chars ? chars->n / 16 : 0);
    for (; (side & 1) && b < e; b += k) {
        uint32_t c = utf8_get(s->p + b, &k);
        jcharge(r, cost);
        if (!(chars ? char_in(chars, s->p + b, k) : jchar_space(c)))
            break;
    }
    for (; (side & 2) && b < e; e -= k) {
        uint32_t c = utf8_before(s->p + e, &k);
        jcharge(r, cost);
        if (!(chars ? char_in(chars, s->p + e - k, k) : jchar_space(c)))
            break;
    }
    return jstr_cut(r, s, b, e - b);
}

/* ---- building ---- */

void jsb_init(struct jsb *b, struct jrun *r)
{
    *b = (struct jsb){.r = r};
}

static void room(struct jsb *b, size_t n)
{
    size_t cap = b->cap ? b->cap : 64;
    char *p;
    if (b->limit && n > b->limit - b->n)
        jfail(b->r, "the output is longer than %zu bytes", b->limit);
    if (n <= b->cap - b->n)
        return;
    if (n > UINT32_MAX / 4 || b->n > UINT32_MAX / 4)
        jfail(b->r, "a string is too long");
    while (cap - b->n < n)
        cap *= 2;
    p = jalloc(b->r, cap);
    if (b->n)
        memcpy(p, b->p, b->n);
    b->p = p;
    b->cap = cap;
}

static void mark(struct jsb *b, size_t begin, size_t end)
{
    struct jseg *v;
    if (b->n_seg && b->seg[b->n_seg - 1].end == begin) {
        b->seg[b->n_seg - 1].end = (uint32_t)end;
        return;
    }
    if (b->n_seg == b->cap_seg) {
        b->cap_seg = b->cap_seg ? b->cap_seg * 2 : 8;
        v = jalloc2(b->r, b->cap_seg, sizeof *v);
        if (b->n_seg)
            memcpy(v, b->seg, b->n_seg * sizeof *v);
        b->seg = v;
    }
    b->seg[b->n_seg++] = (struct jseg){(uint32_t)begin, (uint32_t)end};
}

void jsb_add(struct jsb *b, const char *p, size_t n, bool taint)
{
    if (n == 0)
        return;
    jcharge(b->r, n / 64);
    room(b, n);
    memcpy(b->p + b->n, p, n);
    if (taint)
        mark(b, b->n, b->n + n);
    b->n += n;
}

void jsb_part(struct jsb *b, const struct jstr *s, size_t off, size_t n)
{
    size_t base = b->n;
    if (s->taint != TAINT_SOME || n == 0) {
        jsb_add(b, s->p + off, n, s->taint == TAINT_ALL);
        return;
    }
    jsb_add(b, s->p + off, n, false);
    for (uint32_t i = seg_at(s, off); i < s->n_seg && s->seg[i].begin < off + n; i++) {
        size_t from = s->seg[i].begin > off ? s->seg[i].begin : off;
        size_t to = s->seg[i].end < off + n ? s->seg[i].end : off + n;
        mark(b, base + from - off, base + to - off);
    }
}

void jsb_str(struct jsb *b, const struct jstr *s)
{
    jsb_part(b, s, 0, s->n);
}

void jsb_lit(struct jsb *b, const char *lit)
{
    jsb_add(b, lit, strlen(lit), false);
}

void jsb_char(struct jsb *b, uint32_t c, bool taint)
{
    char u[4] = {0};
    jsb_add(b, u, utf8_put(u, c), taint);
}

void jsb_fmt(struct jsb *b, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    int n;
    va_start(ap, fmt);
    n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n > 0)
        jsb_add(b, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1, false);
}

struct jv jsb_val(struct jsb *b)
{
    struct jstr *s = jstr_over(&b->r->mem, b->p ? b->p : "", b->n, false);
    if (!s)
        jfail(b->r, "out of memory");
    if (b->n_seg == 1 && b->seg[0].begin == 0 && b->seg[0].end == b->n) {
        s->taint = TAINT_ALL;
    } else if (b->n_seg) {
        s->taint = TAINT_SOME;
        s->n_seg = b->n_seg;
        s->seg = b->seg;
    }
    return jv_str(s);
}
