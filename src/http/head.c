/* SPDX-License-Identifier: Apache-2.0 */
/* head.c - the request head, byte by byte, as RFC 9112 writes it and nothing beside it. Pure.
 *
 * Bounded: a method of METHOD_MAX, a target of URI_MAX, HEADER_FIELDS_MAX lines and the caller's
 * bytes; whatever is longer is refused as soon as it is seen, complete or not.
 */
#include "head.h"

#include "handler.h"

#include <string.h>
#include <strings.h>

struct scan {
    const char *s;
    size_t n, at, max_header_bytes;
    struct head_facts f;
    struct head_seen *seen;
    struct err *e;
};

static int malformed(struct scan *p)
{
    return err_set(p->e, ST_BAD_REQUEST, "The request line is malformed.");
}

/* HTTP/d.d and CRLF at s[at..]; they may not all be here yet. */
static int scan_version(struct scan *p)
{
    static const char form[] = "HTTP/d.d\r\n";
    const char *v = p->s + p->at;
    size_t have = p->n - p->at;
    for (size_t i = 0; i < sizeof form - 1; i++) {
        if (i == have)
            return HEAD_MORE;
        if (form[i] == 'd' ? v[i] < '0' || v[i] > '9' : v[i] != form[i])
            return malformed(p);
    }
    p->f.version = v[5] != '1' || v[7] > '1' ? VERSION_OTHER
                   : v[7] == '0'             ? VERSION_10
                                             : VERSION_11;
    p->at += sizeof form - 1;
    return framing_check(&p->f, p->max_header_bytes, p->e);
}

static int scan_request_line(struct scan *p)
{
    size_t i = 0;
    while (i < p->n && i <= METHOD_MAX && framing_token_char((unsigned char)p->s[i]))
        i++;
    if (i > METHOD_MAX || (i < p->n && (i == 0 || p->s[i] != ' ')))
        return malformed(p);
    if (i == p->n)
        return HEAD_MORE;
    p->seen->is_head = i == 4 && memcmp(p->s, "HEAD", 4) == 0;
    size_t target = ++i;
    while (i < p->n && (unsigned char)p->s[i] > ' ' && p->s[i] != 0x7F && i - target <= URI_MAX)
        i++;
    p->f.n_target = i - target;
    int st = framing_check(&p->f, p->max_header_bytes, p->e);
    if (st)
        return st;
    if (i == p->n)
        return HEAD_MORE;
    if (p->s[i] != ' ' || i == target)
        return malformed(p);
    p->at = i + 1;
    return scan_version(p);
}

static bool name_is(const char *s, size_t n, const char *name)
{
    return n == strlen(name) && strncasecmp(s, name, n) == 0;
}

static int field(struct scan *p, const char *name, size_t n_name, const char *v, size_t n)
{
    struct head_facts *f = &p->f;
    framing_field(f, name, n_name, v, n);
    if (f->bad_length || f->bad_encoding)
        f->n_length = f->n_encoding = 0; /* this line's own fault is named before their number */
    else if (n > 15 && name_is(name, n_name, "content-length"))
        return err_set(p->e, ST_BODY_TOO_LARGE, "The body is too large.");
    else if (name_is(name, n_name, "content-length"))
        for (size_t i = 0; i < n; i++)
            p->seen->length = p->seen->length * 10 + (uint64_t)(v[i] - '0');
    p->seen->chunked = f->n_encoding > 0;
    if (name_is(name, n_name, "x-request-id") && req_id_ok(v, n)) {
        memcpy(p->seen->id, v, n);
        p->seen->id[n] = '\0';
    }
    return framing_check(f, p->max_header_bytes, p->e);
}

static int malformed_field(struct scan *p)
{
    p->f.bad_field = true;
    return framing_check(&p->f, p->max_header_bytes, p->e);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* One line [at, end), without its CRLF. */
static int scan_field(struct scan *p, size_t end)
{
    size_t i = p->at;
    while (i < end && framing_token_char((unsigned char)p->s[i]))
        i++;
    if (i == p->at || i == end || p->s[i] != ':')
        return malformed_field(p);
    const char *name = p->s + p->at, *v = p->s + i + 1;
    size_t n_name = i - p->at, n = end - i - 1;
    for (size_t k = 0; k < n; k++)
        if (((unsigned char)v[k] < ' ' && v[k] != '\t') || v[k] == 0x7F)
            return malformed_field(p);
    for (; n && is_blank(*v); v++)
        n--;
    for (; n && is_blank(v[n - 1]); n--)
        p->seen->blanks = true;
    return field(p, name, n_name, v, n);
}

static int scan_fields(struct scan *p)
{
    size_t begin = p->at;
    for (;;) {
        size_t left = p->n - p->at;
        const char *lf = left ? memchr(p->s + p->at, '\n', left) : NULL;
        size_t end = lf ? (size_t)(lf - p->s) : p->n;
        p->f.n_bytes = end - begin;
        int st = framing_check(&p->f, p->max_header_bytes, p->e);
        if (st)
            return st;
        if (!lf)
            return HEAD_MORE;
        if (end == p->at || p->s[end - 1] != '\r')
            return err_set(p->e, ST_BAD_REQUEST, "A header line does not end with CR LF.");
        if (end - 1 == p->at)
            break;
        if ((st = scan_field(p, end - 1)) != 0)
            return st;
        p->f.n_fields++;
        p->at = end + 1;
    }
    p->f.complete = true;
    p->seen->n = p->at + 2;
    return framing_check(&p->f, p->max_header_bytes, p->e);
}

int head_check(const char *s, size_t n, size_t max_header_bytes, struct head_seen *seen,
               struct err *e)
{
    struct scan p = {.s = s, .n = n, .max_header_bytes = max_header_bytes, .seen = seen, .e = e};
    *seen = (struct head_seen){0};
    int st = scan_request_line(&p);
    return st ? st : scan_fields(&p);
}

void head_tidy(char *s, size_t n)
{
    char *end = s + n, *line = (char *)memchr(s, '\n', n) + 1;
    while (line < end && *line != '\r') {
        char *lf = memchr(line, '\n', (size_t)(end - line));
        char *value = (char *)memchr(line, ':', (size_t)(lf - line)) + 1, *last = lf - 1;
        while (last > value && is_blank(last[-1]))
            last--;
        size_t blanks = (size_t)(lf - 1 - last);
        if (last > value && blanks > 0) {
            memmove(value + blanks, value, (size_t)(last - value));
            memset(value, ' ', blanks);
        }
        line = lf + 1;
    }
}
