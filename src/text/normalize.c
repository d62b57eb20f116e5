/* SPDX-License-Identifier: Apache-2.0 */
/* normalize.c - the Unicode normal forms (data from utf8proc), and the simple rewriting steps.
 *
 * utf8proc's own whole-string calls sort combining marks by swapping neighbours, which is quadratic
 * on a long run of marks, so the text is cut into segments here and long runs are sorted by class
 * with a stable counting sort. A segment for NFC begins at a code point that composes with nothing
 * before it. Pure functions, any thread; the table of quiet code points is filled once. */
#include "normalize.h"

#include "mem.h"
#include "uclass.h"
#include "utf8.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { QUIET_END = 0x30000, CP_CHUNK = 32 };

struct cps {
    utf8proc_int32_t *p;
    size_t n, cap;
};

static utf8proc_int32_t *cps_room(struct cps *c, size_t more)
{
    if (c->cap - c->n < more) {
        c->cap = c->cap + c->cap / 2 + more;
        c->p = xrealloc(c->p, c->cap * sizeof *c->p);
    }
    return c->p + c->n;
}

static int combining_class(utf8proc_int32_t c)
{
    return utf8proc_get_property(c)->combining_class;
}

/* quiet: a code point that NFC keeps and that neither reorders nor composes with what stands before
 * it. Above QUIET_END utf8proc has no decomposition and no mark that matters to NFC. */
static uint8_t quiet_bit[QUIET_END / 8];

static void set_quiet(uint32_t c, bool on)
{
    if (on)
        quiet_bit[c / 8] |= (uint8_t)(1u << c % 8);
    else
        quiet_bit[c / 8] &= (uint8_t) ~(1u << c % 8);
}

static bool quiet(uint32_t c)
{
    return c >= QUIET_END || (quiet_bit[c / 8] >> c % 8 & 1);
}

static void fill_quiet(void)
{
    utf8proc_int32_t d[CP_CHUNK];
    for (uint32_t c = 0; c < QUIET_END; c++)
        set_quiet(c, (c >= 0xD800 && c < 0xE000) || combining_class((utf8proc_int32_t)c) == 0);
    for (uint32_t c = 0; c < QUIET_END; c++) {
        int last = 0;
        utf8proc_ssize_t n;
        if (c >= 0xD800 && c < 0xE000)
            continue;
        n = utf8proc_decompose_char((utf8proc_int32_t)c, d, CP_CHUNK, UTF8PROC_DECOMPOSE, &last);
        if (n <= 0 || n > CP_CHUNK || (n == 1 && d[0] == (utf8proc_int32_t)c))
            continue;
        for (utf8proc_ssize_t i = 1; i < n; i++)
            set_quiet((uint32_t)d[i], false);
        n = utf8proc_normalize_utf32(d, n, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
        if (n != 1 || d[0] != (utf8proc_int32_t)c)
            set_quiet(c, false);
    }
}

static pthread_once_t quiet_once = PTHREAD_ONCE_INIT;

static bool is_ascii(const char *s, size_t n)
{
    unsigned char any = 0;
    for (size_t i = 0; i < n; i++)
        any |= (unsigned char)s[i];
    return any < 0x80;
}

/* Offset of the first code point that is not quiet, or n. */
static size_t quiet_prefix(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n) {
        unsigned len = 1;
        if ((unsigned char)s[i] >= 0xCC && !quiet(utf8_get(s + i, &len)))
            return i;
        i += (unsigned char)s[i] < 0xCC ? utf8_len((unsigned char)s[i]) : len;
    }
    return n;
}

/* ---- canonical order ---- */

/* Stable sort of a run of marks by class (1 to 254). */
static void sort_run(utf8proc_int32_t *p, size_t n)
{
    size_t at[256] = {0};
    utf8proc_int32_t *tmp;
    if (n <= 16) {
        for (size_t i = 1; i < n; i++) {
            utf8proc_int32_t c = p[i];
            size_t j = i;
            for (; j > 0 && combining_class(p[j - 1]) > combining_class(c); j--)
                p[j] = p[j - 1];
            p[j] = c;
        }
        return;
    }
    tmp = xcalloc2(n, sizeof *tmp);
    for (size_t i = 0; i < n; i++)
        at[combining_class(p[i]) & 255]++;
    for (size_t c = 0, sum = 0; c < 256; c++) {
        size_t k = at[c];
        at[c] = sum;
        sum += k;
    }
    for (size_t i = 0; i < n; i++)
        tmp[at[combining_class(p[i]) & 255]++] = p[i];
    memcpy(p, tmp, n * sizeof *p);
    free(tmp);
}

static void canonical_order(struct cps *c)
{
    size_t i = 0;
    while (i < c->n) {
        size_t b = i;
        while (i < c->n && combining_class(c->p[i]) != 0)
            i++;
        if (i - b > 1)
            sort_run(c->p + b, i - b);
        if (i == b)
            i++;
    }
}

/* Decompose, order and perhaps compose s, and append it. */
static void normal_form(struct cps *c, enum norm_kind kind, const char *s, size_t n,
                        struct buf *out)
{
    bool compat = kind == NORM_NFKC || kind == NORM_NFKD;
    bool compose = kind == NORM_NFC || kind == NORM_NFKC;
    utf8proc_option_t how = UTF8PROC_DECOMPOSE;
    if (compat)
        how |= UTF8PROC_COMPAT;
    c->n = 0;
    for (size_t i = 0; i < n;) {
        unsigned len;
        int last = 0;
        utf8proc_int32_t cp = (utf8proc_int32_t)utf8_get(s + i, &len);
        utf8proc_ssize_t k = utf8proc_decompose_char(cp, cps_room(c, CP_CHUNK), CP_CHUNK, how,
                                                     &last);
        if (k <= 0 || k > CP_CHUNK) {
            c->p[c->n] = cp;
            k = 1;
        }
        c->n += (size_t)k;
        i += len;
    }
    canonical_order(c);
    if (compose && c->n > 0) {
        utf8proc_ssize_t k = utf8proc_normalize_utf32(c->p, (utf8proc_ssize_t)c->n,
                                                      UTF8PROC_COMPOSE | UTF8PROC_STABLE);
        c->n = k < 0 ? c->n : (size_t)k;
    }
    for (size_t i = 0; i < c->n; i++) {
        char u[4];
        buf_add(out, u, utf8_put(u, (uint32_t)c->p[i]));
    }
}

static void run_nfc(const char *s, size_t n, struct buf *out)
{
    struct cps c = {0};
    size_t i = 0;
    while (i < n) {
        size_t begin = i + quiet_prefix(s + i, n - i), end = begin;
        unsigned len;
        if (begin < n && begin > i) { /* the starter before it belongs to the segment */
            utf8_before(s + begin, &len);
            begin -= len;
        }
        buf_add(out, s + i, begin - i);
        while (end < n && !quiet(utf8_get(s + end, &len)))
            end += len;
        normal_form(&c, NORM_NFC, s + begin, end - begin, out);
        i = end;
    }
    free(c.p);
}

/* ---- the other steps ---- */

static void run_lowercase(const char *s, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n;) {
        unsigned len;
        uint32_t c = utf8_get(s + i, &len);
        char u[4];
        if (c == 0x130) /* the one code point whose full lower case is two */
            buf_add(out, "i\xCC\x87", 3);
        else
            buf_add(out, u, utf8_put(u, (uint32_t)utf8proc_tolower((utf8proc_int32_t)c)));
        i += len;
    }
}

static void run_strip(const struct norm_step *step, const char *s, size_t n, struct buf *out)
{
    size_t b = 0;
    unsigned len;
    while (step->left && b < n && uclass_space(utf8_get(s + b, &len)))
        b += len;
    while (step->right && n > b && uclass_space(utf8_before(s + n, &len)))
        n -= len;
    buf_add(out, s + b, n - b);
}

static void run_strip_accents(const char *s, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n;) {
        unsigned len;
        if (!uclass_mark(utf8_get(s + i, &len)))
            buf_add(out, s + i, len);
        i += len;
    }
}

static int run_replace(const struct norm_step *step, struct rx_run *run, const char *s, size_t n,
                       struct buf *out)
{
    struct rx_walk walk = {0};
    size_t at = 0, b, e;
    int got;
    if (!step->rx) {
        const char *hit;
        while (step->from_n && at < n && (hit = memmem(s + at, n - at, step->from, step->from_n))) {
            buf_add(out, s + at, (size_t)(hit - s) - at);
            buf_add(out, step->to, step->to_n);
            at = (size_t)(hit - s) + step->from_n;
        }
        buf_add(out, s + at, n - at);
        return 0;
    }
    while ((got = rx_walk(step->rx, run, s, n, &walk, &b, &e)) > 0) {
        buf_add(out, s + at, b - at);
        buf_add(out, step->to, step->to_n);
        at = e;
    }
    if (got < 0)
        return got;
    buf_add(out, s + at, n - at);
    return 0;
}

static int run_step(const struct norm_step *step, struct rx_run *run, const char *s, size_t n,
                    struct buf *out)
{
    struct cps c = {0};
    switch (step->kind) {
    case NORM_NFC:
        run_nfc(s, n, out);
        break;
    case NORM_NFD:
    case NORM_NFKC:
    case NORM_NFKD:
        normal_form(&c, step->kind, s, n, out);
        free(c.p);
        break;
    case NORM_LOWERCASE:
        run_lowercase(s, n, out);
        break;
    case NORM_PREPEND:
        if (n)
            buf_add(out, step->to, step->to_n);
        buf_add(out, s, n);
        break;
    case NORM_REPLACE:
        return run_replace(step, run, s, n, out);
    case NORM_STRIP:
        run_strip(step, s, n, out);
        break;
    case NORM_STRIP_ACCENTS:
        run_strip_accents(s, n, out);
        break;
    }
    return 0;
}

/* ---- public ---- */

void normalizer_fini(struct normalizer *m)
{
    for (int i = 0; i < m->n; i++) {
        rx_free(m->step[i].rx);
        free(m->step[i].from);
        free(m->step[i].to);
    }
    m->n = 0;
}

static bool step_may_change(const struct norm_step *step, const char *s, size_t n)
{
    switch (step->kind) {
    case NORM_NFC:
        pthread_once(&quiet_once, fill_quiet);
        return quiet_prefix(s, n) != n;
    case NORM_NFD:
    case NORM_NFKC:
    case NORM_NFKD:
    case NORM_STRIP_ACCENTS:
        return !is_ascii(s, n);
    case NORM_PREPEND:
        return n != 0;
    case NORM_REPLACE:
        return step->rx || (step->from_n && memmem(s, n, step->from, step->from_n));
    default:
        return true;
    }
}

bool normalizer_may_change(const struct normalizer *m, const char *s, size_t n)
{
    for (int i = 0; i < m->n; i++)
        if (step_may_change(&m->step[i], s, n))
            return true;
    return false;
}

int normalizer_run(const struct normalizer *m, struct rx_run *run, const char *s, size_t n,
                   struct buf *out)
{
    struct buf tmp[2] = {0};
    const char *in = s;
    int st = 0;
    for (int i = 0; i < m->n && st == 0; i++) {
        struct buf *to = &tmp[i & 1];
        if (!step_may_change(&m->step[i], in, n))
            continue;
        if (to->p && in == to->p) /* a skipped step left the text on this side */
            to = &tmp[(i & 1) ^ 1];
        to->n = 0;
        st = run_step(&m->step[i], run, in, n, to);
        in = to->p ? to->p : "";
        n = to->n;
    }
    if (st == 0)
        buf_add(out, in, n);
    buf_free(&tmp[0]);
    buf_free(&tmp[1]);
    return st;
}
