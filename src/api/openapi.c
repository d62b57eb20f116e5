/* SPDX-License-Identifier: Apache-2.0 */
/* openapi.c - GET /openapi.json: OpenAPI 3.1, made of the table of routes, the table of fields and
 * the table of statuses, so that it says what the code does. Loop thread.
 */
#include "openapi.h"

#include "field.h"
#include "json_out.h"
#include "life.h"
#include "openapi_fields.h"
#include "openapi_parts.h"
#include "reply.h"
#include "state.h"
#include "tenants.h"

#include <string.h>

/* ---- statuses ---- */

#define X(name, text, http, type, code) {http, type, code},
static const struct {
    int http;
    const char *type, *code;
} statuses[] = {ST_LIST(X)};
#undef X
enum { N_ROWS = sizeof statuses / sizeof *statuses };

/* Which errors a route may answer. 405 belongs to methods that it has not. */
static bool may_answer(const struct handler *h, const struct openapi_op *op, int http)
{
    bool tail = h->path[strlen(h->path) - 1] == '/', posted = h->methods == M_POST;
    switch (http) {
    case 400:
    case 408:
    case 414:
    case 431:
    case 503:
    case 505:
        return true; /* of every connection */
    case 401:
        return !h->open;
    case 404:
        return tail || posted || (op && op->may_lack);
    case 413:
    case 415:
    case 417:
        return posted;
    case 429:
    case 500:
    case 504:
        return h->fail != NULL; /* it waits for the engine */
    default:
        return false;
    }
}

static bool is_first(int row)
{
    for (int i = 0; i < row; i++)
        if (statuses[i].http == statuses[row].http)
            return false;
    return statuses[row].http >= 400 && statuses[row].type[0];
}

/* The codes of one status, each once: 'a', 'b'. */
static void put_codes(struct buf *b, int http)
{
    int n = 0;
    for (int i = 0; i < N_ROWS; i++) {
        bool again = statuses[i].http != http || !statuses[i].code[0];
        for (int k = 0; k < i && !again; k++)
            again = statuses[k].http == http && strcmp(statuses[k].code, statuses[i].code) == 0;
        if (!again)
            out_spec(b, "%s%s", n++ ? ", " : "", statuses[i].code);
    }
}

static void put_error_answers(struct buf *b)
{
    for (int i = 0, n = 0; i < N_ROWS; i++) {
        int http = statuses[i].http;
        if (!is_first(i))
            continue;
        out_spec(b, "%s'E%d':{'description':'", n++ ? "," : "", http);
        put_codes(b, http);
        out_spec(b,
                 "','headers':{'X-Request-Id':{'schema':{'type':'string'}}%s%s},'content':{"
                 "'application/json':{'schema':{'$ref':'#/components/schemas/Error'}}}}",
                 http == 429 || http == 503 ? ",'Retry-After':{'schema':{'type':'integer'}}" : "",
                 http == 401 ? ",'WWW-Authenticate':{'schema':{'type':'string'}}" : "");
    }
}

/* Each value of one column, once. */
static void put_column(struct buf *b, bool code)
{
    int n = 0;
    for (int i = 0; i < N_ROWS; i++) {
        const char *v = code ? statuses[i].code : statuses[i].type;
        bool again = !v[0];
        for (int k = 0; k < i && !again; k++)
            again = strcmp(code ? statuses[k].code : statuses[k].type, v) == 0;
        if (!again)
            out_spec(b, "%s'%s'", n++ ? "," : "", v);
    }
}

static void put_error_shape(struct buf *b)
{
    out_spec(b, "'Error':{'type':'object','required':['error'],'properties':{'error':{'type':"
                "'object','required':['message','type','param','code'],'properties':{'message':"
                "{'type':'string'},'type':{'enum':[");
    put_column(b, false);
    out_spec(b, "]},'param':{'type':['string','null']},'code':{'enum':[");
    put_column(b, true);
    out_spec(b, "]}}},'phase':{'type':'string','description':'While the model loads.'},"
                "'progress':{'type':'number'}}}");
}

/* ---- paths ---- */

static const struct openapi_op *op_of(const struct handler *h)
{
    for (int i = 0; i < n_openapi_ops; i++)
        if (strcmp(openapi_ops[i].name, h->name) == 0)
            return &openapi_ops[i];
    return NULL;
}

static void put_ref(struct buf *b, const char *shape)
{
    out_spec(b, "{'$ref':'#/components/schemas/%s'}", shape);
}

static void put_answer(struct buf *b, const struct openapi_op *op)
{
    out_spec(b,
             "'200':{'description':'The answer.','headers':{'X-Request-Id':{'schema':{'type':"
             "'string'}}},'content':{'%s':{'schema':",
             op && op->type ? op->type : "application/json");
    if (op && op->answer)
        put_ref(b, op->answer);
    else
        out_spec(b, op && op->type ? "{'type':'string'}" : "{}");
    out_str(b, "}");
    if (op && op->events) {
        out_spec(b, ",'text/event-stream':{'schema':{'description':'With stream: "
                    "lines of data: and an object each, then data: [DONE].'},'x-event':");
        put_ref(b, op->events);
        out_str(b, "}");
    }
    out_str(b, "}}");
}

static void put_errors(struct buf *b, const struct handler *h, const struct openapi_op *op)
{
    for (int i = 0; i < N_ROWS; i++) {
        int http = statuses[i].http;
        if (!is_first(i) || !may_answer(h, op, http))
            continue;
        if (op && op->error)
            out_spec(b,
                     ",'%d':{'description':'An error.','content':{'application/json':{'schema':{"
                     "'$ref':'#/components/schemas/%s'}}}}",
                     http, op->error);
        else
            out_spec(b, ",'%d':{'$ref':'#/components/responses/E%d'}", http, http);
    }
}

static void put_parameters(struct buf *b, const struct handler *h, const struct openapi_op *op)
{
    if (h->path[strlen(h->path) - 1] == '/')
        out_spec(b, ",'parameters':[{'name':'id','in':'path','required':true,'schema':{'type':"
                    "'string','minLength':1}}]");
    else if (op && op->query)
        out_spec(b,
                 ",'parameters':[{'name':'%s','in':'query','schema':{'type':'string',"
                 "'examples':['1']}}]",
                 op->query);
}

/* The how-manieth row of its name it is: 0 is the main path, others are aliases. */
static int alias_of(const struct api *a, int row)
{
    int n = 0;
    for (int i = 0; i < row; i++)
        n += strcmp(a->table[i].name, a->table[row].name) == 0;
    return n;
}

static void put_operation(struct buf *b, const struct api *a, int row, const char *method)
{
    const struct handler *h = &a->table[row];
    const struct openapi_op *op = op_of(h);
    int alias = alias_of(a, row);
    bool posts = strcmp(method, "post") == 0;
    out_spec(b, "'%s':{'operationId':'%s%s", method, posts && h->methods != M_POST ? "post_" : "",
             h->name);
    if (alias)
        out_spec(b, "_%d", alias + 1);
    const char *words = op ? op->summary : h->name;
    out_spec(b, "','summary':");
    out_json(b, words, strlen(words));
    if (h->open)
        out_spec(b, ",'security':[]");
    put_parameters(b, h, op);
    if (posts && h->methods == M_POST) {
        out_spec(b, ",'requestBody':{'required':true,'content':{'application/json':{'schema':");
        if (op && op->request)
            put_ref(b, op->request);
        else
            out_spec(b, "{'type':'object'}");
        out_str(b, "}}}");
    }
    out_spec(b, ",'responses':{");
    put_answer(b, op);
    put_errors(b, h, op);
    out_str(b, "}}");
}

static void put_paths(struct buf *b, const struct api *a)
{
    for (int i = 0; i < a->n_handlers; i++) {
        const struct handler *h = &a->table[i];
        bool tail = h->path[strlen(h->path) - 1] == '/';
        out_spec(b, "%s'%s%s':{", i ? "," : "", h->path, tail ? "{id}" : "");
        if (h->methods & M_GET)
            put_operation(b, a, i, "get");
        if (h->methods & M_POST) {
            out_str(b, h->methods & M_GET ? "," : "");
            put_operation(b, a, i, "post");
        }
        out_str(b, "}");
    }
}

/* ---- the document ---- */

static void put_shapes(struct buf *b, const struct gen_rules *u)
{
    out_spec(b, "'schemas':{");
    for (int i = 0; i < n_openapi_requests; i++) {
        out_spec(b, "'%s':", openapi_requests[i].name);
        out_request_schema(b, openapi_requests[i].dialect, u);
        out_str(b, ",");
    }
    out_spec(b, "'TokenId':{'type':'integer','minimum':0");
    if (u->s)
        out_spec(b, ",'maximum':%d", u->s->limits.vocab - 1);
    out_str(b, "},");
    put_error_shape(b);
    for (int i = 0; i < n_openapi_shapes; i++)
        out_spec(b, ",'%s':%s", openapi_shapes[i].name, openapi_shapes[i].text);
    out_str(b, "}");
}

static void make(struct buf *b, const struct api *a, bool ready)
{
    const struct gen_rules u = {a->c, &a->names, ready ? &a->s : NULL, NULL};
    out_spec(b,
             "{'openapi':'3.1.0','info':{'title':'quire','version':'" QUIRE_VERSION "',"
             "'description':'OpenAI-style inference. Unknown fields of a request are %s.'},",
             a->c->http.unknown_fields == CONF_UNKNOWN_REJECT ? "refused" : "ignored");
    if (a->tenants->n_keys)
        out_spec(b, "'security':[{'bearer':[]},{'x_api_key':[]}],");
    out_spec(b, "'paths':{");
    put_paths(b, a);
    out_spec(b, "},'components':{'securitySchemes':{'bearer':{'type':'http','scheme':'bearer'},"
                "'x_api_key':{'type':'apiKey','in':'header','name':'X-Api-Key'}},'responses':{");
    put_error_answers(b);
    out_str(b, "},");
    put_shapes(b, &u);
    out_str(b, "}}");
}

const struct buf *openapi_document(struct api *a)
{
    bool ready = life_ready(a);
    struct buf *b = &a->described[ready].json;
    if (b->n == 0) {
        b->soft = true;
        make(b, a, ready);
        if (b->oom)
            buf_free(b);
    }
    return b->n ? b : NULL;
}

void api_openapi(struct req *r)
{
    const struct buf *b = openapi_document(r->service);
    if (b)
        reply(r, 200, "application/json", b->p, b->n);
    else
        reply_fail(r, ST_NOMEM, "The server is short of memory; try again later.");
}
