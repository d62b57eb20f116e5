/* SPDX-License-Identifier: Apache-2.0 */
/* tenant.h - inside of api: what a tenant has used of its limits, and what of it stands in a
 * request to the engine. Loop thread.
 *
 * Tokens per minute are a bucket that holds a minute's worth and fills at that rate. A request gets
 * in while something is left; its prompt is taken out then, each generated token when it ends,
 * however it ends, so the bucket may be in debt and the next request waits it off. The prompt of a
 * request that the server gave up before its first token is put back; that of one whose client left
 * is not, for it may have been computed.
 */
#ifndef QUIRE_API_TENANT_H
#define QUIRE_API_TENANT_H

#include "handler.h"
#include "msg.h"
#include "state.h"
#include "tenants.h"

/* What a tenant has in hand, by index in struct tenants. */
struct tenant_use {
    int32_t n_requests; /* that got in and have not ended */
    int64_t n_seqs;     /* of these requests */
    double tokens;      /* in the bucket at at_us */
    int64_t at_us;
    int64_t n_asked, n_refused; /* requests; n_asked counts the refused ones, too */
    int64_t n_prompt, n_made;   /* tokens */
};

/* Memory for all tenants of a->http; and its end. */
void tenants_open(struct api *a);
void tenants_close(struct api *a);

/* Is there a place for n_seqs sequences more of r's tenant? One place in RESERVE of all is for
 * tenants that hold no more than that, so no one can fill the queue for the others. */
bool tenant_has_place(const struct api *a, const struct req *r, int64_t n_seqs);

/* A request of r's tenant with n_prompt tokens and n_seqs sequences wants to run. 0, or
 * ST_RATE_LIMIT with the tenant's own bound in *e and the time until it is worth trying again in
 * r->retry_after. Who got in leaves once: it generated n_made tokens, and n_back of its prompt were
 * never computed. */
int tenant_enter(struct api *a, struct req *r, int64_t n_prompt, int64_t n_seqs, struct err *e);
void tenant_leave(struct api *a, const struct req *r, int64_t n_seqs, int64_t n_made,
                  int64_t n_back);

/* The tenant's part of a message: its id, weight and bounds, and its namespace with that salt. */
void tenant_fill(const struct api *a, const struct req *r, const char *salt, size_t n_salt,
                 struct msg_submit *m);

/* Series by tenant, appended to the metrics: of the one who asks, or of all for an operator. */
void tenant_metrics(const struct api *a, const struct tenant *asks, struct buf *out);
/* A log line for each tenant with a name that ever asked. */
void tenant_dump(const struct api *a);

#endif
