/* SPDX-License-Identifier: Apache-2.0 */
/* tenant.c - limits, accounts and numbers of tenants. See tenant.h. What one tenant uses is told to
 * it and to operators, never to another.
 */
#include "tenant.h"

#include "clock.h"
#include "http.h"
#include "json_out.h"
#include "log.h"
#include "mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MINUTE_US 60e6
enum { RESERVE = 8 };

void tenants_open(struct api *a)
{
    const struct tenants *t = http_tenants(a->http);
    int64_t now = clock_us();
    a->tenants = t;
    a->use = xcalloc2((size_t)t->n + 1, sizeof *a->use);
    for (int32_t i = 0; i < t->n; i++) {
        a->use[i].tokens = (double)t->v[i].tokens_per_minute;
        a->use[i].at_us = now;
    }
}

void tenants_close(struct api *a)
{
    free(a->use);
    a->use = NULL;
}

static struct tenant_use *use_of(const struct api *a, const struct req *r)
{
    return r->who ? &a->use[r->who - a->tenants->v] : NULL;
}

/* ---- limits ---- */

bool tenant_has_place(const struct api *a, const struct req *r, int64_t n_seqs)
{
    const struct tenant_use *u = use_of(a, r);
    int64_t left = a->slots.max_live - a->slots.n_live - n_seqs;
    int64_t kept = a->tenants->n > 1 ? a->slots.max_live / RESERVE : 0;
    if (left < 0)
        return false;
    return left >= kept || !u || u->n_seqs + n_seqs <= kept ||
           a->slots.n_live == 0; /* larger than all but the kept ones: when it is alone */
}

static void fill_bucket(struct tenant_use *u, const struct tenant *t, int64_t now)
{
    double most = (double)t->tokens_per_minute;
    u->tokens += (double)(now - u->at_us) * most / MINUTE_US;
    u->at_us = now;
    if (u->tokens > most)
        u->tokens = most;
}

static int refuse_tokens(struct tenant_use *u, const struct tenant *t, struct req *r, struct err *e)
{
    double seconds = ceil((1 - u->tokens) * 60 / (double)t->tokens_per_minute);
    u->n_refused++;
    r->retry_after = seconds < INT32_MAX ? (int)seconds : INT32_MAX;
    return err_set(e, ST_RATE_LIMIT,
                   "Rate limit reached for this API key: %lld tokens per minute; try again in %.0f "
                   "s.",
                   (long long)t->tokens_per_minute, seconds);
}

int tenant_enter(struct api *a, struct req *r, const struct tenant_need *need, struct err *e)
{
    const struct tenant *t = r->who;
    struct tenant_use *u = use_of(a, r);
    if (!u)
        return 0;
    u->n_asked++;
    if (t->max_requests > 0 && u->n_requests >= t->max_requests) {
        u->n_refused++;
        return err_set(e, ST_RATE_LIMIT,
                       "Rate limit reached for this API key: %lld requests at the same time.",
                       (long long)t->max_requests);
    }
    if (t->tokens_per_minute > 0) {
        fill_bucket(u, t, clock_us());
        if (u->tokens < 1)
            return refuse_tokens(u, t, r, e);
        u->tokens -= (double)need->n_prompt;
    }
    u->n_requests++;
    u->n_seqs += need->n_seqs;
    return 0;
}

void tenant_leave(struct api *a, const struct req *r, const struct tenant_need *need,
                  int64_t n_made, bool prompt_back)
{
    struct tenant_use *u = use_of(a, r);
    int64_t back = prompt_back ? need->n_prompt : 0;
    if (!u)
        return;
    u->n_requests--;
    u->n_seqs -= need->n_seqs;
    u->n_prompt += need->n_prompt - back;
    u->n_made += n_made;
    if (r->who->tokens_per_minute > 0)
        u->tokens += (double)(back - n_made);
}

void tenant_fill(const struct api *a, const struct req *r, const char *salt, size_t n_salt,
                 struct msg_submit *m)
{
    const struct tenant *t = r->who;
    m->cache_ns = ns_of(&a->cache_key, t ? t->cache : 0, salt, n_salt);
    if (!t)
        return;
    m->tenant = t->id;
    m->weight = (int32_t)t->weight;
    m->max_rows = (int32_t)t->max_seqs;
    m->whole_pages = t->shares_cache;
    m->account = t->account;
    m->cache_share = t->cache_share;
}

/* ---- numbers ---- */

static const struct {
    const char *name, *type, *help;
} series[] = {
    {"quire_tenant_requests_total", "counter", "Generation requests, refused ones included."},
    {"quire_tenant_refusals_total", "counter", "Of these: refused by a limit of the tenant."},
    {"quire_tenant_prompt_tokens_total", "counter", "Prompt tokens charged."},
    {"quire_tenant_generation_tokens_total", "counter", "Generated tokens charged."},
    {"quire_tenant_requests_running", "gauge", "Requests in flight."},
};
enum { N_SERIES = sizeof series / sizeof *series };

static int64_t value_of(const struct tenant_use *u, int i)
{
    const int64_t v[N_SERIES] = {u->n_asked, u->n_refused, u->n_prompt, u->n_made, u->n_requests};
    return v[i];
}

static void put(struct buf *out, int i, const char *label, int64_t v)
{
    out_fmt(out, "%s{tenant=\"%s\"} %lld\n", series[i].name, label, (long long)v);
}

/* Labels are the names of the file and "key", in which all others are summed up: they are as many
 * as the operator made them. */
void tenant_metrics(const struct api *a, const struct tenant *asks, struct buf *out)
{
    const struct tenants *t = a->tenants;
    if (!asks)
        return;
    for (int i = 0; i < N_SERIES; i++) {
        int64_t own = 0;
        out_fmt(out, "# HELP %s %s\n# TYPE %s %s\n", series[i].name, series[i].help, series[i].name,
                series[i].type);
        for (int32_t k = 0; k < t->n; k++) {
            if (k >= t->n_named)
                own += value_of(&a->use[k], i);
            else if (asks->operator|| asks == & t->v[k])
                put(out, i, t->v[k].name, value_of(&a->use[k], i));
        }
        if (!asks->name[0])
            put(out, i, "key", value_of(&a->use[asks - t->v], i));
        else if (asks->operator&& t->n> t->n_named)
            put(out, i, "key", own);
    }
}

void tenant_dump(const struct api *a)
{
    for (int32_t i = 0; i < a->tenants->n_named; i++) {
        const struct tenant *t = &a->tenants->v[i];
        struct tenant_use u = a->use[i];
        if (u.n_asked == 0)
            continue;
        fill_bucket(&u, t, clock_us());
        log_info("api.tenant",
                 "tenant=%s id=%llu weight=%lld requests=%d max_requests=%lld max_seqs=%lld "
                 "asked=%lld refused=%lld prompt_tokens=%lld completion_tokens=%lld "
                 "tokens_left=%.0f tokens_per_minute=%lld",
                 t->name, (unsigned long long)t->id, (long long)t->weight, u.n_requests,
                 (long long)t->max_requests, (long long)t->max_seqs, (long long)u.n_asked,
                 (long long)u.n_refused, (long long)u.n_prompt, (long long)u.n_made,
                 t->tokens_per_minute > 0 ? u.tokens : 0.0, (long long)t->tokens_per_minute);
    }
}
