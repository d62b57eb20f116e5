/* SPDX-License-Identifier: Apache-2.0 */
/* request.c - what a parsed head asks for, and the one order of checks that every route shares:
 * path, method, key, readiness, media type, declared length, expectation.
 *
 * Loop thread. Every head passed head.c (intake.c): its framing is right.
 */
#include "request.h"

#include "random.h"
#include "route.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void keep(char **at, const char *v)
{
    if (!*at)
        *at = strdup(v);
}

void request_field(struct exchange *x, struct head_fields *hd, const char *k, const char *v)
{
    if (!v)
        v = "";
    const struct {
        const char *name, **at;
    } kept[] = {{"content-length", &hd->length},   {"content-type", &hd->type},
                {"content-encoding", &hd->coding}, {"expect", &hd->expect},
                {"authorization", &hd->auth},      {"x-api-key", &hd->api_key},
                {"x-request-id", &hd->id}};
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        if (strcasecmp(k, kept[i].name) == 0)
            *kept[i].at = v;
    hd->coded |= strcasecmp(k, "transfer-encoding") == 0;
    hd->body_bytes = hd->length ? strtoll(hd->length, NULL, 10) : 0;
    if (strcasecmp(k, "origin") == 0)
        keep(&x->head.origin, v);
    else if (strcasecmp(k, "access-control-request-headers") == 0)
        keep(&x->head.cors_headers, v);
}

void request_id(struct exchange *x, const char *given)
{
    struct req *r = &x->r;
    size_t n = given ? strlen(given) : 0;
    r->id_given = req_id_ok(given ? given : "", n);
    if (r->id_given) {
        memcpy(r->id, given, n + 1);
        return;
    }
    memcpy(r->id, "req_", 4);
    random_hex(r->id + 4, 32);
}

static int check_auth(struct req *r, const struct head_fields *hd, struct err *e)
{
    const struct tenants *all = &r->http->tenants;
    if (all->n_keys == 0)
        return 0;
    const char *key = NULL;
    if (hd->auth && strncasecmp(hd->auth, "bearer ", 7) == 0)
        key = hd->auth + 7 + strspn(hd->auth + 7, " ");
    else if (hd->api_key)
        key = hd->api_key;
    r->who = key ? tenants_find(all, key, strlen(key)) : NULL;
    if (r->who)
        r->tenant = r->who->id;
    if (r->who || r->handler->open)
        return 0;
    return err_set(e, ST_UNAUTHORIZED,
                   key ? "The API key is not known here."
                       : "An API key is required: Authorization: Bearer KEY.");
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

static int method_bit(const char *m)
{
    return strcmp(m, "GET") == 0 || strcmp(m, "HEAD") == 0 ? M_GET
           : strcmp(m, "POST") == 0                        ? M_POST
                                                           : 0;
}

static int check_body(struct exchange *x, const struct head_fields *hd, struct err *e)
{
    int64_t max = x->r.http->c->http.max_body_bytes;
    int st = check_media(hd->type, hd->coding, e);
    if (st)
        return st;
    if (hd->length && (strlen(hd->length) > 15 || hd->body_bytes > max)) {
        x->answer.close = true;
        return err_set(e, ST_BODY_TOO_LARGE, "The body is larger than %lld bytes.", (long long)max);
    }
    if (hd->expect && !x->head.http10 && strcasecmp(hd->expect, "100-continue") != 0)
        return err_set(e, ST_EXPECTATION, "The only expectation known is 100-continue.");
    return 0;
}

/* A path that nobody answers: what it may have meant, or where all are listed. */
static int no_such_path(const struct http *h, const char *uri, struct err *e)
{
    char shown[ROUTE_SHOWN];
    const char *near = route_nearest(h->table, h->n_handlers, uri), *list = h->hooks.paths;
    route_show(uri, shown);
    if (near)
        return err_set(e, ST_NOT_FOUND, "There is no path '%s' here. Did you mean %s?", shown,
                       near);
    if (list)
        return err_set(e, ST_NOT_FOUND, "There is no path '%s' here. GET %s lists those that are.",
                       shown, list);
    return err_set(e, ST_NOT_FOUND, "There is no path '%s' here.", shown);
}

int request_check(struct exchange *x, struct head_fields *hd, const char *version, struct err *e)
{
    struct req *r = &x->r;
    const struct http *h = r->http;
    x->head.http10 = strcmp(version, "HTTP/1.0") == 0;
    if (!route_good(x->head.uri))
        return err_set(e, ST_BAD_REQUEST, "The request target is malformed.");
    r->handler = route_find(h->table, h->n_handlers, x->head.uri);
    if (!r->handler)
        return no_such_path(h, x->head.uri, e);
    route_tail(x->head.uri, r->handler, x->head.tail);
    r->tail = x->head.tail;
    x->head.allow = route_allow(r->handler);
    x->head.options = strcmp(x->head.method, "OPTIONS") == 0;
    if (x->head.options)
        return 0;
    if (!(r->handler->methods & method_bit(x->head.method)))
        return err_set(e, ST_METHOD, "This path answers %s.", x->head.allow);
    x->head.allow = NULL;
    int st = check_auth(r, hd, e);
    if (st == 0 && r->handler->needs_service)
        st = h->hooks.ready(h->hooks.arg, e);
    if (st || r->handler->methods != M_POST)
        return st;
    return check_body(x, hd, e);
}
