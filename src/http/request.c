/* request.c - what a parsed head asks for, and the one order of checks that every route shares:
 * framing, path, method, key, readiness, media type, declared length, expectation.
 *
 * Loop thread. The first head of a connection passed head.c already; later ones on a kept
 * connection are checked here only, as far as what microhttpd made of them still shows it.
 */
#include "request.h"

#include "head.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_token(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (s[i] <= ' ' || s[i] >= 127 || strchr("()<>@,;:\\\"/[]?={}", s[i]))
            return false;
    return n > 0;
}

void request_field(struct req *r, struct head *hd, const char *k, size_t nk, const char *v,
                   size_t nv)
{
    hd->n_fields++;
    hd->n_bytes += nk + nv + 4;
    hd->bad_name |= !is_token(k, nk);
    if (!v)
        v = "";
    hd->bad_value |= strlen(v) != nv;
    for (size_t i = 0; i < nv; i++)
        hd->bad_value |= (unsigned char)v[i] < 0x20 && v[i] != '\t';
    if (strcasecmp(k, "content-length") == 0) {
        hd->n_length++;
        hd->length = v;
    } else if (strcasecmp(k, "transfer-encoding") == 0) {
        hd->n_encoding++;
        hd->encoding = v;
    } else if (strcasecmp(k, "host") == 0) {
        hd->n_host++;
    } else if (strcasecmp(k, "content-type") == 0) {
        hd->type = v;
    } else if (strcasecmp(k, "content-encoding") == 0) {
        hd->coding = v;
    } else if (strcasecmp(k, "expect") == 0) {
        hd->expect = v;
    } else if (strcasecmp(k, "authorization") == 0) {
        hd->auth = v;
    } else if (strcasecmp(k, "x-api-key") == 0) {
        hd->api_key = v;
    } else if (strcasecmp(k, "x-request-id") == 0) {
        hd->rid = v;
    } else if (strcasecmp(k, "access-control-request-headers") == 0) {
        hd->acrh = v;
    } else if (strcasecmp(k, "origin") == 0 && !r->origin) {
        r->origin = xstrdup(v);
    }
}

void request_id(struct req *r, const char *given)
{
    size_t n = given ? strlen(given) : 0;
    r->id_given = head_id_ok(given ? given : "", n);
    if (r->id_given) {
        memcpy(r->id, given, n + 1);
        return;
    }
    memcpy(r->id, "req_", 4);
    server_random(r->h, r->id + 4, 32);
}

static int check_auth(struct req *r, const struct head *hd, struct err *e)
{
    struct http *h = r->h;
    bool open = r->route->open && !(h->c.metrics_require_auth && r->route->run == api_metrics);
    if (h->keys.n == 0 || open)
        return 0;
    const char *key = NULL;
    if (hd->auth && strncasecmp(hd->auth, "bearer ", 7) == 0)
        key = hd->auth + 7 + strspn(hd->auth + 7, " ");
    else if (hd->api_key)
        key = hd->api_key;
    if (key && keys_check(&h->keys, key, strlen(key), &r->tenant))
        return 0;
    return err_set(e, ST_UNAUTHORIZED,
                   key ? "The API key is not known here."
                       : "An API key is required: Authorization: Bearer KEY.");
}

static int check_ready(struct req *r, struct err *e)
{
    struct http *h = r->h;
    int load = atomic_load(&h->load);
    if (!r->route->needs_model)
        return 0;
    if (load == LOAD_FAILED)
        return err_set(e, ST_ENGINE_DOWN, "The model could not be loaded.");
    if (load != LOAD_READY)
        return err_set(e, ST_LOADING, "The model is still loading.");
    if (h->run >= RUN_DRAIN)
        return err_set(e, ST_DRAINING, "The server is shutting down.");
    if (!server_engine_ok(h))
        return err_set(e, ST_ENGINE_DOWN, "The engine is not available.");
    return 0;
}

static int check_media(const char *type, const char *coding, struct err *e)
{
    size_t n = type ? strcspn(type, "; \t") : 0;
    bool json = n == 16 && strncasecmp(type, "application/json", 16) == 0;
    if (n > 17 && strncasecmp(type, "application/", 12) == 0 &&
        strncasecmp(type + n - 5, "+json", 5) == 0)
        json = true;
    if (!json)
        return err_set(e, ST_MEDIA_TYPE, "Send the body with 'Content-Type: application/json'.");
    const char *cs = strcasestr(type + n, "charset=");
    if (cs) {
        cs += 8;
        cs += *cs == '"';
        size_t k = strcspn(cs, "\"; \t");
        if (!(k == 5 && strncasecmp(cs, "utf-8", 5) == 0) &&
            !(k == 4 && strncasecmp(cs, "utf8", 4) == 0))
            return err_set(e, ST_MEDIA_TYPE, "Only the charset utf-8 is supported.");
    }
    if (coding && *coding && strcasecmp(coding, "identity") != 0)
        return err_set(e, ST_MEDIA_TYPE, "Only the content coding identity is supported.");
    return 0;
}

/* Framing faults that microhttpd lets pass (P-20): all of them end the connection. */
static int check_framing(struct req *r, const struct head *hd, const char *version, struct err *e)
{
    r->close = true;
    if (strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0)
        return err_set(e, ST_HTTP_VERSION, "Only HTTP/1.0 and HTTP/1.1 are supported.");
    r->http10 = version[7] == '0';
    if (strlen(r->uri) > URI_MAX)
        return err_set(e, ST_URI_TOO_LONG, "The request target is longer than %d bytes.", URI_MAX);
    if (hd->n_bytes > (size_t)r->h->c.max_header_bytes || hd->n_fields > HEADER_FIELDS_MAX)
        return err_set(e, ST_HEADERS_TOO_LARGE, "The header is above %lld bytes or %d fields.",
                       (long long)r->h->c.max_header_bytes, HEADER_FIELDS_MAX);
    if (hd->bad_name || hd->bad_value)
        return err_set(e, ST_BAD_REQUEST, "A header field is malformed.");
    if (hd->n_length > 1 || hd->n_encoding > 1 || (hd->n_length && hd->n_encoding))
        return err_set(e, ST_BAD_REQUEST, "The length of the body is given more than once.");
    if (hd->n_host > 1 || (!r->http10 && hd->n_host != 1))
        return err_set(e, ST_BAD_REQUEST, "Exactly one Host header is required.");
    if (hd->n_encoding && (strcasecmp(hd->encoding, "chunked") != 0 || r->http10))
        return err_set(e, ST_BAD_REQUEST, "The only transfer coding is chunked, in HTTP/1.1.");
    if (hd->length && strspn(hd->length, "0123456789") != strlen(hd->length))
        return err_set(e, ST_BAD_REQUEST, "Content-Length is not a number.");
    r->chunked = hd->n_encoding > 0;
    r->close = false;
    return 0;
}

static int method_bit(const char *m)
{
    return strcmp(m, "GET") == 0 || strcmp(m, "HEAD") == 0 ? M_GET
           : strcmp(m, "POST") == 0                        ? M_POST
                                                           : 0;
}

int request_check(struct req *r, const struct head *hd, const char *version, struct err *e)
{
    int st = check_framing(r, hd, version, e);
    st = st ? st : route_find(r, e);
    if (st)
        return st;
    r->allow = route_allow(r->route);
    if (strcmp(r->method, "OPTIONS") == 0)
        return 0;
    if (!(r->route->methods & method_bit(r->method)))
        return err_set(e, ST_METHOD, "This path answers %s.", r->allow);
    r->allow = NULL;
    st = check_auth(r, hd, e);
    st = st ? st : check_ready(r, e);
    if (st || r->route->methods != M_POST)
        return st;
    st = check_media(hd->type, hd->coding, e);
    if (st)
        return st;
    if (hd->length && (strlen(hd->length) > 15 || atoll(hd->length) > r->h->c.max_body_bytes)) {
        r->close = true;
        return err_set(e, ST_BODY_TOO_LARGE, "The body is larger than %lld bytes.",
                       (long long)r->h->c.max_body_bytes);
    }
    if (hd->expect && !r->http10 && strcasecmp(hd->expect, "100-continue") != 0)
        return err_set(e, ST_EXPECTATION, "The only expectation known is 100-continue.");
    return 0;
}
