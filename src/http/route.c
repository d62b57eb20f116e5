/* route.c - every path of the server in one table, and the one way to read a request target. */
#include "state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct route routes[] = {
    {"/v1/completions", "completions", M_POST, false, true, true, api_completions},
    {"/v1/chat/completions", "chat_completions", M_POST, false, true, true, api_chat},
    {"/v1/models", "models", M_GET, false, false, false, api_models},
    {"/v1/models/", "model", M_GET, false, false, false, api_model}, /* with a tail */
    {"/tokenize", "tokenize", M_POST, false, true, false, api_tokenize},
    {"/v1/tokenize", "tokenize", M_POST, false, true, false, api_tokenize},
    {"/detokenize", "detokenize", M_POST, false, true, false, api_detokenize},
    {"/v1/detokenize", "detokenize", M_POST, false, true, false, api_detokenize},
    {"/health", "health", M_GET, true, false, false, api_health},
    {"/v1/health", "health", M_GET, true, false, false, api_health},
    {"/healthz", "health", M_GET, true, false, false, api_health},
    {"/ready", "ready", M_GET, true, false, false, api_ready},
    {"/readyz", "ready", M_GET, true, false, false, api_ready},
    {"/live", "live", M_GET, true, false, false, api_live},
    {"/livez", "live", M_GET, true, false, false, api_live},
    {"/ping", "ping", M_GET | M_POST, true, false, false, api_health},
    {"/metrics", "metrics", M_GET, true, false, false, api_metrics},
    {"/version", "version", M_GET, true, false, false, api_version},
};
enum { N_ROUTES = sizeof routes / sizeof routes[0] };
_Static_assert((int)N_ROUTES < (int)N_HANDLERS_MAX, "room for every route and for none");

int route_index(const void *route)
{
    return route ? (int)((const struct route *)route - routes) : N_ROUTES;
}

const char *route_name(int i)
{
    return i < N_ROUTES ? routes[i].name : i == N_ROUTES ? "none" : NULL;
}

const char *route_allow(const struct route *t)
{
    return t->methods == M_POST  ? "POST, OPTIONS"
           : t->methods == M_GET ? "GET, HEAD, OPTIONS"
                                 : "GET, HEAD, POST, OPTIONS";
}

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Decoded once, slashes folded, one trailing slash gone, the query cut. */
static bool decode_path(const char *uri, char *o)
{
    char *begin = o;
    if (strncmp(uri, "http://", 7) == 0) /* absolute form */
        uri = strchr(uri + 7, '/') ? strchr(uri + 7, '/') : "/";
    for (const char *p = uri; *p && *p != '?' && *p != '#'; p++) {
        int c = (unsigned char)*p;
        if (c == '%') {
            int a = hex(p[1]), b = a < 0 ? -1 : hex(p[2]);
            if (b < 0 || (a == 0 && b == 0))
                return false;
            c = a * 16 + b;
            p += 2;
        }
        if (c == '/' && o > begin && o[-1] == '/')
            continue;
        *o++ = (char)c;
    }
    if (o > begin + 1 && o[-1] == '/')
        o--;
    *o = '\0';
    return true;
}

int route_find(struct req *r, struct err *e)
{
    free(r->path);
    r->path = xalloc(strlen(r->uri) + 2);
    if (!decode_path(r->uri, r->path))
        return err_set(e, ST_BAD_REQUEST, "The request target is malformed.");
    for (int i = 0; i < N_ROUTES; i++) {
        size_t n = strlen(routes[i].path);
        bool tail = routes[i].path[n - 1] == '/';
        if (tail ? strncmp(r->path, routes[i].path, n) == 0 && r->path[n]
                 : strcmp(r->path, routes[i].path) == 0) {
            r->route = &routes[i];
            return 0;
        }
    }
    return err_set(e, ST_NOT_FOUND, "There is no such path.");
}

const char *route_tail(const struct req *r)
{
    return r->path + strlen(r->route->path);
}
