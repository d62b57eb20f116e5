/* head.c - the request head, byte by byte, as RFC 9112 writes it and nothing beside it. Pure.
 *
 * Bounded: a method of METHOD_MAX, a target of URI_MAX, HEADER_FIELDS_MAX lines and the caller's
 * bytes; whatever is longer is refused as soon as it is seen, complete or not.
 */
#include "head.h"

#include <string.h>
#include <strings.h>

struct scan {
    const char *s;
    size_t n, at;
    bool http10;
    int n_length, n_encoding, n_host, n_fields;
    struct head_facts *f;
    struct err *e;
};

static bool is_tchar(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

bool head_id_ok(const char *s, size_t n)
{
    if (n < 1 || n > 128)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              (c && strchr("._:-", c))))
            return false;
    }
    return true;
}

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
    if (v[5] != '1' || v[7] > '1')
        return err_set(p->e, ST_HTTP_VERSION, "Only HTTP/1.0 and HTTP/1.1 are supported.");
    p->http10 = v[7] == '0';
    p->at += sizeof form - 1;
    return 0;
}

static int scan_request_line(struct scan *p)
{
    size_t i = 0;
    while (i < p->n && i <= METHOD_MAX && is_tchar((unsigned char)p->s[i]))
        i++;
    if (i > METHOD_MAX || (i < p->n && (i == 0 || p->s[i] != ' ')))
        return malformed(p);
    if (i == p->n)
        return HEAD_MORE;
    p->f->is_head = i == 4 && memcmp(p->s, "HEAD", 4) == 0;
    size_t target = ++i;
    while (i < p->n && (unsigned char)p->s[i] > ' ' && p->s[i] != 0x7F) {
        if (i - target >= URI_MAX)
            return err_set(p->e, ST_URI_TOO_LONG, "The request target is longer than %d bytes.",
                           URI_MAX);
        i++;
    }
    if (i == p->n)
        return HEAD_MORE;
    if (p->s[i] != ' ' || i == target)
        return malformed(p);
    p->at = i + 1;
    return scan_version(p);
}

static int refuse(struct scan *p, const char *why)
{
    return err_set(p->e, ST_BAD_REQUEST, "%s", why);
}

static bool name_is(const char *s, size_t n, const char *name)
{
    return n == strlen(name) && strncasecmp(s, name, n) == 0;
}

static int known_field(struct scan *p, const char *name, size_t n_name, const char *v, size_t n)
{
    if (name_is(name, n_name, "content-length")) {
        if (n == 0)
            return refuse(p, "Content-Length is not a number.");
        for (size_t i = 0; i < n; i++)
            if (v[i] < '0' || v[i] > '9')
                return refuse(p, "Content-Length is not a number.");
        if (n > 15)
            return err_set(p->e, ST_BODY_TOO_LARGE, "The body is too large.");
        p->n_length++;
    } else if (name_is(name, n_name, "transfer-encoding")) {
        if (!name_is(v, n, "chunked") || p->http10)
            return refuse(p, "The only transfer coding is chunked, in HTTP/1.1.");
        p->n_encoding++;
    } else if (name_is(name, n_name, "host")) {
        p->n_host++;
    } else if (name_is(name, n_name, "x-request-id") && head_id_ok(v, n)) {
        memcpy(p->f->id, v, n);
        p->f->id[n] = '\0';
    }
    if (p->n_length + p->n_encoding > 1)
        return refuse(p, "The length of the body is given more than once.");
    return 0;
}

/* One line [at, end), without its CRLF. */
static int scan_field(struct scan *p, size_t end)
{
    size_t i = p->at;
    while (i < end && is_tchar((unsigned char)p->s[i]))
        i++;
    if (i == p->at || i == end || p->s[i] != ':')
        return refuse(p, "A header field is malformed.");
    const char *name = p->s + p->at, *v = p->s + i + 1;
    size_t n_name = i - p->at, n = end - i - 1;
    for (size_t k = 0; k < n; k++)
        if (((unsigned char)v[k] < ' ' && v[k] != '\t') || v[k] == 0x7F)
            return refuse(p, "A header field is malformed.");
    for (; n && (*v == ' ' || *v == '\t'); v++)
        n--;
    while (n && (v[n - 1] == ' ' || v[n - 1] == '\t'))
        n--;
    return known_field(p, name, n_name, v, n);
}

static int scan_fields(struct scan *p, size_t max_bytes)
{
    size_t begin = p->at;
    for (;;) {
        size_t left = p->n - p->at;
        const char *lf = left ? memchr(p->s + p->at, '\n', left) : NULL;
        size_t end = lf ? (size_t)(lf - p->s) : p->n;
        if (end - begin > max_bytes || p->n_fields > HEADER_FIELDS_MAX)
            return err_set(p->e, ST_HEADERS_TOO_LARGE,
                           "The header is above %zu bytes or %d fields.", max_bytes,
                           HEADER_FIELDS_MAX);
        if (!lf)
            return HEAD_MORE;
        if (end == p->at || p->s[end - 1] != '\r')
            return refuse(p, "A header line does not end with CR LF.");
        if (end - 1 == p->at)
            break;
        int st = scan_field(p, end - 1);
        if (st)
            return st;
        p->n_fields++;
        p->at = end + 1;
    }
    if (p->n_host > 1 || (!p->http10 && p->n_host != 1))
        return refuse(p, "Exactly one Host header is required.");
    return 0;
}

int head_check(const char *s, size_t n, size_t max_header_bytes, struct head_facts *f,
               struct err *e)
{
    struct scan p = {.s = s, .n = n, .f = f, .e = e};
    *f = (struct head_facts){0};
    int st = scan_request_line(&p);
    return st ? st : scan_fields(&p, max_header_bytes);
}
