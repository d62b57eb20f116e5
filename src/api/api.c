/* SPDX-License-Identifier: Apache-2.0 */
/* api.c - start, hooks and end of what is behind the requests. See api.h. */
#include "clock.h"
#include "embed.h"
#include "life.h"
#include "mem.h"
#include "routes.h"
#include "shapes.h"
#include "stream.h"
#include "tenant.h"

#include <stdlib.h>
#include <string.h>

#define OUTBOX_RESERVE ((size_t)1 << 20)
/* Some steps of all rows with all their logprobs. The engine waits when the loop does not follow:
 * what lies here is what everybody's next token waits for, and nobody asks for sockets meanwhile.
 */
#define OUTBOX_MAX ((size_t)2 << 20)
#define MEM_RESERVE ((size_t)8 << 20) /* behind the small pieces of all requests */

struct http *api_http(struct api *a)
{
    return a->http;
}

const char *api_model_name(const struct api *a)
{
    return a->names.v[0];
}

struct mbox *api_outbox(struct api *a)
{
    return a->outbox;
}

/* ---- hooks of the transport ---- */

static int on_check(void *arg, struct err *e)
{
    return life_check(arg, e);
}

static bool on_serving(void *arg)
{
    return life_ready(arg);
}

static bool on_failed(void *arg)
{
    return life_failed(arg);
}

static void drain_outbox(struct api *a)
{
    size_t n;
    const struct msg_outbox *m;
    mbox_take(a->outbox);
    while ((m = mbox_next(a->outbox, &n)) != NULL)
        stream_outbox(a, m, n);
}

static void on_wake(void *arg)
{
    life_slots(arg);
    drain_outbox(arg);
}

static void on_dump(void *arg)
{
    struct api *a = arg;
    if (life_ready(a))
        engine_dump(a->s.engine);
    tenant_dump(a);
}

static void on_count(void *arg, const struct handler *h, const char *method, int status)
{
    struct api *a = arg;
    metrics_http(&a->m, h ? (int)(h - a->table) : a->n_handlers, method, status);
}

static int on_retry(void *arg, const struct err *e)
{
    return life_retry(arg, e->st);
}

/* What the engine posted last, then nothing any more. */
static void on_over(void *arg)
{
    struct api *a = arg;
    if (a->outbox)
        drain_outbox(a);
    stream_abandon_all(a);
    embed_abandon_all(a);
}

/* ---- start and end ---- */

/* The folder's or the file's name, without ".gguf". */
static char *name_of_path(const char *path)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    if (end - begin > 5 && strncmp(path + end - 5, ".gguf", 5) == 0)
        end -= 5;
    return xstrndup(path + begin, end - begin);
}

static void posted(void *arg)
{
    http_wake(arg);
}

int api_new(struct api **out, const struct config *c, const struct api_limits *l, struct err *e)
{
    struct api *a = xalloc(sizeof *a);
    const struct http_hooks hooks = {.arg = a,
                                     .paths = "/docs",
                                     .ready = on_check,
                                     .serving = on_serving,
                                     .failed = on_failed,
                                     .wake = on_wake,
                                     .dump = on_dump,
                                     .error = out_error,
                                     .count = on_count,
                                     .retry_after = on_retry,
                                     .over = on_over,
                                     .failed_exit_us = l ? l->failed_exit_us : 500000};
    *out = NULL;
    mem_reserve(MEM_RESERVE);
    a->c = c;
    a->limits = (struct api_limits){l ? l->watchdog_us : 10000000, hooks.failed_exit_us};
    a->start_unix_s = clock_unix_s();
    a->start_us = a->tokens.last_us = clock_us();
    a->cache_key = ns_key_new();
    a->names = c->model.served_names;
    if (a->names.n == 0) {
        a->own_name = name_of_path(c->model.path);
        a->names = (struct str_list){&a->own_name, 1};
    }
    routes_open(a);
    int st = http_new(&a->http, c, a->table, a->n_handlers, &hooks, e);
    if (st) {
        api_free(a);
        return st;
    }
    tenants_open(a);
    a->outbox = mbox_new(OUTBOX_RESERVE, OUTBOX_MAX, posted, a->http);
    *out = a;
    return 0;
}

void api_free(struct api *a)
{
    if (!a)
        return;
    http_free(a->http);
    tenants_close(a);
    mbox_free(a->outbox);
    slots_close(&a->slots);
    buf_free(&a->scratch);
    for (int i = 0; i < 2; i++) {
        buf_free(&a->described[i].json);
        buf_free(&a->described[i].html);
    }
    free(a->own_name);
    free(a);
}
